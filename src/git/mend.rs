//! A mirror that the disk damaged: it is set aside, and made anew of what is whole in it. What is missing then is copied again from
//! where it came from, as in a mirror that is new.
//!
//! References come along whatever became of what they lead to: which revision serves, which is trusted, and which a run is pinned
//! to is known on, and mostly the source still has it.

use super::mirror::{Mirror, Origin};
use super::owner::{Owner, open};
use super::remote::{Part, parts_of, room_of};
use super::verified::Verified;
use super::{GitError, Revision, Source};
use crate::content::Tree;
use git2::{Oid, Repository};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// So many damaged objects are named in the log.
const NAMED: usize = 5;
/// The whole mirror is not gone through again for so long while the program runs.
const MEND_AGAIN: Duration = Duration::from_secs(60);
/// References in folders of each other, as deep as ours are and a few more.
const REFERENCES_DEPTH: usize = 8;

/// What is known of damage while the program runs.
#[derive(Debug, Default)]
pub(super) struct Mended {
    /// When the whole mirror was gone through last.
    at: Option<Instant>,
    /// Some was found: what was here before may be missing.
    found: bool,
    /// What was found whole.
    verified: Verified,
}

/// What is damaged in a mirror.
#[derive(Debug, Default)]
struct Damage {
    /// Files of objects and of references.
    files: HashSet<PathBuf>,
    /// In words, of the first few.
    said: Vec<String>,
    /// References, sound themselves, that lead to one of the objects.
    references: Vec<String>,
}

impl Mirror {
    /// Opens it, or makes it; what is damaged in it is set aside first.
    pub(super) fn open_mended(path: &Path) -> Result<Self, GitError> {
        // A new one was made, and the kill came before it was in its place.
        let new = beside(path, ".new");
        if !path.exists() && new.exists() && fs::rename(&new, path).is_err() {
            tracing::warn!(path = %new.display(), "a new mirror could not be put in its place; another is made");
        }
        let mut mirror = match Self::open(path) {
            Ok(mirror) => mirror,
            Err(error) if is_garbage(path) => {
                tracing::warn!(%error, "the mirror is no repository any more; it is set aside as mirror.git.damaged and made anew");
                renew(path, &Damage::of(path, &mut Verified::default())).map_err(|_| error)?;
                Self::open(path)?
            }
            Err(error) => return Err(error),
        };
        mirror.mended.verified = Verified::read(path);
        mirror.mend_found();
        Ok(mirror)
    }

    /// Goes on with what is to be looked at while nobody asks for anything; whether damage was found, and the mirror mended.
    pub(super) fn look_over(&mut self) -> bool {
        if !self.mended.verified.go_on(&self.path) {
            return false;
        }
        self.mended.at = None;
        self.mend()
    }

    /// Sets it aside where it is damaged, and goes on with a new one; whether it was. What was found whole a moment ago is not
    /// looked at again.
    pub(super) fn mend(&mut self) -> bool {
        if self.mended.at.is_some_and(|at| at.elapsed() < MEND_AGAIN) {
            return false;
        }
        self.mended.at = Some(Instant::now());
        // What could not be read may be as it was for all that the file system knows.
        self.mended.verified.forget();
        self.mend_found()
    }

    /// Mends what is found of those objects that are new or changed since they were hashed.
    fn mend_found(&mut self) -> bool {
        let damage = Damage::of(&self.path, &mut self.mended.verified);
        if damage.files.is_empty() {
            return false;
        }
        self.mended.found = true;
        tracing::warn!(
            damaged = damage.files.len(),
            first = damage.said.join("; "),
            references = damage.references.join(" "),
            "the mirror is damaged; it is set aside as mirror.git.damaged, and what it lacks is copied again"
        );
        if let Err(error) = renew(&self.path, &damage) {
            // A mirror that is a file system of its own cannot be renamed.
            tracing::warn!(%error, "the mirror cannot be set aside; what is damaged in it is removed");
            for file in &damage.files {
                let _ = fs::remove_file(file);
            }
        }
        match Repository::open_bare(&self.path) {
            Ok(repository) => self.repository = repository,
            Err(error) => tracing::warn!(%error, "the mirror cannot be opened again"),
        }
        // What it says of the files that are here is no longer so.
        self.forget();
        true
    }

    /// Whether there is something by this id, sound or not.
    pub(super) fn holds(&self, id: &str) -> bool {
        Oid::from_str(id).is_ok_and(|id| self.repository.odb().is_ok_and(|objects| objects.exists(id)))
    }

