//! The program's handle to the thread that owns libgit2.

use super::history::History;
use super::mirror::Mirror;
use super::origins::{Part as OriginPart, packs};
use super::owner::{Looked, Owner, Reply, Request};
use super::remote::{
    Before, Ears, Follow, Location, Policies, Remote, SourceSettings, SourceStatus, parts_of, room_of,
};
use super::{GitError, PackCache, Revision, Sight, Source, Verifier};
use crate::content::{Finding, Tree};
use crate::trust::Signed;
use arc_swap::ArcSwap;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};

/// Questions that may wait for the thread; one more is answered [`GitError::Busy`].
const QUEUE: usize = 256;
/// So long history and single commits that are elsewhere are waited for, where somebody asks for them.
const FOR_HISTORY: Duration = Duration::from_secs(20);
/// What could not be had is not asked for again for so long.
const BRING_AGAIN: Duration = Duration::from_secs(15);
/// So many commits that were asked for are remembered.
const BROUGHT: usize = 64;

/// What a source is called that nobody gave a name.
pub const ALONE: &str = "site";

/// Follows one source at a time. Dropping it ends the thread.
pub struct Follower {
    pub(super) source: ArcSwap<Source>,
    pub(super) requests: SyncSender<Request>,
    sight: watch::Receiver<Sight>,
    /// The last request for a look, and the last that what is seen answers.
    pub(super) requested: Arc<AtomicU64>,
    answered: watch::Receiver<u64>,
    stop: Arc<AtomicBool>,
    /// Where packs are fetched to; none: they are not.
    packs: Option<PackCache>,
    /// They are fetched for what is followed now.
    pub(super) fetches_packs: AtomicBool,
    /// Of sources with threads of their own: those.
    remote: Mutex<Remotes>,
    /// What such threads need: the folder of what is fetched, and who hears of it.
    pub(super) rooms: PathBuf,
    pub(super) ears: Ears,
    /// Who may sign for which of several sources that are followed now.
    pub(super) policies: ArcSwap<Policies>,
    next_look: Arc<AtomicI64>,
    looked: Arc<Looked>,
    /// Rises whenever a source with a thread of its own stands otherwise.
    pub(super) told: watch::Sender<u64>,
    /// Whether repositories on this disk hold all of their history.
    pub(super) history: History,
    /// Which commits were asked for elsewhere by their id, and when.
    brought: Mutex<VecDeque<(String, Instant)>>,
}

/// Threads that look at sources.
#[derive(Default)]
pub(super) struct Remotes {
    /// Of what is followed now.
    pub now: Option<Remote>,
    /// Of what was followed before, on their way out.
    pub before: Vec<Before>,
}

impl Follower {
    /// Opens (or makes) the mirror and begins to follow. Fails only for the mirror's sake: a source that cannot be read is a
    /// [`Sight`], and is looked for again and again.
    pub fn start(source: Source, mirror: &Path) -> Result<Self, GitError> {
        Self::start_with(source, mirror, Ears::default())
    }

    /// As [`Follower::start`]; `ears` judge what mounted sources bring, and hear what happens to sources.
    ///
    /// # Errors
    /// [`GitError`], for the mirror's sake only.
    pub fn start_with(source: Source, mirror: &Path, ears: Ears) -> Result<Self, GitError> {
        let follower = Self::start_idle(source, mirror, ears)?;
        if let Source::Sources(sources) = &**follower.source.load() {
            let remote = follower.started(sources, Vec::new())?;
            follower.remotes().now = Some(remote);
        }
        Ok(follower)
    }

    /// As [`Follower::start_with`], but of sources with threads of their own none is looked at before [`Follower::follow`] says
    /// so; until then `source` says how to read what was mirrored before.
    ///
    /// # Errors
    /// [`GitError`], for the mirror's sake only.
    pub fn start_idle(source: Source, mirror: &Path, ears: Ears) -> Result<Self, GitError> {
        let mirror_path = mirror.to_owned();
        let mirror = Mirror::open_mended(mirror)?;
        let (requests, receiver) = sync_channel(QUEUE);
        let (sight_sender, sight) = watch::channel(Sight::Nothing);
        let (answers, answered) = watch::channel(0);
        let stop = Arc::new(AtomicBool::new(false));
        let next_look = Arc::new(AtomicI64::new(0));
        let looked = Arc::new(Looked::default());
        let owner = Owner {
            source: source.clone(),
            mirror,
            requests: receiver,
            hints: requests.clone(),
            sight: sight_sender,
            answers,
            stop: Arc::clone(&stop),
            next_look: Arc::clone(&next_look),
            looked: Arc::clone(&looked),
            last_directory: None,
            mirrored: 0,
            given_out: VecDeque::new(),
            checked: super::loose::Checked::default(),
            sound: super::sound::Sound::default(),
            frame: super::frame::Frame::default(),
            not_copied: None,
            last_head: None,
            news: Arc::clone(&ears.news),
        };
        std::thread::Builder::new()
            .name("formwork-git".to_owned())
            .spawn(move || owner.run())
            .map_err(|e| GitError::Mirror { path: mirror_path.clone(), message: e.to_string() })?;
        let told = watch::Sender::new(0_u64);
        let tell = told.clone();
        let history = History::start(&source, move || tell.send_modify(|count| *count = count.wrapping_add(1)));
        Ok(Self {
            source: ArcSwap::from_pointee(source),
            history,
            requests,
            sight,
            requested: Arc::default(),
            answered,
            stop,
            next_look,
            looked,
            told,
            packs: None,
            fetches_packs: AtomicBool::new(true),
            remote: Mutex::default(),
            rooms: mirror_path.with_file_name("remotes"),
            policies: ArcSwap::from_pointee(ears.policies.clone()),
            ears,
            brought: Mutex::default(),
        })
    }

