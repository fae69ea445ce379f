//! What readers see: snapshots of the database, the newest documents, the watches, and whether the store still may write.

use super::medium::{self, Fault, Medium};
use super::tables::Start;
use super::writer::{RESERVE_BYTES, little_room, soon_full};
use super::{OnFatal, Options};
use crate::cluster::Document;
use crate::store::watches::Watches;
use crate::store::{Health, StoreError};
use redb::{Database, ReadTransaction, ReadableDatabase};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::watch;

/// A read that falls between a full disk and the opening anew is tried so often, with this pause between.
const REOPEN_ATTEMPTS: u32 = 5;
const REOPEN_PAUSE: Duration = Duration::from_millis(2);

/// Shared between readers and the writer.
pub(super) struct Shared {
    /// `None` when closed, or when it could not be opened anew after a full disk. Everybody, the writer too, holds it
    /// for reading; only closing and opening anew hold it for writing.
    database: RwLock<Option<Database>>,
    documents: RwLock<BTreeMap<String, Arc<Document>>>,
    events: watch::Sender<u64>,
    clusters: Watches,
    failed: Mutex<Option<StoreError>>,
    /// Why the last write could not be made, where the disk was full.
    full: Mutex<Option<String>>,
    medium: Arc<dyn Medium>,
    cache_bytes: usize,
    on_fatal: OnFatal,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("medium", &self.medium).field("sequence", &*self.events.borrow()).finish()
    }
}

impl Shared {
    pub(super) fn new(database: Database, medium: Arc<dyn Medium>, options: &Options, start: &Start) -> Self {
        Self {
            database: RwLock::new(Some(database)),
            documents: RwLock::new(start.documents.clone()),
            events: watch::Sender::new(start.sequence),
            clusters: Watches::default(),
            failed: Mutex::new(None),
            full: Mutex::new(None),
            medium,
            cache_bytes: options.cache_bytes,
            on_fatal: Arc::clone(&options.on_fatal),
        }
    }

    pub(super) fn medium(&self) -> &dyn Medium {
        &*self.medium
    }

    /// Reads one snapshot. A panic of the engine ends the process: it means a damaged page.
    pub(super) fn read<T>(&self, f: impl Fn(&ReadTransaction) -> Result<T, ReadError>) -> Result<T, StoreError> {
        let mut attempts = REOPEN_ATTEMPTS;
        loop {
            let read = self.with_database(|database| f(&database.begin_read()?));
            attempts -= 1;
            match read {
                // The writer met the end of the disk and is about to open the database anew, which mends reading.
                Err(StoreError::Full(_)) if attempts > 0 => std::thread::sleep(REOPEN_PAUSE),
                other => return other,
            }
        }
    }

    /// Works on the open database, and turns what goes wrong into the store's words.
    pub(super) fn with_database<T>(&self, f: impl FnOnce(&Database) -> Result<T, ReadError>) -> Result<T, StoreError> {
        self.refuse_if_failed()?;
        let guard = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = guard.as_ref() else {
            return Err(StoreError::Full("it could not be opened again yet".into()));
        };
        match catch_unwind(AssertUnwindSafe(|| f(database))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.judge(error)),
            Err(_) => Err(self.fail(StoreError::Damaged("the engine gave up on its pages".into()))),
        }
    }

    /// What a failed read means; where nothing may go on after it, that is remembered.
    pub(super) fn judge(&self, error: ReadError) -> StoreError {
        let error = match error {
            ReadError::Engine(error) => medium::meaning(self.medium(), *error),
            ReadError::Damaged(text) => StoreError::Damaged(text),
        };
        let broken = matches!(self.medium.fault().get(), Some(Fault::Broken(_)));
        if broken || matches!(error, StoreError::Damaged(_)) { self.fail(error) } else { error }
    }

    /// Closes and opens anew, as the engine wants it after a failed write.
    pub(super) fn reopen(&self) -> Result<(), StoreError> {
        let mut guard = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *guard = None;
        *guard = Some(medium::open(self.medium(), self.cache_bytes, false)?);
        Ok(())
    }

    /// Closes for good.
    pub(super) fn close(&self) {
        *self.database.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Remembers a failure after which nothing may go on, and says so; gives it back for those who wait.
    pub(super) fn fail(&self, error: StoreError) -> StoreError {
        let first = {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            let first = failed.is_none();
            failed.get_or_insert(error.clone());
            first
        };
        if first {
            tracing::error!(%error, store = %self.medium.name(), "the store cannot go on; the process ends");
            (self.on_fatal)(&error);
        }
        error
    }

    /// Notes that the disk is full, or is not any more.
    pub(super) fn set_full(&self, why: Option<String>) {
        *self.full.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// How the store is. The disk is asked for its room: one that is full is told of before a write is refused, and one that
    /// was full and has room again will be found so by the next write.
    pub(super) fn health(&self) -> Health {
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let room = self.medium.room_bytes();
        let full = match room {
            Ok(room) if room >= RESERVE_BYTES => None,
            Ok(room) => full.or_else(|| Some(little_room(room))),
            Err(_) => full,
        };
        let little_room = room.ok().filter(|_| full.is_none()).and_then(soon_full);
        Health {
            full,
            unreachable: None,
            little_room,
            bytes: self.medium.taken_bytes().unwrap_or(0),
            ..Health::default()
        }
    }

    pub(super) fn refuse_if_failed(&self) -> Result<(), StoreError> {
        match &*self.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    pub(super) fn document(&self, name: &str) -> Option<Arc<Document>> {
        self.documents.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    pub(super) fn document_names(&self) -> Vec<String> {
        self.documents.read().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Shows a group that is durable: documents first, then the watches.
    pub(super) fn publish(&self, sequence: u64, changed: BTreeMap<String, Arc<Document>>) {
        let versions: Vec<(String, u64)> = changed.iter().map(|(name, doc)| (name.clone(), doc.version)).collect();
        self.documents.write().unwrap_or_else(PoisonError::into_inner).extend(changed);
        for (name, version) in versions {
            self.clusters.rise(&name, version);
        }
        self.events.send_if_modified(|last| std::mem::replace(last, sequence) != sequence);
    }

    pub(super) fn watch_events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    pub(super) fn watch_cluster(&self, name: &str) -> watch::Receiver<u64> {
        self.clusters.subscribe(name, || self.document(name).map_or(0, |document| document.version))
    }
}

/// What goes wrong while a snapshot is read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The engine's own.
    Engine(Box<redb::Error>),
    /// A value that is not what this store writes.
    Damaged(String),
}

impl<E: Into<redb::Error>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Engine(Box::new(error.into()))
    }
}
