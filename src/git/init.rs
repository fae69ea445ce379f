//! A new repository for people: with a work tree, and nothing in it yet.

use super::GitError;
use git2::{Repository, RepositoryInitOptions};
use std::path::Path;

/// Makes a directory a repository whose first branch is `main`. `false`: it is, or lies in, one already, and nothing was done.
///
/// # Errors
/// [`GitError::Unreadable`]: it cannot be made.
pub fn init(path: &Path) -> Result<bool, GitError> {
    if Repository::discover(path).is_ok() {
        return Ok(false);
    }
    let mut options = RepositoryInitOptions::new();
    options.initial_head("main").no_reinit(true);
    Repository::init_opts(path, &options)
        .map(|_| true)
        .map_err(|error| GitError::Unreadable { path: path.to_owned(), message: error.message().to_owned() })
}
