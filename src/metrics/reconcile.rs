//! Attempts at revisions.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

type Outcome = [(&'static str, &'static str); 1];

/// Attempts at revisions.
#[derive(Debug, Clone)]
pub struct Reconcile {
    seconds: Family<Outcome, Histogram, fn() -> Histogram>,
    last: Family<Outcome, Gauge<f64, AtomicU64>>,
}

impl Default for Reconcile {
    fn default() -> Self {
        // Ten milliseconds to five minutes.
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.01, 2.0, 16));
        Self { seconds: Family::new_with_constructor(seconds), last: Family::default() }
    }
}

impl Reconcile {
    /// An attempt came to this, after so long.
    pub fn attempted(&self, outcome: &'static str, took: Duration) {
        let outcome = [("outcome", outcome)];
        self.seconds.get_or_create(&outcome).observe(took.as_secs_f64());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last.get_or_create(&outcome).set(now.as_secs_f64());
    }

    pub(super) fn register(&self, to: &mut Registry) {
        let help = "How long attempts at a revision took: `applied`, `waiting`, `refused`, `postponed`, `overtaken`";
        to.register("reconcile_duration_seconds", help, self.seconds.clone());
        let help = "When an attempt last came to that in this process, Unix time";
        to.register("reconcile_last_timestamp_seconds", help, self.last.clone());
    }
}
