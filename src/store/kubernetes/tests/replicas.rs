//! Several replicas on one log.

use super::*;
use crate::store::conformance::lease;
use crate::store::kubernetes::objects::{Changes, Fault, Head, Listed, Object, Objects};
use crate::store::{BoxFuture, Lease};
use futures_util::StreamExt as _;
use tokio::sync::Notify;

/// A connection that says nothing of what happens, until it ends.
struct Deaf(Arc<Memory>, Arc<Notify>);

impl Objects for Deaf {
    fn create(&self, kind: Kind, name: &str, bytes: Arc<[u8]>) -> BoxFuture<'_, Result<String, Fault>> {
        self.0.create(kind, name, bytes)
    }
    fn get(&self, name: &str) -> BoxFuture<'_, Result<Option<Object>, Fault>> {
        self.0.get(name)
    }
    fn uid(&self, name: &str) -> BoxFuture<'_, Result<Option<String>, Fault>> {
        self.0.uid(name)
    }
    fn list(&self) -> BoxFuture<'_, Result<Listed, Fault>> {
        self.0.list()
    }
    fn watch(&self, _: &str) -> BoxFuture<'_, Result<Changes, Fault>> {
        let ends = Arc::clone(&self.1);
        let nothing = futures_util::stream::once(async move { ends.notified().await });
        Box::pin(async move { Ok(nothing.filter_map(|()| async { None }).boxed()) })
    }
    fn delete(&self, head: &Head) -> BoxFuture<'_, Result<(), Fault>> {
        self.0.delete(head)
    }
    fn place(&self) -> String {
        "the deaf mock".into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_stores_and_many_clients_one_leads() {
    let memory = site();
    let stores = [open(&memory), open(&memory), open(&memory)];
    for round in 0..10 {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..64 {
            let store = Arc::clone(&stores[number % 3]);
            tasks.spawn(async move {
                let claim = cluster::Operation::Claim { claim: format!("lead-{round}"), ttl_ms: 60_000 };
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
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_writes_wakes_who_waits_at_the_other() {
    let memory = site();
    let (one, other) = (open(&memory), open(&memory));
    let (mut events, mut cluster) = (other.watch_events(), other.watch_cluster("etcd"));
    let before = *events.borrow_and_update();
    one.commit(decided(&machine("m"), 0, "x"), NOW).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), events.changed()).await.unwrap().unwrap();
    assert_eq!(*events.borrow(), before + 1);
    ask(&*one, "m00", put("k", 1, Condition::Absent)).await;
    tokio::time::timeout(Duration::from_secs(60), cluster.changed()).await.unwrap().unwrap();
    assert_eq!(other.cluster("etcd").unwrap(), one.cluster("etcd").unwrap());
    // A refusal is as of now at whichever replica, though the other has not heard of the write yet.
    for round in 0..50 {
        ask(&*one, "m00", put(&format!("k{round}"), 1, Condition::Any)).await;
        let refused = ask(&*other, "m01", put(&format!("k{round}"), 2, Condition::Absent)).await;
        assert!(matches!(refused, Answer::Refused(_)), "{refused:?}");
        let gone = cluster::Operation::Delete { key: format!("k{round}"), condition: Condition::Any };
        ask(&*one, "m00", gone).await;
        let written = ask(&*other, "m01", put(&format!("k{round}"), 2, Condition::Absent)).await;
        assert!(matches!(written, Answer::Written { .. }), "{written:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_stays_short_and_who_was_away_goes_on_from_a_snapshot() {
    let memory = site();
    let options = Options { snapshot_segments: 10, kept_segments: 3, ..Fatal::default().options() };
    let store = KubernetesStore::open(memory.connect(), options).unwrap();
    let ends = Arc::new(Notify::new());
    let deaf = Deaf(Arc::clone(&memory), Arc::clone(&ends));
    let late = Arc::new(KubernetesStore::open(Box::new(|| Ok(Arc::new(deaf))), Fatal::default().options()).unwrap());
    let mut wakes = late.watch_cluster("etcd");
    let stream = machine("m");
    for index in 0..200 {
        store.commit(decided(&stream, index, &format!("{index}")), NOW).await.unwrap();
        ask(&store, "m00", put("k", index, Condition::Any)).await;
    }
    until("snapshots were made", || store.position().1 > 300).await;
    // At most what eight times the bound allows, and what stays for late ones.
    until("segments went", || memory.names().len() < 100).await;
    assert_eq!(late.position().0, 0);
    ends.notify_one();
    tokio::time::timeout(Duration::from_secs(60), wakes.changed()).await.unwrap().unwrap();
    until("the late one is there", || late.position().0 == store.position().0).await;
    let opened = open(&memory);
    for other in [&late, &opened] {
        assert_eq!(other.events_after(0, 1_000).unwrap(), store.events_after(0, 1_000).unwrap());
        assert_eq!(other.cluster("etcd").unwrap(), store.cluster("etcd").unwrap());
    }
    late.commit(decided(&stream, 200, "by the late one"), NOW).await.unwrap();
    until("and the other hears it", || store.head(&stream).unwrap() == 201).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_opens_a_store_for_itself_alone_takes_it_from_who_had_it() {
    let memory = site();
    let alone = |fatal: &Fatal| {
        let options = Options { sharing: Sharing::Alone, ..fatal.options() };
        KubernetesStore::open(memory.connect(), options).unwrap()
    };
    let (first, second) = (Fatal::default(), Fatal::default());
    let old = alone(&first);
    old.commit(decided(&machine("m"), 0, "x"), NOW).await.unwrap();
    let new = alone(&second);
    // It may not have heard of it: its write comes after, and is none.
    let refused = old.commit(decided(&machine("m"), 1, "late"), NOW).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Open(text) if text.contains("took over")), "{refused}");
    assert!(first.said().is_some_and(|said| said.contains("took over")));
    new.commit(decided(&machine("m"), 1, "x"), NOW).await.unwrap();
    assert_eq!(new.events_of(&machine("m"), 0, 10).unwrap().len(), 2);
    assert!(second.said().is_none());
    // Who only listens is told, too.
    let third = Fatal::default();
    let _newest = alone(&third);
    until("it is told", || second.said().is_some()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_that_are_together_take_a_store_from_one_that_had_it_alone_and_lose_it_to_one() {
    let memory = site();
    let opened = |fatal: &Fatal, sharing| {
        KubernetesStore::open(memory.connect(), Options { sharing, ..fatal.options() }).unwrap()
    };
    let fatals: [Fatal; 4] = Default::default();
    let _alone = opened(&fatals[0], Sharing::Alone);
    let one = opened(&fatals[1], Sharing::Together);
    until("the one that was alone is told", || fatals[0].said().is_some()).await;
    let other = opened(&fatals[2], Sharing::Together);
    one.commit(decided(&machine("m"), 0, "x"), NOW).await.unwrap();
    until("the other hears it", || other.head(&machine("m")).unwrap() == 1).await;
    other.commit(decided(&machine("m"), 1, "x"), NOW).await.unwrap();
    let refused = other.commit(decided(&machine("m"), 1, "late"), NOW).await.unwrap_err();
    assert!(matches!(refused, StoreError::Conflict { .. }), "{refused}");
    assert!(fatals[1].said().is_none() && fatals[2].said().is_none());
    let _last = opened(&fatals[3], Sharing::Alone);
    let refused = one.commit(decided(&machine("m"), 2, "late"), NOW).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Open(text) if text.contains("to serve alone took over")), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_that_give_one_address_the_first_has_it_and_the_other_hears_whose_it_is() {
    let memory = site();
    let fatal = Fatal::default();
    let opened = || {
        let options = Options { sharing: Sharing::Together, ..fatal.options() };
        KubernetesStore::open(memory.connect(), options).unwrap()
    };
    let (one, other) = (opened(), opened());
    let take = |mac: &str| Batch { operations: vec![Operation::TakeLease(lease(mac, 60))], ..Batch::default() };
    let (first, second) =
        tokio::join!(one.commit(take("02:00:00:00:00:01"), NOW), other.commit(take("02:00:00:00:00:02"), NOW));
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let lost = first.err().or(second.err()).unwrap();
    let StoreError::Leased(holder) = &lost else { panic!("{lost}") };
    for store in [&one, &other] {
        until("both know", || store.leases().unwrap() == [Lease::clone(holder)]).await;
        let news = store.take_changed_leases().unwrap();
        assert_eq!(news, [(holder.mac.clone(), Some(Lease::clone(holder)))]);
        assert!(store.take_changed_leases().unwrap().is_empty());
    }
    assert!(fatal.said().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_not_taken_over_with_the_keys_of_another_site() {
    // One that was made before stores said whose they are says it from its first server on.
    for said in [Some("SHA256:aa"), None] {
        let memory = Memory::new();
        KubernetesStore::create_for(memory.connect(), "lab", true, said).unwrap();
        let with_keys = |authority: &str, fatal: &Fatal| {
            let options = Options { sharing: Sharing::Alone, authority: Some(authority.to_owned()), ..fatal.options() };
            KubernetesStore::open(memory.connect(), options)
        };
        let fatal = Fatal::default();
        let own = with_keys("SHA256:aa", &fatal).unwrap();
        let position = own.position();
        let refused = with_keys("SHA256:bb", &Fatal::default()).unwrap_err();
        for words in ["site lab", "SHA256:aa", "SHA256:bb", "--state-dir"] {
            assert!(matches!(&refused, StoreError::Open(text) if text.contains(words)), "{words}: {refused}");
        }
        assert_eq!(own.position(), position, "nothing was written");
        own.commit(decided(&machine("m"), 0, "x"), NOW).await.unwrap();
        assert!(fatal.said().is_none(), "the good one goes on");
        assert!(with_keys("SHA256:aa", &Fatal::default()).is_ok());
    }
}