    pub(super) fn remotes(&self) -> MutexGuard<'_, Remotes> {
        self.remote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is followed.
    pub fn source(&self) -> Arc<Source> {
        self.source.load_full()
    }

    /// What the last look showed; changes within a second of a push.
    pub fn sight(&self) -> watch::Receiver<Sight> {
        self.sight.clone()
    }

    /// Looks now, without waiting for the next poll. A hint: nothing is lost when it is.
    pub fn look(&self) {
        let _ = self.requests.try_send(Request::Look);
        if let Some(remote) = &self.remotes().now {
            remote.look();
        }
    }

    /// Looks at one source soon, because a webhook says that something was pushed there, and once more a few seconds later where
    /// that is not visible yet. False: there is no such source.
    pub fn webhook(&self, source: &str) -> bool {
        self.remotes().now.as_ref().is_some_and(|remote| remote.webhook(source))
    }

    /// Goes along with a source's branch that was rewritten and is held: from which commit, to which. Soon; [`Self::sources`] says
    /// when.
    ///
    /// # Errors
    /// [`GitError::Busy`]: it was asked too often at once.
    pub fn accept(&self, source: &str) -> Result<Option<(String, String)>, GitError> {
        let remotes = self.remotes();
        let Some(remote) = &remotes.now else { return Ok(None) };
        let Some((from, to)) = remote.board.held(source) else { return Ok(None) };
        if !remote.accept(source, to.clone()) {
            return Err(GitError::Busy);
        }
        Ok(Some((from, to)))
    }

    /// A source's forge took what it was told of a commit, or not; nothing: it is not told by this server any more.
    pub fn reported(&self, source: &str, taken: Option<Result<(), String>>, now_unix_ms: i64) {
        if let Some(remote) = &self.remotes().now {
            remote.board.reported(source, taken, now_unix_ms);
        }
    }

    /// How each source stands: one on the local disk alone as one; none where nobody said yet what is followed.
    pub fn sources(&self) -> Vec<SourceStatus> {
        let (url, follows) = match &*self.source.load_full() {
            Source::Sources(sources) => {
                let mut rows = self.remotes().now.as_ref().map(|remote| remote.board.status()).unwrap_or_default();
                for row in &mut rows {
                    let of = sources.0.iter().find(|source| source.name == row.name).map(|source| &source.location);
                    row.damage = match of {
                        Some(Location::Local(path)) => self.history.damage(path),
                        _ => None,
                    };
                }
                return rows;
            }
            Source::Directory { path } => (path.display().to_string(), "what lies there".to_owned()),
            Source::Bare { path, branch, .. } => {
                (path.display().to_string(), branch.clone().map_or(Follow::Default, Follow::Branch).to_string())
            }
        };
        let damage = match &*self.source.load_full() {
            Source::Bare { path, .. } => self.history.damage(path),
            Source::Directory { .. } | Source::Sources(_) => None,
        };
        let at = |time: &AtomicI64| Some(time.load(Ordering::Acquire)).filter(|at| *at != 0);
        let (head, failure) = match &*self.sight.borrow() {
            Sight::Nothing => (None, None),
            Sight::Head(revision) => (Some(revision.id.clone()), None),
            Sight::Unavailable(error) => (None, Some(error.to_string())),
        };
        vec![SourceStatus {
            name: ALONE.to_owned(),
            url,
            follows,
            used: head.clone(),
            head,
            failure,
            last_success_unix_ms: at(&self.looked.success_unix_ms),
            last_failure_unix_ms: at(&self.looked.failure_unix_ms),
            next_look_unix_ms: self.next_look_unix_ms(),
            observed_request: *self.answered.borrow(),
            damage,
            ..SourceStatus::default()
        }]
    }

