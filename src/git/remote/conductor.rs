//! The thread that puts together what the pollers found: of one source its commit; of several a commit of our own, in which
//! each mounted source stands as far as it is good.

use super::board::{Board, Entry, Refusal};
use super::compose::{Part, Verdict, decide, merged};
use super::fetch::{Known, Room};
use super::history::Checked;
use super::leaving::left_too_many;
use super::permit::forbidden;
use super::settings::Sources;
use super::signed::{Policies, Signatures};
use super::{Allowed, Judge, News, SourceEvent};
use crate::content::Tree;
use crate::git::loose::Loose;
use crate::git::mirror::revision_of;
use crate::git::owner::{Reply, Request, Taken, open};
use crate::git::{GitError, PackCache, Revision, Sight, Verifier};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// How often it is seen whether the program still wants this thread.
const LOOK_AROUND: Duration = Duration::from_secs(2);
/// After so long mounted sources are judged again, where a pack that the site locks could not be had.
const JUDGED_AGAIN: Duration = Duration::from_secs(15);

/// Who judges, and who is told.
#[derive(Clone)]
pub struct Ears {
    /// Judges a tree before a mounted source's commit goes into the site; none: everything goes in.
    pub judge: Option<Arc<Judge>>,
    /// Says which machines a person lets leave by a commit; none: only its own message does.
    pub allowed: Option<Arc<Allowed>>,
    /// Told of what happens to sources.
    pub news: Arc<News>,
    /// Checks signatures of one source: history is fetched as far as that needs it; none: only what is followed is fetched.
    pub verifier: Option<Arc<Verifier>>,
    /// Who may sign for which of several sources.
    pub policies: Policies,
    /// Where locked packs are fetched to before a tree is judged; none: they are not fetched.
    pub packs: Option<PackCache>,
}

impl Default for Ears {
    fn default() -> Self {
        let news = Arc::new(|_| {});
        Self { judge: None, allowed: None, news, verifier: None, policies: Policies::default(), packs: None }
    }
}

impl Ears {
    /// What history of a source the check of its signatures needs; none: nobody asks for them.
    pub(super) fn checked(&self, source: &str, owner: &SyncSender<Request>) -> Option<Checked> {
        let of = |verifier: &Arc<Verifier>, source| {
            let (verifier, owner) = (Arc::clone(verifier), owner.clone());
            Checked { verifier, owner, source }
        };
        if let Some(verifier) = &self.verifier {
            return Some(of(verifier, None));
        }
        let trusted = self.policies.trusted_before.get(source).cloned();
        self.policies.verifiers.get(source).map(|verifier| of(verifier, Some((source.to_owned(), trusted))))
    }
}

/// A source's commit in the mirror, with its files.
#[derive(Clone)]
struct Held {
    revision: Revision,
    tree: Tree,
}

/// A source's commit that does not go into the site.
struct Refused {
    index: usize,
    findings: Vec<String>,
    /// For who signed it.
    is_untrusted: bool,
    /// For the machines that would leave by it.
    is_guarded: bool,
}

impl Refused {
    fn untrusted(index: usize, findings: Vec<String>) -> Self {
        Self { is_untrusted: true, ..Self::content(index, findings) }
    }

    fn content(index: usize, findings: Vec<String>) -> Self {
        Self { index, findings, is_untrusted: false, is_guarded: false }
    }
}

/// The thread's own.
pub(in crate::git) struct Conductor {
    pub sources: Sources,
    pub rooms: Vec<Room>,
    pub board: Arc<Board>,
    pub ears: Ears,
    pub owner: SyncSender<Request>,
    pub stop: Arc<AtomicBool>,
    used: Vec<Option<Held>>,
    taken: Vec<Option<Held>>,
    /// Where each source has a policy of its own: what is known of its signatures.
    signatures: Vec<Signatures>,
    /// The heads that the last answer was made of.
    heads: Vec<Option<String>>,
    last: Option<Result<Revision, GitError>>,
    /// The last request that was answered.
    answered: u64,
    /// When what could not be judged for a pack's sake is judged again.
    again: Option<Instant>,
    /// Refused commits that were told of.
    told: Vec<Option<String>>,
}

