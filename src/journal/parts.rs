//! What events hold that is a thing of its own.

use serde::{Deserialize, Serialize};

/// What a person may ask of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "ask")]
pub enum Ask {
    /// Try the failed task again now; lets a held or diverged machine go on (a diverged run pinned to `current`).
    Retry,
    /// Trust the quarantined identity's next exchange.
    Approve,
    /// A restart of the machine, at the next word with its agent.
    Reboot,
}

/// A commit of a source that was refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RefusedCommit {
    /// The source.
    pub source: String,
    /// The commit.
    pub revision: String,
    /// Its subject line.
    pub summary: String,
    /// The findings as shown to people, the first twenty.
    pub findings: Vec<String>,
    /// How many there are in all.
    pub count: usize,
}
