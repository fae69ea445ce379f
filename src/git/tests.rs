//! Against real repositories, written by the real `git`.

use super::test_repository::TestRepository;
use super::{Follower, GitError, Sight, Source, read_once};
use crate::content::{FileKind, Tree};
use std::time::Duration;

fn follow(repository: &TestRepository) -> Follower {
    let source = Source::Bare { path: repository.bare(), branch: Some("main".to_owned()), subpath: None };
    Follower::start(source, &repository.beside("mirror.git")).expect("a mirror")
}

/// Waits until the sight is as wanted, with patience for a busy machine.
async fn until(follower: &Follower, what: &str, wanted: impl Fn(&Sight) -> bool) {
    let mut sight = follower.sight();
    let found = tokio::time::timeout(Duration::from_secs(60), sight.wait_for(|sight| wanted(sight))).await;
    if !matches!(found, Ok(Ok(_))) {
        drop(found);
        panic!("{what}: {:?}", *follower.sight().borrow());
    }
}

async fn until_head(follower: &Follower, id: &str) {
    until(follower, id, |sight| matches!(sight, Sight::Head(revision) if revision.id == id)).await;
}

fn text(tree: &Tree, path: &str) -> String {
    String::from_utf8_lossy(&tree.files.get(path).expect(path).bytes).into_owned()
}

#[tokio::test]
async fn a_push_is_noticed_and_read_without_a_checkout() {
    let repository = TestRepository::new();
    let first = repository.push("first", &[("site.yaml", "one"), ("packs/a/x.sh", "#!/bin/sh")]);
    let follower = follow(&repository);
    until_head(&follower, &first).await;
    let second = repository.push("second\n\nwith a body", &[("site.yaml", "two")]);
    until_head(&follower, &second).await;
    let Sight::Head(revision) = follower.sight().borrow().clone() else { panic!("a head") };
    assert_eq!((revision.summary.as_str(), revision.message.trim_end()), ("second", "second\n\nwith a body"));
    let tree = follower.tree(&second).await.expect("a tree");
    assert_eq!((text(&tree, "site.yaml").as_str(), tree.files.len()), ("two", 2));
    let old = follower.tree(&first).await.expect("the older one");
    assert_eq!(text(&old, "site.yaml"), "one");
    let path = "packs/a/x.sh";
    assert!(
        std::sync::Arc::ptr_eq(&tree.files[path].bytes, &old.files[path].bytes),
        "an unchanged file shares its memory"
    );
}

#[tokio::test]
async fn links_submodules_and_modes_are_told_apart_and_never_followed() {
    let repository = TestRepository::new();
    repository.commit("files", &[("run.sh", "x"), ("plain", "y")]);
    std::os::unix::fs::symlink("/etc/passwd", repository.work().join("link")).expect("a link");
    repository.git(&["update-index", "--add", "--chmod=+x", "run.sh"]);
    let other = repository.head();
    repository.git(&["add", "link"]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{other},sub")]);
    repository.git(&["commit", "-q", "-m", "links"]);
    repository.git(&["push", "-q", "origin", "HEAD:main"]);
    let follower = follow(&repository);
    until_head(&follower, &repository.head()).await;
    let tree = follower.tree(&repository.head()).await.expect("a tree");
    let kinds: Vec<_> = tree.files.iter().map(|(path, file)| (path.as_str(), file.kind)).collect();
    assert_eq!(
        kinds,
        [
            ("link", FileKind::Symlink),
            ("plain", FileKind::Regular),
            ("run.sh", FileKind::Executable),
            ("sub", FileKind::Submodule)
        ]
    );
    assert_eq!(text(&tree, "link"), "/etc/passwd");
}

#[tokio::test]
async fn only_the_sites_folder_counts_where_one_is_named() {
    let repository = TestRepository::new();
    let id = repository.push("both", &[("deep/site/site.yaml", "inside"), ("elsewhere/big", "outside")]);
    let start = |subpath: &str, mirror: &str| {
        let source = Source::Bare { path: repository.work(), branch: None, subpath: Some(subpath.to_owned()) };
        Follower::start(source, &repository.beside(mirror)).expect("a mirror")
    };
    let follower = start("deep/site", "mirror.git");
    until_head(&follower, &id).await;
    let tree = follower.tree(&id).await.expect("a tree");
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["site.yaml"]);
    drop(follower);
    // Another folder of a commit that is mirrored already, though without that folder.
    let tree = start("elsewhere", "mirror.git").tree(&id).await.expect("a tree");
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["big"]);
    let error = start("nowhere", "other.git").tree(&id).await.expect_err("no such folder");
    assert!(error.is_fault_of_revision(), "{error}");
}