impl Conductor {
    pub(in crate::git) fn new(
        sources: Sources,
        rooms: Vec<Room>,
        board: Arc<Board>,
        ears: Ears,
        owner: SyncSender<Request>,
        stop: Arc<AtomicBool>,
    ) -> Self {
        let count = sources.0.len();
        Self {
            sources,
            rooms,
            board,
            ears,
            owner,
            stop,
            used: vec![None; count],
            taken: vec![None; count],
            signatures: (0..count).map(|_| Signatures::default()).collect(),
            heads: Vec::new(),
            last: None,
            answered: 0,
            again: None,
            told: vec![None; count],
        }
    }

    /// Until the program no longer wants it.
    pub(in crate::git) fn run(mut self) {
        self.remember();
        let mut seen = u64::MAX;
        while !self.stop.load(Ordering::Acquire) {
            let (now, entries) = self.board.wait(seen, LOOK_AROUND);
            if now == seen && self.again.is_none_or(|at| Instant::now() < at) {
                continue;
            }
            seen = now;
            let requested = entries.iter().map(|entry| entry.status.observed_request).min().unwrap_or_default();
            let Some(sight) = self.sight(&entries, requested > self.answered) else { continue };
            // What could not be judged has no answer yet.
            if self.again.is_none() {
                self.answered = requested;
            }
            if self.owner.send(Request::Present(sight, self.answered, Arc::clone(&self.stop))).is_err() {
                return;
            }
        }
    }

    fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, GitError> {
        let (reply, answer) = oneshot::channel();
        self.owner.send(request(reply)).map_err(|_| GitError::Stopped)?;
        answer.blocking_recv().map_err(|_| GitError::Stopped)?
    }

    /// What of each mounted source, and of a main one that has to be signed, was good before a restart.
    fn remember(&mut self) {
        for (index, settings) in self.sources.0.iter().enumerate().filter(|(_, settings)| settings.is_kept()) {
            let held = self.ask(|reply| Request::Source(settings.name.clone(), settings.subpath.clone(), reply));
            let Ok(Some((revision, tree))) = held else { continue };
            // What it may declare may be less than it was.
            let allowed = forbidden(settings, &tree).is_empty();
            if let Some(used) = self.used.get_mut(index).filter(|_| allowed) {
                *used = Some(Held { revision, tree });
            }
        }
    }

    /// What is to be seen now. `None`: as before. `asked`: what was refused is judged again.
    fn sight(&mut self, entries: &[Entry], asked: bool) -> Option<Sight> {
        let (main, mounted) = entries.split_first()?;
        let Some(known) = &main.known else {
            return main.failure.clone().map(Sight::Unavailable);
        };
        if mounted.is_empty() {
            if let Some(error) = &main.failure {
                return Some(Sight::Unavailable(error.clone()));
            }
            let heads = vec![Some(known.commit.clone())];
            if self.heads != heads {
                // Its tag comes along. What is wrong with the commit is said when its files are asked for.
                self.last = Some(match self.take(0, known) {
                    Err(error) if !error.is_fault_of_revision() => Err(error),
                    _ => self.revision(0, known),
                });
                self.taken.fill(None);
                // What failed for the disk's sake is tried again with the next news.
                self.heads = if matches!(self.last, Some(Ok(_))) { heads } else { Vec::new() };
                self.write_used(0, &known.commit);
            }
        } else {
            let heads: Vec<_> =
                entries.iter().map(|entry| entry.known.as_ref().map(|known| known.commit.clone())).collect();
            if asked || self.heads != heads || self.again.is_some_and(|at| Instant::now() >= at) {
                self.again = None;
                self.last = Some(self.compose(entries));
                // What failed for the disk's sake is tried again with the next news.
                let settled = matches!(self.last, Some(Ok(_) | Err(GitError::Untrusted { .. })));
                self.heads = if settled { heads } else { Vec::new() };
            }
        }
        Some(match self.last.clone()? {
            Ok(revision) => Sight::Head(revision),
            Err(error) => Sight::Unavailable(error),
        })
    }

