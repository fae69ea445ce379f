//! What a person allowed a revision beyond the guards, when it was pushed (`git push -o allow-wipe=node-7`).
//!
//! It is kept in the store by the commit's id before the branch moves, so that it is there when the revision is applied, also
//! by a server that was started anew between the two. It allows nothing to any other revision.

use crate::store::{Operation, Space, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What one revision may do that the guards refuse by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Allowance {
    /// Who said so.
    pub by: String,
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

fn key(revision: &str) -> String {
    format!("allowed/{revision}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_names_machines_or_says_all() {
        let named = Allowance { wipe: BTreeSet::from(["node-7".to_owned()]), ..Allowance::default() };
        assert!(named.is_some() && named.allows_wipe("node-7") && !named.allows_wipe("node-8"));
        let all = Allowance { wipe_all: true, ..Allowance::default() };
        assert!(all.is_some() && all.allows_wipe("node-8"));
        assert!(!Allowance::default().is_some() && !Allowance::default().allows_wipe("node-7"));
    }
}
