//! What an API server does to its clients: it loses requests and replies, goes away, has no room, comes back older.

use super::*;
use crate::store::kubernetes::objects::snapshot_name;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_request_or_reply_is_neither_lost_nor_done_twice() {
    let memory = site();
    let stores = [open(&memory), open(&memory)];
    memory.set(Mood { lose_replies: 3, lose_requests: 4, ..Mood::default() });
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let store = Arc::clone(&stores[task % 2]);
        tasks.spawn(async move {
            let mut written = Vec::new();
            for round in 0..8 {
                let stream = machine(&format!("m{}", round % 3));
                loop {
                    let head = store.head(&stream).unwrap();
                    match store.commit(decided(&stream, head, &format!("{task}-{round}")), NOW).await {
                        Ok(committed) => break written.push(committed.records[0].clone()),
                        Err(StoreError::Conflict { .. }) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            }
            written
        });
    }
    let mut written = tasks.join_all().await.concat();
    written.sort_by_key(|record| record.sequence);
    memory.set(Mood::default());
    let store = open(&memory);
    assert_eq!(store.events_after(1, 1_000).unwrap(), written);
}

#[tokio::test]
async fn while_nothing_answers_there_are_reads_and_writes_fail_in_time() {
    let memory = site();
    let options = Options { patience: Duration::from_millis(50), queue: 2, ..Fatal::default().options() };
    let store = Arc::new(KubernetesStore::open(memory.connect(), options).unwrap());
    store.commit(decided(&machine("m"), 0, "before"), NOW).await.unwrap();
    memory.set(Mood { down: true, ..Mood::default() });
    let refused = store.commit(decided(&machine("m"), 1, "during"), NOW).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Unreachable(text) if text.contains("not known")), "{refused}");
    // Nothing is granted from memory, and an answer that changes nothing is none either.
    let unchanged = store.commit(Batch::default(), NOW).await.unwrap_err();
    assert!(matches!(unchanged, StoreError::Unreachable(_)), "{unchanged}");
    assert_eq!(store.head(&machine("m")).unwrap(), 1);
    let health = store.health();
    assert!(health.unreachable.is_some() && health.full.is_none(), "a disk is not what is missing: {health:?}");
    // The queue is bounded: one is with the writer, two wait.
    let batches = (0..20).map(|_| store.commit(decided(&machine("m"), 1, "many"), NOW)).collect::<Vec<_>>();
    let mut busy = 0;
    for batch in batches {
        busy += usize::from(matches!(batch.await, Err(StoreError::Busy)));
    }
    // On a slow machine some give up before the last are asked, and make room.
    assert!(busy >= 10, "{busy}");
    memory.set(Mood::default());
    until("it answers again", || store.health().unreachable.is_none()).await;
    store.commit(decided(&machine("m"), 1, "after"), NOW).await.unwrap();
    let reasons = store.events_of(&machine("m"), 0, 10).unwrap();
    assert!(matches!(&reasons[1].event, Event::Held { reason } if reason == "after"), "{reasons:?}");
}

#[tokio::test]
async fn a_quota_or_a_full_etcd_is_said_as_such() {
    let (store, memory) = fresh();
    memory.set(Mood { full: true, ..Mood::default() });
    let full = store.commit(decided(&machine("m"), 0, "x"), NOW).await.unwrap_err();
    assert!(matches!(full, StoreError::Full(_)), "{full}");
    let health = store.health();
    assert!(health.full.is_some() && health.unreachable.is_none(), "{health:?}");
    memory.set(Mood::default());
    store.commit(decided(&machine("m"), 0, "x"), NOW).await.unwrap();
    assert!(store.health().full.is_none());
}

