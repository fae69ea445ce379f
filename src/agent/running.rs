//! What runs now, written down for an agent that is started after this one was killed.

use super::layout::{Layout, write_atomically};
use super::processes::ProcessRecord;
use crate::wire::JobEnd;
use serde::{Deserialize, Serialize};
use std::io;

/// The job that runs, or has ended and is not reported yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// The boot it runs in: in another boot this record means nothing.
    pub boot_id: String,
    /// The job.
    pub job: String,
    /// The step that runs.
    pub leader: Option<ProcessRecord>,
    /// How it ended, when it has: said again, not made up anew.
    pub end: Option<JobEnd>,
}

impl Running {
    /// The record that an earlier agent of this boot left. A record of another boot, or one that cannot be read, is none.
    pub fn load(layout: &Layout, boot_id: &str) -> Option<Self> {
        let text = std::fs::read(layout.running()).ok()?;
        serde_json::from_slice::<Self>(&text).ok().filter(|running| running.boot_id == boot_id)
    }

    /// Writes it down.
    pub fn save(&self, layout: &Layout) -> io::Result<()> {
        write_atomically(&layout.running(), &serde_json::to_vec(self).map_err(io::Error::other)?, 0o600)
    }

    /// The job is reported: nothing runs.
    pub fn clear(layout: &Layout) {
        let _ = std::fs::remove_file(layout.running()); // not being there is what is wanted
    }
}
