//! Where a store lies in its directory: `store.redb`, and `store.lock` which one process holds.

use super::medium::{FaultCell, Medium, in_use};
use super::reading::Reading;
use crate::store::StoreError;
use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with, statvfs};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The database.
const FILE: &str = "store.redb";
/// The database while it is made; a left-over of an interrupted `create` is written over.
const NEW_FILE: &str = "store.redb.new";
/// A backup while it is made ready; a left-over of an interrupted restore is written over.
const RESTORED_FILE: &str = "store.redb.restored";
/// Held by the process that has the store open.
const LOCK_FILE: &str = "store.lock";

/// What is copied at once, bytes.
const COPIED_AT_ONCE: u64 = 1 << 20;

/// How long a lock is waited for: a process that is just ending, or a child between its fork and its exec, holds it still.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// The file of the store in `dir`, whether or not it is there.
pub fn file(dir: &Path) -> PathBuf {
    dir.join(FILE)
}

/// Whether there is a store in `dir`.
pub fn exists(dir: &Path) -> bool {
    dir.join(FILE).exists()
}

/// The same, where it must be told from a store that cannot be looked for.
///
/// # Errors
/// [`StoreError::Path`] where the folder is not for this user to read.
pub fn find(dir: &Path) -> Result<bool, StoreError> {
    let file = dir.join(FILE);
    file.try_exists().map_err(|error| open_failed(&file, &error))
}

/// Whether a process has the store in `dir` open. It may have ended before the answer is read.
pub fn is_open(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(LOCK_FILE)) else { return false };
    matches!(flock(&file, FlockOperation::NonBlockingLockShared), Err(rustix::io::Errno::WOULDBLOCK))
}

/// Copies a backup to beside where the store will be.
pub(super) fn copy_in(from: &Path, dir: &Path) -> Result<FileMedium, StoreError> {
    FileMedium::of(from)?;
    let to = dir.join(RESTORED_FILE);
    copy_private(from, &to, &|_| ())?;
    Ok(FileMedium::at(to))
}

/// Where a backup is made ready.
pub(super) fn restored(dir: &Path) -> PathBuf {
    dir.join(RESTORED_FILE)
}

/// Takes away a backup that could not be made ready. A failure leaves a file that the next restore writes over.
pub(super) fn forget_restored(dir: &Path) {
    let _ = std::fs::remove_file(restored(dir));
}

/// Puts the restored store in its place, durably. A store that was there is put aside, under the name that is given back.
pub(super) fn finish_restore(dir: &Path, now_unix_ms: i64) -> Result<Option<PathBuf>, StoreError> {
    let store = dir.join(FILE);
    let mut aside = None;
    if store.exists() {
        let kept = dir.join(format!("{FILE}.replaced-{now_unix_ms}"));
        renameat_with(CWD, &store, CWD, &kept, RenameFlags::NOREPLACE)
            .map_err(|error| open_failed(&kept, &error.into()))?;
        aside = Some(kept);
    }
    finish_file(&dir.join(RESTORED_FILE), &store)?;
    Ok(aside)
}

/// The lock of a store's directory; let go when dropped or when the process ends, however it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes it; with `make`, the directory is made first, else a missing store is refused before anything is made.
    pub(super) fn take(dir: &Path, make: bool) -> Result<Self, StoreError> {
        if make {
            std::fs::create_dir_all(dir).map_err(|error| open_failed(dir, &error))?;
        } else {
            refuse_none(dir)?;
        }
        let path = dir.join(LOCK_FILE);
        let file = private(OpenOptions::new().write(true).create(true).truncate(false), &path)
            .map_err(|error| open_failed(&path, &error))?;
        Self::wait(file, FlockOperation::NonBlockingLockExclusive, dir)
    }

    /// Takes it for a store that is only read. Where it can neither be made nor opened, there is none: the engine's own lock of
    /// the file still tells a store that a server has open.
    pub(super) fn take_to_read(dir: &Path) -> Result<Option<Self>, StoreError> {
        refuse_none(dir)?;
        let path = dir.join(LOCK_FILE);
        match private(OpenOptions::new().write(true).create(true).truncate(false), &path) {
            Ok(file) => Self::wait(file, FlockOperation::NonBlockingLockExclusive, dir).map(Some),
            Err(error) if cannot_write(&error) => match File::open(&path) {
                Ok(file) => Self::wait(file, FlockOperation::NonBlockingLockShared, dir).map(Some),
                Err(_) => Ok(None),
            },
            Err(error) => Err(open_failed(&path, &error)),
        }
    }

    fn wait(file: File, how: FlockOperation, dir: &Path) -> Result<Self, StoreError> {
        let asked = Instant::now();
        loop {
            match flock(&file, how) {
                Ok(()) => return Ok(Self { _file: file }),
                Err(rustix::io::Errno::WOULDBLOCK) if asked.elapsed() < LOCK_PATIENCE => {
                    std::thread::sleep(LOCK_PAUSE);
                }
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(in_use(&dir.display().to_string())),
                Err(error) => {
                    let path = dir.join(LOCK_FILE);
                    return Err(StoreError::Io(format!("{} cannot be locked: {error}", path.display())));
                }
            }
        }
    }
}

fn refuse_none(dir: &Path) -> Result<(), StoreError> {
    if find(dir)? { Ok(()) } else { Err(StoreError::Path(format!("there is no store in {}", dir.display()))) }
}

