//! Where a reference of a repository points to now.

use crate::git::{GitError, open};
use git2::ErrorCode;
use std::path::Path;

/// The object that a reference points to; none: there is no such reference.
///
/// # Errors
/// The repository cannot be read.
pub fn points_to(path: &Path, reference: &str) -> Result<Option<String>, GitError> {
    let unreadable =
        |error: git2::Error| GitError::Unreadable { path: path.to_owned(), message: error.message().to_owned() };
    match open(path)?.find_reference(reference) {
        Ok(found) => Ok(found.resolve().map_err(unreadable)?.target().map(|id| id.to_string())),
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}
