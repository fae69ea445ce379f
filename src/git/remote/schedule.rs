//! When a repository is looked at again. Pure: the dice are passed in.

use std::time::Duration;

/// The pause after the first failure.
const BACKOFF_FIRST: Duration = Duration::from_secs(5);
/// The longest pause after a failure; an interval that is longer goes before it.
const BACKOFF_MOST: Duration = Duration::from_secs(600);
/// A webhook often comes before the forge shows what was pushed: after a hint that showed nothing new, one more look.
pub(super) const SECOND_LOOK: Duration = Duration::from_secs(4);
/// Hints are answered no more often than this.
pub(super) const HINT_GAP: Duration = Duration::from_secs(1);

/// The pause after a look that succeeded: the interval, a tenth more or less, so that servers do not ask in step. `dice` is
/// in `0.0..1.0`.
pub(super) fn after_success(interval: Duration, dice: f64) -> Duration {
    interval.mul_f64(0.9 + 0.2 * dice.clamp(0.0, 1.0))
}

/// The pause after so many failures in a row (1 for the first): doubling, a quarter more or less.
pub(super) fn after_failure(interval: Duration, failures: u32, dice: f64) -> Duration {
    let doubled = BACKOFF_FIRST.min(interval).saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)));
    doubled.min(BACKOFF_MOST.max(interval)).mul_f64(0.75 + 0.5 * dice.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_spread_around_the_interval() {
        let minute = Duration::from_secs(60);
        for (dice, seconds) in [(0.0, 54), (0.5, 60), (1.0, 66)] {
            assert_eq!(after_success(minute, dice).as_secs(), seconds);
        }
    }

    #[test]
    fn failures_come_further_apart_and_never_stop() {
        let minute = Duration::from_secs(60);
        let seconds: Vec<_> = [1, 2, 3, 8, 40].map(|n| after_failure(minute, n, 0.5).as_secs()).to_vec();
        assert_eq!(seconds, [5, 10, 20, 600, 600]);
        let day = Duration::from_secs(86_400);
        assert_eq!(after_failure(day, 100, 0.5), day, "never more often than was asked for");
        assert_eq!(after_failure(Duration::from_secs(1), 1, 0.5).as_secs(), 1, "a short interval is tried again soon");
        assert!(after_failure(minute, 3, 0.0) < after_failure(minute, 3, 1.0));
    }
}
