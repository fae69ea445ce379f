//! Logs of jobs that ended: the store holds the short ones until their files are on the disk.

use super::machines::Fleet;
use crate::store::logs::{LogError, LogStore};
use crate::store::{Batch, Operation, Space, StoreError};
use std::sync::Arc;

/// So many are let go in one commit.
const AT_ONCE: usize = 4_096;

/// Why logs are not on the disk yet.
#[derive(Debug, thiserror::Error)]
pub enum LateLogs {
    /// Their files.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that waited for the disk.
    #[error("it stopped at an error of this program")]
    Stopped,
}

impl Fleet {
    /// At start: what the store holds of logs goes into their files, where a power cut took it. Before machines are answered.
    ///
    /// # Errors
    /// What the store says; a file that cannot be written is said in the log, and the store keeps what it holds.
    pub fn put_back_logs(&self, logs: &LogStore) -> Result<(), StoreError> {
        for job in self.store.keys(Space::Log)? {
            let Some(bytes) = self.store.get(Space::Log, &job)? else { continue };
            if let Err(error) = logs.put_back(&job, &bytes) {
                tracing::warn!(job, %error, "the log of a job that ended cannot be put back; the store keeps it");
            }
        }
        Ok(())
    }

    /// Brings the files to the disk, then lets the store forget what it held of them.
    ///
    /// # Errors
    /// [`LateLogs`]: nothing is lost, the next call tries again.
    pub async fn bring_logs(&self, logs: &Arc<LogStore>) -> Result<(), LateLogs> {
        let files = Arc::clone(logs);
        let jobs = tokio::task::spawn_blocking(move || files.bring_all()).await.map_err(|_| LateLogs::Stopped)??;
        for some in jobs.chunks(AT_ONCE) {
            let forget = |job: &String| Operation::Put { space: Space::Log, key: job.clone(), value: None };
            let operations = some.iter().map(forget).collect();
            if let Err(error) = self.commit(Batch { operations, ..Batch::default() }).await {
                jobs.iter().for_each(|job| logs.wrote_down(job));
                return Err(error.into());
            }
        }
        Ok(())
    }
}
