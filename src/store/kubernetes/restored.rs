//! A person says that etcd, and this store with it, came back from a backup.

use super::shared::RESTORED;
use super::{Connect, KubernetesStore, Options, Sharing, seen};
use crate::store::restored::{hold, now_unix_ms};
use crate::store::{Batch, Operation, Space, Store as _, StoreError, Watch};
use std::sync::Arc;

/// What was done to it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// The site's name.
    pub site: String,
    /// Where it lies.
    pub place: String,
    /// When its last event was written, Unix milliseconds.
    pub backup_unix_ms: i64,
    /// Machines that are held until adopted.
    pub machines: usize,
    /// Clusters that are frozen until thawed.
    pub clusters: usize,
}

impl KubernetesStore {
    /// Takes the store over and puts it into the state of one that came back from a backup. Servers that saw more of its log than there
    /// is serve it after that, and not before: the word for them comes last. `authority`: as [`Options::authority`].
    ///
    /// # Errors
    /// Those of [`KubernetesStore::open`], and of writing.
    pub fn restored(
        connect: Connect,
        authority: Option<String>,
        now_ms: u64,
        watch: &dyn Watch,
    ) -> Result<Restored, StoreError> {
        let options = Options {
            now_ms,
            authority,
            sharing: Sharing::Alone,
            // A full one comes back, too.
            state_bytes: u64::MAX,
            // What fails here fails the command, not the process.
            on_fatal: Arc::new(|_| ()),
            ..Options::default()
        };
        watch.begins("reading the store", 0);
        let store = Self::open(connect, options)?;
        let now_unix_ms = now_unix_ms();
        let commit = |batch: Batch| {
            let answer = store.send(batch, now_unix_ms)?;
            answer.blocking_recv().map_err(|_| super::writer::ended())?
        };
        let (backup_unix_ms, machines) = hold(&store, &commit, now_unix_ms, watch)?;
        let before = seen::restored(&store.shared.state());
        let word = u64::try_from(now_unix_ms).unwrap_or(0).max(before.saturating_add(1));
        let value = Some(word.to_string().into_bytes());
        let put = Operation::Put { space: Space::Meta, key: RESTORED.to_owned(), value };
        commit(Batch { operations: vec![put], ..Batch::default() })?;
        let site = store.get(Space::Meta, "site")?.unwrap_or_default();
        Ok(Restored {
            site: String::from_utf8_lossy(&site).into_owned(),
            place: store.shared.objects.place(),
            backup_unix_ms,
            machines,
            clusters: store.clusters()?.len(),
        })
    }
}
