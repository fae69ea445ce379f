//! A person says that etcd, and this store with it, came back from a backup.

use super::shared::RESTORED;
use super::{Connect, KubernetesStore, Options, Sharing, seen};
use crate::store::restored::{hold, now_unix_ms};
use crate::store::{Batch, Operation, Space, Store as _, StoreError, Watch};
use std::path::Path;
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
    /// is serve it after that, and not before: the word for them comes last. `authority`: as [`Options::authority`]. `seen`: the
    /// file of whoever says so here, as [`Options::seen`]: a word that was said before may be gone with a second backup, and this one has
    /// to be later.
    ///
    /// # Errors
    /// Those of [`KubernetesStore::open`], and of writing.
    pub fn restored(
        connect: Connect,
        authority: Option<String>,
        seen: Option<&Path>,
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
        let seen = seen.map(seen::Seen::read).transpose()?.flatten();
        watch.begins("reading the store", 0);
        let store = Self::open(connect, options)?;
        let now_unix_ms = now_unix_ms();
        let commit = |batch: Batch| {
            let answer = store.send(batch, now_unix_ms)?;
            answer.blocking_recv().map_err(|_| super::writer::ended())?
        };
        let (backup_unix_ms, machines) = hold(&store, &commit, now_unix_ms, watch)?;
        let word = word(now_unix_ms, seen::restored(&store.shared.state()), seen.as_ref(), &store.shared.store);
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

/// The word by which a store came back: later than the one before that it holds, and than the one that was seen of it here, which a second
/// backup may have taken away again. Clocks of whoever says so may differ.
fn word(now_unix_ms: i64, held: u64, seen: Option<&seen::Seen>, store: &str) -> u64 {
    let seen = seen.filter(|seen| seen.store == store).map_or(0, |seen| seen.restored_unix_ms);
    u64::try_from(now_unix_ms).unwrap_or(0).max(held.max(seen).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_later_than_all_that_are_known() {
        let seen = |store: &str, restored_unix_ms| seen::Seen {
            store: store.to_owned(),
            restored_unix_ms,
            ..seen::Seen::default()
        };
        for (now, held, seen, said) in [
            (50, 0, None, 50),
            (50, 70, None, 71),
            (50, 0, Some(seen("s", 70)), 71),
            (50, 60, Some(seen("s", 40)), 61),
            (50, 0, Some(seen("another", 70)), 50),
            (-1, 0, None, 1),
        ] {
            assert_eq!(word(now, held, seen.as_ref(), "s"), said, "{now} {held} {seen:?}");
        }
    }
}
