//! The task that carries out what [`super::decide`] says.

use super::decide::{self, Patience};
use super::in_time::LOAD_SLOW;
use super::reconciler::{Change, Failure, ReconcileError, Shared, Standing, now_unix_ms};
use super::status::{AppliedRevision, Attempt, Outcome, Recent};
use super::{Allowance, Built, history::KEPT};
use crate::content::count_of;
use crate::git::{GitError, Revision, Sight};
use crate::journal::Event;
use crate::store::StoreError;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Between two tries to have the source looked at, while too much is asked of who does that.
const WHILE_BUSY: Duration = Duration::from_millis(200);
/// So many findings of a refused revision are logged; `formwork status` has all.
const FINDINGS_LOGGED: usize = 5;

/// The task's own.
pub(super) struct Task<C> {
    pub(super) shared: Arc<Shared<C>>,
    /// Attempts that were postponed, in a row, and when the next is due.
    postponed: u32,
    retry_at: Option<tokio::time::Instant>,
    /// Revisions that one may go back to, the newest last.
    kept: Vec<String>,
    /// Since when newer revisions have kept what is built from being applied.
    patience: Patience,
    /// What the hook has not been told yet.
    restored: Option<Revision>,
    /// What the source showed when a revision was taken over that another server applied: older than that, as far as is known.
    pub(super) stale: Option<String>,
    /// When a revision that another server applied is tried again here, and how often it could not be served in a row.
    pub(super) adopt_at: Option<tokio::time::Instant>,
    pub(super) not_adopted: u32,
}

/// Why a revision does not serve.
enum Stop {
    /// It has faults.
    Refused(Vec<String>),
    /// Not its fault.
    Postponed(String),
    /// It is good (these are its warnings), and a person said that it is not applied.
    Waiting(Vec<String>),
    /// A newer one is there.
    Overtaken,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(findings) => Self::Refused(findings),
            Failure::Postponed(error) => Self::Postponed(error.to_string()),
        }
    }
}

