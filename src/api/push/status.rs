//! What people are shown of pushes.

use serde::{Deserialize, Serialize};

/// Where people push to, and the pushes that were judged and not taken since the server's start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PushStatus {
    /// The URL to push to; none where that is a repository of your own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// How many were not taken.
    pub rejected: u64,
    /// The last few, the newest last.
    pub recent: Vec<RejectedPush>,
}

/// A push that was judged and not taken.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RejectedPush {
    /// Who pushed.
    pub by: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// The revision that the followed branch was to come to, where it was.
    pub revision: Option<String>,
    /// That one's subject line, as far as it could be read.
    pub summary: String,
    /// Why, in a line.
    pub reason: String,
    /// How many findings there were.
    pub count: usize,
}
