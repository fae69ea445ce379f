//! Whether a replica that does not answer will come back: pure, from what was seen of its Lease and the clock.
//!
//! A server that is restarted, drained or repaired is away, and what only it has is worth waiting for. One that nobody saw for a day, or of
//! which a person says so, is gone: who asks for what only it had is told that, and does not ask for ever. Nothing is forgotten
//! by that: a replica that comes back after all is simply there again.

use super::Standing;
use std::collections::BTreeMap;
use std::time::Duration;

/// A replica is gone when it was not there for so long. Longer than a night's repair, and far more than clocks of servers differ.
pub const GONE_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// The replicas whose last Lease is remembered, at most: names that change for ever are not kept for ever.
const REMEMBERED: usize = 1_024;

/// What the last Lease of a replica said, whether it still lies there or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// When it was renewed, by that replica's clock.
    pub renewed_unix_ms: i64,
    /// The word of a person that it will not come back.
    pub said_gone: Option<String>,
}

/// The last Leases of all replicas that one saw since it began to look.
#[derive(Debug, Default)]
pub struct Lasts {
    began_unix_ms: i64,
    by_name: BTreeMap<String, Last>,
}

/// A replica that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gone {
    /// Since when it is not there, as far as that is known: no later than that.
    pub since_unix_ms: i64,
    /// The word of a person, where it is gone by that.
    pub said: Option<String>,
}

impl Lasts {
    /// Whoever begins to look at that time.
    pub const fn from(began_unix_ms: i64) -> Self {
        Self { began_unix_ms, by_name: BTreeMap::new() }
    }

    /// Takes in what the Leases that lie there now say. Of those that lie there no more the last word is remembered.
    pub fn see(&mut self, listed: impl IntoIterator<Item = (String, Last)>) {
        self.by_name.extend(listed);
        while self.by_name.len() > REMEMBERED {
            let oldest = self.by_name.iter().min_by_key(|(_, last)| last.renewed_unix_ms).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { break };
            self.by_name.remove(&oldest);
        }
    }

    /// Whether the replica of that name is gone. None: it is there, or only away. A replica whose Lease was never seen ended well before
    /// this one began to look, and is not there since that time at the latest. One that does not see the Leases itself knows nothing.
    pub fn gone(&self, name: &str, standing: &Standing, now_unix_ms: i64) -> Option<Gone> {
        let is_live = |name: &str| standing.live.iter().any(|live| live == name);
        if !is_live(&standing.own) || is_live(name) {
            return None;
        }
        let last = self.by_name.get(name);
        let since_unix_ms = last.map_or(self.began_unix_ms, |last| last.renewed_unix_ms);
        let said = last.and_then(|last| last.said_gone.clone());
        let for_long = u128::try_from(now_unix_ms.saturating_sub(since_unix_ms)).unwrap_or(0) >= GONE_AFTER.as_millis();
        (for_long || said.is_some()).then_some(Gone { since_unix_ms, said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;
    const DAY: i64 = 86_400_000;

    fn standing(live: &[&str]) -> Standing {
        let live = live.iter().map(|name| (*name).to_owned()).collect();
        Standing { own: "one".into(), live, leader: None }
    }

    #[test]
    fn a_replica_is_gone_after_a_day_or_by_a_persons_word_and_not_while_it_may_be_there() {
        let word = Some("its disk is dead");
        // When this one began to look, and what the other's Lease said, both so long ago; who is there; since when it is gone, and by whose word.
        for (why, began, last, live, gone) in [
            ("lost a while ago", 9 * DAY, Some((DAY - 1, None)), &["one"][..], None),
            ("lost a day ago", 9 * DAY, Some((DAY, None)), &["one"], Some((DAY, None))),
            ("said to be gone", 9 * DAY, Some((20_000, word)), &["one"], Some((20_000, word))),
            ("both", 9 * DAY, Some((2 * DAY, word)), &["one"], Some((2 * DAY, word))),
            ("its clock is ahead", 9 * DAY, Some((-DAY, None)), &["one"], None),
            ("its clock is far behind, and it is there", 9 * DAY, Some((2 * DAY, None)), &["one", "two"], None),
            ("said to be gone, and it is there", 9 * DAY, Some((5_000, word)), &["one", "two"], None),
            ("this one sees nobody", 9 * DAY, Some((2 * DAY, word)), &[], None),
            ("it ended well before this one began", DAY - 1, None, &["one"], None),
            ("it ended well long ago", DAY, None, &["one"], Some((DAY, None))),
        ] {
            let mut lasts = Lasts::from(NOW - began);
            let last = last.map(|(ago, said): (i64, Option<&str>)| Last {
                renewed_unix_ms: NOW - ago,
                said_gone: said.map(str::to_owned),
            });
            lasts.see(last.map(|last| ("two".to_owned(), last)));
            // Its Lease is deleted: what it said last stays.
            lasts.see([]);
            let expected = gone.map(|(ago, said): (i64, Option<&str>)| Gone {
                since_unix_ms: NOW - ago,
                said: said.map(str::to_owned),
            });
            assert_eq!(lasts.gone("two", &standing(live), NOW), expected, "{why}");
        }
    }

    #[test]
    fn who_comes_back_is_gone_no_more_and_names_are_bounded() {
        let mut lasts = Lasts::from(NOW);
        let last =
            |ago: i64, said: Option<&str>| Last { renewed_unix_ms: NOW - ago, said_gone: said.map(str::to_owned) };
        lasts.see([("two".to_owned(), last(2 * DAY, Some("gone")))]);
        lasts.see([("two".to_owned(), last(0, None))]);
        assert_eq!(lasts.gone("two", &standing(&["one"]), NOW), None);
        let many = |number: i64| (format!("n{number}"), last(DAY + number, None));
        lasts.see((0..2_000).map(many));
        assert_eq!(lasts.by_name.len(), REMEMBERED);
        assert!(lasts.by_name.contains_key("two") && !lasts.by_name.contains_key("n1999"), "the oldest are forgotten");
    }
}
