//! Our own bare repository: the objects of every revision looked at, and the references that keep them.
//!
//! Objects are copied below before above (files, folders, commit), so that a folder that is there is there whole, also after a
//! kill. All of them are on the disk before a reference keeps them; what a power cut took before that is damaged, found when it is
//! read, and copied again. History is not copied: a mirrored commit stands without its parents, and `git gc` has no business here.

use super::changes::{Difference, LastRead, SPECIAL, differences};
use super::directory::Listing;
use super::limits::Budget;
use super::loose::{Loose, LooseObject};
use super::mend::Mended;
use super::{GitError, Revision};
use crate::content::{FileKind, Tree};
use git2::{ObjectType, Odb, OdbLookupFlags, Oid, Repository, RepositoryInitOptions, TreeEntry};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The reference of the revision that serves.
const APPLIED: &str = "refs/formwork/applied";
/// The reference of the revision whose signatures were found good last.
const TRUSTED: &str = "refs/formwork/trusted";
/// Above the references of revisions that one may go back to.
const KEPT: &str = "refs/formwork/kept/";
/// Above the references of runs.
const RUNS: &str = "refs/formwork/runs/";

/// More new objects than this are brought to the disk by one call for the whole file system.
const SYNCED_EACH: usize = 64;

pub(super) const MODE_EXECUTABLE: i32 = 0o100_755;
const MODE_REGULAR: i32 = 0o100_644;
pub(super) const MODE_SYMLINK: i32 = 0o120_000;
const MODE_SUBMODULE: i32 = 0o160_000;
const MODE_FOLDER: i32 = 0o040_000;

/// Of a source's commit: where it is, which folder counts.
pub(super) struct Origin<'a> {
    pub repository: &'a Repository,
    pub path: &'a Path,
    pub subpath: Option<&'a str>,
}

/// What was read last, to be read on from.
pub(super) type Known = Option<LastRead>;

/// The mirror.
pub(super) struct Mirror {
    pub(super) path: PathBuf,
    pub(super) repository: Repository,
    pub(super) loose: Loose,
    /// The revision read last: what another has in common with it is not read, and shares its memory.
    last: Option<LastRead>,
    /// Objects written since they were last brought to the disk.
    unsynced: Vec<PathBuf>,
    /// What is known of damage.
    pub(super) mended: Mended,
}