#[tokio::test]
async fn a_pinned_revision_outlives_a_rewritten_branch_and_the_repository_itself() {
    let repository = TestRepository::new();
    let first = repository.push("first", &[("site.yaml", "one")]);
    let follower = follow(&repository);
    until_head(&follower, &first).await;
    assert!(
        matches!(follower.pin("node-1-1", &first).await, Err(GitError::UnknownRevision { .. })),
        "not mirrored yet"
    );
    follower.tree(&first).await.expect("a tree");
    follower.pin("node-1-1", &first).await.expect("pinned");
    follower.set_applied(&first).await.expect("applied");
    repository.git(&["commit", "-q", "--amend", "-m", "rewritten"]);
    repository.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
    let second = repository.head();
    until_head(&follower, &second).await;
    repository.git_bare(&["reflog", "expire", "--expire=now", "--all"]);
    repository.git_bare(&["gc", "-q", "--prune=now"]);
    std::fs::remove_dir_all(repository.bare()).expect("removed");
    until(&follower, "missing", |sight| matches!(sight, Sight::Unavailable(GitError::Missing { .. }))).await;
    drop(follower);
    let follower = follow(&repository);
    assert_eq!(follower.applied().await, Ok(Some(first.clone())));
    assert_eq!(follower.pins().await, Ok(vec![("node-1-1".to_owned(), first.clone())]));
    assert_eq!(text(&follower.tree(&first).await.expect("a tree"), "site.yaml"), "one");
    follower.unpin("node-1-1").await.expect("unpinned");
    follower.unpin("node-1-1").await.expect("harmless");
    assert_eq!(follower.pins().await, Ok(vec![]));
    assert!(follower.pin("../../heads/x", &first).await.is_err());
}

#[tokio::test]
async fn packed_references_a_deleted_branch_and_a_repository_that_comes_back_are_seen() {
    let repository = TestRepository::new();
    let first = repository.push("first", &[("site.yaml", "one")]);
    let follower = follow(&repository);
    until_head(&follower, &first).await;
    repository.git_bare(&["pack-refs", "--all"]);
    repository.git_bare(&["gc", "-q"]);
    let second = repository.push("second", &[("site.yaml", "two")]);
    until_head(&follower, &second).await;
    repository.git_bare(&["update-ref", "-d", "refs/heads/main"]);
    until(&follower, "no branch", |sight| matches!(sight, Sight::Unavailable(GitError::NoBranch { .. }))).await;
    repository.git(&["push", "-q", "origin", "HEAD:main"]);
    until_head(&follower, &second).await;
    std::fs::rename(repository.bare(), repository.beside("away")).expect("moved");
    until(&follower, "missing", |sight| matches!(sight, Sight::Unavailable(GitError::Missing { .. }))).await;
    std::fs::rename(repository.beside("away"), repository.bare()).expect("moved back");
    until_head(&follower, &second).await;
    let third = repository.push("third", &[("site.yaml", "three")]);
    until_head(&follower, &third).await;
    assert_eq!(text(&follower.tree(&third).await.expect("a tree"), "site.yaml"), "three");
}

