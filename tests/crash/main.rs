//! A real server, killed (`kill -9`) in a loop under 64 machines that ask it over HTTP, through a proxy that loses replies after
//! the commit. What the machines saw is judged by the same checks as the power cuts of the store
//! (`src/store/conformance/history.rs`).
//!
//! Beside it: a disk that is full or read-only, and the store's commands while a server runs; a store that moves.
//!
//! `FORMWORK_CRASH_KILLS` says how many kills (20 where it is not set); `scripts/crash` does that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is how a test fails")]

mod commands;
mod disk;
mod held;
#[path = "../../src/store/conformance/history.rs"]
mod history;
mod machine;
mod moved;
#[path = "../../src/store/conformance/program.rs"]
mod program;
mod proxy;
mod server;
mod walk;

use formwork::store::embedded::{self, EmbeddedStore};
use machine::Machine;
use program::Dice;
use proxy::Proxy;
use server::Server;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use walk::{PATIENCE, Shared, walk};

/// Machines, all members of one cluster.
const MACHINES: u64 = 64;
/// Of so many replies the proxy loses one.
const LOST_REPLY: u64 = 20;
#[test]
fn a_server_killed_under_64_machines_keeps_every_word_it_gave() {
    let kills = std::env::var("FORMWORK_CRASH_KILLS").map_or(20, |text| text.parse().unwrap());
    let mut server = Server::new(MACHINES);
    server.start();
    let machines: Vec<Machine> = (0..MACHINES).map(|number| Machine::enlist(&server, number)).collect();
    let proxy = Proxy::start(&server, LOST_REPLY);
    let shared = Shared { rounds: AtomicU64::new(u64::MAX), ..Shared::default() };
    std::thread::scope(|scope| {
        for (number, machine) in (0..).zip(&machines) {
            let (shared, at) = (&shared, proxy.address);
            scope.spawn(move || walk(machine, number, at, shared));
        }
        let mut dice = Dice::new(11);
        for kill in 0..kills {
            let enough = shared.answers.load(Ordering::SeqCst) + 40 + dice.below(120);
            let began = Instant::now();
            while shared.answers.load(Ordering::SeqCst) < enough {
                assert!(began.elapsed() < PATIENCE, "kill {kill}: no more answers\n{}", server.log());
                std::thread::sleep(Duration::from_millis(5));
            }
            server.kill();
            embedded::check(&server.state()).unwrap_or_else(|error| panic!("after kill {kill}: {error}"));
            server.start();
        }
        let furthest = shared.furthest.load(Ordering::SeqCst);
        shared.rounds.store(furthest + 1, Ordering::SeqCst);
    });
    let mut last = machines[0].last(proxy.address);
    server.kill();
    let seen = shared.seen.into_inner().unwrap();
    let (lost, rounds) = (proxy.lost(), shared.furthest.into_inner() + 1);
    println!("{kills} kills, {rounds} rounds, {} answers, {lost} replies lost on the way", seen.len());
    assert!(lost > 0);
    last.granted = walk::granted(&EmbeddedStore::open(&server.state()).unwrap());
    let wrong = history::check(&seen, &last, u32::try_from(MACHINES).unwrap());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    embedded::check(&server.state()).unwrap();
    walk::journal_agrees(&EmbeddedStore::open(&server.state()).unwrap(), &last, MACHINES);
}
