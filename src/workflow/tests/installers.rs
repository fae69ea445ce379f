//! Stages that an installer does.

use super::world::{Content, World, reason, word};
use crate::journal::{Ask, Event, LOCAL};
use crate::workflow::{Action, position};

/// A look from the RAM environment, an installer, and a task on what it installed.
const SETUP: Content<'static> = Content {
    machine: "workflow: walk, wipe: true",
    stages: &[("look", "bootEnv: ram, tasks: [see]"), ("system", "bootEnv: setup"), ("use", "tasks: [join]")],
    tasks: &[("see", ""), ("join", "")],
};

/// The machine stands before its installer.
fn before_installer(content: &Content<'_>) -> World {
    let mut world = World::new(content);
    world.boot();
    assert_eq!(world.done(), "see");
    world
}

/// The installer of the last offer calls back, as the server writes it down.
fn calls_back(world: &mut World, success: bool) {
    let run = world.state.run.clone().unwrap();
    let event = {
        let catalog = world.pinned().unwrap();
        let at = position(catalog.workflow(&run.workflow).unwrap(), &run).unwrap();
        assert!(at.task.is_installer());
        Event::InstallerFinished {
            offer: world.state.offer.as_ref().unwrap().id.clone(),
            run: run.number,
            stage_index: at.stage_index,
            stage: at.stage.name.to_string(),
            task: at.task.name.to_string(),
            digest: at.task.digest.to_string(),
            success,
            message: (!success).then(|| "no mirror".into()),
        }
    };
    world.event(event);
}

#[test]
fn an_installer_is_booted_and_its_callback_leads_on_to_the_disk() {
    let mut world = before_installer(&SETUP);
    assert!(matches!(world.agent().action, Action::Reboot { .. }), "another environment is a reboot");
    assert_eq!(world.offer().as_deref(), Some("setup"));
    assert_eq!(world.offer().as_deref(), Some("setup"), "a machine that lost power in it begins again");
    calls_back(&mut world, true);
    assert!(world.state.offer.as_ref().unwrap().ended);
    assert_eq!(world.boot(), LOCAL, "a stage that names no environment runs in what was installed");
    assert_eq!(world.done(), "join");
    world.agent();
    assert!(world.last("run-finished").is_some());
}

#[test]
fn an_installer_that_failed_is_not_booted_again_until_a_person_says_so() {
    let mut world = before_installer(&SETUP);
    world.offer();
    calls_back(&mut world, false);
    let answer = world.firmware();
    assert_eq!(word(&answer), "hold");
    assert!(reason(&answer).contains("no mirror"), "{}", reason(&answer));
    world.person(Ask::Retry);
    assert_eq!(world.offer().as_deref(), Some("setup"));
    calls_back(&mut world, true);
    assert_eq!(world.boot(), LOCAL);
}

#[test]
fn an_installer_is_only_booted_where_disks_may_be_overwritten() {
    let table = [
        ("workflow: walk, wipe: true", "boot setup", ""),
        ("workflow: walk", "hold", "spec.wipe"),
        ("workflow: walk, wipe: true, protect: true", "hold", "spec.protect"),
        ("workflow: other, wipe: true", "boot ram", ""),
    ];
    for (machine, expected, why) in table {
        let mut world = before_installer(&SETUP);
        world.push("r2", &Content { machine, ..SETUP });
        let agent = world.agent();
        let answer = world.firmware();
        assert_eq!(word(&answer), expected, "{machine}");
        assert!(reason(&answer).contains(why), "{machine}: {}", reason(&answer));
        if expected == "hold" {
            assert_eq!(word(&agent), "wait", "{machine}: what is up stays up");
        }
    }
    // Changed by its name alone, a workflow destroys nothing: the installer waits for a raised run.
    let mut world = before_installer(&SETUP);
    world.push("r2", &Content { machine: "workflow: other, wipe: true", ..SETUP });
    world.boot();
    assert_eq!(world.done(), "see");
    let answer = world.firmware();
    assert!(word(&answer) == "hold" && reason(&answer).contains("raise spec.run"), "{}", reason(&answer));
}

#[test]
fn an_agent_inside_an_installers_environment_is_given_nothing() {
    let mut world = before_installer(&SETUP);
    world.offer();
    world.check_in("setup");
    assert_eq!(word(&world.agent()), "wait");
}
