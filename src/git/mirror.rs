//! Our own bare repository: the objects of every revision looked at, and the references that keep them.
//!
//! Objects are copied below before above (files, folders, commit), so that a folder that is there is there whole, also after a
//! power cut. History is not copied: a mirrored commit stands without its parents, and `git gc` has no business here.

use super::directory::Listing;
use super::limits::Budget;
use super::{GitError, Revision};
use crate::content::{File, FileKind, Tree};
use git2::{ObjectType, Odb, OdbLookupFlags, Oid, Repository, RepositoryInitOptions};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The reference of the revision that serves.
const APPLIED: &str = "refs/formwork/applied";
/// Above the references of runs.
const RUNS: &str = "refs/formwork/runs/";

const MODE_EXECUTABLE: i32 = 0o100_755;
const MODE_REGULAR: i32 = 0o100_644;
const MODE_SYMLINK: i32 = 0o120_000;
const MODE_FOLDER: i32 = 0o040_000;

/// Of a source's commit: where it is, which folder counts.
pub(super) struct Origin<'a> {
    pub repository: &'a Repository,
    pub path: &'a Path,
    pub subpath: Option<&'a str>,
}

/// The mirror.
pub(super) struct Mirror {
    pub(super) path: PathBuf,
    pub(super) repository: Repository,
    /// Files of the revision read last: an unchanged id is unchanged content, and shares its memory.
    known: HashMap<Oid, Arc<[u8]>>,
}

impl Mirror {
    /// Opens it, or makes it.
    pub(super) fn open(path: &Path) -> Result<Self, GitError> {
        let fails = |message: String| GitError::Mirror { path: path.to_owned(), message };
        let repository = if path.join("objects").is_dir() {
            Repository::open_bare(path).map_err(|e| fails(e.message().to_owned()))?
        } else {
            let mut options = RepositoryInitOptions::new();
            options
                .bare(true)
                .mkdir(true)
                .mkpath(true)
                .external_template(false)
                .mode(git2::RepositoryInitMode::from_bits_retain(0o700));
            Repository::init_opts(path, &options).map_err(|e| fails(e.message().to_owned()))?
        };
        // A pinned revision must survive a power cut: libgit2 then syncs each object before it is renamed into place.
        repository
            .config()
            .and_then(|mut config| config.set_bool("core.fsyncObjectFiles", true))
            .map_err(|e| fails(e.message().to_owned()))?;
        Ok(Self { path: path.to_owned(), repository, known: HashMap::new() })
    }

    /// A repository that is read in place of a mirror, once.
    pub(super) fn borrowed(path: &Path, repository: Repository) -> Self {
        Self { path: path.to_owned(), repository, known: HashMap::new() }
    }

    fn fails(&self, error: &git2::Error) -> GitError {
        GitError::Mirror { path: self.path.clone(), message: error.message().to_owned() }
    }

    /// What a mirrored commit says of itself; `None` where it is not here.
    pub(super) fn revision(&self, id: &str) -> Result<Option<Revision>, GitError> {
        match self.repository.find_commit(parse(id)?) {
            Ok(commit) => Ok(Some(revision_of(&commit))),
            Err(_) => Ok(None),
        }
    }

    /// Copies what content needs of a commit. `thorough`: also what seems to be here already, after reading it failed.
    pub(super) fn copy(&self, origin: &Origin<'_>, id: &str, thorough: bool) -> Result<(), GitError> {
        let oid = parse(id)?;
        let damaged = |e: git2::Error| GitError::Damaged {
            revision: id.to_owned(),
            path: origin.path.to_owned(),
            message: e.message().to_owned(),
        };
        let commit = origin.repository.find_commit(oid).map_err(|e| match e.code() {
            git2::ErrorCode::NotFound => GitError::UnknownRevision { revision: id.to_owned() },
            _ => damaged(e),
        })?;
        let from = origin.repository.odb().map_err(damaged)?;
        let to = self.repository.odb().map_err(|e| self.fails(&e))?;
        let mut copier =
            Copier { origin, mirror: self, from, to, thorough, budget: Budget::default(), damaged: &damaged };
        // The folders on the way to the site's own, without their other children.
        let mut root = commit.tree_id();
        let mut way = Vec::new();
        for segment in origin.subpath.into_iter().flat_map(|path| path.split('/')).filter(|s| !s.is_empty()) {
            let above = origin.repository.find_tree(root).map_err(damaged)?;
            let below = above.get_name(segment).filter(|entry| entry.kind() == Some(ObjectType::Tree));
            let below = below.ok_or_else(|| GitError::NoSubpath {
                revision: id.to_owned(),
                subpath: origin.subpath.unwrap_or_default().to_owned(),
            })?;
            way.push(std::mem::replace(&mut root, below.id()));
        }
        copier.folder(root, "", 0)?;
        for folder in way.into_iter().rev() {
            copier.object(folder, ObjectType::Tree)?;
        }
        copier.object(oid, ObjectType::Commit)
    }

