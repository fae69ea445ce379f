//! A new repository for people: with a work tree, and nothing in it yet.

use super::GitError;
use git2::{Repository, RepositoryInitOptions};
use std::path::{Path, PathBuf};

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

/// The work tree that a directory lies in below its top, whether or not it is there yet: that top, and the way from it. `None`: it
/// lies in none, or is the top of one.
pub fn work_tree_around(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let whole = std::path::absolute(directory).ok()?;
    let there = whole.ancestors().find(|path| path.is_dir())?;
    let (top, folder) = super::work_tree_of(there)?;
    let way: PathBuf =
        folder.into_iter().map(PathBuf::from).chain([whole.strip_prefix(there).ok()?.to_owned()]).collect();
    // What is joined with nothing ends with a slash.
    let way: PathBuf = way.components().collect();
    (!way.as_os_str().is_empty()).then_some((top, way))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_in_a_work_tree_is_told_from_its_top_and_from_one_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        Repository::init(root.join("outer")).unwrap();
        std::fs::create_dir_all(root.join("outer/sites/there")).unwrap();
        Repository::init(root.join("outer/own")).unwrap();
        for (path, way) in [
            ("outer/sites/there", Some("sites/there")),
            ("outer/sites/not-yet/deep", Some("sites/not-yet/deep")),
            ("outer/new", Some("new")),
            ("outer", None),
            ("outer/own", None),
            ("elsewhere", None),
        ] {
            let found = work_tree_around(&root.join(path));
            assert_eq!(found, way.map(|way| (root.join("outer"), PathBuf::from(way))), "{path}");
        }
    }
}
