//! What breaks: the last good revision serves throughout, and the status says what is wrong.

use super::site::{PATIENCE, Site, disks_possible, git, machine, try_git};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Waits until the status says so while the label stays what it is at every look, and says how long it took.
fn told(site: &Site, what: &str, label: &str, so: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let began = Instant::now();
    let serves = || assert_eq!(site.serves_label(), label, "{what}: the last good revision serves");
    let content = site.until(what, |content| {
        serves();
        so(content)
    });
    println!("{what}: told {:?} later", began.elapsed());
    serves();
    content
}

#[test]
fn a_disk_that_fills_while_the_mirror_is_written_is_told_and_goes_on_when_there_is_room() {
    if !disks_possible("a_disk_that_fills_while_the_mirror_is_written_is_told_and_goes_on_when_there_is_room") {
        return;
    }
    let mut site = Site::new();
    site.in_namespace("mkdir -p state/mirror.git && mount -t tmpfs -o size=2m tmpfs state/mirror.git");
    site.start();
    let first = site.head();
    site.applied(&first);
    // Six megabytes of which half are left when they are pressed together.
    let mut state = 7_u64;
    let noise: String = (0..400_000)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            format!("{state:016x}")
        })
        .collect();
    site.write("notes.txt", &noise);
    site.label("1");
    let large = site.push("too large for the disk");
    let content = told(&site, "the disk is full", "0", |content| content["reason"] == "Postponed");
    assert_eq!(content["lastAttemptedRevision"], *large, "{content:#}");
    assert_eq!(content["lastAppliedRevision"], *first, "{content:#}");
    let message = content["message"].as_str().unwrap();
    assert!(message.contains("mirror") && message.contains("make room"), "{message}");
    // The next commit needs less.
    std::fs::remove_file(site.work().join("notes.txt")).unwrap();
    let small = site.push_label("2");
    site.applied(&small);
    assert_eq!(site.serves_label(), "2");
}

#[test]
fn a_server_killed_between_fetch_and_swap_comes_back_with_a_whole_good_revision() {
    let mut site = Site::started();
    let mut good = vec![(site.head(), "0".to_owned())];
    let mut newest_served = 0;
    for round in 1..=12_u32 {
        // A burst of commits, some of them broken, and the kill somewhere in it.
        for n in 0..3 {
            let label = format!("{round}.{n}");
            if n == 1 {
                site.push_broken(&label);
            } else {
                good.push((site.push_label(&label), label));
            }
        }
        std::thread::sleep(Duration::from_millis(u64::from(round * 37 % 120)));
        site.kill();
        site.start();
        let content = site.until("something serves", |content| content["lastAppliedRevision"].is_string());
        let label = site.serves_label();
        let place = good.iter().position(|(_, it)| *it == label);
        let place = place.unwrap_or_else(|| panic!("{label} was never good\n{content:#}"));
        assert!(place >= newest_served, "round {round}: {label} is older than what served before\n{content:#}");
        newest_served = place;
    }
    let last = site.push_label("the last");
    site.applied(&last);
    assert_eq!(site.serves_label(), "the last");
    // What was written down is what happened: only good ones were applied, in their order.
    let applied: Vec<usize> = site
        .history()
        .iter()
        .filter(|(outcome, revision)| outcome == "applied" && *revision != last)
        .map(|(_, revision)| good.iter().position(|(id, _)| id == revision).expect("a good one"))
        .collect();
    assert!(applied.is_sorted(), "{applied:?}");
    println!("{} of {} good revisions served between twelve kills", applied.len(), good.len());
}

#[test]
fn a_kill_after_the_fetch_and_before_the_swap_leaves_the_old_revision_and_then_the_new_one() {
    let mut site = Site::started();
    let first = site.head();
    // Enough that between the two there is a while.
    for number in 10..1_500 {
        site.write(&format!("machines/m{number}.yaml"), &machine(&format!("m{number}"), number, "1"));
    }
    let second = site.push_label("1");
    let mirror = site.path("state/mirror.git");
    let commit = format!("{second}^{{commit}}");
    let began = Instant::now();
    while !try_git(&mirror, &["cat-file", "-e", &commit]).status.success() {
        assert!(began.elapsed() < PATIENCE, "it is never fetched\n{}", site.said());
    }
    site.kill();
    let applied = git(&mirror, &["rev-parse", "refs/formwork/applied"]);
    assert_eq!(applied, first, "the kill came before the swap");
    // Without its source there is only what the mirror says was applied.
    std::fs::rename(site.bare(), site.path("away.git")).unwrap();
    git(&site.path(""), &["init", "-q", "--bare", "-b", "main", "site.git"]);
    site.start();
    told(&site, "started anew without a source", "0", |content| content["reason"] == "SourceUnavailable");
    std::fs::remove_dir_all(site.bare()).unwrap();
    std::fs::rename(site.path("away.git"), site.bare()).unwrap();
    site.applied(&second);
    assert_eq!(site.serves_label(), "1");
    let history = site.history().into_iter().filter(|(outcome, _)| outcome == "applied");
    assert_eq!(history.map(|(_, revision)| revision).collect::<Vec<_>>(), [first, second]);
}

