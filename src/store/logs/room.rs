//! Whether logs can be written: asked of the disk, and told once when they cannot and once when they can again.

use super::{LogStore, PIECE_BYTES};
use rustix::fs::statvfs;
use std::io;
use std::sync::{MutexGuard, PoisonError};

/// Why the last append was refused.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    why: String,
    /// The disk has room by its own word, and refused all the same, as for a quota: only the next append finds out more.
    against_its_word: bool,
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

    fn refused(&self) -> MutexGuard<'_, Option<Refused>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
