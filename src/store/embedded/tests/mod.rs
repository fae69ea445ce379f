//! The embedded engine: the conformance suite, and what only a store in a file must keep.

mod disk;
mod failures;
mod killed;
mod power;
mod reading;
mod restored;
mod retention;

use super::{EmbeddedStore, Options, backup, backup_of_copy, check, dump, exists};
use crate::cluster::Role;
use crate::journal::{Event, Stream};
use crate::store::conformance::clusters::{ask, member, put};
use crate::store::conformance::{NOW, conformance_tests, decided, machine};
use crate::store::{Batch, Operation, Space, Store, StoreError};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

fn fresh() -> (Arc<dyn Store>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    (Arc::new(EmbeddedStore::open(dir.path()).unwrap()), dir)
}

conformance_tests!(fresh());

#[test]
fn a_missing_store_is_refused_by_its_folder_and_nothing_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("state");
    let refused = EmbeddedStore::open(&inside).unwrap_err().to_string();
    assert_eq!(refused, format!("there is no store in {}", inside.display()));
    assert!(!inside.exists());
}

#[tokio::test]
async fn a_new_store_holds_its_site_and_that_it_was_made() {
    let (store, dir) = fresh();
    assert!(exists(dir.path()));
    assert_eq!(store.get(Space::Meta, "site").unwrap().as_deref(), Some(&b"lab"[..]));
    let records = store.events_after(0, 10).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].sequence, &records[0].stream, records[0].index), (1, &Stream::Site, 0));
    assert_eq!(records[0].event, Event::SiteCreated { site: "lab".into(), fresh: true });
}

#[test]
fn a_store_is_never_made_over_another() {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let refused = EmbeddedStore::create(dir.path(), "other", true).unwrap_err();
    assert!(matches!(&refused, StoreError::Open(text) if text.contains("already")), "{refused}");
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.get(Space::Meta, "site").unwrap().as_deref(), Some(&b"lab"[..]));
}

#[test]
fn an_interrupted_creation_is_no_store_and_can_be_repeated() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("store.redb.new"), b"half").unwrap();
    assert!(EmbeddedStore::open(dir.path()).is_err());
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    EmbeddedStore::open(dir.path()).unwrap();
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_gone() {
    let (store, dir) = fresh();
    for refused in [EmbeddedStore::open(dir.path()).map(drop), check(dir.path()).map(drop)] {
        let refused = refused.unwrap_err();
        assert!(matches!(&refused, StoreError::Open(text) if text.contains("another process")), "{refused}");
    }
    drop(store);
    EmbeddedStore::open(dir.path()).unwrap();
}

#[tokio::test]
async fn what_was_answered_is_there_after_opening_again() {
    let (store, dir) = fresh();
    for index in 0..10 {
        store.commit(decided(&machine("m"), index, "x"), NOW).await.unwrap();
    }
    let before = store.events_after(0, usize::MAX).unwrap();
    drop(store);
    let report = check(dir.path()).unwrap();
    assert_eq!((report.events, report.streams, report.clusters, report.leases), (11, 2, 0, 0));
    let store = EmbeddedStore::open(dir.path()).unwrap();
    assert_eq!(store.events_after(0, usize::MAX).unwrap(), before);
    assert_eq!(*store.watch_events().borrow(), 11);
    let committed = store.commit(decided(&machine("m"), 10, "next"), NOW).await.unwrap();
    assert_eq!(committed.records[0].sequence, 12);
}

#[tokio::test]
async fn documents_come_back_and_held_claims_get_a_full_lifetime_again() {
    use crate::cluster::{Answer, ClaimState, Condition, Operation};
    let (store, dir) = fresh();
    ask(&*store, "m00", put("k/x", serde_json::json!({"a": [1, "ü"]}), Condition::Absent)).await;
    let claim = Operation::Claim { claim: "init".into(), ttl_ms: 60_000 };
    assert!(matches!(ask(&*store, "m01", claim).await, Answer::Claim(_)));
    for number in [5, 3, 12] {
        ask(&*store, &member(number), Operation::Join { set: "nodes".into(), barrier: None }).await;
    }
    let before = store.cluster("etcd").unwrap().unwrap();
    drop(store);
    let store = EmbeddedStore::open_with(dir.path(), Options { now_ms: 7, ..Options::default() }).unwrap();
    let mut after = (*store.cluster("etcd").unwrap().unwrap()).clone();
    let held = after.claims.get("init").unwrap().state.clone();
    assert_eq!(held, ClaimState::Held { ttl_ms: 60_000, expires_ms: 60_007 });
    after.claims = before.claims.clone();
    assert_eq!(after, *before, "all else is as it was");
}

