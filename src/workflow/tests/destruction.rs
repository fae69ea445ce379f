//! What keeps disks whole.

use super::world::{Content, PLAIN, World, reason, word};
use crate::journal::{Ask, Event};
use crate::workflow::{Action, Grant};

fn at_install(machine: &'static str) -> World {
    let mut world = World::new(&Content { machine, ..PLAIN });
    world.boot();
    assert_eq!(world.done(), "see");
    world
}

fn grant(world: &mut World) -> Option<Grant> {
    match world.agent().action {
        Action::Grant(grant) => Some(grant),
        Action::Wait { .. } => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_a_destructive_stage_is_granted_leave_to_destroy() {
    let mut world = World::new(&Content { machine: "workflow: walk, wipe: true", ..PLAIN });
    world.boot();
    let (_, see) = world.job();
    assert!(!see.destructive && !see.wipe);
    world.end(crate::wire::JobOutcome::Done, &[]);
    let (_, write) = world.job();
    assert!(write.destructive && write.wipe);
}

#[test]
fn protect_and_wipe_are_read_from_the_current_revision_at_every_grant() {
    // (pinned says, current says, wipe of the grant or none at all)
    let table: &[(&str, &str, Option<bool>)] = &[
        ("workflow: walk", "workflow: walk", Some(false)),
        ("workflow: walk", "workflow: walk, wipe: true", Some(true)),
        ("workflow: walk, wipe: true", "workflow: walk", Some(false)),
        ("workflow: walk", "workflow: walk, protect: true", None),
        ("workflow: walk, protect: true", "workflow: walk", Some(false)),
        ("workflow: walk", "workflow: walk, protect: true, wipe: true", None),
    ];
    for (pinned, current, wipe) in table {
        let mut world = at_install(pinned);
        world.push("r2", &Content { machine: current, ..PLAIN });
        let granted = grant(&mut world);
        assert_eq!(granted.as_ref().map(|grant| grant.wipe), *wipe, "{pinned} -> {current}");
        assert!(granted.is_none_or(|grant| grant.destructive));
        assert_eq!(world.state.run.as_ref().unwrap().revision, "r1");
    }
}

#[test]
fn protect_stops_between_two_tasks_of_one_destructive_stage() {
    let mut world = at_install("workflow: walk");
    assert_eq!(world.done(), "write");
    world.push("r2", &Content { machine: "workflow: walk, protect: true", ..PLAIN });
    let answer = world.agent();
    assert_eq!(
        (word(&answer).as_str(), reason(&answer)),
        ("wait", "stage install is destructive and spec.protect is true")
    );
}

#[test]
fn a_workflow_changed_by_name_walks_up_to_its_destructive_stage() {
    let mut world = World::new(&Content { machine: "workflow: other", ..PLAIN });
    world.boot();
    for _ in 0..3 {
        world.done();
    }
    world.agent();
    world.push("r2", &PLAIN);
    world.boot();
    assert_eq!(world.done(), "see");
    let answer = world.agent();
    assert_eq!(word(&answer), "wait");
    assert!(reason(&answer).contains("only changed by name; raise spec.run above 1"), "{}", reason(&answer));
    // A retry is not a raised run.
    world.person(Ask::Retry);
    assert_eq!(word(&world.agent()), "wait");
    world.push("r3", &Content { machine: "workflow: walk, run: 2", ..PLAIN });
    assert_eq!(word(&world.agent()), "reboot");
    world.boot();
    world.done();
    assert_eq!(world.done(), "write");
}

#[test]
fn a_name_changed_back_and_forth_never_becomes_destructive() {
    let mut world = World::new(&PLAIN);
    world.walk_plain();
    for (revision, machine) in [("r2", "workflow: other"), ("r3", "workflow: walk"), ("r4", "workflow: other")] {
        world.push(revision, &Content { machine, ..PLAIN });
        world.firmware();
        assert!(matches!(world.last("run-started"), Some(Event::RunStarted { destructive_allowed: false, .. })));
    }
}

#[test]
fn a_quarantined_machine_gets_nothing_and_an_approved_one_no_destruction_before_its_next_exchange() {
    let mut world = at_install("workflow: walk");
    world.event(Event::Quarantined { reason: "a second key".into() });
    let answer = world.agent();
    assert_eq!(word(&answer), "wait");
    assert!(reason(&answer).contains("`formwork approve node`"), "{}", reason(&answer));
    assert_eq!(word(&world.firmware()), "hold");
    world.person(Ask::Approve);
    assert_eq!(word(&world.firmware()), "boot ram");
    assert!(reason(&world.agent()).contains("in quarantine"));
    world.event(Event::Exchanged { ticket: "t".into(), key: "k".into(), boot_id: "boot-1".into(), generation: 2 });
    assert_eq!(world.done(), "write");
    // A new doubt is not covered by the old approval.
    world.event(Event::Quarantined { reason: "a third key".into() });
    assert_eq!(word(&world.firmware()), "hold");
}

#[test]
fn an_enrolled_machine_may_wipe_only_as_its_rule_says_now() {
    let mut world = World::new(&Content { machine: "", ..PLAIN });
    world.event(Event::Enrolled {
        rule: "rule".into(),
        mac: super::world::MAC.into(),
        uuid: None,
        serial: None,
        architecture: None,
    });
    world.boot();
    world.done();
    assert!(grant(&mut world).is_some_and(|grant| grant.destructive && grant.wipe));
}

#[test]
fn a_grant_that_was_lost_is_not_given_again_once_the_machine_is_protected() {
    let mut world = at_install("workflow: walk");
    let (job, grant) = world.job();
    assert!(grant.destructive);
    assert_eq!(word(&world.agent()), format!("again {job}"), "the reply was lost");
    world.push("r2", &Content { machine: "workflow: walk, protect: true", ..PLAIN });
    // Who works on it goes on: half a disk is worse. Who never had it does not get it.
    assert_eq!(word(&world.agent_with(Some(&job))), format!("again {job}"));
    let answer = world.agent();
    assert_eq!(reason(&answer), "stage install is destructive and spec.protect is true");
    world.push("r3", &PLAIN);
    assert_eq!(world.done(), "write");
}
