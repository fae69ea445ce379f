//! What scripts say to their agent over its socket: one JSON line asks, one JSON line answers.

use serde::{Deserialize, Serialize};

/// A question of `formwork agent …`. The job's capability comes from `FORMWORK_CAPABILITY` in the script's environment.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketRequest {
    /// The capability that the job was given. Secret.
    pub capability: String,
    /// The command line after `formwork agent`.
    pub arguments: Vec<String>,
    /// Standard input, for commands that take one (at most 512 KiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
}

/// The agent's answer; the client prints and exits with it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SocketAnswer {
    /// Goes to standard output.
    #[serde(default)]
    pub output: String,
    /// Goes to standard error.
    #[serde(default)]
    pub error: String,
    /// The exit code.
    pub exit_code: i32,
}