    /// Rises whenever a source with a thread of its own stands otherwise than before ([`Self::sources`]).
    pub fn told(&self) -> watch::Receiver<u64> {
        self.told.subscribe()
    }

    /// Which commit of each source a revision of what is followed now is made of.
    pub fn parts(&self, revision: &Revision) -> Vec<(String, String)> {
        match &*self.source.load_full() {
            Source::Sources(sources) => match sources.0.as_slice() {
                [one] => vec![(one.name.clone(), revision.id.clone())],
                _ => parts_of(&revision.message),
            },
            Source::Bare { .. } | Source::Directory { .. } => vec![(ALONE.to_owned(), revision.id.clone())],
        }
    }

    /// Looks now, because of the request of this number. Of a source on this disk the look is over when this returns; sources with
    /// threads of their own are told, and not waited for: [`Self::answered`] says when all of them have looked.
    ///
    /// # Errors
    /// [`GitError::Busy`]: it was asked too often at once.
    pub async fn look_for(&self, request: u64) -> Result<(), GitError> {
        let alone = {
            let remotes = self.remotes();
            self.requested.fetch_max(request, Ordering::AcqRel);
            remotes.now.as_ref().map(Remote::look).is_none()
        };
        self.ask(|reply| Request::LookNow(alone.then_some(request), reply)).await
    }

    /// The last request that what [`Self::sight`] shows answers: every source was looked at after it, with or without success.
    pub fn answered(&self) -> watch::Receiver<u64> {
        self.answered.clone()
    }

    /// When the source is looked at next without being asked, Unix milliseconds; none where that is not known yet.
    pub fn next_look_unix_ms(&self) -> Option<i64> {
        match self.next_look.load(Ordering::Acquire) {
            0 => None,
            at => Some(at),
        }
    }

    /// Keeps these revisions in the mirror (those that are there), and lets go of those that were kept before and are not
    /// among them: what one may go back to, should the source lose it.
    pub async fn keep(&self, revisions: Vec<String>) -> Result<(), GitError> {
        self.ask(|reply| Request::Keep(revisions, reply)).await
    }

    /// The files of a revision, from the mirror, or from the source where the mirror lacks it (it is then mirrored).
    ///
    /// # Errors
    /// [`GitError::is_fault_of_revision`] tells what trying again cannot help.
    pub async fn tree(&self, revision: &str) -> Result<Tree, GitError> {
        let tree = self.ask(|reply| Request::Tree(revision.to_owned(), reply)).await?;
        self.completed(tree).await
    }

    /// Files with the packs that they lock and do not hold laid in, where this server fetches packs.
    ///
    /// # Errors
    /// One of them cannot be fetched.
    pub async fn completed(&self, mut tree: Tree) -> Result<Tree, GitError> {
        let packs = self.packs.clone().filter(|_| self.fetches_packs.load(Ordering::Acquire));
        let Some(packs) = packs else { return Ok(tree) };
        // A repository far away takes its time: not on the thread that others ask, and not on one that answers machines.
        let completed = tokio::task::spawn_blocking(move || packs.complete(&mut tree).map(|()| tree));
        completed.await.map_err(|_| GitError::Stopped)?
    }

    /// Fetches the packs that revisions lock and do not hold; none: they are not fetched.
    #[must_use]
    pub fn fetching_packs(mut self, packs: Option<PackCache>) -> Self {
        self.packs = packs;
        self
    }

    /// What a mirrored revision says of itself.
    pub async fn revision(&self, revision: &str) -> Result<Revision, GitError> {
        self.ask(|reply| Request::Revision(revision.to_owned(), reply)).await
    }

    /// The id of a revision by any name that Git knows: a branch, a tag, the beginning of an id, `main~2`.
    pub async fn resolve(&self, name: &str) -> Result<String, GitError> {
        self.ask(|reply| Request::Resolve(name.to_owned(), reply)).await
    }

    /// Where the files of a revision come from. Of repositories elsewhere their history is asked for, and waited for a while.
    ///
    /// # Errors
    /// The revision cannot be read.
    pub async fn origins(&self, revision: &str) -> Result<Vec<OriginPart>, GitError> {
        let tree = self.ask(|reply| Request::Tree(revision.to_owned(), reply)).await?;
        let mut parts = packs(&tree, self.packs.as_ref().map(PackCache::path));
        let source = self.source();
        let sources = match &*source {
            Source::Directory { .. } => return Ok(parts),
            Source::Bare { path, subpath, .. } => {
                let (subpath, revision, objects) = (subpath.clone(), revision.to_owned(), Some(path.clone()));
                parts.push(OriginPart { folder: None, repository: None, subpath, revision, objects });
                return Ok(parts);
            }
            Source::Sources(sources) => sources.0.as_slice(),
        };
        let commits = match sources {
            [one] => vec![(one.name.clone(), revision.to_owned())],
            _ => parts_of(&self.revision(revision).await?.message),
        };
        for (name, revision) in commits {
            let Some(settings) = sources.iter().find(|source| source.name == name) else { continue };
            parts.push(OriginPart {
                folder: settings.mount.clone(),
                repository: Some(settings.location.to_string()),
                subpath: settings.subpath.clone(),
                revision,
                objects: Some(room_of(&self.rooms, settings)),
            });
        }
        self.wait_for_history(sources).await;
        Ok(parts)
    }

