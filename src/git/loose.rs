//! Loose objects, read before libgit2 comes to them: of one whose stream is cut off (a power cut takes the end of what git
//! wrote last) libgit2 waits for the rest without an end, and its thread with it.
//!
//! A small object is a file of its own: `objects/AB/CDEF…`, a zlib stream of `KIND SIZE NUL CONTENT`. Those in packs are
//! indexed, and libgit2 finds what is cut off there.

use super::limits::OBJECT_BYTES;
use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The longest head of an object, bytes: as much as git itself looks at.
const HEAD_BYTES: usize = 32;
/// What is read of one file: more, and it holds more than any object that is read here.
const FILE_BYTES: u64 = 2 * OBJECT_BYTES as u64;
/// Folders of objects that lead to each other, as deep as git follows them.
const ALTERNATES_DEPTH: usize = 5;
/// The longest list of them, bytes.
const ALTERNATES_BYTES: u64 = 64 * 1024;

/// Where a repository keeps its objects.
#[derive(Debug, Clone, Default)]
pub(super) struct Loose {
    folders: Vec<PathBuf>,
}

/// An object whose head was read.
pub(super) struct LooseObject {
    pub kind: ObjectType,
    /// As its head says.
    pub size: usize,
    head: usize,
    /// The file, or its beginning where it is too large for any object that is read.
    stream: Vec<u8>,
}

/// A file's inode, length and times: another look, and it was checked.
type Stamp = (u64, u64, i64, i64);

/// Objects that were found whole.
#[derive(Debug, Default)]
pub(super) struct Checked(HashMap<PathBuf, Stamp>);

impl Loose {
    /// Those of a repository, and of the ones that it borrows from.
    pub(super) fn of(repository: &Repository) -> Self {
        let mut found = Self::default();
        found.add(&repository.commondir().join("objects"), 0);
        found
    }

    /// One more folder of objects.
    pub(super) fn and(mut self, folder: Option<&Path>) -> Self {
        if let Some(folder) = folder {
            self.add(folder, 0);
        }
        self
    }

    fn add(&mut self, folder: &Path, depth: usize) {
        if depth > ALTERNATES_DEPTH || self.folders.iter().any(|known| known == folder) {
            return;
        }
        self.folders.push(folder.to_owned());
        let mut text = String::new();
        let list = File::open(folder.join("info/alternates"));
        if list.is_ok_and(|list| list.take(ALTERNATES_BYTES).read_to_string(&mut text).is_ok()) {
            for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
                self.add(&folder.join(line), depth + 1);
            }
        }
    }

    /// An object that is loose; `None`: it is not, and may be in a pack.
    pub(super) fn find(&self, id: Oid) -> Result<Option<LooseObject>, git2::Error> {
        let id = id.to_string();
        let (first, rest) = id.split_at(2);
        for folder in &self.folders {
            let path = folder.join(first).join(rest);
            // What cannot be opened libgit2 cannot open either, and it says so.
            if let Ok(file) = File::open(&path) {
                return LooseObject::read(file).map(Some).map_err(|why| damaged(&path, &why));
            }
        }
        Ok(None)
    }

    /// Whether libgit2 may read this object whole: it is in a pack, or it is sound and not too large.
    pub(super) fn check(&self, id: Oid) -> Result<(), git2::Error> {
        self.find(id)?.map_or(Ok(()), |object| object.bytes(id).map(drop))
    }

    /// A commit that is sound.
    pub(super) fn commit<'a>(&self, repository: &'a Repository, id: Oid) -> Result<git2::Commit<'a>, git2::Error> {
        self.check(id)?;
        repository.find_commit(id)
    }

    /// A folder that is sound.
    pub(super) fn tree<'a>(&self, repository: &'a Repository, id: Oid) -> Result<git2::Tree<'a>, git2::Error> {
        self.check(id)?;
        repository.find_tree(id)
    }

    /// All that are loose, before libgit2 finds its own way through them; what was whole before is not read again.
    pub(super) fn check_all(&self, checked: &mut Checked) -> Result<(), git2::Error> {
        let mut now = HashMap::with_capacity(checked.0.len());
        for folder in &self.folders {
            for first in (0..=u8::MAX).map(|first| format!("{first:02x}")) {
                let Ok(entries) = std::fs::read_dir(folder.join(first)) else { continue };
                for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
                    let is_object = path.file_name().is_some_and(|name| name.len() == 38);
                    let Some(about) = path.metadata().ok().filter(|about| is_object && about.is_file()) else {
                        continue;
                    };
                    let stamp = (about.ino(), about.len(), about.mtime(), about.mtime_nsec());
                    if checked.0.get(&path) != Some(&stamp) {
                        // One that git packed away meanwhile is not loose any more.
                        let Ok(file) = File::open(&path) else { continue };
                        let object = LooseObject::read(file).map_err(|why| damaged(&path, &why))?;
                        // Too large to be content: a picture beside it, which nobody reads here.
                        if object.size <= OBJECT_BYTES {
                            object.content().map_err(|why| damaged(&path, &why))?;
                        }
                    }
                    now.insert(path, stamp);
                }
            }
        }
        checked.0 = now;
        Ok(())
    }
}

