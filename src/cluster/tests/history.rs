//! Whatever machines ask in whatever order, what they were told agrees with one another.

use super::super::{Answer, ClaimStanding, Condition, Count, Document, Operation, Request, Role, after_restart, apply};
use super::parts::Disk;
use super::{Cluster, content, machine_in};
use crate::cluster::Caller;
use proptest::prelude::*;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
enum Ask {
    Put { machine: usize, key: usize, condition: u8 },
    Delete { machine: usize, key: usize },
    Claim { machine: usize, claim: usize },
    Renew { machine: usize, claim: usize },
    Done { machine: usize, claim: usize },
    Fail { machine: usize, claim: usize, retry: bool },
    Join { machine: usize, count: u32 },
    MachineEnded { machine: usize },
    NewRun { machine: usize },
    Time { ms: u64 },
    Restart,
    Reset,
    RaiseRun,
}

fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let (machine, few) = (0..5_usize, 0..2_usize);
    proptest::collection::vec(
        prop_oneof![
            4 => (machine.clone(), 0..3_usize, 0..3_u8).prop_map(|(machine, key, condition)| Ask::Put { machine, key, condition }),
            1 => (machine.clone(), 0..3_usize).prop_map(|(machine, key)| Ask::Delete { machine, key }),
            6 => (machine.clone(), few.clone()).prop_map(|(machine, claim)| Ask::Claim { machine, claim }),
            2 => (machine.clone(), few.clone()).prop_map(|(machine, claim)| Ask::Renew { machine, claim }),
            3 => (machine.clone(), few.clone()).prop_map(|(machine, claim)| Ask::Done { machine, claim }),
            1 => (machine.clone(), few, any::<bool>()).prop_map(|(machine, claim, retry)| Ask::Fail { machine, claim, retry }),
            4 => (machine.clone(), 0..4_u32).prop_map(|(machine, count)| Ask::Join { machine, count }),
            1 => machine.clone().prop_map(|machine| Ask::MachineEnded { machine }),
            1 => machine.prop_map(|machine| Ask::NewRun { machine }),
            3 => (0..8_000_u64).prop_map(|ms| Ask::Time { ms }),
            1 => Just(Ask::Restart),
            1 => Just(Ask::Reset),
            1 => Just(Ask::RaiseRun),
        ],
        1..120,
    )
}