    /// Has a commit fetched that the mirror lacks and that is not followed (any more), and waits a while for it: one that another server on
    /// the same store applied, or that an open run is pinned to. Whether it was tried; a repository on this disk has it, or nobody.
    pub async fn bring(&self, commit: &str) -> bool {
        let tried = {
            let mut brought = self.brought.lock().unwrap_or_else(PoisonError::into_inner);
            brought.retain(|(_, at)| at.elapsed() < BRING_AGAIN);
            if brought.iter().any(|(known, _)| known == commit) {
                return false;
            }
            let remotes = self.remotes();
            let Some(tried) = remotes.now.as_ref().and_then(|remote| remote.bring(None, commit)) else { return false };
            brought.push_back((commit.to_owned(), Instant::now()));
            if brought.len() > BROUGHT {
                brought.pop_front();
            }
            tried
        };
        // It is dropped when it was tried.
        tokio::time::timeout(FOR_HISTORY, tried).await.is_ok()
    }

    /// Has the history of these fetched, where it is not here.
    async fn wait_for_history(&self, sources: &[SourceSettings]) {
        let elsewhere = sources.iter().filter(|source| !matches!(source.location, Location::Local(_)));
        let tried: Vec<_> = {
            let remotes = self.remotes();
            elsewhere.filter_map(|source| remotes.now.as_ref()?.history(&source.name)).collect()
        };
        let all = async {
            for tried in tried {
                // It is dropped when it was tried.
                let _ = tried.await;
            }
        };
        let _ = tokio::time::timeout(FOR_HISTORY, all).await;
    }

    /// Which revision was applied last, also by an earlier process.
    pub async fn applied(&self) -> Result<Option<String>, GitError> {
        self.ask(Request::Applied).await
    }

    /// Remembers which revision serves, and keeps it in the mirror.
    pub async fn set_applied(&self, revision: &str) -> Result<(), GitError> {
        self.ask(|reply| Request::SetApplied(revision.to_owned(), reply)).await
    }

    /// Who signed a revision, if it may follow the one trusted last; else why it may not. `remembered`: which that was, should
    /// the mirror be a new one.
    ///
    /// # Errors
    /// The source cannot be read.
    pub async fn verify(
        &self,
        verifier: &Arc<Verifier>,
        revision: &str,
        remembered: Option<String>,
    ) -> Result<Result<Signed, Vec<Finding>>, GitError> {
        self.ask(|reply| Request::Verify(Arc::clone(verifier), revision.to_owned(), remembered, reply)).await
    }

    /// Which revision the next one has to follow; none was trusted yet.
    pub async fn trusted(&self) -> Result<Option<String>, GitError> {
        self.ask(|reply| Request::Trusted(None, reply)).await
    }

    /// Remembers which revision the next one has to follow.
    pub async fn set_trusted(&self, revision: &str) -> Result<(), GitError> {
        self.ask(|reply| Request::SetTrusted(revision.to_owned(), reply)).await
    }

    /// Keeps a revision in the mirror for a run, as `refs/formwork/runs/NAME`.
    pub async fn pin(&self, run: &str, revision: &str) -> Result<(), GitError> {
        self.ask(|reply| Request::Pin(run.to_owned(), revision.to_owned(), reply)).await
    }

    /// Lets go of a run's revision. Not an error where there is none.
    pub async fn unpin(&self, run: &str) -> Result<(), GitError> {
        self.ask(|reply| Request::Unpin(run.to_owned(), reply)).await
    }

    /// All runs that keep a revision: name and revision, sorted.
    pub async fn pins(&self) -> Result<Vec<(String, String)>, GitError> {
        self.ask(Request::Pins).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, GitError> {
        let (reply, answer) = oneshot::channel();
        self.send(request(reply))?;
        answer.await.map_err(|_| GitError::Stopped)?
    }

    pub(super) fn send(&self, request: Request) -> Result<(), GitError> {
        self.requests.try_send(request).map_err(|e| match e {
            std::sync::mpsc::TrySendError::Full(_) => GitError::Busy,
            std::sync::mpsc::TrySendError::Disconnected(_) => GitError::Stopped,
        })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.remotes().end();
        self.look();
    }
}
