//! The server's clocks: one for lifetimes, one for people.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Both clocks, from the start of this process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
    /// What the lifetime clock showed then.
    started_ms: u64,
    started_unix_ms: i64,
}

impl Clock {
    /// Starts counting.
    pub fn start() -> Self {
        Self { started: Instant::now(), started_ms: 0, started_unix_ms: unix_ms() }
    }

    /// Starts counting at the wall clock, for a store whose lifetimes outlive this process; it goes on steadily from there.
    pub fn start_by_the_wall() -> Self {
        let started_unix_ms = unix_ms();
        Self { started: Instant::now(), started_ms: u64::try_from(started_unix_ms).unwrap_or(0), started_unix_ms }
    }

    /// Milliseconds of the lifetime clock: monotonic, from the start of this process or from where the wall clock stood then.
    pub fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.started_ms.saturating_add(elapsed)
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
