//! Mirrors that are damaged in each place, while nobody looks and while the program runs.

use super::remote::{Follow, Location, SourceSettings, Sources};
use super::test_repository::TestRepository;
use super::{Follower, Sight, Source};
use crate::content::Tree;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

fn follow(repository: &TestRepository) -> Follower {
    let source = Source::Bare { path: repository.bare(), branch: Some("main".to_owned()), subpath: None };
    Follower::start(source, &repository.beside("mirror.git")).expect("a mirror")
}

fn text(tree: &Tree, path: &str) -> String {
    String::from_utf8_lossy(&tree.files.get(path).expect(path).bytes).into_owned()
}

/// The mirror's file of an object.
fn object(repository: &TestRepository, id: &str) -> PathBuf {
    let (first, rest) = id.split_at(2);
    repository.beside("mirror.git/objects").join(first).join(rest)
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).expect("a loose object");
    fs::write(path, bytes).expect("damaged");
}

/// All loose objects of the mirror.
fn all(repository: &TestRepository) -> Vec<PathBuf> {
    let folders =
        fs::read_dir(repository.beside("mirror.git/objects")).expect("objects").map(|it| it.expect("one").path());
    let of = |folder: PathBuf| fs::read_dir(folder).expect("a folder").map(|it| it.expect("one").path());
    folders.flat_map(of).filter(|path| path.is_file()).collect()
}

#[tokio::test]
async fn whatever_is_damaged_in_the_mirror_the_applied_revision_is_had_again_at_the_start_and_while_it_runs() {
    for (what, names) in [
        ("the commit", &["HEAD~"][..]),
        ("its root", &["HEAD~^{tree}"]),
        ("a folder", &["HEAD~:machines"]),
        ("a file", &["HEAD~:machines/a"]),
        ("many", &["HEAD~", "HEAD~:machines", "HEAD~:machines/a", "HEAD~:site.yaml"]),
        ("all", &[]),
    ] {
        for (bytes, restarts) in [(&b"garbage"[..], true), (b"", true), (b"garbage", false), (b"", false)] {
            let repository = TestRepository::new();
            let first = repository.push("first", &[("site.yaml", "one"), ("machines/a", "a")]);
            let mut running = Some(follow(&repository));
            let follower = running.as_ref().expect("it runs");
            follower.tree(&first).await.expect("mirrored");
            follower.set_applied(&first).await.expect("applied");
            follower.pin("node-1", &first).await.expect("pinned");
            // What the branch shows is another commit, and what was read last is that one.
            let second = repository.push("second", &[("site.yaml", "two"), ("machines/a", "b")]);
            follower.tree(&second).await.expect("mirrored");
            if restarts {
                drop(running.take());
            }
            let named: Vec<PathBuf> =
                names.iter().map(|name| object(&repository, &repository.git(&["rev-parse", name]))).collect();
            let damaged = if names.is_empty() { all(&repository) } else { named };
            damaged.iter().for_each(|path| overwrite(path, bytes));
            let follower = running.unwrap_or_else(|| follow(&repository));
            if restarts {
                assert!(repository.beside("mirror.git.damaged").exists(), "{what}: it is set aside");
            }
            assert_eq!(follower.applied().await, Ok(Some(first.clone())), "{what}");
            assert_eq!(follower.pins().await, Ok(vec![("node-1".to_owned(), first.clone())]), "{what}");
            let tree = follower.tree(&first).await.unwrap_or_else(|error| panic!("{what}, {restarts}: {error}"));
            assert_eq!((text(&tree, "site.yaml"), text(&tree, "machines/a")), ("one".to_owned(), "a".to_owned()));
            let third = repository.push("third", &[("site.yaml", "three")]);
            let tree = follower.tree(&third).await.unwrap_or_else(|error| panic!("{what}, {restarts}: {error}"));
            assert_eq!((text(&tree, "site.yaml"), text(&tree, "machines/a")), ("three".to_owned(), "b".to_owned()));
            follower.set_applied(&third).await.expect("applied");
        }
    }
}

#[tokio::test]
async fn what_is_whole_of_a_damaged_mirror_is_there_on_without_its_source() {
    let repository = TestRepository::new();
    let first = repository.push("first", &[("site.yaml", "one")]);
    let follower = follow(&repository);
    follower.tree(&first).await.expect("mirrored");
    follower.pin("node-1", &first).await.expect("pinned");
    let second = repository.push("second", &[("site.yaml", "two")]);
    follower.tree(&second).await.expect("mirrored");
    follower.set_applied(&second).await.expect("applied");
    drop(follower);
    overwrite(&object(&repository, &second), b"garbage");
    fs::create_dir(repository.beside("mirror.git.damaged")).expect("one of before");
    fs::write(repository.beside("mirror.git.damaged/old"), "").expect("one of before");
    fs::rename(repository.bare(), repository.beside("away")).expect("away");
    let follower = follow(&repository);
    assert!(repository.beside("mirror.git.damaged/objects").exists());
    assert!(!repository.beside("mirror.git.damaged/old").exists(), "the one before is gone");
    assert_eq!(text(&follower.tree(&first).await.expect("it was whole"), "site.yaml"), "one");
    assert!(follower.tree(&second).await.is_err());
    // The sweep at the start does not fail for what is missing, and what was swept away is had again with the source.
    fs::rename(repository.beside("away"), repository.bare()).expect("back");
    assert_eq!(text(&follower.tree(&second).await.expect("copied again"), "site.yaml"), "two");
    drop(follower);
    // A mirror that is whole stays where it is.
    fs::remove_dir_all(repository.beside("mirror.git.damaged")).expect("removed");
    drop(follow(&repository));
    assert!(!repository.beside("mirror.git.damaged").exists());
}