#[tokio::test]
async fn a_damaged_repository_is_named_as_such_and_works_again_once_mended() {
    let repository = TestRepository::new();
    let first = repository.push("first", &[("site.yaml", "one")]);
    let follower = follow(&repository);
    until_head(&follower, &first).await;
    let second = repository.commit("second", &[("site.yaml", "two")]);
    let blob = repository.git(&["rev-parse", "HEAD:site.yaml"]);
    repository.git(&["push", "-q", "origin", "HEAD:main"]);
    let (a, b) = blob.split_at(2);
    let object = repository.bare().join("objects").join(a).join(b);
    let whole = std::fs::read(&object).expect("a loose object");
    std::fs::remove_file(&object).expect("removed");
    std::fs::write(&object, b"not an object").expect("damaged");
    until_head(&follower, &second).await;
    let error = follower.tree(&second).await.expect_err("damaged");
    assert!(matches!(&error, GitError::Damaged { revision, .. } if *revision == second), "{error}");
    assert!(!error.is_fault_of_revision());
    assert_eq!(text(&follower.tree(&first).await.expect("the last good one"), "site.yaml"), "one");
    // From then on the source says so itself, until it is whole.
    let damaged = |sight: &Sight| matches!(sight, Sight::Unavailable(GitError::Damaged { .. }));
    until(&follower, "damaged", damaged).await;
    std::fs::write(&object, whole).expect("mended");
    until_head(&follower, &second).await;
    assert_eq!(text(&follower.tree(&second).await.expect("mended"), "site.yaml"), "two");

    std::fs::rename(repository.bare().join("objects"), repository.beside("objects")).expect("damaged");
    until(&follower, "unreadable", |sight| matches!(sight, Sight::Unavailable(GitError::Unreadable { .. }))).await;
}

#[test]
fn one_look_at_a_damaged_repository_says_so_of_it_and_of_no_mirror() {
    let repository = TestRepository::new();
    let id = repository.push("one", &[("deep/site/a.yaml", "1")]);
    assert!(read_once(&repository.bare(), Some("main"), Some("deep/site"), None).is_ok());
    for object in ["HEAD:deep/site/a.yaml", "HEAD:deep/site", "HEAD:deep", "HEAD^{tree}", "HEAD"] {
        let object = repository.git(&["rev-parse", object]);
        let (first, rest) = object.split_at(2);
        let path = repository.bare().join("objects").join(first).join(rest);
        let whole = std::fs::read(&path).expect("a loose object");
        std::fs::remove_file(&path).expect("removed");
        let error = read_once(&repository.bare(), Some("main"), Some("deep/site"), None).expect_err("damaged");
        assert!(matches!(&error, GitError::Damaged { revision, .. } if *revision == id), "{object}: {error:?}");
        let said = error.to_string();
        assert!(said.contains("fsck") && !said.contains("mirror"), "{said}");
        std::fs::write(&path, whole).expect("mended");
    }
}

#[tokio::test]
async fn a_damaged_mirror_is_mended_from_the_source() {
    let repository = TestRepository::new();
    let id = repository.push("first", &[("site.yaml", "one")]);
    let follower = follow(&repository);
    follower.tree(&id).await.expect("mirrored");
    drop(follower);
    let blob = repository.git(&["rev-parse", "HEAD:site.yaml"]);
    let (a, b) = blob.split_at(2);
    let object = repository.beside("mirror.git/objects").join(a).join(b);
    std::fs::remove_file(&object).expect("a loose object");
    std::fs::write(&object, b"").expect("damaged");
    let tree = follow(&repository).tree(&id).await.expect("mended");
    assert_eq!(text(&tree, "site.yaml"), "one");
}

