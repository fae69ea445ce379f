//! Bounds in time: so much at once, then so much a minute. Pure; kept in memory, so a restart begins anew.

/// So much at once, then so much a minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rate {
    pub at_once: u64,
    pub a_minute: u64,
}

/// What was taken of a rate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Taken {
    /// In parts of a sixty-thousandth, so that each millisecond gives back a whole number.
    parts: u64,
    at_ms: u64,
}

/// Parts of one.
const PARTS: u64 = 60_000;

impl Rate {
    /// What is taken after so much more, or how many milliseconds must pass before. What is more than fits at once waits until nothing is
    /// taken: it would else wait for ever.
    pub fn take(self, taken: Taken, now_ms: u64, amount: u64) -> Result<Taken, u64> {
        let all = self.at_once.saturating_mul(PARTS);
        let given_back = now_ms.saturating_sub(taken.at_ms).saturating_mul(self.a_minute);
        let parts = taken.parts.saturating_sub(given_back);
        let wanted = amount.saturating_mul(PARTS).min(all);
        let over = parts.saturating_add(wanted).saturating_sub(all);
        if over > 0 {
            return Err(over.div_ceil(self.a_minute.max(1)));
        }
        Ok(Taken { parts: parts.saturating_add(wanted), at_ms: now_ms })
    }
}

/// Boxes that rules make machines of: a site of ten thousand is switched on at once.
const ENROLMENTS: Rate = Rate { at_once: 12_000, a_minute: 600 };
/// That boxes have to wait is told so often, and shown for so long after the last of them.
const TOLD_EVERY_MS: u64 = 60_000;

/// How many boxes rules made machines of lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Enrolling {
    taken: Taken,
    /// How often one had to wait.
    pub waited: u64,
    /// Which of those were told, and when.
    told: Option<(u64, u64)>,
    /// When one last had to wait.
    waited_ms: Option<u64>,
}

/// What one more box comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Enrolment {
    /// It is taken in.
    Taken,
    /// It asks again later. With a number, it is time to tell how often one had to wait since that was last told.
    Waits(Option<u64>),
}

impl Enrolling {
    /// One more box asks to be taken in.
    pub fn ask(self, now_ms: u64) -> (Self, Enrolment) {
        if let Ok(taken) = ENROLMENTS.take(self.taken, now_ms, 1) {
            return (Self { taken, ..self }, Enrolment::Taken);
        }
        let waits = Self { waited: self.waited.saturating_add(1), waited_ms: Some(now_ms), ..self };
        match self.told {
            Some((_, at_ms)) if now_ms.saturating_sub(at_ms) < TOLD_EVERY_MS => (waits, Enrolment::Waits(None)),
            told => {
                let since = waits.waited.saturating_sub(told.map_or(0, |(count, _)| count));
                (Self { told: Some((waits.waited, now_ms)), ..waits }, Enrolment::Waits(Some(since)))
            }
        }
    }

    /// As after all that may be taken in at once, at that time.
    #[cfg(test)]
    pub fn all_at_once(at_ms: u64) -> Self {
        let taken = Taken { parts: ENROLMENTS.at_once * PARTS, at_ms };
        Self { taken, ..Self::default() }
    }

    /// Whether boxes have to wait at this time.
    pub fn is_behind(self, now_ms: u64) -> bool {
        self.waited_ms.is_some_and(|at_ms| now_ms.saturating_sub(at_ms) < TOLD_EVERY_MS)
    }
}

/// Facts that change, of one machine: reports.
const REPORTS: Rate = Rate { at_once: 60, a_minute: 10 };
/// Facts that change, of one machine: bytes as JSON.
const BYTES: Rate = Rate { at_once: 4 << 20, a_minute: 64 << 10 };

/// What a machine reported of itself lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Reported {
    reports: Taken,
    bytes: Taken,
}

