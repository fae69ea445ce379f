//! Waiting for a document to become something: woken by commits, never by polling.

use super::asker::{Asker, gone};
use super::{ClusterAccess, Refused};
use crate::cluster::{Caller, Context, Document};
use axum::http::StatusCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a look at the document found.
pub(super) enum Look<T> {
    /// What was waited for.
    Found(T),
    /// Not yet. It may change without a commit at that moment of the lifetime clock: a claim expires.
    NotYet {
        /// Milliseconds.
        look_again_at_ms: Option<u64>,
    },
}

/// Tells the waits of machines apart.
static WAITS: AtomicU64 = AtomicU64::new(0);

/// What a machine is shown to wait for, until this is dropped.
struct Shown<'a, A: ClusterAccess> {
    access: &'a A,
    machine: Option<&'a str>,
    wait: u64,
    last: Option<String>,
}

impl<'a, A: ClusterAccess> Shown<'a, A> {
    fn new(asker: &'a Asker<A>) -> Self {
        let machine = match &asker.caller {
            Caller::Machine { machine, .. } => Some(machine.as_str()),
            Caller::Administrator { .. } | Caller::Server => None,
        };
        Self { access: asker.desk.access.as_ref(), machine, wait: WAITS.fetch_add(1, Ordering::Relaxed), last: None }
    }

    fn show(&mut self, what: String) {
        let Some(machine) = self.machine.filter(|_| self.last.as_ref() != Some(&what)) else { return };
        self.access.shows_wait(machine, self.wait, Some(what.clone()));
        self.last = Some(what);
    }
}

impl<A: ClusterAccess> Drop for Shown<'_, A> {
    fn drop(&mut self) {
        if let Some(machine) = self.machine.filter(|_| self.last.is_some()) {
            self.access.shows_wait(machine, self.wait, None);
        }
    }
}

/// `say` is what people are shown meanwhile. Looks now, after each commit to the cluster's document and when time itself may have changed the answer, until `limit` is
/// over (then 408). The asker's membership is looked at again each time; a reset in between is 410.
pub(super) async fn wait_for<A: ClusterAccess, T>(
    asker: &Asker<A>,
    limit: Option<Duration>,
    say: impl Fn(&Document, &Context) -> String,
    mut look: impl FnMut(&Document, &Context) -> Result<Look<T>, Refused>,
) -> Result<Option<T>, Refused> {
    let first = |found| match found {
        Look::Found(found) => Some(found),
        Look::NotYet { .. } => None,
    };
    let Some(limit) = limit else {
        let context = asker.context()?;
        return look(&asker.document(&context)?, &context).map(first);
    };
    let _counted = asker.waiting()?;
    let mut shown = Shown::new(asker);
    let deadline = Instant::now() + limit;
    // Subscribed before the first look: a commit in between is not missed.
    let mut commits = asker.desk.access.store().watch_cluster(&asker.cluster);
    let mut began = None;
    loop {
        commits.borrow_and_update();
        let context = asker.context()?;
        let document = asker.document(&context)?;
        let epoch = *began.get_or_insert(document.epoch);
        if epoch != document.epoch {
            return Err(gone(document.epoch, epoch));
        }
        let look_again_at_ms = match look(&document, &context)? {
            Look::Found(found) => return Ok(Some(found)),
            Look::NotYet { look_again_at_ms } => look_again_at_ms,
        };
        shown.show(say(&document, &context));
        if Instant::now() >= deadline {
            return Err(over());
        }
        let again = look_again_at_ms.map_or(deadline, |at| {
            let left = at.saturating_sub(asker.desk.access.now_ms()).saturating_add(1);
            Instant::now() + Duration::from_millis(left)
        });
        tokio::select! {
            changed = commits.changed() => if changed.is_err() {
                return Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the server stops").retry_after(5));
            },
            () = sleep_until(again.min(deadline)) => {}
        }
    }
}

/// 408: curl's `--retry` asks again by itself.
pub(super) fn over() -> Refused {
    Refused::new(StatusCode::REQUEST_TIMEOUT, "not-yet", "not yet; ask again").retry_after(1)
}