#[tokio::test]
async fn a_store_that_was_full_finds_by_itself_that_there_is_room_again() {
    let memory = site();
    let options = Options { room_every: Duration::from_millis(50), ..Fatal::default().options() };
    let store = KubernetesStore::open(memory.connect(), options).unwrap();
    memory.set(Mood { full: true, ..Mood::default() });
    store.commit(decided(&machine("m"), 0, "x"), NOW).await.unwrap_err();
    // What needs no room says nothing of it.
    store.commit(Batch::default(), NOW).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    let full = store.health().full.expect("it is full still");
    assert!(full.contains("so it is since 2") && full.contains("tried again by each write"), "{full}");
    assert_eq!(memory.names(), ["formwork-store"], "nothing was written meanwhile");
    memory.set(Mood::default());
    until("there is room", || store.health().full.is_none()).await;
    assert_eq!(store.position().0, 1, "by one small write");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(store.position().0, 1, "and by no other");
    assert_eq!(store.health().log.segment, 1);
}

/// A store with five segments that says what is fatal, and what was there after three.
async fn came_back_older() -> (Arc<Memory>, KubernetesStore, Fatal, impl FnOnce()) {
    let (memory, fatal) = (site(), Fatal::default());
    let store = KubernetesStore::open(memory.connect(), fatal.options()).unwrap();
    let mut older = None;
    for index in 0..5 {
        if index == 3 {
            older = Some(memory.backup());
        }
        store.commit(decided(&machine("m"), index, "x"), NOW).await.unwrap();
    }
    let restoring = Arc::clone(&memory);
    (memory, store, fatal, move || restoring.restore(older.unwrap()))
}

#[tokio::test]
async fn an_older_backup_of_etcd_is_found_by_the_next_write() {
    let (memory, store, fatal, restore) = came_back_older().await;
    restore();
    let damaged = store.commit(decided(&machine("m"), 5, "lost ground"), NOW).await.unwrap_err();
    assert!(
        matches!(&damaged, StoreError::Damaged(text) if text.contains("segment 4") || text.contains("segment 5")),
        "{damaged}"
    );
    assert!(fatal.said().is_some_and(|said| said.contains("damaged")));
    assert!(matches!(store.commit(Batch::default(), NOW).await, Err(StoreError::Damaged(_))), "it stays so");
    // What it wrote beyond the gap is no log for anybody.
    let damaged = KubernetesStore::open(memory.connect(), Options::default()).unwrap_err();
    assert!(
        matches!(&damaged, StoreError::Damaged(text) if text.contains("segment 4 of the log is missing")),
        "{damaged}"
    );
}

#[tokio::test]
async fn an_older_backup_of_etcd_is_found_by_the_next_answer_that_writes_nothing() {
    let (_memory, store, _, restore) = came_back_older().await;
    restore();
    let damaged = store.commit(Batch::default(), NOW).await.unwrap_err();
    assert!(matches!(&damaged, StoreError::Damaged(text) if text.contains("older backup")), "{damaged}");
}

#[tokio::test]
async fn an_older_backup_of_etcd_is_found_by_who_only_follows() {
    let (memory, _store, fatal, restore) = came_back_older().await;
    restore();
    // Others went on from there.
    let other = open(&memory);
    other.commit(decided(&machine("m"), 3, "another fourth"), NOW).await.unwrap();
    until("it is found", || fatal.said().is_some()).await;
    assert!(fatal.said().unwrap().contains("segment 4 of the log: it is not the one that was read"));
}

#[tokio::test]
async fn a_store_that_was_made_anew_is_not_this_one() {
    let (memory, _store, fatal, _) = came_back_older().await;
    memory.restore(std::collections::BTreeMap::new());
    KubernetesStore::create(memory.connect(), "lab", true).unwrap();
    memory.forget_history();
    until("it is found", || fatal.said().is_some()).await;
    assert!(fatal.said().unwrap().contains("another one by now"), "{:?}", fatal.said());
}

