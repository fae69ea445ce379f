//! Cluster documents through a store: operations are applied in order, durable with their events, and seen at once.

use super::{NOW, decided, held, machine};
use crate::cluster::{Answer, Caller, Condition, Content, Context, Document, Operation as Ask, Refusal, Request, Role};
use crate::journal::{Event, Stream};
use crate::store::{Batch, Operation, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// What a machine of a cluster of 64 asks at a moment of the lifetime clock.
pub(crate) fn asks_at(now_ms: u64, cluster: &str, name: &str, operation: Ask) -> Operation {
    let caller = Caller::Machine {
        machine: name.to_owned(),
        run: 1,
        boot_id: "boot".into(),
        job: None,
        token: format!("token-of-{name}"),
        address: "192.0.2.1".into(),
    };
    let context = Context {
        now_ms,
        now_unix_ms: NOW,
        caller,
        epoch: None,
        members: (0..64).map(member).collect(),
        size: 64,
        run: 1,
        keys: Vec::new().into(),
        idempotency_key: None,
        fence: None,
    };
    Operation::Cluster(Box::new(Request { cluster: cluster.to_owned(), operation, context }))
}

/// The name of the n-th member, sorted by n.
pub(crate) fn member(number: usize) -> String {
    format!("m{number:02}")
}

fn one(operation: Operation) -> Batch {
    Batch { operations: vec![operation], ..Batch::default() }
}

/// Commits one operation of a machine on the cluster `etcd` and gives its answer.
pub(crate) async fn ask(store: &dyn Store, name: &str, operation: Ask) -> Answer {
    let mut committed = store.commit(one(asks_at(1_000, "etcd", name, operation)), NOW).await.unwrap();
    assert_eq!(committed.answers.len(), 1);
    committed.answers.remove(0)
}

/// Writes a key.
pub(crate) fn put(key: &str, value: impl Into<serde_json::Value>, condition: Condition) -> Ask {
    Ask::Put { key: key.into(), value: Content::from(value.into()), condition, secret: false }
}

fn etcd(store: &dyn Store) -> Arc<Document> {
    store.cluster("etcd").unwrap().expect("the cluster has a document")
}

pub(crate) async fn a_cluster_that_nobody_wrote_has_no_document(store: Arc<dyn Store>) {
    assert_eq!(store.cluster("etcd").unwrap(), None);
    assert!(store.clusters().unwrap().is_empty());
    assert_eq!(*store.watch_cluster("etcd").borrow(), 0);
    ask(&*store, "m00", put("k", 1, Condition::Absent)).await;
    assert_eq!(store.clusters().unwrap(), ["etcd"]);
}

pub(crate) async fn each_write_of_a_document_has_a_version_of_its_own(store: Arc<dyn Store>) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut versions = Vec::new();
            for round in 0..10 {
                let before = store.cluster("etcd").unwrap().map_or(0, |document| document.version);
                let write = put(&format!("k{number}"), round, Condition::Any);
                let Answer::Written { version, .. } = ask(&*store, &member(number), write).await else {
                    panic!("a write without a condition is accepted")
                };
                assert!(version > before, "a write is later than what was read before it was asked");
                let seen = etcd(&*store);
                assert!(seen.version >= version, "a read after the answer sees the write");
                assert_eq!(seen.keys.get(&format!("k{number}")).map(|entry| entry.version), Some(version));
                versions.push(version);
            }
            versions
        });
    }
    let mut versions = tasks.join_all().await.concat();
    versions.sort_unstable();
    let last = etcd(&*store).version;
    assert_eq!(versions, (last - 639..=last).collect::<Vec<_>>());
}

