//! `kind: Profile`: a named set of params.

use serde::{Deserialize, Serialize};

/// A profile.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ProfileSpec {
    /// What it is for.
    pub description: String,
    /// Its params.
    pub params: super::Params,
}
