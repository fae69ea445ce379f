//! A real server, killed (`kill -9`) in a loop under 64 machines that ask it over HTTP, through a proxy that loses replies after
//! the commit. What the machines saw is judged by the same checks as the power cuts of the store
//! (`src/store/conformance/history.rs`).
//!
//! Beside it: a disk that is full or read-only, and the store's commands while a server runs.
//!
//! `FORMWORK_CRASH_KILLS` says how many kills (20 where it is not set); `scripts/crash` does that.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is how a test fails")]

mod commands;
mod disk;
#[path = "../../src/store/conformance/history.rs"]
mod history;
mod machine;
#[path = "../../src/store/conformance/program.rs"]
mod program;
mod proxy;
mod server;

use formwork::journal::{Event, Stream};
use formwork::store::Store;
use formwork::store::embedded::{self, EmbeddedStore};
use history::Seen;
use machine::Machine;
use program::{Dice, Program};
use proxy::Proxy;
use server::Server;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Machines, all members of one cluster.
const MACHINES: u64 = 64;
/// Of so many replies the proxy loses one.
const LOST_REPLY: u64 = 20;
/// The longest that anything is waited for.
const PATIENCE: Duration = Duration::from_secs(300);

/// What all clients share.
#[derive(Default)]
struct Shared {
    /// One clock of all clients.
    tick: AtomicU64,
    /// Answers so far.
    answers: AtomicU64,
    /// The furthest round that anybody is in.
    furthest: AtomicU64,
    /// Clients end before this round.
    rounds: AtomicU64,
    seen: Mutex<Vec<Seen>>,
}

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
    let last = machines[0].last(proxy.address);
    server.kill();
    let seen = shared.seen.into_inner().unwrap();
    let (lost, rounds) = (proxy.lost(), shared.furthest.into_inner() + 1);
    println!("{kills} kills, {rounds} rounds, {} answers, {lost} replies lost on the way", seen.len());
    assert!(lost > 0);
    let wrong = history::check(&seen, &last, u32::try_from(MACHINES).unwrap());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    journal_agrees(&server, &last);
}

/// One machine's walk until the last round.
fn walk(machine: &Machine, number: u64, server: std::net::SocketAddr, shared: &Shared) {
    let mut program = Program::new(machine.name.clone(), number + 1);
    let mut connection = machine.connect(server);
    while let Some(question) = program.question(shared.rounds.load(Ordering::SeqCst)) {
        let asked = shared.tick.fetch_add(1, Ordering::SeqCst);
        let began = Instant::now();
        let answer = loop {
            match connection.ask(&question) {
                Ok(answer) => break answer,
                Err(why) => assert!(began.elapsed() < PATIENCE, "{}: {question:?}: {why}", machine.name),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let answered = shared.tick.fetch_add(1, Ordering::SeqCst);
        program.answered(&answer);
        shared.furthest.fetch_max(program.round, Ordering::SeqCst);
        let machine = machine.name.clone();
        shared.seen.lock().unwrap().push(Seen { machine, asked, answered, question, answer });
        shared.answers.fetch_add(1, Ordering::SeqCst);
    }
}

/// The journal tells the same story as the document: each fence granted once, each claim done once.
fn journal_agrees(server: &Server, last: &history::Last) {
    embedded::check(&server.state()).unwrap();
    let store = EmbeddedStore::open(&server.state()).unwrap();
    let mut granted = BTreeSet::new();
    let mut done = BTreeMap::new();
    let mut opened = BTreeSet::new();
    for record in store.events_of(&Stream::Cluster("crash".into()), 0, usize::MAX).unwrap() {
        match record.event {
            Event::Claim { claim, change, fence, .. } if change == "granted" => {
                assert!(granted.insert(fence), "fence {fence} of {claim} was granted twice");
            }
            Event::Claim { claim, change, fence, .. } if change == "done" => {
                assert_eq!(done.insert(claim.clone(), fence), None, "{claim} was done twice");
            }
            Event::BarrierOpened { set, count } => {
                assert_eq!(u64::from(count), MACHINES, "{set}");
                assert!(opened.insert(set.clone()), "{set} opened twice");
            }
            _ => {}
        }
    }
    for (claim, end) in &last.claims {
        assert_eq!(done.get(claim), end.done.is_some().then_some(&end.fence), "{claim}");
    }
    assert!(opened.iter().eq(last.openings.keys()), "{opened:?} {:?}", last.openings);
}
