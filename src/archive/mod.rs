//! Logs of jobs that ended, in an object store: sealed objects that are made once and never changed.
//!
//! ```text
//!  a job ends ──► queue ──► uploads ──► SITE/logs/JOB/LENGTH-SHA256.log.zst      (bounded, with back-off; no job waits for it)
//!  logs that nobody uploaded (a kill, a full queue) ──► found on the disk ──► queue
//!  who reads a log ──► the file here, else the longest object of the job, its hash checked
//! ```
//!
//! [`name`], [`seal`] and [`queue`] are pure. [`objects`] is what is asked of an object store, [`bucket`] asks a real one, by [`http`].
//! [`uploads`] is the task that uploads and keeps the state directory within its bound, [`read`] reads.
//!
//! Several servers on one store have one object store, too. Each has of a log what its agent sent to it, from the beginning: the longest is
//! the whole one. So an object takes the place of shorter ones of its job, and nobody has to know who has what.

mod bucket;
mod http;
mod name;
mod objects;
mod queue;
mod read;
mod seal;
mod standing;
#[cfg(test)]
mod tests;
mod uploads;

pub use bucket::{Place, PlaceError};
pub use objects::{Listed, Objects, ObjectsError};
pub use read::ReadError;
pub use standing::{Of, Uploads};

use crate::metrics;
use crate::store::logs::LogStore;
use queue::Queue;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Jobs that may wait for their upload; what is more is found on the disk later.
const WAITING_MAX: usize = 4_096;
/// A failure is told to people after so long: what passes by itself is no news.
const TOLD_AFTER: Duration = Duration::from_secs(60);

/// What could not be removed is not tried again for so long, nor is anything else.
const REMOVES_AGAIN: Duration = Duration::from_secs(60);

/// The logs of a site's jobs in an object store.
pub struct Archive {
    objects: Arc<dyn Objects>,
    /// What it is called, for people; without credentials.
    place: String,
    /// The site's folder in it.
    site: String,
    logs: Arc<LogStore>,
    metrics: metrics::Archive,
    /// Of logs that are uploaded so many bytes stay here.
    kept_here: u64,
    state: Mutex<State>,
    woken: Notify,
    began: Instant,
    fetched: read::Fetched,
}

struct State {
    queue: Queue,
    /// Since nothing can be uploaded, and why.
    failing: Option<(Instant, String)>,
    /// Until then nothing is removed: the last time it could not be.
    removes_again: Option<Instant>,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("place", &self.place).field("site", &self.site).finish_non_exhaustive()
    }
}

impl Archive {
    /// Logs at that place. Nothing is asked of it yet, but that a folder is there.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn open(place: &Place, of: Of) -> Result<Self, PlaceError> {
        Ok(Self::new(place.open()?, place.to_string(), of))
    }

    fn new(objects: Arc<dyn Objects>, place: String, of: Of) -> Self {
        let state = State { queue: Queue::new(WAITING_MAX), failing: None, removes_again: None };
        Self {
            objects,
            place,
            site: name::site(&of.site, &of.authority),
            logs: of.logs,
            metrics: of.metrics,
            kept_here: of.kept_here,
            state: Mutex::new(state),
            woken: Notify::new(),
            began: Instant::now(),
            fetched: read::Fetched::default(),
        }
    }

    /// This job ended here, and its log may be uploaded. Never waits.
    pub fn ended(&self, job: &str) {
        self.state().queue.push(job, self.now_ms());
        self.woken.notify_one();
    }

    /// How uploads stand.
    pub fn uploads(&self) -> Uploads {
        let state = self.state();
        let failure = state.failing.as_ref().filter(|(since, _)| since.elapsed() >= TOLD_AFTER);
        Uploads {
            place: self.place.clone(),
            waiting: state.queue.waiting(),
            failure: failure.map(|(_, why)| why.clone()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
