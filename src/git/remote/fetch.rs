//! One look at a repository: which commit is shown, and, where that is new, its objects on our disk.
//!
//! What was fetched lies in a bare repository beside the mirror (`<state>/remotes/NAME.git`), as shallow as Git can make it. It
//! is a waiting room, not a store: the mirror copies from it what content needs, and whenever it has become large or odd it is
//! thrown away and made anew. A fetch that ends in the middle leaves there what it left before: libgit2 puts a pack in its
//! place when it is whole.

mod more;
mod room;

pub(super) use more::{bring, deepen};
pub(super) use room::Room;

use super::ancestry::{Descent, descends, parents_of};
use super::follow::{Advertised, Follow, choose, names_move};
use super::history::{Wanted, is_deep_enough};
use super::job::Job;
use super::settings::SourceSettings;
use super::transport::Address;
use crate::git::GitError;
use crate::git::loose::Loose;
use git2::{AutotagOption, Direction, FetchOptions, ObjectType, Oid, RemoteCallbacks, Repository};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

/// After so many fetches the waiting room is made anew.
const PACKS_MAX: usize = 24;
/// Objects of one fetch.
const OBJECTS_MAX: usize = 500_000;
/// How deep history is read, step by step, to see whether a branch was rewritten.
const DEPTHS: [i32; 4] = [8, 64, 512, 4_096];
/// All of it, where only a part is here.
const WHOLE: i32 = i32::MAX;
/// So many annotated tags of a commit are fetched.
const TAGS_MAX: usize = 32;
/// The reference that keeps what is followed; what is here is said by it when the next fetch asks for the rest.
const HEAD: &str = "refs/formwork/head";

/// What was found at the last look that found something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Known {
    /// The name that was followed: `refs/heads/main`.
    pub reference: String,
    /// What it pointed to; of an annotated tag, the tag.
    pub id: String,
    /// The commit.
    pub commit: String,
}

impl Known {
    /// The annotated tag that was followed, if one was.
    pub(super) fn tag(&self) -> Option<&str> {
        Some(self.id.as_str()).filter(|id| *id != self.commit)
    }

    fn is(&self, shown: &Advertised) -> bool {
        self.reference == shown.name && self.id == shown.id.to_string()
    }
}

/// What a look showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// What is known.
    Same,
    /// Another commit.
    New {
        /// It.
        known: Known,
        /// History was rewritten to come here.
        rewritten: bool,
        /// What was fetched before was damaged on our disk, and is fetched again: how.
        mended: Option<String>,
    },
}

/// What earlier looks found.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    /// What serves, and what rewriting is judged by.
    pub known: Option<&'a Known>,
    /// What was seen last where that is not followed.
    pub held: Option<&'a Known>,
}

/// Looks, and fetches what is new, with as much of its history as is wanted. The bytes that came are counted whatever comes of it.
pub(super) fn look(
    settings: &SourceSettings,
    room: &Room,
    seen: Seen<'_>,
    wanted: &Wanted,
    bytes: &mut u64,
) -> Result<Look, GitError> {
    let known = seen.known;
    let seen = seen.held.or(known);
    let damage = seen.and_then(|seen| room.damage(&seen.commit));
    if let (Follow::Commit(id), Some(known)) = (&settings.follow, known)
        && known.commit == *id
        && damage.is_none()
        && (!room.ours
            || Repository::open_bare(&room.repository)
                .is_ok_and(|repository| has(&repository, id) && has_history(&repository, wanted, id)))
    {
        return Ok(Look::Same);
    }
    if !room.ours {
        return look_here(settings, room, known, seen);
    }
    let job = Job::begin(settings).map_err(|error| failed(settings, error.to_string()))?;
    let Some(job) = job.map(Arc::new) else { return Ok(Look::Same) };
    let fetcher = Fetcher { settings, room, wanted, job, is_ours: Cell::default() };
    let found = fetcher.look(known, seen, damage);
    *bytes += fetcher.job.bytes();
    found
}

pub(super) fn failed(settings: &SourceSettings, message: String) -> GitError {
    GitError::Fetch { url: settings.location.to_string(), message }
}

fn has(repository: &Repository, id: &str) -> bool {
    Oid::from_str(id).is_ok_and(|oid| repository.odb().is_ok_and(|odb| odb.exists(oid)))
}

/// Whether history is here as far back as it is wanted. What is shallow is known when a repository is opened, so that is done anew.
fn has_history(repository: &Repository, wanted: &Wanted, tip: &str) -> bool {
    let Some(base) = &wanted.base else { return true };
    Repository::open_bare(repository.path()).and_then(|opened| is_deep_enough(&opened, base, tip)).unwrap_or(false)
}

