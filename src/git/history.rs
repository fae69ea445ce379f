//! Whether repositories on this disk still hold their history, while the server runs. Nobody looks at what is older than the newest commit, until
//! somebody clones it and cannot; so it is read once at the start, once a day, and whenever something of it goes away or is written over.
//! A push only adds files, and costs nothing here.

use super::older::{Looked, read_history};
use super::remote::Location;
use super::{GitError, Source};
use notify::event::{ModifyKind, RenameMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A folder that was put in another's place is noticed within so long.
const TICK: Duration = Duration::from_secs(1);
/// After an event there may be more: `git gc` takes away thousands of files.
const STILL: Duration = Duration::from_millis(200);
/// The first look is after the start: what serves comes first.
const FIRST_AFTER: Duration = Duration::from_secs(20);
/// What no event tells of: a disk that forgets.
const EVERY: Duration = Duration::from_secs(86_400);
/// What was found to be damaged is looked at again so often, whatever is told of it.
const DAMAGED_EVERY: Duration = Duration::from_secs(60);
/// So long one look takes at most; what it did not come to is older than what it read.
const LONGEST: Duration = Duration::from_secs(600);

/// What is missing or damaged in the history of a repository, by its path.
type Found = Arc<Mutex<BTreeMap<PathBuf, String>>>;

/// Looks in a thread of its own, until it is dropped.
#[derive(Debug)]
pub(super) struct History {
    found: Found,
    asked: SyncSender<Told>,
    stop: Arc<AtomicBool>,
}

enum Told {
    /// These repositories are followed from now on.
    Follow(Vec<PathBuf>),
    /// Something of this one may be gone.
    Changed(PathBuf),
}

/// A repository that is looked at.
struct Looking {
    path: PathBuf,
    /// Its folder of objects, as it was when it was watched.
    identity: Option<(u64, u64)>,
    watcher: Option<RecommendedWatcher>,
    due: Instant,
    /// What comes to it is a reason to look as well.
    damaged: Arc<AtomicBool>,
}

impl History {
    /// Looks at the local repositories of `source`. `told` is called when something is found, or is good again.
    pub(super) fn start(source: &Source, told: impl Fn() + Send + 'static) -> Self {
        let (asked, receiver) = sync_channel(64);
        let (found, stop) = (Found::default(), Arc::new(AtomicBool::new(false)));
        let history = Self { found: Arc::clone(&found), asked: asked.clone(), stop: Arc::clone(&stop) };
        let keeper = Keeper { found, asked, stop, told: Box::new(told) };
        let started =
            std::thread::Builder::new().name("formwork-history".to_owned()).spawn(move || keeper.run(&receiver));
        if let Err(error) = started {
            tracing::warn!(%error, "the history of repositories is not looked at");
        }
        history.follow(source);
        history
    }

    /// Looks at these from now on.
    pub(super) fn follow(&self, source: &Source) {
        drop(self.asked.try_send(Told::Follow(local(source))));
    }

    /// What is wrong with the history of the repository at this path; nothing: nothing is known to be.
    pub(super) fn damage(&self, path: &Path) -> Option<String> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).get(path).cloned()
    }
}

impl Drop for History {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// The repositories on this disk that are followed.
fn local(source: &Source) -> Vec<PathBuf> {
    match source {
        Source::Bare { path, .. } => vec![path.clone()],
        Source::Directory { .. } => Vec::new(),
        Source::Sources(sources) => {
            let local = |location: &Location| match location {
                Location::Local(path) => Some(path.clone()),
                _ => None,
            };
            sources.0.iter().filter_map(|source| local(&source.location)).collect()
        }
    }
}

/// The folder of a repository's objects.
fn objects(path: &Path) -> PathBuf {
    let within = path.join(".git/objects");
    if within.is_dir() { within } else { path.join("objects") }
}

/// Whether something that was there may be gone, or is another. Git writes objects under names of their own and then gives them theirs.
fn takes_away(event: &Event) -> bool {
    let lasting = event.paths.iter().any(|path| {
        let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let in_quarantine = path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("tmp_objdir"));
        !name.starts_with("tmp_") && !name.starts_with(".tmp") && !name.ends_with(".lock") && !in_quarantine
    });
    lasting
        && match event.kind {
            EventKind::Remove(_) => true,
            EventKind::Modify(ModifyKind::Data(_)) => true,
            EventKind::Modify(ModifyKind::Name(mode)) => mode == RenameMode::From,
            _ => false,
        }
}

struct Keeper {
    found: Found,
    asked: SyncSender<Told>,
    stop: Arc<AtomicBool>,
    told: Box<dyn Fn() + Send>,
}