/// Whether it is the medium, or who asks, that does not let a file be written; nothing is wrong with the file.
fn cannot_write(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Begins a new store beside where it will be; refuses where there is one.
pub(super) fn begin_new(dir: &Path) -> Result<FileMedium, StoreError> {
    begin_file(&dir.join(FILE), &dir.join(NEW_FILE))
}

/// Takes away a new store that could not be finished. A failure leaves a file that the next one writes over.
pub(super) fn forget_new(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(NEW_FILE));
}

/// Puts the finished new store in its place, durably.
pub(super) fn finish_new(dir: &Path) -> Result<(), StoreError> {
    finish_file(&dir.join(NEW_FILE), &dir.join(FILE))
}

/// How a file is called while it is made.
pub(in crate::store) fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// Begins the file `path` under the name `partial`; refuses where there is one.
pub(super) fn begin_file(path: &Path, partial: &Path) -> Result<FileMedium, StoreError> {
    if path.exists() {
        let path = path.display();
        return Err(StoreError::Open(format!("there is a store in {path} already; it is never written over")));
    }
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| open_failed(folder, &error))?;
    }
    private(OpenOptions::new().read(true).write(true).create(true).truncate(true), partial)
        .map_err(|error| open_failed(partial, &error))?;
    Ok(FileMedium::at(partial.to_owned()))
}

/// Copies a file to a new one that is readable by its owner alone, durably.
pub(super) fn copy_private(from: &Path, to: &Path, each: &dyn Fn(u64)) -> Result<(), StoreError> {
    let mut source = File::open(from).map_err(|error| open_failed(from, &error))?;
    let mut target = private(OpenOptions::new().write(true).create(true).truncate(true), to)
        .map_err(|error| open_failed(to, &error))?;
    let mut copy = || -> io::Result<()> {
        loop {
            let copied = io::copy(&mut source.by_ref().take(COPIED_AT_ONCE), &mut target)?;
            if copied == 0 {
                return target.sync_all();
            }
            each(copied);
        }
    };
    copy().map_err(|error| open_failed(to, &error))
}

/// Gives a finished file its name, durably; one that got there meanwhile stays.
pub(in crate::store) fn finish_file(partial: &Path, path: &Path) -> Result<(), StoreError> {
    let dir = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let named = File::open(partial).and_then(|file| file.sync_all()).and_then(|()| {
        renameat_with(CWD, partial, CWD, path, RenameFlags::NOREPLACE)?;
        File::open(dir)?.sync_all()
    });
    named.map_err(|error| open_failed(path, &error))
}

fn private(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    options.mode(0o600).open(path)
}

/// What it means that a file or folder cannot be had.
pub(in crate::store) fn open_failed(path: &Path, error: &io::Error) -> StoreError {
    let text = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full(text),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::PermissionDenied => {
            StoreError::Path(text)
        }
        io::ErrorKind::AlreadyExists => StoreError::Open(text),
        io::ErrorKind::ReadOnlyFilesystem => StoreError::Io(format!(
            "{text}; mount it to be written (`mount -o remount,rw`), and where the kernel made it read-only, `dmesg` says why"
        )),
        // A disk that only reads, or breaks: the store is not to blame, and nobody else has it.
        _ => StoreError::Io(text),
    }
}

/// A store in a file.
#[derive(Debug)]
pub(super) struct FileMedium {
    path: PathBuf,
    fault: Arc<FaultCell>,
    only_reads: bool,
}

impl FileMedium {
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, fault: Arc::default(), only_reads: false }
    }

    /// The same store, and nothing is ever written to it.
    pub(super) fn only_read(self) -> Self {
        Self { only_reads: true, ..self }
    }

    /// Where it is.
    pub(super) fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// The store of a directory; an empty file is refused here, because the engine would make a new store of it.
    pub(super) fn existing(dir: &Path) -> Result<Self, StoreError> {
        Self::of(&dir.join(FILE))
    }

    /// A store in this file.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let medium = Self::at(path.to_owned());
        let metadata = std::fs::metadata(&medium.path).map_err(|error| open_failed(&medium.path, &error))?;
        if metadata.is_file() && metadata.len() > 0 {
            return Ok(medium);
        }
        Err(StoreError::Damaged(format!("{} is not a store: it is empty or no file", medium.path.display())))
    }
}

impl Medium for FileMedium {
    fn backend(&self) -> Result<Box<dyn StorageBackend>, StoreError> {
        let failed = |error: io::Error| open_failed(&self.path, &error);
        let file = OpenOptions::new().read(true).write(!self.only_reads).open(&self.path).map_err(failed)?;
        let backend = FileBackend::new(file).map_err(|error| StoreError::Open(error.to_string()))?;
        Ok(if self.only_reads { Box::new(Reading::new(backend).map_err(failed)?) } else { Box::new(backend) })
    }

    fn room_bytes(&self) -> io::Result<u64> {
        let room = statvfs(&self.path)?;
        Ok(room.f_bavail.saturating_mul(room.f_frsize))
    }

    fn taken_bytes(&self) -> io::Result<u64> {
        Ok(std::fs::metadata(&self.path)?.blocks().saturating_mul(512))
    }

    fn fault(&self) -> &Arc<FaultCell> {
        &self.fault
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }
}