    /// Writes a directory's files and a commit for them. Its id depends on the files alone.
    pub(super) fn commit_listing(&self, listing: &Listing) -> Result<Revision, GitError> {
        let tree = self.write_folder(listing).map_err(|e| self.fails(&e))?;
        let write = || {
            let tree = self.repository.find_tree(tree)?;
            let nobody = git2::Signature::new("directory", "directory@localhost", &git2::Time::new(0, 0))?;
            let id = self.repository.commit(None, &nobody, &nobody, "Content of the directory\n", &tree, &[])?;
            Ok(revision_of(&self.repository.find_commit(id)?))
        };
        write().map_err(|e: git2::Error| self.fails(&e))
    }

    fn write_folder(&self, listing: &Listing) -> Result<Oid, git2::Error> {
        let mut builder = self.repository.treebuilder(None)?;
        for (name, entry) in &listing.entries {
            use super::directory::Entry;
            let (id, mode) = match entry {
                Entry::Folder(below) => (self.write_folder(below)?, MODE_FOLDER),
                Entry::File { bytes, kind } => {
                    let mode = match kind {
                        FileKind::Executable => MODE_EXECUTABLE,
                        FileKind::Symlink => MODE_SYMLINK,
                        FileKind::Regular | FileKind::Submodule => MODE_REGULAR,
                    };
                    (self.repository.blob(bytes)?, mode)
                }
            };
            builder.insert(name, id, mode)?;
        }
        builder.write()
    }

    /// The files of a mirrored commit, from the site's folder down.
    pub(super) fn tree(&mut self, id: &str, subpath: Option<&str>) -> Result<Tree, GitError> {
        let oid = parse(id)?;
        let mut reader =
            Reader { mirror: self, budget: Budget::default(), known: HashMap::new(), tree: Tree::default() };
        let root = reader.root(oid, id, subpath)?;
        reader.folder(&root, "", 0)?;
        let (known, tree) = (std::mem::take(&mut reader.known), std::mem::take(&mut reader.tree));
        drop(root);
        self.known = known;
        Ok(tree)
    }

    /// Which revision served last.
    pub(super) fn applied(&self) -> Option<String> {
        self.repository.refname_to_id(APPLIED).ok().map(|oid| oid.to_string())
    }

    /// Remembers which revision serves.
    pub(super) fn set_applied(&self, id: &str) -> Result<(), GitError> {
        self.set(APPLIED, id)
    }

    /// Keeps a run's revision alive.
    pub(super) fn pin(&self, run: &str, id: &str) -> Result<(), GitError> {
        self.set(&run_reference(run)?, id)
    }

    /// Lets go of it. Not an error where there is none.
    pub(super) fn unpin(&self, run: &str) -> Result<(), GitError> {
        match self.repository.find_reference(&run_reference(run)?) {
            Ok(mut reference) => reference.delete().map_err(|e| self.fails(&e)),
            Err(e) if e.code() == git2::ErrorCode::NotFound => Ok(()),
            Err(e) => Err(self.fails(&e)),
        }
    }

    /// All runs with their revisions, by name.
    pub(super) fn pins(&self) -> Result<Vec<(String, String)>, GitError> {
        let mut pins = Vec::new();
        let found = self.repository.references_glob(&format!("{RUNS}*")).map_err(|e| self.fails(&e))?;
        for reference in found {
            let reference = reference.map_err(|e| self.fails(&e))?;
            let run = reference.name().ok().and_then(|name| name.strip_prefix(RUNS)).map(str::to_owned);
            if let (Some(run), Some(id)) = (run, reference.target()) {
                pins.push((run, id.to_string()));
            }
        }
        pins.sort();
        Ok(pins)
    }

    fn set(&self, reference: &str, id: &str) -> Result<(), GitError> {
        let oid = parse(id)?;
        if self.repository.find_commit(oid).is_err() {
            return Err(GitError::UnknownRevision { revision: id.to_owned() });
        }
        self.repository.reference(reference, oid, true, "formwork").map(drop).map_err(|e| self.fails(&e))
    }
}

/// Copies objects from a source's database to ours.
struct Copier<'a, D: Fn(git2::Error) -> GitError> {
    origin: &'a Origin<'a>,
    mirror: &'a Mirror,
    from: Odb<'a>,
    to: Odb<'a>,
    thorough: bool,
    budget: Budget,
    damaged: &'a D,
}

