//! Whether others serve at the moment when a server starts: then the claims that machines hold count on, since their holders could renew
//! them. Where nobody served they get their full lifetime again.
//!
//! A Lease that is there says little: its server may be gone for hours. One that was renewed a while ago by its own word is of a server that is gone;
//! of one that may be there it is waited for that it changes, as everywhere among replicas.

use super::decide::CONFIRMED;
use std::collections::BTreeMap;
use std::time::Duration;

/// A Lease whose renewal is this far from now by the clock of whoever looks is of a server that is gone. Far more than clocks of servers
/// differ: claims of theirs count the wall clock, too.
const RECENT_MS: i64 = 60_000;

/// A Lease of another server, as one that is not among them yet sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    /// Another after each renewal.
    pub(super) version: String,
    /// When it was renewed last, by its own server's clock.
    pub(super) renewed_unix_ms: i64,
}

/// By the server's name.
pub(super) type Leases = BTreeMap<String, Seen>;

/// What two looks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    /// Another serves.
    Yes,
    /// Nobody else does.
    No,
    /// It is not known yet: look again.
    Unknown,
}

/// Whether another than `own` serves: `first` is what was seen at the first look, `now` what is seen `waited` later.
pub(super) fn served(own: &str, first: &Leases, now: &Leases, waited: Duration, now_unix_ms: i64) -> Served {
    let mut others = now.iter().filter(|(name, _)| *name != own);
    let is_renewed = |(name, seen): (&String, &Seen)| first.get(name).is_none_or(|first| first.version != seen.version);
    let is_recent = |(_, seen): (&String, &Seen)| now_unix_ms.abs_diff(seen.renewed_unix_ms) < RECENT_MS.unsigned_abs();
    if others.clone().any(is_renewed) {
        Served::Yes
    } else if waited < CONFIRMED && others.any(is_recent) {
        Served::Unknown
    } else {
        Served::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn leases(of: &[(&str, &str, i64)]) -> Leases {
        let lease = |(name, version, ago): &(&str, &str, i64)| {
            ((*name).to_owned(), Seen { version: (*version).to_owned(), renewed_unix_ms: NOW - ago })
        };
        of.iter().map(lease).collect()
    }

    #[test]
    fn others_serve_where_a_lease_of_theirs_is_seen_to_change() {
        let at_once = Duration::ZERO;
        let soon = Duration::from_secs(5);
        for (why, first, now, waited, expected) in [
            ("there are none", leases(&[]), leases(&[]), at_once, Served::No),
            ("its own, of before", leases(&[("a", "1", 500)]), leases(&[("a", "1", 500)]), at_once, Served::No),
            ("its own, of another process", leases(&[("a", "1", 500)]), leases(&[("a", "2", 0)]), soon, Served::No),
            ("it may be there", leases(&[("b", "1", 500)]), leases(&[("b", "1", 500)]), at_once, Served::Unknown),
            ("still", leases(&[("b", "1", 5_500)]), leases(&[("b", "1", 5_500)]), soon, Served::Unknown),
            ("it is", leases(&[("b", "1", 5_500)]), leases(&[("b", "2", 100)]), soon, Served::Yes),
            ("it was not", leases(&[("b", "1", 10_500)]), leases(&[("b", "1", 10_500)]), CONFIRMED, Served::No),
            ("gone for long", leases(&[("b", "1", 60_000)]), leases(&[("b", "1", 60_000)]), at_once, Served::No),
            ("a clock ahead", leases(&[("b", "1", -59_999)]), leases(&[("b", "1", -59_999)]), at_once, Served::Unknown),
            ("a clock far ahead", leases(&[("b", "1", -60_000)]), leases(&[("b", "1", -60_000)]), at_once, Served::No),
            (
                "a clock far behind that ticks",
                leases(&[("b", "1", 99_000)]),
                leases(&[("b", "2", 99_000)]),
                soon,
                Served::Yes,
            ),
            (
                "one that came",
                leases(&[("c", "1", 99_000)]),
                leases(&[("b", "7", 0), ("c", "1", 99_000)]),
                soon,
                Served::Yes,
            ),
            ("one that said goodbye", leases(&[("b", "1", 500)]), leases(&[]), soon, Served::No),
            (
                "one of two",
                leases(&[("b", "1", 900), ("c", "1", 900)]),
                leases(&[("b", "1", 900), ("c", "2", 0)]),
                soon,
                Served::Yes,
            ),
        ] {
            assert_eq!(served("a", &first, &now, waited, NOW), expected, "{why}");
        }
    }
}
