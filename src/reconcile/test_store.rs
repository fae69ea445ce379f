//! A store in memory that takes events of the site and small values. For this module's tests: the real engine has its own suite.

use crate::cluster;
use crate::journal::{Record, Stream};
use crate::store::{Batch, BoxFuture, Committed, Lease, Operation, Space, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Events in memory; can be told to be full.
#[derive(Default)]
pub(super) struct MemoryStore {
    records: Mutex<Vec<Record>>,
    values: Mutex<BTreeMap<(String, String), Vec<u8>>>,
    pub(super) full: AtomicBool,
}

impl MemoryStore {
    fn records(&self) -> Vec<Record> {
        self.records.lock().expect("not poisoned").clone()
    }
}

impl Store for MemoryStore {
    fn commit(&self, batch: Batch, now_unix_ms: i64) -> BoxFuture<'_, Result<Committed, StoreError>> {
        Box::pin(async move {
            if self.full.load(Ordering::SeqCst) {
                return Err(StoreError::Full("test".to_owned()));
            }
            let mut records = self.records.lock().expect("not poisoned");
            let actual = records.len() as u64;
            for (stream, expected) in batch.expected {
                if expected != actual {
                    return Err(StoreError::Conflict { stream, expected, actual });
                }
            }
            for (stream, event) in batch.events {
                let index = records.len() as u64;
                records.push(Record { sequence: index + 1, stream, index, at_unix_ms: now_unix_ms, event });
            }
            let mut values = self.values.lock().expect("not poisoned");
            for operation in batch.operations {
                if let Operation::Put { space, key, value } = operation {
                    let place = (format!("{space:?}"), key);
                    match value {
                        Some(value) => values.insert(place, value),
                        None => values.remove(&place),
                    };
                }
            }
            Ok(Committed { records: records.clone(), answers: Vec::new() })
        })
    }
    fn events_after(&self, sequence: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        Ok(self.records().into_iter().filter(|record| record.sequence > sequence).take(limit).collect())
    }
    fn events_of(&self, stream: &Stream, index: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let found = self.records().into_iter().filter(|record| record.stream == *stream && record.index >= index);
        Ok(found.take(limit).collect())
    }
    fn compacted(&self, _: Option<&Stream>) -> Result<u64, StoreError> {
        Ok(0)
    }
    fn backup(&self, _: &std::path::Path) -> Result<(), StoreError> {
        Err(StoreError::Open("in memory".to_owned()))
    }
    fn health(&self) -> crate::store::Health {
        crate::store::Health::default()
    }
    fn head(&self, _: &Stream) -> Result<u64, StoreError> {
        Ok(self.records().len() as u64)
    }
    fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        Ok(vec![Stream::Site])
    }
    fn cluster(&self, _: &str) -> Result<Option<Arc<cluster::Document>>, StoreError> {
        Ok(None)
    }
    fn clusters(&self) -> Result<Vec<String>, StoreError> {
        Ok(Vec::new())
    }
    fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        Ok(Vec::new())
    }
    fn get(&self, space: Space, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.values.lock().expect("not poisoned").get(&(format!("{space:?}"), key.to_owned())).cloned())
    }
    fn keys(&self, space: Space) -> Result<Vec<String>, StoreError> {
        let values = self.values.lock().expect("not poisoned");
        Ok(values.keys().filter(|(of, _)| *of == format!("{space:?}")).map(|(_, key)| key.clone()).collect())
    }
    fn watch_events(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }
    fn watch_cluster(&self, _: &str) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }
}