/// A repository on the local disk: nothing is fetched.
fn look_here(
    settings: &SourceSettings,
    room: &Room,
    known: Option<&Known>,
    seen: Option<&Known>,
) -> Result<Look, GitError> {
    let repository = crate::git::owner::open(&room.repository)?;
    let unreadable =
        |e: git2::Error| GitError::Unreadable { path: room.repository.clone(), message: e.message().to_owned() };
    let mut advertised = Vec::new();
    if let Ok(head) = repository.head()
        && let Some(id) = head.target()
    {
        advertised.push(Advertised { name: "HEAD".to_owned(), id });
    }
    for reference in repository.references().map_err(unreadable)? {
        let reference = reference.map_err(unreadable)?;
        if let (Ok(name), Some(id)) = (reference.name(), reference.target()) {
            advertised.push(Advertised { name: name.to_owned(), id });
        }
    }
    let chosen = match (&settings.follow, choose(&settings.follow, &advertised)) {
        (_, Some(chosen)) => chosen.clone(),
        (Follow::Commit(id), None) if has(&repository, id) => Advertised { name: id.clone(), id: parse(id)? },
        (follow, None) => return Err(missing(settings, follow)),
    };
    if seen.is_some_and(|seen| seen.is(&chosen)) {
        return Ok(Look::Same);
    }
    let next = peel(settings, &repository, &chosen)?;
    let rewritten = match known {
        Some(known) if known.commit != next.commit && known.reference == next.reference => {
            !names_move(&settings.follow) || descent(&repository, known, &next)? != Descent::Yes
        }
        _ => false,
    };
    Ok(Look::New { known: next, rewritten, mended: None })
}

fn missing(settings: &SourceSettings, follow: &Follow) -> GitError {
    failed(settings, follow.lacking())
}

fn parse(id: &str) -> Result<Oid, GitError> {
    Oid::from_str(id).map_err(|_| GitError::BadReference { name: id.to_owned() })
}

fn peel(settings: &SourceSettings, repository: &Repository, chosen: &Advertised) -> Result<Known, GitError> {
    let sound = Loose::of(repository).check(chosen.id);
    let commit =
        sound.and_then(|()| repository.find_object(chosen.id, None)).and_then(|object| object.peel(ObjectType::Commit));
    let commit = commit.map_err(|_| failed(settings, format!("{} does not lead to a commit", chosen.name)))?;
    Ok(Known { reference: chosen.name.clone(), id: chosen.id.to_string(), commit: commit.id().to_string() })
}

/// What the commits that are here say.
fn descent(repository: &Repository, old: &Known, new: &Known) -> Result<Descent, GitError> {
    let odb = repository.odb().map_err(|_| GitError::UnknownRevision { revision: new.commit.clone() })?;
    let loose = Loose::of(repository);
    let parents = |id: Oid| {
        let object = loose.check(id).and_then(|()| odb.read(id));
        object.ok().map(|object| parents_of(object.data()))
    };
    Ok(descends(parse(&old.commit)?, parse(&new.commit)?, parents))
}

/// A fetch from elsewhere.
struct Fetcher<'a> {
    settings: &'a SourceSettings,
    room: &'a Room,
    wanted: &'a Wanted,
    job: Arc<Job>,
    /// What failed last may be our own disk's fault, and not the remote's.
    is_ours: Cell<bool>,
}

