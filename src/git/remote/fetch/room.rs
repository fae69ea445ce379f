//! Where what was fetched waits, on our own disk: whether it is whole, and how it is made anew.

use super::super::settings::SourceSettings;
use super::super::url::Location;
use super::Known;
use crate::git::GitError;
use crate::git::loose::Loose;
use git2::{ErrorClass, ObjectType, Oid, Repository};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Where a source's things are.
#[derive(Debug, Clone)]
pub(in crate::git::remote) struct Room {
    /// The repository that the mirror copies from.
    pub repository: PathBuf,
    /// What is known, across restarts.
    pub known: PathBuf,
    /// Whether the repository is ours.
    pub(super) ours: bool,
    /// How its files stood when they were found whole, or were written by us: until one changes they are not read again.
    sound: Arc<Mutex<Vec<Stamp>>>,
}

impl Room {
    pub(in crate::git::remote) fn new(state: &Path, settings: &SourceSettings) -> Self {
        let known = state.join(format!("{}.json", settings.name));
        match &settings.location {
            Location::Local(path) => Self { repository: path.clone(), known, ours: false, sound: Arc::default() },
            _ => Self {
                repository: state.join(format!("{}.git", settings.name)),
                known,
                ours: true,
                sound: Arc::default(),
            },
        }
    }

    /// What was known when it was written down last; none where that was about another repository.
    pub(in crate::git::remote) fn read_known(&self, settings: &SourceSettings) -> Option<Known> {
        let bytes = std::fs::read(&self.known).ok()?;
        let written: Written = serde_json::from_slice(&bytes).ok()?;
        (written.of == of(settings)).then_some(written.known)
    }

    /// Writes it down.
    pub(in crate::git::remote) fn write_known(&self, settings: &SourceSettings, known: &Known) -> std::io::Result<()> {
        let written = Written { of: of(settings), known: known.clone() };
        let new = self.known.with_extension("json.new");
        std::fs::write(&new, serde_json::to_vec_pretty(&written)?)?;
        std::fs::rename(&new, &self.known)
    }

    /// What is wrong with the objects of what was fetched, as far as the mirror may come for them. They are read whole once after
    /// a start, and when one of their files was changed by somebody else.
    pub(super) fn damage(&self, commit: &str) -> Option<String> {
        if !self.ours || !self.repository.exists() {
            return None;
        }
        let stamps = stamps(&self.repository);
        if !stamps.is_empty() && *self.sound.lock().unwrap_or_else(PoisonError::into_inner) == stamps {
            return None;
        }
        match read_whole(&self.repository, commit) {
            Ok(()) => {
                *self.sound.lock().unwrap_or_else(PoisonError::into_inner) = stamps;
                None
            }
            Err(error) => Some(error.message().to_owned()),
        }
    }

    /// What came to those that were found whole was written by us. Where one of them changed meanwhile, all are read at the next look.
    pub(super) fn grew(&self) {
        let (now, mut sound) = (stamps(&self.repository), self.sound.lock().unwrap_or_else(PoisonError::into_inner));
        if !sound.is_empty() && sound.iter().all(|stamp| now.contains(stamp)) {
            *sound = now;
        }
    }

    /// A folder beside the repository.
    pub(super) fn beside(&self, end: &str) -> PathBuf {
        let mut path = self.repository.clone();
        path.as_mut_os_string().push(end);
        path
    }

    /// Puts a new repository into the place of the one that is there. A damaged one stays beside it, for people to look at.
    pub(super) fn replace(&self, new: &Path, damaged: bool) -> Result<(), GitError> {
        let aside = self.beside(".damaged");
        let put = || {
            if self.repository.exists() {
                if damaged {
                    if aside.exists() {
                        std::fs::remove_dir_all(&aside)?;
                    }
                    std::fs::rename(&self.repository, &aside)?;
                } else {
                    std::fs::remove_dir_all(&self.repository)?;
                }
            }
            std::fs::rename(new, &self.repository)
        };
        put().map_err(|error: std::io::Error| self.fails(&error))?;
        *self.sound.lock().unwrap_or_else(PoisonError::into_inner) = stamps(&self.repository);
        Ok(())
    }

    /// It is not the remote that fails.
    pub(super) fn fails(&self, error: &dyn std::fmt::Display) -> GitError {
        GitError::Room { path: self.repository.clone(), message: error.to_string() }
    }

    /// It was damaged, and could not be fetched again.
    pub(super) fn fails_again(&self, error: &GitError) -> GitError {
        match error {
            GitError::Room { .. } => error.clone(),
            GitError::Fetch { message, .. } => self.fails(message),
            other => self.fails(other),
        }
    }
}

/// A file of objects: its name, inode, length and time.
type Stamp = (PathBuf, u64, u64, i64, i64);

fn stamps(repository: &Path) -> Vec<Stamp> {
    let mut found = Vec::new();
    for path in std::fs::read_dir(repository.join("objects/pack")).into_iter().flatten().flatten().map(|it| it.path()) {
        if let Ok(about) = path.metadata() {
            found.push((path, about.ino(), about.len(), about.mtime(), about.mtime_nsec()));
        }
    }
    found.sort();
    found
}

/// Reads all that a commit is made of.
fn read_whole(repository: &Path, commit: &str) -> Result<(), git2::Error> {
    let repository = Repository::open_bare(repository)?;
    let (loose, odb) = (Loose::of(&repository), repository.odb()?);
    let root = loose.commit(&repository, Oid::from_str(commit)?)?.tree_id();
    let (mut folders, mut read) = (vec![root], HashSet::from([root]));
    while let Some(folder) = folders.pop() {
        for entry in &loose.tree(&repository, folder)? {
            let is_new = read.insert(entry.id());
            match entry.kind() {
                Some(ObjectType::Tree) if is_new => folders.push(entry.id()),
                Some(ObjectType::Blob) if is_new => {
                    loose.check(entry.id())?;
                    odb.read(entry.id())?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether an error of this kind may come from objects that lie here already, or from the disk.
pub(super) fn may_be_ours(class: ErrorClass) -> bool {
    !matches!(
        class,
        ErrorClass::Net
            | ErrorClass::Http
            | ErrorClass::Ssl
            | ErrorClass::Ssh
            | ErrorClass::Callback
            | ErrorClass::FetchHead
    )
}

/// The file beside the waiting room.
#[derive(Serialize, Deserialize)]
struct Written {
    /// What was followed.
    of: String,
    known: Known,
}

fn of(settings: &SourceSettings) -> String {
    format!("{}, {}", settings.location, settings.follow)
}
