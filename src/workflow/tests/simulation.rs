//! A machine that follows its answers through random workflows, outcomes, power cuts and people.

use super::world::{Content, PLAIN, World};
use crate::journal::{MachineState, RunStatus};
use crate::wire::{JobOutcome, JobRequest};
use crate::workflow::{Action, OFFERS_BEFORE_HOLD, position};
use proptest::prelude::*;

/// What chance does at one step.
#[derive(Debug, Clone)]
enum Chance {
    Done,
    Fails,
    TimesOut,
    LetsGo,
    Asks(JobRequest),
    PowerCut,
    SilentBoot,
    Retry,
    Fix,
    Waits,
}

fn chance() -> impl Strategy<Value = Chance> {
    prop_oneof![
        10 => Just(Chance::Done),
        3 => Just(Chance::Fails),
        1 => Just(Chance::TimesOut),
        1 => Just(Chance::LetsGo),
        2 => prop::sample::select(vec![JobRequest::Reboot, JobRequest::Stop, JobRequest::Poweroff, JobRequest::Again])
            .prop_map(Chance::Asks),
        2 => Just(Chance::PowerCut),
        1 => Just(Chance::SilentBoot),
        2 => Just(Chance::Retry),
        1 => Just(Chance::Fix),
        2 => Just(Chance::Waits),
    ]
}

#[derive(Debug, Clone)]
struct Plan {
    stages: Vec<(String, String)>,
    tasks: Vec<(String, String)>,
}

fn plan() -> impl Strategy<Value = Plan> {
    let stage = (
        prop::sample::select(vec!["", "bootEnv: ram, ", "bootEnv: blue, ", "bootEnv: local, "]),
        1_usize..3,
        0_u8..4,
        any::<bool>(),
        any::<bool>(),
    );
    let task =
        prop::sample::select(vec!["", "retries: {limit: 1, backoff: 1s}", "retries: {limit: 2}", "onInterrupt: fail"]);
    (prop::collection::vec(stage, 1..5), prop::collection::vec(task, 8)).prop_map(|(stages, specs)| {
        let mut tasks = Vec::new();
        let count = stages.len();
        let stages = stages
            .into_iter()
            .enumerate()
            .map(|(index, (environment, size, policy, destructive, fresh))| {
                let names: Vec<String> = (0..size).map(|task| format!("task-{index}-{task}")).collect();
                for name in &names {
                    tasks.push((name.clone(), specs[tasks.len() % specs.len()].to_owned()));
                }
                let policy = match policy {
                    0 => ", onFailure: continue".to_owned(),
                    1 if index + 2 < count => format!(", onFailure: {{goTo: stage-{}}}", index + 2),
                    _ => String::new(),
                };
                let spec = format!(
                    "{environment}tasks: [{}], destructive: {destructive}, freshBoot: {fresh}{policy}",
                    names.join(", ")
                );
                (format!("stage-{index}"), spec)
            })
            .collect();
        Plan { stages, tasks }
    })
}

fn content<'a>(stages: &'a [(&'a str, &'a str)], tasks: &'a [(&'a str, &'a str)]) -> Content<'a> {
    Content { machine: "workflow: walk", stages, tasks }
}