/// Whether the mirror at `path` remembers a revision that served.
pub fn remembers(path: &Path) -> bool {
    Repository::open_bare(path).is_ok_and(|repository| repository.find_reference(APPLIED).is_ok())
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
        // Not each object by itself: all of a revision are brought to the disk before anything says that it is kept.
        repository
            .config()
            .and_then(|mut config| config.set_bool("core.fsyncObjectFiles", false))
            .map_err(|e| fails(e.message().to_owned()))?;
        Ok(Self::borrowed(path, repository))
    }

    /// A repository that is read in place of a mirror, once.
    pub(super) fn borrowed(path: &Path, repository: Repository) -> Self {
        let loose = Loose::of(&repository);
        Self { path: path.to_owned(), repository, loose, last: None, unsynced: Vec::new(), mended: Mended::default() }
    }

    /// The same, with what was read from it before. Of objects that are gone since, nothing is taken from there.
    pub(super) fn borrowed_knowing(path: &Path, repository: Repository, loose: Loose, known: Known) -> Self {
        Self { last: known, loose, ..Self::borrowed(path, repository) }
    }

    /// What was read last is read anew.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// The revision read last.
    pub(super) fn into_known(self) -> Known {
        self.last
    }

    pub(super) fn fails(&self, error: &git2::Error) -> GitError {
        GitError::Mirror { path: self.path.clone(), message: error.message().to_owned() }
    }

    /// What a mirrored commit says of itself; `None` where it is not here.
    pub(super) fn revision(&self, id: &str) -> Result<Option<Revision>, GitError> {
        match self.loose.commit(&self.repository, parse(id)?) {
            Ok(commit) => Ok(Some(revision_of(&commit))),
            Err(_) => Ok(None),
        }
    }

    /// Copies what content needs of a commit; how many objects that were. `thorough`: also what seems to be here already, after
    /// reading it failed.
    pub(super) fn copy(&mut self, origin: &Origin<'_>, id: &str, thorough: bool) -> Result<usize, GitError> {
        let mut written = Vec::new();
        let answer = self.copy_objects(origin, id, thorough, &mut written);
        let count = written.len();
        self.unsynced.append(&mut written);
        answer.map(|()| count)
    }

    fn copy_objects(
        &self,
        origin: &Origin<'_>,
        id: &str,
        thorough: bool,
        written: &mut Vec<PathBuf>,
    ) -> Result<(), GitError> {
        let oid = parse(id)?;
        let damaged = |e: git2::Error| GitError::Damaged {
            revision: id.to_owned(),
            path: origin.path.to_owned(),
            message: e.message().to_owned(),
        };
        let loose = Loose::of(origin.repository);
        let commit = loose.commit(origin.repository, oid).map_err(|e| match e.code() {
            git2::ErrorCode::NotFound => GitError::UnknownRevision { revision: id.to_owned() },
            _ => damaged(e),
        })?;
        let from = origin.repository.odb().map_err(damaged)?;
        let to = self.repository.odb().map_err(|e| self.fails(&e))?;
        let mut copier = Copier {
            origin,
            mirror: self,
            loose: &loose,
            from,
            to,
            thorough,
            budget: Budget::default(),
            damaged: &damaged,
            written,
        };
        // The folders on the way to the site's own, without their other children.
        let mut root = commit.tree_id();
        let mut way = Vec::new();
        for segment in origin.subpath.into_iter().flat_map(|path| path.split('/')).filter(|s| !s.is_empty()) {
            let above = loose.tree(origin.repository, root).map_err(damaged)?;
            let below = above.get_name(segment).filter(|entry| entry.kind() == Some(ObjectType::Tree));
            let below = below.ok_or_else(|| GitError::NoSubpath {
                revision: id.to_owned(),
                subpath: origin.subpath.unwrap_or_default().to_owned(),
            })?;
            way.push(std::mem::replace(&mut root, below.id()));
        }
        copier.folder(root, self.last.as_ref().map(|last| last.root), "", 0)?;
        copier.budget.judge()?;
        for folder in way.into_iter().rev() {
            copier.object(folder, ObjectType::Tree)?;
        }
        copier.object(oid, ObjectType::Commit)
    }

    /// Writes a directory's files and a commit for them. Its id depends on the files alone.
    pub(super) fn commit_listing(&mut self, listing: &Listing) -> Result<Revision, GitError> {
        let mut written = Vec::new();
        let tree = self.write_folder(listing, &mut written).map_err(|e| self.fails(&e))?;
        let written: Vec<PathBuf> = written.into_iter().map(|id| self.object_path(id)).collect();
        self.unsynced.extend(written);
        let write = || {
            let tree = self.repository.find_tree(tree)?;
            let nobody = git2::Signature::new("directory", "directory@localhost", &git2::Time::new(0, 0))?;
            let id = self.repository.commit(None, &nobody, &nobody, "Content of the directory\n", &tree, &[])?;
            Ok(revision_of(&self.repository.find_commit(id)?))
        };
        let revision: Revision = write().map_err(|e: git2::Error| self.fails(&e))?;
        self.unsynced.push(self.object_path(parse(&revision.id)?));
        Ok(revision)
    }

    /// An object was written: it is brought to the disk before anything says that it is kept.
    pub(super) fn wrote(&mut self, ids: impl IntoIterator<Item = Oid>) {
        let paths: Vec<PathBuf> = ids.into_iter().map(|id| self.object_path(id)).collect();
        self.unsynced.extend(paths);
    }

    fn object_path(&self, id: Oid) -> PathBuf {
        let id = id.to_string();
        let (first, rest) = id.split_at(2);
        self.path.join("objects").join(first).join(rest)
    }

    fn write_folder(&self, listing: &Listing, written: &mut Vec<Oid>) -> Result<Oid, git2::Error> {
        let mut builder = self.repository.treebuilder(None)?;
        for (name, entry) in &listing.entries {
            use super::directory::Entry;
            let (id, mode) = match entry {
                Entry::Folder(below) => (self.write_folder(below, written)?, MODE_FOLDER),
                Entry::File { kind: FileKind::Special, .. } => (Oid::from_bytes(SPECIAL)?, MODE_SUBMODULE),
                Entry::File { bytes, kind } => {
                    let mode = match kind {
                        FileKind::Executable => MODE_EXECUTABLE,
                        FileKind::Symlink => MODE_SYMLINK,
                        FileKind::Regular | FileKind::Submodule | FileKind::Special => MODE_REGULAR,
                    };
                    let id = self.repository.blob(bytes)?;
                    written.push(id);
                    (id, mode)
                }
            };
            builder.insert(name, id, mode)?;
        }
        let id = builder.write()?;
        written.push(id);
        Ok(id)
    }

    /// The files of a mirrored commit, from the site's folder down.
    pub(super) fn tree(&mut self, id: &str, subpath: Option<&str>) -> Result<Tree, GitError> {
        let root = self.root(parse(id)?, id, subpath)?;
        let read = super::changes::read(self, root, self.last.as_ref())?;
        let tree = Tree { files: read.files.clone(), ..Tree::default() };
        self.last = Some(read);
        Ok(tree)
    }

    /// How many files were read for the last tree; the others were known.
    pub(super) fn files_read(&self) -> usize {
        self.last.as_ref().map_or(0, |last| last.read)
    }

    /// The site's folder of a mirrored commit.
    fn root(&self, oid: Oid, id: &str, subpath: Option<&str>) -> Result<Oid, GitError> {
        let repository = &self.repository;
        let commit = self.loose.commit(repository, oid);
        let commit = commit.map_err(|_| GitError::UnknownRevision { revision: id.to_owned() })?;
        let mut root = commit.tree_id();
        for segment in subpath.into_iter().flat_map(|path| path.split('/')).filter(|s| !s.is_empty()) {
            let tree = self.loose.tree(repository, root).map_err(|e| self.fails(&e))?;
            root = tree.get_name(segment).map(|entry| entry.id()).ok_or_else(|| GitError::NoSubpath {
                revision: id.to_owned(),
                subpath: subpath.unwrap_or_default().to_owned(),
            })?;
        }
        Ok(root)
    }

    /// Brings what was written to the disk.
    pub(super) fn sync(&mut self) -> Result<(), GitError> {
        if self.unsynced.is_empty() {
            return Ok(());
        }
        let fails = |e: std::io::Error| GitError::Mirror { path: self.path.clone(), message: e.to_string() };
        let objects = self.path.join("objects");
        if self.unsynced.len() > SYNCED_EACH {
            let folder = std::fs::File::open(&objects).map_err(fails)?;
            rustix::fs::syncfs(&folder).map_err(|e| fails(e.into()))?;
        } else {
            let mut folders: BTreeSet<&Path> = BTreeSet::from([objects.as_path()]);
            for path in &self.unsynced {
                match std::fs::File::open(path) {
                    Ok(file) => file.sync_all().map_err(fails)?,
                    // Swept since.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
                    Err(e) => return Err(fails(e)),
                }
                folders.extend(path.parent());
            }
            for folder in folders {
                std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(fails)?;
            }
        }
        self.unsynced.clear();
        Ok(())
    }

    /// The id of a revision that is here, by a name that Git knows.
    pub(super) fn resolve(&self, name: &str) -> Option<String> {
        super::owner::id_of(&self.repository, name)
    }

    /// Which revision served last.
    pub(super) fn applied(&self) -> Option<String> {
        self.repository.refname_to_id(APPLIED).ok().map(|oid| oid.to_string())
    }

    /// Remembers which revision serves.
    pub(super) fn set_applied(&mut self, id: &str) -> Result<(), GitError> {
        self.set(APPLIED, id)
    }

    /// Which revision was trusted last.
    pub(super) fn trusted(&self) -> Option<String> {
        self.repository.refname_to_id(TRUSTED).ok().map(|oid| oid.to_string())
    }

    /// Remembers which revision the next one has to follow.
    pub(super) fn set_trusted(&mut self, id: &str) -> Result<(), GitError> {
        self.set(TRUSTED, id)
    }

    /// Keeps these revisions, where they are here, and lets go of others that were kept so.
    pub(super) fn keep(&mut self, ids: &[String]) -> Result<(), GitError> {
        for id in ids {
            let name = format!("{KEPT}{id}");
            if self.repository.refname_to_id(&name).is_ok_and(|kept| kept.to_string() == *id) {
                continue;
            }
            match self.set(&name, id) {
                // Of an older program's mirror, or of one that was made anew.
                Ok(()) | Err(GitError::UnknownRevision { .. } | GitError::BadReference { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let kept = self.repository.references_glob(&format!("{KEPT}*")).map_err(|e| self.fails(&e))?;
        for reference in kept {
            let mut reference = reference.map_err(|e| self.fails(&e))?;
            let id = reference.name().ok().and_then(|name| name.strip_prefix(KEPT)).map(str::to_owned);
            if id.is_some_and(|id| !ids.contains(&id)) {
                reference.delete().map_err(|e| self.fails(&e))?;
            }
        }
        Ok(())
    }

    /// Keeps a run's revision alive.
    pub(super) fn pin(&mut self, run: &str, id: &str) -> Result<(), GitError> {
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

    /// Makes a reference, once all that it keeps is on the disk; it is there when this returns.
    pub(super) fn set(&mut self, reference: &str, id: &str) -> Result<(), GitError> {
        let oid = parse(id)?;
        if self.loose.commit(&self.repository, oid).is_err() {
            return Err(GitError::UnknownRevision { revision: id.to_owned() });
        }
        self.sync()?;
        let path = self.path.join(reference);
        let write = || -> std::io::Result<()> {
            let folder = path.parent().unwrap_or(&self.path);
            std::fs::create_dir_all(folder)?;
            // Beside the others, where no reference is looked for; only this thread writes.
            let new = self.path.join("new-reference");
            let mut file = std::fs::File::create(&new)?;
            file.write_all(format!("{oid}\n").as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            std::fs::File::open(folder)?.sync_all()
        };
        write().map_err(|e| GitError::Mirror { path: self.path.clone(), message: e.to_string() })
    }
}

/// Copies objects from a source's database to ours.
struct Copier<'a, D: Fn(git2::Error) -> GitError> {
    origin: &'a Origin<'a>,
    mirror: &'a Mirror,
    loose: &'a Loose,
    from: Odb<'a>,
    to: Odb<'a>,
    thorough: bool,
    budget: Budget,
    damaged: &'a D,
    written: &'a mut Vec<PathBuf>,
}

impl<D: Fn(git2::Error) -> GitError> Copier<'_, D> {
    fn has(&self, oid: Oid) -> bool {
        self.to.exists_ext(oid, OdbLookupFlags::NO_REFRESH)
    }

    /// Copies a folder. What it has in common with another, which is here in whole, is not looked at.
    fn folder(&mut self, oid: Oid, like: Option<Oid>, path: &str, depth: usize) -> Result<(), GitError> {
        self.budget.entry(path, depth)?;
        if self.has(oid) && !self.thorough {
            return Ok(());
        }
        let tree = self.loose.tree(self.origin.repository, oid).map_err(self.damaged)?;
        let known = |like| self.mirror.loose.tree(&self.mirror.repository, like).ok();
        let like = like.filter(|_| !self.thorough).and_then(known);
        differences(like.as_ref(), &tree, |difference| match difference {
            Difference::Gone(_) => Ok(()),
            Difference::Came(entry) => self.entry(&entry, None, path, depth),
            Difference::Changed(before, entry) => self.entry(&entry, Some(before.id()), path, depth),
        })?;
        // A folder that is here is here in whole: one with a file that was left out is not written, nor is any that holds it.
        if self.budget.has_large() { Ok(()) } else { self.object(oid, ObjectType::Tree) }
    }

    fn entry(&mut self, entry: &TreeEntry<'_>, like: Option<Oid>, above: &str, depth: usize) -> Result<(), GitError> {
        let path = join(above, entry.name_bytes())?;
        match entry.kind() {
            Some(ObjectType::Tree) => self.folder(entry.id(), like, &path, depth + 1),
            Some(ObjectType::Blob) => {
                self.budget.entry(&path, depth)?;
                let found = self.loose.find(entry.id()).map_err(self.damaged)?;
                let bytes = match &found {
                    Some(object) => object.size,
                    None => self.from.read_header(entry.id()).map_err(self.damaged)?.0,
                };
                if self.budget.file(&path, bytes)? { self.take(entry.id(), ObjectType::Blob, found) } else { Ok(()) }
            }
            // A submodule's commit is in another repository.
            _ => Ok(()),
        }
    }

    fn object(&mut self, oid: Oid, kind: ObjectType) -> Result<(), GitError> {
        if self.has(oid) && !self.thorough {
            return Ok(());
        }
        let found = self.loose.find(oid).map_err(self.damaged)?;
        self.take(oid, kind, found)
    }

    fn take(&mut self, oid: Oid, kind: ObjectType, found: Option<LooseObject>) -> Result<(), GitError> {
        if self.has(oid) {
            if !self.thorough || self.mirror.loose.check(oid).and_then(|()| self.to.read(oid)).is_ok() {
                return Ok(());
            }
            // Ours is damaged; libgit2 does not write over what is there.
            let _ = std::fs::remove_file(self.mirror.object_path(oid));
        }
        let written = match found {
            Some(object) => self.to.write(kind, &object.bytes(oid).map_err(self.damaged)?),
            None => self.to.write(kind, self.from.read(oid).map_err(self.damaged)?.data()),
        };
        written.map_err(|e| self.mirror.fails(&e))?;
        self.written.push(self.mirror.object_path(oid));
        Ok(())
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

pub(super) fn join(above: &str, name: &[u8]) -> Result<String, GitError> {
    let bad = || GitError::BadName { path: format!("{above}/{}", String::from_utf8_lossy(name)) };
    let name = std::str::from_utf8(name).map_err(|_| bad())?;
    if name.is_empty() || name == "." || name == ".." || name.contains('/') || name.contains('\0') {
        return Err(bad());
    }
    Ok(if above.is_empty() { name.to_owned() } else { format!("{above}/{name}") })
}
