//! Files of one revision, in memory: what every source of content (a commit, a directory, the binary's own packs) becomes.

use std::collections::BTreeMap;
use std::sync::Arc;

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// A file.
    Regular,
    /// A file with its executable bit set.
    Executable,
    /// A symbolic link; its bytes are the target. Never followed.
    Symlink,
    /// A submodule; never entered.
    Submodule,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its content.
    pub bytes: Arc<[u8]>,
    /// What it is.
    pub kind: FileKind,
    /// The blob's object id where the source knows one: an unchanged id is unchanged content.
    pub blob: Option<String>,
}

/// Entries by their path from the root: `/` between segments, no leading slash, no `.` or `..`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// The entries.
    pub files: BTreeMap<String, File>,
}

impl Tree {
    /// A tree of regular files, for tests and embedded packs.
    pub fn from_texts<P: Into<String>, T: AsRef<[u8]>>(files: impl IntoIterator<Item = (P, T)>) -> Self {
        let files = files
            .into_iter()
            .map(|(path, text)| {
                let file = File { bytes: Arc::from(text.as_ref()), kind: FileKind::Regular, blob: None };
                (path.into(), file)
            })
            .collect();
        Self { files }
    }
}