pub(crate) async fn of_many_who_compare_and_swap_one_wins_each_time(store: Arc<dyn Store>) {
    ask(&*store, "m00", put("count", 0, Condition::Absent)).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut wins = 0;
            while wins < 5 {
                let document = etcd(&*store);
                let entry = document.keys.get("count").unwrap();
                let next = entry.value.0.as_u64().unwrap() + 1;
                let condition = Condition::Versions(vec![(document.epoch, entry.version)]);
                match ask(&*store, &member(number), put("count", next, condition)).await {
                    Answer::Written { .. } => wins += 1,
                    Answer::Refused(_) => tokio::task::yield_now().await,
                    other => panic!("{other:?}"),
                }
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(etcd(&*store).keys.get("count").unwrap().value.0.as_u64(), Some(16 * 5), "no swap was lost");
}

pub(crate) async fn of_many_who_claim_at_once_one_leads(store: Arc<dyn Store>) {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..64 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let claim = Ask::Claim { claim: "init".into(), ttl_ms: 60_000 };
            match ask(&*store, &member(number), claim).await {
                Answer::Claim(answer) => (answer.role, answer.fence, answer.holder),
                other => panic!("{other:?}"),
            }
        });
    }
    let answers = tasks.join_all().await;
    assert_eq!(answers.iter().filter(|(role, ..)| *role == Role::Leader).count(), 1);
    assert!(answers.windows(2).all(|pair| pair[0].1 == pair[1].1 && pair[0].2 == pair[1].2), "{answers:?}");
}

pub(crate) async fn events_of_an_operation_are_committed_with_it(store: Arc<dyn Store>) {
    let claim = Ask::Claim { claim: "init".into(), ttl_ms: 60_000 };
    let mut batch = one(asks_at(1_000, "etcd", "m00", claim));
    batch.events.push((machine("m00"), held("before")));
    let committed = store.commit(batch, NOW).await.unwrap();
    let stream = Stream::Cluster("etcd".into());
    let streams: Vec<_> = committed.records.iter().map(|record| record.stream.clone()).collect();
    assert_eq!(streams, [machine("m00"), stream.clone()]);
    assert_eq!(store.events_of(&stream, 0, 10).unwrap(), committed.records[1..]);
    assert!(matches!(&committed.records[1].event, Event::Claim { claim, .. } if claim == "init"));
}

pub(crate) async fn a_refused_operation_is_an_answer_and_the_rest_commits(store: Arc<dyn Store>) {
    let batch = Batch {
        events: vec![(machine("m00"), held("with it"))],
        operations: vec![
            asks_at(1_000, "etcd", "m00", put("k", 1, Condition::Absent)),
            asks_at(1_000, "etcd", "m00", put("k", 2, Condition::Absent)),
            asks_at(1_000, "etcd", "m00", put("l", 3, Condition::Absent)),
        ],
        ..Batch::default()
    };
    let committed = store.commit(batch, NOW).await.unwrap();
    assert!(matches!(
        committed.answers[..],
        [Answer::Written { .. }, Answer::Refused(Refusal::Condition { .. }), Answer::Written { .. }]
    ));
    let document = etcd(&*store);
    let value = |key: &str| document.keys.get(key).and_then(|entry| entry.value.0.as_u64());
    assert_eq!((value("k"), value("l")), (Some(1), Some(3)));
    assert_eq!(store.head(&machine("m00")).unwrap(), 1);
}

pub(crate) async fn an_operation_in_a_refused_batch_is_not_applied(store: Arc<dyn Store>) {
    store.commit(decided(&machine("m00"), 0, "first"), NOW).await.unwrap();
    let mut late = decided(&machine("m00"), 0, "late");
    late.operations.push(asks_at(1_000, "etcd", "m00", put("k", 1, Condition::Absent)));
    assert!(matches!(store.commit(late, NOW).await, Err(StoreError::Conflict { .. })));
    assert_eq!(store.cluster("etcd").unwrap(), None);
}

pub(crate) async fn the_watch_of_a_cluster_rises_with_its_own_document_only(store: Arc<dyn Store>) {
    let mut watch = store.watch_cluster("etcd");
    let other = one(asks_at(1_000, "other", "m00", put("k", 1, Condition::Absent)));
    store.commit(other, NOW).await.unwrap();
    assert!(!watch.has_changed().unwrap());
    let waiter = tokio::spawn(async move {
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap().unwrap();
        *watch.borrow()
    });
    ask(&*store, "m00", put("k", 1, Condition::Absent)).await;
    let version = etcd(&*store).version;
    assert_eq!(waiter.await.unwrap(), version);
    let watch = store.watch_cluster("etcd");
    assert_eq!(*watch.borrow(), version);
    ask(&*store, "m00", put("k", 1, Condition::Absent)).await;
    assert!(!watch.has_changed().unwrap(), "a refused write wakes nobody");
}
