//! How content stands: what was seen, what was attempted, what is applied. Never one in place of another.

use crate::git::{Revision, Sight};
use serde::Serialize;

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It serves.
    Applied,
    /// It has faults; trying it again cannot help.
    Refused,
    /// It could not be read or recorded; it is tried again by itself.
    Postponed {
        /// Why.
        reason: String,
    },
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

/// The one word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Condition {
    /// What the source shows is what serves.
    Ready,
    /// On the way.
    Reconciling,
    /// It does not go on by itself: the revision is refused, or the source cannot be read.
    Stalled,
}

impl Condition {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
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
    /// The last attempt.
    pub attempted: Option<Attempt>,
    /// The revision that serves.
    pub applied: Option<AppliedRevision>,
}

impl Status {
    /// Takes in a sight.
    pub(super) fn see(&mut self, sight: &Sight) {
        match sight {
            Sight::Nothing => {}
            Sight::Head(Revision { id, .. }) => {
                self.head = Some(id.clone());
                self.unavailable = None;
            }
            Sight::Unavailable(error) => self.unavailable = Some(error.to_string()),
        }
    }

    /// The word, and why in a sentence.
    pub fn condition(&self) -> (Condition, String) {
        let serving = match &self.applied {
            Some(applied) => format!("revision {} serves", short(&applied.revision)),
            None => "no revision serves".to_owned(),
        };
        if let Some(why) = &self.unavailable {
            return (Condition::Stalled, format!("{why}; {serving}"));
        }
        let Some(head) = &self.head else {
            return (Condition::Reconciling, format!("the source is being looked at; {serving}"));
        };
        match &self.attempted {
            Some(last) if last.revision == *head => match &last.outcome {
                Outcome::Applied => (Condition::Ready, serving),
                Outcome::Refused => {
                    let findings = if last.count == 1 { "finding" } else { "findings" };
                    let refused = format!("revision {} is refused with {} {findings}", short(head), last.count);
                    (Condition::Stalled, format!("{refused}; {serving}"))
                }
                Outcome::Postponed { reason } => {
                    let again = format!("revision {} is tried again: {reason}", short(head));
                    (Condition::Reconciling, format!("{again}; {serving}"))
                }
            },
            _ => (Condition::Reconciling, format!("revision {} is being loaded; {serving}", short(head))),
        }
    }
}

fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}
