//! Machines that are gone from Git, come back, or never were there.

use super::world::{Content, MAC, PLAIN, World, reason, word};
use crate::journal::{Event, RunStatus};

const GONE: Content<'static> = Content { machine: "", ..PLAIN };

#[test]
fn an_unknown_machine_gets_nothing() {
    let mut world = World::new(&GONE);
    assert_eq!(word(&world.firmware()), "hold");
    assert!(world.records.is_empty());
}

#[test]
fn a_machine_gone_from_git_loses_run_and_tokens_and_boots_its_own_disk() {
    let mut world = World::new(&PLAIN);
    world.boot();
    world.event(Event::Exchanged { ticket: "t".into(), key: "k".into(), boot_id: "boot-1".into(), generation: 4 });
    let (job, _) = world.job();
    let before = world.records.len();
    world.push("r2", &GONE);
    assert_eq!(word(&world.agent_with(Some(&job))), format!("abandon {job}"));
    assert_eq!(world.names_since(before), ["run-cancelled", "generation-raised", "left"]);
    assert_eq!(world.state.generation, 5);
    let answer = world.firmware();
    assert_eq!(word(&answer), "boot local");
    assert!(reason(&answer).contains("`formwork forget node`"), "{}", reason(&answer));
}

#[test]
fn a_machine_known_only_by_its_lease_leaves_too() {
    let mut world = World::new(&GONE);
    world.event(Event::Leased {
        mac: MAC.into(),
        address: std::net::Ipv4Addr::LOCALHOST,
        seconds: 60,
        subnet: "lab".into(),
    });
    assert_eq!(word(&world.firmware()), "boot local");
    assert!(world.state.left);
}

#[test]
fn a_machine_that_returns_rests_until_its_run_is_raised() {
    let mut world = World::new(&PLAIN);
    world.boot();
    world.push("r2", &GONE);
    world.firmware();
    let before = world.records.len();
    world.push("r3", &PLAIN);
    assert_eq!(word(&world.firmware()), "boot local");
    assert_eq!(world.names_since(before), ["returned"]);
    assert_eq!(world.state.run.as_ref().unwrap().status, RunStatus::Cancelled);
    world.push("r4", &Content { machine: "workflow: walk, run: 2", ..PLAIN });
    assert_eq!(word(&world.firmware()), "boot ram");
}

#[test]
fn an_enrolled_machine_whose_rule_is_gone_leaves_and_its_return_needs_a_person() {
    let mut world = World::new(&GONE);
    let enrolled = |rule: &str| Event::Enrolled {
        rule: rule.into(),
        mac: MAC.into(),
        uuid: None,
        serial: None,
        architecture: None,
    };
    world.event(enrolled("gone-rule"));
    assert_eq!(word(&world.firmware()), "boot local");
    assert!(world.state.left);
    world.push("r2", &GONE);
    assert_eq!(word(&world.firmware()), "boot local", "it does not come back by itself");
    world.event(Event::Forgotten { by: "anna".into(), reason: String::new() });
    world.event(enrolled("rule"));
    assert_eq!(word(&world.firmware()), "boot ram");
}

#[test]
fn a_forgotten_machine_is_as_unknown_as_one_never_seen_and_its_tokens_stay_dead() {
    let mut world = World::new(&PLAIN);
    world.boot();
    world.push("r2", &GONE);
    world.firmware();
    let generation = world.state.generation;
    world.event(Event::Forgotten { by: "anna".into(), reason: String::new() });
    let before = world.records.len();
    assert!(!world.state.is_known());
    assert_eq!(word(&world.firmware()), "hold");
    assert_eq!(world.names_since(before), Vec::<String>::new(), "it must not leave a second time");
    assert!(world.state.generation > generation);
    // Declared again, it is new.
    world.push("r3", &PLAIN);
    assert_eq!(word(&world.firmware()), "boot ram");
}
