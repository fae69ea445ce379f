//! How logs of jobs stand.

use serde::{Deserialize, Serialize};

/// How the logs of jobs stand. They are in files beside the store, and need more room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LogsStatus {
    /// `Ready`; `Full`: none can be written until there is room; or `Failing`: they cannot be written for another reason. Jobs then
    /// wait with what they print.
    pub condition: String,
    /// Why, in a sentence; empty where all is well.
    pub message: String,
    /// How those of jobs that ended go to the object store, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_store: Option<UploadsStatus>,
}

/// How logs go to the object store. While they do not, they wait in the state directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UploadsStatus {
    /// Where they go.
    pub place: String,
    /// How many wait.
    pub waiting: usize,
    /// Why none goes, where that has been so for a minute; empty where all is well.
    pub failure: String,
}
