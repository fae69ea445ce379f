//! What a person allowed a revision beyond the guards, when it was pushed (`git push -o allow-wipe=node-7`).
//!
//! It is kept in the store by the commit's id before the branch moves, so that it is there when the revision is applied, also
//! by a server that was started anew between the two. It allows nothing to any other revision.

use crate::store::{Batch, Operation, Space, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is before a revision's id.
const ABOVE: &str = "allowed/";
/// An allowance of a revision that did not come to serve is kept for so long: its push may have been cut off, and comes again.
const UNUSED_MS: i64 = 7 * 24 * 3600 * 1000;

/// What one revision may do that the guards refuse by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Allowance {
    /// Who said so.
    pub by: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// It may go from many objects to none.
    pub empty: bool,
    /// It may wipe every machine that it would.
    pub wipe_all: bool,
    /// It may wipe these, by name.
    pub wipe: BTreeSet<String>,
}

impl Allowance {
    /// Whether it says anything.
    pub fn is_some(&self) -> bool {
        self.empty || self.wipe_all || !self.wipe.is_empty()
    }

    /// Whether this machine may be wiped beyond the guard.
    pub fn allows_wipe(&self, machine: &str) -> bool {
        self.wipe_all || self.wipe.contains(machine)
    }

    /// What writes it down for a revision.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] where it cannot be written as JSON.
    pub fn to_operation(&self, revision: &str) -> Result<Operation, StoreError> {
        let value = serde_json::to_vec(self).map_err(|error| StoreError::TooLarge(error.to_string()))?;
        Ok(Operation::Put { space: Space::Meta, key: key(revision), value: Some(value) })
    }

    /// What was allowed to a revision; nothing where nobody said anything.
    ///
    /// # Errors
    /// What the store says.
    pub fn of(store: &dyn Store, revision: &str) -> Result<Self, StoreError> {
        let value = store.get(Space::Meta, &key(revision))?;
        Ok(value.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }
}

/// Drops what was allowed to revisions that one does not go back to, and that are not about to be applied.
///
/// # Errors
/// What the store says; what is not dropped now is the next time.
pub(super) async fn sweep(store: &dyn Store, kept: &[String], now_unix_ms: i64) -> Result<usize, StoreError> {
    let mut operations = Vec::new();
    for key in store.keys(Space::Meta)? {
        let Some(revision) = key.strip_prefix(ABOVE) else { continue };
        let young = || -> Result<bool, StoreError> {
            let allowed = Allowance::of(store, revision)?;
            Ok(now_unix_ms.saturating_sub(allowed.at_unix_ms) < UNUSED_MS)
        };
        if !kept.iter().any(|kept| kept == revision) && !young()? {
            operations.push(Operation::Put { space: Space::Meta, key, value: None });
        }
    }
    let count = operations.len();
    if count > 0 {
        store.commit(Batch { operations, ..Batch::default() }, now_unix_ms).await?;
    }
    Ok(count)
}

fn key(revision: &str) -> String {
    format!("{ABOVE}{revision}")
}

#[cfg(test)]
mod tests {
    use super::super::test_store::MemoryStore;
    use super::*;

    #[tokio::test]
    async fn what_was_allowed_is_kept_while_its_revision_can_still_come_to_serve() {
        let store = MemoryStore::default();
        let now = 100 * UNUSED_MS;
        for (revision, at_unix_ms) in
            [("kept", 1), ("old", now - UNUSED_MS), ("young", now - UNUSED_MS + 1), ("odd", 0)]
        {
            let allowance = Allowance { at_unix_ms, wipe_all: true, ..Allowance::default() };
            let operations = vec![allowance.to_operation(revision).unwrap()];
            store.commit(Batch { operations, ..Batch::default() }, 1).await.unwrap();
        }
        let other = Operation::Put { space: Space::Meta, key: "site".into(), value: Some(b"lab".to_vec()) };
        store.commit(Batch { operations: vec![other], ..Batch::default() }, 1).await.unwrap();
        assert_eq!(sweep(&store, &["kept".to_owned()], now).await.unwrap(), 2);
        assert_eq!(store.keys(Space::Meta).unwrap(), ["allowed/kept", "allowed/young", "site"]);
        assert!(Allowance::of(&store, "kept").unwrap().wipe_all && !Allowance::of(&store, "old").unwrap().is_some());
    }

    #[test]
    fn an_allowance_names_machines_or_says_all() {
        let named = Allowance { wipe: BTreeSet::from(["node-7".to_owned()]), ..Allowance::default() };
        assert!(named.is_some() && named.allows_wipe("node-7") && !named.allows_wipe("node-8"));
        let all = Allowance { wipe_all: true, ..Allowance::default() };
        assert!(all.is_some() && all.allows_wipe("node-8"));
        assert!(!Allowance::default().is_some() && !Allowance::default().allows_wipe("node-7"));
    }
}