#[test]
fn a_hundred_pushes_a_minute_starve_nothing() {
    let site = Site::started();
    let began = Instant::now();
    let mut served = std::collections::BTreeSet::new();
    let mut last = String::new();
    for n in 1..=100_u32 {
        let due = began + Duration::from_millis(600) * n;
        last = if n % 4 == 0 { site.push_broken(&n.to_string()) } else { site.push_label(&n.to_string()) };
        let serves = site.serves_label();
        assert!(serves.parse::<u32>().is_ok_and(|serves| serves % 4 != 0 || serves == 0), "{serves} was never good");
        served.insert(serves);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    println!("100 pushes in {:?}: {} different revisions were seen serving", began.elapsed(), served.len());
    assert!(served.len() > 2, "nothing was applied while pushes came: {served:?}");
    let content = site.attempted(&last);
    assert_eq!(content["reason"], "Refused", "the last was broken: {content:#}");
    let ended = Instant::now();
    let last = site.push_label("the last");
    site.applied(&last);
    println!("the last served {:?} after its push", ended.elapsed());
}

#[test]
fn of_two_pushes_at_once_one_wins_and_both_are_served_in_the_end() {
    let site = Site::started();
    let clone = |name: &str| -> PathBuf {
        git(&site.path(""), &["clone", "-q", "site.git", name]);
        site.path(name)
    };
    let clones = [clone("one"), clone("two")];
    let pushed: Vec<usize> = std::thread::scope(|scope| {
        let pushers: Vec<_> = clones
            .iter()
            .enumerate()
            .map(|(who, clone)| {
                scope.spawn(move || {
                    let mut refused = 0;
                    for n in 0..5 {
                        std::fs::write(clone.join(format!("notes-{who}-{n}.txt")), "x").unwrap();
                        git(clone, &["add", "-A"]);
                        git(clone, &["commit", "-q", "-m", &format!("{who} {n}")]);
                        let limit = Instant::now() + PATIENCE;
                        while !try_git(clone, &["push", "-q", "origin", "HEAD:main"]).status.success() {
                            assert!(Instant::now() < limit, "the push is refused for ever");
                            refused += 1;
                            try_git(clone, &["pull", "-q", "--rebase", "origin", "main"]);
                        }
                    }
                    refused
                })
            })
            .collect();
        pushers.into_iter().map(|pusher| pusher.join().unwrap()).collect()
    });
    println!("pushes that came second and were made again: {pushed:?}");
    let head = git(&site.bare(), &["rev-parse", "main"]);
    site.applied(&head);
    let files = git(&site.bare(), &["ls-tree", "--name-only", "main"]);
    assert_eq!(files.lines().filter(|file| file.starts_with("notes-")).count(), 10);
    assert_eq!(site.serves_label(), "0");
}

#[test]
fn a_branch_that_is_rewritten_by_force_is_followed_and_told() {
    let site = Site::started();
    let first = site.head();
    let second = site.push_label("1");
    site.applied(&second);
    // Back to the first, then on from there to something else.
    git(&site.work(), &["push", "-q", "--force", "origin", &format!("{first}:main")]);
    site.applied(&first);
    assert_eq!(site.serves_label(), "0");
    git(&site.work(), &["reset", "-q", "--hard", &first]);
    let other = site.push_label("other");
    site.applied(&other);
    assert_eq!(site.serves_label(), "other");
    let applied = |revision: &String| ("applied".to_owned(), revision.clone());
    let history: Vec<_> = site.history().into_iter().filter(|(outcome, _)| outcome == "applied").collect();
    assert_eq!(history, [applied(&first), applied(&second), applied(&first), applied(&other)]);
}

/// Cuts an object of the repository in half; where it is, and what it was.
fn cut_in_half(site: &Site, name: &str) -> (PathBuf, Vec<u8>) {
    let id = git(&site.work(), &["rev-parse", name]);
    let (folder, rest) = id.split_at(2);
    let object = site.bare().join("objects").join(folder).join(rest);
    let whole = std::fs::read(&object).expect("a loose object");
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, &whole[..whole.len() / 2]).unwrap();
    (object, whole)
}