#[tokio::test]
async fn the_mirror_keeps_what_is_applied_or_pinned_and_nothing_else() {
    let repository = TestRepository::new();
    let mut ids = Vec::new();
    let follower = follow(&repository);
    for n in 0..4 {
        let id = repository.push(&n.to_string(), &[("packs/a/same", "same"), ("n", &n.to_string())]);
        follower.tree(&id).await.expect("mirrored");
        ids.push(id);
    }
    follower.pin("node-1-1", &ids[0]).await.expect("pinned");
    follower.set_applied(&ids[2]).await.expect("applied");
    drop(follower);
    std::fs::remove_dir_all(repository.bare()).expect("removed");
    let follower = follow(&repository);
    for (n, kept) in [true, false, true, false].into_iter().enumerate() {
        let tree = follower.tree(&ids[n]).await;
        assert_eq!(tree.is_ok(), kept, "{n}: {tree:?}");
        if let Ok(tree) = tree {
            assert_eq!((text(&tree, "n"), text(&tree, "packs/a/same")), (n.to_string(), "same".to_owned()));
        }
    }
}

#[tokio::test]
async fn a_directory_is_a_revision_that_depends_on_its_files_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path().join("site");
    std::fs::create_dir_all(site.join("packs/a")).expect("a folder");
    std::fs::create_dir_all(site.join("empty")).expect("a folder");
    std::fs::write(site.join("site.yaml"), "one").expect("a file");
    std::fs::write(site.join("packs/a/run.sh"), "x").expect("a file");
    std::fs::write(site.join(".site.yaml.swp"), "left out").expect("a file");
    let start = |mirror: &str| {
        Follower::start(Source::Directory { path: site.clone() }, &folder.path().join(mirror)).expect("a mirror")
    };
    let follower = start("mirror.git");
    until(&follower, "a head", |sight| matches!(sight, Sight::Head(_))).await;
    let Sight::Head(first) = follower.sight().borrow().clone() else { panic!("a head") };
    let tree = follower.tree(&first.id).await.expect("a tree");
    assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["packs/a/run.sh", "site.yaml"]);
    std::fs::write(site.join("site.yaml"), "two").expect("a file");
    until(&follower, "another", |sight| matches!(sight, Sight::Head(revision) if revision.id != first.id)).await;
    follower.pin("node-1-1", &first.id).await.expect("a run can be pinned to it");
    std::fs::write(site.join("site.yaml"), "one").expect("a file");
    until_head(&follower, &first.id).await;
    let elsewhere = start("other.git");
    until_head(&elsewhere, &first.id).await;
}

#[tokio::test]
async fn a_pipe_or_a_socket_in_a_directory_is_seen_and_never_opened() {
    let folder = tempfile::tempdir().expect("a folder");
    let site = folder.path().join("site");
    std::fs::create_dir(&site).expect("a folder");
    std::fs::write(site.join("site.yaml"), "one").expect("a file");
    let made = std::process::Command::new("mkfifo").arg(site.join("pipe.yaml")).status();
    assert!(made.is_ok_and(|made| made.success()), "a pipe");
    let follower = Follower::start(Source::Directory { path: site.clone() }, &folder.path().join("mirror.git"));
    let follower = follower.expect("a mirror");
    until(&follower, "a head", |sight| matches!(sight, Sight::Head(_))).await;
    let Sight::Head(first) = follower.sight().borrow().clone() else { panic!("a head") };
    let kinds = |tree: &Tree| tree.files.values().map(|file| file.kind).collect::<Vec<_>>();
    let tree = follower.tree(&first.id).await.expect("a tree");
    assert_eq!(kinds(&tree), [FileKind::Special, FileKind::Regular]);
    std::fs::remove_file(site.join("pipe.yaml")).expect("removed");
    std::fs::write(site.join("pipe.yaml"), "two").expect("a file");
    until(&follower, "another", |sight| matches!(sight, Sight::Head(revision) if revision.id != first.id)).await;
    let Sight::Head(second) = follower.sight().borrow().clone() else { panic!("a head") };
    assert_eq!(kinds(&follower.tree(&second.id).await.expect("a tree")), [FileKind::Regular, FileKind::Regular]);
}