    /// What a commit says of itself, from where it was fetched to.
    fn revision(&self, index: usize, known: &Known) -> Result<Revision, GitError> {
        let unknown = || GitError::UnknownRevision { revision: known.commit.clone() };
        let room = self.rooms.get(index).ok_or_else(unknown)?;
        let kept = self.ask(|reply| Request::Revision(known.commit.clone(), reply));
        kept.or_else(|_| {
            let repository = open(&room.repository)?;
            let oid = git2::Oid::from_str(&known.commit).map_err(|_| unknown())?;
            let commit = Loose::of(&repository).commit(&repository, oid).map_err(|_| unknown())?;
            Ok(revision_of(&commit))
        })
    }

    fn write_used(&self, index: usize, commit: &str) {
        self.board.write_quietly(index, |entry| entry.status.used = Some(commit.to_owned()));
    }

    /// Brings a source's commit into the mirror.
    fn take(&mut self, index: usize, known: &Known) -> Result<Held, GitError> {
        if let Some(Some(held)) = self.taken.get(index)
            && held.revision.id == known.commit
        {
            return Ok(held.clone());
        }
        let unknown = || GitError::UnknownRevision { revision: known.commit.clone() };
        let (settings, room) = self.sources.0.get(index).zip(self.rooms.get(index)).ok_or_else(unknown)?;
        let what = Taken {
            source: settings.name.clone(),
            origin: room.repository.clone(),
            revision: known.commit.clone(),
            tag: known.tag().map(str::to_owned),
            subpath: settings.subpath.clone(),
        };
        let (revision, tree) = self.ask(|reply| Request::Take(what, reply))?;
        let held = Held { revision, tree };
        if let Some(taken) = self.taken.get_mut(index) {
            *taken = Some(held.clone());
        }
        Ok(held)
    }

