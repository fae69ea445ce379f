//! A backup that comes back: nothing given out since is honoured, nothing done since is undone.

use crate::cluster::{Answer, ClaimState, Condition, Operation as Ask, Refusal};
use crate::journal::{Event, MachineState, Stream};
use crate::store::conformance::clusters::{ask, member, put};
use crate::store::conformance::{NOW, machine};
use crate::store::embedded::{
    EmbeddedStore, Watch, backup, backup_watched, check, check_watched, put_aside, restore, restore_watched,
};
use crate::store::{Batch, Operation, Space, Store, StoreError};
use std::path::Path;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn events(names: &[&str], events: &[Event]) -> Batch {
    let stream = |name: &&str| machine(name);
    let all = names.iter().flat_map(|name| events.iter().map(move |event| (stream(name), event.clone())));
    Batch { events: all.collect(), ..Batch::default() }
}

/// A site with two machines and a cluster, of which `m00` holds a claim.
fn site(dir: &Path) {
    EmbeddedStore::create(dir, "lab", true).unwrap();
    let store = EmbeddedStore::open(dir).unwrap();
    let exchanged = Event::Exchanged { ticket: "t".into(), key: "k".into(), boot_id: "b".into(), generation: 3 };
    runtime().block_on(async {
        store.commit(events(&["m00", "m01"], &[exchanged]), NOW).await.unwrap();
        let grant = Operation::Put { space: Space::Grant, key: "m00".into(), value: Some(b"script".to_vec()) };
        store.commit(Batch { operations: vec![grant], ..Batch::default() }, NOW).await.unwrap();
        ask(&store, "m00", put("token", "x", Condition::Absent)).await;
        ask(&store, "m00", Ask::Claim { claim: "init".into(), ttl_ms: 60_000 }).await;
        ask(&store, &member(5), Ask::Join { set: "nodes".into(), barrier: None }).await;
    });
}

#[test]
fn a_restored_store_holds_machines_freezes_clusters_and_gives_no_number_twice() {
    let (dir, kept, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    site(dir.path());
    let copy = kept.path().join("backup.redb");
    backup(dir.path(), &copy).unwrap();
    let restored = restore(&copy, place.path(), false).unwrap();
    assert_eq!((restored.machines, restored.backup_unix_ms, &restored.replaced), (2, NOW, &None));
    assert_eq!(check(place.path()).unwrap(), restored.report);

    let store = EmbeddedStore::open(place.path()).unwrap();
    for name in ["m00", "m01"] {
        let state = MachineState::fold(&store.events_of(&machine(name), 0, 100).unwrap());
        assert_eq!(state.restored, Some(NOW));
        assert!(state.generation > 3 + 999_999, "no token given since can meet its generation again");
    }
    let site = store.events_of(&Stream::Site, 0, 10).unwrap();
    assert!(matches!(site.last().unwrap().event, Event::StoreRestored { backup_unix_ms: NOW }));
    assert_eq!(store.get(Space::Grant, "m00").unwrap(), None);
    let document = store.cluster("etcd").unwrap().unwrap();
    assert!(document.version > 1_000_000 && document.keys.contains_key("token"));
    assert_eq!(document.sets.get("nodes").unwrap().order.get(&0), Some(&member(5)));
    assert!(matches!(document.claims.get("init").unwrap().state, ClaimState::Vacant { .. }));
    let runtime = runtime();
    let claim = || Ask::Claim { claim: "init".into(), ttl_ms: 60_000 };
    let frozen = runtime.block_on(ask(&store, "m01", claim()));
    assert!(matches!(frozen, Answer::Refused(Refusal::Frozen { .. })), "{frozen:?}");
}

#[test]
fn a_store_that_is_there_is_replaced_only_when_that_is_said_and_is_kept() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    site(dir.path());
    let copy = kept.path().join("backup.redb");
    backup(dir.path(), &copy).unwrap();
    let before = std::fs::read(dir.path().join("store.redb")).unwrap();
    let refused = restore(&copy, dir.path(), false).unwrap_err();
    assert!(matches!(&refused, StoreError::Open(text) if text.contains("--replace")), "{refused}");
    assert_eq!(std::fs::read(dir.path().join("store.redb")).unwrap(), before);
    let open = EmbeddedStore::open(dir.path()).unwrap();
    let refused = restore(&copy, dir.path(), true).unwrap_err();
    assert!(matches!(&refused, StoreError::Open(text) if text.contains("another process")), "{refused}");
    drop(open);
    let aside = restore(&copy, dir.path(), true).unwrap().replaced.unwrap();
    let other = tempfile::tempdir().unwrap();
    std::fs::rename(aside, other.path().join("store.redb")).unwrap();
    assert_eq!(check(other.path()).unwrap().clusters, 1, "the one before is whole");
}

