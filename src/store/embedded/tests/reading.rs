//! What looks at a store writes nothing to it.

use crate::store::conformance::{NOW, decided, machine};
use crate::store::embedded::{EmbeddedStore, backup, check, dump};
use crate::store::{Store, StoreError};

#[tokio::test]
async fn a_store_that_was_killed_is_checked_copied_and_shown_and_stays_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    EmbeddedStore::create(dir.path(), "lab", true).unwrap();
    let store = EmbeddedStore::open(dir.path()).unwrap();
    for index in 0..20 {
        store.commit(decided(&machine("m"), index, "x"), NOW).await.unwrap();
    }
    // As it lies on the disk while a server has it open: not closed in order.
    let killed = tempfile::tempdir().unwrap();
    let file = killed.path().join("store.redb");
    std::fs::copy(dir.path().join("store.redb"), &file).unwrap();
    let before = std::fs::read(&file).unwrap();
    let report = check(killed.path()).unwrap();
    assert_eq!(report.events, 21);
    let copy = killed.path().join("copy.redb");
    assert_eq!(backup(killed.path(), &copy).unwrap(), report);
    let mut lines = Vec::new();
    dump(killed.path(), &mut lines).unwrap();
    assert!(String::from_utf8(lines).unwrap().lines().count() > 20);
    assert!(std::fs::read(&file).unwrap() == before, "it was written to");
    // A server still finds it whole, and is not looked over its shoulder.
    let server = EmbeddedStore::open(killed.path()).unwrap();
    assert_eq!(server.events_after(0, 100).unwrap().len(), 21);
    let refused = check(killed.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::Open(text) if text.contains("in use")), "{refused}");
    // Also where its lock cannot be seen, the engine's own is.
    std::fs::remove_file(killed.path().join("store.lock")).unwrap();
    let refused = check(killed.path()).unwrap_err();
    assert!(matches!(&refused, StoreError::Open(text) if text.contains("in use")), "{refused}");
}
