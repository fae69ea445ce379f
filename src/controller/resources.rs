//! What custom resources hold beside the content itself. Plain data; descriptions are what `kubectl explain` prints.

use crate::content::kinds::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The name of a Secret in the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretReference {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// Resources of the source's own namespace: all of the kinds of content that no mirror wrote. There is nothing to choose yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourcesSource {}

/// What is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ContentSourceSpec {
    /// The repository: `https://HOST/PATH`, `ssh://USER@HOST/PATH`, or a path that the server sees. Never with a
    /// password in it, nor with a user over HTTPS; those belong into the Secret of `secretRef`. Of `url` and `resources` one is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub url: Option<String>,
    /// In place of a repository: content is what is applied as resources in this namespace, `resources: {}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSource>,
    /// The branch to follow. Of `branch`, `tag`, `semver` and `commit` at most one; none: what the repository's HEAD names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The tag to follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// A range of versions, such as `>=1.2, <2`: the highest tag in it is followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub semver: Option<String>,
    /// One commit, by its full id, and nothing after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The site's folder inside the repository; none: its root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// How often the repository is looked at, `5s` to `1d`; none: each minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<Span>,
    /// The Secret with credentials. Over HTTPS: `password` (a token), and if need be `username` and `ca.crt`; over SSH:
    /// `identity` (a private key) and `known_hosts`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretReference>,
    /// Packs that a revision locks and does not hold are fetched, by their locked commits.
    #[serde(default)]
    pub fetch_packs: bool,
}

/// One aspect of how an object stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceCondition {
    /// `Ready`, `Reconciling` or `Stalled`: exactly one of them is true.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// Why, in a word that stays the same.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Since when its status is this, RFC 3339.
    pub last_transition_time: String,
    /// The generation that it was said of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

/// How content stands: what was seen, what was attempted, what is applied.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ContentSourceStatus {
    /// The generation whose settings are followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Ready, Reconciling and Stalled, as kstatus reads them.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<ResourceCondition>,
    /// The commit that the source shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_revision: Option<String>,
    /// The commit that was tried last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_attempted_revision: Option<String>,
    /// The commit that serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_applied_revision: Option<String>,
    /// What was found in the commit that was tried last, the first hundred: `file:line:column: error: …`.
    pub findings: Vec<String>,
    /// How many findings there are.
    pub findings_count: u64,
    /// How many machines the revision that serves declares.
    pub machines: u64,
}

/// How the document of a cluster stands. Values of keys are not in it: who may read objects is not who may read those.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ClusterProfileStatus {
    /// The generation that this was said of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Rises when the cluster is built anew.
    pub epoch: u64,
    /// Rises with each accepted write.
    pub version: u64,
    /// Why machines change nothing now; not there where they may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// The machines that are members on the applied revision, the first hundred.
    pub members: Vec<String>,
    /// Keys that are there, by name, the first hundred.
    pub keys: Vec<String>,
    /// How many keys there are.
    pub keys_count: u64,
    /// Claims, the first hundred: `held by NAME`, `done by NAME`, `vacant` or `failed`.
    pub claims: BTreeMap<String, String>,
    /// How many joined each set, of the first hundred.
    pub sets: BTreeMap<String, u64>,
    /// Of an object that nothing reads, that it is so: `Stalled`, with the reason `NotRead`; of one that is read since, until a
    /// revision has it, `Reconciling` with `Read`. Else there is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<ResourceCondition>,
}

/// Where a machine is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineStatus {
    /// The generation that this was said of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// In a word: `expected`, `booting`, `working`, `waiting`, `failed`, `held`, `overdue`, `ready`, `cancelled` or `left`; `unread`: the object was
    /// made by hand, and nothing reads it.
    pub phase: String,
    /// The boot environment that runs, or is being booted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// The workflow of its last run, else the declared one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// The number of its last run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<u64>,
    /// The stage it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// The task it is at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// What it waits for or does, in a sentence.
    pub waits_for: String,
    /// Its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// When the machine itself last said anything, RFC 3339, to ten minutes: each write goes to etcd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<String>,
    /// Who says that there is such a machine: `git`, `enrollment RULE` or `left`.
    pub source: String,
    /// The commit that its last run is pinned to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// Ready, Reconciling and Stalled, as kstatus reads them.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<ResourceCondition>,
}
