//! `kind: Template`: a minijinja template for a file.

use serde::{Deserialize, Serialize};

/// A template: exactly one of `file` and `text`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TemplateSpec {
    /// For people.
    pub description: String,
    /// Its text in a file, relative to this file and inside the pack.
    pub file: Option<String>,
    /// Its text in place.
    pub text: Option<String>,
}