impl<C: Send + Sync + 'static> Task<C> {
    /// `kept`: revisions applied before that stay in the mirror.
    pub(super) const fn new(shared: Arc<Shared<C>>, kept: Vec<String>) -> Self {
        Self {
            shared,
            postponed: 0,
            retry_at: None,
            kept,
            patience: Patience::new(),
            restored: None,
            stale: None,
            adopt_at: None,
            not_adopted: 0,
        }
    }

    /// The revision applied last, from the mirror: it serves before the source is looked at. Which that is, the journal says: what
    /// only the mirror remembers was never applied (the process ended, or the disk was full, before it was written down), and is
    /// looked at anew like any other, by who may hold it back.
    pub(super) async fn restore(&mut self, journal: Option<String>) -> Result<(), ReconcileError> {
        let shared = Arc::clone(&self.shared);
        if let Some(id) = &journal
            && self.serve_again(id, false).await?
        {
            return Ok(());
        }
        // A store that was put back, or begun anew, beside a mirror that stayed. Where others apply revisions, too, it may be far behind.
        if !shared.parts.others
            && let Some(id) = shared.parts.follower.applied().await?
            && journal.as_ref() != Some(&id)
            && shared.standing.lock().await.hold.allows(&id)
        {
            self.serve_again(&id, true).await?;
        }
        Ok(())
    }

    /// Whether a revision that the mirror has serves now. `unknown`: the journal does not know it, and is told first.
    async fn serve_again(&mut self, id: &str, unknown: bool) -> Result<bool, ReconcileError> {
        let shared = Arc::clone(&self.shared);
        let built = match shared.build(id).await {
            Ok(built) => built,
            Err(failure) => {
                let error = failure.into_error(id);
                tracing::warn!(%error, "the revision applied last does not serve");
                return Ok(false);
            }
        };
        let revision = shared.parts.follower.revision(id).await?;
        let mut standing = shared.standing.lock().await;
        let signed_by = decide::signers_of(standing.last_event.as_ref(), id);
        if unknown {
            let event = decide::applied_event(&revision, built.census, &built.site, signed_by.clone());
            if let Err(error) = record_in_turn(&shared, &mut standing, event, Some(&revision)).await {
                tracing::warn!(%error, revision = id, "the revision that the mirror has cannot be written down, and does not serve");
                return Ok(false);
            }
        }
        self.swap(&mut standing, &revision, &built, signed_by).await;
        self.restored = Some(revision);
        Ok(true)
    }

    pub(super) async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        if let Some(revision) = self.restored.take() {
            self.tell(revision, None).await;
        }
        self.keep(None).await;
        let mut sights = shared.parts.follower.sight();
        let mut answers = shared.parts.follower.answered();
        let mut source = shared.parts.follower.source();
        let mut again = false;
        loop {
            self.adopt().await;
            let token = shared.requested();
            if token > shared.status.borrow().taken_request {
                while let Err(GitError::Busy) = shared.parts.follower.look_for(token).await {
                    tokio::time::sleep(WHILE_BUSY).await;
                }
            }
            // Before what is seen, which is then no older than what it answers.
            let answered = *answers.borrow_and_update();
            let asked = answered > shared.status.borrow().observed_request;
            let sight = sights.borrow_and_update().clone();
            // What was tried of a commit says nothing of the same commit in another folder, or with other packs at hand.
            let now = shared.parts.follower.source();
            if !Arc::ptr_eq(&source, &now) {
                source = now;
                shared.update(|status| status.attempted = None);
            }
            shared.see(&sight);
            let generation = shared.status.borrow().generation;
            if std::mem::take(&mut again) {
                // Should it not come to an attempt (the source is away), the next try is due again later.
                self.retry_at = Some(tokio::time::Instant::now() + decide::backoff(self.postponed));
                self.step(&sight, true).await;
            } else {
                self.step(&sight, asked).await;
            }
            let retry_at = self.retry_at;
            let adopt_at = self.adopt_at;
            let pause = retry_at.map(|at| at.saturating_duration_since(tokio::time::Instant::now()));
            shared.update(|status| {
                status.taken_request = status.taken_request.max(token);
                status.observed_request = status.observed_request.max(answered);
                status.observed_generation = status.observed_generation.max(generation);
                status.retry_unix_ms = pause.map(in_future);
            });
            if !self.overtaken(&sights, &sight) {
                tokio::select! {
                    changed = sights.changed() => {
                        if changed.is_err() {
                            return;
                        }
                    }
                    Ok(()) = answers.changed() => {}
                    () = shared.woken.notified() => {}
                    () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => again = true,
                    () = until(adopt_at), if adopt_at.is_some() => {}
                }
            }
        }
    }

    /// The pinned revision, where one is and does not serve yet; then what the source shows.
    async fn step(&mut self, sight: &Sight, asked: bool) {
        let shared = Arc::clone(&self.shared);
        let hold = shared.standing.lock().await.hold.clone();
        if let Some(pin) = &hold.pinned {
            let serves = shared.status.borrow().applied.as_ref().is_some_and(|it| it.revision == pin.revision);
            let last = shared.status.borrow().attempted.clone();
            if !serves && decide::should_attempt(last.as_ref(), &pin.revision, asked, true) {
                let (id, summary) = (pin.revision.clone(), pin.summary.clone());
                let unread = Revision { id, summary, message: String::new() };
                self.attempt(&unread, None).await;
            }
            if shared.status.borrow().applied.as_ref().is_none_or(|it| it.revision != pin.revision) {
                return;
            }
        }
        if let Sight::Head(revision) = sight {
            if self.stale.as_ref() != Some(&revision.id) || asked {
                self.stale = None;
            } else {
                return;
            }
            let last = shared.status.borrow().attempted.clone();
            if decide::should_attempt(last.as_ref(), &revision.id, asked, hold.allows(&revision.id)) {
                let sights = shared.parts.follower.sight();
                self.attempt(revision, Some(sights)).await;
            }
        }
    }

    /// A newer revision is there than the one that was looked at.
    fn overtaken(&self, sights: &watch::Receiver<Sight>, sight: &Sight) -> bool {
        matches!((&*sights.borrow(), sight), (Sight::Head(now), Sight::Head(then)) if now.id != then.id)
    }

    /// `sights`: what is watched for a newer one meanwhile; none for a pinned revision, which nothing overtakes.
    async fn attempt(&mut self, revision: &Revision, sights: Option<watch::Receiver<Sight>>) {
        let shared = Arc::clone(&self.shared);
        shared.update(|status| {
            (status.loading, status.loading_since_unix_ms) = (Some(revision.id.clone()), Some(now_unix_ms()));
        });
        let began = Instant::now();
        let tried = {
            let mut trying = Box::pin(self.try_revision(revision, sights));
            match tokio::time::timeout(LOAD_SLOW, &mut trying).await {
                Ok(tried) => tried,
                Err(_) => {
                    shared.update(|status| status.loads_slowly = true);
                    tracing::warn!(revision = revision.id, "a revision has been loaded for longer than a minute");
                    trying.await
                }
            }
        };
        let (outcome, findings) = match tried {
            Ok(warnings) => (Outcome::Applied, warnings),
            Err(Stop::Waiting(warnings)) => (Outcome::Waiting, warnings),
            Err(Stop::Refused(findings)) => {
                let mut standing = shared.standing.lock().await;
                match record_in_turn(&shared, &mut standing, decide::refused_event(revision, &findings), None).await {
                    Ok(()) => (Outcome::Refused, findings),
                    Err(error) => (Outcome::Postponed { reason: error.to_string() }, findings),
                }
            }
            Err(Stop::Postponed(reason)) => (Outcome::Postponed { reason }, Vec::new()),
            Err(Stop::Overtaken) => (Outcome::Overtaken, Vec::new()),
        };
        log(revision, &outcome, &findings);
        shared.parts.hook.attempted(&outcome, began.elapsed());
        match outcome {
            Outcome::Postponed { .. } => {
                self.postponed = self.postponed.saturating_add(1);
                self.retry_at = Some(tokio::time::Instant::now() + decide::backoff(self.postponed));
            }
            Outcome::Overtaken => {}
            Outcome::Applied | Outcome::Waiting | Outcome::Refused => (self.postponed, self.retry_at) = (0, None),
        }
        match outcome {
            Outcome::Overtaken => self.patience.overtaken(Instant::now()),
            _ => self.patience.rest(),
        }
        let at_unix_ms = now_unix_ms();
        let recent = Recent {
            revision: revision.id.clone(),
            summary: revision.summary.clone(),
            at_unix_ms,
            outcome: outcome.as_str().to_owned(),
            count: count_of(&findings),
            times: 1,
        };
        let attempt = Attempt {
            revision: revision.id.clone(),
            summary: revision.summary.clone(),
            at_unix_ms,
            count: count_of(&findings),
            findings,
            outcome,
        };
        let applied = attempt.outcome == Outcome::Applied;
        let parts = shared.parts.follower.parts(revision);
        shared.update(|status| {
            (status.loading, status.loading_since_unix_ms, status.loads_slowly) = (None, None, false);
            status.remember(recent);
            // Nothing is known of what was thrown away half-way.
            if attempt.outcome != Outcome::Overtaken {
                status.tried(attempt, parts);
            }
        });
        if applied {
            self.keep(Some(&revision.id)).await;
        }
    }

    /// Verifies, builds, guards, remembers, records, swaps, tells: in this order, so that what serves is always in the journal.
    async fn try_revision(
        &mut self,
        revision: &Revision,
        sights: Option<watch::Receiver<Sight>>,
    ) -> Result<Vec<String>, Stop> {
        let shared = Arc::clone(&self.shared);
        // Only what was applied here, and was trusted then where there is a policy, can be pinned: going back is no new trust
        // and takes none away.
        let pinned = sights.is_none();
        let source = shared.parts.follower.source();
        let before = shared.standing.lock().await.applied.clone();
        // The guards judge by what serves. Where that is older than what another server applied, nothing is applied after it; and
        // nothing that the source showed before that is taken for newer.
        let serves = shared.status.borrow().applied.as_ref().map(|applied| applied.revision.clone());
        if shared.parts.others && before.is_some() && before != serves && before.as_ref() != Some(&revision.id) {
            return Err(Stop::Postponed("the revision that another server applied does not serve here yet".to_owned()));
        }
        if !pinned {
            shared.moved(&revision.id).await.map_err(|e| Stop::Postponed(e.to_string()))?;
        }
        let signed_by = match pinned {
            true => Vec::new(),
            false => match shared.verify(&revision.id).await {
                Ok(signed) => signed.map_err(Stop::Refused)?,
                Err(error) => return Err(Stop::Postponed(error.to_string())),
            },
        };
        let built = self.build(revision, sights).await?;
        let follower = &shared.parts.follower;
        // Of a pinned revision only its id was known; what people wrote in its message counts for the guards.
        let revision = &follower.revision(&revision.id).await.map_err(|e| Stop::Postponed(e.to_string()))?;
        let mut standing = shared.standing.lock().await;
        // Another repository or folder is followed since: nothing of the one before is applied any more.
        if !Arc::ptr_eq(&source, &follower.source()) {
            return Err(Stop::Overtaken);
        }
        shared.catch_up(&mut standing).map_err(|e| Stop::Postponed(e.to_string()))?;
        let allowed = Allowance::of(shared.parts.store.as_ref(), &revision.id);
        let allowed = allowed.map_err(|e| Stop::Postponed(e.to_string()))?;
        if let Err(findings) = shared.guard(&standing, &built, revision, &allowed, pinned).await {
            shared.catch_up(&mut standing).map_err(|e| Stop::Postponed(e.to_string()))?;
            // What it was allowed is used up where another server applied it meanwhile: it was judged there.
            if standing.applied.as_ref() != Some(&revision.id) {
                return Err(Stop::Refused(findings));
            }
        }
        decide::may_apply(&standing.hold, before.as_deref(), standing.applied.as_deref(), &revision.id)
            .map_err(|waits| if waits { Stop::Waiting(built.warnings.clone()) } else { Stop::Overtaken })?;
        follower.set_applied(&revision.id).await.map_err(|e| Stop::Postponed(e.to_string()))?;
        if shared.parts.verifier.is_some() && !pinned {
            follower.set_trusted(&revision.id).await.map_err(|e| Stop::Postponed(e.to_string()))?;
        }
        let event = decide::applied_event(revision, built.census, &built.site, signed_by.clone());
        // Asked under the lock, and again after whatever else was written down: whoever was told "suspended", by whichever server,
        // sees nothing applied after it.
        loop {
            decide::may_apply(&standing.hold, before.as_deref(), standing.applied.as_deref(), &revision.id)
                .map_err(|waits| if waits { Stop::Waiting(built.warnings.clone()) } else { Stop::Overtaken })?;
            match record(&shared, &mut standing, event.clone(), Some(revision)).await {
                Err(StoreError::Conflict { .. }) => {}
                recorded => break recorded.map_err(|e| Stop::Postponed(e.to_string()))?,
            }
        }
        let already = shared.status.borrow().applied.as_ref().is_some_and(|applied| applied.revision == revision.id)
            && standing.source == follower.source().to_string();
        if !already {
            let previous = shared.catalog.load_full();
            self.swap(&mut standing, revision, &built, signed_by).await;
            drop(standing);
            self.tell(revision.clone(), previous).await;
        }
        Ok(built.warnings)
    }

    /// Builds it, unless a newer one is seen before that is done. What is built then is thrown away, but not for ever: where
    /// newer ones keep coming, the one that is being built is carried through now and then.
    async fn build(&self, revision: &Revision, sights: Option<watch::Receiver<Sight>>) -> Result<Built<C>, Stop> {
        let Some(mut sights) = sights.filter(|_| self.patience.lasts(Instant::now())) else {
            return Ok(self.shared.build(&revision.id).await?);
        };
        let newer = sights.wait_for(|sight| matches!(sight, Sight::Head(newer) if newer.id != revision.id));
        tokio::select! {
            biased;
            Ok(_) = newer => Err(Stop::Overtaken),
            built = self.shared.build(&revision.id) => Ok(built?),
        }
    }

    pub(super) async fn swap(
        &self,
        standing: &mut Standing,
        revision: &Revision,
        built: &Built<C>,
        signed_by: Vec<String>,
    ) {
        standing.serving = Some(built.census);
        if !built.site.name.is_empty() {
            standing.site = Some(built.site.name.clone());
        }
        standing.source = self.shared.parts.follower.source().to_string();
        self.shared.catalog.store(Some(Arc::clone(&built.catalog)));
        self.shared.pinned.lock().await.put(&revision.id, Arc::clone(&built.catalog));
        let applied = AppliedRevision {
            revision: revision.id.clone(),
            summary: revision.summary.clone(),
            at_unix_ms: now_unix_ms(),
            machines: built.census.machines,
            signed_by,
        };
        let parts = self.shared.parts.follower.parts(revision).into_iter().collect();
        self.shared.update(|status| (status.applied, status.applied_parts) = (Some(applied), parts));
    }

    pub(super) async fn tell(&self, revision: Revision, previous: Option<Arc<C>>) {
        if let Some(catalog) = self.shared.catalog.load_full() {
            self.shared.parts.hook.applied(Change { revision, catalog, previous }).await;
        }
    }

    /// Keeps in the mirror what one may go back to, this one too.
    pub(super) async fn keep(&mut self, applied: Option<&str>) {
        if let Some(applied) = applied {
            self.kept.retain(|kept| kept != applied);
            self.kept.push(applied.to_owned());
            self.kept.drain(..self.kept.len().saturating_sub(KEPT));
        }
        if let Err(error) = self.shared.parts.follower.keep(self.kept.clone()).await {
            tracing::warn!(%error, "what one may go back to could not be kept in the mirror");
        }
        match super::allowance::sweep(self.shared.parts.store.as_ref(), now_unix_ms()).await {
            Ok(0) => {}
            Ok(dropped) => tracing::debug!(dropped, "what was allowed and never used is dropped"),
            Err(error) => tracing::warn!(%error, "what was allowed and never used is still kept"),
        }
    }
}

