//! Machines that walk their programs against a server, whatever becomes of it, and what its journal must say of that afterwards.

use super::history::{Last, Seen};
use super::machine::Machine;
use super::program::Program;
use formwork::journal::{Event, Stream};
use formwork::store::Store;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// What all clients share.
#[derive(Default)]
pub struct Shared {
    /// One clock of all clients.
    pub tick: AtomicU64,
    /// Answers so far.
    pub answers: AtomicU64,
    /// The furthest round that anybody is in.
    pub furthest: AtomicU64,
    /// Clients end before this round.
    pub rounds: AtomicU64,
    pub seen: Mutex<Vec<Seen>>,
}

/// One machine's walk until the last round.
pub fn walk(machine: &Machine, number: u64, server: std::net::SocketAddr, shared: &Shared) {
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

/// Each grant that the journal has: its fence, the claim, and whose it was.
pub fn granted(store: &dyn Store) -> BTreeMap<u64, (String, String)> {
    let records = store.events_of(&Stream::Cluster("crash".into()), 0, usize::MAX).unwrap();
    let grant = |event| match event {
        Event::Claim { claim, change, machine: Some(machine), fence, .. } if change == "granted" => {
            Some((fence, (claim, machine)))
        }
        _ => None,
    };
    records.into_iter().filter_map(|record| grant(record.event)).collect()
}

/// The journal tells the same story as the document: each fence granted once, each claim done once.
pub fn journal_agrees(store: &dyn Store, last: &Last, machines: u64) {
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
                assert_eq!(u64::from(count), machines, "{set}");
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
