//! From one revision's folders to another's: folders with the same id are not entered, files with the same id are not read.
//! What a commit costs here is what it changes.

use super::GitError;
use super::limits::{self, Budget};
use super::mirror::{MODE_EXECUTABLE, MODE_SYMLINK, Mirror, join};
use crate::content::{File, FileKind, Files};
use git2::{ObjectType, Oid, Tree, TreeEntry};
use std::cmp::Ordering;
use std::sync::Arc;

/// What stands in a plain directory's commit for what Git has no place for: a submodule at a commit that is none.
pub(super) const SPECIAL: &[u8; 20] = b"neither a plain file";

/// How one folder differs from another in an entry of its own.
pub(super) enum Difference<'a> {
    /// It is not there any more.
    Gone(TreeEntry<'a>),
    /// It is new.
    Came(TreeEntry<'a>),
    /// It was something else; both are folders, or neither is.
    Changed(TreeEntry<'a>, TreeEntry<'a>),
}

/// Tells of all differences between two folders, by name.
pub(super) fn differences<E>(
    old: Option<&Tree<'_>>,
    new: &Tree<'_>,
    mut tell: impl FnMut(Difference<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut before = old.into_iter().flat_map(Tree::iter).peekable();
    let mut after = new.iter().peekable();
    loop {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(before), Some(after)) => order(before, after),
        };
        // Where the names are the same, both are there.
        let gone = if order == Ordering::Greater { None } else { before.next() };
        let came = if order == Ordering::Less { None } else { after.next() };
        match (gone, came) {
            (Some(gone), Some(came)) if gone.id() == came.id() && gone.filemode() == came.filemode() => {}
            (Some(gone), Some(came)) => tell(Difference::Changed(gone, came))?,
            (Some(gone), None) => tell(Difference::Gone(gone))?,
            (None, Some(came)) => tell(Difference::Came(came))?,
            (None, None) => {}
        }
    }
}

/// The order in which Git writes a folder's entries: by their bytes, a folder's name as if it ended with `/`. A file and a folder
/// of one name are two entries.
fn order(a: &TreeEntry<'_>, b: &TreeEntry<'_>) -> Ordering {
    let end = |entry: &TreeEntry<'_>| (entry.kind() == Some(ObjectType::Tree)).then_some(&b'/');
    let (a_end, b_end) = (end(a), end(b));
    a.name_bytes().iter().chain(a_end).cmp(b.name_bytes().iter().chain(b_end))
}

/// The files of the revision that was read last, and which folder they are of.
#[derive(Debug, Clone)]
pub(super) struct LastRead {
    pub(super) root: Oid,
    pub(super) files: Files,
    budget: Budget,
    /// How many of them were read for it; the others were known.
    pub(super) read: usize,
}

impl LastRead {
    /// How much the files hold.
    pub(super) fn bytes(&self) -> usize {
        self.budget.bytes()
    }
}

#[cfg(test)]
impl LastRead {
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }
}

/// The files of a folder of the mirror, on top of those that were read last. Where that does not go well it is done again from
/// nothing, so that what is said of an error does not depend on what was read before.
pub(super) fn read(mirror: &Mirror, root: Oid, last: Option<&LastRead>) -> Result<LastRead, GitError> {
    if let Some(last) = last {
        let mut reader = Reader { mirror, budget: last.budget.clone(), files: last.files.clone(), read: 0 };
        if reader.change(last.root, root, "", 0).and_then(|()| reader.budget.judge()).is_ok() {
            return Ok(reader.end(root));
        }
    }
    let mut reader = Reader { mirror, budget: Budget::default(), files: Files::default(), read: 0 };
    reader.add(root, "", 0)?;
    reader.budget.judge()?;
    Ok(reader.end(root))
}

struct Reader<'a> {
    mirror: &'a Mirror,
    budget: Budget,
    files: Files,
    read: usize,
}

impl<'a> Reader<'a> {
    fn end(self, root: Oid) -> LastRead {
        LastRead { root, files: self.files, budget: self.budget, read: self.read }
    }

