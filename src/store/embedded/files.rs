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
/// A store that a restored one took the place of; then when, Unix milliseconds.
const ASIDE_PREFIX: &str = "store.redb.replaced-";
/// Held by the process that has the store open.
const LOCK_FILE: &str = "store.lock";

/// How the name of a file ends that is made.
const PARTIAL_SUFFIX: &str = ".new";
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
    let to = restored(dir);
    // Of a restore that was interrupted; never written through what somebody put there.
    let _ = std::fs::remove_file(&to);
    let mut target =
        private(OpenOptions::new().write(true).create_new(true), &to).map_err(|error| open_failed(&to, &error))?;
    copy_private(from, &mut target, &to, &|_| ())?;
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

/// Puts the restored store in its place, durably. A store that was there is put aside, under the name that is given back; at each
/// moment there is one store or the other in its place.
pub(super) fn finish_restore(dir: &Path, now_unix_ms: i64) -> Result<Option<PathBuf>, StoreError> {
    let (ready, store) = (restored(dir), dir.join(FILE));
    if !store.exists() {
        let aside = put_aside(dir);
        return finish_file(&ready, &store).map(|()| aside);
    }
    let kept = dir.join(format!("{ASIDE_PREFIX}{now_unix_ms}"));
    if let Err(error) = std::fs::hard_link(&store, &kept) {
        tracing::debug!(%error, "the disk gives a file no second name");
        renameat_with(CWD, &store, CWD, &kept, RenameFlags::NOREPLACE)
            .map_err(|error| open_failed(&kept, &error.into()))?;
        return finish_file(&ready, &store).map(|()| Some(kept));
    }
    let named = File::open(&ready).and_then(|file| file.sync_all()).and_then(|()| {
        // The other name first, also after a power cut.
        let folder = File::open(dir)?;
        folder.sync_all()?;
        std::fs::rename(&ready, &store)?;
        folder.sync_all()
    });
    named.map(|()| Some(kept)).map_err(|error| open_failed(&store, &error))
}

/// Where the store lies that a restore put aside without putting another in its place: one that was killed in between, where the disk
/// gives a file no second name, or whose store was taken away since. The newest of them; none where there is a store in its place.
pub fn put_aside(dir: &Path) -> Option<PathBuf> {
    if dir.join(FILE).symlink_metadata().is_ok() {
        return None;
    }
    let when = |name: &std::ffi::OsStr| name.to_str()?.strip_prefix(ASIDE_PREFIX)?.parse::<i64>().ok();
    let entries = std::fs::read_dir(dir).ok()?.flatten();
    let newest = entries.filter_map(|entry| Some((when(&entry.file_name())?, entry.path()))).max();
    newest.map(|(_, path)| path)
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
    if find(dir)? {
        return Ok(());
    }
    let aside =
        put_aside(dir).map(|aside| format!("; a restore put the one that was there aside as {}", aside.display()));
    Err(StoreError::Path(format!("there is no store in {}{}", dir.display(), aside.unwrap_or_default())))
}

/// Whether it is the medium, or who asks, that does not let a file be written; nothing is wrong with the file.
fn cannot_write(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied)
}

/// Begins a new store beside where it will be; refuses where there is one.
pub(super) fn begin_new(dir: &Path) -> Result<FileMedium, StoreError> {
    let (store, new) = (dir.join(FILE), dir.join(NEW_FILE));
    if store.exists() {
        let store = store.display();
        return Err(StoreError::Open(format!("there is a store in {store} already; it is never written over")));
    }
    private(OpenOptions::new().read(true).write(true).create(true).truncate(true), &new)
        .map_err(|error| open_failed(&new, &error))?;
    Ok(FileMedium::at(new))
}

/// Takes away a new store that could not be finished. A failure leaves a file that the next one writes over.
pub(super) fn forget_new(dir: &Path) {
    let _ = std::fs::remove_file(dir.join(NEW_FILE));
}

/// Puts the finished new store in its place, durably.
pub(super) fn finish_new(dir: &Path) -> Result<(), StoreError> {
    finish_file(&dir.join(NEW_FILE), &dir.join(FILE))
}

/// A file while it is made, under a name of its own beside the one it will have; gone where it is not finished. Its folder may be
/// somebody else's, too: nothing that is there is opened or written over.
#[derive(Debug)]
pub(in crate::store) struct Partial {
    path: PathBuf,
    partial: PathBuf,
}

impl Partial {
    /// Begins the file `path`, readable by its owner alone; refuses where there is anything of that name.
    pub(in crate::store) fn begin(path: &Path) -> Result<(Self, File), StoreError> {
        if path.symlink_metadata().is_ok() {
            return Err(StoreError::Open(format!(
                "{} is there already, and nothing is written over it; name a new file",
                path.display()
            )));
        }
        sweep(path);
        let id = crate::identity::new_id().map_err(|error| StoreError::Io(error.to_string()))?;
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}-{id}{PARTIAL_SUFFIX}", std::process::id()));
        let partial = PathBuf::from(partial);
        let file = private(OpenOptions::new().read(true).write(true).create_new(true), &partial)
            .map_err(|error| open_failed(&partial, &error))?;
        Ok((Self { path: path.to_owned(), partial }, file))
    }

    /// How it is called until it is finished.
    pub(in crate::store) fn for_now(&self) -> &Path {
        &self.partial
    }

    /// Gives it its name, durably; one that got there meanwhile stays.
    pub(in crate::store) fn finish(self) -> Result<(), StoreError> {
        finish_file(&self.partial, &self.path)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After its end there is none of that name.
        let _ = std::fs::remove_file(&self.partial);
    }
}

/// Takes away what this user's processes that were killed left of the same file. A failure leaves it.
fn sweep(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(std::ffi::OsStr::to_str)) else {
        return;
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let own = rustix::process::geteuid().as_raw();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let maker = entry.file_name().to_str().and_then(|file| maker_of(name, file));
        let ended = maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists());
        let of_this_user = |about: std::fs::Metadata| about.is_file() && about.uid() == own;
        if ended && Path::new("/proc/self").exists() && entry.metadata().is_ok_and(of_this_user) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The process that made a file of this name on its way to `name`; none where it is another file.
fn maker_of(name: &str, file: &str) -> Option<u32> {
    let own = file.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(PARTIAL_SUFFIX)?;
    let (pid, id) = own.split_once('-')?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    pid.parse().ok().filter(|_| is_id)
}

/// Copies a file to one that was just made, durably.
pub(super) fn copy_private(from: &Path, target: &mut File, to: &Path, each: &dyn Fn(u64)) -> Result<(), StoreError> {
    let mut source = File::open(from).map_err(|error| open_failed(from, &error))?;
    let mut copy = || -> io::Result<()> {
        loop {
            let copied = io::copy(&mut source.by_ref().take(COPIED_AT_ONCE), target)?;
            if copied == 0 {
                return target.sync_all();
            }
            each(copied);
        }
    };
    copy().map_err(|error| open_failed(to, &error))
}

/// Gives a finished file its name, durably; one that got there meanwhile stays.
pub(super) fn finish_file(partial: &Path, path: &Path) -> Result<(), StoreError> {
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

    /// The store of a directory, in its place or put aside.
    pub(super) fn latest(dir: &Path) -> Result<Self, StoreError> {
        Self::of(&put_aside(dir).unwrap_or_else(|| dir.join(FILE)))
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
