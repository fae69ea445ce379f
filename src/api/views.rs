//! What administrators are told: the shapes of `/v1/…` answers, shared by the server and the command line.

mod logs;

pub use super::agent::{DiskTicketRequest, Heartbeat};
pub use super::followed::SourceRow;
pub use super::push::{PushStatus, RejectedPush};
/// `GET /v1/boxes`: boxes that are no machines.
pub use crate::fleet::BoxRow;
use crate::journal::{Pin, Record, RunStatus, Word};
pub use crate::reconcile::{ConditionRow, HistoryRow, Recent};
use crate::wire::JobOutcome;
pub use logs::{LogsStatus, UploadsStatus};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A list, with the revision it was made on.
#[derive(Debug, Clone, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct List<T> {
    /// The applied revision, where one is.
    pub revision: Option<String>,
    /// Why the source is not followed now, where a person said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// The items, by name.
    pub items: Vec<T>,
}

/// In a word, where a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Declared, never heard of.
    Expected,
    /// An environment was served; no check-in yet.
    Booting,
    /// A job runs.
    Working,
    /// In a run, between jobs or waiting for something.
    Waiting,
    /// A task failed; a fix or a person is needed.
    Failed,
    /// Held at boot, in quarantine, to be adopted, or before a destructive stage that it may not enter.
    Held,
    /// It should have said something long ago: a reboot, a boot or an agent that never came back.
    Overdue,
    /// Its run is done (or it has no workflow).
    Ready,
    /// Its run was cancelled, and no other began.
    Cancelled,
    /// Gone from Git.
    Left,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Expected,
        Self::Booting,
        Self::Working,
        Self::Waiting,
        Self::Failed,
        Self::Held,
        Self::Overdue,
        Self::Ready,
        Self::Cancelled,
        Self::Left,
    ];
}

/// `GET /v1/machines`: one line a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineSummary {
    /// Its name.
    pub name: String,
    /// What its box is called until its next word, where it is declared under another name now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<String>,
    /// `git`, `enrollment RULE` or `left`.
    pub source: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Where it is, in a word.
    pub phase: Phase,
    /// What it waits for or does, in a sentence.
    pub waits_for: String,
    /// The workflow of its last run, else the declared one.
    pub workflow: Option<String>,
    /// The number of its last run.
    pub run: Option<u64>,
    /// How that run stands.
    pub run_status: Option<RunStatus>,
    /// The revision that the run is pinned to.
    pub run_revision: Option<String>,
    /// Boots in that run.
    pub boots: u32,
    /// The environment that runs (by its last check-in), or is being booted.
    pub environment: Option<String>,
    /// The stage it is in, with its place from 1 and the count.
    pub stage: Option<Place>,
    /// The task it is at, with its place in the stage from 1 and the count.
    pub task: Option<Place>,
    /// Its address.
    pub address: Option<String>,
    /// Its MAC addresses.
    pub macs: Vec<String>,
    /// `bios` or `uefi`, where known.
    pub firmware: Option<String>,
    /// When the machine itself last said anything, Unix milliseconds.
    pub last_seen_unix_ms: Option<i64>,
    /// Since when it is in this phase, at this task, Unix milliseconds.
    pub since_unix_ms: Option<i64>,
    /// Clusters it is a member of.
    pub clusters: Vec<String>,
    /// The store came back from a backup, and nobody has said yet how the machine stands (`formwork adopt`).
    #[serde(default)]
    pub restored: bool,
}

impl MachineSummary {
    /// By either of its names.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.former.as_deref() == Some(name)
    }
}

/// `GET /v1/clusters`: one line a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRow {
    /// Its name.
    pub name: String,
    /// How many members it should have.
    pub size: u32,
    /// Its members on the applied revision, by name.
    pub members: Vec<String>,
}

/// A place in an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    /// The name.
    pub name: String,
    /// From 1.
    pub index: u32,
    /// Of how many.
    pub of: u32,
}

/// `GET /v1/machines/{name}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineDetail {
    /// The line of the list.
    #[serde(flatten)]
    pub summary: MachineSummary,
    /// Where it is declared, `file:line`.
    pub declared_at: Option<String>,
    /// Profiles in order.
    pub profiles: Vec<String>,
    /// `spec.run`, `spec.protect`, `spec.wipe` on the applied revision.
    pub spec_run: Option<u64>,
    /// Destructive stages are refused.
    pub protect: bool,
    /// Foreign disks may be wiped.
    pub wipe: bool,
    /// Jobs of the last run, in order of the workflow.
    pub jobs: Vec<JobRow>,
    /// Facts.
    pub facts: serde_json::Map<String, serde_json::Value>,
    /// The last boot: kernel, firmware, agent version.
    pub kernel: Option<String>,
    /// The agent's version.
    pub agent_version: Option<String>,
}

