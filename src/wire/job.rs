//! A job: one task of a run, one attempt. `POST /v1/agent/next`, `PUT /v1/agent/jobs/{job}/log?offset=N`,
//! `POST /v1/agent/jobs/{job}/end`.

use super::exchange::ClusterToken;
use serde::{Deserialize, Serialize};

/// `POST /v1/agent/next`: what shall I do? Held for up to `wait_seconds` (60 at most) while there is nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct NextRequest {
    /// This start of the kernel (must have checked in).
    pub boot_id: String,
    /// The job this agent still works on, if it does: then the answer is that job again or the word to stop it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<String>,
    /// How long the server may hold the answer, seconds.
    #[serde(default)]
    pub wait_seconds: u64,
}

/// What the agent does now.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", tag = "action")]
pub enum NextAnswer {
    /// Do this job. Asking again in the same boot gives the same job, byte for byte.
    Job(Box<JobGrant>),
    /// Nothing to do now; the reason is shown wherever the machine is shown. Ask again after so many seconds.
    #[serde(rename_all = "camelCase")]
    Wait {
        /// Why.
        reason: String,
        /// Seconds until asking again makes sense.
        ask_again_seconds: u64,
    },
    /// The job this agent said it is running is no longer wanted: end its processes, report it ended.
    #[serde(rename_all = "camelCase")]
    Abandon {
        /// The job.
        job: String,
        /// Why.
        reason: String,
    },
    /// Boot anew; what comes next is for another environment.
    Reboot {
        /// Why.
        reason: String,
    },
    /// Switch the machine off.
    PowerOff {
        /// Why.
        reason: String,
    },
}

/// Everything an agent needs to do one job; scripts come as text, never with params spliced in.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct JobGrant {
    /// The job's id, unique in the site.
    pub job: String,
    /// The run it belongs to.
    pub run: u64,
    /// The stage's qualified name.
    pub stage: String,
    /// The task's qualified name.
    pub task: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// The whole job ends after so many seconds, with all its processes.
    pub timeout_seconds: u64,
    /// What exit codes mean.
    pub exit_codes: ExitCodes,
    /// The machine, as scripts see it in `FORMWORK_PARAMS`.
    pub machine: MachineInfo,
    /// Resolved params; a script gets each as `FORMWORK_PARAM_NAME` (upper case, `-` and `.` as `_`; scalars as they are,
    /// the rest as JSON) and all in the file `FORMWORK_PARAMS`.
    pub params: serde_json::Map<String, serde_json::Value>,
    /// The facts as they stood at the grant.
    pub facts: serde_json::Map<String, serde_json::Value>,
    /// Steps, in order. Steps whose `if:` was false are not among them.
    pub steps: Vec<Step>,
    /// Fresh tokens for the clusters the machine is a member of.
    #[serde(default)]
    pub clusters: Vec<ClusterToken>,
    /// Leave to change disks, where the stage is destructive and nothing forbids it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destructive: Option<DestructiveGrant>,
}

/// What a destructive job may do to disks (`formwork agent disk claim` decides with this).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct DestructiveGrant {
    /// The site whose marker is ours.
    pub site: String,
    /// The machine whose marker is ours.
    pub machine: String,
    /// This run: a marker of this machine with this run or a lower one may be wiped.
    pub run: u64,
    /// When this run began, Unix milliseconds by the server: of two walks under one number (a store restored from a backup,
    /// or made anew) only the one that wrote the marker goes on. `None`: the server does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_unix_ms: Option<i64>,
    /// `spec.wipe: true` (or an enrolment's `mayWipe`): a disk that is not blank and not ours may be wiped too.
    pub wipe: bool,
}

/// Which numbers a task's exit codes speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum ExitCodes {
    /// 0 done, anything else failed.
    #[default]
    Formwork,
    /// Digital Rebar's: 0 done, 16 stop, 32 power off, 64 reboot, 128 again, 144/160/192 again and stop/power off/reboot.
    DigitalRebar,
}

/// What happens to a task whose boot ended under it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum OnInterrupt {
    /// It is run again; each is an attempt with a cap of its own.
    #[default]
    Rerun,
    /// It has failed.
    Fail,
}

/// Who this machine is, for scripts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct MachineInfo {
    /// Its name.
    pub name: String,
    /// Its address on the boot network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Its MAC addresses.
    #[serde(default)]
    pub macs: Vec<String>,
    /// Its labels.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// The server's base URL for files of the image folder, `http://ADDRESS:PORT/files`.
    #[serde(default)]
    pub files: String,
}

/// One step of a task.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Its name, for logs.
    pub name: String,
    /// What it does.
    #[serde(flatten)]
    pub action: StepAction,
}

/// What a step does.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum StepAction {
    /// Run a script. Its first line (`#!`) says by what; without one, `/bin/sh`.
    Script {
        /// The script's text.
        text: String,
    },
    /// Write a file, atomically (temporary file, fsync, rename).
    File {
        /// Absolute path.
        to: String,
        /// The bytes, as text.
        content: String,
        /// Octal mode such as `0644`.
        mode: String,
    },
}

/// How a job ended. `POST /v1/agent/jobs/{job}/end`; repeating it is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct JobEnd {
    /// The boot it ended in.
    pub boot_id: String,
    /// Outcome.
    pub outcome: JobOutcome,
    /// The last script's exit code, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The step that failed, or a word on what went wrong; no secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What the task asked for by name.
    #[serde(default)]
    pub requests: Vec<JobRequest>,
    /// How many bytes of log belong to this job: the server has all of it when its own count is the same.
    pub log_bytes: u64,
}

/// The outcomes of a job as the agent sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum JobOutcome {
    /// Done.
    Done,
    /// Failed.
    Failed,
    /// Ended by its timeout.
    TimedOut,
    /// The agent was started anew in the same boot and found it half done.
    Interrupted,
    /// The server said to abandon it.
    Abandoned,
}

/// `formwork agent request WHAT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum JobRequest {
    /// Reboot after this task, then go on with the next.
    Reboot,
    /// Stop the run here until a person asks it to go on.
    Stop,
    /// Switch off after this task.
    Poweroff,
    /// Run this task again (bounded).
    Again,
}
