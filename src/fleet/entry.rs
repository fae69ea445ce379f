//! One machine in memory: its folded state, whose turn it is to write about it, and what is known only while this process lives.

use super::bucket::Reported;
use super::clock::Clock;
use crate::journal::{MachineState, Record};
use crate::workflow::silence::Heard;
use arc_swap::ArcSwap;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// A lease of the same address within so many milliseconds is no news.
const LEASE_NEWS_MS: u64 = 60_000;

/// Between two rounds of one wait there is at most this, milliseconds.
const WAIT_LINGERS_MS: u64 = 2_000;

/// One machine in memory.
pub struct Entry {
    /// Its name.
    pub name: String,
    state: ArcSwap<MachineState>,
    /// Held while deciding and committing.
    pub(super) turn: tokio::sync::Mutex<()>,
    changed: watch::Sender<u64>,
    live: Mutex<Live>,
    /// What it reported of itself lately.
    reported: Mutex<Reported>,
    /// What followed from a revision could not be written down.
    owed: AtomicBool,
}

/// What is known of a machine only while this process lives.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// When its agent last asked or its firmware last showed, lifetime clock.
    pub contact_ms: Option<u64>,
    /// The same by the wall clock, and what other servers on the store said of it.
    pub contact_unix_ms: Option<i64>,
    /// The same without what others said.
    pub contact_here_unix_ms: Option<i64>,
    /// The reason given at the last word with it.
    pub waits_for: Option<String>,
    /// When it was told to reboot, if that was the last thing it was told; by the wall clock.
    pub told_to_reboot_unix_ms: Option<i64>,
    /// What its job waits for in a cluster, by wait, the newest last.
    cluster_waits: BTreeMap<u64, String>,
    /// What it waited for last, and until when, lifetime clock: an agent asks in rounds of a minute.
    waited: Option<(String, u64)>,
    /// The last lease that was told of, and when, lifetime clock.
    leased: Option<(Ipv4Addr, u64)>,
}

impl Live {
    /// What its job waits for in a cluster at this moment of the lifetime clock.
    pub fn cluster_wait(&self, now_ms: u64) -> Option<&str> {
        let just_now = self.waited.as_ref().filter(|(_, until)| now_ms.saturating_sub(*until) < WAIT_LINGERS_MS);
        self.cluster_waits.values().next_back().or(just_now.map(|(what, _)| what)).map(String::as_str)
    }
}

impl Entry {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: ArcSwap::from_pointee(MachineState::default()),
            turn: tokio::sync::Mutex::new(()),
            changed: watch::Sender::new(0),
            live: Mutex::new(Live::default()),
            reported: Mutex::default(),
            owed: AtomicBool::new(false),
        }
    }

    /// Whether what followed from a revision could not be written down, and is to be tried with the next.
    pub(super) fn is_owed(&self) -> bool {
        self.owed.load(Ordering::Relaxed)
    }

    pub(super) fn set_owed(&self, owed: bool) {
        self.owed.store(owed, Ordering::Relaxed);
    }

    /// Its state as of the last commit.
    pub fn state(&self) -> Arc<MachineState> {
        self.state.load_full()
    }

    /// Waits for the turn to decide and to write about this machine.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Rises with each event.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What this process knows beyond the events.
    pub fn live(&self) -> Live {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a word with it.
    pub fn touch(&self, clock: &Clock, waits_for: Option<String>) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.contact_ms = Some(clock.now_ms());
        live.contact_here_unix_ms = Some(clock.now_unix_ms());
        live.contact_unix_ms = live.contact_here_unix_ms;
        if waits_for.is_some() {
            live.waits_for = waits_for;
            live.told_to_reboot_unix_ms = None;
        }
    }

    /// Another server heard of it then.
    pub(super) fn heard_elsewhere(&self, unix_ms: i64) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.contact_unix_ms = live.contact_unix_ms.max(Some(unix_ms));
    }

    /// Notes what its job waits for in a cluster, or that it waits no longer. Bounded by what one token may wait for.
    pub fn shows_wait(&self, clock: &Clock, wait: u64, what: Option<String>) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        match what {
            Some(what) => {
                live.cluster_waits.insert(wait, what);
            }
            None => {
                let ended = live.cluster_waits.remove(&wait);
                live.waited = ended.map(|what| (what, clock.now_ms()));
            }
        }
    }

    /// Notes that it was told to reboot just now.
    pub fn told_to_reboot(&self, clock: &Clock) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.told_to_reboot_unix_ms = Some(clock.now_unix_ms());
    }

    /// What was heard of it, for judging a silence.
    pub fn heard(&self, clock: &Clock) -> Heard {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        Heard {
            contact_unix_ms: live.contact_unix_ms,
            told_to_reboot_unix_ms: live.told_to_reboot_unix_ms,
            listening_since_unix_ms: clock.started_unix_ms(),
            now_unix_ms: clock.now_unix_ms(),
        }
    }

    /// Whether facts of so many bytes may be written down now; else how many milliseconds the machine has to wait. Who may counts.
    ///
    /// # Errors
    /// Those milliseconds.
    pub fn may_report(&self, clock: &Clock, bytes: u64) -> Result<(), u64> {
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        *reported = reported.take(clock.now_ms(), bytes)?;
        Ok(())
    }

    /// Whether a new lease of this address is worth an event: not the same again within a minute.
    pub fn lease_is_news(&self, clock: &Clock, address: Ipv4Addr) -> bool {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock.now_ms();
        let same = |(last, at): (Ipv4Addr, u64)| last == address && now.saturating_sub(at) < LEASE_NEWS_MS;
        if live.leased.is_some_and(same) {
            return false;
        }
        live.leased = Some((address, now));
        true
    }

    /// Takes in one more event; gives the states before and after it.
    pub(super) fn apply(&self, record: &Record) -> (Arc<MachineState>, Arc<MachineState>) {
        let before = self.state.load_full();
        let mut state = MachineState::clone(&before);
        state.apply(record);
        let after = Arc::new(state);
        self.state.store(Arc::clone(&after));
        self.changed.send_modify(|count| *count = record.index.saturating_add(1));
        (before, after)
    }
}
