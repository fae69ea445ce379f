//! What becomes of the store when the disk fails.

use super::disk::Disk;
use crate::store::conformance::clusters::{ask, put};
use crate::store::conformance::program::Dice;
use crate::store::conformance::{NOW, decided, machine};
use crate::store::embedded::{EmbeddedStore, OnFatal, Options, check, medium, transaction};
use crate::store::{Batch, Operation, Space, Store, StoreError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What was called instead of ending the process.
#[derive(Clone, Default)]
pub(super) struct Recorder(Arc<Mutex<Vec<StoreError>>>);

impl Recorder {
    pub(super) fn hook(&self) -> OnFatal {
        let seen = Arc::clone(&self.0);
        Arc::new(move |error| seen.lock().unwrap().push(error.clone()))
    }

    pub(super) fn seen(&self) -> Vec<StoreError> {
        self.0.lock().unwrap().clone()
    }
}

pub(super) fn new_disk() -> Disk {
    let disk = Disk::default();
    let database = medium::open(&disk, 1 << 20, false).unwrap();
    transaction::initialise(&database, &disk, "lab", true, NOW).unwrap();
    drop(database);
    disk
}

pub(super) fn start(disk: &Disk, recorder: &Recorder) -> Result<EmbeddedStore, StoreError> {
    start_with(disk, Options { on_fatal: recorder.hook(), ..Options::default() })
}

pub(super) fn start_with(disk: &Disk, options: Options) -> Result<EmbeddedStore, StoreError> {
    // A small cache, so that reads come to the disk too.
    EmbeddedStore::start(Arc::new(disk.clone()), Options { cache_bytes: 1 << 16, ..options }, None)
}

fn value(key: &str, bytes: usize) -> Batch {
    let value = Some(vec![7; bytes]);
    Batch { operations: vec![Operation::Put { space: Space::Grant, key: key.into(), value }], ..Batch::default() }
}

#[tokio::test]
async fn a_full_disk_makes_the_store_read_only_until_there_is_room() {
    let (disk, recorder) = (new_disk(), Recorder::default());
    let store = start(&disk, &recorder).unwrap();
    store.commit(decided(&machine("m"), 0, "before"), NOW).await.unwrap();
    ask(&store, "m00", put("k", 1, crate::cluster::Condition::Any)).await;
    let document = store.cluster("etcd").unwrap();
    let before = store.events_after(0, 100).unwrap();

    disk.set_capacity(Some(disk.taken() + (64 << 10)));
    let mut written = 0;
    let refused = loop {
        match store.commit(value(&format!("v{written}"), 200 << 10), NOW).await {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
        assert!(written < 100, "the disk is never full");
    };
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    let refused = store.commit(decided(&machine("m"), 1, "while full"), NOW).await.unwrap_err();
    assert!(matches!(refused, StoreError::Full(_)), "{refused:?}");
    assert_eq!(store.events_after(0, 100).unwrap(), before, "it goes on reading");
    assert_eq!(store.cluster("etcd").unwrap(), document);

    disk.set_capacity(None);
    let since = Instant::now();
    while let Err(error) = store.commit(decided(&machine("m"), 1, "there is room"), NOW).await {
        assert!(matches!(error, StoreError::Full(_)), "{error:?}");
        assert!(since.elapsed() < Duration::from_secs(20), "it did not begin to write again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(store.head(&machine("m")).unwrap(), 2);
    for number in 0..written {
        assert!(store.get(Space::Grant, &format!("v{number}")).unwrap().is_some());
    }
    assert_eq!(store.get(Space::Grant, &format!("v{written}")).unwrap(), None);
    assert!(recorder.seen().is_empty());
    drop(store);
    assert_eq!(start(&disk, &recorder).unwrap().head(&machine("m")).unwrap(), 2);
}

#[tokio::test]
async fn with_little_room_nothing_is_tried_and_reading_goes_on() {
    let (disk, recorder) = (new_disk(), Recorder::default());
    let store = start(&disk, &recorder).unwrap();
    assert_eq!((store.health().full, store.health().little_room), (None, None));
    disk.set_room(Some(300 << 20));
    let said = store.health();
    let said = said.little_room.filter(|_| said.full.is_none());
    assert!(said.is_some_and(|said| said.starts_with("300 MiB are left")), "before it is full");
    disk.set_room(Some(1 << 20));
    assert!(store.health().full.is_some_and(|why| why.starts_with("1048576 bytes")), "before a write is refused");
    assert_eq!(store.health().little_room, None);
    let calls = disk.calls();
    assert!(matches!(store.commit(decided(&machine("m"), 0, "x"), NOW).await, Err(StoreError::Full(_))));
    assert_eq!(disk.calls(), calls, "the disk is left alone");
    assert_eq!(store.head(&machine("m")).unwrap(), 0);
    disk.set_room(None);
    assert_eq!(store.health().full, None);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    store.commit(decided(&machine("m"), 0, "x"), NOW).await.unwrap();
}

#[tokio::test]
async fn a_failed_fsync_ends_the_process_and_nothing_is_answered_after_it() {
    let (disk, recorder) = (new_disk(), Recorder::default());
    let store = start(&disk, &recorder).unwrap();
    store.commit(decided(&machine("m"), 0, "before"), NOW).await.unwrap();
    disk.break_sync();
    for _ in 0..3 {
        let refused = store.commit(decided(&machine("m"), 1, "after"), NOW).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Io(text) if text.contains("fsync")), "{refused:?}");
    }
    assert!(store.head(&machine("m")).is_err(), "what the kernel holds is not what the disk holds");
    assert_eq!(recorder.seen().len(), 1, "{:?}", recorder.seen());
}

#[tokio::test]
async fn a_failed_read_ends_the_process() {
    let (disk, recorder) = (new_disk(), Recorder::default());
    let store = start(&disk, &recorder).unwrap();
    for number in 0..5 {
        store.commit(value(&format!("v{number}"), 200 << 10), NOW).await.unwrap();
    }
    disk.break_read();
    let refused = (0..5).find_map(|number| store.get(Space::Grant, &format!("v{number}")).err());
    assert!(matches!(&refused, Some(StoreError::Io(text)) if text.contains("read failed")), "{refused:?}");
    assert!(store.commit(decided(&machine("m"), 0, "x"), NOW).await.is_err());
    assert_eq!(recorder.seen().len(), 1, "{:?}", recorder.seen());
}

#[test]
fn a_store_that_was_cut_short_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let path = dir.path().join("store.redb");
    let good = std::fs::read(&path).unwrap();
    for length in [1, 64, 100, 4095, 4096, 4097, good.len() / 2, good.len() - 4096, good.len() - 1] {
        std::fs::write(&path, &good[..length]).unwrap();
        let refused = check(dir.path()).unwrap_err();
        assert!(matches!(refused, StoreError::Open(_) | StoreError::Damaged(_) | StoreError::Io(_)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_changed_byte_anywhere_is_refused_or_harmless_and_never_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    for index in 0..200 {
        store.commit(decided(&machine("m"), index, &format!("reason {index}")), NOW).await.unwrap();
    }
    let events = store.events_after(0, usize::MAX).unwrap();
    drop(store);
    let path = dir.path().join("store.redb");
    let good = std::fs::read(&path).unwrap();
    let (mut dice, mut refused) = (Dice::new(7), 0);
    for _ in 0..60 {
        let mut bad = good.clone();
        for _ in 0..=dice.below(3) {
            let at = usize::try_from(dice.below(good.len() as u64)).unwrap();
            bad[at] ^= 1 << dice.below(8);
        }
        std::fs::write(&path, &bad).unwrap();
        match check(dir.path()) {
            Ok(report) => assert_eq!(report.events, 201),
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
                continue;
            }
        }
        let store = EmbeddedStore::open(dir.path()).unwrap();
        assert_eq!(store.events_after(0, usize::MAX).unwrap(), events);
    }
    assert!(refused > 0, "no damage was noticed");
}
