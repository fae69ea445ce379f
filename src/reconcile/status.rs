//! How content stands: what was seen, what was attempted, what is applied. Never one in place of another.

use super::standing::{self, Standing};
use super::verdict::{self, Condition, ConditionRow, Verdict};
use crate::git::remote::SourceStatus;
use crate::git::{GitError, Revision, Sight, Source};
use crate::journal::{Hold, Pin, Word};
use serde::Serialize;
use std::collections::BTreeMap;

/// So many outcomes are remembered.
const RECENT: usize = 10;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It serves.
    Applied,
    /// It is good, and is not applied: a person suspended following, or pinned another.
    Waiting,
    /// It has faults; trying it again cannot help.
    Refused,
    /// It could not be read or recorded; it is tried again by itself.
    Postponed {
        /// Why.
        reason: String,
    },
    /// A newer one was seen while it was built: what was built was thrown away.
    Overtaken,
}

impl Outcome {
    /// The word.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Waiting => "waiting",
            Self::Refused => "refused",
            Self::Postponed { .. } => "postponed",
            Self::Overtaken => "overtaken",
        }
    }
}

/// The last attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The revision.
    pub revision: String,
    /// Its subject line.
    pub summary: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// What came of it.
    pub outcome: Outcome,
    /// Findings as shown to people (of an applied revision: warnings).
    pub findings: Vec<String>,
    /// How many findings there are.
    pub count: usize,
}

/// One of the last outcomes, without its findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Recent {
    /// The revision.
    pub revision: String,
    /// Its subject line.
    pub summary: String,
    /// When (the last time, where it came to the same several times in a row), Unix milliseconds.
    pub at_unix_ms: i64,
    /// `applied`, `waiting`, `refused`, `postponed` or `overtaken`.
    pub outcome: String,
    /// How many findings there were.
    pub count: usize,
    /// How many attempts in a row came to this.
    pub times: u32,
}

/// The revision that serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppliedRevision {
    /// The revision.
    pub revision: String,
    /// Its subject line.
    pub summary: String,
    /// Since when in this process, Unix milliseconds.
    pub at_unix_ms: i64,
    /// How many machines it declares.
    pub machines: usize,
    /// Who signed it and what led to it, its own signer first; empty where signatures are not asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
}

/// How content stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// What is followed, for people.
    pub source: String,
    /// The revision that the source shows now (or showed last).
    pub head: Option<String>,
    /// Why the source cannot be read now.
    pub unavailable: Option<String>,
    /// The same in a word that stays the same, where another than that it cannot be read is known.
    #[serde(skip)]
    pub unavailable_reason: Option<&'static str>,
    /// The revision that is worked on now.
    pub loading: Option<String>,
    /// Since when, Unix milliseconds.
    pub loading_since_unix_ms: Option<i64>,
    /// It takes long enough to say so.
    #[serde(skip)]
    pub loads_slowly: bool,
    /// The last attempt.
    pub attempted: Option<Attempt>,
    /// The revision that serves.
    pub applied: Option<AppliedRevision>,
    /// A person said that nothing new is applied.
    pub suspended: Option<Word>,
    /// A person went back to this revision.
    pub pinned: Option<Pin>,
    /// The last few outcomes, the newest last.
    pub recent: Vec<Recent>,
    /// Rises whenever what is wanted changes: the source shows another revision, or a person says a word about following it.
    pub generation: u64,
    /// Which of these was acted on: all that follows from it has come about, or the conditions say why not.
    pub observed_generation: u64,
    /// The last request ([`super::Reconciler::ask`]) that was taken up: the sources are told to look.
    pub taken_request: u64,
    /// The last request that was acted on, as all before it: every source was looked at after it, and what came of it was tried.
    pub observed_request: u64,
    /// When a postponed attempt is made again, Unix milliseconds.
    pub retry_unix_ms: Option<i64>,
    /// Ready, Reconciling and Stalled, each with its reason and since when.
    pub conditions: Vec<ConditionRow>,
    /// How each source stands, the main one first.
    pub sources: Vec<Standing>,
    /// Which commit of each source the revision that serves is made of, by the source's name.
    pub applied_parts: BTreeMap<String, String>,
    /// A revision that was attempted, and which commit of each source it is made of.
    #[serde(skip)]
    pub attempted_parts: (String, BTreeMap<String, String>),
}

impl Status {
    /// Takes in how the sources stand.
    pub(super) fn see_sources(&mut self, sources: Vec<SourceStatus>) {
        let mut before = std::mem::take(&mut self.sources);
        let mut known = |name: &str| {
            let same = before.iter_mut().find(|source| source.name == name);
            same.map(|source| std::mem::take(&mut source.conditions)).unwrap_or_default()
        };
        self.sources = sources
            .into_iter()
            .map(|source| {
                let conditions = known(&source.name);
                Standing::of(source, conditions)
            })
            .collect();
    }

    /// The commit of a source that is in the revision that serves.
    pub fn applied_of(&self, source: &str) -> Option<&str> {
        self.applied_parts.get(source).map(String::as_str)
    }

    /// The commit of a source that is in the revision of the last attempt.
    pub fn attempted_of(&self, source: &str) -> Option<&str> {
        let (revision, parts) = &self.attempted_parts;
        self.attempted.as_ref().filter(|attempt| attempt.revision == *revision)?;
        parts.get(source).map(String::as_str)
    }

    /// Takes in what was attempted, and what that revision is made of.
    pub(super) fn tried(&mut self, attempt: Attempt, parts: Vec<(String, String)>) {
        self.attempted_parts = (attempt.revision.clone(), parts.into_iter().collect());
        self.attempted = Some(attempt);
    }

