//! Short logs reach the disk late: with the end of their job they are written down in the store, in the commit that is made
//! anyway, and their files follow in one go for all of them ([`LogStore::bring_all`]). So a job's end costs no fsync of its
//! own, and a power cut in between loses nothing: what the store still holds is put into its file at the next start.

use super::{LogError, LogStore, failed};
use rustix::fs::syncfs;
use std::sync::PoisonError;

/// A log up to this length is written down with its job's end, bytes.
pub(super) const SHORT_BYTES: u64 = 16 << 10;

/// What a job's end does about its log.
#[derive(Debug, PartialEq, Eq)]
pub enum Tail {
    /// Nothing came, or all of it is on the disk.
    Nothing,
    /// The whole log: write it down with the end, then call [`LogStore::wrote_down`].
    Short(Vec<u8>),
    /// Call [`LogStore::finish`] before the end is written down.
    Long,
}

impl LogStore {
    /// What the end of a job does about its log. It reads what was just written: no wait for the disk.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn tail(&self, job: &str) -> Result<Tail, LogError> {
        let entry = self.job(job)?;
        let content = entry.state();
        let Some(file) = content.file.as_ref().filter(|_| content.unsynced > 0) else { return Ok(Tail::Nothing) };
        if content.dropped > 0 || content.kept > self.short_bytes {
            return Ok(Tail::Long);
        }
        let mut bytes = vec![0; usize::try_from(content.kept).unwrap_or_default()];
        use std::os::unix::fs::FileExt as _;
        file.read_exact_at(&mut bytes, 0).map_err(|error| failed(job, error))?;
        Ok(Tail::Short(bytes))
    }

    /// The log of this job is in the store: its file may follow.
    pub fn wrote_down(&self, job: &str) {
        self.late.lock().unwrap_or_else(PoisonError::into_inner).push(job.to_owned());
    }

    /// Puts a log that the store held into its file, where it is not there: what a power cut took. [`LogStore::wrote_down`]
    /// is implied.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn put_back(&self, job: &str, bytes: &[u8]) -> Result<(), LogError> {
        let entry = self.job(job)?;
        let mut content = entry.state();
        let there = content.file.as_ref().filter(|_| content.kept >= bytes.len() as u64);
        let whole = match there {
            Some(_) => super::same(&content, 0, bytes).map_err(|error| failed(job, error))?,
            None => false,
        };
        if !whole {
            use std::os::unix::fs::FileExt as _;
            let file = self.file(job, &mut content)?;
            file.write_all_at(bytes, 0).map_err(|error| failed(job, error))?;
            content.kept = content.kept.max(bytes.len() as u64);
            content.unsynced = content.kept;
            entry.length.send_replace(content.length());
        }
        drop(content);
        self.wrote_down(job);
        Ok(())
    }

    /// Brings all logs and their names to the disk, and gives the jobs whose logs the store need not hold any more. Blocks.
    ///
    /// # Errors
    /// [`LogError::Io`]: nothing is given up; the next call tries again.
    pub fn bring_all(&self) -> Result<Vec<String>, LogError> {
        let jobs = std::mem::take(&mut *self.late.lock().unwrap_or_else(PoisonError::into_inner));
        if jobs.is_empty() {
            return Ok(jobs);
        }
        match syncfs(&self.folder) {
            Ok(()) => Ok(jobs),
            Err(error) => {
                let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
                let first = jobs.first().cloned().unwrap_or_default();
                late.extend(jobs);
                Err(failed(&first, error.into()))
            }
        }
    }
}
