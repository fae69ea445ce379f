//! The server's clocks: one for lifetimes, one for people.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Both clocks, from the start of this process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    started_unix_ms: i64,
}

impl Clock {
    /// Starts counting.
    pub fn start() -> Self {
        Self { started: Instant::now(), started_unix_ms: unix_ms() }
    }

    /// Milliseconds of this process: monotonic. Lifetimes count it.
    pub fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Wall clock, Unix milliseconds: for people, and for what outlives a process.
    pub fn now_unix_ms(&self) -> i64 {
        unix_ms()
    }

    /// When this process began to listen, by the wall clock.
    pub fn started_unix_ms(&self) -> i64 {
        self.started_unix_ms
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
