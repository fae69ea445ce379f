//! What jobs print: one capped file a job, outside the store, written at exact offsets.
//!
//! An append says at which byte it begins, so a repeated or overlapping one is harmless and a lost one is noticed. A file
//! keeps the first 16 MiB; what comes after is counted and dropped, and a note at the end says how much, so that the
//! count survives a restart too.
//!
//! How durable: an answered append is with the kernel, so it survives the end of this process. It is brought to the disk
//! with every further MiB and at its job's end: a long log by [`LogStore::finish`] before the end is committed, a short one
//! ([`LogStore::tail`]) in the very commit; a power cut before that may take the last piece, and the agent is then told the
//! shorter length and sends it again.
//!
//! Calls block for the time of a file's write: on a runtime, call them where blocking is allowed.

mod late;
mod room;
#[cfg(test)]
mod tests;
mod uploaded;

pub use late::Tail;
pub use uploaded::Kept;

use room::{Failing, Refused};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// Bytes kept of one job.
pub const CAP_BYTES: u64 = 16 << 20;
/// Most bytes of one append and of one read.
pub const PIECE_BYTES: usize = 1 << 20;
/// Brought to the disk after so many bytes.
const SYNC_BYTES: u64 = 1 << 20;
/// With less room than this (bytes), logs are refused: the store, which needs less, goes on longer.
const RESERVE_BYTES: u64 = 64 << 20;
/// Jobs remembered while nobody uses them.
const IDLE_JOBS: usize = 256;
/// Longest id of a job, characters.
const ID_BYTES: usize = 128;
/// Digits of the count in the note.
const DIGITS: usize = 20;
const NOTE_BEGIN: &str = "\n[formwork: the log is cut here; ";
const NOTE_END: &str = " more bytes came and were not kept]\n";
const NOTE_BYTES: usize = NOTE_BEGIN.len() + DIGITS + NOTE_END.len();

/// Why a log could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The append does not continue the log, or differs from what is there: go on from `length`.
    #[error("the log has {length} bytes; go on from there")]
    WrongOffset {
        /// Bytes that came so far.
        length: u64,
    },
    /// Not an id that a job can have.
    #[error("`{0}` is not a job's id: use a-z, 0-9 and -, at most 128 characters")]
    BadId(String),
    /// One append is too large.
    #[error("an append has {0} bytes; send at most {PIECE_BYTES}")]
    TooLarge(usize),
    /// The disk is nearly full: nothing is appended until there is room (HTTP 507).
    #[error("the disk of the logs is full: {0}")]
    Full(String),
    /// Any other failure of the disk.
    #[error("the log of job {job}: {error}")]
    Io {
        /// The job.
        job: String,
        /// What failed.
        error: io::Error,
    },
}

/// The logs of all jobs.
#[derive(Debug)]
pub struct LogStore {
    dir: PathBuf,
    /// `dir`, open.
    folder: File,
    reserve_bytes: u64,
    /// A log up to this length is written down with its job's end, bytes.
    short_bytes: u64,
    /// Since the disk is full; `None` after an append that was written.
    refused: Mutex<Option<Refused>>,
    /// Since a log cannot be written for another reason.
    failed: Mutex<Option<Failing>>,
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    names: Names,
    /// Jobs whose logs are in the store, and perhaps not yet on the disk.
    late: Mutex<Vec<String>>,
}

/// Syncs of the directory, shared by those who wait for one at the same time.
#[derive(Debug, Default)]
struct Names {
    asked: AtomicU64,
    /// All that asked up to this one are served.
    served: Mutex<u64>,
}

impl Names {
    fn sync(&self, folder: &File) -> io::Result<()> {
        let mine = self.asked.fetch_add(1, Ordering::SeqCst).saturating_add(1);
        let mut served = self.served.lock().unwrap_or_else(PoisonError::into_inner);
        if *served >= mine {
            return Ok(());
        }
        // Whoever asked before this moment has made its file before it asked.
        let all = self.asked.load(Ordering::SeqCst);
        folder.sync_all()?;
        *served = all;
        Ok(())
    }
}

#[derive(Debug)]
struct Job {
    state: Mutex<Content>,
    length: watch::Sender<u64>,
}

impl Job {
    fn state(&self) -> MutexGuard<'_, Content> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is known of a job's file.
#[derive(Debug, Default)]
struct Content {
    /// `None` before the first append.
    file: Option<Arc<File>>,
    kept: u64,
    dropped: u64,
    unsynced: u64,
}

impl Content {
    /// Bytes that came.
    fn length(&self) -> u64 {
        self.kept.saturating_add(self.dropped)
    }

