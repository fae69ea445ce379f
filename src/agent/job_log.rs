//! A job's log on the machine: a file that grows at one end while it is sent from the other.
//!
//! The file is the buffer: it survives an agent that is killed, and what the server has is given back to the filesystem. What has
//! not been sent is bounded; output beyond that is dropped, counted, and the log says so where it is missing.

use super::connection::lock;
use rustix::fs::FallocateFlags;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// The most bytes that wait to be sent.
const UNSENT_LIMIT_BYTES: u64 = 16 * 1024 * 1024;
/// What the server acknowledged is kept this far back: a server that lost its newest bytes in a power cut may ask again.
const KEPT_BYTES: u64 = 1024 * 1024;

struct State {
    /// Bytes in the log.
    length: u64,
    /// Bytes the server has.
    acknowledged: u64,
    /// Bytes dropped since the last line that said so.
    dropped: u64,
    /// Bytes given back to the filesystem.
    released: u64,
    /// Nothing is added any more.
    closed: bool,
    /// The server takes no more of it.
    refused: bool,
}

/// A job's log.
pub struct JobLog {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
}

impl JobLog {
    /// Opens the log at this path; what an agent before this one wrote into it stays and is sent.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let length = file.metadata()?.len();
        let state = State { length, acknowledged: 0, dropped: 0, released: 0, closed: false, refused: false };
        Ok(Self { file, state: Mutex::new(state), changed: Condvar::new() })
    }

    /// Adds output. Never blocks on the network and never fails the job.
    pub fn append(&self, bytes: &[u8]) {
        let mut state = lock(&self.state);
        if state.closed || bytes.is_empty() {
            return;
        }
        if state.length - state.acknowledged + bytes.len() as u64 > UNSENT_LIMIT_BYTES {
            state.dropped += bytes.len() as u64;
            return;
        }
        if state.dropped > 0 {
            let line = format!(
                "\nformwork: {} bytes of output are missing here: they came faster than the log could be sent\n",
                state.dropped
            );
            if self.write(&mut state, line.as_bytes()) {
                state.dropped = 0;
            }
        }
        if !self.write(&mut state, bytes) {
            state.dropped += bytes.len() as u64;
        }
        self.changed.notify_all();
    }

    /// Adds a line of the agent's own.
    pub fn note(&self, text: &str) {
        self.append(format!("formwork: {text}\n").as_bytes());
    }

    fn write(&self, state: &mut State, bytes: &[u8]) -> bool {
        // A full filesystem is the only way to fail that is known; it may have written a part, which the next write covers.
        let written = self.file.write_all_at(bytes, state.length).is_ok();
        if written {
            state.length += bytes.len() as u64;
        }
        written
    }

    /// No more will come.
    pub fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
    }

    /// The server takes no more of this log.
    pub fn refuse(&self) {
        lock(&self.state).refused = true;
        self.changed.notify_all();
    }

    /// Bytes in the log.
    pub fn length(&self) -> u64 {
        lock(&self.state).length
    }

    /// Whether nothing is added any more.
    pub fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// What is not sent yet: its offset and up to `most` bytes of it. Waits for it up to `patience`; `None` when nothing came
    /// or nothing will.
    pub fn unsent(&self, most: usize, patience: Duration) -> io::Result<Option<(u64, Vec<u8>)>> {
        let state = lock(&self.state);
        let (state, _) = self
            .changed
            .wait_timeout_while(state, patience, |s| s.length == s.acknowledged && !s.closed && !s.refused)
            .unwrap_or_else(PoisonError::into_inner);
        if state.refused || state.length == state.acknowledged {
            return Ok(None);
        }
        let offset = state.acknowledged;
        let size = usize::try_from(state.length - offset).unwrap_or(most).min(most);
        drop(state);
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(Some((offset, bytes)))
    }

    /// Whether there is nothing left to send, now and later.
    pub fn is_complete(&self) -> bool {
        let state = lock(&self.state);
        state.refused || (state.closed && state.acknowledged == state.length)
    }

    /// The server has this many bytes.
    pub fn acknowledge(&self, length: u64) {
        let mut state = lock(&self.state);
        state.acknowledged = length.min(state.length);
        let releasable = state.acknowledged.saturating_sub(KEPT_BYTES) / 4096 * 4096;
        if releasable > state.released {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            // A filesystem without holes keeps the bytes: that costs room, not truth.
            let _ = rustix::fs::fallocate(&self.file, flags, state.released, releasable - state.released);
            state.released = releasable;
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> (tempfile::TempDir, JobLog) {
        let dir = tempfile::tempdir().unwrap();
        let log = JobLog::open(&dir.path().join("log")).unwrap();
        (dir, log)
    }

    #[test]
    fn what_is_not_acknowledged_is_read_again_and_what_is_never() {
        let (_dir, log) = log();
        log.append(b"one\ntwo\n");
        assert_eq!(log.unsent(4, Duration::ZERO).unwrap(), Some((0, b"one\n".to_vec())));
        assert_eq!(log.unsent(100, Duration::ZERO).unwrap(), Some((0, b"one\ntwo\n".to_vec())));
        log.acknowledge(4);
        assert_eq!(log.unsent(100, Duration::ZERO).unwrap(), Some((4, b"two\n".to_vec())));
        log.acknowledge(8);
        assert_eq!(log.unsent(100, Duration::ZERO).unwrap(), None);
        assert!(!log.is_complete());
        log.close();
        assert!(log.is_complete());
    }

    #[test]
    fn output_beyond_the_bound_is_dropped_counted_and_told() {
        let (_dir, log) = log();
        let block = vec![b'x'; 1024 * 1024];
        for _ in 0..20 {
            log.append(&block);
        }
        assert_eq!(log.length(), UNSENT_LIMIT_BYTES);
        log.acknowledge(UNSENT_LIMIT_BYTES);
        log.append(b"after\n");
        let (_, bytes) = log.unsent(1000, Duration::ZERO).unwrap().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(text.contains("4194304 bytes of output are missing here"), "{text}");
        assert!(text.ends_with("after\n"));
    }

    #[test]
    fn an_agent_started_anew_finds_the_log_it_left() {
        let dir = tempfile::tempdir().unwrap();
        JobLog::open(&dir.path().join("log")).unwrap().append(b"before");
        let log = JobLog::open(&dir.path().join("log")).unwrap();
        log.append(b" after");
        assert_eq!(log.unsent(100, Duration::ZERO).unwrap(), Some((0, b"before after".to_vec())));
    }
}
