//! `kind: ClusterProfile`: the declaration of the one document that machines share at run time.

use serde::{Deserialize, Serialize};

/// How sure the server must be of who a machine is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Assurance {
    /// MAC only (a lab).
    A0,
    /// A ticket bound to boot, address and relay.
    #[default]
    A1,
    /// An administrator approves the first exchange.
    A2,
    /// TPM 2.0 credential activation.
    A3,
}

/// Who may write a key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Writers {
    /// Every member.
    #[default]
    Any,
    /// The member whose name is the key's last segment.
    #[serde(rename = "self")]
    Own,
    /// Who holds this claim (or held it when it was done).
    HolderOf(String),
}

/// A key that is declared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct KeySpec {
    /// Its name; a trailing `/*` declares all keys below.
    pub name: String,
    /// JSON Schema of its value.
    #[serde(default)]
    pub schema: Option<serde_json::Value>,
    /// Who may write it.
    #[serde(default)]
    pub writers: Writers,
    /// The first write stands.
    #[serde(default)]
    pub immutable: bool,
    /// Sealed at rest, shown to members only.
    #[serde(default)]
    pub secret: bool,
    /// Jobs of members get it as a param of that name.
    #[serde(default)]
    pub param: bool,
}

/// A cluster profile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterProfileSpec {
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Barriers for `all` never open below it.
    pub size: u32,
    /// Raise it to build the whole cluster anew: the epoch rises.
    #[serde(default = "super::machine::one")]
    pub run: u64,
    /// Keys that are declared; others may be written by any member.
    #[serde(default)]
    pub keys: Vec<KeySpec>,
    /// Params that members get, as from a profile.
    #[serde(default)]
    pub params: super::Params,
    /// What a member must have proved.
    #[serde(default)]
    pub assurance: Assurance,
}
