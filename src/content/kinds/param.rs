//! `kind: Param`: what a param may be.

use serde::{Deserialize, Serialize};

/// A param's declaration.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ParamSpec {
    /// For people.
    pub description: String,
    /// JSON Schema of its value.
    pub schema: Option<serde_json::Value>,
    /// Its value where nobody gives one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<serde_json::Value>,
    /// Its value is never shown.
    pub secret: bool,
}
