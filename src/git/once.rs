//! One look at a repository by somebody who follows nothing: the files of a revision, and who wrote a line.

use super::loose::{Checked, Loose};
use super::mirror::{Mirror, revision_of};
use super::owner::{head_of, open};
use super::walk::edge_of;
use super::{GitError, Revision};
use crate::content::{Place, Tree};
use crate::inspect::Commit;
use git2::{BlameOptions, Oid, Repository};
use std::collections::HashSet;
use std::path::{Path, PathBuf};

/// The files of a revision (any name that Git knows; none: the branch, or `HEAD`), and what it says of itself. Nothing is
/// copied and nothing is written.
///
/// # Errors
/// [`GitError`].
pub fn read_once(
    path: &Path,
    branch: Option<&str>,
    subpath: Option<&str>,
    revision: Option<&str>,
) -> Result<(Revision, Tree), GitError> {
    let found = match revision {
        None => head_of(path, branch)?,
        Some(name) => {
            let repository = open(path)?;
            let sound = Oid::from_str(name).map_or(Ok(()), |id| Loose::of(&repository).check(id));
            sound
                .map_err(|error| GitError::Unreadable { path: path.to_owned(), message: error.message().to_owned() })?;
            let commit = repository.revparse_single(name).and_then(|object| object.peel_to_commit());
            revision_of(&commit.map_err(|_| GitError::UnknownRevision { revision: name.to_owned() })?)
        }
    };
    let tree = Mirror::borrowed(path, open(path)?).tree(&found.id, subpath);
    // It is no mirror, and nobody makes it anew.
    let tree = tree.map_err(|error| match error {
        GitError::Mirror { message, .. } => {
            GitError::Damaged { revision: found.id.clone(), path: path.to_owned(), message }
        }
        other => other,
    })?;
    Ok((found, tree))
}

/// The commit that a line stands in since.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Its id.
    pub id: String,
    /// The first line of its message.
    pub summary: String,
    /// Whose work it is.
    pub author: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// It stood there already in this commit, and what that one goes on from is not here: this one wrote it, or one before.
    pub or_before: bool,
}

impl Written {
    fn of(commit: &git2::Commit<'_>, edge: &HashSet<Oid>) -> Self {
        Self {
            or_before: edge.contains(&commit.id()),
            id: commit.id().to_string(),
            summary: revision_of(commit).summary,
            author: String::from_utf8_lossy(commit.author().name_bytes()).into_owned(),
            at_unix_ms: commit.time().seconds().saturating_mul(1000),
        }
    }
}

impl From<Written> for Commit {
    fn from(Written { id, summary, author, at_unix_ms, or_before }: Written) -> Self {
        Self { id, summary, author, at_unix_ms, or_before }
    }
}

/// So many commits are gone back at most to find who changed a file.
const HISTORY_MAX: usize = 100_000;

/// The history behind the files of a site.
pub struct History {
    repository: Repository,
    /// Up to this commit; none: up to `HEAD`, and then the files as they lie in the work tree.
    newest: Option<Oid>,
    /// The site's folder in the repository.
    folder: PathBuf,
    /// The commits whose parents are not here.
    edge: HashSet<Oid>,
}

impl History {
    /// The history of a revision. `None`: it cannot be read.
    pub fn of_repository(path: &Path, revision: &str, subpath: Option<&str>) -> Option<Self> {
        let newest = Some(Oid::from_str(revision).ok()?);
        let repository = open(path).ok()?;
        Loose::of(&repository).check_all(&mut Checked::default()).ok()?;
        let edge = edge_of(&repository);
        Some(Self { repository, newest, folder: PathBuf::from(subpath.unwrap_or_default()), edge })
    }

    /// The history of a directory that lies in a work tree. `None`: it does not.
    pub fn of_directory(directory: &Path) -> Option<Self> {
        let directory = directory.canonicalize().ok()?;
        let repository = Repository::discover(&directory).ok()?;
        let folder = directory.strip_prefix(repository.workdir()?.canonicalize().ok()?).ok()?.to_path_buf();
        let edge = edge_of(&repository);
        Some(Self { repository, newest: None, folder, edge })
    }

    /// Who last changed a place: its line, or its whole file.
    pub fn of(&self, place: &Place, line: bool) -> Option<Written> {
        if line { self.line(&place.file, place.line) } else { self.file(&place.file) }
    }

    /// Who last changed a file of the site. `None`: it is not committed as it is, or that was too long ago.
    pub fn file(&self, file: &str) -> Option<Written> {
        let path = self.folder.join(file);
        let newest = match self.newest {
            Some(newest) => newest,
            None => self.repository.head().ok()?.peel_to_commit().ok()?.id(),
        };
        let blob = |commit: &git2::Commit<'_>| Some(commit.tree().ok()?.get_path(&path).ok()?.id());
        let mut commit = self.repository.find_commit(newest).ok()?;
        let wanted = blob(&commit)?;
        if let (None, Some(work_tree)) = (self.newest, self.repository.workdir()) {
            let bytes = std::fs::read(work_tree.join(&path)).ok()?;
            if Oid::hash_object(git2::ObjectType::Blob, &bytes).ok()? != wanted {
                return None;
            }
        }
        // From parent to parent that has the same file: the last of them made it what it is.
        for _ in 0..HISTORY_MAX {
            let parent = commit.parents().find(|parent| blob(parent) == Some(wanted));
            match parent {
                Some(parent) => commit = parent,
                None => return Some(Written::of(&commit, &self.edge)),
            }
        }
        None
    }

    /// Who wrote a line of a file of the site, counted from 1. `None`: nobody has committed it.
    pub fn line(&self, file: &str, line: usize) -> Option<Written> {
        let path = self.folder.join(file);
        let mut options = BlameOptions::new();
        if let Some(newest) = self.newest {
            options.newest_commit(newest);
        }
        let blame = self.repository.blame_file(&path, Some(&mut options)).ok()?;
        let id = match (self.newest, self.repository.workdir()) {
            (None, Some(work_tree)) => {
                let bytes = std::fs::read(work_tree.join(&path)).ok()?;
                blame.blame_buffer(&bytes).ok()?.get_line(line)?.final_commit_id()
            }
            _ => blame.get_line(line)?.final_commit_id(),
        };
        Some(Written::of(&self.repository.find_commit(id).ok()?, &self.edge))
    }
}

/// The repository that a directory lies in, and the directory's own place in it; none: it lies in none.
pub fn work_tree_of(directory: &Path) -> Option<(PathBuf, Option<String>)> {
    let directory = directory.canonicalize().ok()?;
    let repository = Repository::discover(&directory).ok()?;
    let root = repository.workdir()?.canonicalize().ok()?;
    let folder = directory.strip_prefix(&root).ok()?.to_str()?.to_owned();
    Some((root, Some(folder).filter(|folder| !folder.is_empty())))
}