    fn compose(&mut self, entries: &[Entry]) -> Result<Revision, GitError> {
        let known = |index: usize| entries.get(index).and_then(|entry| entry.known.clone());
        let newest = known(0).ok_or(GitError::Busy)?;
        let mut refused: Vec<Refused> = Vec::new();
        let main = match self.verify(0, &newest)? {
            Ok(()) => self.take(0, &newest)?,
            Err(findings) => {
                let finding = findings.first().cloned().unwrap_or_default();
                refused.push(Refused::untrusted(0, findings));
                match self.used.first().cloned().flatten() {
                    Some(held) => held,
                    None => {
                        self.tell(entries, None, refused);
                        let name = self.sources.0.first().map(|main| main.name.clone()).unwrap_or_default();
                        return Err(GitError::Untrusted { name, finding });
                    }
                }
            }
        };
        let mut fresh: Vec<Option<Held>> = vec![None; entries.len()];
        for index in 1..entries.len() {
            let Some(known) = known(index) else { continue };
            // Before any of its content is read; also of what is used already, where a policy is new.
            if let Err(findings) = self.verify(index, &known)? {
                refused.push(Refused::untrusted(index, findings));
                continue;
            }
            if self
                .used
                .get(index)
                .is_some_and(|used| used.as_ref().is_some_and(|used| used.revision.id == known.commit))
            {
                continue;
            }
            match self.take(index, &known) {
                Ok(held) => {
                    let Some(settings) = self.sources.0.get(index) else { continue };
                    let said = self.ears.allowed.as_ref().map(|said| said(&held.revision.id)).unwrap_or_default();
                    let left = self.used.get(index).and_then(Option::as_ref).and_then(|used| {
                        left_too_many(settings, (&used.tree, &held.tree), &held.revision, &said, &main.tree)
                    });
                    let is_guarded = left.is_some();
                    let mut findings = forbidden(settings, &held.tree);
                    findings.extend(left);
                    if findings.is_empty() {
                        if let Some(place) = fresh.get_mut(index) {
                            *place = Some(held);
                        }
                    } else {
                        refused.push(Refused { is_guarded, ..Refused::content(index, findings) });
                    }
                }
                Err(error) if error.is_fault_of_revision() => {
                    refused.push(Refused::content(index, error.findings()));
                }
                Err(error) => return Err(error),
            }
        }
        let candidates: Vec<usize> =
            fresh.iter().enumerate().filter(|(_, held)| held.is_some()).map(|(index, _)| index).collect();
        let chosen = |index: usize, new: &[usize]| -> Option<&Held> {
            let from = if new.contains(&index) { &fresh } else { &self.used };
            from.get(index).and_then(Option::as_ref)
        };
        let unfetched = Cell::new(false);
        let verdict = decide(&candidates, |new| {
            let Some(judge) = &self.ears.judge else { return Ok(()) };
            if unfetched.get() {
                return Err(Vec::new());
            }
            let mounted = (1..entries.len()).filter_map(|index| {
                let mount = self.sources.0.get(index)?.mount.as_deref()?;
                Some((Some(mount), &chosen(index, new)?.tree))
            });
            let mut whole = merged(std::iter::once((None, &main.tree)).chain(mounted));
            // The lock is the main source's: that a pack cannot be had is nobody else's doing.
            if let Some(packs) = &self.ears.packs
                && let Err(error) = packs.complete(&mut whole)
            {
                tracing::warn!(%error, "mounted sources cannot be judged now");
                unfetched.set(true);
                return Err(Vec::new());
            }
            judge(&whole, &main.revision.id)
        });
        let (new, is_settled) = match verdict {
            Verdict::Choose { good, refused: more } => {
                refused.extend(more.into_iter().map(|(index, findings)| Refused::content(index, findings)));
                (good, true)
            }
            // The reconciler refuses it, and says why; nothing of this becomes the last good.
            Verdict::Main => (candidates, false),
        };
        let part = |index: usize, held: &Held| -> Option<Part> {
            let settings = self.sources.0.get(index)?;
            Some(Part {
                name: settings.name.clone(),
                mount: settings.mount.clone(),
                subpath: settings.subpath.clone(),
                revision: held.revision.clone(),
            })
        };
        let mut parts: Vec<Part> = part(0, &main).into_iter().collect();
        parts.extend((1..entries.len()).filter_map(|index| part(index, chosen(index, &new)?)));
        let revision = self.ask(|reply| Request::Compose(parts.clone(), reply))?;
        self.again = unfetched.get().then(|| Instant::now() + JUDGED_AGAIN);
        if is_settled {
            for index in &new {
                let Some(held) = fresh.get_mut(*index).and_then(Option::take) else { continue };
                if let Some(settings) = self.sources.0.get(*index) {
                    self.ask(|reply| Request::KeepSource(settings.name.clone(), held.revision.id.clone(), reply))?;
                }
                if let Some(used) = self.used.get_mut(*index) {
                    *used = Some(held);
                }
            }
            self.trust(&main)?;
        }
        self.tell(entries, Some(&main.revision.id), refused);
        Ok(revision)
    }

