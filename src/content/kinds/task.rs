//! `kind: Task`: steps with declared params, timeout and retries.

use crate::wire::{ExitCodes, OnInterrupt};
use serde::{Deserialize, Serialize};

/// A param that a task uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskParam {
    /// The param's name.
    pub name: String,
    /// Without a value the task cannot be granted.
    #[serde(default)]
    pub required: bool,
}

/// How often and how soon a failed task is tried again by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Retries {
    /// Tries after the first.
    pub limit: u32,
    /// The pause before the first retry; it doubles with each, to ten minutes at most.
    #[serde(default)]
    pub backoff: Option<super::Span>,
}

/// One step: exactly one of `script`, `scriptFile`, `template`, `file`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StepSpec {
    /// Its name, for logs.
    pub name: String,
    /// A minijinja expression over `params`, `facts`, `machine`; false leaves the step out.
    #[serde(rename = "if")]
    pub condition: Option<String>,
    /// A script in place. Never templated.
    pub script: Option<String>,
    /// A script in a file, relative to this file and inside the pack. Never templated.
    pub script_file: Option<String>,
    /// A Template to render, to `to`.
    pub template: Option<String>,
    /// A file to copy as it is, relative to this file and inside the pack, to `to`.
    pub file: Option<String>,
    /// Absolute path of the file to write.
    pub to: Option<String>,
    /// Octal mode, `0644` where not given.
    pub mode: Option<String>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskSpec {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Params it uses. Scripts get these and no others.
    #[serde(default)]
    pub params: Vec<TaskParam>,
    /// The whole task ends after it, 1s at least; 1h where not given.
    #[serde(default)]
    pub timeout: Option<super::Span>,
    /// Retries; none where not given.
    #[serde(default)]
    pub retries: Option<Retries>,
    /// What happens when the boot ends under it.
    #[serde(default)]
    pub on_interrupt: OnInterrupt,
    /// What exit codes mean.
    #[serde(default)]
    pub exit_codes: ExitCodes,
    /// What it does, in order.
    pub steps: Vec<StepSpec>,
}