impl LooseObject {
    fn read(file: File) -> Result<Self, String> {
        let mut stream = Vec::new();
        file.take(FILE_BYTES).read_to_end(&mut stream).map_err(|error| error.to_string())?;
        let mut head = [0; HEAD_BYTES];
        let filled = inflate(&mut InflateState::new(DataFormat::Zlib), &stream, &mut head, MZFlush::None).bytes_written;
        let head = head.get(..filled).unwrap_or_default();
        let end = head.iter().position(|byte| *byte == 0).ok_or("it has no head, or is cut off in it")?;
        let text = head.get(..end).and_then(|head| std::str::from_utf8(head).ok());
        let (kind, size) = text.and_then(|text| text.split_once(' ')).ok_or("its head is not one of git's")?;
        let kind = ObjectType::from_str(kind).ok_or("its head names no kind of object")?;
        let size = size.parse().map_err(|_| "its head says no size")?;
        Ok(Self { kind, size, head: end + 1, stream })
    }

    /// Whether a file that should hold the object of this id could be looked at: one that cannot be opened is nobody's to judge.
    ///
    /// # Errors
    /// It does not hold it, or not all of it.
    pub(super) fn check_file(path: &Path, id: Oid) -> Result<bool, git2::Error> {
        let Ok(file) = File::open(path) else { return Ok(false) };
        let object = Self::read(file).map_err(|why| damaged(path, &why))?;
        if object.size <= OBJECT_BYTES {
            object.bytes(id)?;
        }
        Ok(true)
    }

    fn content(&self) -> Result<Vec<u8>, String> {
        let whole = self.head.saturating_add(self.size);
        let mut bytes = miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(&self.stream, whole)
            .map_err(|_| "its stream is cut off or damaged".to_owned())?;
        if bytes.len() != whole {
            return Err(format!("it says {} bytes and holds {}", self.size, bytes.len().saturating_sub(self.head)));
        }
        bytes.drain(..self.head);
        Ok(bytes)
    }

    /// What is in it, where it is what its id says.
    pub(super) fn bytes(self, id: Oid) -> Result<Vec<u8>, git2::Error> {
        if self.size > OBJECT_BYTES {
            return Err(wrong(format!("object {id} of {} bytes is too large to be content", self.size)));
        }
        let bytes = self.content().map_err(|why| wrong(format!("object {id} is corrupt: {why}")))?;
        if Oid::hash_object(self.kind, &bytes)? != id {
            return Err(wrong(format!("object {id} is corrupt: its content is another one's")));
        }
        Ok(bytes)
    }
}

fn damaged(path: &Path, why: &str) -> git2::Error {
    wrong(format!("the object {} is corrupt: {why}", path.display()))
}

