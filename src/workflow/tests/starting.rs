//! When a run begins, goes on, and when nothing does.

use super::world::{Content, NODE, PLAIN, World, reason, word};
use crate::journal::{Event, RunStatus};
use crate::wire::JobOutcome;
use crate::workflow::{Action, Running, Trust};

fn with_machine(machine: &'static str) -> Content<'static> {
    Content { machine, ..PLAIN }
}

#[test]
fn the_first_workflow_starts_a_run_that_may_be_destructive() {
    let mut world = World::new(&PLAIN);
    assert_eq!(word(&world.firmware()), "boot ram");
    assert!(matches!(
        world.last("run-started"),
        Some(Event::RunStarted { run: 1, destructive_allowed: true, workflow, revision, .. })
            if workflow == "walk" && revision == "r1"
    ));
}

#[test]
fn a_machine_without_a_workflow_boots_its_own_disk() {
    let mut world = World::new(&with_machine("params: {}"));
    let answer = world.firmware();
    assert_eq!((word(&answer).as_str(), reason(&answer)), ("boot local", "it has no workflow"));
    assert!(world.state.run.is_none());
}

#[test]
fn what_a_new_revision_says_after_a_finished_run_starts_a_run_or_nothing() {
    /// The run's number, its workflow, and whether it may be destructive.
    type Started = (u64, &'static str, bool);
    // (what the machine says now, the run that starts)
    let table: &[(&str, Option<Started>)] = &[
        ("workflow: walk", None),
        ("workflow: walk, run: 5", None),
        ("workflow: walk, run: 4", None),
        ("workflow: walk, run: 6", Some((6, "walk", true))),
        ("workflow: other, run: 5", Some((5, "other", false))),
        ("workflow: other, run: 3", Some((5, "other", false))),
        ("workflow: other, run: 7", Some((7, "other", true))),
    ];
    for (machine, started) in table {
        let mut world = World::new(&with_machine("workflow: walk, run: 5"));
        world.walk_plain();
        let before = world.records.len();
        world.push("r2", &Content { machine, ..PLAIN });
        world.agent();
        let found = world.records[before..].iter().find_map(|record| match &record.event {
            Event::RunStarted { run, workflow, destructive_allowed, .. } => {
                Some((*run, workflow.as_str(), *destructive_allowed))
            }
            _ => None,
        });
        assert_eq!(found, *started, "{machine}");
    }
}

#[test]
fn changed_tasks_start_nothing() {
    let mut world = World::new(&PLAIN);
    world.walk_plain();
    let before = world.records.len();
    let tasks = [("see", "steps: [{name: s, script: 'other'}]"), ("write", ""), ("check", ""), ("join", "")];
    world.push("r2", &Content { tasks: &tasks, ..PLAIN });
    assert_eq!(word(&world.agent()), "wait");
    assert_eq!(word(&world.firmware()), "boot local");
    assert_eq!(world.names_since(before), Vec::<String>::new());
}

#[test]
fn a_run_stays_on_its_revision_while_newer_ones_serve() {
    let mut world = World::new(&PLAIN);
    world.boot();
    assert_eq!(world.done(), "see");
    let stages = [("look", "bootEnv: ram, tasks: [see]"), ("use", "bootEnv: local, tasks: [join]")];
    world.push("r2", &Content { stages: &stages, ..PLAIN });
    assert_eq!(world.done(), "write");
    assert_eq!(world.state.run.as_ref().unwrap().revision, "r1");
}

#[test]
fn a_raised_run_ends_the_open_one_and_kills_its_tokens() {
    let mut world = World::new(&PLAIN);
    world.boot();
    let exchanged = Event::Exchanged {
        ticket: "t".into(),
        key: "k".into(),
        boot_id: "boot-1".into(),
        generation: world.state.generation + 1,
    };
    world.event(exchanged);
    let (job, _) = world.job();
    let before = world.records.len();
    world.push("r2", &with_machine("workflow: walk, run: 2"));
    assert_eq!(word(&world.agent_with(Some(&job))), format!("abandon {job}"));
    assert_eq!(world.names_since(before), ["run-cancelled", "generation-raised", "run-started"]);
    assert_eq!(world.state.generation, 2);
    // What the job says of its end afterwards changes nothing.
    world.event(Event::JobEnded {
        job,
        outcome: JobOutcome::Done,
        exit_code: Some(0),
        message: None,
        requests: Vec::new(),
        log_at: None,
    });
    assert!(world.state.run.as_ref().unwrap().tasks.is_empty());
    // The first task of the new run begins with a boot.
    assert_eq!(word(&world.agent()), "reboot");
    assert_eq!(world.boot(), "ram");
    assert_eq!(world.done(), "see");
}

#[test]
fn a_workflow_taken_away_cancels_the_run_and_given_back_starts_none() {
    let mut world = World::new(&PLAIN);
    world.boot();
    world.push("r2", &with_machine("params: {}"));
    assert_eq!(reason(&world.agent()), "it has no workflow");
    assert_eq!(world.state.run.as_ref().unwrap().status, RunStatus::Cancelled);
    world.push("r3", &PLAIN);
    let answer = world.firmware();
    assert_eq!(word(&answer), "boot local");
    assert!(reason(&answer).contains("was cancelled; raise spec.run above 1"), "{}", reason(&answer));
}

#[test]
fn a_pinned_revision_that_cannot_be_loaded_holds() {
    let mut world = World::new(&PLAIN);
    world.boot();
    let (job, _) = world.job();
    world.push("r2", &PLAIN);
    world.lose("r1");
    let answer = world.firmware();
    assert_eq!(word(&answer), "hold");
    assert!(reason(&answer).contains("revision r1 of run 1 cannot be loaded"), "{}", reason(&answer));
    assert!(answer.ask_again_ms.is_some());
    // An agent with its job is told to wait, not to let go of it.
    assert_eq!(word(&world.agent_with(Some(&job))), "wait");
}

#[test]
fn with_no_good_revision_nothing_boots_and_a_job_goes_on() {
    let mut world = World::new(&PLAIN);
    world.boot();
    let (job, _) = world.job();
    world.no_catalog();
    assert_eq!(word(&world.firmware()), "hold");
    assert_eq!(word(&world.agent_with(Some(&job))), "wait");
    assert_eq!(word(&world.agent_with(Some("job-0"))), "abandon job-0");
}

#[test]
fn an_empty_store_holds_declared_machines_until_they_are_adopted() {
    let mut world = World::new(&with_machine("workflow: walk, run: 3"));
    world.trust = Trust::HoldUnknown;
    let answer = world.firmware();
    assert_eq!(word(&answer), "boot local");
    assert!(reason(&answer).contains(&format!("`formwork adopt {NODE}`")), "{}", reason(&answer));
    assert!(world.records.is_empty());
    world.check_in("local");
    assert_eq!(word(&world.agent()), "wait");
    assert!(world.state.run.is_none());
}

#[test]
fn an_adopted_machine_rests_until_its_run_is_raised() {
    let mut world = World::new(&with_machine("workflow: walk, run: 3"));
    world.trust = Trust::HoldUnknown;
    world.event(Event::Adopted {
        by: "anna".into(),
        run: 3,
        workflow: Some("walk".into()),
        macs: Vec::new(),
        reason: String::new(),
    });
    let answer = world.firmware();
    assert_eq!(word(&answer), "boot local");
    assert!(reason(&answer).contains("adopted with run 3"), "{}", reason(&answer));
    world.push("r2", &with_machine("workflow: other, run: 3"));
    assert_eq!(word(&world.firmware()), "boot ram");
    assert!(matches!(world.last("run-started"), Some(Event::RunStarted { destructive_allowed: false, .. })));
    world.push("r3", &with_machine("workflow: other, run: 4"));
    assert_eq!(word(&world.firmware()), "boot ram");
    assert!(matches!(world.last("run-started"), Some(Event::RunStarted { run: 4, destructive_allowed: true, .. })));
}

#[test]
fn a_machine_adopted_as_new_starts_and_may_be_destructive() {
    let mut world = World::new(&PLAIN);
    world.trust = Trust::HoldUnknown;
    world.event(Event::Adopted { by: "anna".into(), run: 0, workflow: None, macs: Vec::new(), reason: String::new() });
    assert_eq!(word(&world.firmware()), "boot ram");
    assert!(matches!(
        world.last("run-started"),
        Some(Event::RunStarted { run: 1, destructive_allowed: true, reason, .. }) if reason == "it was taken in as new"
    ));
}

#[test]
fn a_machine_adopted_without_a_workflow_walks_its_first_one_without_destruction() {
    let mut world = World::new(&PLAIN);
    world.event(Event::Adopted { by: "anna".into(), run: 1, workflow: None, macs: Vec::new(), reason: String::new() });
    assert_eq!(word(&world.firmware()), "boot ram");
    assert!(matches!(world.last("run-started"), Some(Event::RunStarted { destructive_allowed: false, .. })));
}

#[test]
fn once_a_run_has_started_it_counts_and_not_what_was_adopted() {
    let mut world = World::new(&with_machine("workflow: other"));
    world.event(Event::Adopted {
        by: "anna".into(),
        run: 1,
        workflow: Some("walk".into()),
        macs: Vec::new(),
        reason: String::new(),
    });
    world.boot();
    let before = world.records.len();
    assert!(matches!(world.agent().action, Action::Grant(_)));
    assert_eq!(world.names_since(before), Vec::<String>::new());
}

#[test]
fn an_agent_on_a_system_that_was_up_before_the_run_boots_anew_and_one_on_its_disk_goes_on() {
    let mut world = World::new(&with_machine("params: {}"));
    world.check_in("ram");
    world.push("r2", &PLAIN);
    assert_eq!(word(&world.agent()), "reboot");
    let disk = [("use", "bootEnv: local, tasks: [join]")];
    let mut world = World::new(&Content { machine: "params: {}", stages: &disk, ..PLAIN });
    world.check_in("local");
    world.push("r2", &Content { stages: &disk, ..PLAIN });
    assert_eq!(world.done(), "join");
}

#[test]
fn firmware_that_asks_while_the_agent_of_another_boot_is_known_gets_the_same_place() {
    let mut world = World::new(&PLAIN);
    world.boot();
    assert_eq!(world.done(), "see");
    assert_eq!(word(&world.ask(Running::Firmware)), "boot ram");
}