#[test]
fn a_repository_that_is_corrupted_on_disk_is_told_and_followed_again_once_it_is_mended() {
    let mut site = Site::started();
    let first = site.head();
    // The branch itself.
    let reference = site.bare().join("refs/heads/main");
    std::fs::write(&reference, "this is no commit\n").unwrap();
    let content = told(&site, "the branch is garbage", "0", |content| content["reason"] == "SourceUnavailable");
    assert_eq!((content["condition"].as_str(), site.ends(&["status"]).0), (Some("Stalled"), 1));
    assert_eq!(content["lastAppliedRevision"], *first);
    std::fs::write(&reference, format!("{first}\n")).unwrap();
    site.applied(&first);
    // An object of a newer commit, overwritten.
    site.label("1");
    let second = site.commit("second");
    git(&site.work(), &["push", "-q", "origin", "HEAD:refs/heads/aside"]);
    let tree = git(&site.work(), &["rev-parse", "HEAD:machines"]);
    let (folder, rest) = tree.split_at(2);
    let object = site.bare().join("objects").join(folder).join(rest);
    let whole = std::fs::read(&object).expect("a loose object");
    std::fs::remove_file(&object).unwrap();
    std::fs::write(&object, b"garbage where a folder was").unwrap();
    git(&site.bare(), &["update-ref", "refs/heads/main", &second]);
    let content = told(&site, "an object is garbage", "0", |content| {
        content["reason"] == "SourceUnavailable" && content["lastAttemptedRevision"] == *second
    });
    assert_eq!(content["lastAppliedRevision"], *first);
    // Also started anew it serves what it has, without the source.
    site.kill();
    site.start();
    told(&site, "started anew with a broken source", "0", |content| content["reason"] == "SourceUnavailable");
    std::fs::write(&object, &whole).unwrap();
    site.applied(&second);
    assert_eq!(site.serves_label(), "1");
    // One that is cut in half, as a power cut leaves it: a folder, a file, the commit itself.
    for (label, what) in [("2", "HEAD:machines"), ("3", "HEAD:machines/a.yaml"), ("4", "HEAD")] {
        let before = git(&site.bare(), &["rev-parse", "main"]);
        let served = site.serves_label();
        site.label(label);
        let next = site.commit(label);
        git(&site.work(), &["push", "-q", "origin", "HEAD:refs/heads/aside"]);
        let (object, whole) = cut_in_half(&site, what);
        // git itself does not let a branch point to a commit that it cannot read.
        std::fs::write(&reference, format!("{next}\n")).unwrap();
        let content = told(&site, what, &served, |content| {
            let message = content["message"].as_str().unwrap_or_default();
            message.contains("corrupt") && message.contains(&next)
        });
        assert_eq!(content["lastAppliedRevision"], *before, "{content:#}");
        std::fs::remove_file(&object).unwrap();
        std::fs::write(&object, whole).unwrap();
        site.applied(&next);
        assert_eq!(site.serves_label(), label, "{what}");
    }
    let second = git(&site.bare(), &["rev-parse", "main"]);
    // All of it is gone.
    std::fs::rename(site.bare(), site.path("away.git")).unwrap();
    told(&site, "the repository is gone", "4", |content| content["reason"] == "SourceUnavailable");
    std::fs::rename(site.path("away.git"), site.bare()).unwrap();
    site.applied(&second);
}

#[test]
fn damage_of_what_serves_already_is_told_within_a_moment_and_so_is_its_mending() {
    let site = Site::started();
    let first = site.head();
    site.applied(&first);
    for what in ["HEAD:machines/a.yaml", "HEAD:machines", "HEAD^{tree}"] {
        let (object, whole) = cut_in_half(&site, what);
        let content = told(&site, what, "0", |content| content["reason"] == "SourceUnavailable");
        let message = content["message"].as_str().unwrap_or_default();
        assert!(message.contains("fsck") && message.contains("site.git"), "{message}");
        assert_eq!((content["condition"].as_str(), site.ends(&["status"]).0), (Some("Stalled"), 1));
        assert_eq!(content["lastAppliedRevision"], *first);
        std::fs::remove_file(&object).unwrap();
        told(&site, "it is gone", "0", |content| content["reason"] == "SourceUnavailable");
        std::fs::write(&object, whole).unwrap();
        told(&site, "put back", "0", |content| content["condition"] == "Ready");
    }
}