    /// Takes in what is followed, and a sight of it.
    pub(super) fn see(&mut self, source: &Source, sight: &Sight) {
        self.source = source.to_string();
        match sight {
            // Nobody has looked at what is followed now.
            Sight::Nothing => (self.head, self.unavailable, self.unavailable_reason) = (None, None, None),
            Sight::Head(Revision { id, .. }) => {
                self.generation += u64::from(self.head.as_ref() != Some(id));
                self.head = Some(id.clone());
                (self.unavailable, self.unavailable_reason) = (None, None);
            }
            Sight::Unavailable(error) => {
                self.unavailable_reason = None;
                // What was seen and found in what was followed before says nothing of what cannot be followed.
                if let GitError::NotFollowed { reason, .. } = error {
                    (self.head, self.attempted, self.unavailable_reason) = (None, None, Some(*reason));
                }
                self.unavailable = Some(error.while_followed());
            }
        }
    }

    /// Takes in what people said.
    pub(super) fn hold(&mut self, hold: &Hold) {
        self.generation += u64::from(self.suspended != hold.suspended || self.pinned != hold.pinned);
        self.suspended.clone_from(&hold.suspended);
        self.pinned.clone_from(&hold.pinned);
    }

    /// Remembers an outcome. The same of the same revision takes the earlier one's place, and so does an overtaken one that of
    /// another: a hundred pushes a minute must not push out what people look for.
    pub(super) fn remember(&mut self, mut outcome: Recent) {
        if let Some(last) = self.recent.last()
            && last.outcome == outcome.outcome
            && (last.revision == outcome.revision || outcome.outcome == Outcome::Overtaken.as_str())
        {
            outcome.times = last.times.saturating_add(outcome.times);
            self.recent.pop();
        }
        self.recent.push(outcome);
        if self.recent.len() > RECENT {
            self.recent.remove(0);
        }
    }

    /// Says anew what follows from the rest. A condition's time moves with its state only.
    pub(super) fn settle(&mut self, now_unix_ms: i64) {
        let site = verdict::verdict(self);
        self.sources = standing::settle(self, &site, now_unix_ms);
        self.conditions = verdict::rows(&standing::of_site(self, site), &self.conditions, now_unix_ms);
    }

    /// The condition that holds, with its reason and a sentence.
    pub fn verdict(&self) -> Verdict {
        standing::of_site(self, verdict::verdict(self))
    }

    /// The word, and why in a sentence.
    pub fn condition(&self) -> (Condition, String) {
        let verdict = self.verdict();
        (verdict.condition, verdict.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_tried_is_forgotten_where_nothing_is_followed_any_more() {
        let attempted = Attempt {
            revision: "a".to_owned(),
            summary: String::new(),
            at_unix_ms: 1,
            outcome: Outcome::Refused,
            findings: vec!["site.yaml:1:1: error".to_owned()],
            count: 1,
        };
        let source = Source::Directory { path: "/srv/site".into() };
        for (error, kept) in [
            (GitError::Missing { path: "/srv/site".into() }, true),
            (GitError::NotFollowed { reason: "InvalidSpec", why: "it is gone".to_owned() }, false),
        ] {
            let (attempted, head) = (Some(attempted.clone()), Some("a".to_owned()));
            let mut status = Status { attempted, head, ..Status::default() };
            status.see(&source, &Sight::Unavailable(error));
            assert_eq!(status.attempted.is_some(), kept, "{:?}", status.unavailable);
            assert_eq!(status.head.is_some(), kept, "{:?}", status.unavailable);
            assert!(status.unavailable.is_some());
            assert_eq!(status.verdict().reason, if kept { "SourceUnavailable" } else { "InvalidSpec" });
            // What is followed after it may show the same commit.
            let revision = Revision { id: "a".to_owned(), summary: String::new(), message: String::new() };
            status.see(&source, &Sight::Head(revision));
            assert_eq!((status.head.as_deref(), status.unavailable.is_some()), (Some("a"), false));
            assert_eq!(status.verdict().reason, if kept { "Refused" } else { "Loading" });
        }
    }

    #[test]
    fn the_last_outcomes_are_few_and_the_same_again_is_one() {
        let mut status = Status::default();
        let mut remember = |revision: &str, outcome: &Outcome| {
            status.remember(Recent {
                revision: revision.into(),
                summary: String::new(),
                at_unix_ms: 1,
                outcome: outcome.as_str().into(),
                count: 0,
                times: 1,
            });
        };
        let postponed = Outcome::Postponed { reason: "disk".into() };
        for (revision, outcome) in [
            ("a", &Outcome::Applied),
            ("b", &postponed),
            ("b", &postponed),
            ("c", &Outcome::Overtaken),
            ("d", &Outcome::Overtaken),
            ("e", &Outcome::Applied),
        ] {
            remember(revision, outcome);
        }
        let rows = |status: &Status| {
            let rows = status.recent.iter().map(|row| format!("{} {} {}", row.revision, row.outcome, row.times));
            rows.collect::<Vec<_>>()
        };
        assert_eq!(rows(&status), ["a applied 1", "b postponed 2", "d overtaken 2", "e applied 1"]);
        for n in 0..50 {
            status.remember(Recent {
                revision: n.to_string(),
                summary: String::new(),
                at_unix_ms: 1,
                outcome: "applied".into(),
                count: 0,
                times: 1,
            });
        }
        assert_eq!(status.recent.len(), RECENT);
    }
}
