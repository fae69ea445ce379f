//! The embedded engine: redb, one writer thread, group commit.
//!
//! Seams: [`medium`] is the disk (and what a failed call to it means), [`tables`] the layout and its encoding, [`super::plan`]
//! decides what a batch comes to (pure), [`transaction`] writes that, [`writer`] is the one thread that writes, [`shared`] what readers see,
//! [`migrate`] brings an older layout to this one, [`mod@check`] reads everything once and compares, [`mod@backup`] copies it, [`mod@dump`] shows it, [`reading`] keeps these three from ever writing to it, [`moving`] writes it for a move and makes it of one. This module opens and closes them and answers the trait.
//!
//! What is promised: a commit is answered after two fsyncs of its group (redb's two-phase commit: no power cut can make
//! half a transaction of it, whatever bytes machines sent); readers take a snapshot and never wait for the writer, but
//! for the moment in which a store is opened anew after a full disk; a failed fsync or a damaged page ends the process,
//! because what the kernel then holds in memory is not what the disk holds.

mod backup;
mod check;
mod dump;
mod files;
mod medium;
mod migrate;
mod moving;
mod reading;
mod restore;
mod shared;
mod tables;
mod transaction;
mod writer;

#[cfg(test)]
mod tests;

pub use super::Watch;
pub use backup::{backup, backup_of_copy, backup_watched};
pub use check::{Report, check, check_file, check_file_watched, check_watched};
pub use dump::{DumpError, dump, dump_file};
pub(super) use files::{Partial, open_failed};
pub use files::{exists, file, find, is_open, put_aside};
pub use moving::{export, import, moved};
pub use restore::{Restored, restore, restore_watched};

use super::measured::measured;
use super::{Batch, BoxFuture, Committed, Health, Lease, Operation, Space, Store, StoreError};
use crate::cluster;
use crate::journal::{Record, Stream};
use crate::metrics;
use files::{FileMedium, Lock};
use medium::Medium;
use shared::Shared;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use tokio::sync::{oneshot, watch};
use writer::{Waiting, Writer};

/// What is called when the store must not go on: a failed fsync, a damaged page. It is expected not to return; where it
/// does, every later commit is refused with the same error.
pub type OnFatal = Arc<dyn Fn(&StoreError) + Send + Sync>;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// So many commits may wait for the writer; one more is [`StoreError::Busy`].
    pub queue: usize,
    /// Memory for pages, bytes.
    pub cache_bytes: usize,
    /// The lifetime clock at this opening, milliseconds: every held claim gets its full lifetime again from here.
    pub now_ms: u64,
    /// What counts commits.
    pub metrics: metrics::Store,
    /// What ends the process.
    pub on_fatal: OnFatal,
}

impl Default for Options {
    /// A queue of 4,096 commits, 64 MiB of pages, the clock at 0, and a fatal failure aborts the process.
    fn default() -> Self {
        let on_fatal: OnFatal = Arc::new(|_| std::process::abort());
        Self { queue: 4096, cache_bytes: 64 << 20, now_ms: 0, metrics: metrics::Store::default(), on_fatal }
    }
}

/// The embedded store. Dropping it waits for the commits that are queued and closes the file.
pub struct EmbeddedStore {
    queue: Option<SyncSender<Waiting>>,
    writer: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    metrics: metrics::Store,
    _lock: Option<Lock>,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Makes a new store in `dir` (which is made where it is missing) for the site of that name, and leaves it closed. It
    /// holds its first event (`SiteCreated` with `fresh`: whether a person said that no machine of this site was ever
    /// installed) and the site's name under [`Space::Meta`] `site`.
    ///
    /// # Errors
    /// [`StoreError::Open`] where there is a store already: it is never written over.
    pub fn create(dir: &Path, site: &str, fresh: bool) -> Result<(), StoreError> {
        let lock = Lock::take(dir, true)?;
        let medium = files::begin_new(dir)?;
        let database = medium::open(&medium, 1 << 20, false)?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let now_unix_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        transaction::initialise(&database, &medium, site, fresh, now_unix_ms)?;
        drop(database);
        files::finish_new(dir)?;
        drop(lock);
        Ok(())
    }

