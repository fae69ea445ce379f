//! What is reported about a machine: `POST /v1/agent/facts`.

use serde::{Deserialize, Serialize};

/// A change of facts: each key replaces the fact of that name; `null` removes it. At most 256 KiB. What changes
/// nothing is free; of changes 60 and 4 MiB are taken at once, then 10 and 64 KiB a minute, and the answer is else 429 with `Retry-After`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct FactsReport {
    /// Fact name (`cpu`, `memory`, `disks`, `nics`, `firmware`, `services`, …) to any JSON.
    pub facts: serde_json::Map<String, serde_json::Value>,
}

/// What the agent found on a disk before anything destructive; the words of the journal and of `formwork agent disk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum DiskState {
    /// No partition table and no filesystem signature, and no marker.
    Blank,
    /// A Formwork marker in its place before the backup GPT.
    Marked {
        /// The site that wrote it.
        site: String,
        /// The machine it was written for.
        machine: String,
        /// The run it was written in.
        run: u64,
        /// When that run began, Unix milliseconds; `None`: the marker does not say.
        #[serde(default, skip_serializing_if = "Option::is_none", rename = "begunUnixMs")]
        begun_unix_ms: Option<i64>,
    },
    /// Something is on it and there is no marker that can be read.
    Unknown {
        /// What was found: `gpt`, `mbr`, `ext4`, …
        found: Vec<String>,
    },
}
