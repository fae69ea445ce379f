//! `kind: Stage`: a boot environment and ordered tasks.

use serde::{Deserialize, Serialize};

/// What follows when a task of the stage has failed for good.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// The run waits for a fix or a person.
    #[default]
    Stop,
    /// The next task.
    Continue,
    /// On with that stage (of the same workflow, later than this one).
    GoTo(String),
}

/// A stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct StageSpec {
    /// For people.
    pub description: String,
    /// The environment its tasks run in; none: whichever runs.
    pub boot_env: Option<String>,
    /// Tasks in order.
    pub tasks: Vec<String>,
    /// Profiles of the stage.
    pub profiles: Vec<String>,
    /// Params of the stage.
    pub params: super::Params,
    /// It changes disks: refused under `protect`, marked on the disk.
    pub destructive: bool,
    /// What follows a failure.
    pub on_failure: OnFailure,
    /// Always a new boot before this stage, though the environment stays the same.
    pub fresh_boot: bool,
}
