//! The fold and the bytes: whoever folds the same log has the same state, however many wrote it, and no bytes are taken for
//! others.

use super::super::segment::{Digest, Effect, Segment, Snapshot, digest_of};
use super::super::state::State;
use crate::journal::Event;
use crate::store::conformance::clusters::{asks_at, member, put};
use crate::store::conformance::{NOW, held, machine};
use crate::store::plan::{Group, first_group, plan};
use crate::store::{Batch, Lease, Operation, Space, StoreError};
use proptest::prelude::*;

/// A log as the API server has it: a number is taken once.
#[derive(Default)]
struct Log(Vec<Vec<u8>>);

impl Log {
    fn new() -> Self {
        let effects = first_group("lab", true, NOW).unwrap().writes.into_iter().map(Effect::from).collect();
        Self(vec![segment(0, [0; 32], effects).seal().unwrap()])
    }

    fn first(&self) -> State {
        State::first(&Segment::open(&self.0[0]).unwrap(), digest_of(&self.0[0])).unwrap()
    }

    /// The state after all of it, by somebody who begins now.
    fn folded(&self) -> State {
        self.0[1..].iter().fold(self.first(), |state, sealed| next(&state, sealed).unwrap())
    }
}

fn segment(number: u64, previous: Digest, effects: Vec<Effect>) -> Segment {
    Segment { number, previous, writer: "w".into(), batch: "b".into(), at_unix_ms: NOW, effects }
}

fn next(state: &State, sealed: &[u8]) -> Result<State, String> {
    state.after(&Segment::open(sealed)?, digest_of(sealed))
}

/// Writes a batch as a replica does that may be late: decides, finds the number taken, folds, decides again.
fn write(log: &mut Log, state: &mut State, batch: &Batch) -> Result<(), StoreError> {
    loop {
        let mut group = Group::after(state.sequence);
        let (own, _) = plan(state, &group, batch.clone(), NOW)?;
        group.absorb(own);
        let effects = state.effects(group)?;
        if effects.is_empty() {
            return Ok(());
        }
        let taken = log.0.get(usize::try_from(state.number).unwrap() + 1).cloned();
        let sealed = match taken {
            Some(taken) => {
                *state = next(state, &taken).unwrap();
                continue;
            }
            None => segment(state.number + 1, state.digest, effects).seal()?,
        };
        *state = next(state, &sealed).unwrap();
        log.0.push(sealed);
        return Ok(());
    }
}

