//! The handle: what the rest of the server asks of the reconciler. The work is [`super::task`]'s.

use super::guards::{gone_sources, guard, guard_leave, guard_site, guard_wipe};
use super::history::{PAGE, Past};
use super::in_time::{in_time, until_late};
use super::mounted::with_parts;
use super::pinned::Pinned;
pub(super) use super::serving::Standing;
use super::status::{Outcome, Status};
use super::task::Task;
use super::{Allowance, Build, Built, Foresee, allowance, decide};
use crate::catalog::Catalog;
use crate::content::Tree;
use crate::git::{Follower, GitError, Revision, Verifier};
use crate::journal::{Event, Stream};
use crate::store::{Batch, BoxFuture, Operation, Store, StoreError};
use arc_swap::ArcSwapOption;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, Semaphore, watch};

/// Builds at once: the one that counts, and one that was overtaken and cannot be stopped half-way.
const BUILDS: usize = 2;

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

    /// An attempt came to this, after so long.
    fn attempted(&self, _outcome: &Outcome, _took: Duration) {}
}

/// What a reconciler is made of.
pub struct Parts<C = Catalog> {
    /// Where revisions come from.
    pub follower: Arc<Follower>,
    /// Where its events go.
    pub store: Arc<dyn Store>,
    /// How a revision becomes a catalog.
    pub build: Arc<Build<C>>,
    /// The same without the keys of secrets: for files that are shown to whoever sent them, and serve nobody.
    pub sealed_build: Arc<Build<C>>,
    /// Who is told.
    pub hook: Arc<dyn Hook<C>>,
    /// Who can tell what a revision would take from machines.
    pub foresee: Arc<dyn Foresee<C>>,
    /// By what policy revisions are signed; none: signatures are not asked for.
    pub verifier: Option<Arc<Verifier>>,
    /// What is followed is the server's own repository, where a push is judged by who pushes: what a commit's message allows counts
    /// as it was promised then, for who pushed it, and never by itself.
    pub hosted: bool,
    /// Other servers on the same store apply revisions, too: the one that the journal names last is for all to serve.
    pub others: bool,
    /// So long a revision is built, at most.
    pub longest: Duration,
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
    pub(super) shared: Arc<Shared<C>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// What the handle and its task share.
pub(super) struct Shared<C> {
    pub parts: Parts<C>,
    pub catalog: Arc<ArcSwapOption<C>>,
    pub status: watch::Sender<Arc<Status>>,
    pub pinned: Mutex<Pinned<C>>,
    /// Held while a revision is put in place: what a person says in the meantime counts for the next.
    pub standing: Mutex<Standing>,
    /// The last request for another look.
    requested: AtomicU64,
    /// The task has something to look at.
    pub woken: Notify,
    builds: Arc<Semaphore>,
    /// Held while a promise is kept: once.
    promises: Mutex<()>,
}

impl<C: Send + Sync + 'static> Reconciler<C> {
    /// Loads the revision that was applied last, then follows the source. When this returns, that revision serves.
    ///
    /// # Errors
    /// The store or the mirror cannot be read. Content that cannot be read or compiled is a [`Status`], not an error.
    pub async fn start(parts: Parts<C>) -> Result<Self, ReconcileError> {
        let past = Past::read(parts.store.as_ref())?;
        let mut status = Status { source: parts.follower.source().to_string(), ..Status::default() };
        status.hold(&past.hold);
        status.recent.clone_from(&past.recent);
        status.settle(now_unix_ms());
        let standing = Standing {
            hold: past.hold.clone(),
            serving: None,
            site: past.site.clone(),
            source: String::new(),
            last_event: past.last_event.clone(),
            last_refused: past.last_refused.clone(),
            trusted: past.trusted.clone(),
            applied: past.applied.last().cloned(),
            head: past.head,
        };
        let shared = Arc::new(Shared {
            parts,
            catalog: Arc::new(ArcSwapOption::empty()),
            status: watch::channel(Arc::new(status)).0,
            pinned: Mutex::new(Pinned::default()),
            standing: Mutex::new(standing),
            // The first look of this process answers what was asked of an earlier one.
            requested: AtomicU64::new(now_unix_ms().unsigned_abs()),
            woken: Notify::new(),
            builds: Arc::new(Semaphore::new(BUILDS)),
            promises: Mutex::new(()),
        });
        let mut task = Task::new(Arc::clone(&shared), past.to_keep());
        task.restore(past.applied.last().cloned()).await?;
        let sees = tokio::spawn(see(Arc::clone(&shared)));
        let mut tasks = vec![tokio::spawn(task.run()), sees];
        if shared.parts.others {
            tasks.push(tokio::spawn(hear(Arc::clone(&shared))));
        }
        Ok(Self { shared, tasks })
    }

