//! What every engine must keep, as tests over `dyn Store`. An engine runs all of it with [`conformance_tests!`].
//!
//! The tests leave alone what a fresh store already holds (its first event): they look at what they add. An engine on a disk
//! of its own goes through [`power`] as well; `tests/crash` kills a whole server and judges by the same [`history`].

pub(crate) mod clusters;
pub(crate) mod history;
mod history_tests;
pub(crate) mod power;
pub(crate) mod program;
pub(crate) mod whole;

use super::{Batch, Lease, Operation, Space, Store, StoreError};
use crate::journal::{Event, Stream};
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// Makes one test of each function here, given an expression that makes a fresh `Arc<dyn Store>` and what keeps it alive. With
/// `in_turn` before it, it makes one block that goes through all of them, for an engine that is not begun anew for each test.
macro_rules! conformance_tests {
    ($make:expr) => {
        $crate::store::conformance::conformance_tests! { @names tests $make }
    };
    (in_turn $make:expr) => {
        $crate::store::conformance::conformance_tests! { @names in_turn $make }
    };
    (@names $how:ident $make:expr) => {
        $crate::store::conformance::conformance_tests! { @$how $make,
            appended_events_get_contiguous_places,
            a_batch_decided_on_an_old_head_is_refused_whole,
            a_refused_batch_does_not_spoil_the_others_of_its_group,
            only_one_of_many_deciders_on_one_head_wins,
            a_read_after_the_answer_sees_the_commit,
            streams_are_read_from_an_index_and_to_a_limit,
            leases_are_put_renewed_and_dropped,
            an_address_is_taken_by_one_card_at_a_time,
            small_values_are_put_and_deleted_by_space_and_key,
            what_is_too_large_is_refused_and_nothing_of_it_is_kept,
            the_watch_of_events_rises_with_each_commit,
            an_empty_batch_is_answered,
            every_kind_of_event_comes_back_as_it_was,
            old_events_are_dropped_and_the_rest_stays_in_its_place,
            what_old_events_came_to_takes_the_place_of_the_last_of_them,
            @clusters
            a_cluster_that_nobody_wrote_has_no_document,
            each_write_of_a_document_has_a_version_of_its_own,
            of_many_who_compare_and_swap_one_wins_each_time,
            of_many_who_claim_at_once_one_leads,
            events_of_an_operation_are_committed_with_it,
            a_refused_operation_is_an_answer_and_the_rest_commits,
            an_operation_in_a_refused_batch_is_not_applied,
            the_watch_of_a_cluster_rises_with_its_own_document_only,
        }
    };
    (@tests $make:expr, $($name:ident,)* @clusters $($cluster:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let (store, _keep) = $make;
                $crate::store::conformance::$name(store).await;
            }
        )*
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $cluster() {
                let (store, _keep) = $make;
                $crate::store::conformance::clusters::$cluster(store).await;
            }
        )*
    };
    (@in_turn $make:expr, $($name:ident,)* @clusters $($cluster:ident,)*) => {{
        $(
            println!("{}", stringify!($name));
            let (store, _keep) = $make;
            $crate::store::conformance::$name(store).await;
        )*
        $(
            println!("{}", stringify!($cluster));
            let (store, _keep) = $make;
            $crate::store::conformance::clusters::$cluster(store).await;
        )*
    }};
}
pub(crate) use conformance_tests;

/// A wall clock that tests can recognise.
pub(crate) const NOW: i64 = 1_700_000_000_000;

/// Any small event.
pub(crate) fn held(reason: impl Into<String>) -> Event {
    Event::Held { reason: reason.into() }
}

/// The stream of a machine.
pub(crate) fn machine(name: &str) -> Stream {
    Stream::Machine(name.into())
}

/// A batch of one event decided on a head.
pub(crate) fn decided(stream: &Stream, head: u64, reason: &str) -> Batch {
    Batch { expected: vec![(stream.clone(), head)], events: vec![(stream.clone(), held(reason))], ..Batch::default() }
}

pub(crate) fn lease(mac: &str, seconds: u32) -> Lease {
    Lease {
        mac: mac.into(),
        address: Ipv4Addr::new(10, 0, 0, 7),
        subnet: "lab".into(),
        at_unix_ms: NOW,
        seconds,
        declined: false,
    }
}

