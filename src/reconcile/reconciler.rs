//! The task that carries out what [`super::decide`] says.

use super::decide;
use super::pinned::Pinned;
use super::status::{AppliedRevision, Attempt, Outcome, Status};
use super::{Allowance, Build, Built, Census, Foresee};
use crate::catalog::Catalog;
use crate::content::Tree;
use crate::git::{Follower, GitError, Revision, Sight};
use crate::journal::{Event, Stream};
use crate::store::{Batch, BoxFuture, Store, StoreError};
use arc_swap::ArcSwapOption;
use std::sync::{Arc, PoisonError};
use tokio::sync::{Mutex, Notify, watch};

/// So many findings of a refused revision are logged; `formwork status` has all.
const FINDINGS_LOGGED: usize = 5;

/// How far back the site's stream is read for the last word on a revision.
const EVENTS_READ: u64 = 500;

/// A swap that just happened.
#[derive(Debug)]
pub struct Change<C = Catalog> {
    /// The revision that serves now.
    pub revision: Revision,
    /// Its catalog.
    pub catalog: Arc<C>,
    /// The catalog before; none at the start of the process.
    pub previous: Option<Arc<C>>,
}

/// Who is told of each swap, in order; the next revision is tried after the answer.
pub trait Hook<C = Catalog>: Send + Sync + 'static {
    /// A revision serves.
    fn applied(&self, change: Change<C>) -> BoxFuture<'_, ()>;
}

/// What a reconciler is made of.
pub struct Parts<C = Catalog> {
    /// Where revisions come from.
    pub follower: Arc<Follower>,
    /// Where its events go.
    pub store: Arc<dyn Store>,
    /// How a revision becomes a catalog.
    pub build: Arc<Build<C>>,
    /// Who is told.
    pub hook: Arc<dyn Hook<C>>,
    /// Who can tell what a revision would take from machines.
    pub foresee: Arc<dyn Foresee<C>>,
}

/// Why a question to the reconciler has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReconcileError {
    /// The revision cannot be read.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The revision does not compile (any more): with a newer program its packs may have changed.
    #[error("revision {revision} does not compile with this program: {finding}")]
    Refused {
        /// The revision.
        revision: String,
        /// The first finding.
        finding: String,
    },
}

/// Keeps the catalog what the source says. Dropping it ends the task.
pub struct Reconciler<C = Catalog> {
    shared: Arc<Shared<C>>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared<C> {
    parts: Parts<C>,
    catalog: Arc<ArcSwapOption<C>>,
    status: watch::Sender<Arc<Status>>,
    pinned: Mutex<Pinned<C>>,
    /// How much the revision that serves declares.
    census: std::sync::Mutex<Option<Census>>,
    /// A person asks for another look.
    asked: Notify,
}

/// The task's own.
struct Task<C> {
    shared: Arc<Shared<C>>,
    serving: Option<Census>,
    /// The site's last word on a revision.
    last_event: Option<Event>,
    postponed: u32,
    /// What the hook has not been told yet.
    restored: Option<Revision>,
}

impl<C: Send + Sync + 'static> Reconciler<C> {
    /// Loads the revision that was applied last, then follows the source. When this returns, that revision serves.
    ///
    /// # Errors
    /// The store or the mirror cannot be read. Content that cannot be read or compiled is a [`Status`], not an error.
    pub async fn start(parts: Parts<C>) -> Result<Self, ReconcileError> {
        let status = Status { source: parts.follower.source().to_string(), ..Status::default() };
        let last_event = last_word(parts.store.as_ref())?;
        let shared = Arc::new(Shared {
            parts,
            catalog: Arc::new(ArcSwapOption::empty()),
            status: watch::channel(Arc::new(status)).0,
            pinned: Mutex::new(Pinned::default()),
            census: std::sync::Mutex::default(),
            asked: Notify::new(),
        });
        let mut task = Task { shared: Arc::clone(&shared), serving: None, last_event, postponed: 0, restored: None };
        task.restore().await?;
        Ok(Self { shared, task: tokio::spawn(task.run()) })
    }

