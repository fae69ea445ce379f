//! A plain directory as content: read whole, when something about it changed.

use super::GitError;
use super::limits::Budget;
use crate::content::FileKind;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// The files of one folder.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Listing {
    /// By name.
    pub entries: BTreeMap<String, Entry>,
}

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// A folder with something in it.
    Folder(Listing),
    /// A file, or a symbolic link with its target as bytes (never followed).
    File {
        /// Its content.
        bytes: Vec<u8>,
        /// What it is.
        kind: FileKind,
    },
}

/// Reads all of it.
pub(super) fn read(root: &Path) -> Result<Listing, GitError> {
    let mut budget = Budget::default();
    let listing = read_folder(root, root, "", 0, &mut budget)?;
    budget.judge()?;
    Ok(listing)
}

fn read_folder(
    root: &Path,
    folder: &Path,
    shown: &str,
    depth: usize,
    budget: &mut Budget,
) -> Result<Listing, GitError> {
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound if folder == root => GitError::Missing { path: root.to_owned() },
        _ => GitError::Unreadable { path: folder.to_owned(), message: e.to_string() },
    };
    let mut listing = Listing::default();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name();
        if is_left_out(name.as_bytes()) {
            continue;
        }
        let Some(name) = name.to_str().map(str::to_owned) else {
            return Err(GitError::BadName { path: format!("{shown}{}", name.to_string_lossy()) });
        };
        let shown = format!("{shown}{name}");
        budget.entry(&shown, depth)?;
        let path = entry.path();
        // What vanishes while it is read was a temporary file; the next look sees the rest.
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        let entry = if metadata.is_dir() {
            let below = read_folder(root, &path, &format!("{shown}/"), depth + 1, budget)?;
            if below.entries.is_empty() {
                continue;
            }
            Entry::Folder(below)
        } else if metadata.is_symlink() {
            let target = std::fs::read_link(&path).map_err(unreadable)?;
            Entry::File { bytes: target.as_os_str().as_bytes().to_vec(), kind: FileKind::Symlink }
        } else if metadata.is_file() {
            if !budget.file(&shown, usize::try_from(metadata.len()).unwrap_or(usize::MAX))? {
                continue;
            }
            let bytes = std::fs::read(&path).map_err(unreadable)?;
            let executable = metadata.permissions().mode() & 0o100 != 0;
            Entry::File { bytes, kind: if executable { FileKind::Executable } else { FileKind::Regular } }
        } else {
            Entry::File { bytes: Vec::new(), kind: FileKind::Special }
        };
        listing.entries.insert(name, entry);
    }
    Ok(listing)
}

/// A number that changes when any file's place, size, time or inode does: cheap enough to ask every half second.
pub(super) fn fingerprint(root: &Path) -> Result<u64, GitError> {
    let mut hasher = DefaultHasher::new();
    let mut budget = Budget::default();
    fingerprint_folder(root, root, 0, &mut budget, &mut hasher)?;
    Ok(hasher.finish())
}

fn fingerprint_folder(
    root: &Path,
    folder: &Path,
    depth: usize,
    budget: &mut Budget,
    hasher: &mut DefaultHasher,
) -> Result<(), GitError> {
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound if folder == root => GitError::Missing { path: root.to_owned() },
        _ => GitError::Unreadable { path: folder.to_owned(), message: e.to_string() },
    };
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .map_err(unreadable)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.file_name().is_some_and(|name| !is_left_out(name.as_bytes())))
        .collect();
    paths.sort();
    for path in paths {
        budget.entry(&path.to_string_lossy(), depth)?;
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        path.as_os_str().as_bytes().hash(hasher);
        if metadata.is_dir() {
            fingerprint_folder(root, &path, depth + 1, budget, hasher)?;
        } else {
            (metadata.ino(), metadata.len(), metadata.mode()).hash(hasher);
            (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()).hash(hasher);
        }
    }
    Ok(())
}

/// `.git`, editors' swap files and backups are not content.
fn is_left_out(name: &[u8]) -> bool {
    name.starts_with(b".") || name.ends_with(b"~")
}
