//! Power cuts of the embedded engine, and the three lies that the checks must find out.
//!
//! `FORMWORK_CRASH_CUTS` says how many (2,000 where it is not set), `FORMWORK_CRASH_SEED` with which seed to begin;
//! `scripts/crash` does that.

use super::disk::{Disk, Sync};
use super::failures::{Recorder, new_disk, start_with};
use crate::store::conformance::power::{Between, Powered, Stale, history};
use crate::store::conformance::program::Dice;
use crate::store::embedded::Options;
use crate::store::{Store, StoreError};
use std::sync::Arc;

/// Cuts of one history, one after the other on the same disk.
const CUTS: u64 = 25;

struct Embedded {
    disk: Disk,
}

impl Embedded {
    fn on(sync: Sync) -> Self {
        let disk = new_disk();
        disk.set_sync(sync);
        Self { disk }
    }
}

impl Powered for Embedded {
    fn start(&self, now_ms: u64) -> Result<Arc<dyn Store>, StoreError> {
        let options = Options { now_ms, on_fatal: Recorder::default().hook(), ..Options::default() };
        Ok(Arc::new(start_with(&self.disk, options)?))
    }

    fn cut_after(&self, calls: u64) {
        self.disk.cut_after(calls);
    }

    fn power_back(&mut self, dice: &mut Dice) {
        self.disk = self.disk.after_power_cut(dice);
    }
}

fn honest(store: Arc<dyn Store>) -> Arc<dyn Store> {
    store
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn two_thousand_power_cuts_lose_nothing_that_was_answered_and_tear_nothing() {
    let (cuts, seed) = (number("FORMWORK_CRASH_CUTS", 2_000), number("FORMWORK_CRASH_SEED", 1));
    let mut answers = 0;
    for seed in seed..seed + cuts.div_ceil(CUTS) {
        let seen = history(&mut Embedded::on(Sync::True), honest, seed, CUTS);
        answers += seen.unwrap_or_else(|wrong| panic!("{wrong}")).len();
    }
    println!("{cuts} power cuts, {answers} answers");
    assert!(answers as u64 > cuts, "there is hardly anything to lose: {answers} answers");
}

#[test]
fn a_seed_gives_the_same_history_again() {
    let history = || format!("{:?}", history(&mut Embedded::on(Sync::True), honest, 7, CUTS));
    assert_eq!(history(), history());
}

/// Whether one of the first few seeds finds it out.
fn is_found_out(sync: Sync, between: Between) -> bool {
    (1..20).any(|seed| history(&mut Embedded::on(sync), between, seed, CUTS).is_err())
}

#[test]
fn a_store_without_fsync_is_found_out() {
    assert!(is_found_out(Sync::Never, honest));
}

#[test]
fn a_disk_that_lies_about_fsync_is_found_out() {
    assert!(is_found_out(Sync::Late, honest));
}

#[test]
fn stale_replies_are_found_out() {
    assert!(is_found_out(Sync::True, Stale::before));
}