#[tokio::test]
async fn a_backup_made_while_commits_go_on_is_that_store_again() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    store.commit(decided(&machine("m"), 0, "before"), NOW).await.unwrap();
    ask(&store, "m00", put("k", "v", crate::cluster::Condition::Absent)).await;
    let (events, document) = (store.events_after(0, 100).unwrap(), store.cluster("etcd").unwrap());
    let to = other.path().join("store.redb");
    store.backup(&to).unwrap();
    let report = check(other.path()).unwrap();
    store.commit(decided(&machine("m"), 1, "after"), NOW).await.unwrap();
    assert!(matches!(store.backup(&to), Err(StoreError::Open(text)) if text.contains("already")));
    drop(store);
    assert_eq!(check(other.path()).unwrap(), report);
    let copy = EmbeddedStore::open(other.path()).unwrap();
    assert_eq!(copy.events_after(0, 100).unwrap(), events);
    assert_eq!(copy.cluster("etcd").unwrap(), document);
    copy.commit(decided(&machine("m"), 1, "goes on"), NOW).await.unwrap();
    assert_eq!(backup(dir.path(), &other.path().join("second")).unwrap().events, 3);
}

#[test]
fn a_copy_has_its_name_when_it_is_whole_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let (from, to) = (dir.path().join("store.redb"), dir.path().join("copy.redb"));
    let beside = || -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_str().is_some_and(|path| path.contains("copy.redb."))).collect()
    };
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let look = |_| {
        assert!(beside().len() == 4 && !to.exists(), "{:?}", beside());
        assert_eq!(beside().iter().filter(|path| mode(path) == 0o600).count(), 1);
    };
    // What others have there, by whatever name, is neither followed nor written: nor what only looks like a left-over.
    let (others, link) = (dir.path().join("copy.redb.new"), dir.path().join("copy.redb.link.new"));
    std::fs::write(&others, "somebody's").unwrap();
    std::os::unix::fs::symlink(&others, &link).unwrap();
    let of_one_that_lives = dir.path().join(format!("copy.redb.{}-{}.new", std::process::id(), "0".repeat(32)));
    std::fs::write(&of_one_that_lives, "under way").unwrap();
    // That of a process that was killed is taken away.
    std::fs::write(dir.path().join(format!("copy.redb.{}-{}.new", u32::MAX, "f".repeat(32))), "left").unwrap();
    assert_eq!(backup_of_copy(&from, &to, &look, &()).unwrap(), check(dir.path()).unwrap());
    assert!(to.exists() && mode(&to) == 0o600 && beside().len() == 3);
    assert_eq!(std::fs::read(&others).unwrap(), b"somebody's");
    std::fs::remove_file(&to).unwrap();
    let broken = std::panic::catch_unwind(|| backup_of_copy(&from, &to, &|_| panic!("broken off"), &()));
    assert!(broken.is_err() && !to.exists() && beside().len() == 3);
    // Nor is a link in its own place followed, wherever it leads.
    std::os::unix::fs::symlink(dir.path().join("nowhere"), &to).unwrap();
    let refused = backup_of_copy(&from, &to, &|_| (), &()).unwrap_err();
    assert!(matches!(refused, StoreError::Open(_)) && !dir.path().join("nowhere").exists(), "{refused}");
    std::fs::remove_file(&to).unwrap();
    backup_of_copy(&from, &to, &|_| (), &()).unwrap();
    let refused = backup_of_copy(&from, &to, &|_| (), &()).unwrap_err();
    assert!(matches!(refused, StoreError::Open(_)) && to.exists(), "{refused}");
    // What is not whole gets no name and takes no room.
    std::fs::remove_file(&to).unwrap();
    let bytes = std::fs::read(&from).unwrap();
    std::fs::write(&from, &bytes[..bytes.len() / 2]).unwrap();
    backup_of_copy(&from, &to, &|_| (), &()).unwrap_err();
    assert!(!to.exists() && beside().len() == 3);
}

