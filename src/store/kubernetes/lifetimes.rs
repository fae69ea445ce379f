//! Whether claims that are held get their lifetime anew, since their holders could not renew them. Pure.

use std::time::Duration;

/// An outage this long may have kept machines from renewing their claims.
pub(super) const OUTAGE: Duration = Duration::from_secs(1);
/// Another that wrote so short a time ago serves: those that have runs open tell each other what they hear more often than this.
const SERVES: Duration = Duration::from_secs(20);

/// Why it may be time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// It is not.
    No,
    /// The store was opened, and nobody served before.
    Opened,
    /// Nothing could be written here since this moment (wall clock), for long enough.
    Away {
        /// Unix milliseconds.
        since_unix_ms: i64,
    },
}

impl Due {
    /// Whether it is. `others_wrote`: what the youngest segment of another says of when it was written. One that wrote while this one could not,
    /// and does still, was there for holders to ask. Clocks are compared here that lifetimes are compared by, too.
    pub(super) fn is_now(self, others_wrote_unix_ms: i64, now_unix_ms: i64) -> bool {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        match self {
            Self::No => false,
            Self::Opened => true,
            Self::Away { since_unix_ms } => {
                let meanwhile = others_wrote_unix_ms >= since_unix_ms.saturating_add(ms(OUTAGE));
                !(meanwhile && now_unix_ms.saturating_sub(others_wrote_unix_ms) < ms(SERVES))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes_are_given_anew_where_nobody_served() {
        const NEVER: i64 = i64::MIN;
        let away = Due::Away { since_unix_ms: 100_000 };
        for (why, due, others_wrote, now, expected) in [
            ("nothing happened", Due::No, NEVER, 100_000, false),
            ("all began", Due::Opened, NEVER, 100_000, true),
            ("all began, whoever wrote before", Due::Opened, 99_999, 100_000, true),
            ("it is alone", away, NEVER, 110_000, true),
            ("the others wrote before, and as it began", away, 100_999, 110_000, true),
            ("another wrote meanwhile", away, 101_000, 110_000, false),
            ("and is long silent", away, 101_000, 121_000, true),
            ("and a moment before", away, 101_000, 120_999, false),
            ("the other's clock is a little ahead", away, 110_500, 110_000, false),
        ] {
            assert_eq!(due.is_now(others_wrote, now), expected, "{why}");
        }
    }
}
