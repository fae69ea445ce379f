//! One look at a repository by somebody who follows nothing: the files of a revision, and who wrote a line.

use super::mirror::{Mirror, revision_of};
use super::owner::{head_of, open};
use super::{GitError, Revision};
use crate::content::Tree;
use git2::{BlameOptions, Oid, Repository};
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
            let commit = repository.revparse_single(name).and_then(|object| object.peel_to_commit());
            revision_of(&commit.map_err(|_| GitError::UnknownRevision { revision: name.to_owned() })?)
        }
    };
    let tree = Mirror::borrowed(path, open(path)?).tree(&found.id, subpath)?;
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
}

/// The history behind the files of a site.
pub struct History {
    repository: Repository,
    /// Up to this commit; none: up to `HEAD`, and then the files as they lie in the work tree.
    newest: Option<Oid>,
    /// The site's folder in the repository.
    folder: PathBuf,
}

impl History {
    /// The history of a revision. `None`: it cannot be read.
    pub fn of_repository(path: &Path, revision: &str, subpath: Option<&str>) -> Option<Self> {
        let newest = Some(Oid::from_str(revision).ok()?);
        Some(Self { repository: open(path).ok()?, newest, folder: PathBuf::from(subpath.unwrap_or_default()) })
    }

    /// The history of a directory that lies in a work tree. `None`: it does not.
    pub fn of_directory(directory: &Path) -> Option<Self> {
        let directory = directory.canonicalize().ok()?;
        let repository = Repository::discover(&directory).ok()?;
        let folder = directory.strip_prefix(repository.workdir()?.canonicalize().ok()?).ok()?.to_path_buf();
        Some(Self { repository, newest: None, folder })
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
        let commit = self.repository.find_commit(id).ok()?;
        let author = commit.author();
        Some(Written {
            id: id.to_string(),
            summary: revision_of(&commit).summary,
            author: String::from_utf8_lossy(author.name_bytes()).into_owned(),
            at_unix_ms: commit.time().seconds().saturating_mul(1000),
        })
    }
}