/// One task of a run and its last job.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobRow {
    /// The last job's id; absent where none was granted yet.
    pub job: Option<String>,
    /// The stage.
    pub stage: String,
    /// The task.
    pub task: String,
    /// Jobs granted for it in this run.
    pub attempts: u32,
    /// `open`, `done`, `failed`, `timed-out`, `interrupted`, `skipped`, `to-do`.
    pub state: String,
    /// How the last job ended.
    pub outcome: Option<JobOutcome>,
    /// Its exit code or what went wrong.
    pub message: Option<String>,
    /// Of several servers, the one whose state directory has the last job's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_at: Option<String>,
}

/// `GET /v1/events?after=N&limit=M&wait=55s[&machine=NAME]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventPage {
    /// The events, in order; empty when the wait ended with none.
    pub items: Vec<Record>,
    /// Ask on with `after=` this.
    pub next: u64,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteStatus {
    /// The site's name.
    pub site: String,
    /// The server's version.
    pub version: String,
    /// The authority's fingerprint, to compare by eye.
    pub ca_fingerprint: String,
    /// Content, as the reconciler sees it.
    pub content: ContentStatus,
    /// Count of machines by phase.
    pub machines: BTreeMap<String, u32>,
    /// Count of machines by how they stand to Git: `in-step`, `behind`, `unknown`, `never-seen`, `left`.
    #[serde(default)]
    pub drift: BTreeMap<String, u32>,
    /// Machines without a journal are held until adopted.
    pub holds_unknown: bool,
    /// Where all of it is kept.
    #[serde(default)]
    pub store: StoreStatus,
    /// What jobs print: whether it can be written down.
    #[serde(default)]
    pub logs: LogsStatus,
    /// Why boxes that a rule would take in have to wait, in a sentence; empty where none does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub enrollment: String,
    /// Keys and tokens of the server that are open to others on its host, in sentences.
    #[serde(default)]
    pub open_to_others: Vec<String>,
    /// Boot files that are not there or not what content declares, in sentences; they are not served.
    #[serde(default)]
    pub files: Vec<String>,
    /// Where is pushed to, and pushes that were judged and not taken; none where nobody pushes to what is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pushes: Option<PushStatus>,
    /// Files that the server was started with and that were changed since it read them.
    #[serde(default)]
    pub changed_files: Vec<ChangedFile>,
    /// The sources that are followed, the main one first. One on the server's own disk alone is named `site`; there is none before a
    /// cluster has said what is followed.
    #[serde(default)]
    pub sources: Vec<SourceRow>,
}

/// A file that the server was started with, and that is another one now than what is in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangedFile {
    /// Its path.
    pub path: String,
    /// Since when it is as it is, Unix milliseconds; none: it cannot be read any more.
    pub since_unix_ms: Option<i64>,
    /// What makes it take effect: `restart` of the server, the `next-fetch` of its source, or, of a policy of who may sign
    /// and of identities, that it is `mended`; `soon`: nothing, it is taken in once nobody writes it.
    pub takes_effect: String,
    /// In a sentence.
    pub message: String,
}

/// `POST /v1/store/snapshots`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotMade {
    /// The file's name, in `snapshots/` of the server's state directory: a copy never leaves the server over the network.
    pub file: String,
}

/// How the store stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoreStatus {
    /// `Ready`; `Full`: it is only read until there is room; or `Unreachable`: only what is known here is read until it answers.
    pub condition: String,
    /// Why, in a sentence; empty where all is well. Of one that is `Ready`: that little room is left.
    pub message: String,
    /// What it takes on the disk, bytes.
    pub bytes: u64,
}

