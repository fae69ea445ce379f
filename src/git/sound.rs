//! Whether the source's own repository still holds all that its newest commit is made of. The mirror serves on without it, but
//! nobody could clone it, and most likely nobody could push: that is to be known before somebody tries.
//!
//! What was found whole is not read again while its file stands as it stood: a look costs one question to the file system for
//! each object that is a file of its own, and one for each pack.

use super::GitError;
use super::limits::OBJECT_BYTES;
use super::loose::Loose;
use super::mirror::Mirror;
use super::owner::{head_of, open};
use git2::{ObjectType, Odb, Oid, Repository};
use std::collections::HashMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Objects of earlier commits are forgotten once there are so many beside as many again as the commit has.
const FORGOTTEN_AFTER: usize = 1_000;

/// A file's inode, length and times.
pub(super) type Stamp = (u64, u64, i64, i64);

/// Objects that were found whole: the file of each, or none of its own: in a pack.
type Whole = HashMap<Oid, Option<(PathBuf, Stamp)>>;

/// Reads all that the newest commit of a repository on this disk is made of, whatever was read before; which commit that is.
///
/// # Errors
/// [`GitError`]: it cannot be read, or something of it is damaged or gone.
pub fn read_through(path: &Path, branch: Option<&str>) -> Result<String, GitError> {
    let (revision, repository) = (head_of(path, branch)?, open(path)?);
    let head = Oid::from_str(&revision.id).map_err(|_| GitError::BadReference { name: revision.id.clone() })?;
    let damaged = |message| GitError::Damaged { revision: revision.id.clone(), path: path.to_owned(), message };
    Sound::default().look(&repository, head, None).map_err(damaged)?;
    Ok(revision.id)
}

/// Puts an object of our own repository back from the mirror, where it is damaged or gone there; whether it was.
pub(super) fn put_back(path: &Path, id: &str, mirror: &Mirror) -> bool {
    let Ok(id) = Oid::from_str(id) else { return false };
    let Some((kind, bytes)) = taken(mirror, id) else { return false };
    let Ok(repository) = open(path) else { return false };
    let text = id.to_string();
    let (first, rest) = text.split_at(2);
    // libgit2 does not write over what is there.
    let _ = std::fs::remove_file(repository.commondir().join("objects").join(first).join(rest));
    let written = repository.odb().and_then(|odb| odb.write(kind, &bytes));
    if written.is_ok() {
        tracing::warn!(
            repository = %path.display(), object = %id,
            "an object of the repository was damaged or gone, and was put back from the mirror"
        );
    }
    written.is_ok()
}

/// What was found at the last look.
#[derive(Debug, Default)]
pub(super) struct Sound {
    /// The commit.
    head: Option<Oid>,
    /// Packs, as they stood.
    packs: Vec<(PathBuf, Stamp)>,
    /// Objects that were found whole, of this commit and of some before it: where they are, or in a pack. A folder is among them with
    /// all that is in it, where nothing is wrong.
    whole: Whole,
    /// How many they were when all were looked at.
    all: usize,
    /// How many were looked at for the last commit.
    asked: usize,
    /// What is wrong.
    wrong: Option<String>,
}

/// A repository that is looked at.
struct Reader<'a> {
    repository: &'a Repository,
    loose: Loose,
    odb: Odb<'a>,
    objects: PathBuf,
    /// Where objects that are damaged are taken from; none: nothing is written.
    mirror: Option<&'a Mirror>,
    mended: usize,
    asked: usize,
}

impl Sound {
    /// Looks; what is wrong, where something is. `mirror`: the repository is our own, and what it has lost is put back from there.
    pub(super) fn look(&mut self, repository: &Repository, head: Oid, mirror: Option<&Mirror>) -> Result<(), String> {
        let packs = packs(repository.commondir());
        // A pack more, as a large push brings one, says nothing of those that were there.
        let fewer = !self.packs.iter().all(|pack| packs.contains(pack));
        if fewer {
            self.whole.retain(|_, place| place.is_some());
        }
        let changed = fewer || self.whole.values().flatten().any(|(path, stamp)| stamp_of(path) != Some(*stamp));
        if self.head != Some(head) || changed || self.wrong.is_some() {
            // Else a commit costs what it changes: what it has in common with those before is not looked at again.
            let anew =
                changed || self.wrong.is_some() || self.whole.len() > self.all.saturating_mul(2) + FORGOTTEN_AFTER;
            self.wrong = self.read(repository, head, mirror, anew).err().map(|error| error.message().to_owned());
            if anew {
                self.all = self.whole.len();
            }
            self.head = Some(head);
        }
        self.packs = packs;
        self.wrong.clone().map_or(Ok(()), Err)
    }