impl Keeper {
    fn run(self, receiver: &Receiver<Told>) {
        let mut followed: Vec<Looking> = Vec::new();
        while !self.stop.load(Ordering::Acquire) {
            match receiver.recv_timeout(TICK) {
                Ok(Told::Follow(paths)) => {
                    followed.retain(|looking| paths.contains(&looking.path));
                    for path in paths {
                        if !followed.iter().any(|looking| looking.path == path) {
                            let due = Instant::now() + FIRST_AFTER;
                            followed.push(Looking {
                                path,
                                identity: None,
                                watcher: None,
                                due,
                                damaged: Arc::default(),
                            });
                        }
                    }
                    let kept: Vec<&PathBuf> = followed.iter().map(|looking| &looking.path).collect();
                    self.found.lock().unwrap_or_else(PoisonError::into_inner).retain(|path, _| kept.contains(&path));
                }
                Ok(Told::Changed(path)) => {
                    let due = Instant::now() + STILL;
                    for looking in followed.iter_mut().filter(|looking| looking.path == path) {
                        looking.due = looking.due.min(due);
                    }
                    // Not before it is still, and with all that is told until then taken as one.
                    std::thread::sleep(STILL);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for looking in &mut followed {
                self.watch(looking);
                if Instant::now() >= looking.due {
                    self.look(&looking.path);
                    let damaged = self.found.lock().unwrap_or_else(PoisonError::into_inner).contains_key(&looking.path);
                    looking.damaged.store(damaged, Ordering::Release);
                    looking.due = Instant::now() + if damaged { DAMAGED_EVERY } else { EVERY };
                }
            }
        }
    }

    fn watch(&self, looking: &mut Looking) {
        let folder = objects(&looking.path);
        let identity = std::fs::metadata(&folder).ok().map(|about| (about.dev(), about.ino()));
        if identity == looking.identity {
            return;
        }
        let (asked, path, damaged) = (self.asked.clone(), looking.path.clone(), Arc::clone(&looking.damaged));
        // One that waits is enough: where the queue is full, another is being looked at.
        let hint = move |event: notify::Result<Event>| {
            let brings = |event: &Event| damaged.load(Ordering::Acquire) && !matches!(event.kind, EventKind::Access(_));
            if event.as_ref().is_ok_and(|event| takes_away(event) || brings(event)) {
                drop(asked.try_send(Told::Changed(path.clone())));
            }
        };
        looking.watcher = notify::recommended_watcher(hint).ok().and_then(|mut watcher| {
            watcher.watch(&folder, RecursiveMode::Recursive).ok()?;
            Some(watcher)
        });
        if looking.identity.is_some() {
            looking.due = looking.due.min(Instant::now() + STILL);
        }
        looking.identity = identity;
    }

    fn look(&self, path: &Path) {
        let began = Instant::now();
        let damage = match read_history(path, LONGEST) {
            Ok(Looked { commits, all }) => {
                let took = began.elapsed();
                tracing::debug!(repository = %path.display(), commits, all, ?took, "a history was read");
                None
            }
            Err(error @ GitError::Damaged { .. }) => Some(error.to_string()),
            // It is away or cannot be read at all, which every look says.
            Err(_) => return,
        };
        let before = {
            let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
            match &damage {
                Some(damage) => found.insert(path.to_owned(), damage.clone()),
                None => found.remove(path),
            }
        };
        if before == damage {
            return;
        }
        match &damage {
            Some(damage) => tracing::error!(
                repository = %path.display(), %damage,
                "the history of a repository is damaged: what serves is whole, and nobody can clone it"
            ),
            None => tracing::info!(repository = %path.display(), "the history of the repository is whole again"),
        }
        (self.told)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;
    use notify::event::{CreateKind, DataChange, RemoveKind};

    #[test]
    fn only_what_takes_away_is_a_reason_to_look() {
        let data = EventKind::Modify(ModifyKind::Data(DataChange::Any));
        for (kind, path, looks) in [
            (EventKind::Remove(RemoveKind::File), "objects/ab/cd", true),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), "objects/ab/cd", true),
            (data, "objects/pack/pack-1.pack", true),
            (EventKind::Create(CreateKind::File), "objects/ab/cd", false),
            (EventKind::Modify(ModifyKind::Name(RenameMode::To)), "objects/ab/cd", false),
            (data, "objects/ab/tmp_obj_x1", false),
            (EventKind::Remove(RemoveKind::File), "objects/pack/tmp_pack_x1", false),
            (EventKind::Modify(ModifyKind::Name(RenameMode::From)), "objects/tmp_objdir-incoming-1/ab/cd", false),
            (EventKind::Remove(RemoveKind::Folder), "objects/tmp_objdir-incoming-1", false),
        ] {
            let event = Event::new(kind).add_path(path.into());
            assert_eq!(takes_away(&event), looks, "{kind:?} {path}");
        }
    }

    #[test]
    fn what_a_repository_has_lost_of_its_older_commits_is_known_within_a_moment_and_so_is_that_it_is_back() {
        let repository = TestRepository::new();
        repository.push("one", &[("a", "old")]);
        let blob = repository.git_bare(&["rev-parse", "HEAD:a"]);
        repository.push("two", &[("a", "new")]);
        let (first, rest) = blob.trim().split_at(2);
        let object = repository.bare().join("objects").join(first).join(rest);
        let (told, news) = sync_channel(16);
        let source = Source::Bare { path: repository.bare(), branch: None, subpath: None };
        let history = History::start(&source, move || told.send(()).unwrap());
        let until = |what: &str, so: &dyn Fn() -> bool| {
            let end = Instant::now() + Duration::from_secs(15);
            while !so() {
                assert!(Instant::now() < end, "{what}");
                std::thread::sleep(Duration::from_millis(20));
            }
        };
        // It is watched a tick after the start.
        std::thread::sleep(TICK * 2);
        repository.push("three", &[("b", "more")]);
        let good = std::fs::read(&object).unwrap();
        std::fs::remove_file(&object).unwrap();
        until("it is gone", &|| history.damage(&repository.bare()).is_some_and(|it| it.contains(blob.trim())));
        news.recv_timeout(Duration::from_secs(1)).unwrap();
        std::fs::write(&object, &good).unwrap();
        until("it is back", &|| history.damage(&repository.bare()).is_none());
        news.recv_timeout(Duration::from_secs(1)).unwrap();
        assert!(news.try_recv().is_err(), "it is told once each");
    }
}
