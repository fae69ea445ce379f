//! Counts and times of what simulated machines asked: lock-free, of fixed size, so that memory stays flat whatever the load.

use super::acts::Kind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Buckets of a histogram: eight to a doubling of microseconds, up to an hour and more.
const BUCKETS: usize = 8 * 33;

/// Times in buckets that grow by a twelfth: a percentile is right within that.
pub struct Times {
    buckets: [AtomicU64; BUCKETS],
}

impl Default for Times {
    fn default() -> Self {
        Self { buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl Times {
    /// Counts one.
    pub fn add(&self, time: Duration) {
        let micros = time.as_micros().max(1) as f64;
        let at = (micros.log2() * 8.0) as usize;
        if let Some(bucket) = self.buckets.get(at.min(BUCKETS - 1)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The time that this part (`0.0..=1.0`) of all was no longer than; `None` before the first.
    pub fn percentile(&self, part: f64) -> Option<Duration> {
        let counts: Vec<u64> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let all: u64 = counts.iter().sum();
        let wanted = ((all as f64 * part).ceil() as u64).max(1);
        let mut seen = 0;
        for (at, count) in counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(Duration::from_secs_f64(2_f64.powf((at + 1) as f64 / 8.0) / 1e6));
            }
        }
        None
    }
}

/// What went wrong, and how it did the first time.
#[derive(Default)]
pub struct Wrong {
    /// How often.
    pub count: AtomicU64,
    /// The first time's words.
    pub first: OnceLock<String>,
}

impl Wrong {
    /// Counts one more. The words are only made for the first.
    pub fn add(&self, words: impl FnOnce() -> String) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.first.get_or_init(words);
    }
}

/// What is counted of one kind of question.
#[derive(Default)]
pub struct Count {
    /// Asked and answered as it should be.
    pub answered: AtomicU64,
    /// Answered with a status of 400 and above, but for waits that ended (408).
    pub refused: Wrong,
    /// No answer came.
    pub lost: Wrong,
    /// What was answered is of no use.
    pub unusable: Wrong,
    /// Answers that the simulation threw away.
    pub dropped: AtomicU64,
    /// Bytes of bodies sent.
    pub sent: AtomicU64,
    /// Bytes of bodies received.
    pub received: AtomicU64,
    /// How long answers took.
    pub times: Times,
}

/// Counts of all kinds.
#[derive(Default)]
pub struct Counts([Count; Kind::ALL.len()]);

impl Count {
    /// So many bytes went and came.
    pub fn bytes(&self, sent: usize, received: usize) {
        self.sent.fetch_add(sent as u64, Ordering::Relaxed);
        self.received.fetch_add(received as u64, Ordering::Relaxed);
    }
}

impl Counts {
    /// The count of a kind.
    pub fn of(&self, kind: Kind) -> &Count {
        let at = Kind::ALL.iter().position(|other| *other == kind).unwrap_or_default();
        // `ALL` holds every kind, so the place is always one of the array.
        self.0.get(at).unwrap_or(&self.0[0])
    }

    /// All that was answered.
    pub fn answered(&self) -> u64 {
        self.0.iter().map(|count| count.answered.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_right_within_a_tenth() {
        let times = Times::default();
        assert_eq!(times.percentile(0.5), None);
        for ms in 1..=1000 {
            times.add(Duration::from_millis(ms));
        }
        for (part, expected) in [(0.5, 0.5), (0.99, 0.99), (1.0, 1.0)] {
            let found = times.percentile(part).unwrap().as_secs_f64();
            assert!((found / expected - 1.0).abs() < 0.1, "{part}: {found}");
        }
        times.add(Duration::from_secs(1_000_000));
        times.add(Duration::ZERO);
        assert!(times.percentile(1.0).unwrap() > Duration::from_secs(3600));
    }

    #[test]
    fn every_kind_has_a_count_of_its_own() {
        let counts = Counts::default();
        for kind in Kind::ALL {
            counts.of(kind).answered.fetch_add(1, Ordering::Relaxed);
        }
        assert!(Kind::ALL.iter().all(|kind| counts.of(*kind).answered.load(Ordering::Relaxed) == 1));
    }
}
