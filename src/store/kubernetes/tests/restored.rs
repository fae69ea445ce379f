//! An older log is refused by who starts, until a person says that it came back; then nothing of what was given out counts.

use super::*;

#[tokio::test]
async fn a_server_that_starts_on_an_older_log_refuses_it_until_a_person_says_so() {
    let (memory, folder) = (site(), tempfile::tempdir().unwrap());
    let seen = |file: &str| Options {
        seen: Some(folder.path().join(file)),
        sharing: Sharing::Together,
        ..Fatal::default().options()
    };
    let open = |file: &str| KubernetesStore::open(memory.connect(), seen(file));
    let store = open("one").unwrap();
    store.commit(decided(&machine("m"), 0, "before"), NOW).await.unwrap();
    ask(&store, "m00", put("k", 1, Condition::Absent)).await;
    let older = memory.backup();
    store.commit(decided(&machine("m"), 1, "after"), NOW).await.unwrap();
    drop(store);
    // What was seen is on the disk when it ended, and a log that went on is served.
    drop(open("one").unwrap());
    memory.restore(older);
    let names = memory.names();
    let error = open("one").unwrap_err();
    let words = ["is older than it was: the log ends at segment", "formwork store restored", "Nothing was written"];
    assert!(words.iter().all(|words| error.to_string().contains(words)), "{error}");
    assert_eq!(memory.names(), names, "nothing is written to it");

    let of = Some("SHA256:aa".to_owned());
    let (connect, watch) = (memory.connect(), ());
    let restored = tokio::task::spawn_blocking(move || KubernetesStore::restored(connect, of, None, 0, &watch));
    let restored = restored.await.unwrap().unwrap();
    assert_eq!((restored.site.as_str(), restored.machines, restored.clusters), ("lab", 1, 1));
    let store = open("one").unwrap();
    let events = store.events_of(&machine("m"), 0, 10).unwrap();
    assert!(events.iter().any(|record| matches!(record.event, Event::StoreRestored { .. })), "{events:?}");
    assert!(
        events.iter().any(|record| matches!(record.event, Event::GenerationRaised { generation: 1_000_000.., .. })),
        "{events:?}"
    );
    let refused = ask(&store, "m00", put("k", 2, Condition::Any)).await;
    assert!(matches!(refused, Answer::Refused(_)), "the document is frozen: {refused:?}");
    drop(store);
    // Of another server that saw the lost end it is the same word.
    drop(open("one").unwrap());
}

#[tokio::test]
async fn what_a_server_read_last_is_kept_when_the_log_is_found_to_be_shorter() {
    let (memory, folder) = (site(), tempfile::tempdir().unwrap());
    let path = folder.path().join("store-seen");
    let options = || Options { seen: Some(path.clone()), ..Fatal::default().options() };
    let store = KubernetesStore::open(memory.connect(), options()).unwrap();
    store.commit(decided(&machine("m"), 0, "before"), NOW).await.unwrap();
    let older = memory.backup();
    for index in 1..4 {
        store.commit(decided(&machine("m"), index, "after"), NOW).await.unwrap();
    }
    memory.restore(older);
    assert!(matches!(store.commit(Batch::default(), NOW).await, Err(StoreError::Damaged(_))));
    // As it is on the disk at this moment: the process would have ended.
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(kept.contains("\"segment\":4"), "{kept}");
    drop(store);
    let error = KubernetesStore::open(memory.connect(), options()).unwrap_err();
    assert!(error.to_string().contains("ends at segment 1, and this server saw segment 4 before"), "{error}");
}

#[tokio::test]
async fn a_store_that_comes_back_a_second_time_is_noticed_a_second_time() {
    let (memory, folder) = (site(), tempfile::tempdir().unwrap());
    let path = folder.path().join("one");
    let options = |file: &str| Options {
        seen: Some(folder.path().join(file)),
        sharing: Sharing::Together,
        snapshot_segments: 4,
        ..Fatal::default().options()
    };
    let open = |file: &str| KubernetesStore::open(memory.connect(), options(file));
    let said = async || {
        let (connect, path) = (memory.connect(), path.clone());
        let said = move || KubernetesStore::restored(connect, None, Some(&path), 0, &());
        tokio::task::spawn_blocking(said).await.unwrap().unwrap();
    };
    let store = open("one").unwrap();
    store.commit(decided(&machine("m"), 0, "before"), NOW).await.unwrap();
    let first = memory.backup();
    store.commit(decided(&machine("m"), 1, "after"), NOW).await.unwrap();
    drop(store);
    for _ in 0..2 {
        memory.restore(first.clone());
        let error = open("one").unwrap_err().to_string();
        assert!(error.contains("is older than it was"), "{error}");
        said().await;
        drop(open("one").unwrap());
    }
    // The clock of whoever said so was ahead, and that word is gone with the next backup.
    let kept = std::fs::read_to_string(&path).unwrap();
    let mut ahead: serde_json::Value = serde_json::from_str(&kept).unwrap();
    ahead["restoredUnixMs"] = 9_000_000_000_000_u64.into();
    std::fs::write(&path, ahead.to_string()).unwrap();
    memory.restore(first.clone());
    open("one").unwrap_err();
    said().await;
    let store = open("one").unwrap();
    // A backup of after that word; somebody who has seen nothing goes on with it beyond what was seen, and makes snapshots.
    let second = memory.backup();
    let head = store.head(&machine("m")).unwrap();
    store.commit(decided(&machine("m"), head, "lost"), NOW).await.unwrap();
    let lost = store.position().0;
    drop(store);
    memory.restore(second);
    let other = open("another").unwrap();
    for index in head..head + 40 {
        other.commit(decided(&machine("m"), index, "without it"), NOW).await.unwrap();
    }
    until("a snapshot is beyond it", || other.position().1 > lost).await;
    drop(other);
    let error = open("one").unwrap_err().to_string();
    assert!(
        error.contains(&format!("segment {lost} of the log is not the one that this server saw before")),
        "{error}"
    );
}