#[tokio::test]
async fn a_dump_shows_events_but_no_value() {
    let (store, dir) = fresh();
    store.commit(decided(&machine("m"), 0, "a broken fan"), NOW).await.unwrap();
    ask(&*store, "m00", put("join", "hush-key", crate::cluster::Condition::Absent)).await;
    let grant = Operation::Put { space: Space::Grant, key: "m".into(), value: Some(b"hush-grant".to_vec()) };
    store.commit(Batch { operations: vec![grant], ..Batch::default() }, NOW).await.unwrap();
    drop(store);
    let mut out = Vec::new();
    dump(dir.path(), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    assert!(text.contains("a broken fan") && !text.contains("hush"), "{text}");
    assert!(text.contains(r#"{"key":"join","version":1,"bytes":8,"secret":false}"#), "{text}");
    assert!(text.contains(r#"{"value":{"space":"grant","key":"m","bytes":10}}"#), "{text}");
}

#[test]
fn a_file_that_is_no_store_is_refused_without_a_panic() {
    let text = b"this is a text, not a database".repeat(1000);
    for garbage in [Vec::new(), vec![0; 1 << 16], text, b"redb\x1a\x0a\xa9\x0d\x0a".to_vec(), vec![0xff; 4096]] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("store.redb"), &garbage).unwrap();
        let refused = EmbeddedStore::open(dir.path()).unwrap_err();
        assert!(
            matches!(refused, StoreError::Open(_) | StoreError::Damaged(_) | StoreError::Io(_)),
            "{} bytes: {refused}",
            garbage.len()
        );
        assert_eq!(std::fs::read(dir.path().join("store.redb")).unwrap(), garbage, "it is left as it was");
    }
}

#[tokio::test]
async fn a_full_queue_is_refused_at_once() {
    let disk = failures::new_disk();
    let store = failures::start_with(&disk, Options { queue: 1, ..Options::default() }).unwrap();
    // The writer takes what it can get into one group, and then waits for the disk; the queue behind it is soon full.
    disk.hold(true);
    let mut waiting = Vec::new();
    let mut busy = 0;
    for index in 0..2000 {
        match store.send(decided(&machine(&format!("m{index}")), 0, "x"), NOW) {
            Ok(reply) => waiting.push(reply),
            Err(StoreError::Busy) => busy += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(busy > 0);
    disk.hold(false);
    let accepted = waiting.len();
    for reply in waiting {
        reply.await.unwrap().unwrap();
    }
    assert_eq!(store.events_after(0, usize::MAX).unwrap().len(), accepted + 1);
}

#[tokio::test]
async fn who_leads_is_told_without_the_disk_and_never_before_it_is_durable() {
    use crate::cluster::{Answer, Operation};
    let claim = |name: &str| Operation::Claim { claim: name.into(), ttl_ms: 60_000 };
    let role = |answer: Answer| match answer {
        Answer::Claim(answer) => answer.role,
        other => panic!("{other:?}"),
    };
    let disk = failures::new_disk();
    let store: Arc<dyn Store> = Arc::new(failures::start_with(&disk, Options::default()).unwrap());
    assert_eq!(role(ask(&*store, "m00", claim("init")).await), Role::Leader);
    ask(&*store, "m00", Operation::Join { set: "nodes".into(), barrier: None }).await;
    disk.hold(true);
    let soon = std::time::Duration::from_secs(10);
    let follower = tokio::time::timeout(soon, ask(&*store, "m01", claim("init"))).await;
    assert_eq!(role(follower.expect("no disk is needed")), Role::Follower);
    let again = Operation::Join { set: "nodes".into(), barrier: None };
    tokio::time::timeout(soon, ask(&*store, "m00", again)).await.expect("it is in already");
    // A claim that is being written is nobody's yet.
    let of = |name: &'static str| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { ask(&*store, name, claim("other")).await })
    };
    let (first, second) = (of("m02"), of("m03"));
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert!(!first.is_finished() && !second.is_finished(), "neither is told before one of them is durably the leader");
    disk.hold(false);
    let roles = [role(first.await.unwrap()), role(second.await.unwrap())];
    assert!(roles.contains(&Role::Leader) && roles.contains(&Role::Follower), "{roles:?}");
}