    /// Bytes that can be read: what is kept, and the note.
    fn readable(&self) -> u64 {
        self.kept.saturating_add(if self.dropped > 0 { NOTE_BYTES as u64 } else { 0 })
    }

    fn of(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len();
        let mut content = Self { kept: size.min(CAP_BYTES), ..Self::default() };
        if size > CAP_BYTES {
            let mut note = [0; NOTE_BYTES];
            // A note that a power cut tore counts as none: the count then begins again.
            content.dropped = file.read_exact_at(&mut note, CAP_BYTES).ok().and_then(|()| counted(&note)).unwrap_or(0);
        }
        content.file = Some(Arc::new(file));
        Ok(content)
    }
}

fn note(dropped: u64) -> String {
    format!("{NOTE_BEGIN}{dropped:0DIGITS$}{NOTE_END}")
}

fn counted(note: &[u8]) -> Option<u64> {
    std::str::from_utf8(note).ok()?.strip_prefix(NOTE_BEGIN)?.strip_suffix(NOTE_END)?.parse().ok()
}

impl LogStore {
    /// Opens the logs in `dir`, which is made where it is missing.
    ///
    /// # Errors
    /// Those of making the directory.
    pub fn open(dir: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        Ok(Self {
            dir: dir.to_owned(),
            folder: File::open(dir)?,
            reserve_bytes: RESERVE_BYTES,
            short_bytes: late::SHORT_BYTES,
            refused: Mutex::default(),
            failed: Mutex::default(),
            jobs: Mutex::default(),
            names: Names::default(),
            late: Mutex::default(),
        })
    }

    /// Beside a store that is no file of this machine: no log goes there, not even a short one for a moment.
    #[must_use]
    pub fn beside_a_store_elsewhere(mut self) -> Self {
        self.short_bytes = 0;
        self
    }

    /// Appends `bytes`, of which the first is the log's byte number `offset`, and gives the new length. What is there
    /// already is compared and not written again.
    ///
    /// # Errors
    /// [`LogError::WrongOffset`] where it leaves a gap or says otherwise than what is there; see [`LogError`].
    pub fn append(&self, job: &str, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        let appended = self.append_now(job, offset, bytes);
        self.note(&appended);
        appended
    }

    fn note<T>(&self, done: &Result<T, LogError>) {
        match done {
            Err(LogError::Full(why)) => self.note_refused(why),
            Err(LogError::Io { job, error }) => self.note_failing(job, error),
            _ => {}
        }
    }

    fn append_now(&self, job: &str, offset: u64, bytes: &[u8]) -> Result<u64, LogError> {
        if bytes.len() > PIECE_BYTES {
            return Err(LogError::TooLarge(bytes.len()));
        }
        let entry = self.job(job)?;
        let mut content = entry.state();
        let length = content.length();
        let known = length.checked_sub(offset).ok_or(LogError::WrongOffset { length })?;
        let known = usize::try_from(known).unwrap_or(usize::MAX).min(bytes.len());
        let (again, new) = bytes.split_at(known);
        let failed = |error| failed(job, error);
        if !same(&content, offset, again).map_err(failed)? {
            return Err(LogError::WrongOffset { length });
        }
        if new.is_empty() {
            return Ok(length);
        }
        let room = usize::try_from(CAP_BYTES.saturating_sub(content.kept)).unwrap_or(usize::MAX);
        let (keep, drop) = new.split_at(room.min(new.len()));
        let file = self.file(job, &mut content)?;
        if !keep.is_empty() {
            self.room_for(keep.len() as u64).map_err(failed)?;
            file.write_all_at(keep, content.kept).map_err(failed)?;
            self.note_written();
            self.note_sound(job);
            content.kept = content.kept.saturating_add(keep.len() as u64);
            content.unsynced = content.unsynced.saturating_add(keep.len() as u64);
        }
        if !drop.is_empty() {
            let dropped = content.dropped.saturating_add(drop.len() as u64);
            file.write_all_at(note(dropped).as_bytes(), CAP_BYTES).map_err(failed)?;
            content.dropped = dropped;
        }
        if content.unsynced >= SYNC_BYTES {
            file.sync_data().map_err(failed)?;
            content.unsynced = 0;
        }
        let length = content.length();
        entry.length.send_replace(length);
        Ok(length)
    }

