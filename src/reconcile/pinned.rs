//! Catalogs of the revisions that runs are pinned to, a few of them in memory.

use std::collections::VecDeque;
use std::sync::Arc;

/// Open runs are pinned to few revisions at a time; each catalog is a few megabytes at most.
const KEPT: usize = 8;

/// The catalogs used last, the newest use first.
#[derive(Debug)]
pub(super) struct Pinned<C> {
    used: VecDeque<(String, Arc<C>)>,
}

impl<C> Default for Pinned<C> {
    fn default() -> Self {
        Self { used: VecDeque::new() }
    }
}

impl<C> Pinned<C> {
    /// The catalog of a revision, if it is in memory.
    pub(super) fn get(&mut self, revision: &str) -> Option<Arc<C>> {
        let place = self.used.iter().position(|(known, _)| known == revision)?;
        let entry = self.used.remove(place)?;
        let catalog = Arc::clone(&entry.1);
        self.used.push_front(entry);
        Some(catalog)
    }

    /// Remembers one; the one not used for longest is dropped.
    pub(super) fn put(&mut self, revision: &str, catalog: Arc<C>) {
        self.used.retain(|(known, _)| known != revision);
        self.used.push_front((revision.to_owned(), catalog));
        self.used.truncate(KEPT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalog_not_used_for_longest_is_dropped() {
        let mut pinned = Pinned::default();
        for n in 0..KEPT {
            pinned.put(&n.to_string(), Arc::new(n));
        }
        assert_eq!(pinned.get("0").as_deref(), Some(&0));
        pinned.put("new", Arc::new(99));
        assert_eq!((pinned.get("1"), pinned.get("0").as_deref()), (None, Some(&0)));
    }
}
