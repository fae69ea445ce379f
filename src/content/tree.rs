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
    /// What a work tree can have and Git cannot keep: a named pipe, a socket, a device. Never opened.
    Special,
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
    pub files: Files,
    /// Folders in which other sources are mounted, in the order of the sources: where two disagree, the later one is told. What is at
    /// the root comes first, unless an empty one says that it came later.
    pub mounts: Vec<String>,
}

impl Tree {
    /// Puts another tree, or a folder of it, in the place of what a folder has.
    pub fn replace(&mut self, mount: &str, part: &Self, subpath: Option<&str>) {
        let inside = |path: &str, folder: &str| path.strip_prefix(folder)?.strip_prefix('/').map(str::to_owned);
        self.files.retain(|path, _| inside(path, mount).is_none());
        for (path, file) in part.files.iter() {
            let path = subpath.map_or_else(|| Some(path.clone()), |folder| inside(path, folder));
            self.files.extend(path.map(|path| (format!("{mount}/{path}"), file.clone())));
        }
    }
}

/// The entries of a tree, by path. A copy shares them until one of the two is changed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Files(Arc<BTreeMap<String, File>>);

impl std::ops::Deref for Files {
    type Target = BTreeMap<String, File>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl std::ops::DerefMut for Files {
    fn deref_mut(&mut self) -> &mut Self::Target {
        Arc::make_mut(&mut self.0)
    }
}

impl From<BTreeMap<String, File>> for Files {
    fn from(files: BTreeMap<String, File>) -> Self {
        Self(Arc::new(files))
    }
}

impl FromIterator<(String, File)> for Files {
    fn from_iter<I: IntoIterator<Item = (String, File)>>(files: I) -> Self {
        Self(Arc::new(files.into_iter().collect()))
    }
}

impl IntoIterator for Files {
    type Item = (String, File);
    type IntoIter = std::collections::btree_map::IntoIter<String, File>;

    fn into_iter(self) -> Self::IntoIter {
        Arc::unwrap_or_clone(self.0).into_iter()
    }
}

impl<'a> IntoIterator for &'a Files {
    type Item = (&'a String, &'a File);
    type IntoIter = std::collections::btree_map::Iter<'a, String, File>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
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
        Self { files, ..Self::default() }
    }
}