impl Fetcher<'_> {
    fn failed(&self, error: &git2::Error) -> GitError {
        self.is_ours.set(!self.job.failed() && room::may_be_ours(error.class()));
        failed(self.settings, self.job.why(error))
    }

    fn room_fails(&self, error: &dyn std::fmt::Display) -> GitError {
        self.is_ours.set(true);
        self.room.fails(error)
    }

    /// In the room that is there; where that is damaged, once more in one that is made anew.
    fn look(&self, known: Option<&Known>, seen: Option<&Known>, damage: Option<String>) -> Result<Look, GitError> {
        let worn = damage.is_some() || packs(&self.room.repository) >= PACKS_MAX;
        let opened = Repository::open_bare(&self.room.repository);
        let repository = match opened {
            Ok(repository) if !worn => repository,
            Ok(_) => return self.look_afresh(known, damage),
            Err(error) => {
                let damaged = self.room.repository.exists().then(|| error.message().to_owned());
                return self.look_afresh(known, damage.or(damaged));
            }
        };
        let _ = std::fs::remove_dir_all(self.room.beside(".new"));
        clear_leftovers(repository.path());
        let found = self.fetch(&repository, known, seen.filter(|seen| has(&repository, &seen.commit)));
        drop(repository);
        match found {
            Err(error) if self.is_ours.get() => self.look_afresh(known, Some(error.to_string())),
            found => {
                self.room.grew();
                found
            }
        }
    }

    /// In a fresh room nothing is known to be here, whatever was known before. It comes into the place of the old one once it holds
    /// what is followed.
    fn look_afresh(&self, known: Option<&Known>, damage: Option<String>) -> Result<Look, GitError> {
        let new = self.room.beside(".new");
        let _ = std::fs::remove_dir_all(&new);
        if let Some(why) = &damage {
            tracing::warn!(
                source = self.settings.name, room = %self.room.repository.display(), why,
                "what was fetched is damaged on this disk; it is fetched again"
            );
        }
        self.is_ours.set(false);
        let found = self.make(&new).and_then(|repository| self.fetch(&repository, known, None));
        let found = found.and_then(|look| self.room.replace(&new, damage.is_some()).map(|()| look));
        match found {
            Ok(Look::New { known, rewritten, .. }) => Ok(Look::New { known, rewritten, mended: damage }),
            Ok(Look::Same) => Ok(Look::Same),
            Err(error) => {
                let _ = std::fs::remove_dir_all(new);
                // In an empty room nothing but the disk itself can be wrong.
                Err(if damage.is_some() && self.is_ours.get() { self.room.fails_again(&error) } else { error })
            }
        }
    }

    fn make(&self, path: &Path) -> Result<Repository, GitError> {
        let mut options = git2::RepositoryInitOptions::new();
        options.bare(true).mkdir(true).mkpath(true).external_template(false);
        options.mode(git2::RepositoryInitMode::from_bits_retain(0o700));
        Repository::init_opts(path, &options).map_err(|error| self.room_fails(&error.message()))
    }

    /// One connection: what is shown, and, where that is new, its objects.
    fn fetch(&self, repository: &Repository, known: Option<&Known>, here: Option<&Known>) -> Result<Look, GitError> {
        let skip = |chosen: &Advertised| {
            here.is_some_and(|here| here.is(chosen) && has_history(repository, self.wanted, &here.commit))
        };
        let Some(chosen) = self.download(repository, None, skip)? else { return Ok(Look::Same) };
        let next = peel(self.settings, repository, &chosen)?;
        let rewritten = self.rewritten(repository, known, &next)?;
        self.deepen(repository, &next)?;
        repository
            .reference(HEAD, parse(&next.commit)?, true, "fetched")
            .map_err(|error| self.room_fails(&error.message()))?;
        Ok(Look::New { known: next, rewritten, mended: None })
    }

    fn rewritten(&self, repository: &Repository, known: Option<&Known>, next: &Known) -> Result<bool, GitError> {
        let Some(known) = known.filter(|known| known.commit != next.commit && known.reference == next.reference) else {
            return Ok(false);
        };
        if !names_move(&self.settings.follow) {
            return Ok(true);
        }
        // One commit after the other is seen without any history; several pushed at once want a little of it.
        let mut seen = descent(repository, known, next)?;
        for depth in DEPTHS {
            if seen != Descent::Unknown {
                break;
            }
            self.download(repository, Some((depth, &next.reference)), |_| false)?;
            seen = descent(repository, known, next)?;
        }
        // What cannot be shown to go on from what was known counts as rewritten.
        Ok(seen != Descent::Yes)
    }

    /// Fetches history as far back as it is wanted: step by step, and in the end all of it, within the bounds of a fetch.
    fn deepen(&self, repository: &Repository, next: &Known) -> Result<(), GitError> {
        for depth in DEPTHS.into_iter().chain([WHOLE]) {
            if has_history(repository, self.wanted, &next.commit) {
                break;
            }
            self.download(repository, Some((depth, &next.reference)), |_| false)?;
        }
        Ok(())
    }

    /// Downloads what is followed, or (`deeper`) more history of a name. `skip` says whether what is shown is here already:
    /// then nothing is downloaded, and the answer is `None`.
    fn download(
        &self,
        repository: &Repository,
        deeper: Option<(i32, &str)>,
        skip: impl FnOnce(&Advertised) -> bool,
    ) -> Result<Option<Advertised>, GitError> {
        let address = Address::of(&self.job).map_err(|error| failed(self.settings, error))?;
        let mut remote = repository.remote_anonymous(address.as_str()).map_err(|error| self.failed(&error))?;
        remote.connect(Direction::Fetch).map_err(|error| self.failed(&error))?;
        let shown: Vec<Advertised> = remote
            .list()
            .map_err(|error| self.failed(&error))?
            .iter()
            .map(|head| Advertised { name: head.name().to_owned(), id: head.oid() })
            .collect();
        let follow = &self.settings.follow;
        let chosen = match (deeper, follow) {
            (Some((_, name)), _) => shown.iter().find(|shown| shown.name == name).cloned(),
            (None, follow) => choose(follow, &shown).cloned(),
        };
        let tags = chosen.as_ref().map(|chosen| self.tags_of(&shown, chosen)).unwrap_or_default();
        let (chosen, wanted, depth) = match (chosen, follow) {
            (Some(chosen), _) => {
                if skip(&chosen) && tags.iter().all(|tag| is_named(repository, tag)) {
                    return Ok(None);
                }
                let mut wanted = vec![format!("+{}:refs/formwork/incoming", chosen.name)];
                wanted.extend(tags.iter().map(|tag| format!("+{0}:{0}", tag.name)));
                (chosen, wanted, deeper.map_or(1, |(depth, _)| depth))
            }
            // Not at the end of any branch: asked for by its id, which most forges answer.
            (None, Follow::Commit(id)) => {
                let chosen = Advertised { name: id.clone(), id: parse(id)? };
                (chosen, vec![format!("+{id}:refs/formwork/incoming")], deeper.map_or(1, |(depth, _)| depth))
            }
            (None, follow) => return Err(missing(self.settings, follow)),
        };
        let fetched = remote.download(&wanted, Some(&mut self.options(depth)));
        let _ = remote.disconnect();
        if fetched.is_ok() {
            self.name_tags(repository, &tags)?;
        }
        match fetched {
            Ok(()) if has(repository, &chosen.id.to_string()) => Ok(Some(chosen)),
            Err(error) if !matches!(follow, Follow::Commit(_)) || self.job.failed() => Err(self.failed(&error)),
            // A server that does not give single commits: its branches whole, within the same bounds.
            _ => {
                drop(remote);
                self.download_all(repository)?;
                if has(repository, &chosen.id.to_string()) {
                    Ok(Some(chosen))
                } else {
                    Err(missing(self.settings, follow))
                }
            }
        }
    }

    /// The annotated tags of what is followed, where those are asked about.
    fn tags_of(&self, shown: &[Advertised], chosen: &Advertised) -> Vec<Advertised> {
        if !self.wanted.tags {
            return Vec::new();
        }
        let peeled = |name: &str| shown.iter().find(|it| it.name.strip_suffix("^{}") == Some(name)).map(|it| it.id);
        let commit = peeled(&chosen.name).unwrap_or(chosen.id);
        let is_of_it = |tag: &&Advertised| tag.name.starts_with("refs/tags/") && peeled(&tag.name) == Some(commit);
        shown.iter().filter(is_of_it).take(TAGS_MAX).cloned().collect()
    }

    /// Lets these tags, and no others, stand in the waiting room under their names: a signature is of a name too.
    fn name_tags(&self, repository: &Repository, tags: &[Advertised]) -> Result<(), GitError> {
        let name = || {
            for reference in repository.references_glob("refs/tags/*")? {
                reference?.delete()?;
            }
            for tag in tags {
                repository.reference(&tag.name, tag.id, true, "fetched")?;
            }
            Ok(())
        };
        name().map_err(|error: git2::Error| self.room_fails(&error.message()))
    }

    fn download_all(&self, repository: &Repository) -> Result<(), GitError> {
        let address = Address::of(&self.job).map_err(|error| failed(self.settings, error))?;
        let mut remote = repository.remote_anonymous(address.as_str()).map_err(|error| self.failed(&error))?;
        let wanted = ["+refs/heads/*:refs/formwork/all/*"];
        remote.download(&wanted, Some(&mut self.options(0))).map_err(|error| self.failed(&error))
    }

    /// `depth`: so many commits of history; 0: all of it.
    fn options(&self, depth: i32) -> FetchOptions<'_> {
        let mut callbacks = RemoteCallbacks::new();
        callbacks.transfer_progress(|progress| {
            if progress.total_objects() > OBJECTS_MAX {
                let _ = self.job.fail(format!(
                    "it sent more than {OBJECTS_MAX} objects in one fetch, which is the most that is taken"
                ));
                return false;
            }
            // Unpacking takes time too.
            if self.job.left().is_none() {
                let _ = self.job.fail_late();
                return false;
            }
            true
        });
        let mut options = FetchOptions::new();
        options.remote_callbacks(callbacks).download_tags(AutotagOption::None).update_fetchhead(false).depth(depth);
        options
    }
}

fn is_named(repository: &Repository, tag: &Advertised) -> bool {
    repository.refname_to_id(&tag.name).is_ok_and(|id| id == tag.id)
}

fn packs(repository: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(repository.join("objects/pack")) else { return 0 };
    entries.flatten().filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack")).count()
}

/// Removes what a process that was killed in the middle of a fetch has left: packs that never came to their place.
fn clear_leftovers(repository: &Path) {
    let Ok(entries) = std::fs::read_dir(repository.join("objects/pack")) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        let kept = path.extension().is_some_and(|extension| extension == "pack" || extension == "idx");
        if !kept {
            let _ = std::fs::remove_file(path);
        }
    }
}
