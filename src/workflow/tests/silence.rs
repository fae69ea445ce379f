//! Machines that do not come back are noticed, and those that may be silent are not.

use super::world::{PLAIN, World};
use crate::journal::{Event, LOCAL};
use crate::wire::{JobOutcome, JobRequest};
use crate::workflow::Running;
use crate::workflow::silence::{AGENT_OVERDUE_MS, BOOT_OVERDUE_MS, Heard, QUIET_MS, Silence, silence};

const MINUTE: i64 = 60_000;

/// What is said of the machine now, if its last word to this process was then and it was told to reboot at `told`.
fn judged(world: &World, contact: Option<i64>, told: Option<i64>) -> Option<Silence> {
    let next = world.ask(crate::inspect::last_said(&world.state));
    let heard = Heard {
        contact_unix_ms: contact,
        told_to_reboot_unix_ms: told,
        listening_since_unix_ms: 0,
        now_unix_ms: world.now,
    };
    silence(&world.state, &next.action, &heard)
}

fn overdue(world: &World, contact: i64) -> bool {
    judged(world, Some(contact), None).is_some_and(|silence| silence.overdue)
}

/// All of its tasks in RAM are done: the next stage wants the disk, and its agent was told so.
fn told_to_reboot() -> (World, i64) {
    let mut world = World::new(&PLAIN);
    world.boot();
    for task in ["see", "write", "check"] {
        assert_eq!(world.done(), task);
    }
    let told = world.now;
    (world, told)
}

#[test]
fn a_machine_told_to_reboot_that_asks_for_no_boot_is_said_to_have_been_told() {
    let (mut world, told) = told_to_reboot();
    world.pass(MINUTE);
    assert_eq!(judged(&world, Some(told), Some(told)), None, "firmware takes its time");
    world.pass(2 * MINUTE);
    let silence = judged(&world, Some(told), Some(told)).expect("three minutes are worth a word");
    assert_eq!(
        silence.reason,
        "was told to reboot 3m ago and has not asked for a boot: look at its console, or power-cycle it"
    );
    assert!(!silence.overdue);
    world.pass(7 * MINUTE);
    assert!(judged(&world, Some(told), Some(told)).expect("silent").overdue, "ten minutes are too long");
    world.offer();
    assert_eq!(judged(&world, Some(world.now), Some(told)), None, "it asked for a boot");
}

#[test]
fn a_boot_that_was_offered_and_never_came_up_is_overdue_and_says_which() {
    let mut world = World::new(&PLAIN);
    world.offer();
    let offered = world.now;
    world.pass(i64::try_from(BOOT_OVERDUE_MS).unwrap() - 1);
    assert!(!overdue(&world, offered));
    world.pass(1);
    let silence = judged(&world, None, None).expect("silent");
    assert!(silence.overdue && silence.reason.starts_with("was offered ram 10m ago and no agent has checked in"));
}

#[test]
fn an_agent_that_falls_silent_in_mid_job_is_overdue_before_its_job_times_out() {
    let mut world = World::new(&PLAIN);
    world.boot();
    world.job();
    let beat = world.now + 30_000;
    world.pass(30_000 + i64::try_from(QUIET_MS).unwrap());
    let silence = judged(&world, Some(beat), None).expect("heartbeats come every ten seconds");
    assert!(silence.reason.starts_with("runs see, and its agent was last heard of 1m ago"), "{silence:?}");
    assert!(!silence.overdue);
    world.pass(i64::try_from(AGENT_OVERDUE_MS).unwrap());
    assert!(overdue(&world, beat));
    assert!(!overdue(&world, world.now - 10_000), "while heartbeats come, a job takes as long as it takes");
}

#[test]
fn it_is_written_down_once_a_silence_and_ends_with_the_machines_next_word() {
    let (mut world, told) = told_to_reboot();
    world.pass(11 * MINUTE);
    let event = judged(&world, Some(told), Some(told)).and_then(|silence| silence.to_record(&world.state));
    world.event(event.expect("the first time"));
    world.pass(MINUTE);
    let again = judged(&world, Some(told), Some(told)).expect("still silent");
    assert!(again.overdue && again.to_record(&world.state).is_none(), "once is enough");
    assert_eq!(world.state.heard_unix_ms, Some(told), "the server's own event is no word of the machine");
    assert_eq!(world.boot(), LOCAL);
    assert_eq!(world.state.overdue, None);
    world.job();
    world.pass(20 * MINUTE);
    let second = judged(&world, None, None).and_then(|silence| silence.to_record(&world.state));
    assert!(matches!(second, Some(Event::Overdue { .. })), "another silence is news again");
}

#[test]
fn nobody_waits_for_a_machine_that_was_never_on_is_done_or_was_switched_off() {
    let mut new = World::new(&PLAIN);
    new.firmware();
    new.pass(1000 * MINUTE);
    assert_eq!(judged(&new, None, None), None, "never switched on");

    let mut done = World::new(&PLAIN);
    done.walk_plain();
    done.pass(1000 * MINUTE);
    assert_eq!(judged(&done, None, None), None, "its run is done");

    let mut off = World::new(&PLAIN);
    off.boot();
    off.job_ends(JobOutcome::Done, &[JobRequest::Poweroff]);
    off.pass(1000 * MINUTE);
    assert_eq!(judged(&off, None, None), None, "its task asked for that");
}

#[test]
fn a_server_that_has_just_started_gives_everybody_time() {
    let (mut world, told) = told_to_reboot();
    world.pass(1000 * MINUTE);
    let next = world.ask(Running::Firmware);
    let heard = |listening_since_unix_ms| Heard {
        contact_unix_ms: None,
        told_to_reboot_unix_ms: None,
        listening_since_unix_ms,
        now_unix_ms: world.now,
    };
    assert_eq!(silence(&world.state, &next.action, &heard(world.now - 1000)), None);
    assert!(silence(&world.state, &next.action, &heard(told)).is_some_and(|silence| silence.overdue));
}
