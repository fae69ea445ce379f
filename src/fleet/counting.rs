//! A store of which is known how much of a stream was read at once. For tests.

use crate::cluster::Document;
use crate::journal::{Record, Stream};
use crate::store::{Batch, BoxFuture, Committed, Health, Lease, Space, Store, StoreError};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::watch::Receiver;

/// A store, and the most records that one question gave.
pub(super) struct Counting {
    pub inner: Arc<dyn Store>,
    pub most: AtomicUsize,
}

impl Counting {
    fn count(&self, records: Vec<Record>) -> Vec<Record> {
        self.most.fetch_max(records.len(), Ordering::Relaxed);
        records
    }
}

impl Store for Counting {
    fn commit(&self, batch: Batch, now_unix_ms: i64) -> BoxFuture<'_, Result<Committed, StoreError>> {
        self.inner.commit(batch, now_unix_ms)
    }
    fn events_after(&self, sequence: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        Ok(self.count(self.inner.events_after(sequence, limit)?))
    }
    fn events_of(&self, stream: &Stream, index: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        Ok(self.count(self.inner.events_of(stream, index, limit)?))
    }
    fn compacted(&self, stream: Option<&Stream>) -> Result<u64, StoreError> {
        self.inner.compacted(stream)
    }
    fn head(&self, stream: &Stream) -> Result<u64, StoreError> {
        self.inner.head(stream)
    }
    fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.inner.streams()
    }
    fn cluster(&self, name: &str) -> Result<Option<Arc<Document>>, StoreError> {
        self.inner.cluster(name)
    }
    fn clusters(&self) -> Result<Vec<String>, StoreError> {
        self.inner.clusters()
    }
    fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.inner.leases()
    }
    fn get(&self, space: Space, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(space, key)
    }
    fn keys(&self, space: Space) -> Result<Vec<String>, StoreError> {
        self.inner.keys(space)
    }
    fn watch_events(&self) -> Receiver<u64> {
        self.inner.watch_events()
    }
    fn watch_cluster(&self, name: &str) -> Receiver<u64> {
        self.inner.watch_cluster(name)
    }
    fn backup(&self, to: &Path) -> Result<(), StoreError> {
        self.inner.backup(to)
    }
    fn health(&self) -> Health {
        self.inner.health()
    }
}