#[tokio::test]
async fn a_mirror_that_is_no_repository_any_more_is_made_anew_with_its_references() {
    for file in ["HEAD", "config"] {
        let repository = TestRepository::new();
        let first = repository.push("first", &[("site.yaml", "one")]);
        let follower = follow(&repository);
        follower.tree(&first).await.expect("mirrored");
        follower.set_applied(&first).await.expect("applied");
        drop(follower);
        let path = repository.beside("mirror.git").join(file);
        match file {
            "HEAD" => fs::remove_file(&path).expect("removed"),
            _ => fs::write(&path, "[core\n\0\0\0").expect("garbage"),
        }
        fs::rename(repository.bare(), repository.beside("away")).expect("away");
        let follower = follow(&repository);
        assert_eq!(follower.applied().await, Ok(Some(first.clone())), "{file}");
        assert_eq!(text(&follower.tree(&first).await.expect(file), "site.yaml"), "one");
    }
}

#[tokio::test]
async fn a_reference_that_holds_no_id_is_left_behind() {
    let repository = TestRepository::new();
    let first = repository.push("first", &[("site.yaml", "one")]);
    let follower = follow(&repository);
    follower.tree(&first).await.expect("mirrored");
    follower.set_applied(&first).await.expect("applied");
    follower.pin("node-1", &first).await.expect("pinned");
    drop(follower);
    fs::write(repository.beside("mirror.git/refs/formwork/applied"), "\0\0\0\0").expect("garbage");
    let follower = follow(&repository);
    assert_eq!(follower.applied().await, Ok(None));
    assert_eq!(follower.pins().await, Ok(vec![("node-1".to_owned(), first.clone())]));
}

/// A main source and one that is mounted.
struct Two {
    main: TestRepository,
    mounted: TestRepository,
}

impl Two {
    fn new() -> Self {
        let two = Self { main: TestRepository::new(), mounted: TestRepository::new() };
        two.main.push("main", &[("site.yaml", "one"), ("machines/a", "a")]);
        two.mounted.push("mounted", &[("notes.txt", "b")]);
        two
    }

    fn follow(&self) -> Follower {
        let of = |name: &str, repository: &TestRepository| {
            let branch = Follow::Branch("main".to_owned());
            SourceSettings::new(name, Location::Local(repository.bare()), branch)
        };
        let mut team = of("team", &self.mounted);
        team.mount = Some("tenants/team".to_owned());
        let sources = Sources(vec![of("main", &self.main), team]);
        Follower::start(Source::Sources(sources), &self.main.beside("mirror.git")).expect("a mirror")
    }
}

async fn composed(follower: &Follower, with: &str) -> String {
    let mut sight = follower.sight();
    let is_whole = |sight: &Sight| matches!(sight, Sight::Head(revision) if revision.message.contains(with));
    let found = tokio::time::timeout(PATIENCE, sight.wait_for(is_whole)).await.map(|it| it.map(|it| it.clone()));
    match found {
        Ok(Ok(Sight::Head(revision))) => revision.id,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn of_several_sources_whatever_is_damaged_is_put_together_again_as_it_was() {
    let kinds = ["the applied commit", "its root", "its folder of mounts", "the main source's commit", "a file", "all"];
    for (what, restarts) in kinds.into_iter().flat_map(|what| [(what, true), (what, false)]) {
        let two = Two::new();
        let mut running = Some(two.follow());
        let follower = running.as_ref().expect("it runs");
        let first = composed(follower, &two.mounted.head()).await;
        follower.tree(&first).await.expect("mirrored");
        follower.set_applied(&first).await.expect("applied");
        if restarts {
            drop(running.take());
        }
        let mirror = git2::Repository::open_bare(two.main.beside("mirror.git")).expect("a mirror");
        let id = |name: String| mirror.revparse_single(&name).expect(&name).id().to_string();
        let paths = match what {
            "all" => all(&two.main),
            "the applied commit" => vec![object(&two.main, &first)],
            "its root" => vec![object(&two.main, &id(format!("{first}^{{tree}}")))],
            "its folder of mounts" => vec![object(&two.main, &id(format!("{first}:tenants")))],
            "a file" => vec![object(&two.main, &id(format!("{first}:tenants/team/notes.txt")))],
            _ => vec![object(&two.main, &two.main.head())],
        };
        paths.iter().for_each(|path| overwrite(path, b"garbage"));
        // Also before anybody has looked at a source, and where no newer commit comes.
        let follower = running.unwrap_or_else(|| two.follow());
        let tree = follower.tree(&first).await.unwrap_or_else(|error| panic!("{what}, {restarts}: {error}"));
        let files: BTreeSet<&str> = tree.files.keys().map(String::as_str).collect();
        assert_eq!(files, BTreeSet::from(["machines/a", "site.yaml", "tenants/team/notes.txt"]), "{what}");
        follower.set_applied(&first).await.unwrap_or_else(|error| panic!("{what}, {restarts}: {error}"));
        assert_eq!(composed(&follower, &two.mounted.head()).await, first, "{what}, {restarts}");
        let next = two.main.push("next", &[("site.yaml", "two")]);
        let second = composed(&follower, &next).await;
        let tree = follower.tree(&second).await.unwrap_or_else(|error| panic!("{what}, {restarts}: {error}"));
        assert_eq!(
            (text(&tree, "site.yaml"), text(&tree, "tenants/team/notes.txt")),
            ("two".to_owned(), "b".to_owned())
        );
    }
}
