//! `kind: Workflow`: ordered stages.

use serde::{Deserialize, Serialize};

/// A workflow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkflowSpec {
    /// For people.
    #[serde(default)]
    pub description: String,
    /// Stages in order.
    pub stages: Vec<String>,
}
