//! What a plan says: boots, stages, tasks, and what would stop them.

use serde::{Deserialize, Serialize};

/// What is to come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The machine.
    pub machine: String,
    /// What its box is called until its next word, where it is declared under another name now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<String>,
    /// The newest good revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The run that is open, or would begin at the next word; none: nothing is to be done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// It has not begun yet, for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins: Option<String>,
    /// Its workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The revision whose tasks it walks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_revision: Option<String>,
    /// Tasks of it that are done already.
    pub done: u32,
    /// Boots to come, in order; the first may be the one that runs.
    pub boots: Vec<PlannedBoot>,
    /// What would stop it, in the order it would be met.
    pub obstacles: Vec<Obstacle>,
    /// How it ends, in a sentence.
    pub ends: String,
}

/// A boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedBoot {
    /// The environment.
    pub environment: String,
    /// It runs already.
    pub running: bool,
    /// Why it boots.
    pub reason: String,
    /// Stages worked on in it.
    pub stages: Vec<PlannedStage>,
}

/// A stage in a boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedStage {
    /// The stage.
    pub name: String,
    /// It changes disks.
    pub destructive: bool,
    /// It may, as things stand; true where it changes none.
    pub granted: bool,
    /// Disks that are neither blank nor ours may be wiped in it.
    pub wipes_foreign_disks: bool,
    /// Its tasks that are still to be done in this boot.
    pub tasks: Vec<PlannedTask>,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlannedTask {
    /// The task.
    pub name: String,
    /// It ends after so many seconds at the latest; 0: nobody ends it (an installer).
    pub timeout_seconds: u64,
    /// Its scripts speak of a reboot: there may be more boots than are planned.
    pub may_reboot: bool,
    /// What cannot be said before: it hangs on facts or on what a cluster publishes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}

/// Something that would stop it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Obstacle {
    /// The stage it is met at; none: before all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// What it is, in a sentence.
    pub reason: String,
    /// What takes it away.
    pub remedy: String,
}