/// Each task of a finished run is done, skipped, or was gone past by its stage's word.
fn all_accounted(world: &World) -> Result<(), TestCaseError> {
    let run = world.state.run.as_ref().unwrap();
    let workflow = world.pinned().unwrap().workflow(&run.workflow).unwrap();
    prop_assert!(position(workflow, run).is_none());
    prop_assert!(run.job.is_none());
    let mut jumped_to = 0;
    for (index, stage) in workflow.stages.iter().enumerate() {
        if index < jumped_to {
            continue;
        }
        for task in &stage.tasks {
            if run.task(&stage.name, &task.name).is_some_and(|record| record.is_done()) {
                continue;
            }
            match &stage.on_failure {
                crate::catalog::OnFailure::Stop => prop_assert!(false, "{} was not done", task.name),
                crate::catalog::OnFailure::Continue => {
                    prop_assert!(run.task(&stage.name, &task.name).is_some_and(|record| record.end.is_some()));
                }
                crate::catalog::OnFailure::GoTo(target) => {
                    jumped_to = workflow.stages.iter().position(|stage| *stage.name == **target).unwrap();
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Work on an open job: what the agent says of it, or what happens to it.
fn work(world: &mut World, chance: &Chance) {
    match chance {
        Chance::Fails => world.end(JobOutcome::Failed, &[]),
        Chance::TimesOut => world.end(JobOutcome::TimedOut, &[]),
        Chance::LetsGo => world.end(JobOutcome::Abandoned, &[]),
        Chance::Asks(request) => world.end(JobOutcome::Done, &[*request]),
        Chance::PowerCut | Chance::SilentBoot | Chance::Waits => {}
        Chance::Done | Chance::Retry | Chance::Fix => world.end(JobOutcome::Done, &[]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_walk_ends_or_waits_with_a_reason(plan in plan(), chances in prop::collection::vec(chance(), 10..120)) {
        let stages: Vec<(&str, &str)> = plan.stages.iter().map(|(n, s)| (n.as_str(), s.as_str())).collect();
        let mut tasks: Vec<(&str, &str)> = plan.tasks.iter().map(|(n, s)| (n.as_str(), s.as_str())).collect();
        let mut world = World::new(&content(&stages, &tasks));
        let mut up = false;
        let mut fixes = 0;
        for chance in &chances {
            world.pass(500);
            if !up {
                let unanswered = world.state.offers_unanswered;
                match world.offer() {
                    Some(_) if matches!(chance, Chance::SilentBoot) => {}
                    Some(environment) => {
                        world.check_in(&environment);
                        up = true;
                    }
                    None => {
                        prop_assert!(unanswered >= OFFERS_BEFORE_HOLD);
                        world.pass(30_000);
                    }
                }
                continue;
            }
            let answer = world.agent();
            match &answer.action {
                Action::Grant(grant) => {
                    prop_assert!(grant.attempt <= 200);
                    world.granted(grant);
                    work(&mut world, chance);
                }
                Action::Again { .. } => work(&mut world, chance),
                Action::Wait { reason } => {
                    prop_assert!(!reason.is_empty());
                    match (chance, answer.ask_again_ms) {
                        (_, Some(ms)) => world.pass(i64::try_from(ms).unwrap()),
                        (Chance::Retry, None) => world.retry(),
                        (Chance::Fix, None) if fixes < 3 => {
                            fixes += 1;
                            let last = world.state.run.as_ref().and_then(|run| run.last.clone());
                            let script = ["steps: [{name: s, script: a}]", "steps: [{name: s, script: b}]", ""][fixes % 3];
                            for task in tasks.iter_mut().filter(|task| last.as_ref().is_some_and(|last| last.1 == task.0)) {
                                task.1 = script;
                            }
                            world.push(&format!("fix-{fixes}"), &content(&stages, &tasks));
                        }
                        _ => {}
                    }
                }
                Action::Reboot { reason } | Action::PowerOff { reason } => {
                    prop_assert!(!reason.is_empty());
                    up = false;
                }
                other => prop_assert!(false, "an agent got {:?}", other),
            }
            if matches!(chance, Chance::PowerCut) {
                up = false;
            }
            prop_assert_eq!(&MachineState::fold(&world.records), &world.state);
        }
        // From here work goes well and a person retries whatever waits: it finishes within a bounded number of steps.
        let mut steps = 0;
        while world.state.run.as_ref().is_none_or(|run| run.status != RunStatus::Finished) {
            steps += 1;
            prop_assert!(steps < 400, "it never ends: {:?}", world.records.iter().rev().take(5).collect::<Vec<_>>());
            if !up {
                match world.offer() {
                    Some(environment) => {
                        world.check_in(&environment);
                        up = true;
                    }
                    None => world.pass(600_000),
                }
                continue;
            }
            let answer = world.agent();
            match &answer.action {
                Action::Grant(grant) => {
                    world.granted(grant);
                    world.end(JobOutcome::Done, &[]);
                }
                Action::Again { .. } => world.end(JobOutcome::Done, &[]),
                Action::Reboot { .. } | Action::PowerOff { .. } => up = false,
                Action::Wait { reason } => {
                    prop_assert!(!reason.is_empty());
                    match answer.ask_again_ms {
                        Some(ms) => world.pass(i64::try_from(ms).unwrap()),
                        None => world.retry(),
                    }
                }
                other => prop_assert!(false, "an agent got {:?}", other),
            }
        }
        all_accounted(&world)?;
        prop_assert_eq!(&MachineState::fold(&world.records), &world.state);
    }
}

#[test]
fn the_plain_walk_has_the_boots_that_its_environments_need() {
    let mut world = World::new(&PLAIN);
    world.walk_plain();
    assert_eq!(world.state.run.as_ref().unwrap().boot_count, 2);
}