    fn read(
        &mut self,
        repository: &Repository,
        head: Oid,
        mirror: Option<&Mirror>,
        anew: bool,
    ) -> Result<(), git2::Error> {
        let objects = repository.commondir().join("objects");
        let loose = Loose::of(repository);
        let mut reader = Reader { repository, loose, odb: repository.odb()?, objects, mirror, mended: 0, asked: 0 };
        let known = std::mem::take(&mut self.whole);
        let (before, mut whole) = if anew { (known, Whole::new()) } else { (Whole::new(), known) };
        let found = reader.walk(head, &before, &mut whole);
        self.asked = reader.asked;
        tracing::debug!(objects = self.asked, "a repository on this disk was looked at");
        if reader.mended > 0 {
            tracing::warn!(
                repository = %repository.path().display(), objects = reader.mended,
                "objects of the repository were damaged or gone, and were put back from the mirror"
            );
        }
        // Also where something is wrong: what was found whole until then is not read at each look.
        self.whole = whole;
        found
    }
}

impl Reader<'_> {
    /// All that a commit is made of, with where it is.
    fn walk(&mut self, head: Oid, before: &Whole, whole: &mut Whole) -> Result<(), git2::Error> {
        self.object(head, before, whole)?;
        let mut folders = vec![self.repository.find_commit(head)?.tree_id()];
        while let Some(folder) = folders.pop() {
            if whole.contains_key(&folder) {
                continue;
            }
            self.object(folder, before, whole)?;
            for entry in &self.repository.find_tree(folder)? {
                match entry.kind() {
                    Some(ObjectType::Tree) => folders.push(entry.id()),
                    Some(ObjectType::Blob) if !whole.contains_key(&entry.id()) => {
                        self.object(entry.id(), before, whole)?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    fn object(&mut self, id: Oid, before: &Whole, whole: &mut Whole) -> Result<(), git2::Error> {
        self.asked += 1;
        let text = id.to_string();
        let (first, rest) = text.split_at(2);
        let path = self.objects.join(first).join(rest);
        let place = stamp_of(&path).map(|stamp| (path.clone(), stamp));
        if before.get(&id).is_some_and(|known| *known == place) {
            whole.insert(id, place);
            return Ok(());
        }
        let found = self.read(id);
        if let Err(error) = found {
            let Some(bytes) = self.mirror.and_then(|mirror| taken(mirror, id)) else {
                return Err(git2::Error::new(error.code(), error.class(), format!("object {id}: {}", error.message())));
            };
            // libgit2 does not write over what is there.
            let _ = std::fs::remove_file(&path);
            self.odb.write(bytes.0, &bytes.1)?;
            self.mended += 1;
            self.read(id)?;
        }
        whole.insert(id, stamp_of(&path).map(|stamp| (path, stamp)));
        Ok(())
    }
}

impl Reader<'_> {
    fn read(&self, id: Oid) -> Result<(), git2::Error> {
        read_object(&self.loose, &self.odb, id)
    }
}

/// Reads an object. What is too large to be content, a picture beside it, is not read by anybody here.
pub(super) fn read_object(loose: &Loose, odb: &Odb<'_>, id: Oid) -> Result<(), git2::Error> {
    let size = match loose.find(id)? {
        Some(object) => object.size,
        None => odb.read_header(id)?.0,
    };
    if size > OBJECT_BYTES {
        return Ok(());
    }
    loose.check(id)?;
    odb.read(id).map(drop)
}

/// An object that the mirror holds whole.
fn taken(mirror: &Mirror, id: Oid) -> Option<(ObjectType, Vec<u8>)> {
    mirror.loose.check(id).ok()?;
    let odb = mirror.repository.odb().ok()?;
    let object = odb.read(id).ok()?;
    Some((object.kind(), object.data().to_vec()))
}

pub(super) fn stamp_of(path: &Path) -> Option<Stamp> {
    let about = path.metadata().ok()?;
    Some((about.ino(), about.len(), about.mtime(), about.mtime_nsec()))
}

fn packs(repository: &Path) -> Vec<(PathBuf, Stamp)> {
    let entries = std::fs::read_dir(repository.join("objects/pack")).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries.filter_map(|entry| Some((entry.path(), stamp_of(&entry.path())?))).collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;

    fn object(repository: &TestRepository, name: &str) -> PathBuf {
        let id = repository.git_bare(&["rev-parse", name]);
        let (first, rest) = id.trim().split_at(2);
        repository.bare().join("objects").join(first).join(rest)
    }

    fn spoil(path: &Path) {
        let mut bytes = std::fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0xff;
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn what_a_repository_has_lost_of_its_head_is_known_at_the_next_look() {
        for (name, packed) in
            [("HEAD:a/b", false), ("HEAD:a", false), ("HEAD^{tree}", false), ("HEAD", false), ("HEAD:a/b", true)]
        {
            for gone in [false, true] {
                let repository = TestRepository::new();
                let head = repository.push("one", &[("a/b", "the text of a file"), ("c", "another")]);
                let mut sound = Sound::default();
                let mut file = object(&repository, name);
                if packed {
                    repository.git_bare(&["repack", "-a", "-d", "-q"]);
                    let packs = packs(&repository.bare());
                    file = packs
                        .iter()
                        .find(|(path, _)| path.extension().is_some_and(|it| it == "pack"))
                        .unwrap()
                        .0
                        .clone();
                }
                let mut look = || {
                    let opened = Repository::open_bare(repository.bare()).unwrap();
                    sound.look(&opened, Oid::from_str(&head).unwrap(), None)
                };
                assert_eq!(look(), Ok(()));
                assert_eq!(look(), Ok(()));
                let good = std::fs::read(&file).unwrap();
                if gone {
                    std::fs::remove_file(&file).unwrap()
                } else {
                    spoil(&file)
                }
                assert!(look().is_err(), "{name}, gone: {gone}");
                assert!(look().is_err(), "{name}, gone: {gone}, still");
                assert!(read_through(&repository.bare(), Some("main")).is_err(), "{name}, gone: {gone}");
                let _ = std::fs::remove_file(&file);
                std::fs::write(&file, good).unwrap();
                assert_eq!(look(), Ok(()), "{name}: put back");
                assert_eq!(read_through(&repository.bare(), None), Ok(head.clone()));
            }
        }
    }

    #[test]
    fn a_commit_costs_what_it_changes_and_what_it_has_in_common_is_still_known_to_be_lost() {
        let repository = TestRepository::new();
        let files: Vec<(String, String)> = (0..40).map(|n| (format!("f{}/m{n}", n % 4), format!("{n}"))).collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let first = repository.push("one", &files);
        let mut sound = Sound::default();
        let mut look = |head: &str| {
            let opened = Repository::open_bare(repository.bare()).unwrap();
            let found = sound.look(&opened, Oid::from_str(head).unwrap(), None);
            (found, sound.asked)
        };
        // The commit, five folders, forty files.
        assert_eq!(look(&first), (Ok(()), 46));
        // The commit, two folders, a file; in a pack of its own too.
        let second = repository.push("two", &[("f1/m1", "other")]);
        assert_eq!(look(&second), (Ok(()), 4));
        repository.git_bare(&["repack", "-q"]);
        let third = repository.push("three", &[("f2/m2", "a third")]);
        assert_eq!(look(&third), (Ok(()), 4));
        // What all three have.
        let file = object(&repository, "HEAD:f3/m3");
        std::fs::remove_file(&file).unwrap();
        repository.git_bare(&["prune-packed"]);
        for pack in packs(&repository.bare()) {
            std::fs::remove_file(pack.0).unwrap();
        }
        assert!(look(&third).0.is_err());
    }

    #[test]
    fn what_our_own_repository_has_lost_is_put_back_from_the_mirror() {
        let repository = TestRepository::new();
        let head = repository.push("one", &[("a/b", "the text of a file"), ("c", "another")]);
        let copy = repository.beside("copy.git");
        repository.git(&["clone", "-q", "--bare", &repository.bare().to_string_lossy(), &copy.to_string_lossy()]);
        let mirror = Mirror::borrowed(&copy, Repository::open_bare(&copy).unwrap());
        for name in ["HEAD:a/b", "HEAD:a", "HEAD^{tree}", "HEAD"] {
            for gone in [false, true] {
                let file = object(&repository, name);
                if gone {
                    std::fs::remove_file(&file).unwrap()
                } else {
                    spoil(&file)
                }
                let opened = Repository::open_bare(repository.bare()).unwrap();
                let mut sound = Sound::default();
                assert_eq!(sound.look(&opened, Oid::from_str(&head).unwrap(), Some(&mirror)), Ok(()), "{name}");
                repository.git_bare(&["fsck", "--strict"]);
            }
        }
    }
}