    /// The catalog that serves, for readers that never wait.
    pub fn catalog(&self) -> Arc<ArcSwapOption<C>> {
        Arc::clone(&self.shared.catalog)
    }

    /// How content stands, and each change of it.
    pub fn status(&self) -> watch::Receiver<Arc<Status>> {
        self.shared.status.subscribe()
    }

    /// Who follows the source.
    pub fn follower(&self) -> &Follower {
        &self.shared.parts.follower
    }

    /// When the source is looked at next without being asked, Unix milliseconds.
    pub fn next_look_unix_ms(&self) -> Option<i64> {
        self.shared.parts.follower.next_look_unix_ms()
    }

    /// Looks at the source now, and tries its revision again even if it was refused. The answer is a number: once
    /// [`Status::observed_request`] is that or higher, it was acted on.
    pub fn ask(&self) -> u64 {
        self.shared.ask()
    }

    /// The catalog of a revision that a run is pinned to.
    pub async fn catalog_at(&self, revision: &str) -> Result<Arc<C>, ReconcileError> {
        // Held while it is built: a second asker of the same revision gets the first one's.
        let mut pinned = self.shared.pinned.lock().await;
        if let Some(catalog) = pinned.get(revision) {
            return Ok(catalog);
        }
        let built = match self.shared.build(revision).await {
            Err(Failure::Postponed(error)) => {
                // Nobody waits for the network who asks for what is here.
                drop(pinned);
                if !self.shared.parts.follower.bring(revision).await {
                    return Err(Failure::Postponed(error).into_error(revision));
                }
                pinned = self.shared.pinned.lock().await;
                self.shared.build(revision).await
            }
            built => built,
        };
        let built = built.map_err(|failure| failure.into_error(revision))?;
        pinned.put(revision, Arc::clone(&built.catalog));
        Ok(built.catalog)
    }

    /// The id of a revision by any name that Git knows.
    pub async fn resolve(&self, name: &str) -> Result<String, ReconcileError> {
        Ok(self.shared.parts.follower.resolve(name).await?)
    }

    /// Which revision was trusted last before this process began, by the journal: a mirror that was made anew does not know.
    pub async fn trusted_before(&self) -> Option<String> {
        self.shared.standing.lock().await.trusted.clone()
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
        let built = self.shared.compile(&self.shared.parts.build, tree, &revision.id).await?;
        let serving = self.shared.standing.lock().await.serving;
        guard(serving, built.census, revision, allowed).map_err(|finding| vec![finding])?;
        Ok(built)
    }

    /// What the site is called by what was applied last; none where nothing was.
    pub async fn site(&self) -> Option<String> {
        self.shared.standing.lock().await.site.clone()
    }

    /// Loads and compiles files as a revision would be, with what is encrypted left so. Nothing is changed.
    ///
    /// # Errors
    /// The findings that would refuse it.
    pub async fn check(&self, tree: Arc<Tree>, revision: &str) -> Result<Built<C>, Vec<String>> {
        self.shared.compile(&self.shared.parts.sealed_build, tree, revision).await
    }

