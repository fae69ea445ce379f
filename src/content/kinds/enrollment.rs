//! `kind: Enrollment`: a rule that takes in unknown machines.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which unknown machines a rule takes in. All given conditions must hold; at least one must be given.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct EnrollmentMatch {
    /// The subnet it was seen on.
    pub subnet: Option<String>,
    /// Beginnings of its MAC address, such as `52:54:00`.
    pub mac_prefixes: Vec<String>,
    /// Its architectures.
    pub architectures: Vec<super::Architecture>,
}

/// What a matching machine becomes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnrollmentSpec {
    /// Which machines.
    #[serde(rename = "match")]
    pub selectors: EnrollmentMatch,
    /// A template for its name, over `mac`, `uuid`, `serial`, `architecture`, `subnet`.
    pub name: String,
    /// Labels it gets.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Profiles in order.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Params of its own.
    #[serde(default)]
    pub params: std::sync::Arc<super::Params>,
    /// The workflow it walks.
    #[serde(default)]
    pub workflow: Option<String>,
    /// Raise it to make all machines of this rule walk again.
    #[serde(default = "super::machine::one")]
    pub run: u64,
    /// Refuses destructive stages while true.
    #[serde(default)]
    pub protect: bool,
    /// Lets destructive stages wipe disks that are not blank and not ours.
    #[serde(default)]
    pub may_wipe: bool,
    /// Rules are tried from the highest priority down, then by name.
    #[serde(default)]
    pub priority: i32,
}