pub(crate) async fn appended_events_get_contiguous_places(store: Arc<dyn Store>) {
    let before = store.events_after(0, usize::MAX).unwrap().len() as u64;
    let (a, b) = (machine("a"), Stream::Box("02:00:00:00:00:01".into()));
    let batch = Batch {
        events: vec![(a.clone(), held("1")), (b.clone(), held("2")), (a.clone(), held("3"))],
        ..Batch::default()
    };
    let committed = store.commit(batch, NOW).await.unwrap();
    let places: Vec<_> =
        committed.records.iter().map(|r| (r.sequence, r.stream.clone(), r.index, r.at_unix_ms)).collect();
    assert_eq!(
        places,
        [(before + 1, a.clone(), 0, NOW), (before + 2, b.clone(), 0, NOW), (before + 3, a.clone(), 1, NOW)]
    );
    assert_eq!(store.events_after(before, 10).unwrap(), committed.records);
    assert_eq!((store.head(&a).unwrap(), store.head(&b).unwrap()), (2, 1));
    assert!([&a, &b].iter().all(|stream| store.streams().unwrap().contains(stream)));
}

pub(crate) async fn a_batch_decided_on_an_old_head_is_refused_whole(store: Arc<dyn Store>) {
    let (a, b) = (machine("a"), machine("b"));
    store.commit(decided(&a, 0, "first"), NOW).await.unwrap();
    let mut late = decided(&a, 0, "late");
    late.events.push((b.clone(), held("with it")));
    late.operations.push(Operation::PutLease(lease("02:00:00:00:00:09", 60)));
    let refused = store.commit(late, NOW).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Conflict { stream, expected: 0, actual: 1 } if *stream == a), "{refused:?}");
    assert_eq!((store.head(&a).unwrap(), store.head(&b).unwrap()), (1, 0));
    assert!(store.leases().unwrap().is_empty());
}