fn wrong(message: String) -> git2::Error {
    git2::Error::new(ErrorCode::GenericError, ErrorClass::Odb, message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;

    struct Bed {
        repository: TestRepository,
        git: Repository,
    }

    impl Bed {
        fn new() -> Self {
            let repository = TestRepository::new();
            let git = Repository::open_bare(repository.bare()).unwrap();
            Self { repository, git }
        }

        fn blob(&self, bytes: &[u8]) -> (Oid, PathBuf) {
            let id = self.git.blob(bytes).unwrap();
            let (first, rest) = (id.to_string()[..2].to_owned(), id.to_string()[2..].to_owned());
            (id, self.repository.bare().join("objects").join(first).join(rest))
        }
    }

    fn replace(path: &Path, bytes: &[u8]) {
        std::fs::remove_file(path).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_whole_object_is_read_as_it_was_written() {
        let bed = Bed::new();
        let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for bytes in [b"".as_slice(), b"x", &noise] {
            let (id, _) = bed.blob(bytes);
            let object = Loose::of(&bed.git).find(id).unwrap().expect("it is loose");
            assert_eq!((object.kind, object.size), (ObjectType::Blob, bytes.len()));
            assert_eq!(object.bytes(id).unwrap(), bytes);
        }
        assert!(Loose::of(&bed.git).find(Oid::from_bytes(&[7; 20]).unwrap()).unwrap().is_none());
    }

    // Before, libgit2 was asked, and never answered.
    #[test]
    fn an_object_that_is_cut_off_anywhere_is_corrupt() {
        let bed = Bed::new();
        let (id, path) = bed.blob(b"kind: Machine\nmetadata: {name: node-1}\n");
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            replace(&path, &whole[..length]);
            let error = Loose::of(&bed.git).check(id).expect_err("cut off");
            assert!(error.message().contains("corrupt"), "{length}: {error}");
            let all = Loose::of(&bed.git).check_all(&mut Checked::default());
            assert!(all.is_err(), "{length}");
        }
        replace(&path, &whole);
        assert!(Loose::of(&bed.git).check(id).is_ok());
    }

    #[test]
    fn an_object_that_is_another_ones_or_lies_about_its_size_is_corrupt() {
        let bed = Bed::new();
        let (id, path) = bed.blob(b"one");
        let (_, other) = bed.blob(b"two");
        let press = |bytes: &[u8]| miniz_oxide::deflate::compress_to_vec_zlib(bytes, 6);
        for (what, bytes) in [
            ("another's", std::fs::read(other).unwrap()),
            ("too much", press(b"blob 2\0one")),
            ("too little", press(b"blob 4\0one")),
            ("no size", press(b"blob x\0one")),
            ("no kind", press(b"blub 3\0one")),
            ("no end of its head", press(&[b'1'; 100])),
            ("a size that no memory holds", press(b"blob 18446744073709551615\0one")),
            ("nothing of the kind", b"garbage".to_vec()),
        ] {
            replace(&path, &bytes);
            assert!(Loose::of(&bed.git).check(id).is_err(), "{what}");
        }
    }

    // A few bytes unpack to more than there is memory.
    #[test]
    fn what_is_too_large_by_its_head_is_not_unpacked() {
        let bed = Bed::new();
        let (id, path) = bed.blob(b"one");
        let bomb = [format!("blob {}\0", 1_usize << 40).as_bytes(), &[0; 4096]].concat();
        replace(&path, &miniz_oxide::deflate::compress_to_vec_zlib(&bomb, 6));
        let object = Loose::of(&bed.git).find(id).unwrap().expect("it is loose");
        assert_eq!(object.size, 1 << 40);
        let error = object.bytes(id).expect_err("too large");
        assert!(error.message().contains("too large"), "{error}");
    }

    #[test]
    fn what_was_found_whole_is_not_read_again_until_it_is_another_file() {
        let bed = Bed::new();
        let (_, path) = bed.blob(b"one");
        let (loose, mut checked) = (Loose::of(&bed.git), Checked::default());
        loose.check_all(&mut checked).unwrap();
        assert_eq!(checked.0.len(), 1);
        loose.check_all(&mut checked).unwrap();
        let whole = std::fs::read(&path).unwrap();
        replace(&path, &whole[..whole.len() / 2]);
        assert!(loose.check_all(&mut checked).is_err());
    }

    #[test]
    fn objects_that_a_repository_borrows_are_looked_for_where_they_are() {
        let bed = Bed::new();
        let (id, path) = bed.blob(b"one");
        let borrowing = Repository::init_bare(bed.repository.beside("borrowing.git")).unwrap();
        let objects = borrowing.path().join("objects");
        std::fs::create_dir_all(objects.join("info")).unwrap();
        std::fs::write(objects.join("info/alternates"), "# another's\n../../site.git/objects\n").unwrap();
        assert!(Loose::of(&borrowing).find(id).unwrap().is_some());
        replace(&path, b"");
        assert!(Loose::of(&borrowing).check(id).is_err());
        // Two that borrow from each other are no way without an end.
        std::fs::create_dir_all(bed.repository.bare().join("objects/info")).unwrap();
        std::fs::write(bed.repository.bare().join("objects/info/alternates"), objects.to_str().unwrap()).unwrap();
        assert!(Loose::of(&borrowing).check(id).is_err());
    }
}
