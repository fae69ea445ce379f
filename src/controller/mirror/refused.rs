//! What the API server refuses of single objects: each rests, ever longer, and all others go on. Pure.

use crate::controller::report::in_bytes;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The first and the longest rest of an object that was refused.
const REST: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(300));
/// The source is told of newly refused objects so often at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// One that was refused.
#[derive(Debug)]
struct Refusal {
    why: String,
    rest: Duration,
    until: Instant,
    told: bool,
}

/// Those that were refused and are not taken yet, by name.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    by_name: BTreeMap<String, Refusal>,
    told: Option<Instant>,
}

/// Some of them, as it is told: one of them, why, and how many others there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub name: String,
    pub why: String,
    pub others: usize,
}

impl Refusals {
    /// It was refused, with these words. Whether that is news: it was not before, or with other words.
    pub fn refused(&mut self, name: &str, why: String, now: Instant) -> bool {
        let before = self.by_name.get(name);
        let is_new = before.is_none_or(|before| before.why != why);
        let rest = before.map_or(REST.0, |before| (before.rest * 2).clamp(REST.0, REST.1));
        let told = before.is_some_and(|before| before.told);
        self.by_name.insert(name.to_owned(), Refusal { why, rest, until: now + rest, told });
        is_new
    }

    /// It was taken, or somebody else was quicker: what it is now is another thing.
    pub fn settled(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Forgets those that nobody wants to write any more.
    pub fn keep_only(&mut self, these: impl Fn(&str) -> bool) {
        self.by_name.retain(|name, _| these(name));
    }

    /// What is wanted is another thing now: nobody knows what becomes of it, and all are tried.
    pub fn try_all(&mut self, now: Instant) {
        for refusal in self.by_name.values_mut() {
            (refusal.until, refusal.rest) = (now, Duration::ZERO);
        }
    }

    /// Whether it is not to be tried yet.
    pub fn rests(&self, name: &str, now: Instant) -> bool {
        self.by_name.get(name).is_some_and(|refusal| refusal.until > now)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// What is to be told of them now, once.
    pub fn news(&mut self, now: Instant) -> Option<Told> {
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < TOLD_EVERY) {
            return None;
        }
        let (name, refusal) = self.by_name.iter().find(|(_, refusal)| !refusal.told)?;
        let some = Told { name: name.clone(), why: refusal.why.clone(), others: self.by_name.len() - 1 };
        self.told = Some(now);
        self.by_name.values_mut().for_each(|refusal| refusal.told = true);
        Some(some)
    }
}

impl Told {
    /// In a sentence.
    pub fn note(&self, kind: &str) -> String {
        let others = match self.others {
            0 => String::new(),
            1 => ", and 1 other object".to_owned(),
            many => format!(", and {many} other objects"),
        };
        in_bytes(format!("the Kubernetes API refuses {kind}/{}{others}; it is tried again: {}", self.name, self.why))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_rests_ever_longer_and_nothing_else_does() {
        let (mut refusals, begin) = (Refusals::default(), Instant::now());
        let mut now = begin;
        let mut rests = Vec::new();
        for _ in 0..6 {
            refusals.refused("a", "no".to_owned(), now);
            assert!(refusals.rests("a", now) && !refusals.rests("b", now));
            let seconds = (1..1_000).find(|seconds| !refusals.rests("a", now + Duration::from_secs(*seconds)));
            rests.push(seconds.unwrap());
            now += Duration::from_secs(seconds.unwrap());
        }
        assert_eq!(rests, [30, 60, 120, 240, 300, 300]);
        refusals.refused("a", "no".to_owned(), now);
        refusals.try_all(now);
        assert!(!refusals.rests("a", now), "another revision may have mended it");
        refusals.refused("a", "no".to_owned(), now);
        assert!(refusals.rests("a", now + Duration::from_secs(29)), "it did not");
        refusals.settled("a");
        refusals.refused("a", "no".to_owned(), now);
        assert!(!refusals.rests("a", now + Duration::from_secs(30)), "it was taken in between");
        refusals.keep_only(|name| name != "a");
        assert_eq!(refusals.count(), 0);
    }

    #[test]
    fn each_refusal_is_news_once_and_many_are_told_together() {
        let (mut refusals, now) = (Refusals::default(), Instant::now());
        let later = |seconds| now + Duration::from_secs(seconds);
        assert!(refusals.news(now).is_none());
        assert!(refusals.refused("a", "quota".to_owned(), now));
        assert!(!refusals.refused("a", "quota".to_owned(), later(30)), "the log has it");
        assert!(refusals.refused("a", "webhook".to_owned(), later(60)), "for another reason");
        refusals.refused("b", "quota".to_owned(), now);
        let told = refusals.news(later(60)).unwrap();
        assert_eq!((told.name.as_str(), told.others), ("a", 1));
        assert_eq!(
            told.note("Machine"),
            "the Kubernetes API refuses Machine/a, and 1 other object; it is tried again: webhook"
        );
        refusals.refused("c", "name".to_owned(), later(61));
        assert!(refusals.news(later(62)).is_none(), "not each by itself");
        let told = refusals.news(later(120)).unwrap();
        assert_eq!((told.name.as_str(), told.others), ("c", 2));
        refusals.refused("c", "name".to_owned(), later(180));
        assert!(refusals.news(later(240)).is_none(), "nothing is new");
    }
}
