//! Projections are thrown away and made again: from all events, or from a fold of the older ones and the rest.

use super::*;
use crate::journal::fold_below;
use crate::wire::{JobOutcome, JobRequest};
use proptest::prelude::*;

fn event() -> impl Strategy<Value = Event> {
    let small = || 0..4_u64;
    let name = |kind: &'static str| (0..6_u32).prop_map(move |number| format!("{kind}{number}"));
    let requests = prop::sample::subsequence(
        vec![JobRequest::Reboot, JobRequest::Stop, JobRequest::Poweroff, JobRequest::Again],
        0..=4,
    );
    let outcome = prop::sample::select(vec![
        JobOutcome::Done,
        JobOutcome::Failed,
        JobOutcome::TimedOut,
        JobOutcome::Interrupted,
        JobOutcome::Abandoned,
    ]);
    let runs = prop_oneof![
        4 => (small(), any::<bool>()).prop_map(|(run, destructive_allowed)| Event::RunStarted {
            run,
            workflow: "walk".into(),
            revision: "r".into(),
            reason: String::new(),
            destructive_allowed,
        }),
        8 => (name("job"), name("stage"), name("task"), name("boot")).prop_map(|(job, stage, task, boot_id)| {
            Event::JobGranted {
                job,
                run: 1,
                stage_index: 1,
                stage,
                task_index: 2,
                task,
                digest: "d".into(),
                attempt: 1,
                boot_id,
                destructive: true,
                timeout_seconds: 60,
            }
        }),
        8 => (name("job"), outcome, requests).prop_map(|(job, outcome, requests)| Event::JobEnded {
            job,
            outcome,
            exit_code: None,
            log_at: requests.first().map(|_| "two".into()),
            message: Some("why".into()),
            requests,
        }),
        1 => small().prop_map(|run| Event::RunFinished { run }),
        1 => Just(Event::RunResumed { run: 1, revision: "s".into(), reason: String::new() }),
        1 => Just(Event::RunDiverged { run: 1, revision: "s".into(), reason: "differs".into() }),
        1 => Just(Event::RunCancelled { run: 1, by: "b".into(), reason: String::new() }),
        1 => (name("stage"), name("task")).prop_map(|(stage, task)| Event::TaskSkipped {
            run: 1,
            stage_index: 0,
            stage,
            task_index: 0,
            task,
            by: "b".into(),
            reason: String::new(),
        }),
    ];
    let rest = prop_oneof![
        4 => name("offer").prop_map(|id| offered(&id)),
        4 => (name("offer"), name("key"), name("boot"), small()).prop_map(|(t, k, b, g)| exchanged(&t, &k, &b, g)),
        4 => name("boot").prop_map(|boot| checked_in(&boot)),
        2 => name("disk").prop_map(|ticket| planted(&ticket)),
        2 => (name("fact"), prop::option::of(small())).prop_map(|(fact, value)| Event::FactsReported {
            facts: [(fact, serde_json::json!(value))].into_iter().collect(),
            job: None,
        }),
        2 => (name("offer"), name("stage"), name("task"), any::<bool>()).prop_map(|(offer, stage, task, success)| {
            Event::InstallerFinished {
                offer,
                run: 1,
                stage_index: 0,
                stage,
                task,
                digest: "d".into(),
                success,
                message: None,
            }
        }),
        1 => (name("offer"), name("key")).prop_map(|(ticket, key)| Event::ApprovalAwaited {
            ticket,
            key,
            address: "192.0.2.1".into(),
        }),
        1 => Just(Event::Held { reason: "r".into() }),
        1 => Just(Event::Quarantined { reason: "r".into() }),
        1 => Just(Event::Asked { by: "b".into(), what: Ask::Approve, reason: String::new() }),
        1 => Just(Event::Asked { by: "b".into(), what: Ask::Retry, reason: String::new() }),
        1 => Just(Event::Asked { by: "b".into(), what: Ask::Reboot, reason: String::new() }),
        1 => Just(Event::Left { revision: "r".into() }),
        1 => Just(Event::Returned { revision: "r".into() }),
        1 => Just(Event::Forgotten { by: "b".into(), reason: String::new() }),
        1 => Just(Event::StoreRestored { backup_unix_ms: 5 }),
        1 => small().prop_map(|run| Event::Adopted { by: "b".into(), run, workflow: Some("walk".into()), macs: Vec::new(), reason: String::new() }),
        1 => small().prop_map(|generation| Event::GenerationRaised { generation, reason: String::new() }),
        1 => Just(Event::Enrolled {
            rule: "r".into(),
            mac: "52:54:00:00:00:03".into(),
            uuid: None,
            serial: Some("s".into()),
            architecture: None,
        }),
    ];
    prop_oneof![runs, rest]
}