    /// The catalog that serves, for readers that never wait.
    pub fn catalog(&self) -> Arc<ArcSwapOption<C>> {
        Arc::clone(&self.shared.catalog)
    }

    /// How content stands, and each change of it.
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.shared.status.subscribe()
    }

    /// Looks at the source now, and tries its revision again even if it was refused.
    pub fn ask(&self) {
        self.shared.parts.follower.look();
        self.shared.asked.notify_one();
    }

    /// The catalog of a revision that a run is pinned to.
    pub async fn catalog_at(&self, revision: &str) -> Result<Arc<C>, ReconcileError> {
        // Held while it is built: a second asker of the same revision gets the first one's.
        let mut pinned = self.shared.pinned.lock().await;
        if let Some(catalog) = pinned.get(revision) {
            return Ok(catalog);
        }
        let built = self.shared.build(revision).await.map_err(|failure| failure.into_error(revision))?;
        pinned.put(revision, Arc::clone(&built.catalog));
        Ok(built.catalog)
    }

    /// Loads and compiles files as a revision would be, and says what the guards would say of it. Nothing is changed.
    ///
    /// # Errors
    /// The findings that would refuse it.
    pub async fn judge(
        &self,
        tree: Arc<Tree>,
        revision: &Revision,
        allowed: &Allowance,
    ) -> Result<Built<C>, Vec<String>> {
        let built = self.check(tree, &revision.id).await?;
        let serving = *self.shared.census.lock().unwrap_or_else(PoisonError::into_inner);
        decide::guard(serving, built.census, revision, allowed).map_err(|finding| vec![finding])?;
        Ok(built)
    }

    /// Loads and compiles files as a revision would be. Nothing is changed.
    ///
    /// # Errors
    /// The findings that would refuse it.
    pub async fn check(&self, tree: Arc<Tree>, revision: &str) -> Result<Built<C>, Vec<String>> {
        let (build, revision) = (Arc::clone(&self.shared.parts.build), revision.to_owned());
        match tokio::task::spawn_blocking(move || build(&tree, &revision)).await {
            Ok(answer) => answer,
            Err(error) => Err(vec![format!("the revision could not be compiled: {error}")]),
        }
    }

    /// Keeps a run's revision in the mirror. To be done before the run starts.
    pub async fn pin(&self, machine: &str, run: u64, revision: &str) -> Result<(), ReconcileError> {
        Ok(self.shared.parts.follower.pin(&run_name(machine, run), revision).await?)
    }

    /// Lets go of it, once nobody asks for that run's tasks any more.
    pub async fn unpin(&self, machine: &str, run: u64) -> Result<(), ReconcileError> {
        Ok(self.shared.parts.follower.unpin(&run_name(machine, run)).await?)
    }
}

impl<C> Drop for Reconciler<C> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn run_name(machine: &str, run: u64) -> String {
    format!("{machine}-{run}")
}

/// Why a revision was not built.
enum Failure {
    /// Its own fault.
    Refused(Vec<String>),
    /// Not its fault.
    Postponed(GitError),
}

impl Failure {
    fn into_error(self, revision: &str) -> ReconcileError {
        match self {
            Self::Postponed(error) => error.into(),
            Self::Refused(findings) => ReconcileError::Refused {
                revision: revision.to_owned(),
                finding: findings.into_iter().next().unwrap_or_default(),
            },
        }
    }
}