#[tokio::test]
async fn garbage_in_the_log_is_damage_with_its_place() {
    for (bytes, why) in [
        (&b""[..], "formwork-segment-00000000000000000002: it is not what its name says"),
        (b"\0", "segment 2 of the log: it is cut off"),
        (&[0; 100], "segment 2 of the log: its bytes are not those that were written"),
    ] {
        let (memory, fatal) = (site(), Fatal::default());
        let store = KubernetesStore::open(memory.connect(), fatal.options()).unwrap();
        store.commit(decided(&machine("m"), 0, "x"), NOW).await.unwrap();
        memory.meddle(Kind::Segment, &segment_name(2), bytes);
        until("it is found", || fatal.said().is_some()).await;
        assert!(fatal.said().unwrap().contains(why), "{:?}", fatal.said());
        assert!(matches!(store.commit(decided(&machine("m"), 1, "x"), NOW).await, Err(StoreError::Damaged(_))));
        let damaged = KubernetesStore::open(memory.connect(), Options::default()).unwrap_err();
        assert!(matches!(&damaged, StoreError::Damaged(text) if text.contains(why)), "{damaged}");
    }
}

#[tokio::test]
async fn a_deleted_segment_is_damage_unless_a_snapshot_holds_it() {
    let (memory, fatal) = (site(), Fatal::default());
    let options = Options { snapshot_segments: 4, kept_segments: 1, ..fatal.options() };
    let store = KubernetesStore::open(memory.connect(), options).unwrap();
    for index in 0..6 {
        store.commit(decided(&machine("m"), index, "x"), NOW).await.unwrap();
    }
    until("a snapshot is there", || store.position().1 >= 4).await;
    let (last, snapshot) = store.position();
    until("what it holds is gone", || !memory.names().contains(&segment_name(1))).await;
    assert!(memory.names().contains(&snapshot_name(snapshot)));
    drop(store);
    assert_eq!(open(&memory).head(&machine("m")).unwrap(), 6);
    memory.lose(&snapshot_name(snapshot));
    let damaged = KubernetesStore::open(memory.connect(), Options::default()).unwrap_err();
    assert!(matches!(&damaged, StoreError::Damaged(text) if text.contains("is missing")), "{damaged} {last}");
    assert!(fatal.said().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claims_count_on_through_an_outage_of_one_in_which_another_served_and_not_through_one_of_all() {
    let memory = site();
    let ways = [memory.another_way(), memory];
    let opened = |memory: &Arc<Memory>| {
        let (sharing, patience) = (Sharing::Together, Duration::from_millis(50));
        let options = Options { sharing, patience, served_meanwhile: true, ..Fatal::default().options() };
        Arc::new(KubernetesStore::open(memory.connect(), options).unwrap())
    };
    let [cut_off, serves] = [opened(&ways[0]), opened(&ways[1])];
    let now = || {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        i64::try_from(since.as_millis()).unwrap()
    };
    let claim = cluster::Operation::Claim { claim: "init".into(), ttl_ms: 60_000 };
    assert!(matches!(ask(&*serves, "m01", claim).await, Answer::Claim(_)));
    let ends = |store: &KubernetesStore| cluster::next_expiry_ms(&store.cluster("etcd").unwrap().unwrap()).unwrap();
    let before = ends(&serves);
    // So long that claims could not be renewed.
    let is_away = async |which: usize, store: &Arc<KubernetesStore>| {
        ways[which].set(Mood { down: true, ..Mood::default() });
        for _ in 0..2 {
            store.commit(Batch::default(), now()).await.unwrap_err();
            tokio::time::sleep(Duration::from_millis(1_100)).await;
        }
        store.commit(Batch::default(), now()).await.unwrap_err();
    };
    is_away(0, &cut_off).await;
    serves.commit(decided(&machine("m"), 0, "meanwhile"), now()).await.unwrap();
    ways[0].set(Mood::default());
    until("it answers again", || cut_off.health().unreachable.is_none()).await;
    until("it knows what was written", || cut_off.head(&machine("m")).unwrap() == 1).await;
    cut_off.commit(decided(&machine("m"), 1, "after"), now()).await.unwrap();
    assert_eq!(ends(&cut_off), before);
    tokio::join!(is_away(0, &cut_off), is_away(1, &serves));
    ways.iter().for_each(|way| way.set(Mood::default()));
    until("it answers again", || serves.health().unreachable.is_none()).await;
    until("the other has written", || serves.head(&machine("m")).unwrap() == 2).await;
    serves.commit(decided(&machine("m"), 2, "after all"), now()).await.unwrap();
    assert!(ends(&serves) > before, "nobody could renew it");
}
