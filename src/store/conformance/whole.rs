//! A store with some of everything in it, and all that a store says: what a move has to carry.

use super::clusters::{ask, member, put};
use super::program::Dice;
use super::{NOW, compact, decided, held, lease, machine};
use crate::cluster::{self, Answer, ClaimAnswer, Condition, Document, Operation as Ask};
use crate::journal::{Record, Stream};
use crate::store::{Batch, Lease, Operation, Space, Store};

/// All that a store says. Lifetimes of claims are those of a store that was opened at 0: each opening gives them anew.
#[derive(Debug, PartialEq)]
pub(crate) struct Everything {
    events: Vec<Record>,
    /// Each stream with its events, its head, and how far it is compacted.
    streams: Vec<(Stream, Vec<Record>, u64, u64)>,
    compacted: u64,
    documents: Vec<(String, Document)>,
    leases: Vec<Lease>,
    values: Vec<(Space, String, Vec<u8>)>,
}

/// What only one engine keeps for itself, by its key in [`Space::Meta`].
const OF_AN_ENGINE: [&str; 2] = ["authority", "server"];

pub(crate) fn everything(store: &dyn Store) -> Everything {
    let stream = |stream: Stream| {
        let events = store.events_of(&stream, 0, usize::MAX).unwrap();
        let (head, compacted) = (store.head(&stream).unwrap(), store.compacted(Some(&stream)).unwrap());
        (stream, events, head, compacted)
    };
    let document = |name: String| {
        let mut document = (*store.cluster(&name).unwrap().unwrap()).clone();
        cluster::after_restart(&mut document, 0);
        (name, document)
    };
    let values = [Space::Grant, Space::Meta, Space::Log].into_iter().flat_map(|space| {
        let keys = store.keys(space).unwrap().into_iter();
        let keys = keys.filter(move |key| space != Space::Meta || !OF_AN_ENGINE.contains(&key.as_str()));
        keys.map(move |key| (space, store.get(space, &key).unwrap().unwrap(), key))
            .map(|(space, value, key)| (space, key, value))
    });
    Everything {
        events: store.events_after(0, usize::MAX).unwrap(),
        streams: store.streams().unwrap().into_iter().map(stream).collect(),
        compacted: store.compacted(None).unwrap(),
        documents: store.clusters().unwrap().into_iter().map(document).collect(),
        leases: store.leases().unwrap(),
        values: values.collect(),
    }
}

/// Fills a store: streams of which events were dropped and folded, a cluster whose claim `init` is held by `m00`, leases and values.
pub(crate) async fn fill(store: &dyn Store) {
    let box_ = Stream::Box("02:00:00:00:00:01".into());
    for stream in [&box_, &machine("m00"), &machine("m01"), &machine("ü")] {
        for index in 0..12 {
            store.commit(decided(stream, index, &format!("{stream} {index}")), NOW).await.unwrap();
        }
    }
    store.commit(compact(&box_, 5, None), NOW).await.unwrap();
    store.commit(compact(&machine("m00"), 7, Some(held("seven"))), NOW).await.unwrap();
    ask(store, "m00", put("join", "hush", Condition::Absent)).await;
    ask(store, "m00", Ask::Claim { claim: "init".into(), ttl_ms: 60_000 }).await;
    ask(store, "m01", Ask::Claim { claim: "done".into(), ttl_ms: 60_000 }).await;
    for number in [5, 3] {
        ask(store, &member(number), Ask::Join { set: "nodes".into(), barrier: None }).await;
    }
    // Random bytes: nothing that can be made smaller, and more than one object in Kubernetes takes.
    let mut dice = Dice::new(3);
    let mut value = |space, key: &str, bytes: u32| {
        let bytes = (0..bytes).map(|_| u8::try_from(dice.below(256)).unwrap()).collect();
        Operation::Put { space, key: key.into(), value: Some(bytes) }
    };
    let mut operations = vec![value(Space::Grant, "m00", 300), value(Space::Log, "job", 1 << 20)];
    operations.push(Operation::PutLease(lease("02:00:00:00:00:01", 60)));
    operations.push(Operation::PutLease(Lease { declined: true, ..lease("02:00:00:00:00:02", 90) }));
    store.commit(Batch { operations, ..Batch::default() }, NOW).await.unwrap();
}

/// Asks for the claim that [`fill`] gave to `m00`.
pub(crate) async fn claim(store: &dyn Store, name: &str) -> ClaimAnswer {
    match ask(store, name, Ask::Claim { claim: "init".into(), ttl_ms: 60_000 }).await {
        Answer::Claim(answer) => answer,
        other => panic!("{other:?}"),
    }
}
