//! The thread that owns libgit2: looks at the source, fills the mirror, answers questions in order.

use super::loose::Checked;
use super::mirror::{Mirror, Origin};
use super::opened::sound;
pub(super) use super::opened::{head_of, id_of, open};
use super::receive::Hosted;
use super::remote::{News, Part, SourceSettings, Sources, room_of};
use super::sound::{Sound, put_back};
use super::watch::Watch;
use super::{GitError, Revision, Sight, Source, Verifier, directory};
use crate::content::{Finding, Tree};
use crate::trust::Signed;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{oneshot, watch};

/// The pause between looks without a hint. Half of the second within which a push must be noticed.
const POLL: Duration = Duration::from_millis(500);

/// After so many new revisions the mirror is swept when nothing else is to be done.
const PRUNE_EVERY: u32 = 256;
/// After so many it is swept even if there is.
const PRUNE_AT_LATEST: u32 = 1024;
/// So many revisions that were given out last are not swept away: nothing keeps them until they are applied.
const GIVEN_OUT: usize = 16;

/// An answer on its way.
pub(super) type Reply<T> = oneshot::Sender<Result<T, GitError>>;

/// What the thread is asked.
pub(super) enum Request {
    /// Something may have changed: look now.
    Look,
    /// Look now, and say when that is done: it answers the request of this number, where nobody else does.
    LookNow(Option<u64>, Reply<()>),
    /// The files of a revision.
    Tree(String, Reply<Tree>),
    /// What a revision says of itself.
    Revision(String, Reply<Revision>),
    /// The id of a revision by any name that Git knows.
    Resolve(String, Reply<String>),
    /// Which revision served last.
    Applied(Reply<Option<String>>),
    /// This one serves.
    SetApplied(String, Reply<()>),
    /// Who signed this revision, if it may follow the one trusted last: of that, the mirror knows, or else what is given.
    Verify(Arc<Verifier>, String, Option<String>, Reply<Result<Signed, Vec<Finding>>>),
    /// Which revision was trusted last; of several sources, which commit of this one.
    Trusted(Option<String>, Reply<Option<String>>),
    /// The next one has to follow this one.
    SetTrusted(String, Reply<()>),
    /// Keep this revision for this run.
    Pin(String, String, Reply<()>),
    /// Let go of this run's.
    Unpin(String, Reply<()>),
    /// Keep these revisions and no others of those kept for going back.
    Keep(Vec<String>, Reply<()>),
    /// All pinned runs.
    Pins(Reply<Vec<(String, String)>>),

    // -- from who puts several sources together --
    /// This is to be seen, and answers requests up to this one, unless whoever presents it was told to end since.
    Present(Sight, u64, Arc<AtomicBool>),
    /// These are followed from now on, and nobody has looked at them yet.
    Follow(Sources),
    /// Copy a source's commit into the mirror and keep it; what it says, and its files.
    Take(Taken, Reply<(Revision, Tree)>),
    /// Put these together as one commit.
    Compose(Vec<Part>, Reply<Revision>),
    /// This commit of that source is good: keep it.
    KeepSource(String, String, Reply<()>),
    /// This commit of that source is trusted: the next one has to follow it.
    TrustSource(String, String, Reply<()>),
    /// The commit of that source that was kept last, and the files of its folder.
    Source(String, Option<String>, Reply<Option<(Revision, Tree)>>),
}

/// A source's commit to copy.
pub(super) struct Taken {
    /// The source's name.
    pub source: String,
    /// Where it is.
    pub origin: PathBuf,
    /// The commit.
    pub revision: String,
    /// The annotated tag that leads to it, where one was followed: it is kept, since a signature may be on it.
    pub tag: Option<String>,
    /// The folder that counts.
    pub subpath: Option<String>,
}

/// When a source on this disk was looked at last, with and without success, Unix milliseconds; 0: never. For people.
#[derive(Debug, Default)]
pub(super) struct Looked {
    pub success_unix_ms: AtomicI64,
    pub failure_unix_ms: AtomicI64,
}

/// The thread's own.
pub(super) struct Owner {
    pub source: Source,
    pub mirror: Mirror,
    pub requests: Receiver<Request>,
    /// For hints from watches.
    pub hints: SyncSender<Request>,
    pub sight: watch::Sender<Sight>,
    /// The last request that it answers.
    pub answers: watch::Sender<u64>,
    pub stop: Arc<AtomicBool>,
    /// When it looks next by itself, Unix milliseconds: for people.
    pub next_look: Arc<AtomicI64>,
    /// When it looked last.
    pub looked: Arc<Looked>,
    /// The directory's look at the last read, with what came of it.
    pub last_directory: Option<(u64, Revision)>,
    /// New revisions since the mirror was swept; it is swept at the start.
    pub mirrored: u32,
    /// Revisions given out last, the newest at the end.
    pub given_out: VecDeque<String>,
    /// Loose objects of the source that were found whole.
    pub checked: Checked,
    /// What is known of the source's newest commit.
    pub sound: Sound,
    /// What is known of the source's settings and packed references.
    pub frame: super::frame::Frame,
    /// A commit of the source that could not be copied: it is looked at as closely as one that serves.
    pub not_copied: Option<String>,
    /// The source's commit at the last look.
    pub last_head: Option<String>,
    /// Told of what happens to the source.
    pub news: Arc<News>,
}

