//! The engine in Kubernetes on a mock of the API server: the conformance suite, power cuts, and what only this engine must keep.

mod fold;
mod memory;
mod moved;
mod outages;
mod power;
mod replicas;
mod restored;

use super::objects::{Kind, segment_name};
use super::{KubernetesStore, Options, Sharing};
use crate::cluster::{self, Answer, Condition, Role};
use crate::journal::{Event, Stream};
use crate::store::conformance::clusters::{ask, asks_at, member, put};
use crate::store::conformance::{NOW, conformance_tests, decided, held, machine};
use crate::store::{Batch, Operation, Space, Store, StoreError};
use memory::{Memory, Mood};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What was said to be fatal.
#[derive(Clone, Default)]
struct Fatal(Arc<Mutex<Option<String>>>);

impl Fatal {
    fn options(&self) -> Options {
        let said = Arc::clone(&self.0);
        let on_fatal = move |error: &StoreError| *said.lock().unwrap() = Some(error.to_string());
        Options { on_fatal: Arc::new(on_fatal), patience: Duration::from_secs(20), ..Options::default() }
    }

    fn said(&self) -> Option<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A new store on a mock.
fn site() -> Arc<Memory> {
    let memory = Memory::new();
    KubernetesStore::create(memory.connect(), "lab", true).unwrap();
    memory
}

fn open(memory: &Arc<Memory>) -> Arc<KubernetesStore> {
    Arc::new(KubernetesStore::open(memory.connect(), Fatal::default().options()).unwrap())
}

fn fresh() -> (Arc<dyn Store>, Arc<Memory>) {
    let memory = site();
    (open(&memory), memory)
}

conformance_tests!(fresh());

/// Waits until it is so.
async fn until(what: &str, so: impl Fn() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("not so: {what}"));
}

#[tokio::test]
async fn a_new_store_holds_its_site_and_that_it_was_made() {
    let (store, memory) = fresh();
    assert_eq!(memory.names(), ["formwork-store"]);
    assert_eq!(store.get(Space::Meta, "site").unwrap().as_deref(), Some(&b"lab"[..]));
    let records = store.events_after(0, 10).unwrap();
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].sequence, &records[0].stream, records[0].index), (1, &Stream::Site, 0));
    assert_eq!(records[0].event, Event::SiteCreated { site: "lab".into(), fresh: true });
}

#[test]
fn a_store_is_made_once_and_a_missing_one_is_refused_with_the_way_to_make_it() {
    let memory = Memory::new();
    let missing = KubernetesStore::open(memory.connect(), Options::default()).unwrap_err();
    assert!(matches!(&missing, StoreError::Open(text) if text.contains("formwork site create")), "{missing}");
    KubernetesStore::create(memory.connect(), "lab", true).unwrap();
    let again = KubernetesStore::create(memory.connect(), "other", true).unwrap_err();
    assert!(matches!(&again, StoreError::Exists(text) if text.contains("already")), "{again}");
    // Segments of a store that is gone by half are none of a new one.
    memory.meddle(Kind::Segment, &segment_name(1), b"old");
    memory.lose("formwork-store");
    assert!(KubernetesStore::create(memory.connect(), "lab", true).is_err());
}

#[tokio::test]
async fn what_was_answered_is_there_after_opening_again() {
    let (store, memory) = fresh();
    for index in 0..10 {
        store.commit(decided(&machine("m"), index, "x"), NOW).await.unwrap();
    }
    ask(&*store, "m00", put("k", 1, Condition::Absent)).await;
    let (events, document) = (store.events_after(0, 100).unwrap(), store.cluster("etcd").unwrap());
    drop(store);
    let store = open(&memory);
    assert_eq!((store.events_after(0, 100).unwrap(), store.cluster("etcd").unwrap()), (events, document));
    assert_eq!(store.position().0, 11);
}

#[tokio::test]
async fn a_claim_that_is_held_has_its_lifetime_again_when_a_store_is_opened() {
    let (store, memory) = fresh();
    let claim = || cluster::Operation::Claim { claim: "init".into(), ttl_ms: 5_000 };
    ask(&*store, "m00", claim()).await;
    drop(store);
    let options = Options { now_ms: 100_000, ..Fatal::default().options() };
    let store = KubernetesStore::open(memory.connect(), options).unwrap();
    let batch = |now_ms| Batch { operations: vec![asks_at(now_ms, "etcd", "m01", claim())], ..Batch::default() };
    let role = async |now_ms| match store.commit(batch(now_ms), NOW).await.unwrap().answers.remove(0) {
        Answer::Claim(answer) => answer.role,
        other => panic!("{other:?}"),
    };
    assert_eq!(role(104_000).await, Role::Follower);
    assert_eq!(role(200_000).await, Role::Leader);
}

#[tokio::test]
async fn what_is_too_large_for_one_object_lies_in_parts() {
    let (store, memory) = fresh();
    let mut dice = crate::store::conformance::program::Dice::new(3);
    // Random bytes: nothing that can be made smaller.
    let value: Vec<u8> = (0..1_u32 << 20).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
    let put = |key: &str| Operation::Put { space: Space::Log, key: key.into(), value: Some(value.clone()) };
    let batch = Batch { operations: vec![put("a"), put("b"), put("c")], ..Batch::default() };
    store.commit(batch, NOW).await.unwrap();
    assert_eq!(memory.names().iter().filter(|name| name.starts_with("formwork-part-")).count(), 5);
    let other = open(&memory);
    for key in ["a", "b", "c"] {
        assert_eq!(other.get(Space::Log, key).unwrap().as_deref(), Some(&value[..]));
    }
    // A part that is gone is damage, with its name.
    let part = memory.names().into_iter().find(|name| name.starts_with("formwork-part-")).unwrap();
    memory.lose(&part);
    let damaged = KubernetesStore::open(memory.connect(), Options::default()).unwrap_err();
    assert!(matches!(&damaged, StoreError::Damaged(text) if text.contains(&part)), "{damaged}");
}