#[test]
fn what_is_no_whole_store_is_not_restored_and_nothing_is_made() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (copy, place) = (kept.path().join("backup.redb"), kept.path().join("place"));
    site(dir.path());
    backup(dir.path(), &copy).unwrap();
    let good = std::fs::read(&copy).unwrap();
    for bad in [Vec::new(), b"nothing".to_vec(), good[..good.len() / 2].to_vec(), vec![0; 8192]] {
        std::fs::write(&copy, bad).unwrap();
        let said = restore(&copy, &place, false).unwrap_err().to_string();
        assert!(said.contains("backup.redb") && !said.contains("store.redb"), "{said}");
        assert!(!said.contains("stop the server"), "{said}");
        let left: Vec<_> = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["store.lock"]);
    }
    std::fs::write(&copy, good).unwrap();
    restore(&copy, &place, false).unwrap();
}

#[test]
fn a_backup_of_another_site_replaces_nothing() {
    let (dir, kept, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    site(dir.path());
    let copy = kept.path().join("backup.redb");
    backup(dir.path(), &copy).unwrap();
    EmbeddedStore::create(other.path(), "rehearsal", true).unwrap();
    let refused = restore(&copy, other.path(), true).unwrap_err();
    assert!(
        matches!(&refused, StoreError::Open(text) if text.contains("site lab") && text.contains("site rehearsal")),
        "{refused}"
    );
    assert_eq!(check(other.path()).unwrap().events, 1, "the store that was there is there");
    assert!(!other.path().join("store.redb.restored").exists());
    // A store that cannot be read says no site, and is what a backup is for.
    std::fs::write(other.path().join("store.redb"), b"nothing").unwrap();
    restore(&copy, other.path(), true).unwrap();
}

/// The file of a store, whether its last write was long ago.
fn untouched(store: &Path) -> bool {
    store.metadata().unwrap().modified().unwrap() == LONG_AGO
}

const LONG_AGO: std::time::SystemTime = std::time::UNIX_EPOCH;

#[test]
fn a_restore_that_is_refused_does_not_write_the_store_that_is_there() {
    let (dir, kept, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    site(dir.path());
    let copy = kept.path().join("backup.redb");
    backup(dir.path(), &copy).unwrap();
    EmbeddedStore::create(other.path(), "rehearsal", true).unwrap();
    let store = other.path().join("store.redb");
    let before = std::fs::read(&store).unwrap();
    std::fs::File::open(&store).unwrap().set_modified(LONG_AGO).unwrap();
    let refused = restore(&copy, other.path(), true).unwrap_err();
    assert!(refused.to_string().contains("site rehearsal"), "{refused}");
    assert!(untouched(&store) && std::fs::read(&store).unwrap() == before);
    std::fs::write(&copy, "damaged").unwrap();
    restore(&copy, other.path(), true).unwrap_err();
    assert!(untouched(&store) && !other.path().join("store.redb.restored").exists());
}

#[test]
fn a_store_that_a_killed_restore_put_aside_is_found() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    site(dir.path());
    let copy = kept.path().join("backup.redb");
    backup(dir.path(), &copy).unwrap();
    let (store, aside) = (dir.path().join("store.redb"), dir.path().join("store.redb.replaced-1700000000000"));
    assert_eq!(put_aside(dir.path()), None);
    // As killed between two renames, with what it had made ready beside it; and an older one.
    std::fs::rename(&store, &aside).unwrap();
    std::fs::write(dir.path().join("store.redb.restored"), "made ready").unwrap();
    std::fs::write(dir.path().join("store.redb.replaced-9"), "older").unwrap();
    assert_eq!(put_aside(dir.path()).as_ref(), Some(&aside));
    let named = aside.display().to_string();
    for said in [
        EmbeddedStore::open(dir.path()).unwrap_err(),
        check(dir.path()).unwrap_err(),
        restore(&copy, dir.path(), false).unwrap_err(),
    ] {
        assert!(said.to_string().contains(&named), "{said}");
    }
    // Another site's backup is not put in its place either.
    let (other, of_other) = (tempfile::tempdir().unwrap(), kept.path().join("other.redb"));
    EmbeddedStore::create(other.path(), "rehearsal", true).unwrap();
    backup(other.path(), &of_other).unwrap();
    assert!(restore(&of_other, dir.path(), true).unwrap_err().to_string().contains("site rehearsal"));
    assert_eq!(restore(&copy, dir.path(), true).unwrap().replaced, Some(aside.clone()));
    assert!(check(dir.path()).is_ok() && aside.exists());
    assert_eq!(put_aside(dir.path()), None, "there is a store in its place");
}

#[test]
fn while_a_restored_store_takes_the_place_of_another_there_is_one() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    site(dir.path());
    let (copy, store) = (kept.path().join("backup.redb"), dir.path().join("store.redb"));
    backup(dir.path(), &copy).unwrap();
    let (done, there) = (std::sync::atomic::AtomicBool::new(false), store.clone());
    std::thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut looked = 0_u64;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                assert!(there.symlink_metadata().is_ok(), "there was no store");
                looked += 1;
            }
            looked
        });
        for _ in 0..5 {
            let aside = restore(&copy, dir.path(), true).unwrap().replaced.unwrap();
            assert!(aside.exists());
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(watching.join().unwrap() > 0);
    });
}