// A disk that is not mounted yet when the machine starts is no reason to serve nothing.
#[test]
fn a_start_without_the_repository_serves_what_served_last_and_follows_it_when_it_is_there() {
    let mut site = Site::started();
    let first = site.head();
    site.applied(&first);
    site.kill();
    std::fs::rename(site.bare(), site.path("away.git")).unwrap();
    site.start();
    let content = told(&site, "it is away", "0", |content| content["reason"] == "SourceUnavailable");
    assert_eq!((&content["lastAppliedRevision"], site.ends(&["status"]).0), (&first.clone().into(), 1));
    assert!(site.said().contains("what served last goes on"), "{}", site.said());
    std::fs::rename(site.path("away.git"), site.bare()).unwrap();
    told(&site, "it is there again", "0", |content| content["condition"] == "Ready");
}

// A list of many machines is made of one revision, and says of which, though others begin to serve while it is made.
#[test]
fn a_list_is_of_one_revision_while_pushes_come() {
    let mut site = Site::new();
    let push_all = |site: &Site, label: &str| {
        for number in 10..110 {
            site.write(&format!("machines/m{number}.yaml"), &machine(&format!("m{number}"), number, label));
        }
        (site.push_label(label), label.to_owned())
    };
    let mut pushed = vec![push_all(&site, "0")];
    site.start();
    site.applied(&pushed[0].0);
    let ended = AtomicBool::new(false);
    let seen = std::thread::scope(|scope| {
        let lists = scope.spawn(|| {
            let mut seen = Vec::new();
            while !ended.load(Ordering::Relaxed) {
                seen.push(site.serves());
            }
            seen
        });
        pushed.extend((1..=6).map(|n| {
            let pushed = push_all(&site, &n.to_string());
            site.applied(&pushed.0);
            pushed
        }));
        ended.store(true, Ordering::Relaxed);
        lists.join().unwrap()
    });
    for one in &seen {
        assert!(pushed.contains(one), "{one:?} was never pushed: {pushed:?}");
    }
    println!("{} lists of 102 machines, each of one revision, between six pushes", seen.len());
}

/// Overwrites objects of the mirror.
fn damage_mirror(site: &Site, ids: &[String]) {
    for id in ids {
        let (folder, rest) = id.split_at(2);
        let object = site.path("state/mirror.git/objects").join(folder).join(rest);
        std::fs::remove_file(&object).expect("a loose object");
        std::fs::write(&object, b"garbage where an object was").unwrap();
    }
}

// Whatever the disk has lost of the mirror the repository still has: no new commit is waited for, which may be long in coming.
#[test]
fn a_mirror_that_is_damaged_while_the_server_is_down_is_made_anew_and_the_applied_revision_serves() {
    let mut site = Site::started();
    let first = site.head();
    let of = |names: &[&str]| names.iter().map(|name| git(&site.work(), &["rev-parse", name])).collect::<Vec<_>>();
    let kinds = [
        of(&["HEAD"]),
        of(&["HEAD^{tree}"]),
        of(&["HEAD:machines"]),
        of(&["HEAD", "HEAD^{tree}", "HEAD:machines", "HEAD:machines/a.yaml", "HEAD:site.yaml"]),
    ];
    // The newest commit is refused: what serves is only the one before.
    let broken = site.push_broken("broken");
    site.attempted(&broken);
    for ids in kinds {
        site.kill();
        damage_mirror(&site, &ids);
        site.start();
        let content = told(&site, "started anew with a damaged mirror", "0", |content| {
            content["lastAppliedRevision"] == *first && content["lastAttemptedRevision"] == *broken
        });
        assert_eq!(content["reason"], "Refused", "{content:#}");
        assert!(site.path("state/mirror.git.damaged/objects").is_dir(), "{ids:?}: it is set aside");
        assert!(site.said().contains("the mirror is damaged"), "{}", site.said());
        let applied = git(&site.path("state/mirror.git"), &["rev-parse", "refs/formwork/applied^{tree}"]);
        assert_eq!(applied, git(&site.work(), &["rev-parse", &format!("{first}^{{tree}}")]));
    }
}
