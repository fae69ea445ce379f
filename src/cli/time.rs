//! Times and spans as people read and write them.

use jiff::{Timestamp, tz::TimeZone};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Now, Unix milliseconds, by this computer's clock.
pub fn now_unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Shows times in one zone.
#[derive(Debug, Clone)]
pub struct Clock {
    zone: TimeZone,
    now_unix_ms: i64,
}

impl Clock {
    /// In the zone of this computer.
    pub fn here() -> Self {
        Self { zone: TimeZone::system(), now_unix_ms: now_unix_ms() }
    }

    /// In UTC, at a given time.
    #[cfg(test)]
    pub fn fixed(now_unix_ms: i64) -> Self {
        Self { zone: TimeZone::UTC, now_unix_ms }
    }

    /// `12:03:04`, with the date before it when that is not today.
    pub fn show(&self, unix_ms: i64) -> String {
        let (Ok(at), Ok(now)) = (Timestamp::from_millisecond(unix_ms), Timestamp::from_millisecond(self.now_unix_ms))
        else {
            return "?".to_owned();
        };
        let (at, now) = (at.to_zoned(self.zone.clone()), now.to_zoned(self.zone.clone()));
        let form = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M:%S" };
        at.strftime(form).to_string()
    }

    /// Milliseconds until then; 0 where it is past.
    pub fn until(&self, unix_ms: i64) -> i64 {
        unix_ms.saturating_sub(self.now_unix_ms).max(0)
    }

    /// `12s ago`.
    pub fn ago(&self, unix_ms: i64) -> String {
        match self.now_unix_ms.saturating_sub(unix_ms) {
            0.. => format!("{} ago", coarse(self.now_unix_ms.saturating_sub(unix_ms))),
            _ => "just now".to_owned(),
        }
    }
}

/// `2026-11-23`, in the zone of this computer.
pub fn day(unix_ms: i64) -> String {
    Timestamp::from_millisecond(unix_ms)
        .map_or_else(|_| "?".to_owned(), |at| at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d").to_string())
}

/// A span to tenths of a second under a minute: `0.4s`, `14.2s`, `3m02s`, `2h05m`, `3d04h`.
pub fn span(ms: i64) -> String {
    let ms = ms.max(0);
    if ms < 59_950 {
        let tenths = (ms + 50) / 100;
        return format!("{}.{}s", tenths / 10, tenths % 10);
    }
    coarse(ms)
}

/// A span to whole seconds: `14s`, `3m02s`, `2h05m`, `3d04h`.
pub fn coarse(ms: i64) -> String {
    let seconds = (ms.max(0) + 500) / 1000;
    match seconds {
        ..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Reads `90s`, `10m`, `1h30m`, `500ms`, `2d`; a bare number is refused, since it has no unit.
///
/// # Errors
/// Says what is wrong, for clap.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 30s, 10m or 1h30m");
    let mut rest = text.trim();
    let mut total: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, after) = rest.split_at(digits);
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let number: u64 = number.parse().map_err(|_| wrong())?;
        total = number.checked_mul(factor).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
        rest = after;
    }
    // A century is for ever, and stays within what clocks can add.
    Ok(Duration::from_millis(total.min(100 * 365 * 86_400_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_exact_as_they_are_short() {
        for (ms, expected) in [
            (0, "0.0s"),
            (-5, "0.0s"),
            (449, "0.4s"),
            (14_160, "14.2s"),
            (59_960, "1m00s"),
            (182_000, "3m02s"),
            (7_500_000, "2h05m"),
            (273_600_000, "3d04h"),
        ] {
            assert_eq!(span(ms), expected, "{ms}");
        }
    }

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, ms) in [("30s", 30_000), ("10m", 600_000), ("1h30m", 5_400_000), ("500ms", 500), ("2d", 172_800_000)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "10", "m", "10x", "1h30", "-5s", "99999999999999999999s", "1.5h"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_date_is_shown_when_it_is_not_today() {
        let clock = Clock::fixed(1_795_384_984_000);
        assert_eq!(clock.show(1_795_384_984_000), "22:03:04");
        assert_eq!(clock.show(1_795_384_984_000 - 86_400_000), "2026-11-21 22:03:04");
        assert_eq!(clock.ago(1_795_384_984_000 - 12_000), "12s ago");
    }
}