impl<C: Send + Sync + 'static> Shared<C> {
    async fn build(&self, revision: &str) -> Result<Built<C>, Failure> {
        let tree = match self.parts.follower.tree(revision).await {
            Ok(tree) => tree,
            Err(error) if error.is_fault_of_revision() => return Err(Failure::Refused(vec![error.to_string()])),
            Err(error) => return Err(Failure::Postponed(error)),
        };
        let (build, revision) = (Arc::clone(&self.parts.build), revision.to_owned());
        // Compiling takes milliseconds of one core: not on a thread that answers machines.
        match tokio::task::spawn_blocking(move || build(&tree, &revision)).await {
            Ok(answer) => answer.map_err(Failure::Refused),
            Err(error) => Err(Failure::Refused(vec![format!("the revision could not be compiled: {error}")])),
        }
    }

    fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let mut next = Status::clone(status);
            change(&mut next);
            let changed = next != **status;
            if changed {
                *status = Arc::new(next);
            }
            changed
        });
    }
}

impl<C: Send + Sync + 'static> Task<C> {
    /// The revision applied last, from the mirror: it serves before the source is looked at.
    async fn restore(&mut self) -> Result<(), ReconcileError> {
        let shared = Arc::clone(&self.shared);
        let Some(id) = shared.parts.follower.applied().await? else { return Ok(()) };
        let revision = shared.parts.follower.revision(&id).await?;
        match shared.build(&id).await {
            Ok(built) => {
                self.record(decide::applied_event(&revision, built.census)).await?;
                self.swap(&revision, &built).await;
                self.restored = Some(revision);
            }
            Err(failure) => {
                let error = failure.into_error(&id);
                tracing::warn!(%error, "the revision applied last does not serve");
            }
        }
        Ok(())
    }

    async fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        if let Some(revision) = self.restored.take() {
            self.tell(revision, None).await;
        }
        let mut sights = shared.parts.follower.sight();
        let mut asked = false;
        loop {
            let sight = sights.borrow_and_update().clone();
            shared.update(|status| status.see(&sight));
            if let Sight::Unavailable(error) = &sight {
                tracing::warn!(source = shared.status.borrow().source, %error, "the source cannot be read");
            }
            if let Sight::Head(revision) = sight {
                let last = shared.status.borrow().attempted.clone();
                if decide::should_attempt(last.as_ref(), &revision.id, asked) {
                    let outcome = self.attempt(&revision).await;
                    self.postponed = match outcome {
                        Outcome::Postponed { .. } => self.postponed.saturating_add(1),
                        Outcome::Applied | Outcome::Refused => 0,
                    };
                }
            }
            let pause = decide::backoff(self.postponed);
            tokio::select! {
                changed = sights.changed() => {
                    asked = false;
                    if changed.is_err() {
                        shared.update(|status| status.see(&Sight::Unavailable(GitError::Stopped)));
                        return;
                    }
                }
                () = shared.asked.notified() => asked = true,
                () = tokio::time::sleep(pause), if self.postponed > 0 => asked = true,
            }
        }
    }

    async fn attempt(&mut self, revision: &Revision) -> Outcome {
        let shared = Arc::clone(&self.shared);
        let (outcome, findings) = match self.try_revision(revision).await {
            Ok(warnings) => (Outcome::Applied, warnings),
            Err(Stop::Refused(findings)) => match self.record(decide::refused_event(revision, &findings)).await {
                Ok(()) => (Outcome::Refused, findings),
                Err(error) => (Outcome::Postponed { reason: error.to_string() }, findings),
            },
            Err(Stop::Postponed(reason)) => (Outcome::Postponed { reason }, Vec::new()),
        };
        match &outcome {
            Outcome::Applied => tracing::info!(revision = revision.id, summary = revision.summary, "revision applied"),
            Outcome::Refused => {
                tracing::warn!(revision = revision.id, findings = findings.len(), "revision refused; nothing changed");
                for finding in findings.iter().take(FINDINGS_LOGGED) {
                    tracing::warn!("{finding}");
                }
            }
            Outcome::Postponed { reason } => tracing::warn!(revision = revision.id, reason, "revision postponed"),
        }
        let attempt = Attempt {
            revision: revision.id.clone(),
            summary: revision.summary.clone(),
            at_unix_ms: now_unix_ms(),
            outcome: outcome.clone(),
            count: findings.len(),
            findings,
        };
        shared.update(|status| status.attempted = Some(attempt));
        outcome
    }

    /// Builds, guards, remembers, records, swaps, tells: in this order, so that what serves is always in the journal.
    async fn try_revision(&mut self, revision: &Revision) -> Result<Vec<String>, Stop> {
        let shared = Arc::clone(&self.shared);
        let built = shared.build(&revision.id).await.map_err(|failure| match failure {
            Failure::Refused(findings) => Stop::Refused(findings),
            Failure::Postponed(error) => Stop::Postponed(error.to_string()),
        })?;
        let allowed = Allowance::of(shared.parts.store.as_ref(), &revision.id);
        let allowed = allowed.map_err(|error| Stop::Postponed(error.to_string()))?;
        decide::guard(self.serving, built.census, revision, &allowed)
            .map_err(|finding| Stop::Refused(vec![finding]))?;
        if let Some(serving) = shared.catalog.load_full() {
            let foreseen = shared.parts.foresee.foresee(serving, Arc::clone(&built.catalog)).await;
            decide::guard_wipe(&foreseen, &revision.message, &allowed)
                .map_err(|finding| Stop::Refused(vec![finding]))?;
        }
        shared.parts.follower.set_applied(&revision.id).await.map_err(|e| Stop::Postponed(e.to_string()))?;
        let event = decide::applied_event(revision, built.census);
        self.record(event).await.map_err(|e| Stop::Postponed(e.to_string()))?;
        let already = shared.status.borrow().applied.as_ref().is_some_and(|applied| applied.revision == revision.id);
        if !already {
            let previous = shared.catalog.load_full();
            self.swap(revision, &built).await;
            self.tell(revision.clone(), previous).await;
        }
        Ok(built.warnings)
    }

    async fn swap(&mut self, revision: &Revision, built: &Built<C>) {
        self.serving = Some(built.census);
        *self.shared.census.lock().unwrap_or_else(PoisonError::into_inner) = self.serving;
        self.shared.catalog.store(Some(Arc::clone(&built.catalog)));
        self.shared.pinned.lock().await.put(&revision.id, Arc::clone(&built.catalog));
        let applied = AppliedRevision {
            revision: revision.id.clone(),
            summary: revision.summary.clone(),
            at_unix_ms: now_unix_ms(),
            machines: built.census.machines,
        };
        self.shared.update(|status| status.applied = Some(applied));
    }

    async fn tell(&self, revision: Revision, previous: Option<Arc<C>>) {
        if let Some(catalog) = self.shared.catalog.load_full() {
            self.shared.parts.hook.applied(Change { revision, catalog, previous }).await;
        }
    }

    async fn record(&mut self, event: Event) -> Result<(), StoreError> {
        if decide::is_news(self.last_event.as_ref(), &event) {
            let batch = Batch { events: vec![(Stream::Site, event.clone())], ..Batch::default() };
            self.shared.parts.store.commit(batch, now_unix_ms()).await?;
            self.last_event = Some(event);
        }
        Ok(())
    }
}

/// Why a revision does not serve.
enum Stop {
    Refused(Vec<String>),
    Postponed(String),
}

fn last_word(store: &dyn Store) -> Result<Option<Event>, StoreError> {
    let head = store.head(&Stream::Site)?;
    let from = head.saturating_sub(EVENTS_READ);
    let records = store.events_of(&Stream::Site, from, usize::try_from(EVENTS_READ).unwrap_or(usize::MAX))?;
    let mut events = records.into_iter().rev().map(|record| record.event);
    Ok(events.find(|event| matches!(event, Event::RevisionApplied { .. } | Event::RevisionRefused { .. })))
}

fn now_unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