#[tokio::test]
async fn an_empty_repository_and_a_file_too_large_are_told_in_words() {
    let repository = TestRepository::new();
    let follower = Follower::start(
        Source::Bare { path: repository.bare(), branch: None, subpath: None },
        &repository.beside("mirror.git"),
    )
    .expect("a mirror");
    until(&follower, "no commit", |sight| matches!(sight, Sight::Unavailable(GitError::NoCommit { .. }))).await;
    let large = "x".repeat((16 << 20) + 1);
    let id = repository.push("large", &[("kernel", &large), ("a/b.yaml", &large), ("ok", "y")]);
    until_head(&follower, &id).await;
    let error = follower.tree(&id).await.expect_err("too large");
    assert!(error.is_fault_of_revision(), "{error}");
    let expected = [("a/b.yaml", "split it into several files"), ("kernel", "kernels and images belong into")];
    let findings = error.findings();
    assert_eq!(findings.len(), 2, "each for itself: {findings:?}");
    for (finding, (path, hint)) in findings.iter().zip(expected) {
        assert!(
            finding.starts_with(&format!("{path}:1:1: error: larger than 16 MiB")) && finding.contains(hint),
            "{finding}"
        );
    }
    let again = follower.tree(&id).await.expect_err("nothing of it is here in whole");
    assert_eq!(again.findings(), findings);
    let small = repository.push("small", &[("kernel", "x"), ("a/b.yaml", "x")]);
    until_head(&follower, &small).await;
    assert_eq!(text(&follower.tree(&small).await.expect("a tree"), "ok"), "y");
}

/// One source on this disk.
fn sources(path: std::path::PathBuf, subpath: Option<&str>) -> super::remote::Sources {
    use super::remote::{Follow, Location, SourceSettings, Sources};
    let mut settings = SourceSettings::new("site", Location::Local(path), Follow::Branch("main".to_owned()));
    settings.subpath = subpath.map(str::to_owned);
    Sources(vec![settings])
}

#[tokio::test]
async fn what_is_followed_changes_while_the_program_runs_and_what_the_one_before_shows_is_not_seen() {
    let (one, other) = (TestRepository::new(), TestRepository::new());
    let first = one.push("first", &[("a/site.yaml", "one"), ("site.yaml", "root")]);
    let second = other.push("second", &[("site.yaml", "two")]);
    let source = Source::Sources(super::remote::Sources(Vec::new()));
    let follower = Follower::start_idle(source, &one.beside("mirror.git"), super::Ears::default()).expect("a mirror");
    assert!(follower.look_for(1).await.is_ok() && *follower.sight().borrow() == Sight::Nothing, "nobody said what");
    follower.follow(sources(one.bare(), Some("a")), false).expect("it follows");
    until_head(&follower, &first).await;
    assert_eq!(text(&follower.tree(&first).await.expect("a tree"), "site.yaml"), "one");
    follower.follow(sources(one.bare(), None), false).expect("it follows");
    until_head(&follower, &first).await;
    assert_eq!(text(&follower.tree(&first).await.expect("the whole of it"), "site.yaml"), "root");
    follower.follow(sources(other.bare(), None), false).expect("it follows");
    until_head(&follower, &second).await;
    one.push("third", &[("site.yaml", "three")]);
    let fourth = other.push("fourth", &[("site.yaml", "four")]);
    until_head(&follower, &fourth).await;
    let why = || GitError::NotFollowed { reason: "SourceUnavailable", why: "a person said so".to_owned() };
    follower.follow_nothing(why()).expect("it stops");
    until(&follower, "nothing", |sight| *sight == Sight::Unavailable(why())).await;
    other.push("fifth", &[("site.yaml", "five")]);
    follower.look_for(2).await.expect("a look");
    assert_eq!(*follower.sight().borrow(), Sight::Unavailable(why()));
    assert_eq!(text(&follower.tree(&fourth).await.expect("what was mirrored"), "site.yaml"), "four");
    follower.follow(sources(other.bare(), None), false).expect("it follows again");
    until(&follower, "the newest", |sight| matches!(sight, Sight::Head(revision) if revision.summary == "fifth")).await;
}
