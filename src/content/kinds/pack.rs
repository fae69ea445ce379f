//! `kind: Pack`: a directory of content (`pack.yaml`); its `metadata.name` qualifies the names inside.

use serde::{Deserialize, Serialize};

/// A pack.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PackSpec {
    /// For people.
    pub description: String,
    /// Its version, for people.
    pub version: String,
    /// Packs whose objects it refers to.
    pub requires: Vec<String>,
    /// Params that every task of the pack gets where nothing stronger gives them.
    pub params: super::Params,
}
