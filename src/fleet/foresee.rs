//! What a revision would do to the machines that are known, before it is applied: gathers what [`inspect::change`] decides on.

use super::identify::ToAdopt;
use super::machines::Fleet;
use crate::catalog::Catalog;
use crate::inspect::change::{Change, Knowledge, Question, change, pinned_revisions};
use crate::journal::MachineState;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Fleet {
    /// What would follow from serving `new` in place of `old` (none: in place of nothing), with the machines as they are now.
    /// Nothing is written down. A pinned revision that cannot be loaded is missing in the imagination as it is in truth.
    pub async fn foresee(&self, old: Option<Arc<Catalog>>, new: Arc<Catalog>) -> Change {
        let known = self.knowledge(old.as_deref(), &new);
        let now_unix_ms = self.clock.now_unix_ms();
        let none = BTreeMap::new();
        let question = Question { old: old.as_deref(), new: &new, known: &known, pinned: &none, now_unix_ms };
        let mut pinned = BTreeMap::new();
        for revision in pinned_revisions(&question) {
            match self.reconciler.catalog_at(&revision).await {
                Ok(catalog) => {
                    pinned.insert(revision, catalog);
                }
                Err(error) => {
                    tracing::warn!(revision, %error, "the revision of an open run cannot be loaded");
                }
            }
        }
        // Ten thousand machines take up to a second: not on a thread that answers machines.
        let (before, after) = (old.clone(), Arc::clone(&new));
        let asked = tokio::task::spawn_blocking(move || {
            let old = before.as_deref();
            change(&Question { old, new: &after, known: &known, pinned: &pinned, now_unix_ms })
        });
        match asked.await {
            Ok(change) => change,
            Err(error) => {
                tracing::error!(%error, "what a revision would do could not be foreseen");
                let known = Knowledge::Nothing;
                change(&Question { old: old.as_deref(), new: &new, known: &known, pinned: &none, now_unix_ms })
            }
        }
    }

    /// What is known of machines, with the names that go on under new ones.
    fn knowledge(&self, old: Option<&Catalog>, new: &Catalog) -> Knowledge {
        let mut states: BTreeMap<String, Arc<MachineState>> =
            self.all().into_iter().map(|entry| (entry.name.clone(), entry.state())).collect();
        let mut renamed = BTreeMap::new();
        for (name, ToAdopt { state, former }) in self.to_adopt(new) {
            states.insert(name.clone(), state);
            renamed.insert(name, former);
        }
        // What is taken out of Git before its box said a word under that name is the machine that it was all along, where that
        // one is there still; else it leaves as what it was to be.
        for (name, ToAdopt { state, former }) in old.map(|old| self.to_adopt(old)).unwrap_or_default() {
            if new.machine(&name).is_some() || renamed.values().any(|other| *other == former) {
                continue;
            }
            let stays = states.get(&former).is_some_and(|state| Self::view_on(new, &former, state).is_some());
            if stays {
                renamed.insert(former, name);
            } else {
                states.insert(name.clone(), state);
                renamed.insert(name, former);
            }
        }
        Knowledge::Journal { states, trust: self.trust(), renamed }
    }
}