impl<D: Fn(git2::Error) -> GitError> Copier<'_, D> {
    fn has(&self, oid: Oid) -> bool {
        self.to.exists_ext(oid, OdbLookupFlags::NO_REFRESH)
    }

    fn folder(&mut self, oid: Oid, path: &str, depth: usize) -> Result<(), GitError> {
        self.budget.entry(path, depth)?;
        if self.has(oid) && !self.thorough {
            return Ok(());
        }
        let tree = self.origin.repository.find_tree(oid).map_err(self.damaged)?;
        for entry in &tree {
            let path = join(path, entry.name_bytes())?;
            match entry.kind() {
                Some(ObjectType::Tree) => self.folder(entry.id(), &path, depth + 1)?,
                Some(ObjectType::Blob) => {
                    self.budget.entry(&path, depth)?;
                    let (bytes, _) = self.from.read_header(entry.id()).map_err(self.damaged)?;
                    self.budget.file(&path, bytes)?;
                    self.object(entry.id(), ObjectType::Blob)?;
                }
                // A submodule's commit is in another repository.
                _ => {}
            }
        }
        self.object(oid, ObjectType::Tree)
    }

    fn object(&self, oid: Oid, kind: ObjectType) -> Result<(), GitError> {
        if self.has(oid) {
            if !self.thorough || self.to.read(oid).is_ok() {
                return Ok(());
            }
            // Ours is damaged; libgit2 does not write over what is there.
            let id = oid.to_string();
            let (first, rest) = id.split_at(2);
            let _ = std::fs::remove_file(self.mirror.path.join("objects").join(first).join(rest));
        }
        let object = self.from.read(oid).map_err(self.damaged)?;
        self.to.write(kind, object.data()).map(drop).map_err(|e| self.mirror.fails(&e))
    }
}

/// Reads a mirrored commit into memory.
struct Reader<'a> {
    mirror: &'a Mirror,
    budget: Budget,
    known: HashMap<Oid, Arc<[u8]>>,
    tree: Tree,
}

impl<'a> Reader<'a> {
    fn root(&self, oid: Oid, id: &str, subpath: Option<&str>) -> Result<git2::Tree<'a>, GitError> {
        let repository = &self.mirror.repository;
        let commit = repository.find_commit(oid).map_err(|_| GitError::UnknownRevision { revision: id.to_owned() })?;
        let mut tree = commit.tree().map_err(|e| self.mirror.fails(&e))?;
        for segment in subpath.into_iter().flat_map(|path| path.split('/')).filter(|s| !s.is_empty()) {
            let below = tree.get_name(segment).map(|entry| entry.id()).ok_or_else(|| GitError::NoSubpath {
                revision: id.to_owned(),
                subpath: subpath.unwrap_or_default().to_owned(),
            })?;
            tree = repository.find_tree(below).map_err(|e| self.mirror.fails(&e))?;
        }
        Ok(tree)
    }

    fn folder(&mut self, tree: &git2::Tree<'_>, path: &str, depth: usize) -> Result<(), GitError> {
        for entry in tree {
            let path = join(path, entry.name_bytes())?;
            self.budget.entry(&path, depth)?;
            let file = match entry.kind() {
                Some(ObjectType::Tree) => {
                    let below = self.mirror.repository.find_tree(entry.id()).map_err(|e| self.mirror.fails(&e))?;
                    self.folder(&below, &path, depth + 1)?;
                    continue;
                }
                Some(ObjectType::Blob) => {
                    let bytes = self.bytes(entry.id())?;
                    self.budget.file(&path, bytes.len())?;
                    let kind = match entry.filemode() {
                        MODE_SYMLINK => FileKind::Symlink,
                        MODE_EXECUTABLE => FileKind::Executable,
                        _ => FileKind::Regular,
                    };
                    File { bytes, kind, blob: Some(entry.id().to_string()) }
                }
                _ => File { bytes: Arc::from([].as_slice()), kind: FileKind::Submodule, blob: None },
            };
            self.tree.files.insert(path, file);
        }
        Ok(())
    }

    fn bytes(&mut self, oid: Oid) -> Result<Arc<[u8]>, GitError> {
        let bytes = match self.known.get(&oid).or_else(|| self.mirror.known.get(&oid)) {
            Some(bytes) => Arc::clone(bytes),
            None => {
                let blob = self.mirror.repository.find_blob(oid).map_err(|e| self.mirror.fails(&e))?;
                Arc::from(blob.content())
            }
        };
        self.known.insert(oid, Arc::clone(&bytes));
        Ok(bytes)
    }
}

/// What a commit says of itself.
pub(super) fn revision_of(commit: &git2::Commit<'_>) -> Revision {
    let message = String::from_utf8_lossy(commit.message_bytes()).into_owned();
    let summary = message.lines().next().unwrap_or_default().trim().chars().take(200).collect();
    Revision { id: commit.id().to_string(), summary, message }
}

fn parse(id: &str) -> Result<Oid, GitError> {
    match Oid::from_str(id) {
        Ok(oid) if id.len() >= 40 => Ok(oid),
        _ => Err(GitError::BadReference { name: id.to_owned() }),
    }
}

fn run_reference(run: &str) -> Result<String, GitError> {
    let reference = format!("{RUNS}{run}");
    let plain = !run.is_empty() && !run.contains('/') && git2::Reference::is_valid_name(&reference);
    if plain { Ok(reference) } else { Err(GitError::BadReference { name: run.to_owned() }) }
}

fn join(above: &str, name: &[u8]) -> Result<String, GitError> {
    let bad = || GitError::BadName { path: format!("{above}/{}", String::from_utf8_lossy(name)) };
    let name = std::str::from_utf8(name).map_err(|_| bad())?;
    if name.is_empty() || name == "." || name == ".." || name.contains('/') || name.contains('\0') {
        return Err(bad());
    }
    Ok(if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") })
}
