//! Runs under fire: the real server is killed and started again at seeded random moments, while simulated machines walk a workflow
//! with claims, a set and a barrier, lose power, have their agents killed and their answers dropped. Then what the server
//! wrote down is held against what the machines did.
//!
//! The short form runs with the other tests. The long form: `FORMWORK_FIRE=500 cargo test --test fire -- --nocapture` (so many
//! kills), with `FORMWORK_FIRE_SEED` for a story of its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is how a test fails")]

mod check;
mod content;
mod faults;
mod site;

use check::{Evidence, violations};
use faults::Faults;
use formwork::journal::Event;
use formwork::simulate::record::Fact;
use formwork::wire::JobOutcome;
use site::{MACHINES, Site};
use std::time::{Duration, Instant};

/// Kills of the server in the short form.
const KILLS: u64 = 20;

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// A pause before the next kill, milliseconds: from the seed, spread so that starts, boots, jobs and barriers are all met.
fn pause(seed: u64, turn: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(turn.wrapping_mul(0xbf58_476d_1ce4_e5b9));
    z = (z ^ (z >> 30)).wrapping_mul(0x94d0_49bb_1331_11eb);
    150 + (z ^ (z >> 31)) % 1_350
}

#[test]
fn what_the_server_wrote_is_what_the_machines_did_however_often_anybody_is_killed() {
    let wanted = from_environment("FORMWORK_FIRE", KILLS);
    let first_seed = from_environment("FORMWORK_FIRE_SEED", 1);
    let (mut kills, mut rounds, mut last, mut faults) = (0, 0, None, Faults::default());
    while kills < wanted || rounds == 0 {
        let seed = first_seed + rounds;
        let evidence = one_round(seed, &mut kills, wanted);
        let found = violations(&evidence);
        assert!(found.is_empty(), "seed {seed}:\n{}", found.join("\n"));
        let met = Faults::in_evidence(&evidence);
        println!(
            "seed {seed}: {MACHINES} runs done, {kills} kills of the server so far, {met}, {} events",
            evidence.events.len()
        );
        faults = faults + met;
        rounds += 1;
        last = Some(evidence);
    }
    // A suite whose faults do not happen proves nothing.
    assert!(kills >= wanted, "{kills} of {wanted} kills of the server");
    assert_eq!(faults.not_met(), Vec::<&str>::new(), "these never happened: {faults}");
    // The same check, on the same evidence made wrong, must find each wrong.
    let evidence = last.expect("at least one round");
    for (what, wrong) in wrongs(&evidence) {
        let found = violations(&wrong);
        assert!(!found.is_empty(), "the check does not see {what}");
        println!("control: {what}: {}", found[0]);
    }
}

/// One site, all its machines to their ends, the server killed at random until they are there.
fn one_round(seed: u64, kills: &mut u64, wanted: u64) -> Evidence {
    let mut site = Site::new();
    site.start();
    let mut machines = site.simulate(seed);
    let limit = Instant::now() + Duration::from_secs(600);
    // A server that is away before the first machine was let in ends a simulation, as it should.
    while !site.records() && machines.try_wait().expect("a child").is_none() {
        assert!(Instant::now() < limit, "no machine was let in:\n{}", site.said());
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut turn = 0;
    let status = loop {
        if *kills < wanted {
            let until = Instant::now() + Duration::from_millis(pause(seed, turn));
            turn += 1;
            while Instant::now() < until && machines.try_wait().expect("a child").is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        if let Some(status) = machines.try_wait().expect("a child") {
            break status;
        }
        assert!(Instant::now() < limit, "the machines are not done in ten minutes:\n{}", site.said());
        if *kills < wanted {
            site.kill();
            *kills += 1;
            site.start();
        } else {
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    assert!(status.success(), "seed {seed}: not every run was done:\n{}", site.said());
    // Once more: what was answered must be on the disk.
    site.kill();
    site.evidence()
}

/// The evidence with one thing wrong in it.
fn wrongs(good: &Evidence) -> Vec<(&'static str, Evidence)> {
    let mut wrongs = Vec::new();
    let mut change = |what, wrong: &mut dyn FnMut(&mut Evidence)| {
        let mut evidence = good.clone();
        wrong(&mut evidence);
        wrongs.push((what, evidence));
    };
    let job = good
        .entries
        .iter()
        .find_map(|entry| match &entry.fact {
            Fact::Ends { job, outcome: JobOutcome::Done, .. } => Some(job.clone()),
            _ => None,
        })
        .expect("a job that was done");
    change("a job recorded as done that no machine did", &mut |evidence| {
        evidence.entries.retain(|entry| !matches!(&entry.fact, Fact::Ends { job: ended, .. } if *ended == job));
    });
    change("a run that has no end", &mut |evidence| {
        let at = evidence.events.iter().rposition(|record| matches!(record.event, Event::RunFinished { .. }));
        evidence.events.remove(at.expect("a finished run"));
    });
    change("a second leader", &mut |evidence| {
        let at = evidence.entries.iter().position(|entry| matches!(entry.fact, Fact::Leads { .. })).expect("a leader");
        let mut second = evidence.entries[at].clone();
        second.machine = "simulated-another".to_owned();
        evidence.entries.insert(at + 1, second);
    });
    change("a claim that was done twice", &mut |evidence| {
        let done = evidence.entries.iter().position(|entry| matches!(entry.fact, Fact::Concludes { .. })).expect("one");
        let mut second = evidence.entries[done].clone();
        if let Fact::Concludes { fence, .. } = &mut second.fact {
            *fence += 1;
        }
        evidence.entries.push(second);
    });
    change("a barrier that opened short", &mut |evidence| {
        let last = evidence.entries.iter().rposition(|entry| matches!(entry.fact, Fact::Joins { .. })).expect("a join");
        let machine = evidence.entries[last].machine.clone();
        evidence.entries.retain(|entry| entry.machine != machine || !matches!(entry.fact, Fact::Joins { .. }));
    });
    change("a line of log that is lost", &mut |evidence| {
        let log = evidence.logs.get_mut(&job).expect("its log");
        let first = log.iter().position(|byte| *byte == b'\n').expect("a line");
        log.drain(..=first);
    });
    change("a line of log that is there twice", &mut |evidence| {
        let log = evidence.logs.get_mut(&job).expect("its log");
        let first = log.iter().position(|byte| *byte == b'\n').expect("a line");
        let line = log[..=first].to_vec();
        log.extend(line);
    });
    wrongs
}