    /// At most `max` (and [`PIECE_BYTES`]) bytes from byte number `from` on; empty at the end, and where nothing came yet.
    /// A log that was cut ends with a note that says so.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn read(&self, job: &str, from: u64, max: usize) -> Result<Vec<u8>, LogError> {
        let entry = self.job(job)?;
        let (file, readable) = {
            let content = entry.state();
            (content.file.clone(), content.readable())
        };
        let Some(file) = file else { return Ok(Vec::new()) };
        let there = usize::try_from(readable.saturating_sub(from)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; there.min(max).min(PIECE_BYTES)];
        file.read_exact_at(&mut bytes, from).map_err(|error| failed(job, error))?;
        Ok(bytes)
    }

    /// How many bytes came, the dropped ones too: where the next append begins. 0 where nothing came yet.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn length(&self, job: &str) -> Result<u64, LogError> {
        Ok(self.job(job)?.state().length())
    }

    /// Rises with every append; the value is [`LogStore::length`].
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn watch(&self, job: &str) -> Result<watch::Receiver<u64>, LogError> {
        Ok(self.job(job)?.length.subscribe())
    }

    /// Brings a log and its name to the disk: called before a job's end is committed, where its log is long.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn finish(&self, job: &str) -> Result<(), LogError> {
        let finished = self.finish_now(job);
        self.note(&finished);
        finished
    }

    fn finish_now(&self, job: &str) -> Result<(), LogError> {
        let entry = self.job(job)?;
        let mut content = entry.state();
        if let Some(file) = &content.file {
            let synced = file.sync_data().and_then(|()| self.names.sync(&self.folder));
            synced.map_err(|error| failed(job, error))?;
            content.unsynced = 0;
            self.note_sound(job);
        }
        Ok(())
    }

    /// Removes a log, as when its run was dropped from the journal. One that is not there is gone already.
    ///
    /// # Errors
    /// See [`LogError`].
    pub fn remove(&self, job: &str) -> Result<(), LogError> {
        let path = self.path(job)?;
        let mut jobs = self.jobs();
        uploaded::gone(std::fs::remove_file(path)).map_err(|error| failed(job, error))?;
        jobs.remove(job);
        drop(jobs);
        self.note_uploaded(job, None)
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of a job. Ids come from the network: only such as cannot leave the directory are taken.
    fn path(&self, job: &str) -> Result<PathBuf, LogError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if job.is_empty() || job.len() > ID_BYTES || job.starts_with('-') || !job.bytes().all(plain) {
            return Err(LogError::BadId(job.chars().take(ID_BYTES).collect::<String>().escape_debug().to_string()));
        }
        Ok(self.dir.join(format!("{job}.log")))
    }

    fn job(&self, job: &str) -> Result<Arc<Job>, LogError> {
        let path = self.path(job)?;
        let mut jobs = self.jobs();
        if let Some(known) = jobs.get(job) {
            return Ok(Arc::clone(known));
        }
        let content = match options().open(path) {
            Ok(file) => Content::of(file).map_err(|error| failed(job, error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Content::default(),
            Err(error) => return Err(failed(job, error)),
        };
        if jobs.len() >= IDLE_JOBS {
            jobs.retain(|_, idle| Arc::strong_count(idle) > 1 || idle.length.receiver_count() > 0);
        }
        let entry = Arc::new(Job { length: watch::Sender::new(content.length()), state: Mutex::new(content) });
        jobs.insert(job.to_owned(), Arc::clone(&entry));
        Ok(entry)
    }

    fn file(&self, job: &str, content: &mut Content) -> Result<Arc<File>, LogError> {
        if let Some(file) = &content.file {
            return Ok(Arc::clone(file));
        }
        let file = options().create(true).open(self.path(job)?).map_err(|error| failed(job, error))?;
        Ok(Arc::clone(content.file.insert(Arc::new(file))))
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

fn failed(job: &str, error: io::Error) -> LogError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => LogError::Full(error.to_string()),
        _ => LogError::Io { job: job.to_owned(), error },
    }
}

/// Whether `bytes` are what the log has from `offset` on; what was dropped cannot be compared and passes.
fn same(content: &Content, offset: u64, bytes: &[u8]) -> io::Result<bool> {
    let kept = usize::try_from(content.kept.saturating_sub(offset)).unwrap_or(usize::MAX).min(bytes.len());
    let (Some(file), true) = (&content.file, kept > 0) else { return Ok(true) };
    let mut there = vec![0; kept];
    file.read_exact_at(&mut there, offset)?;
    Ok(bytes.starts_with(&there))
}