    /// Whether a source's commit is signed as its own policy asks; else why not.
    fn verify(&mut self, index: usize, known: &Known) -> Result<Result<(), Vec<String>>, GitError> {
        let Some((settings, room)) = self.sources.0.get(index).zip(self.rooms.get(index)) else { return Ok(Ok(())) };
        let Some(verifier) = self.ears.policies.verifiers.get(&settings.name) else { return Ok(Ok(())) };
        let last = self.ask(|reply| Request::Trusted(Some(settings.name.clone()), reply))?;
        let last = last.as_ref().or_else(|| self.ears.policies.trusted_before.get(&settings.name));
        let Some(signatures) = self.signatures.get_mut(index) else { return Ok(Ok(())) };
        signatures.verify(verifier, (settings, room), known, last.map(String::as_str))
    }

    /// Remembers of each source what is signed and used from now on: the next commit has to follow it.
    fn trust(&mut self, main: &Held) -> Result<(), GitError> {
        for (index, settings) in self.sources.0.iter().enumerate().filter(|(_, settings)| settings.trust.is_some()) {
            let used = match index {
                0 => Some(main),
                _ => self.used.get(index).and_then(Option::as_ref),
            };
            let good = self.signatures.get(index).and_then(|signatures| signatures.good.as_ref());
            let Some((held, good)) = used.cloned().zip(good).filter(|(held, good)| held.revision.id == good.commit)
            else {
                continue;
            };
            if index == 0 {
                self.ask(|reply| Request::KeepSource(settings.name.clone(), good.commit.clone(), reply))?;
                if let Some(used) = self.used.first_mut() {
                    *used = Some(held);
                }
            }
            let before = self.ask(|reply| Request::Trusted(Some(settings.name.clone()), reply))?;
            if before.as_ref() == Some(&good.commit) {
                continue;
            }
            self.ask(|reply| Request::TrustSource(settings.name.clone(), good.commit.clone(), reply))?;
            (self.ears.news)(SourceEvent::Trusted {
                source: settings.name.clone(),
                revision: good.commit.clone(),
                signed_by: good.by.clone(),
            });
        }
        Ok(())
    }

    /// Writes down which commit of each source is used and why another is not; tells the journal once.
    fn tell(&mut self, entries: &[Entry], main: Option<&str>, refused: Vec<Refused>) {
        for (index, entry) in entries.iter().enumerate() {
            let used = match index {
                0 => main.map(str::to_owned),
                _ => self.used.get(index).and_then(Option::as_ref).map(|held| held.revision.id.clone()),
            };
            let found = refused.iter().find(|refused| refused.index == index);
            // Of the commit that was judged: what is shown may be a newer one by now.
            let refusal = found.zip(entry.known.as_ref()).map(|(found, known)| Refusal {
                commit: known.commit.clone(),
                findings: found.findings.clone(),
                is_untrusted: found.is_untrusted,
                is_guarded: found.is_guarded,
            });
            let good = self.signatures.get(index).and_then(|signatures| signatures.good.as_ref());
            let good = good.filter(|good| used.as_ref() == Some(&good.commit));
            let signed_by = good.map(|good| good.by.clone()).unwrap_or_default();
            self.board.write_quietly(index, |entry| {
                entry.status.used = used;
                entry.status.signed_by = signed_by;
                entry.refused.clone_from(&refusal);
            });
            let (Some(Refusal { findings, .. }), Some(known)) = (refusal, &entry.known) else { continue };
            let Some(told) = self.told.get_mut(index).filter(|told| told.as_ref() != Some(&known.commit)) else {
                continue;
            };
            *told = Some(known.commit.clone());
            let name = self.sources.0.get(index).map(|settings| settings.name.clone()).unwrap_or_default();
            tracing::warn!(
                source = name,
                revision = known.commit,
                findings = findings.len(),
                "a source's commit is refused; its last good one goes on"
            );
            let summary = self
                .taken
                .get(index)
                .and_then(Option::as_ref)
                .filter(|held| held.revision.id == known.commit)
                .map(|held| held.revision.summary.clone());
            (self.ears.news)(SourceEvent::Refused {
                source: name,
                revision: known.commit.clone(),
                summary: summary.unwrap_or_default(),
                findings,
            });
        }
    }
}
