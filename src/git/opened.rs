//! Repositories on this disk, opened for one look: what they are called, and what their branches and names lead to.

use super::loose::{Checked, Loose};
use super::mirror::revision_of;
use super::{GitError, Revision};
use git2::{ErrorCode, Repository, RepositoryOpenFlags};
use std::path::Path;

pub(super) fn id_of(repository: &Repository, name: &str) -> Option<String> {
    let commit = repository.revparse_single(name).and_then(|object| object.peel_to_commit());
    commit.ok().map(|commit| commit.id().to_string())
}

/// Opened anew for each look: a repository that was replaced, repacked or repaired is seen as it is now.
pub(super) fn open(path: &Path) -> Result<Repository, GitError> {
    let none: [&Path; 0] = [];
    Repository::open_ext(path, RepositoryOpenFlags::NO_SEARCH, none).map_err(|e| match e.code() {
        ErrorCode::Owner => GitError::NotOurs { path: path.to_owned() },
        ErrorCode::NotFound if !path.exists() => GitError::Missing { path: path.to_owned() },
        // One that has lost a part of it is damaged.
        ErrorCode::NotFound if !path.join("HEAD").exists() && !path.join(".git").exists() => {
            GitError::NoRepository { path: path.to_owned() }
        }
        _ => GitError::Unreadable { path: path.to_owned(), message: e.message().to_owned() },
    })
}

/// What libgit2 goes through by itself is sound.
pub(super) fn sound(repository: &Repository, path: &Path, checked: &mut Checked) -> Result<(), GitError> {
    let checked = Loose::of(repository).check_all(checked);
    checked.map_err(|e| GitError::Unreadable { path: path.to_owned(), message: e.message().to_owned() })
}

pub(super) fn head_of(path: &Path, branch: Option<&str>) -> Result<Revision, GitError> {
    let repository = open(path)?;
    let unreadable = |e: git2::Error| GitError::Unreadable { path: path.to_owned(), message: e.message().to_owned() };
    let reference = match branch {
        Some(branch) => repository.find_reference(&format!("refs/heads/{branch}")).map_err(|e| match e.code() {
            ErrorCode::NotFound => GitError::NoBranch { path: path.to_owned(), branch: branch.to_owned() },
            _ => unreadable(e),
        })?,
        None => repository.head().map_err(|e| match e.code() {
            ErrorCode::UnbornBranch | ErrorCode::NotFound => GitError::NoCommit { path: path.to_owned() },
            _ => unreadable(e),
        })?,
    };
    let target = reference.resolve().map_err(unreadable)?.target();
    let target = target.ok_or_else(|| GitError::NoCommit { path: path.to_owned() })?;
    let commit = Loose::of(&repository).commit(&repository, target).map_err(|e| GitError::Damaged {
        revision: target.to_string(),
        path: path.to_owned(),
        message: e.message().to_owned(),
    })?;
    Ok(revision_of(&commit))
}
