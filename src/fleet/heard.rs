//! When machines were last heard of, told among servers on one store: whoever judges a silence must know of words to the others.
//!
//! Only of machines with an open run, since nobody else is waited for, and in one small value a server, written when it says something
//! new: words come every few seconds, and a store in Kubernetes rewrites nothing.

use super::machines::Fleet;
use crate::store::{Batch, Operation, Space, StoreError};
use std::collections::BTreeMap;

/// So many machines are told of at most; the value stays well below what one may be.
const TOLD_MAX: usize = 20_000;

/// Names and the wall clock's milliseconds.
type Words = BTreeMap<String, i64>;

impl Fleet {
    /// Writes down under this server's name which machines it heard of since `told`, which is what it wrote last.
    ///
    /// # Errors
    /// What the store says; it is told the next time.
    pub async fn tell_heard(&self, server: &str, told: &mut BTreeMap<String, i64>) -> Result<(), StoreError> {
        let heard: Words = self
            .all()
            .into_iter()
            .filter(|entry| entry.state().run.as_ref().is_some_and(|run| run.is_open()))
            .filter_map(|entry| Some((entry.name.clone(), entry.live().contact_here_unix_ms?)))
            .take(TOLD_MAX)
            .collect();
        if heard == *told {
            return Ok(());
        }
        let value = (!heard.is_empty()).then(|| serde_json::to_vec(&heard)).transpose();
        let value = value.map_err(|error| StoreError::Io(error.to_string()))?;
        self.put_heard(server, value).await?;
        *told = heard;
        Ok(())
    }

    /// Takes in what other servers heard.
    ///
    /// # Errors
    /// What the store says.
    pub fn take_heard(&self, own: &str) -> Result<(), StoreError> {
        for server in self.store.keys(Space::Heard)?.into_iter().filter(|server| server != own) {
            let value = self.store.get(Space::Heard, &server)?;
            // One of another version may say it otherwise.
            let words: Words = value.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
            for (name, unix_ms) in words {
                if let Some(entry) = self.known(&name) {
                    entry.heard_elsewhere(unix_ms);
                }
            }
        }
        Ok(())
    }

    /// Drops what servers wrote that are gone.
    ///
    /// # Errors
    /// What the store says.
    pub async fn forget_heard(&self, live: &[String]) -> Result<(), StoreError> {
        for server in self.store.keys(Space::Heard)?.into_iter().filter(|server| !live.contains(server)) {
            self.put_heard(&server, None).await?;
        }
        Ok(())
    }

    async fn put_heard(&self, server: &str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        let operations = vec![Operation::Put { space: Space::Heard, key: server.to_owned(), value }];
        self.commit(Batch { operations, ..Batch::default() }).await.map(drop)
    }
}