    /// The branch moved to a revision that was pushed: who pushed it is written down, and what they allowed counts from now on.
    /// Nothing, where that was done already.
    ///
    /// # Errors
    /// What the store says.
    pub async fn moved(&self, revision: &str) -> Result<(), StoreError> {
        self.shared.moved(revision).await
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
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

fn run_name(machine: &str, run: u64) -> String {
    format!("{machine}-{run}")
}

/// What is seen is said at once, also while a revision is built or taken in.
async fn see<C: Send + Sync + 'static>(shared: Arc<Shared<C>>) {
    let mut sights = shared.parts.follower.sight();
    let mut told = shared.parts.follower.told();
    let mut warned = None;
    loop {
        told.mark_unchanged();
        let sight = sights.borrow_and_update().clone();
        shared.see(&sight);
        let unavailable = if let crate::git::Sight::Unavailable(error) = sight { Some(error) } else { None };
        if let Some(error) = unavailable.as_ref().filter(|_| warned != unavailable) {
            tracing::warn!(source = shared.status.borrow().source, %error, "the source cannot be read");
        }
        warned = unavailable;
        tokio::select! {
            changed = sights.changed() => {
                if changed.is_err() {
                    shared.see(&crate::git::Sight::Unavailable(GitError::Stopped));
                    return;
                }
            }
            // Of several sources one may be in trouble, and nothing else is seen.
            Ok(()) = told.changed() => {}
        }
    }
}

/// What other servers on the same store write about the site wakes the task.
async fn hear<C: Send + Sync + 'static>(shared: Arc<Shared<C>>) {
    let mut events = shared.parts.store.watch_events();
    while events.changed().await.is_ok() {
        let known = shared.standing.lock().await.head;
        if shared.parts.store.head(&Stream::Site).is_ok_and(|head| head > known) {
            shared.woken.notify_one();
        }
    }
}

/// Why a revision was not built.
pub(super) enum Failure {
    /// Its own fault.
    Refused(Vec<String>),
    /// Not its fault.
    Postponed(GitError),
}

impl Failure {
    pub(super) fn into_error(self, revision: &str) -> ReconcileError {
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
    /// Looks at the source now: [`Reconciler::ask`].
    pub fn ask(&self) -> u64 {
        let now = now_unix_ms().unsigned_abs();
        let next = |last: u64| last.saturating_add(1).max(now);
        let before = self.requested.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| Some(next(last)));
        self.woken.notify_one();
        next(before.unwrap_or_else(|last| last))
    }

    /// The last request for another look.
    pub fn requested(&self) -> u64 {
        self.requested.load(Ordering::Acquire)
    }

    pub async fn build(&self, revision: &str) -> Result<Built<C>, Failure> {
        let tree = match self.parts.follower.tree(revision).await {
            Ok(tree) => self.main_is_told(tree),
            Err(error) if error.is_fault_of_revision() => return Err(Failure::Refused(error.findings())),
            Err(error) => return Err(Failure::Postponed(error)),
        };
        self.compile(&self.parts.build, Arc::new(tree), revision).await.map_err(Failure::Refused)
    }

    /// As [`Self::build`]; a revision that is not here and not followed any more is fetched first, where it is elsewhere.
    pub async fn build_or_bring(&self, revision: &str) -> Result<Built<C>, Failure> {
        match self.build(revision).await {
            Err(Failure::Postponed(error)) if !self.parts.follower.bring(revision).await => {
                Err(Failure::Postponed(error))
            }
            Err(Failure::Postponed(_)) => self.build(revision).await,
            built => built,
        }
    }

    /// The source shows a revision: who pushed it is written down, and what they allowed counts.
    pub async fn moved(&self, revision: &str) -> Result<(), StoreError> {
        let _once = self.promises.lock().await;
        allowance::keep(self.parts.store.as_ref(), revision, now_unix_ms()).await
    }

    /// Loads and compiles files, when it is their turn.
    pub async fn compile(
        &self,
        build: &Arc<Build<C>>,
        tree: Arc<Tree>,
        revision: &str,
    ) -> Result<Built<C>, Vec<String>> {
        let turn = Arc::clone(&self.builds).acquire_owned().await;
        let (build, revision, most) = (Arc::clone(build), revision.to_owned(), self.parts.longest);
        let stop = until_late(most);
        // Compiling takes milliseconds of one core: not on a thread that answers machines. Where nobody waits for it any more
        // it is left off, and its turn is the next one's.
        let _stops = stop.on_drop();
        let compiled = tokio::task::spawn_blocking(move || {
            let answer = in_time(&*build, &tree, &revision, &stop, most);
            drop(turn);
            answer
        });
        compiled.await.unwrap_or_else(|error| Err(vec![format!("the revision could not be compiled: {error}")]))
    }