#[test]
fn the_keys_of_a_site_tell_a_backup_of_another_one_where_no_store_is() {
    let (dir, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    site(dir.path());
    let copy = kept.path().join("backup.redb");
    backup(dir.path(), &copy).unwrap();
    // What lies in the place of the store, whether that is replaced, whose the keys are, and whether it is restored.
    for (there, replace, keys, taken) in [
        (None, false, Some("rehearsal"), false),
        (Some(""), true, Some("rehearsal"), false),
        (Some("nothing"), true, Some("rehearsal"), false),
        (None, false, Some("lab"), true),
        (Some(""), true, Some("lab"), true),
        (None, false, None, true),
    ] {
        let other = tempfile::tempdir().unwrap();
        let file = other.path().join("store.redb");
        there.into_iter().for_each(|bytes| std::fs::write(&file, bytes).unwrap());
        let restored = restore_watched(&copy, other.path(), replace, keys, &());
        assert_eq!(restored.is_ok(), taken, "{there:?} {keys:?}: {restored:?}");
        if let Err(error) = restored {
            let said = error.to_string();
            assert!(
                said.contains("backup is of site lab, and the keys in ") && said.contains("of site rehearsal"),
                "{said}"
            );
            assert_eq!(std::fs::read(&file).ok().as_deref(), there.map(str::as_bytes), "as it was");
        }
    }
}

/// What a [`Watch`] was told: parts of the work, with how many entries were announced and done.
#[derive(Default)]
struct Told(std::cell::RefCell<Vec<(&'static str, u64, u64)>>);

impl Watch for Told {
    fn begins(&self, what: &'static str, total: u64) {
        self.0.borrow_mut().push((what, total, 0));
    }

    fn more(&self, count: u64) {
        self.0.borrow_mut().last_mut().expect("a part that has begun").2 += count;
    }
}

#[test]
fn long_work_tells_how_far_it_is_and_all_that_it_announced_is_done() {
    let dir = tempfile::tempdir().unwrap();
    site(dir.path());
    let whole = check(dir.path()).unwrap();
    let (copy, other, told) = (dir.path().join("copy"), tempfile::tempdir().unwrap(), Told::default());
    check_watched(dir.path(), &told).unwrap();
    backup_watched(dir.path(), &copy, &told).unwrap();
    restore_watched(&copy, other.path(), false, None, &told).unwrap();
    let told = told.0.into_inner();
    for (what, total, done) in &told {
        assert!(*total == 0 && *done == 0 || total == done, "{what}: {done} of {total}");
    }
    let times = |wanted: &str| told.iter().filter(|(what, ..)| *what == wanted).count();
    assert_eq!(times("comparing events"), 3, "{told:?}");
    assert!(told.contains(&("copying", whole.events, whole.events)), "{told:?}");
    assert!(told.contains(&("holding machines", 2, 2)), "{told:?}");
}
