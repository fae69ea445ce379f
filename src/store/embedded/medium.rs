//! The disk under redb: opened as often as needed, and each failed call remembered for what it means.
//!
//! redb answers every call after a failed one with "previous I/O error", so what the first failure was is noted here,
//! at the call itself: no room (go read-only, try again), or anything else (the process must end).

use crate::store::StoreError;
use redb::{BackendError, Builder, Database, DatabaseError, StorageBackend, StorageError};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

/// Where the bytes are: a file, or in tests a disk that fails as it is told to.
pub(super) trait Medium: std::fmt::Debug + Send + Sync + 'static {
    /// A fresh handle of the same bytes; the one before is closed by then.
    fn backend(&self) -> Result<Box<dyn StorageBackend>, StoreError>;
    /// Bytes that can still be written beyond what is there.
    fn room_bytes(&self) -> io::Result<u64>;
    /// Bytes that it takes.
    fn taken_bytes(&self) -> io::Result<u64>;
    /// Where the first failure since the last [`Medium::backend`] is noted.
    fn fault(&self) -> &Arc<FaultCell>;
    /// How it is called in messages.
    fn name(&self) -> String;
}

/// What a failed call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// No room: nothing is lost, writing goes on when there is some.
    Full(String),
    /// A read, a write, a growth or an fsync failed otherwise: what the disk holds is not known any more.
    Broken(String),
}

/// The first fault of an open database.
#[derive(Debug, Default)]
pub(super) struct FaultCell(Mutex<Option<Fault>>);

impl FaultCell {
    /// The first fault, where there was one.
    pub(super) fn get(&self) -> Option<Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets it: the database is opened anew.
    pub(super) fn clear(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn note(&self, fault: Fault) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(fault);
    }

    /// A failed write or growth. An fsync is never "full": what it failed to bring to the disk is lost by then.
    fn note_write(&self, what: &str, error: &io::Error) {
        let text = format!("{what}: {error}");
        let full = matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        );
        self.note(if full { Fault::Full(text) } else { Fault::Broken(text) });
    }
}

/// A backend that notes what failed.
#[derive(Debug)]
struct Noted {
    inner: Box<dyn StorageBackend>,
    fault: Arc<FaultCell>,
}

impl StorageBackend for Noted {
    fn len(&self) -> Result<u64, io::Error> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.inner
            .read(offset, out)
            .inspect_err(|error| self.fault.note(Fault::Broken(format!("a read failed: {error}"))))
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.inner.set_len(len).inspect_err(|error| self.fault.note_write("the file cannot grow", error))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.inner.sync_data().inspect_err(|error| self.fault.note(Fault::Broken(format!("fsync failed: {error}"))))
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.inner.write(offset, data).inspect_err(|error| self.fault.note_write("a write failed", error))
    }

    fn close(&self) -> Result<(), io::Error> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

/// Opens the database on a medium; with `verify`, every page's checksum is read. A panic of the engine on a damaged
/// image becomes [`StoreError::Damaged`].
pub(super) fn open(medium: &dyn Medium, cache_bytes: usize, verify: bool) -> Result<Database, StoreError> {
    let inner = medium.backend()?;
    medium.fault().clear();
    let backend = Noted { inner, fault: Arc::clone(medium.fault()) };
    let opened = catch_unwind(AssertUnwindSafe(|| {
        Builder::new().set_cache_size(cache_bytes).set_check_integrity_on_open(verify).create_with_backend(backend)
    }));
    match opened {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(error)) => Err(match (medium.fault().get(), error) {
            (_, DatabaseError::Storage(StorageError::Corrupted(text))) => {
                StoreError::Damaged(format!("{}: {text}", medium.name()))
            }
            (Some(Fault::Full(text)), _) => StoreError::Full(text),
            (Some(Fault::Broken(text)), _) => StoreError::Io(text),
            (None, DatabaseError::DatabaseAlreadyOpen) => in_use(&medium.name()),
            (None, DatabaseError::UpgradeRequired(version)) => {
                StoreError::Open(format!("{} has the engine's old file format {version}", medium.name()))
            }
            (None, DatabaseError::Storage(StorageError::Io(error))) if error.kind() == io::ErrorKind::InvalidData => {
                StoreError::Damaged(format!("{} is not a store: {error}", medium.name()))
            }
            (None, other) => StoreError::Io(format!("{}: {other}", medium.name())),
        }),
        Err(_) => Err(StoreError::Damaged(format!("{}: the engine gave up on its pages", medium.name()))),
    }
}

/// The refusal of a second opener.
pub(super) fn in_use(name: &str) -> StoreError {
    StoreError::Open(format!("{name} is in use by another process; stop it first"))
}

/// What an error of the engine means on this medium: the fault noted at the disk, before the words of the engine.
pub(super) fn meaning(medium: &dyn Medium, error: redb::Error) -> StoreError {
    match (medium.fault().get(), error) {
        (Some(Fault::Full(text)), _) => StoreError::Full(text),
        (Some(Fault::Broken(text)), _) => StoreError::Io(text),
        (None, redb::Error::Corrupted(text)) => StoreError::Damaged(text),
        (None, other) => StoreError::Io(other.to_string()),
    }
}
