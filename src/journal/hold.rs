//! What people said about following the source: whether it is suspended, and whether an earlier revision is pinned. Folded from
//! the site's events, so that it outlives the process. Pure.

use super::{Event, Record};
use serde::{Deserialize, Serialize};

/// A person's word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Word {
    /// Whose.
    pub by: String,
    /// Why; may be empty.
    pub reason: String,
    /// Since when, Unix milliseconds.
    pub since_unix_ms: i64,
}

/// A revision that stays until it is lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Pin {
    /// The revision.
    pub revision: String,
    /// Its subject line.
    pub summary: String,
    /// Who said so, and why.
    #[serde(flatten)]
    pub word: Word,
}

/// What holds content back from following its source. Nothing, by default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hold {
    /// Nothing that the source shows is applied.
    pub suspended: Option<Word>,
    /// This revision serves, whatever the source shows.
    pub pinned: Option<Pin>,
}

impl Hold {
    /// The source is followed.
    pub const fn is_none(&self) -> bool {
        self.suspended.is_none() && self.pinned.is_none()
    }

    /// A revision may be applied: that which is pinned; where none is, any, unless it is suspended.
    pub fn allows(&self, revision: &str) -> bool {
        match &self.pinned {
            Some(pin) => pin.revision == revision,
            None => self.suspended.is_none(),
        }
    }

    /// Takes in one more of the site's events.
    pub fn apply(&mut self, record: &Record) {
        let said = |by: &String, reason: &String| Word {
            by: by.clone(),
            reason: reason.clone(),
            since_unix_ms: record.at_unix_ms,
        };
        match &record.event {
            Event::FollowingSuspended { by, reason } => {
                // Another reason for it, later, does not begin it anew.
                let since = self.suspended.as_ref().map(|word| word.since_unix_ms);
                let word = said(by, reason);
                self.suspended = Some(Word { since_unix_ms: since.unwrap_or(word.since_unix_ms), ..word });
            }
            Event::RevisionPinned { by, revision, summary, reason } => {
                let (revision, summary) = (revision.clone(), summary.clone());
                self.pinned = Some(Pin { revision, summary, word: said(by, reason) });
            }
            Event::FollowingResumed { .. } => *self = Self::default(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Stream;

    fn fold(events: &[Event]) -> Hold {
        let mut hold = Hold::default();
        for (at, event) in events.iter().enumerate() {
            let index = at as u64;
            let record = Record {
                sequence: index + 1,
                stream: Stream::Site,
                index,
                at_unix_ms: 1000 + at as i64,
                event: event.clone(),
            };
            hold.apply(&record);
        }
        hold
    }

    #[test]
    fn what_was_said_last_holds_and_one_word_lifts_both() {
        let suspended = || Event::FollowingSuspended { by: "ann".into(), reason: "audit".into() };
        let pinned = |revision: &str| Event::RevisionPinned {
            by: "bob".into(),
            revision: revision.into(),
            summary: "s".into(),
            reason: "bad kernel".into(),
        };
        let resumed = || Event::FollowingResumed { by: "ann".into(), reason: String::new() };
        for (events, allows_a, allows_b) in [
            (vec![], true, true),
            (vec![suspended()], false, false),
            (vec![suspended(), resumed()], true, true),
            (vec![pinned("a")], true, false),
            // A rollback is a person's own order: it is carried out while the source is not followed.
            (vec![suspended(), pinned("a")], true, false),
            (vec![pinned("a"), pinned("b")], false, true),
            (vec![suspended(), pinned("a"), resumed()], true, true),
        ] {
            let hold = fold(&events);
            assert_eq!((hold.allows("a"), hold.allows("b")), (allows_a, allows_b), "{events:?}");
            assert_eq!(hold.is_none(), events.is_empty() || events.last() == Some(&resumed()), "{events:?}");
        }
        let hold = fold(&[suspended(), pinned("a")]);
        assert_eq!(hold.suspended.map(|word| (word.by, word.since_unix_ms)), Some(("ann".to_owned(), 1000)));
        assert_eq!(hold.pinned.map(|pin| (pin.word.by, pin.word.since_unix_ms)), Some(("bob".to_owned(), 1001)));
    }
}