async fn until(at: Option<tokio::time::Instant>) {
    tokio::time::sleep_until(at.unwrap_or_else(tokio::time::Instant::now)).await;
}

/// The same, whatever else is written down meanwhile.
async fn record_in_turn<C: Send + Sync + 'static>(
    shared: &Shared<C>,
    standing: &mut Standing,
    event: Event,
    applied: Option<&Revision>,
) -> Result<(), StoreError> {
    loop {
        match record(shared, standing, event.clone(), applied).await {
            Err(StoreError::Conflict { .. }) => {}
            recorded => return recorded,
        }
    }
}

/// Writes an event down, unless it says what the last one said. `applied`: the revision of which it says that it serves.
async fn record<C: Send + Sync + 'static>(
    shared: &Shared<C>,
    standing: &mut Standing,
    event: Event,
    applied: Option<&Revision>,
) -> Result<(), StoreError> {
    let held = !standing.hold.is_none();
    let news = decide::is_news(standing.last_event.as_ref(), standing.last_refused.as_ref(), held, &event);
    let used = applied.map(|revision| shared.used_up(standing, revision)).transpose()?.unwrap_or_default();
    if news || !used.is_empty() {
        shared.write_with(standing, Some(event).filter(|_| news), used).await?;
    }
    Ok(())
}

pub(super) fn log(revision: &Revision, outcome: &Outcome, findings: &[String]) {
    let (id, summary) = (&revision.id, &revision.summary);
    match outcome {
        Outcome::Applied => tracing::info!(revision = id, summary, "revision applied"),
        Outcome::Waiting => tracing::info!(revision = id, summary, "revision is good and waits: suspended or pinned"),
        Outcome::Overtaken => tracing::info!(revision = id, summary, "revision overtaken by a newer one"),
        Outcome::Refused => {
            tracing::warn!(revision = id, findings = count_of(findings), "revision refused; nothing changed");
            for finding in findings.iter().take(FINDINGS_LOGGED) {
                tracing::warn!("{finding}");
            }
        }
        Outcome::Postponed { reason } => tracing::warn!(revision = id, reason, "revision postponed"),
    }
}

fn in_future(pause: Duration) -> i64 {
    now_unix_ms().saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX))
}