/// Many batches sent before any is awaited land in few groups; each second one is decided on a head that the one before
/// it moves.
pub(crate) async fn a_refused_batch_does_not_spoil_the_others_of_its_group(store: Arc<dyn Store>) {
    let mut waiting = Vec::new();
    for round in 0..50_u64 {
        let stream = machine(&format!("m{round}"));
        for (reason, expect) in [("first", true), ("second", false)] {
            let (store, batch) = (Arc::clone(&store), decided(&stream, 0, reason));
            waiting.push((stream.clone(), expect, tokio::spawn(async move { store.commit(batch, NOW).await })));
        }
    }
    let mut won = 0;
    for (stream, _, task) in waiting {
        match task.await.unwrap() {
            Ok(_) => won += 1,
            Err(StoreError::Conflict { stream: moved, expected: 0, actual: 1 }) => assert_eq!(moved, stream),
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(won, 50);
    for round in 0..50 {
        assert_eq!(store.events_of(&machine(&format!("m{round}")), 0, 10).unwrap().len(), 1);
    }
}

pub(crate) async fn only_one_of_many_deciders_on_one_head_wins(store: Arc<dyn Store>) {
    let stream = machine("contended");
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..64 {
        let (store, stream) = (Arc::clone(&store), stream.clone());
        tasks.spawn(async move {
            let mut wins = 0_u64;
            while wins < 5 {
                let head = store.head(&stream).unwrap();
                match store.commit(decided(&stream, head, &format!("{task}")), NOW).await {
                    Ok(committed) => {
                        assert_eq!(committed.records[0].index, head, "a decision stands where it was decided");
                        wins += 1;
                    }
                    Err(StoreError::Conflict { .. }) => tokio::task::yield_now().await,
                    Err(other) => panic!("{other}"),
                }
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let records = store.events_of(&stream, 0, usize::MAX).unwrap();
    assert_eq!(records.len(), 64 * 5);
    assert!(records.iter().enumerate().all(|(place, record)| record.index == place as u64));
}

pub(crate) async fn a_read_after_the_answer_sees_the_commit(store: Arc<dyn Store>) {
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..16 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let stream = machine(&format!("reader{task}"));
            for round in 0..20_u64 {
                let committed = store.commit(decided(&stream, round, "x"), NOW).await.unwrap();
                assert_eq!(store.head(&stream).unwrap(), round + 1);
                assert_eq!(store.events_of(&stream, round, 10).unwrap(), committed.records);
                assert!(*store.watch_events().borrow() >= committed.records[0].sequence);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
}

pub(crate) async fn streams_are_read_from_an_index_and_to_a_limit(store: Arc<dyn Store>) {
    // Names that are each other's beginnings must not read each other's events.
    let (a, longer) = (machine("a"), machine("a1"));
    for index in 0..5_u64 {
        store.commit(decided(&a, index, &format!("a{index}")), NOW).await.unwrap();
        store.commit(decided(&longer, index, "other"), NOW).await.unwrap();
    }
    let indexes = |index, limit| {
        let records = store.events_of(&a, index, limit).unwrap();
        assert!(records.iter().all(|record| record.stream == a));
        records.iter().map(|record| record.index).collect::<Vec<_>>()
    };
    assert_eq!(indexes(0, 100), [0, 1, 2, 3, 4]);
    assert_eq!(indexes(3, 100), [3, 4]);
    assert_eq!(indexes(1, 2), [1, 2]);
    assert_eq!(indexes(0, 0), [0_u64; 0]);
    assert_eq!(indexes(5, 100), [0_u64; 0]);
    assert_eq!(indexes(u64::MAX, 100), [0_u64; 0]);
    assert!(store.events_of(&machine("nobody"), 0, 10).unwrap().is_empty());
    assert!(store.events_after(u64::MAX, 10).unwrap().is_empty());
}

pub(crate) async fn leases_are_put_renewed_and_dropped(store: Arc<dyn Store>) {
    let put = |operation| Batch { operations: vec![operation], ..Batch::default() };
    let (one, two) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
    for operation in [lease(one, 60), lease(two, 60), lease(one, 3600)].map(Operation::PutLease) {
        store.commit(put(operation), NOW).await.unwrap();
    }
    assert_eq!(store.leases().unwrap(), [lease(one, 3600), lease(two, 60)]);
    store.commit(put(Operation::DeleteLease { mac: one.into() }), NOW).await.unwrap();
    store.commit(put(Operation::DeleteLease { mac: "02:00:00:00:00:03".into() }), NOW).await.unwrap();
    assert_eq!(store.leases().unwrap(), [lease(two, 60)]);
}

pub(crate) async fn an_address_is_taken_by_one_card_at_a_time(store: Arc<dyn Store>) {
    let (one, two) = ("02:00:00:00:00:01", "02:00:00:00:00:02");
    let batch = |operations| Batch { operations, ..Batch::default() };
    let take = |mac: &str, at_unix_ms: i64| {
        let taken = lease(mac, 60);
        let taken = Lease { address: [10, 0, 0, 7].into(), at_unix_ms, ..taken };
        (taken.clone(), Operation::TakeLease(taken))
    };
    let (first, operation) = take(one, NOW);
    store.commit(batch(vec![operation]), NOW).await.unwrap();
    // Nothing of a batch whose address is another's is written, also where both come in one batch.
    let drops = Operation::DeleteLease { mac: one.into() };
    for operations in [vec![take(two, NOW).1], vec![take(two, NOW).1, drops.clone()]] {
        let refused = store.commit(batch(operations), NOW).await.unwrap_err();
        assert!(matches!(&refused, StoreError::Leased(holder) if **holder == first), "{refused}");
    }
    let (third, fourth) = ("02:00:00:00:00:03", "02:00:00:00:00:04");
    let elsewhere = |mac: &str| Operation::TakeLease(Lease { address: [10, 0, 0, 8].into(), ..take(mac, NOW).0 });
    let both = store.commit(batch(vec![elsewhere(third), elsewhere(fourth)]), NOW).await.unwrap_err();
    assert!(matches!(&both, StoreError::Leased(holder) if holder.mac == third), "{both}");
    assert_eq!(store.leases().unwrap(), std::slice::from_ref(&first));
    // It is renewed; once it has ended, or was dropped, another has it.
    store.commit(batch(vec![take(one, NOW + 1_000).1]), NOW + 1_000).await.unwrap();
    store.commit(batch(vec![take(two, NOW + 61_000).1]), NOW + 61_000).await.unwrap();
    assert_eq!(store.leases().unwrap(), [take(two, NOW + 61_000).0], "whose lease ended has the address no more");
    let refused = store.commit(batch(vec![take(one, NOW + 61_000).1]), NOW + 61_000).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Leased(holder) if holder.mac == two), "{refused}");
    let again = vec![Operation::DeleteLease { mac: two.into() }, take(one, NOW + 61_000).1];
    store.commit(batch(again), NOW + 61_000).await.unwrap();
    assert_eq!(store.leases().unwrap(), [take(one, NOW + 61_000).0]);
}

pub(crate) async fn small_values_are_put_and_deleted_by_space_and_key(store: Arc<dyn Store>) {
    let put = |space, value: Option<&[u8]>| Batch {
        operations: vec![Operation::Put { space, key: "k".into(), value: value.map(<[u8]>::to_vec) }],
        ..Batch::default()
    };
    store.commit(put(Space::Grant, Some(b"grant\0\xff")), NOW).await.unwrap();
    store.commit(put(Space::Meta, Some(b"")), NOW).await.unwrap();
    assert_eq!(store.get(Space::Grant, "k").unwrap().as_deref(), Some(&b"grant\0\xff"[..]));
    assert_eq!(store.get(Space::Meta, "k").unwrap().as_deref(), Some(&b""[..]));
    store.commit(put(Space::Grant, None), NOW).await.unwrap();
    assert_eq!(store.get(Space::Grant, "k").unwrap(), None);
    assert!(store.get(Space::Meta, "k").unwrap().is_some());
}

pub(crate) async fn what_is_too_large_is_refused_and_nothing_of_it_is_kept(store: Arc<dyn Store>) {
    let stream = machine("big");
    let value = |bytes: usize| Operation::Put { space: Space::Grant, key: "big".into(), value: Some(vec![7; bytes]) };
    let with_event = |operation| Batch {
        events: vec![(stream.clone(), held("with it"))],
        operations: vec![operation],
        ..Batch::default()
    };
    let too_large = [
        Batch { events: vec![(stream.clone(), held("x".repeat(256 << 10)))], ..Batch::default() },
        with_event(value((1 << 20) + 1)),
        with_event(Operation::DeleteLease { mac: "a".repeat(513) }),
        Batch { events: vec![(machine(&"m".repeat(600)), held("x"))], ..Batch::default() },
        Batch { operations: vec![value(1 << 20); 33], ..Batch::default() },
    ];
    for batch in too_large {
        assert!(matches!(store.commit(batch, NOW).await, Err(StoreError::TooLarge(_))));
    }
    assert_eq!(store.head(&stream).unwrap(), 0);
    assert_eq!(store.get(Space::Grant, "big").unwrap(), None);
    store.commit(with_event(value(1 << 20)), NOW).await.unwrap();
    assert_eq!(store.get(Space::Grant, "big").unwrap().map(|value| value.len()), Some(1 << 20));
}

pub(crate) async fn the_watch_of_events_rises_with_each_commit(store: Arc<dyn Store>) {
    let mut watch = store.watch_events();
    let before = *watch.borrow_and_update();
    let waiter = tokio::spawn(async move {
        tokio::time::timeout(Duration::from_secs(20), watch.changed()).await.unwrap().unwrap();
        *watch.borrow()
    });
    store.commit(decided(&machine("watched"), 0, "x"), NOW).await.unwrap();
    assert_eq!(waiter.await.unwrap(), before + 1);
    let watch = store.watch_events();
    let only_lease = Batch { operations: vec![Operation::PutLease(lease("02:00:00:00:00:01", 9))], ..Batch::default() };
    store.commit(only_lease, NOW).await.unwrap();
    assert!(!watch.has_changed().unwrap(), "a renewed lease wakes nobody");
}

pub(crate) async fn an_empty_batch_is_answered(store: Arc<dyn Store>) {
    let committed = store.commit(Batch::default(), NOW).await.unwrap();
    assert!(committed.records.is_empty() && committed.answers.is_empty());
    let stream = machine("checked");
    let only_check = |head| Batch { expected: vec![(stream.clone(), head)], ..Batch::default() };
    assert!(store.commit(only_check(0), NOW).await.is_ok());
    assert!(matches!(store.commit(only_check(1), NOW).await, Err(StoreError::Conflict { .. })));
}

/// The kinds whose encoding is not the plain derived one: flattened parts, numbers beyond what a float holds, odd text.
pub(crate) async fn every_kind_of_event_comes_back_as_it_was(store: Arc<dyn Store>) {
    use crate::journal::Ask;
    let stream = machine("kinds");
    let facts = serde_json::json!({"z": 1, "a": {"nested": [null, -1, 1.5, u64::MAX, "ü\u{0}\u{2028}"]}});
    let events = vec![
        Event::Asked { by: "somebody".into(), what: Ask::Reboot, reason: "broken fan".into() },
        Event::Asked { by: "somebody".into(), what: Ask::Retry, reason: String::new() },
        Event::FactsReported { facts: facts.as_object().cloned().unwrap_or_default(), job: None },
        Event::RunFinished { run: u64::MAX },
        Event::Leased {
            mac: "02:00:00:00:00:01".into(),
            address: Ipv4Addr::BROADCAST,
            seconds: u32::MAX,
            subnet: String::new(),
        },
    ];
    let batch =
        Batch { events: events.iter().map(|event| (stream.clone(), event.clone())).collect(), ..Batch::default() };
    let committed = store.commit(batch, i64::MIN).await.unwrap();
    let read = store.events_of(&stream, 0, 100).unwrap();
    assert_eq!(read, committed.records);
    assert_eq!(read.into_iter().map(|record| record.event).collect::<Vec<_>>(), events);
}

fn compact(stream: &Stream, below: u64, folded: Option<Event>) -> Batch {
    let operation = Operation::Compact { stream: stream.clone(), below, folded: folded.map(Box::new) };
    Batch { operations: vec![operation], ..Batch::default() }
}

async fn ten_events_each(store: &dyn Store, streams: &[&Stream]) {
    for index in 0..10_u64 {
        for stream in streams {
            store.commit(decided(stream, index, &format!("{index}")), NOW).await.unwrap();
        }
    }
}

pub(crate) async fn old_events_are_dropped_and_the_rest_stays_in_its_place(store: Arc<dyn Store>) {
    let (box_, other) = (Stream::Box("02:00:00:00:00:01".into()), machine("other"));
    ten_events_each(&*store, &[&box_, &other]).await;
    let (all, kept) = (store.events_after(0, 1000).unwrap(), store.events_of(&box_, 4, 100).unwrap());
    let last_dropped = store.events_of(&box_, 3, 1).unwrap()[0].sequence;
    assert_eq!((store.compacted(None).unwrap(), store.compacted(Some(&box_)).unwrap()), (0, 0));
    // Repeated, and less than was dropped already, it changes nothing.
    for below in [3, 4, 4, 1, 0] {
        store.commit(compact(&box_, below, None), NOW).await.unwrap();
    }
    assert_eq!(store.events_of(&box_, 0, 100).unwrap(), kept);
    assert_eq!((store.head(&box_).unwrap(), store.events_of(&other, 0, 100).unwrap().len()), (10, 10));
    let left: Vec<_> = all.iter().filter(|record| record.stream != box_ || record.index >= 4).cloned().collect();
    assert_eq!(store.events_after(0, 1000).unwrap(), left);
    assert_eq!((store.compacted(None).unwrap(), store.compacted(Some(&box_)).unwrap()), (last_dropped, last_dropped));
    assert_eq!(store.compacted(Some(&other)).unwrap(), 0);
    let next = store.commit(decided(&box_, 10, "next"), NOW).await.unwrap();
    assert_eq!((next.records[0].index, next.records[0].sequence), (10, all.last().unwrap().sequence + 1));
    // The newest stays, and what is not there cannot go.
    for below in [11, 12, u64::MAX] {
        let refused = store.commit(compact(&box_, below, None), NOW).await.unwrap_err();
        assert!(matches!(refused, StoreError::Conflict { .. }), "{below}: {refused:?}");
    }
    assert_eq!(store.events_of(&box_, 0, 100).unwrap().len(), 7);
}

pub(crate) async fn what_old_events_came_to_takes_the_place_of_the_last_of_them(store: Arc<dyn Store>) {
    let stream = machine("folded");
    ten_events_each(&*store, &[&stream]).await;
    let before = store.events_of(&stream, 0, 100).unwrap();
    for below in [5_usize, 8] {
        let folded = held(format!("below {below}"));
        store.commit(compact(&stream, below as u64, Some(folded.clone())), NOW).await.unwrap();
        let now = store.events_of(&stream, 0, 100).unwrap();
        let place = &before[below - 1];
        assert_eq!(now[0], crate::journal::Record { event: folded, ..place.clone() });
        assert_eq!(now[1..], before[below..]);
        assert_eq!(store.compacted(Some(&stream)).unwrap(), place.sequence);
    }
    assert_eq!(store.head(&stream).unwrap(), 10);
}