fn places(events: Vec<Event>) -> Vec<Record> {
    (0_u64..)
        .zip(events)
        .map(|(index, event)| Record {
            sequence: index * 3 + 1,
            stream: Stream::Machine("node".into()),
            index,
            at_unix_ms: i64::try_from(index).unwrap() * 1000,
            event,
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Folded twice on the way, written down and read again each time, the state is what all events come to.
    #[test]
    fn a_fold_of_older_events_and_the_rest_come_to_the_same(
        events in prop::collection::vec(event(), 2..120),
        first in 1..60_usize,
        second in 1..60_usize,
    ) {
        let all = places(events);
        let now = MachineState::fold(&all);
        let mut kept = all.clone();
        for cut in [first, second] {
            let cut = cut.min(kept.len() - 1).max(1);
            let (state, _) = fold_below(MachineState::default(), &kept, kept[cut].index, &now);
            let folded = Event::Folded { made_at: 1, macs: Vec::new(), state: Box::new(state) };
            let place = Record { event: folded, ..kept[cut - 1].clone() };
            // As the store keeps it.
            let place = serde_json::from_slice(&serde_json::to_vec(&place).unwrap()).unwrap();
            kept.splice(..cut, [place]);
        }
        prop_assert_eq!(&MachineState::fold(&kept), &now);
        // And so does a fold that is applied one by one, as a running server does it.
        let mut step = MachineState::default();
        all.iter().for_each(|record| step.apply(record));
        prop_assert_eq!(&step, &now);
    }
}

#[test]
fn logs_go_with_the_jobs_that_nothing_shows_any_more() {
    let granted = |job: &str, task: &str| Event::JobGranted {
        job: job.into(),
        run: 1,
        stage_index: 0,
        stage: "s".into(),
        task_index: 0,
        task: task.into(),
        digest: String::new(),
        attempt: 1,
        boot_id: "b".into(),
        destructive: false,
        timeout_seconds: 1,
    };
    let started = |run| Event::RunStarted {
        run,
        workflow: "w".into(),
        revision: "r".into(),
        reason: String::new(),
        destructive_allowed: true,
    };
    let mut kept = places(vec![started(1), granted("a", "one"), granted("b", "one"), granted("c", "two")]);
    let (state, jobs) = fold_below(MachineState::default(), &kept, 3, &MachineState::fold(&kept));
    assert_eq!(jobs, ["a"], "b and c are the last of their tasks in the run that is shown");
    let place =
        Record { event: Event::Folded { made_at: 1, macs: Vec::new(), state: Box::new(state) }, ..kept[2].clone() };
    kept.splice(..3, [place]);
    for event in [started(2), granted("d", "one")] {
        let (last, mut next) = (kept.last().unwrap().clone(), kept.last().unwrap().clone());
        (next.index, next.sequence, next.event) = (last.index + 1, last.sequence + 1, event);
        kept.push(next);
    }
    let (_, jobs) = fold_below(MachineState::default(), &kept, 4, &MachineState::fold(&kept));
    assert_eq!(jobs, ["b", "c"], "also those that only the fold before still knew");
}
