//! Whether logs can be written: asked of the disk, and told once when they cannot and once when they can again. Want of room
//! passes by itself when there is some; of what else a disk refuses, only the next write finds out more.

use super::{LogStore, PIECE_BYTES};
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::io;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A log that could not be written, and was not tried again for so long, says nothing against those that are written.
const FAILING: Duration = Duration::from_secs(60);

/// Why the last append was refused.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    why: String,
    /// The disk has room by its own word, and refused all the same, as for a quota: only the next append finds out more.
    against_its_word: bool,
}

/// The log that could not be written last, for another reason than want of room.
#[derive(Debug)]
pub(super) struct Failing {
    job: String,
    why: String,
    at: Instant,
}

impl LogStore {
    /// Why no log can be written now; `None`: they can. What is asked of the disk costs next to nothing.
    pub fn full(&self) -> Option<String> {
        let refused = self.refused().clone();
        self.lacks_room().or_else(|| refused.filter(|last| last.against_its_word).map(|last| last.why))
    }

    /// Notes that an append was refused since the disk is full: told the first time.
    pub(super) fn note_refused(&self, why: &str) {
        let against_its_word = self.lacks_room().is_none();
        let mut refused = self.refused();
        if refused.is_none() {
            tracing::error!(folder = %self.dir.display(), "no log can be written, the jobs of machines wait: {why}");
        }
        *refused = Some(Refused { why: why.to_owned(), against_its_word });
    }

    /// Notes that something was written: told where it could not before.
    pub(super) fn note_written(&self) {
        let before = self.refused().take();
        if before.is_some() {
            tracing::info!(folder = %self.dir.display(), "logs are written again");
        }
    }

    /// Why logs cannot be written, where that is not for want of room: the last one could not be, or the disk says that it is only
    /// read.
    pub fn failing(&self) -> Option<String> {
        let noted = self.failed().as_ref().map(|last| last.why.clone());
        noted.or_else(|| match statvfs(&self.dir) {
            Ok(disk) => disk.f_flag.contains(StatVfsMountFlags::RDONLY).then(|| {
                let error = io::Error::from(rustix::io::Errno::ROFS);
                format!("{}: {error}", self.dir.display())
            }),
            Err(error) => Some(format!("{}: {error}", self.dir.display())),
        })
    }

    /// Notes that the log of this job could not be written: told the first time.
    pub(super) fn note_failing(&self, job: &str, error: &io::Error) {
        let why = format!("{}: {error}", self.dir.join(format!("{job}.log")).display());
        let mut failed = self.failed();
        if failed.is_none() {
            tracing::error!("the logs of jobs cannot be written, and the jobs wait: {why}");
        }
        *failed = Some(Failing { job: job.to_owned(), why, at: Instant::now() });
    }

    /// Notes that the log of this job could be written: told where none could before. It says nothing of a file that alone
    /// cannot be, which is tried again every few seconds.
    pub(super) fn note_sound(&self, job: &str) {
        let mut failed = self.failed();
        if failed.take_if(|last| last.job == job || last.at.elapsed() >= FAILING).is_some() {
            tracing::info!(folder = %self.dir.display(), "the logs of jobs are written again");
        }
    }

    /// That there is room for so many bytes beside the reserve.
    pub(super) fn room_for(&self, bytes: u64) -> io::Result<()> {
        let room = statvfs(&self.dir)?;
        let room = room.f_bavail.saturating_mul(room.f_frsize);
        if room >= self.reserve_bytes.saturating_add(bytes) {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::StorageFull,
            format!("{room} bytes are left, {} are kept in reserve", self.reserve_bytes),
        ))
    }

    /// The disk's own word that the largest append would be refused.
    fn lacks_room(&self) -> Option<String> {
        let refused = self.room_for(PIECE_BYTES as u64).err()?;
        (refused.kind() == io::ErrorKind::StorageFull).then(|| refused.to_string())
    }

    fn failed(&self) -> MutexGuard<'_, Option<Failing>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