fn batch(what: u8, who: u8, number: u8) -> Batch {
    let stream = machine(&format!("m{}", who % 3));
    let operation = |operation| Batch { operations: vec![operation], ..Batch::default() };
    let key = format!("k{}", number % 4);
    let name = member(usize::from(who));
    match what {
        0 => Batch { events: vec![(stream.clone(), held(key)), (stream, held("x"))], ..Batch::default() },
        1 => operation(Operation::Compact { stream, below: u64::from(number), folded: None }),
        2 => operation(Operation::Compact { stream, below: u64::from(number), folded: Some(Box::new(held("all"))) }),
        3 => operation(Operation::Put {
            space: Space::Grant,
            key,
            value: (!number.is_multiple_of(3)).then(|| vec![number]),
        }),
        4 => operation(Operation::PutLease(Lease {
            mac: key,
            address: std::net::Ipv4Addr::new(10, 0, 0, number),
            subnet: "lab".into(),
            at_unix_ms: NOW,
            seconds: 60,
            declined: false,
        })),
        5 => operation(Operation::DeleteLease { mac: key }),
        6 => {
            let claim = crate::cluster::Operation::Claim { claim: key, ttl_ms: 1_000 };
            operation(asks_at(u64::from(number) * 100, "etcd", &name, claim))
        }
        7 => operation(asks_at(1_000, "etcd", &name, crate::cluster::Operation::Join { set: key, barrier: None })),
        8 => operation(asks_at(1_000, "etcd", &name, put(&key, number, crate::cluster::Condition::Any))),
        _ => {
            let mut request = asks_at(1_000, "etcd", &name, crate::cluster::Operation::Reset { reason: "new".into() });
            if let Operation::Cluster(request) = &mut request {
                request.context.caller = crate::cluster::Caller::Server;
            }
            operation(request)
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_interleaving_of_writers_gives_one_state(
        steps in proptest::collection::vec((0_usize..3, 0_u8..10, 0_u8..6, 0_u8..20), 1..60)
    ) {
        let mut log = Log::new();
        let mut replicas = [log.first(), log.first(), log.first()];
        for (replica, what, who, number) in steps {
            // A batch that is refused changes nothing.
            let before = log.0.len();
            if write(&mut log, &mut replicas[replica], &batch(what, who, number)).is_err() {
                prop_assert_eq!(log.0.len(), before);
            }
        }
        let whole = log.folded();
        for mut state in replicas {
            while let Some(sealed) = log.0.get(usize::try_from(state.number).unwrap() + 1) {
                state = next(&state, sealed).unwrap();
            }
            prop_assert_eq!(&state, &whole);
        }
        let sealed = whole.snapshot().unwrap().seal().unwrap();
        prop_assert_eq!(State::of(&Snapshot::open(&sealed).unwrap()).unwrap(), whole);
    }

    #[test]
    fn bytes_that_were_not_written_are_refused(at in 0_usize..400, flip in 1_u8..=255, cut in 0_usize..400) {
        let effects = vec![
            Effect::Event { sequence: 9, stream: "site".into(), index: 1 << 40, bytes: vec![1; 100] },
            Effect::Compact { stream: "site".into(), from: 0, below: u64::MAX, folded: Some(vec![]), compacted: 3 },
            Effect::Value { space: "log".into(), key: "ü".into(), bytes: None },
        ];
        let whole = segment(7, [3; 32], effects);
        let sealed = whole.seal().unwrap();
        prop_assert_eq!(Segment::open(&sealed).unwrap(), whole);
        let mut wrong = sealed.clone();
        let at = at % wrong.len();
        wrong[at] ^= flip;
        prop_assert!(Segment::open(&wrong).is_err());
        prop_assert!(Segment::open(&sealed[..cut % sealed.len()]).is_err());
        prop_assert!(Snapshot::open(&sealed).is_err(), "a segment is no snapshot");
    }

    #[test]
    fn a_body_of_any_bytes_is_refused_or_read_and_never_more_than_it_is(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut sealed = b"fw-seg\0\x01".to_vec();
        sealed.extend(body);
        let mut sealed = miniz_oxide::deflate::compress_to_vec_zlib(&sealed, 1);
        let sum = digest_of(&sealed);
        sealed.extend_from_slice(&sum);
        let _ = Segment::open(&sealed);
    }
}

#[test]
fn a_segment_that_does_not_follow_is_refused_with_the_reason() {
    let log = Log::new();
    let state = log.first();
    let event = |sequence, index| Effect::Event { sequence, stream: "site".into(), index, bytes: b"\x01{}".to_vec() };
    let part = |kind: &str, bytes: Option<&[u8]>| Effect::Part {
        cluster: "c".into(),
        kind: kind.into(),
        name: "n".into(),
        bytes: bytes.map(<[u8]>::to_vec),
    };
    let compact = |from, below| Effect::Compact { stream: "site".into(), from, below, folded: None, compacted: 1 };
    for (number, previous, effects, why) in [
        (2, state.digest, vec![], "says that it is segment 2"),
        (1, [9; 32], vec![], "after another segment"),
        (1, state.digest, vec![event(3, 1)], "effect 0: event 3 comes after event 1"),
        (1, state.digest, vec![event(2, 1), event(3, 1)], "effect 1: event 1 of site comes where it has 2"),
        (1, state.digest, vec![compact(0, 1)], "of site, which has 0 to 1, 0 to 1 go"),
        (1, state.digest, vec![part("poem", Some(b"\x01{}"))], "is no part of a document"),
        (1, state.digest, vec![part("key", Some(b"{}"))], "unknown encoding"),
        (1, state.digest, vec![part("head", None)], "that goes"),
        (1, state.digest, vec![Effect::Totals { sequence: 0, compacted: 0 }], "belongs into a snapshot"),
    ] {
        let error = state.after(&segment(number, previous, effects), [1; 32]).unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    let newer = Segment::open(&log.0[0]).map(|segment| (segment.number, segment.effects.len()));
    assert_eq!(newer, Ok((0, 2)));
}

#[test]
fn a_snapshot_whose_counts_do_not_agree_is_refused() {
    let whole = Log::new().folded().snapshot().unwrap();
    for at in 0..whole.effects.len() {
        let mut less = whole.clone();
        let gone = less.effects.remove(at);
        if !matches!(gone, Effect::Value { .. }) {
            assert!(State::of(&less).is_err(), "without {gone:?}");
        }
    }
    let record = State::of(&whole).unwrap().events_after(0, 1).unwrap().remove(0);
    assert_eq!(record.event, Event::SiteCreated { site: "lab".into(), fresh: true });
}
