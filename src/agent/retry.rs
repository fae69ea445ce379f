//! When a request is sent again: a decision without clock, socket or chance of its own.

use std::time::Duration;

/// The first pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Pauses double up to this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A server's `Retry-After` is honoured up to this: a typing error must not park a machine for a day.
pub(super) const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(120);

/// What came of one try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// No whole answer arrived: refused, reset, timed out, cut off in the middle.
    NoAnswer,
    /// An answer with this status and, if it had one, its `Retry-After`.
    Answered(u16, Option<Duration>),
}

/// How long to pause before the same request is sent again; `None` when the answer stands. `attempt` counts from 0;
/// `chance` is in `0.0..1.0` and spreads machines that failed together over half the pause.
pub fn pause(tried: Try, attempt: u32, chance: f64) -> Option<Duration> {
    let backoff = || {
        let doubled = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
        doubled.mul_f64(0.5 + chance.clamp(0.0, 1.0) / 2.0)
    };
    match tried {
        Try::NoAnswer => Some(backoff()),
        // 501 and 505 will not change by asking again.
        Try::Answered(501 | 505, _) => None,
        Try::Answered(status, retry_after) if status == 429 || (500..600).contains(&status) => Some(
            retry_after.map_or_else(backoff, |asked| asked.min(LONGEST_RETRY_AFTER).max(Duration::from_millis(100))),
        ),
        Try::Answered(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_retried_and_answers_stand() {
        let second = Duration::from_secs(1);
        let table = [
            (Try::NoAnswer, 0, Some(Duration::from_millis(250))),
            (Try::NoAnswer, 3, Some(Duration::from_secs(2))),
            (Try::NoAnswer, 1_000, Some(Duration::from_secs(15))),
            (Try::Answered(200, None), 0, None),
            (Try::Answered(401, None), 0, None),
            (Try::Answered(408, Some(second)), 0, None),
            (Try::Answered(409, None), 0, None),
            (Try::Answered(429, Some(second)), 0, Some(second)),
            (Try::Answered(429, None), 0, Some(Duration::from_millis(250))),
            (Try::Answered(500, None), 1, Some(Duration::from_millis(500))),
            (Try::Answered(501, None), 0, None),
            (Try::Answered(503, Some(Duration::from_secs(86_400))), 0, Some(Duration::from_secs(120))),
            (Try::Answered(507, Some(Duration::ZERO)), 0, Some(Duration::from_millis(100))),
        ];
        for (tried, attempt, wanted) in table {
            assert_eq!(pause(tried, attempt, 0.0), wanted, "{tried:?} at attempt {attempt}");
        }
    }

    #[test]
    fn chance_spreads_pauses_over_half_their_length() {
        assert_eq!(pause(Try::NoAnswer, 0, 1.0), Some(FIRST_PAUSE));
        assert_eq!(pause(Try::NoAnswer, 0, 0.5), Some(Duration::from_millis(375)));
    }
}