impl Owner {
    /// Until the follower is dropped.
    pub(super) fn run(mut self) {
        let mut watches = Watch::new(&self.source);
        let mut next_look = Instant::now();
        // Thirty events of one push are one hint, or a few: one that waits is enough.
        let hinted = Arc::new(AtomicBool::new(false));
        self.forget_others();
        self.prune();
        while !self.stop.load(Ordering::Acquire) {
            if Instant::now() >= next_look {
                // Watches first: what changes after the look is then seen by them.
                hinted.store(false, Ordering::Release);
                let (hints, hinted) = (self.hints.clone(), Arc::clone(&hinted));
                watches.refresh(move || {
                    if !hinted.swap(true, Ordering::AcqRel) {
                        drop(hints.try_send(Request::Look));
                    }
                });
                self.look();
                next_look = Instant::now() + POLL;
                self.next_look.store(unix_ms(SystemTime::now() + POLL), Ordering::Release);
            }
            match self.requests.recv_timeout(next_look.saturating_duration_since(Instant::now())) {
                Ok(Request::Look) => next_look = Instant::now(),
                Ok(request) => self.answer(request),
                Err(RecvTimeoutError::Timeout) if self.mirrored >= PRUNE_EVERY => self.prune(),
                Err(RecvTimeoutError::Timeout) => self.look_over(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Lets go of what was kept for sources that are followed no longer.
    fn forget_others(&self) {
        let Source::Sources(sources) = &self.source else { return };
        let names = |kept: fn(&SourceSettings) -> bool| -> Vec<&str> {
            sources.0.iter().filter(|source| kept(source)).map(|source| source.name.as_str()).collect()
        };
        // The only one is followed as it is.
        let kept = if sources.0.len() > 1 { names(SourceSettings::is_kept) } else { Vec::new() };
        if let Err(error) = self.mirror.keep_sources_only(&names(|_| true), &kept) {
            tracing::warn!(%error, "sources that are followed no longer are still kept");
        }
    }

    fn prune(&mut self) {
        self.mirrored = 0;
        match self.mirror.prune(&self.given_out) {
            Ok(removed) => tracing::debug!(removed, "mirror swept"),
            Err(error) => tracing::warn!(%error, "the mirror could not be swept"),
        }
    }

    /// What can wait until nobody asks for anything. What a damaged mirror lacks is copied again when somebody asks for it; of a
    /// directory, when it is looked at next.
    fn look_over(&mut self) {
        if self.mirror.look_over() {
            self.last_directory = None;
        }
    }

    /// One more revision is in the mirror, and somebody works on it.
    fn mirrored(&mut self, id: &str) {
        self.mirrored += 1;
        self.given_out.push_back(id.to_owned());
        if self.given_out.len() > GIVEN_OUT {
            self.given_out.pop_front();
        }
        if self.mirrored >= PRUNE_AT_LATEST {
            self.prune();
        }
    }

    fn look(&mut self) {
        // What is seen of these is presented by who puts them together.
        if matches!(self.source, Source::Sources(_)) {
            return;
        }
        let now = unix_ms(SystemTime::now());
        let seen = match self.head() {
            Ok(revision) => {
                self.looked.success_unix_ms.store(now, Ordering::Release);
                self.notice(&revision);
                Sight::Head(revision)
            }
            Err(error) => {
                self.looked.failure_unix_ms.store(now, Ordering::Release);
                Sight::Unavailable(error)
            }
        };
        self.show(seen);
    }

    fn show(&self, seen: Sight) {
        self.sight.send_if_modified(|sight| {
            let changed = *sight != seen;
            if changed {
                *sight = seen;
            }
            changed
        });
    }

    /// What is seen now answers requests up to this one. Said after it is shown.
    fn answers(&self, request: u64) {
        self.answers.send_if_modified(|answered| {
            let more = request > *answered;
            *answered = request.max(*answered);
            more
        });
    }

    pub(super) fn head(&mut self) -> Result<Revision, GitError> {
        let path = match &self.source {
            Source::Bare { path, branch, .. } => {
                let path = path.clone();
                let revision = match head_of(&path, branch.as_deref()) {
                    // Of the server's own repository the newest commit is put back like all that it is made of.
                    Err(GitError::Damaged { revision, .. })
                        if self.is_own(&path) && put_back(&path, &revision, &self.mirror) =>
                    {
                        head_of(&path, branch.as_deref())?
                    }
                    seen => seen?,
                };
                let unreadable = |message| GitError::Unreadable { path: path.clone(), message };
                self.frame.look(&open(&path)?).map_err(unreadable)?;
                // One that is not mirrored yet is read whole when it is, or is found not to be.
                if self.mirror.holds(&revision.id) || self.not_copied.as_ref() == Some(&revision.id) {
                    self.is_whole(&path, &revision)?;
                }
                return Ok(revision);
            }
            Source::Sources(_) => return Err(GitError::Busy),
            Source::Directory { path } => path.clone(),
        };
        let fingerprint = directory::fingerprint(&path)?;
        if let Some((last, revision)) = &self.last_directory
            && *last == fingerprint
        {
            return Ok(revision.clone());
        }
        let revision = self.mirror.commit_listing(&directory::read(&path)?)?;
        self.mirrored(&revision.id);
        self.last_directory = Some((fingerprint, revision.clone()));
        Ok(revision)
    }

    /// Whether this is the repository that the server itself hosts.
    fn is_own(&self, path: &Path) -> bool {
        // A state directory may be given from where the server was started.
        let absolute = |path: &Path| std::path::absolute(path).ok();
        self.mirror.path.parent().is_some_and(|state| absolute(&Hosted::place(state)) == absolute(path))
    }

    /// Whether the source holds all of its newest commit. What the server's own repository has lost is put back from the mirror.
    fn is_whole(&mut self, path: &Path, revision: &Revision) -> Result<(), GitError> {
        let (repository, own) = (open(path)?, self.is_own(path));
        let oid =
            git2::Oid::from_str(&revision.id).map_err(|_| GitError::BadReference { name: revision.id.clone() })?;
        self.sound.look(&repository, oid, own.then_some(&self.mirror)).map_err(|message| GitError::Damaged {
            revision: revision.id.clone(),
            path: path.to_owned(),
            message,
        })
    }

    /// The revision's files, copied into the mirror first where they are not there.
    pub(super) fn tree(&mut self, id: &str) -> Result<Tree, GitError> {
        let (path, subpath) = match &self.source {
            Source::Directory { .. } => return self.mirror.tree(id, None),
            Source::Bare { path, subpath, .. } => (path.clone(), subpath.clone()),
            // What was put together here is whole as it is.
            Source::Sources(_) if self.mirror.is_composite(id) => return self.mirror.tree(id, None),
            Source::Sources(sources) => match sources.0.first() {
                Some(main) => (room_of(&self.mirror.path, main), main.subpath.clone()),
                // Nothing is followed (yet): what was mirrored before is there all the same.
                None => return self.mirror.tree(id, None),
            },
        };
        let subpath = subpath.as_deref();
        if self.mirror.holds(id) {
            match self.mirror.tree(id, subpath) {
                Err(error @ (GitError::Mirror { .. } | GitError::UnknownRevision { .. })) => {
                    tracing::warn!(revision = id, %error, "the mirror's copy cannot be read; copying it again");
                }
                answer => return answer,
            }
        }
        let repository = open(&path)?;
        let origin = Origin { repository: &repository, path: &path, subpath };
        let brought = self.mirror.bring(&origin, id);
        self.not_copied = brought.is_err().then(|| id.to_owned());
        if self.not_copied.is_some() {
            drop(self.hints.try_send(Request::Look));
        }
        let (copied, tree) = brought?;
        self.mirrored(id);
        tracing::debug!(revision = id, copied, read = self.mirror.files_read(), "revision mirrored");
        Ok(tree)
    }

    fn take(&mut self, what: &Taken) -> Result<(Revision, Tree), GitError> {
        let subpath = what.subpath.as_deref();
        let repository = open(&what.origin)?;
        let origin = Origin { repository: &repository, path: &what.origin, subpath };
        if self.mirror.revision(&what.revision)?.is_none() || self.mirror.tree(&what.revision, subpath).is_err() {
            self.mirror.bring(&origin, &what.revision)?;
        }
        self.mirrored(&what.revision);
        if let Some(tag) = &what.tag {
            self.mirror.copy_tag(&origin, &what.revision, tag)?;
        }
        self.mirror.keep_taken(&what.source, &what.revision)?;
        Ok((self.revision(&what.revision)?, self.mirror.tree(&what.revision, subpath)?))
    }

    fn revision(&self, id: &str) -> Result<Revision, GitError> {
        let found = self.mirror.revision(id)?;
        found.ok_or_else(|| GitError::UnknownRevision { revision: id.to_owned() })
    }

    /// Whether a revision may follow the one trusted last: its history is the source's, the mirror has none.
    fn verify(
        &mut self,
        verifier: &Verifier,
        id: &str,
        remembered: Option<String>,
    ) -> Result<Result<Signed, Vec<Finding>>, GitError> {
        let last = self.mirror.trusted().or(remembered);
        match &self.source {
            Source::Directory { .. } => verifier.verify(&self.mirror.repository, None, last.as_deref(), id),
            // The mirror has no history. Where one repository is followed, its own history, or as much of it as this needs, is
            // in its waiting room. What is put together of several is signed by nobody: it is asked about here, and refused.
            Source::Sources(sources) => match sources.0.as_slice() {
                [one] => {
                    let room = open(&room_of(&self.mirror.path, one))?;
                    verifier.verify(&room, one.subpath.as_deref(), last.as_deref(), id)
                }
                _ => verifier.verify(&self.mirror.repository, None, last.as_deref(), id),
            },
            Source::Bare { path, subpath, .. } => {
                let repository = open(path)?;
                sound(&repository, path, &mut self.checked)?;
                verifier.verify(&repository, subpath.as_deref(), last.as_deref(), id)
            }
        }
    }

    /// By the source, whose branches and tags are the newest; by the mirror where the source does not know it.
    fn resolve(&mut self, name: &str) -> Result<String, GitError> {
        let unknown = || GitError::UnknownRevision { revision: name.to_owned() };
        // Searches through messages and reflogs are no names.
        if name.len() > NAME_BYTES_MAX || name.contains([':', '{', '@']) {
            return Err(unknown());
        }
        if let Source::Bare { path, .. } = &self.source
            && let Ok(repository) = open(path)
        {
            sound(&repository, path, &mut self.checked)?;
            if let Some(id) = id_of(&repository, name) {
                return Ok(id);
            }
        }
        self.mirror.resolve(name).ok_or_else(unknown)
    }

    /// A reply that nobody waits for any more is dropped.
    fn answer(&mut self, request: Request) {
        match request {
            Request::Look => {}
            Request::LookNow(request, reply) => {
                self.look();
                self.answers(request.unwrap_or_default());
                let _ = reply.send(Ok(()));
            }
            Request::Tree(id, reply) => {
                drop(reply.send(self.tree_mended(&id)));
                // While it is compiled. Where this fails it is done again, and told, when the revision is to be kept.
                if let Err(error) = self.mirror.sync() {
                    tracing::debug!(%error, "a revision is not on the disk yet");
                }
            }
            Request::Revision(id, reply) => drop(reply.send(self.revision(&id))),
            Request::Resolve(name, reply) => drop(reply.send(self.resolve(&name))),
            Request::Applied(reply) => drop(reply.send(Ok(self.mirror.applied()))),
            Request::SetApplied(id, reply) => drop(reply.send(self.mirror.set_applied(&id))),
            Request::Verify(verifier, id, last, reply) => drop(reply.send(self.verify(&verifier, &id, last))),
            Request::Trusted(None, reply) => drop(reply.send(Ok(self.mirror.trusted()))),
            Request::Trusted(Some(name), reply) => drop(reply.send(Ok(self.mirror.trusted_of(&name)))),
            Request::SetTrusted(id, reply) => drop(reply.send(self.mirror.set_trusted(&id))),
            Request::Pin(run, id, reply) => drop(reply.send(self.mirror.pin(&run, &id))),
            Request::Unpin(run, reply) => drop(reply.send(self.mirror.unpin(&run))),
            Request::Keep(ids, reply) => drop(reply.send(self.mirror.keep(&ids))),
            Request::Pins(reply) => drop(reply.send(self.mirror.pins())),
            Request::Present(sight, request, stopped) => {
                if !stopped.load(Ordering::Acquire) {
                    self.show(sight);
                    self.answers(request);
                }
            }
            Request::Follow(sources) => {
                self.source = Source::Sources(sources);
                self.forget_others();
                self.show(Sight::Nothing);
            }
            Request::Take(what, reply) => drop(reply.send(self.take(&what))),
            Request::Compose(parts, reply) => drop(reply.send(self.compose_mended(&parts))),
            Request::KeepSource(name, id, reply) => drop(reply.send(self.mirror.keep_source(&name, &id))),
            Request::TrustSource(name, id, reply) => drop(reply.send(self.mirror.trust_source(&name, &id))),
            Request::Source(name, subpath, reply) => {
                drop(reply.send(self.source_mended(&name, subpath.as_deref())));
            }
        }
    }
}

/// A name of a revision that somebody asks for is no longer, bytes.
const NAME_BYTES_MAX: usize = 256;

fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
