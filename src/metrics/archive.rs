//! Logs of jobs that go into an object store and come out of it.

use super::{Counters, counters};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// Logs in an object store.
#[derive(Debug, Clone)]
pub struct Archive {
    uploads: Counters,
    sent: Counter,
    reads: Counters,
    removed: Counter,
}

impl Default for Archive {
    fn default() -> Self {
        Self {
            uploads: counters("result", &["done", "failed"]),
            sent: Counter::default(),
            reads: counters("result", &["done", "missing", "damaged", "failed"]),
            removed: Counter::default(),
        }
    }
}

impl Archive {
    /// A log is there, and so many bytes were sent for it.
    pub fn uploaded(&self, sent: u64) {
        self.uploads.get_or_create(&[("result", "done")]).inc();
        self.sent.inc_by(sent);
    }

    /// A log could not be uploaded.
    pub fn upload_failed(&self) {
        self.uploads.get_or_create(&[("result", "failed")]).inc();
    }

    /// A log was asked for there, and it came to this.
    pub fn read(&self, result: &'static str) {
        self.reads.get_or_create(&[("result", result)]).inc();
    }

    /// An object was removed.
    pub fn removed(&self) {
        self.removed.inc();
    }

    pub(super) fn register(&self, to: &mut Registry) {
        let help = "Uploads of job logs to the object store; after a `failed` one it is tried again";
        to.register("log_uploads", help, self.uploads.clone());
        to.register("log_upload_sent_bytes", "Bytes of job logs sent to the object store", self.sent.clone());
        let help = "Job logs asked of the object store; a `damaged` one was not what had been put there";
        to.register("log_fetches", help, self.reads.clone());
        to.register("log_objects_removed", "Objects of job logs removed from the object store", self.removed.clone());
    }
}
