//! What a hook asks and what it is answered: one JSON document each.

use super::Shown;
use crate::git::receive::{Refusal, Update};
use crate::inspect::change::Change;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Which hook asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hook {
    /// Before anything moves.
    PreReceive,
    /// After it moved.
    PostReceive,
}

/// A hook's question. It holds a capability, so it is never shown.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Question {
    /// Which hook.
    pub hook: Hook,
    /// The repository it runs in.
    pub repository: PathBuf,
    /// Where what was pushed is kept until it is taken.
    pub quarantine: Option<PathBuf>,
    /// Which push over HTTPS it belongs to.
    pub capability: Option<String>,
    /// The name of the system's user who runs it.
    pub user: Option<String>,
    /// What moves.
    pub updates: Vec<Update>,
    /// What was said with `-o`.
    pub options: Vec<String>,
}

/// The server's answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// What the push would do, and whether it may.
    Judged(Box<Verdict>),
    /// What became of it.
    Applied(Applied),
    /// It could not be judged, and is refused.
    Unable {
        /// Why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
}

impl Answer {
    /// It could not be judged.
    pub fn unable(message: impl Into<String>, hint: Option<&str>) -> Self {
        Self::Unable { message: message.into(), hint: hint.map(str::to_owned) }
    }
}

/// What a push would do, and whether it may.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Verdict {
    /// The site.
    pub site: String,
    /// The branch that is followed.
    pub branch: String,
    /// Whether the push moves it.
    pub followed: bool,
    /// What the branch points to now.
    pub old: Option<String>,
    /// What it is to point to.
    pub new: Option<String>,
    /// The first line of that commit's message.
    pub summary: String,
    /// Who signed what it brings; nobody where signatures are not asked for.
    pub signed_by: Vec<String>,
    /// Who pushes.
    pub by: String,
    /// Nothing is to be changed.
    pub dry_run: bool,
    /// Whether it is taken (or would be).
    pub accepted: bool,
    /// Why not, apart from its content.
    pub refusals: Vec<Refusal>,
    /// What is wrong with its content.
    pub findings: Vec<Shown>,
    /// Findings that are not among them.
    pub left_out: usize,
    /// What it does to objects and machines; none where its content is not good.
    pub change: Option<Change>,
    /// Machines that it declares.
    pub machines: usize,
    /// Other branches and tags.
    pub others: Vec<Other>,
}

/// A branch or tag that is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Other {
    /// Its name.
    pub name: String,
    /// What happens to it, in a word or two.
    pub what: String,
    /// What is wrong with its content.
    pub findings: Vec<Shown>,
    /// Findings that are not among them.
    pub left_out: usize,
}

/// What became of a push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Applied {
    /// The revision that was pushed; none: the followed branch did not move.
    pub revision: Option<String>,
    /// It serves.
    pub serves: bool,
    /// Since so long after the branch moved, milliseconds.
    pub after_ms: u64,
    /// How many machines it declares.
    pub machines: usize,
    /// How content stands, in a sentence.
    pub message: String,
}
