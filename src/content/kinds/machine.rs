//! `kind: Machine`: a box, what it carries, and which workflow it walks.

use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// How a box is recognised. Any of them matches; none of them proves anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Selectors {
    /// MAC addresses, any case; colons or dashes.
    pub macs: Vec<String>,
    /// SMBIOS system UUID.
    pub uuid: Option<String>,
    /// SMBIOS system serial number.
    pub serial: Option<String>,
}

/// A machine that people declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MachineSpec {
    /// Which box it is.
    #[serde(rename = "match")]
    pub selectors: Selectors,
    /// A reserved address; it must lie in a subnet, and not in a pool of another machine.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Profiles in order; a cluster profile among them makes the machine a member.
    #[serde(default)]
    pub profiles: Vec<String>,
    /// Params of its own: first in precedence.
    #[serde(default)]
    pub params: std::sync::Arc<super::Params>,
    /// The workflow it walks; none: it boots its own disk.
    #[serde(default)]
    pub workflow: Option<String>,
    /// Raise it to walk the workflow again. A lower or equal number starts nothing.
    #[serde(default = "one")]
    pub run: u64,
    /// Refuses destructive stages while true.
    #[serde(default)]
    pub protect: bool,
    /// Lets a destructive stage wipe a disk that is not blank and does not carry this machine's marker.
    #[serde(default)]
    pub wipe: bool,
}

pub(super) fn one() -> u64 {
    1
}