#[tokio::test]
async fn a_state_that_is_full_takes_only_what_makes_it_smaller() {
    let memory = site();
    let options = Options { state_bytes: 4_000, ..Fatal::default().options() };
    let store = KubernetesStore::open(memory.connect(), options).unwrap();
    let stream = machine("m");
    let mut index = 0;
    let full = loop {
        match store.commit(decided(&stream, index, &"x".repeat(100)), NOW).await {
            Ok(_) => index += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full(_)) && index > 5, "{full}");
    let smaller = Operation::Compact { stream: stream.clone(), below: index - 1, folded: Some(Box::new(held("all"))) };
    store.commit(Batch { operations: vec![smaller], ..Batch::default() }, NOW).await.unwrap();
    store.commit(decided(&stream, index, "x"), NOW).await.unwrap();
    assert!(store.backup(std::path::Path::new("nowhere")).is_err());
}

#[tokio::test]
async fn a_store_at_its_bound_is_opened_by_any_server_and_leases_and_claims_go_on() {
    let memory = site();
    let bounded = |sharing| Options { state_bytes: 4_000, sharing, ..Fatal::default().options() };
    let store = KubernetesStore::open(memory.connect(), bounded(Sharing::Unsaid)).unwrap();
    let stream = machine("m");
    let claim = cluster::Operation::Claim { claim: "init".into(), ttl_ms: 60_000 };
    let Answer::Claim(claimed) = ask(&store, "m01", claim.clone()).await else { panic!("no claim") };
    let mut index = 0;
    while store.commit(decided(&stream, index, &"x".repeat(100)), NOW).await.is_ok() {
        index += 1;
    }
    drop(store);
    // Who opens it says that it has it, and of which authority it is; held claims get their lifetimes.
    let alone = Options { authority: Some("SHA256:aa".to_owned()), now_ms: 7, ..bounded(Sharing::Alone) };
    drop(KubernetesStore::open(memory.connect(), alone).unwrap());
    let store = KubernetesStore::open(memory.connect(), bounded(Sharing::Together)).unwrap();
    assert_eq!(store.get(Space::Meta, "authority").unwrap().as_deref(), Some(&b"SHA256:aa"[..]));
    let renew = cluster::Operation::Renew { claim: "init".into(), fence: claimed.fence, ttl_ms: None };
    assert!(matches!(ask(&store, "m01", renew).await, Answer::Claim(_)));
    let lease = |number: u8| crate::store::Lease {
        mac: format!("02:00:00:00:00:{number:02x}"),
        address: [10, 0, 0, number].into(),
        subnet: "lab".into(),
        at_unix_ms: NOW,
        seconds: 60,
        declined: false,
    };
    let take = |number| Batch { operations: vec![Operation::TakeLease(lease(number))], ..Batch::default() };
    store.commit(take(1), NOW).await.unwrap();
    let drops = vec![Operation::DeleteLease { mac: lease(1).mac }];
    store.commit(Batch { operations: drops, ..Batch::default() }, NOW).await.unwrap();
    // The reserve has an end, too.
    let mut given = 0;
    let full = loop {
        match store.commit(take(given + 1), NOW).await {
            Ok(_) => given += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, StoreError::Full(_)) && given > 1, "{given}: {full}");
    drop(store);
    let store = KubernetesStore::open(memory.connect(), bounded(Sharing::Alone)).unwrap();
    let smaller = Operation::Compact { stream: stream.clone(), below: index - 1, folded: Some(Box::new(held("all"))) };
    store.commit(Batch { operations: vec![smaller], ..Batch::default() }, NOW).await.unwrap();
    store.commit(decided(&stream, index, "x"), NOW).await.unwrap();
}

#[tokio::test]
async fn claims_count_on_where_others_served_while_a_server_was_down() {
    let memory = site();
    let at = |now_ms, served_meanwhile| {
        let sharing = Sharing::Together;
        let options = Options { now_ms, served_meanwhile, sharing, ..Fatal::default().options() };
        KubernetesStore::open(memory.connect(), options).unwrap()
    };
    let serves = at(0, false);
    let claim = cluster::Operation::Claim { claim: "init".into(), ttl_ms: 60_000 };
    assert!(matches!(ask(&serves, "m01", claim).await, Answer::Claim(_)));
    let ends = |store: &KubernetesStore| cluster::next_expiry_ms(&store.cluster("etcd").unwrap().unwrap()).unwrap();
    let before = ends(&serves);
    // One that ends and begins for ever keeps no holder alive that is gone.
    for restart in 1..4 {
        let restarts = at(restart * 20_000, true);
        restarts.commit(decided(&machine("m"), restart - 1, "x"), NOW).await.unwrap();
        assert_eq!(ends(&restarts), before);
    }
    // All were down: nobody could renew it.
    assert!((150_000..155_000).contains(&ends(&at(90_000, false))));
}