    /// Whether a built revision may take the place of the one that serves, where it is allowed this. The findings say why not.
    /// `back`: a person goes back to what served here, under whatever name.
    pub async fn guard(
        &self,
        standing: &Standing,
        built: &Built<C>,
        revision: &Revision,
        allowed: &Allowance,
        back: bool,
    ) -> Result<(), Vec<String>> {
        // Of several sources each revision carries the main one's message: it speaks for the main commit's own change only.
        let before = self.status.borrow().applied.as_ref().map(|applied| applied.revision.clone());
        let before = match before {
            Some(id) if id != revision.id => self.parts.follower.revision(&id).await.ok(),
            _ => None,
        };
        // Whoever goes back says so anew.
        let mounted = if back { Vec::new() } else { self.mounted(before.as_ref(), revision).await };
        let stale = before.as_ref().is_some_and(|before| decide::says_again(&before.message, &revision.message));
        let gone = before.map(|before| gone_sources(&before.message, &revision.message)).unwrap_or_default();
        let silent = Revision { message: String::new(), ..revision.clone() };
        let revision = if stale || self.parts.hosted { &silent } else { revision };
        let one = |finding| vec![finding];
        if !back {
            guard_site(standing.site.as_deref(), &built.site, revision, allowed).map_err(one)?;
        }
        guard(standing.serving, built.census, revision, allowed).map_err(one)?;
        let Some(serving) = self.catalog.load_full() else { return Ok(()) };
        let foreseen = self.parts.foresee.foresee(serving, Arc::clone(&built.catalog)).await;
        let allowed = &with_parts(allowed, &foreseen, &mounted);
        let left = guard_leave(&foreseen, &gone, built.census, revision, allowed);
        let findings: Vec<String> =
            [guard_wipe(&foreseen, revision, allowed), left].into_iter().filter_map(Result::err).collect();
        if findings.is_empty() { Ok(()) } else { Err(findings) }
    }

    /// Says what is seen.
    pub fn see(&self, sight: &crate::git::Sight) {
        let follower = &self.parts.follower;
        let source = follower.source();
        self.update(|status| {
            status.see(&source, sight);
            // Asked while nobody else writes: what is older never takes the place of what is newer.
            status.see_sources(follower.sources());
        });
    }

    pub fn update(&self, change: impl FnOnce(&mut Status)) {
        self.status.send_if_modified(|status| {
            let mut next = Status::clone(status);
            change(&mut next);
            next.settle(now_unix_ms());
            let changed = next != **status;
            if changed {
                *status = Arc::new(next);
            }
            changed
        });
    }

    /// Takes in what the journal says of the site since this was done last.
    pub fn catch_up(&self, standing: &mut Standing) -> Result<(), StoreError> {
        let (held, head) = (standing.hold.clone(), standing.head);
        loop {
            let records = self.parts.store.events_of(&Stream::Site, standing.head, PAGE)?;
            if records.is_empty() {
                break;
            }
            records.iter().for_each(|record| standing.take(record));
        }
        if standing.hold != held {
            self.update(|status| status.hold(&standing.hold));
        }
        // It may be another server's word.
        if self.parts.others && standing.head != head {
            self.woken.notify_one();
        }
        Ok(())
    }

    /// Writes an event of the site down, which was decided on what is taken in of it, and takes it in.
    ///
    /// # Errors
    /// What the store says. [`StoreError::Conflict`]: something was written in between; it is taken in, and may be decided on.
    pub async fn write(&self, standing: &mut Standing, event: Event) -> Result<(), StoreError> {
        self.write_with(standing, Some(event), Vec::new()).await
    }

    /// As [`Self::write`], with what is to be put down in one with the event.
    pub async fn write_with(
        &self,
        standing: &mut Standing,
        event: Option<Event>,
        operations: Vec<Operation>,
    ) -> Result<(), StoreError> {
        let expected = vec![(Stream::Site, standing.head)];
        let events = event.into_iter().map(|event| (Stream::Site, event)).collect();
        let batch = Batch { expected, events, operations };
        let written = self.parts.store.commit(batch, now_unix_ms()).await;
        if matches!(written, Ok(_) | Err(StoreError::Conflict { .. })) {
            self.catch_up(standing)?;
        }
        written.map(drop)
    }
}

pub(super) fn now_unix_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