/// How content stands.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContentStatus {
    /// Where it comes from, for people; never with credentials.
    pub source: String,
    /// The newest revision that the source showed.
    #[serde(default)]
    pub last_seen_revision: Option<String>,
    /// The revision last tried.
    pub last_attempted_revision: Option<String>,
    /// The revision that serves.
    pub last_applied_revision: Option<String>,
    /// Who signed it and what led to it, its own signer first; empty where signatures are not asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signed_by: Vec<String>,
    /// The revision that is worked on now.
    #[serde(default)]
    pub loading_revision: Option<String>,
    /// Since when, Unix milliseconds.
    #[serde(default)]
    pub loading_since_unix_ms: Option<i64>,
    /// `Ready`, `Reconciling` or `Stalled`.
    pub condition: String,
    /// Why, in a word that stays the same: `Applied`, `Looking`, `Loading`, `Postponed`, `Refused`, `SourceUnavailable`,
    /// `InvalidSpec`, `Suspended`, `Pinned`, `PinRefused`; of several sources, where one of them is behind, also `SourceRefused`, `SourceUntrusted`,
    /// `SourceRewritten`.
    #[serde(default)]
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// What came of the last attempt: `applied`, `waiting`, `refused` or `postponed`.
    #[serde(default)]
    pub outcome: Option<String>,
    /// Findings of the last attempt, as shown to people: `file:line:column: error: …`.
    pub findings: Vec<String>,
    /// When that was, Unix milliseconds.
    pub at_unix_ms: i64,
    /// `Ready`, `Reconciling` and `Stalled`, of which one is `True`, with reason, message and since when.
    #[serde(default)]
    pub conditions: Vec<ConditionRow>,
    /// Who said that nothing new is applied, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<Word>,
    /// The revision that somebody went back to, and since when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<Pin>,
    /// The last few outcomes, the newest last.
    #[serde(default)]
    pub recent: Vec<Recent>,
    /// Rises whenever what is wanted changes: the source shows another revision, or a person says a word about following it.
    #[serde(default)]
    pub generation: u64,
    /// Which of these was acted on.
    #[serde(default)]
    pub observed_generation: u64,
    /// The last request for a look that was acted on: every request up to this number was.
    #[serde(default)]
    pub observed_request: u64,
    /// When the source is looked at next without being asked, Unix milliseconds.
    #[serde(default)]
    pub next_look_unix_ms: Option<i64>,
    /// When a postponed revision is tried again, Unix milliseconds.
    #[serde(default)]
    pub retry_unix_ms: Option<i64>,
}

/// `POST /v1/suspend` and `POST /v1/sources/{name}/accept`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HoldBody {
    /// Why, for the journal; may be empty.
    pub reason: String,
}

/// `POST /v1/resume` and `POST /v1/reconcile`: what the revision that the source shows may do beyond the guards, in the words of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AllowBody {
    /// Why, for the journal; may be empty.
    pub reason: String,
    /// Machines that may be wiped by it beyond `spec.wipeGuard`: names by commas, or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_wipe: Option<String>,
    /// Machines that may leave by it beyond `spec.leaveGuard`: how many, names by commas, or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_leave: Option<String>,
    /// It may go from many objects to none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
    /// The site is called this from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_site_rename: Option<String>,
    /// The revision that this is said of, or how it begins (at least four characters): where another one waits by now, nothing is
    /// allowed. Required where `all` is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}

impl AllowBody {
    /// Whether it says anything: an older server takes no body at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// `POST /v1/rollback`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RollbackBody {
    /// The revision to go back to, or how it begins; the one before the one that serves where not given. Required where `all` is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Why, for the journal.
    pub reason: String,
    /// Machines that may be wiped by it beyond `spec.wipeGuard`: names by commas, or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_wipe: Option<String>,
    /// Machines that may leave by it beyond `spec.leaveGuard`: how many, names by commas, or `all`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow_leave: Option<String>,
    /// It may go from many objects to none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_empty: bool,
}

/// `POST /v1/reconcile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReconcileAnswer {
    /// In a sentence.
    pub message: String,
    /// It was acted on once `content.observedRequest` of the status is this number or higher: every source was looked at after it,
    /// and what they show was applied or refused.
    pub token: u64,
    /// The sources that are asked; each was looked at once its `observedRequest` is the number or higher.
    #[serde(default)]
    pub sources: Vec<String>,
}

/// `POST /v1/machines/{name}/{retry|skip|cancel|approve|adopt|forget|reboot}`, all fields optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AskBody {
    /// Why, for the journal (required for `skip` and `cancel`, and for `forget` while a rule would take the machine in again, or its box is
    /// declared under another name).
    pub reason: String,
    /// `adopt`: it is a new machine, let its workflow start.
    pub new: bool,
}

/// `POST /v1/adopt`. Refused unless `new` is true: machines that may be installed already can start their workflow after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct AdoptBody {
    /// Why, for the journal; may be empty.
    pub reason: String,
    /// `true`, and nothing else: machines without a journal are new, now and from now on.
    pub new: bool,
}

/// The answer to an ask: what the machine does now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AskAnswer {
    /// In a sentence.
    pub message: String,
}

/// The file by which a person's command line finds and trusts the server (`administrator.json`, 0600).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Context {
    /// Base URL, `https://HOST:PORT`.
    pub server: String,
    /// The site's certificate authority, PEM.
    pub ca_certificate: String,
    /// The administrator's token. Secret.
    pub token: String,
}
