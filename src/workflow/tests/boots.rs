//! Boots that come to nothing, and people who ask for them.

use super::world::{Content, PLAIN, World, reason, word};
use crate::journal::{Ask, LOCAL};
use crate::workflow::{LONGEST_PAUSE_MS, OFFERS_BEFORE_HOLD};

#[test]
fn a_machine_that_never_checks_in_is_held_with_growing_pauses() {
    let mut world = World::new(&PLAIN);
    for _ in 0..OFFERS_BEFORE_HOLD {
        assert_eq!(world.offer().as_deref(), Some("ram"));
    }
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let answer = world.firmware();
        assert_eq!(word(&answer), "hold");
        assert!(reason(&answer).contains("boots of ram were served and no agent checked in"), "{}", reason(&answer));
        let pause = answer.ask_again_ms.unwrap();
        pauses.push(pause);
        world.pass(i64::try_from(pause).unwrap());
        assert_eq!(world.offer().as_deref(), Some("ram"));
    }
    assert_eq!(pauses[..5], [30_000, 60_000, 120_000, 240_000, 480_000]);
    assert!(pauses[5..].iter().all(|pause| *pause == LONGEST_PAUSE_MS));
    let held = world.names_since(0).iter().filter(|name| *name == "held").count();
    assert_eq!(held, 1, "that it is held is written down once");
}

#[test]
fn a_check_in_or_a_persons_retry_lets_a_held_machine_go() {
    for person in [true, false] {
        let mut world = World::new(&PLAIN);
        while world.offer().is_some() {}
        assert!(world.state.held.is_some());
        if person {
            world.person(Ask::Retry);
        } else {
            world.check_in("ram");
        }
        assert_eq!(world.state.held, None);
        assert_eq!(world.offer().as_deref(), Some("ram"));
    }
}

#[test]
fn the_own_disk_outside_a_run_is_never_held() {
    let mut world = World::new(&Content { machine: "params: {}", ..PLAIN });
    for _ in 0..50 {
        assert_eq!(world.offer().as_deref(), Some(LOCAL));
    }
    assert_eq!(world.state.offers_unanswered, 0);
    // And a run that starts then is not held for it.
    world.push("r2", &PLAIN);
    assert_eq!(world.offer().as_deref(), Some("ram"));
}

#[test]
fn the_own_disk_inside_a_run_is_held_too() {
    let mut world = World::new(&PLAIN);
    world.boot();
    for _ in 0..3 {
        world.done();
    }
    for _ in 0..OFFERS_BEFORE_HOLD {
        assert_eq!(world.offer().as_deref(), Some(LOCAL));
    }
    assert_eq!(word(&world.firmware()), "hold");
}

#[test]
fn a_machine_that_waits_for_a_person_waits_in_its_environment() {
    let mut world = World::new(&PLAIN);
    world.boot();
    world.fails();
    assert_eq!(world.boot(), "ram");
    let answer = world.agent();
    assert_eq!(word(&answer), "wait");
    assert!(reason(&answer).starts_with("task see failed: exit code 1"), "{}", reason(&answer));
}

#[test]
fn a_machine_that_comes_up_elsewhere_boot_after_boot_is_not_rebooted_without_end() {
    let mut world = World::new(&PLAIN);
    let mut reboots = 0;
    let answer = loop {
        world.check_in(LOCAL);
        let answer = world.agent();
        if word(&answer) != "reboot" {
            break answer;
        }
        reboots += 1;
        assert!(reboots < 20);
    };
    assert_eq!(word(&answer), "wait");
    assert!(reason(&answer).contains("is the network first in its boot order?"), "{}", reason(&answer));
    assert!(reboots <= OFFERS_BEFORE_HOLD);
    // It is tried again, further apart, and at once when a person says so.
    world.pass(i64::try_from(answer.ask_again_ms.unwrap()).unwrap());
    assert_eq!(word(&world.agent()), "reboot");
    world.check_in(LOCAL);
    assert_eq!(word(&world.agent()), "wait");
    world.person(Ask::Retry);
    assert_eq!(word(&world.agent()), "reboot");
    // A boot that leads to work forgives the ones before it.
    world.check_in("ram");
    assert_eq!(world.done(), "see");
    assert_eq!(world.state.run.as_ref().unwrap().idle_boots, 0);
}

#[test]
fn a_reboot_that_a_person_asked_for_happens_once() {
    let mut world = World::new(&PLAIN);
    world.walk_plain();
    world.person(Ask::Reboot);
    assert_eq!(word(&world.agent()), "reboot");
    world.boot();
    assert_eq!(word(&world.agent()), "wait");
}

#[test]
fn a_check_in_repeated_in_the_same_boot_is_one_boot() {
    let mut world = World::new(&PLAIN);
    world.boot();
    let said = world.records.last().unwrap().event.clone();
    world.event(said);
    assert_eq!(world.state.run.as_ref().unwrap().boot_count, 1);
}

#[test]
fn a_reboot_that_a_person_asked_for_waits_for_the_job_that_runs() {
    let mut world = World::new(&PLAIN);
    world.boot();
    let (job, _) = world.job();
    world.person(Ask::Reboot);
    assert_eq!(word(&world.agent_with(Some(&job))), format!("again {job}"));
    world.end(crate::wire::JobOutcome::Done, &[]);
    assert_eq!(word(&world.agent()), "reboot");
}