    /// Opens the store in `dir` with the default [`Options`].
    ///
    /// # Errors
    /// As [`EmbeddedStore::open_with`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_with(dir, Options::default())
    }

    /// Opens the store in `dir`: takes its lock, verifies every page, and gives held claims their lifetime again.
    ///
    /// # Errors
    /// [`StoreError::Open`] where there is none, where another process has it, where it was moved out, or where it is of a newer version;
    /// [`StoreError::Damaged`] where a page is not what it was.
    pub fn open_with(dir: &Path, options: Options) -> Result<Self, StoreError> {
        let lock = Lock::take(dir, false)?;
        let medium = Arc::new(FileMedium::existing(dir)?);
        let store = Self::start(medium, options, Some(lock))?;
        store.refuse_moved()?;
        Ok(store)
    }

    fn start(medium: Arc<dyn Medium>, options: Options, lock: Option<Lock>) -> Result<Self, StoreError> {
        let database = medium::open(&*medium, options.cache_bytes, true)?;
        let start = tables::load(&database, options.now_ms)?;
        migrate::migrate(&database, &*medium)?;
        let shared = Arc::new(Shared::new(database, medium, &options, &start));
        let (queue, waiting) = sync_channel(options.queue.max(1));
        let writer = Writer::new(Arc::clone(&shared), &start);
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(&waiting))
            .map_err(|error| StoreError::Io(format!("the writer's thread did not start: {error}")))?;
        Ok(Self { queue: Some(queue), writer: Some(writer), shared, metrics: options.metrics, _lock: lock })
    }

    fn send(
        &self,
        batch: Batch,
        now_unix_ms: i64,
    ) -> Result<oneshot::Receiver<Result<Committed, StoreError>>, StoreError> {
        self.shared.refuse_if_failed()?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(writer::ended)?;
        match queue.try_send(Waiting { batch, now_unix_ms, reply }) {
            Ok(()) => Ok(answer),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(writer::ended()),
        }
    }

    /// The answer to a question that changes nothing of the newest document that is durable: who leads, asked by those who
    /// do not, and joins by those who are in. It holds at this moment, so it needs neither the writer nor the disk. `None`: it
    /// is for the writer to say.
    fn answered(&self, batch: &Batch) -> Option<Committed> {
        let Batch { expected, events, operations } = batch;
        let [Operation::Cluster(request)] = operations.as_slice() else { return None };
        let asks = matches!(request.operation, cluster::Operation::Claim { .. } | cluster::Operation::Join { .. });
        if !asks || !expected.is_empty() || !events.is_empty() {
            return None;
        }
        let document = self.shared.document(&request.cluster)?;
        let outcome = cluster::apply(&document, request);
        let changes = outcome.document.is_some() || !outcome.events.is_empty();
        (!changes).then(|| Committed { records: Vec::new(), answers: vec![outcome.answer] })
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(writer) = self.writer.take() {
            // A writer that panicked has called `on_fatal` already.
            let _ = writer.join();
        }
        self.shared.close();
    }
}

impl Store for EmbeddedStore {
    fn commit(&self, batch: Batch, now_unix_ms: i64) -> BoxFuture<'_, Result<Committed, StoreError>> {
        if let Some(committed) = self.answered(&batch)
            && self.shared.refuse_if_failed().is_ok()
        {
            return Box::pin(measured(&self.metrics, std::future::ready(Ok(committed))));
        }
        let sent = self.send(batch, now_unix_ms);
        Box::pin(measured(&self.metrics, async move { sent?.await.map_err(|_| writer::ended())? }))
    }

    fn events_after(&self, sequence: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.shared.read(|snapshot| tables::events_after(snapshot, sequence, limit))
    }

    fn events_of(&self, stream: &Stream, index: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.shared.read(|snapshot| tables::events_of(snapshot, stream, index, limit))
    }

    fn compacted(&self, stream: Option<&Stream>) -> Result<u64, StoreError> {
        self.shared.read(|snapshot| tables::compacted(snapshot, stream))
    }

    fn head(&self, stream: &Stream) -> Result<u64, StoreError> {
        self.shared.read(|snapshot| tables::head(snapshot, stream))
    }

    fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.shared.read(tables::streams)
    }

    fn cluster(&self, name: &str) -> Result<Option<Arc<cluster::Document>>, StoreError> {
        Ok(self.shared.document(name))
    }

    fn clusters(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.shared.document_names())
    }

    fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.shared.read(tables::leases)
    }

    fn get(&self, space: Space, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.shared.read(|snapshot| tables::value(snapshot, space, key))
    }

    fn keys(&self, space: Space) -> Result<Vec<String>, StoreError> {
        self.shared.read(|snapshot| tables::keys(snapshot, space))
    }

    fn watch_events(&self) -> watch::Receiver<u64> {
        self.shared.watch_events()
    }

    fn watch_cluster(&self, name: &str) -> watch::Receiver<u64> {
        self.shared.watch_cluster(name)
    }

    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.shared.read(|snapshot| Ok(backup::copy(snapshot, to, &())))?.map(|_| ())
    }

    fn health(&self) -> Health {
        self.shared.health()
    }
}