    /// Copies a commit from where it is, and reads it; how many objects that were. What is here and cannot be read is written anew.
    pub(super) fn bring(&mut self, origin: &Origin<'_>, id: &str) -> Result<(usize, Tree), GitError> {
        let held = self.holds(id);
        let copied = self.copy(origin, id, held)?;
        match self.tree(id, origin.subpath) {
            // A folder that is here lacks what is in it.
            Err(GitError::Mirror { .. }) if !held => {
                let more = self.copy(origin, id, true)?;
                Ok((copied + more, self.tree(id, origin.subpath)?))
            }
            read => Ok((copied, read?)),
        }
    }
}

impl Owner {
    /// The revision's files. Where the mirror cannot be read, it is mended first, and what was put together is put together again.
    pub(super) fn tree_mended(&mut self, id: &str) -> Result<Tree, GitError> {
        let read = self.tree(id);
        let is_suspect = match &read {
            Err(GitError::UnknownRevision { .. }) => self.mirror.holds(id) || self.mirror.is_composite(id),
            other => is_damage(other),
        };
        if !is_suspect {
            return read;
        }
        let mended = self.mirror.mend();
        let again = match &self.source {
            Source::Directory { .. } if mended => {
                self.last_directory = None;
                self.head().map(drop)
            }
            Source::Sources(_) if self.mirror.is_composite(id) => self.compose_again(id),
            _ if mended => Ok(()),
            _ => return read,
        };
        if let Err(error) = again {
            tracing::warn!(revision = id, %error, "what the mirror lacks could not be had again");
            return read;
        }
        self.tree(id)
    }

    /// Puts sources together. Where the mirror cannot be read, it is mended, and their commits are copied again.
    pub(super) fn compose_mended(&mut self, parts: &[Part]) -> Result<Revision, GitError> {
        let composed = self.mirror.compose(parts);
        if !is_damage(&composed) {
            return composed;
        }
        self.mirror.mend();
        for part in parts {
            self.bring(&part.name, &part.revision.id)?;
        }
        self.mirror.compose(parts)
    }

    /// The commit of a source that was kept last. What the mirror lacks of it is copied again from what was fetched.
    pub(super) fn source_mended(
        &mut self,
        name: &str,
        subpath: Option<&str>,
    ) -> Result<Option<(Revision, Tree)>, GitError> {
        let found = self.mirror.source(name, subpath);
        if matches!(found, Ok(Some(_))) {
            return found;
        }
        let Some(id) = self.mirror.kept_of(name) else { return found };
        // Of another folder of that commit, which nobody has found good, nothing is taken.
        if !self.mirror.mend() && !self.mirror.mended.found {
            return found;
        }
        match self.bring(name, &id) {
            Ok(_) => self.mirror.source(name, subpath),
            Err(error) => {
                tracing::warn!(source = name, revision = id, %error, "the commit that was good last cannot be had again");
                found
            }
        }
    }

    /// Copies a source's commit from where it was fetched to.
    fn bring(&mut self, name: &str, id: &str) -> Result<Part, GitError> {
        let unknown = || GitError::UnknownRevision { revision: id.to_owned() };
        let Source::Sources(sources) = &self.source else { return Err(unknown()) };
        let settings = sources.0.iter().find(|source| source.name == name).ok_or_else(unknown)?;
        let path = room_of(&self.mirror.path, settings);
        let repository = open(&path)?;
        let origin = Origin { repository: &repository, path: &path, subpath: settings.subpath.as_deref() };
        self.mirror.bring(&origin, id)?;
        let revision = self.mirror.revision(id)?.ok_or_else(unknown)?;
        let (mount, subpath) = (settings.mount.clone(), settings.subpath.clone());
        Ok(Part { name: name.to_owned(), mount, subpath, revision })
    }

    /// Puts together what was put together before: of the commits that it names, or, where it cannot be read itself, of those that
    /// were used last.
    fn compose_again(&mut self, id: &str) -> Result<(), GitError> {
        let unknown = || GitError::UnknownRevision { revision: id.to_owned() };
        let named = match self.mirror.revision(id)? {
            Some(revision) => parts_of(&revision.message),
            None => {
                let Source::Sources(sources) = &self.source else { return Err(unknown()) };
                let used = |(index, name): (usize, &String)| {
                    let taken = || self.mirror.taken_of(name).filter(|_| index == 0);
                    Some((name.clone(), self.mirror.kept_of(name).or_else(taken)?))
                };
                let names: Vec<String> = sources.0.iter().map(|source| source.name.clone()).collect();
                names.iter().enumerate().filter_map(used).collect()
            }
        };
        let mut parts = Vec::new();
        for (name, commit) in named {
            parts.push(self.bring(&name, &commit)?);
        }
        if self.mirror.compose(&parts)?.id == id { Ok(()) } else { Err(unknown()) }
    }
}

