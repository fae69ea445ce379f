//! Power cuts: the replica and its connection go at any call, also at one that was done; the log stays.

use super::super::{KubernetesStore, Options};
use super::Fatal;
use super::memory::{Memory, Mood};
use crate::store::conformance::power::{Powered, Stale, history};
use crate::store::conformance::program::Dice;
use crate::store::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

struct Replica(Arc<Memory>);

impl Powered for Replica {
    fn start(&self, now_ms: u64) -> Result<Arc<dyn Store>, StoreError> {
        let options = Options {
            now_ms,
            patience: Duration::ZERO,
            snapshot_segments: 20,
            kept_segments: 5,
            ..Fatal::default().options()
        };
        Ok(Arc::new(KubernetesStore::open(self.0.connect(), options)?))
    }

    fn cut_after(&self, calls: u64) {
        self.0.set(Mood { power_left: Some(calls), ..Mood::default() });
    }

    fn power_back(&mut self, _: &mut Dice) {
        self.0.set(Mood::default());
    }
}

fn honest(store: Arc<dyn Store>) -> Arc<dyn Store> {
    store
}

#[test]
fn two_hundred_and_fifty_cuts_lose_nothing_that_was_answered_and_tear_nothing() {
    let mut answers = 0;
    for seed in 1..=10 {
        let seen = history(&mut Replica(super::site()), honest, seed, 25);
        answers += seen.unwrap_or_else(|wrong| panic!("{wrong}")).len();
    }
    assert!(answers > 1_000, "{answers}");
}

#[test]
fn a_replica_that_reads_from_before_the_last_write_is_found_out() {
    let found = (1..=5).any(|seed| history(&mut Replica(super::site()), Stale::before, seed, 25).is_err());
    assert!(found, "stale reads went by");
}