    fn folder(&self, id: Oid) -> Result<Tree<'a>, GitError> {
        limits::object("a folder", self.size(id)?)?;
        self.mirror.loose.tree(&self.mirror.repository, id).map_err(|e| self.mirror.fails(&e))
    }

    /// By its header: a few bytes can unpack to more than there is memory.
    fn size(&self, id: Oid) -> Result<usize, GitError> {
        let header = || match self.mirror.loose.find(id)? {
            Some(object) => Ok(object.size),
            None => Ok(self.mirror.repository.odb()?.read_header(id)?.0),
        };
        header().map_err(|e: git2::Error| self.mirror.fails(&e))
    }

    /// Its content; `None`: it is too large.
    fn file(&mut self, id: Oid, path: &str) -> Result<Option<Arc<[u8]>>, GitError> {
        let fails = |e: git2::Error| self.mirror.fails(&e);
        if let Some(object) = self.mirror.loose.find(id).map_err(fails)? {
            if !self.budget.file(path, object.size)? {
                return Ok(None);
            }
            return object.bytes(id).map(|bytes| Some(Arc::from(bytes))).map_err(fails);
        }
        if !self.budget.file(path, self.size(id)?)? {
            return Ok(None);
        }
        self.mirror.repository.find_blob(id).map(|blob| Some(Arc::from(blob.content()))).map_err(fails)
    }

    /// Takes in all of a folder.
    fn add(&mut self, folder: Oid, path: &str, depth: usize) -> Result<(), GitError> {
        for entry in &self.folder(folder)? {
            self.add_entry(&entry, path, depth)?;
        }
        Ok(())
    }

    fn add_entry(&mut self, entry: &TreeEntry<'_>, above: &str, depth: usize) -> Result<(), GitError> {
        let path = join(above, entry.name_bytes())?;
        self.budget.entry(&path, depth)?;
        let file = match entry.kind() {
            Some(ObjectType::Tree) => return self.add(entry.id(), &path, depth + 1),
            Some(ObjectType::Blob) => {
                let Some(bytes) = self.file(entry.id(), &path)? else { return Ok(()) };
                self.read += 1;
                let kind = match entry.filemode() {
                    MODE_SYMLINK => FileKind::Symlink,
                    MODE_EXECUTABLE => FileKind::Executable,
                    _ => FileKind::Regular,
                };
                File { bytes, kind, blob: Some(entry.id().to_string()) }
            }
            _ => {
                let kind = if entry.id().as_bytes() == SPECIAL { FileKind::Special } else { FileKind::Submodule };
                File { bytes: Arc::from([].as_slice()), kind, blob: None }
            }
        };
        self.files.insert(path, file);
        Ok(())
    }

    /// Takes out an entry and all below it.
    fn remove_entry(&mut self, entry: &TreeEntry<'_>, above: &str) -> Result<(), GitError> {
        let path = join(above, entry.name_bytes())?;
        if entry.kind() == Some(ObjectType::Tree) {
            self.budget.leave(0);
            for entry in &self.folder(entry.id())? {
                self.remove_entry(&entry, &path)?;
            }
        } else {
            self.budget.leave(self.files.remove(&path).map_or(0, |file| file.bytes.len()));
        }
        Ok(())
    }

    /// From one folder to another.
    fn change(&mut self, old: Oid, new: Oid, path: &str, depth: usize) -> Result<(), GitError> {
        if old == new {
            return Ok(());
        }
        let (old, new) = (self.folder(old)?, self.folder(new)?);
        differences(Some(&old), &new, |difference| match difference {
            Difference::Gone(entry) => self.remove_entry(&entry, path),
            Difference::Came(entry) => self.add_entry(&entry, path, depth),
            Difference::Changed(before, after) if after.kind() == Some(ObjectType::Tree) => {
                let below = join(path, after.name_bytes())?;
                self.change(before.id(), after.id(), &below, depth + 1)
            }
            Difference::Changed(before, after) => {
                self.remove_entry(&before, path)?;
                self.add_entry(&after, path, depth)
            }
        })
    }
}
