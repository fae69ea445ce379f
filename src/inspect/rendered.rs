//! What is asked of rendering, and what it gives.

use crate::boot::client::Firmware;
use crate::catalog::ServerInfo;
use crate::content::kinds::Architecture;
use crate::wire::Step;
use crate::workflow::JobError;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What is to be rendered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum What {
    /// The boot it would get now, and the job after it.
    #[default]
    Now,
    /// A stage: its environment and all its tasks.
    Stage(String),
    /// One task, wherever its workflow has it.
    Task(String),
    /// Every stage of its workflow.
    All,
}

/// What was asked for is not there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhatError {
    /// No revision, or the machine is not on it.
    #[error("{0} is not on the revision that serves")]
    NoMachine(String),
    /// It walks nothing.
    #[error("{0} has no workflow")]
    NoWorkflow(String),
    /// The workflow has no such stage or task.
    #[error("the machine's workflow has no {kind} {name}")]
    Unknown {
        /// `stage` or `task`.
        kind: &'static str,
        /// The name.
        name: String,
        /// The nearest name.
        hint: Option<String>,
    },
}

/// Where values of params come from.
#[derive(Clone, Copy)]
pub enum Values<'a> {
    /// Secrets are masked: their place is taken by `(secret NAME)` or `(hidden)`.
    Masked,
    /// Secrets are opened, as for the machine: by the name of the param and the value as it stands.
    Open(&'a dyn Fn(&str, &Value) -> Result<Value, JobError>),
}

/// How to render.
pub struct RenderQuestion<'a> {
    /// What.
    pub what: What,
    /// Secrets.
    pub values: Values<'a>,
    /// Where machines find the server.
    pub server: &'a ServerInfo,
    /// The firmware that asks; none: the one that asked last, else UEFI.
    pub firmware: Option<Firmware>,
    /// The architecture; none: the one that was seen last, else x86-64.
    pub architecture: Option<Architecture>,
}

/// What a machine would get.
#[derive(Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Rendered {
    /// The machine.
    pub machine: String,
    /// The revision it is made of: that of the open run, else the newest.
    pub revision: String,
    /// The run it belongs to: the open one, or the one that would begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// Secrets are in it.
    pub secrets_shown: bool,
    /// Boots, in order.
    pub boots: Vec<RenderedBoot>,
    /// Jobs, in order.
    pub jobs: Vec<RenderedJob>,
}

/// What its firmware would get.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenderedBoot {
    /// The environment; `local` boots the disk; none: it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// Why.
    pub reason: String,
    /// `bios` or `uefi`.
    pub firmware: String,
    /// The architecture.
    pub architecture: String,
    /// URL of the kernel; a path is of the server's plain HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel: Option<String>,
    /// URLs of the RAM disks, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initrds: Vec<String>,
    /// The kernel command line, without the names of RAM disks that the script adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<String>,
    /// The iPXE script; `OFFER` stands for the id that is made when it is served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// Files that the boot may ask for, such as an installer's answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<RenderedFile>,
    /// Why it cannot be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A file that a boot may ask for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenderedFile {
    /// The name that it is asked for by.
    pub name: String,
    /// Its text; `TOKEN` stands for what opens the boot's callback.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why it cannot be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What its agent would get.
#[derive(Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RenderedJob {
    /// The stage.
    pub stage: String,
    /// The task.
    pub task: String,
    /// The environment it runs in; none: whichever runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// The job ends after so many seconds.
    pub timeout_seconds: u64,
    /// Leave to change disks is in it.
    pub destructive: bool,
    /// Params that its scripts get.
    pub params: Map<String, Value>,
    /// Params whose values are masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub masked: Vec<String>,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Steps whose `if:` is false now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Why it cannot be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Rendered {
    /// What could not be made.
    pub fn errors(&self) -> usize {
        let files = self.boots.iter().flat_map(|boot| &boot.files);
        files.filter(|file| file.error.is_some()).count()
            + self.boots.iter().filter(|boot| boot.error.is_some()).count()
            + self.jobs.iter().filter(|job| job.error.is_some()).count()
    }
}
