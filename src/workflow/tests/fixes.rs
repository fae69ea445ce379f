//! Fixes after a person took a difference for good, and fixes of what a machine boots.

use super::world::{Content, PLAIN, World, reason, word};
use crate::journal::RunStatus;
use crate::workflow::OFFERS_BEFORE_HOLD;

fn two<'a>(tasks: &'a [(&'a str, &'a str)]) -> Content<'a> {
    Content { machine: "workflow: walk", stages: &[("work", "bootEnv: ram, tasks: [first, second]")], tasks }
}

#[test]
fn a_difference_that_a_person_took_is_none_for_later_fixes() {
    let other = "steps: [{name: s, script: other}]";
    let third = "steps: [{name: s, script: third}]";
    let mut world = World::new(&two(&[("first", ""), ("second", "")]));
    world.boot();
    assert_eq!((world.done(), world.fails()), ("first".into(), "second".into()));
    world.push("r2", &two(&[("first", other), ("second", other)]));
    assert!(reason(&world.agent()).contains("diverged: task first, already done, is made of something else"));
    world.retry();
    assert_eq!(world.fails(), "second");
    // The same first task as in what was taken: only the failed task changes.
    world.push("r3", &two(&[("first", other), ("second", third)]));
    assert_eq!(world.done(), "second");
    // But what nobody took still differs.
    let mut world = World::new(&two(&[("first", ""), ("second", "")]));
    world.boot();
    assert_eq!((world.done(), world.fails()), ("first".into(), "second".into()));
    world.push("r2", &two(&[("first", other), ("second", other)]));
    world.agent();
    world.push("r3", &two(&[("first", third), ("second", third)]));
    assert!(reason(&world.agent()).contains("diverged"));
}

#[test]
fn a_done_task_that_a_person_let_go_or_move_is_not_missed_again() {
    for stages in [[("work", "bootEnv: ram, tasks: [second]")], [("work", "bootEnv: ram, tasks: [second, first]")]] {
        let with = |second| Content {
            machine: "workflow: walk",
            stages: &stages,
            tasks: if second == 2 {
                &[("first", ""), ("second", "steps: [{name: s, script: two}]")]
            } else {
                &[("first", ""), ("second", "steps: [{name: s, script: three}]")]
            },
        };
        let stages_before = [("work", "bootEnv: ram, tasks: [first, second]")];
        let before =
            Content { machine: "workflow: walk", stages: &stages_before, tasks: &[("first", ""), ("second", "")] };
        let mut world = World::new(&before);
        world.boot();
        assert_eq!((world.done(), world.fails()), ("first".into(), "second".into()));
        world.push("r2", &with(2));
        assert!(reason(&world.agent()).contains("diverged"));
        world.retry();
        assert_eq!(world.fails(), "second");
        world.push("r3", &with(3));
        assert_eq!(world.done(), "second");
        world.agent();
        assert_eq!(world.state.run.as_ref().unwrap().status, RunStatus::Finished);
    }
}

/// Its params are what a command line may be made of.
const CONSOLE: &str = "workflow: walk, params: {console: ttyS1}";

#[test]
fn a_run_whose_boots_come_to_nothing_takes_a_fix_of_what_it_boots() {
    let mut world = World::new(&PLAIN);
    while world.offer().is_some() {}
    // A revision that changes nothing of the boot changes nothing.
    world.push("r2", &Content { machine: "workflow: walk, protect: true", ..PLAIN });
    assert_eq!(word(&world.firmware()), "hold");
    assert_eq!(world.state.run.as_ref().unwrap().revision, "r1");
    world.push("r3", &Content { machine: CONSOLE, ..PLAIN });
    assert_eq!(world.offer().as_deref(), Some("ram"));
    let run = world.state.run.as_ref().unwrap();
    assert_eq!((run.number, run.revision.as_str()), (1, "r3"));
    assert_eq!(world.state.held, None);
    // Once: the next tries are counted anew.
    for _ in 1..OFFERS_BEFORE_HOLD {
        assert!(world.offer().is_some());
    }
    assert_eq!(word(&world.firmware()), "hold");
}

#[test]
fn a_fix_of_the_boot_that_changes_what_is_done_diverges() {
    let mut world = World::new(&PLAIN);
    world.boot();
    assert_eq!(world.done(), "see");
    while world.offer().is_some() {}
    let tasks = [("see", "steps: [{name: s, script: other}]"), ("write", ""), ("check", ""), ("join", "")];
    world.push("r2", &Content { machine: CONSOLE, tasks: &tasks, ..PLAIN });
    let answer = world.firmware();
    assert_eq!(word(&answer), "hold");
    assert!(reason(&answer).contains("the newest revision diverged: task see"), "{}", reason(&answer));
    world.retry();
    assert!(world.offer().is_some());
    assert_eq!(world.state.run.as_ref().unwrap().revision, "r2");
}