impl Damage {
    /// Goes through all files of a mirror: ours are loose. Those that are known to be whole are not read.
    fn of(path: &Path, verified: &mut Verified) -> Self {
        let mut damage = Self::default();
        let mut objects = HashSet::new();
        verified.look(path, |id, file, error| {
            if damage.said.len() < NAMED {
                damage.said.push(error.message().to_owned());
            }
            damage.files.insert(file);
            objects.insert(id);
        });
        for (name, file) in references(path) {
            match fs::read_to_string(&file).map(|text| id_in(&text)) {
                Ok(Some(id)) if objects.contains(&id) => damage.references.push(name),
                Ok(None) => {
                    damage.said.push(format!("{name} holds no id of a commit"));
                    damage.files.insert(file);
                }
                _ => {}
            }
        }
        damage.references.sort();
        damage
    }
}

/// Whether this is what a mirror says that cannot be read.
fn is_damage<T>(answer: &Result<T, GitError>) -> bool {
    matches!(answer, Err(GitError::Mirror { .. } | GitError::UnknownRevision { .. }))
}

/// Whether a mirror that cannot be opened is there, and ours to read: another's is nobody's to move away.
fn is_garbage(path: &Path) -> bool {
    let readable = |name: &str| match fs::read(path.join(name)) {
        Ok(_) => true,
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    path.join("objects").is_dir() && readable("HEAD") && readable("config")
}

/// Makes a new mirror of what is whole in this one, and changes their places. Objects are linked, not copied: nothing is ever
/// written into one.
fn renew(path: &Path, damage: &Damage) -> io::Result<()> {
    let (new, aside) = (beside(path, ".new"), beside(path, ".damaged"));
    remove(&new)?;
    let made = fill(path, &new, damage);
    if made.is_err() {
        remove(&new)?;
    }
    made?;
    remove(&aside)?;
    fs::rename(path, &aside)?;
    fs::rename(&new, path)?;
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(above)?.sync_all()
}

fn fill(path: &Path, new: &Path, damage: &Damage) -> io::Result<()> {
    drop(Mirror::open(new).map_err(io::Error::other)?);
    let mut files: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for (id, file) in loose_objects(path) {
        let (first, rest) = (&id.to_string()[..2], &id.to_string()[2..]);
        files.insert(new.join("objects").join(first).join(rest), file);
    }
    // Git may have been told to pack them.
    for file in fs::read_dir(path.join("objects/pack")).into_iter().flatten().filter_map(Result::ok) {
        files.insert(new.join("objects/pack").join(file.file_name()), file.path());
    }
    for (to, from) in files.iter().filter(|(_, from)| !damage.files.contains(*from)) {
        fs::create_dir_all(to.parent().unwrap_or(new))?;
        if fs::hard_link(from, to).is_err() {
            fs::copy(from, to)?;
        }
    }
    if path.join("packed-refs").is_file() {
        fs::copy(path.join("packed-refs"), new.join("packed-refs"))?;
    }
    for (name, file) in references(path).into_iter().filter(|(_, file)| !damage.files.contains(file)) {
        let to = new.join(name);
        fs::create_dir_all(to.parent().unwrap_or(new))?;
        fs::copy(file, to)?;
    }
    rustix::fs::syncfs(&fs::File::open(new)?).map_err(Into::into)
}

/// The files of loose objects.
pub(super) fn loose_objects(path: &Path) -> Vec<(Oid, PathBuf)> {
    let mut found = Vec::new();
    for first in (0..=u8::MAX).map(|first| format!("{first:02x}")) {
        let folder = path.join("objects").join(&first);
        for file in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            let id = format!("{first}{}", file.file_name().to_string_lossy());
            if let Some(id) = id_in(&id) {
                found.push((id, file.path()));
            }
        }
    }
    found
}

/// References that are files of their own, with their names.
fn references(path: &Path) -> Vec<(String, PathBuf)> {
    fn add(folder: &Path, name: &str, depth: usize, found: &mut Vec<(String, PathBuf)>) {
        for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
            let name = format!("{name}/{}", entry.file_name().to_string_lossy());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < REFERENCES_DEPTH => add(&entry.path(), &name, depth + 1, found),
                Ok(kind) if kind.is_file() && !name.ends_with(".lock") => found.push((name, entry.path())),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    add(&path.join("refs"), "refs", 0, &mut found);
    found
}

fn id_in(text: &str) -> Option<Oid> {
    let text = text.trim_end();
    Oid::from_str(text).ok().filter(|_| text.len() == 40)
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(end);
    path.with_file_name(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