impl Reported {
    /// The same after a report of so many bytes, or how many milliseconds it has to wait. What has to wait costs nothing.
    pub fn take(self, now_ms: u64, bytes: u64) -> Result<Self, u64> {
        match (REPORTS.take(self.reports, now_ms, 1), BYTES.take(self.bytes, now_ms, bytes)) {
            (Ok(reports), Ok(bytes)) => Ok(Self { reports, bytes }),
            (reports, bytes) => Err(reports.err().max(bytes.err()).unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_much_at_once_then_so_much_a_minute() {
        let rate = Rate { at_once: 3, a_minute: 6 };
        let mut taken = Taken::default();
        // When, how much, and how long it has to wait.
        for (at_ms, amount, waits) in [
            (1_000, 1, None),
            (1_000, 2, None),
            (1_000, 1, Some(10_000)),
            (6_000, 1, Some(5_000)),
            (11_000, 1, None),
            (11_000, 3, Some(30_000)),
            // A clock that stands, or was set back, gives nothing back.
            (5_000, 1, Some(10_000)),
            // More than fits is taken as all of it.
            (41_000, 100, None),
            (41_000, 1, Some(10_000)),
            (u64::MAX, 3, None),
        ] {
            let waited = rate.take(taken, at_ms, amount).map(|now| taken = now).err();
            assert_eq!(waited, waits, "{amount} at {at_ms}");
        }
        assert_eq!(Rate { at_once: 0, a_minute: 0 }.take(Taken::default(), 0, 0), Ok(Taken::default()));
    }

    #[test]
    fn rules_take_in_a_site_at_once_and_then_so_many_a_minute() {
        let mut enrolling = Enrolling::default();
        // When, how many ask, how many are taken in, and what is told of those that wait.
        let told = |count: u64| vec![count];
        let quiet = Vec::<u64>::new();
        for (at_ms, asks, taken, wanted) in [
            (0, 12_000, 12_000, quiet.clone()),
            (0, 500, 0, told(1)),
            (1_000, 500, 10, quiet.clone()),
            (59_999, 100, 100, quiet.clone()),
            (60_000, 1_000, 490, told(990)),
            (3_600_000, 13_000, 12_000, told(510)),
        ] {
            let mut seen = (0, Vec::new());
            for _ in 0..asks {
                let (next, came_to) = enrolling.ask(at_ms);
                enrolling = next;
                match came_to {
                    Enrolment::Taken => seen.0 += 1,
                    Enrolment::Waits(told) => seen.1.extend(told),
                }
            }
            assert_eq!(seen, (taken, wanted), "{asks} at {at_ms}");
        }
        assert!(enrolling.is_behind(3_600_000) && enrolling.is_behind(3_659_999) && !enrolling.is_behind(3_660_000));
        assert!(!Enrolling::default().is_behind(0));
    }

    #[test]
    fn facts_are_bounded_by_reports_and_by_bytes() {
        let many =
            |count: u32, bytes: u64| (0..count).try_fold(Reported::default(), |reported, _| reported.take(1, bytes));
        assert_eq!((many(60, 100).is_ok(), many(61, 100)), (true, Err(6_000)));
        assert_eq!((many(16, 256 << 10).is_ok(), many(17, 256 << 10)), (true, Err(240_000)));
        // One that has to wait took nothing of either.
        let full = many(16, 256 << 10).unwrap();
        assert!(full.take(1, 64 << 10).is_err() && full.take(60_001, 64 << 10).is_ok());
        // A day of it, as fast as it goes: 4 MiB and 64 KiB for each minute.
        let (mut reported, mut bytes) = (Reported::default(), 0_u64);
        for second in 0..86_400 {
            if let Ok(next) = reported.take(second * 1_000, 32 << 10) {
                (reported, bytes) = (next, bytes + (32 << 10));
            }
        }
        let most = (4 << 20) + 1_440 * (64 << 10);
        assert!(bytes <= most && bytes > most - (64 << 10), "{bytes} of {most}");
    }
}
