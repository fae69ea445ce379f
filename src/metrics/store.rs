//! Commits to the store, and what was written down by them. Of several servers on one store each counts its own.

use super::{Counters, counters};
use crate::journal::Event;
use crate::wire::JobOutcome;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::time::Duration;

/// Commits to the store.
#[derive(Debug, Clone)]
pub struct Store {
    commits: Counters,
    seconds: Histogram,
    cluster_operations: Counters,
    boots: Counter,
    runs_started: Counter,
    runs_ended: Counters,
    jobs_granted: Counter,
    jobs_ended: Counters,
    overdue: Counter,
    quarantined: Counter,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            commits: counters("result", &["done", "conflict", "busy", "full", "unreachable", "failed"]),
            // Half a millisecond to eight seconds.
            seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 15)),
            cluster_operations: counters("answer", &["written", "unchanged", "claim", "joined", "refused"]),
            boots: Counter::default(),
            runs_started: Counter::default(),
            runs_ended: counters("result", &["finished", "cancelled"]),
            jobs_granted: Counter::default(),
            jobs_ended: counters("outcome", &["done", "failed", "timed-out", "interrupted", "abandoned"]),
            overdue: Counter::default(),
            quarantined: Counter::default(),
        }
    }
}

impl Store {
    /// A commit came to this, after so long.
    pub fn commit(&self, result: &'static str, took: Duration) {
        self.commits.get_or_create(&[("result", result)]).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// A cluster's document was asked to change, and this was answered.
    pub fn cluster_operation(&self, answer: &'static str) {
        self.cluster_operations.get_or_create(&[("answer", answer)]).inc();
    }

    /// This was written down.
    pub fn event(&self, event: &Event) {
        if let Some(counter) = self.counter_of(event) {
            counter.inc();
        }
    }

    fn counter_of(&self, event: &Event) -> Option<Counter> {
        Some(match event {
            Event::CheckedIn { .. } => self.boots.clone(),
            Event::RunStarted { .. } => self.runs_started.clone(),
            Event::RunFinished { .. } => self.runs_ended.get_or_create_owned(&[("result", "finished")]),
            Event::RunCancelled { .. } => self.runs_ended.get_or_create_owned(&[("result", "cancelled")]),
            Event::JobGranted { .. } => self.jobs_granted.clone(),
            Event::JobEnded { outcome, .. } => {
                let outcome = match outcome {
                    JobOutcome::Done => "done",
                    JobOutcome::Failed => "failed",
                    JobOutcome::TimedOut => "timed-out",
                    JobOutcome::Interrupted => "interrupted",
                    JobOutcome::Abandoned => "abandoned",
                };
                self.jobs_ended.get_or_create_owned(&[("outcome", outcome)])
            }
            Event::Overdue { .. } => self.overdue.clone(),
            Event::Quarantined { .. } => self.quarantined.clone(),
            _ => return None,
        })
    }

    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "store_commits",
            "Commits to the store; after a `conflict` the server decides again",
            self.commits.clone(),
        );
        let help = "How long commits took, from the question to what is durable";
        to.register("store_commit_duration_seconds", help, self.seconds.clone());
        let help = "Operations on the documents of clusters, by how they were answered";
        to.register("cluster_operations", help, self.cluster_operations.clone());
        to.register("boots", "Boots: agents that checked in", self.boots.clone());
        to.register("runs_started", "Runs that began", self.runs_started.clone());
        to.register("runs_ended", "Runs that ended", self.runs_ended.clone());
        to.register("jobs_granted", "Jobs granted", self.jobs_granted.clone());
        to.register("jobs_ended", "Jobs that ended", self.jobs_ended.clone());
        to.register(
            "overdue",
            "Silences that were written down: a machine said nothing for too long",
            self.overdue.clone(),
        );
        to.register("quarantines", "Machines put in quarantine: two keys used one ticket", self.quarantined.clone());
    }
}