/// What machines know, by what they were told.
#[derive(Default)]
struct Told {
    runs: BTreeMap<usize, u64>,
    fences: BTreeMap<(usize, usize), u64>,
    /// Claim → the highest fence given.
    highest: BTreeMap<usize, u64>,
    /// (epoch, claim) that were done, and by whom.
    done: BTreeMap<(u64, usize), (usize, u64)>,
    /// (epoch, machine) → ordinal.
    ordinals: BTreeMap<(u64, usize), u32>,
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

proptest! {
    #[test]
    fn any_history_keeps_its_promises(asks in asks()) {
        let mut cluster = Cluster::of_three();
        cluster.members = NAMES.map(str::to_owned).to_vec();
        let mut told = Told::default();
        let (mut disk, mut written) = (Disk::default(), cluster.document.clone());
        for (step, ask) in asks.into_iter().enumerate() {
            // A group of a store is several writes, or one.
            if step % 3 == 0 || matches!(ask, Ask::Restart) {
                disk.write(&written, &cluster.document);
                written = cluster.document.clone();
            }
            let run = |machine: &usize| *told.runs.get(machine).unwrap_or(&1);
            let fence = |machine: &usize, claim: &usize| *told.fences.get(&(*machine, *claim)).unwrap_or(&0);
            let key = |key: &usize| format!("k{key}");
            let claim_name = |claim: &usize| format!("c{claim}");
            let by = |machine: &usize| machine_in(NAMES[*machine], run(machine));
            let (caller, operation) = match &ask {
                Ask::Put { machine, key: number, condition } => {
                    let name = key(number);
                    let seen = cluster.document.keys.get(&name).map_or(0, |entry| entry.version);
                    let condition = match condition {
                        0 => Condition::Absent,
                        1 => Condition::Versions(vec![(cluster.document.epoch, seen)]),
                        _ => Condition::Any,
                    };
                    (by(machine), Operation::Put { key: name, value: content(json!(*machine)), condition, secret: false })
                }
                Ask::Delete { machine, key: number } => {
                    (by(machine), Operation::Delete { key: key(number), condition: Condition::Any })
                }
                Ask::Claim { machine, claim } => (by(machine), Operation::Claim { claim: claim_name(claim), ttl_ms: 10_000 }),
                Ask::Renew { machine, claim } => {
                    (by(machine), Operation::Renew { claim: claim_name(claim), fence: fence(machine, claim), ttl_ms: None })
                }
                Ask::Done { machine, claim } => {
                    let publish = vec![("published".to_owned(), content(json!(*machine)))];
                    (by(machine), Operation::Done { claim: claim_name(claim), fence: fence(machine, claim), publish })
                }
                Ask::Fail { machine, claim, retry } => {
                    let (claim, fence) = (claim_name(claim), fence(machine, claim));
                    (by(machine), Operation::Fail { claim, fence, retry: *retry, reason: String::new() })
                }
                Ask::Join { machine, count } => {
                    let barrier = Some(if *count == 0 { Count::All } else { Count::AtLeast(*count) });
                    (by(machine), Operation::Join { set: "s".to_owned(), barrier })
                }
                Ask::MachineEnded { machine } => {
                    let machine = NAMES[*machine].to_owned();
                    (Caller::Server, Operation::MachineEnded { machine, reason: String::new() })
                }
                Ask::NewRun { machine } => {
                    let next = run(machine) + 1;
                    told.runs.insert(*machine, next);
                    continue;
                }
                Ask::Time { ms } => {
                    cluster.now_ms += ms;
                    continue;
                }
                Ask::Restart => {
                    let text = serde_json::to_string(&cluster.document).expect("text");
                    let mut read: Document = serde_json::from_str(&text).expect("a document");
                    prop_assert_eq!(&read, &cluster.document);
                    cluster.now_ms = 0;
                    after_restart(&mut read, 0);
                    let mut from_parts = disk.read();
                    after_restart(&mut from_parts, 0);
                    prop_assert_eq!(&from_parts, &read);
                    cluster.document = read;
                    written = cluster.document.clone();
                    continue;
                }
                Ask::Reset => (Caller::Server, Operation::Reset { reason: String::new() }),
                Ask::RaiseRun => {
                    cluster.run += 1;
                    (Caller::Server, Operation::Settle)
                }
            };

            let request = Request { cluster: "etcd".to_owned(), operation, context: cluster.context(caller) };
            let before = cluster.document.clone();
            let outcome = apply(&before, &request);
            prop_assert_eq!(&outcome, &apply(&before, &request), "the same again");
            let raised = before.epoch != 0 && before.epoch < cluster.run;
            match &outcome.document {
                Some(after) => {
                    let most = if raised { 2 } else { 1 };
                    prop_assert!(after.version > before.version && after.version <= before.version + most);
                    prop_assert!(after.epoch >= before.epoch);
                    cluster.document = after.clone();
                }
                None => {
                    let written = matches!(outcome.answer, Answer::Written { .. });
                    prop_assert!(!written, "what is written is in a document");
                }
            }
            let epoch = cluster.document.epoch;

            match (&ask, &outcome.answer) {
                (Ask::Claim { machine, claim }, Answer::Claim(answer)) if answer.role == Role::Leader => {
                    let highest = told.highest.entry(*claim).or_insert(0);
                    prop_assert!(answer.fence >= *highest, "fences rise");
                    if answer.fence == *highest {
                        prop_assert_eq!(told.fences.get(&(*machine, *claim)), Some(&answer.fence), "one holder a fence");
                    }
                    *highest = answer.fence;
                    told.fences.insert((*machine, *claim), answer.fence);
                }
                (Ask::Done { machine, claim }, Answer::Claim(answer)) => {
                    prop_assert_eq!(answer.state, ClaimStanding::Done);
                    let by = (*machine, answer.fence);
                    prop_assert_eq!(*told.done.entry((epoch, *claim)).or_insert(by), by, "done once an epoch");
                }
                (Ask::Join { machine, count }, Answer::Joined(joined)) => {
                    let ordinal = *told.ordinals.entry((epoch, *machine)).or_insert(joined.ordinal);
                    prop_assert_eq!(ordinal, joined.ordinal, "an ordinal is stable");
                    let here = told.ordinals.iter().filter(|((at, _), _)| *at == epoch).map(|(_, ordinal)| *ordinal);
                    let all: Vec<u32> = here.collect();
                    let unique: BTreeSet<u32> = all.iter().copied().collect();
                    prop_assert_eq!(unique.len(), all.len(), "ordinals are unique");
                    let wanted = if *count == 0 { NAMES.len() } else { *count as usize };
                    prop_assert_eq!(joined.opened.is_some(), all.len() >= wanted, "no barrier opens short");
                }
                _ => {}
            }
            for (name, claim) in cluster.document.claims.iter() {
                if claim.standing(cluster.now_ms) == ClaimStanding::Done {
                    let number: usize = name.trim_start_matches('c').parse().expect("a number");
                    prop_assert!(told.done.contains_key(&(epoch, number)));
                }
            }
        }
    }
}
