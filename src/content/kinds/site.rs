//! `kind: Site`: the root of a repository (`site.yaml`).

use serde::{Deserialize, Serialize};

/// Where a pack comes from: exactly one of `builtin` and `path`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PackSource {
    /// A pack that comes with the binary.
    pub builtin: Option<String>,
    /// A directory of the repository.
    pub path: Option<String>,
}

/// A site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct SiteSpec {
    /// Packs in use.
    pub packs: Vec<PackSource>,
    /// Profiles that every machine has, last in precedence.
    pub global: Vec<String>,
}
