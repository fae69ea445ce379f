//! The image folder: files beneath one directory, opened so that no name leads out of it, and served only with the bytes that
//! content declares.

use arc_swap::ArcSwap;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A folder whose files are served. Names are resolved by the kernel beneath the folder's handle: neither `..` nor a
/// symbolic link nor a rename under way leads out.
#[derive(Debug)]
pub struct Folder {
    handle: OwnedFd,
    /// Checksums that the applied revision declares.
    declared: ArcSwap<Declared>,
    /// Checksums that were taken. Its lock is held while one is: two boots at once cost one reading.
    sums: Mutex<Sums>,
}

/// By path, the SHA-256 (hexadecimal) that a file may have; one with none, and a file that is not in it, may have any.
pub type Declared = BTreeMap<String, BTreeSet<String>>;

#[derive(Debug, Default)]
struct Sums {
    /// By path: the validator of the file that was read, and its checksum.
    taken: HashMap<String, (String, String)>,
    /// What older revisions, which runs are pinned to, declare and found.
    accepted: HashSet<(String, String)>,
}

/// Why a file is not served.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is no regular file beneath the folder.
    #[error("{0} is not in the image folder: put it there")]
    Missing(String),
    /// It has other bytes than content says.
    #[error(
        "{path} in the image folder has the SHA-256 {found}, content says {wanted}: put the right file there, or correct `sha256`"
    )]
    Wrong {
        /// The file.
        path: String,
        /// What it has.
        found: String,
        /// What it should have.
        wanted: String,
    },
    /// The disk.
    #[error("{path} in the image folder cannot be read: {error}")]
    Disk {
        /// The file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
}

/// A file that is open and what is known of it.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub file: File,
    /// Its length, bytes.
    pub length: u64,
    /// A strong validator: changes whenever the content does.
    pub tag: String,
}

impl Folder {
    /// Opens a folder.
    ///
    /// # Errors
    /// When it is none or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        let handle = openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Ok(Self { handle, declared: ArcSwap::default(), sums: Mutex::default() })
    }

    /// What the applied revision declares.
    pub fn declare(&self, declared: Declared) {
        self.declared.store(Arc::new(declared));
    }

    /// Opens a file to serve it. Reads it once after each change where content declares a checksum; blocks as long.
    ///
    /// # Errors
    /// [`FileError`] says why it is not served.
    pub fn checked(&self, path: &str) -> Result<Opened, FileError> {
        let opened = self.open_named(path)?;
        let declared = self.declared.load();
        if let Some(wanted) = declared.get(path).filter(|wanted| !wanted.is_empty()) {
            let found = self.sum(path, &opened)?;
            let older = || self.sums().accepted.contains(&(path.to_owned(), found.clone()));
            if !wanted.contains(&found) && !older() {
                let wanted = wanted.iter().cloned().collect::<Vec<_>>().join(" or ");
                return Err(FileError::Wrong { path: path.to_owned(), found, wanted });
            }
        }
        Ok(opened)
    }

    /// Whether a file has the checksum that some revision in use declares; then it is served though a newer one declares
    /// another. Blocks.
    ///
    /// # Errors
    /// [`FileError`] says why it is no good.
    pub fn check(&self, path: &str, wanted: &str) -> Result<(), FileError> {
        let wanted = wanted.to_ascii_lowercase();
        let found = self.sum(path, &self.open_named(path)?)?;
        if found != wanted {
            return Err(FileError::Wrong { path: path.to_owned(), found, wanted });
        }
        self.sums().accepted.insert((path.to_owned(), found));
        Ok(())
    }

    /// Files that the applied revision declares and that are not there. Reads none.
    pub fn missing(&self) -> Vec<String> {
        let declared = self.declared.load();
        declared.keys().filter(|path| self.file(path).is_err()).cloned().collect()
    }

    /// What is wrong with the files that the applied revision declares, by path. Blocks.
    pub fn troubles(&self) -> BTreeMap<String, String> {
        let declared = self.declared.load_full();
        let wrong = |path: &String| Some((path.clone(), self.checked(path).err()?.to_string()));
        declared.keys().filter_map(wrong).collect()
    }

    fn open_named(&self, path: &str) -> Result<Opened, FileError> {
        self.file(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => FileError::Missing(path.to_owned()),
            _ => FileError::Disk { path: path.to_owned(), error },
        })
    }

    fn sums(&self) -> MutexGuard<'_, Sums> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file's SHA-256, taken anew only where its validator has changed.
    fn sum(&self, path: &str, opened: &Opened) -> Result<String, FileError> {
        let mut sums = self.sums();
        if let Some((tag, sum)) = sums.taken.get(path)
            && *tag == opened.tag
        {
            return Ok(sum.clone());
        }
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        let mut piece = vec![0; 256 << 10];
        let mut offset = 0;
        loop {
            // By place: the handle that is served stays at the beginning.
            match opened.file.read_at(&mut piece, offset) {
                Ok(0) => break,
                Ok(size) => {
                    context.update(piece.get(..size).unwrap_or_default());
                    offset += size as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(FileError::Disk { path: path.to_owned(), error }),
            }
        }
        let sum = context.finish().as_ref().iter().fold(String::with_capacity(64), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        });
        sums.taken.insert(path.to_owned(), (opened.tag.clone(), sum.clone()));
        Ok(sum)
    }

    /// Opens a regular file by its path beneath the folder. Blocks as long as the disk does.
    ///
    /// # Errors
    /// `NotFound` for whatever is not a regular file beneath the folder; other errors are the disk's.
    pub fn file(&self, path: &str) -> io::Result<Opened> {
        let missing = || io::Error::from(io::ErrorKind::NotFound);
        if path.is_empty() || path.len() > 1024 || path.contains('\0') {
            return Err(missing());
        }
        // NONBLOCK: a pipe put there must not hang the thread that opens it.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let descriptor = openat2(&self.handle, path, flags, Mode::empty(), resolve).map_err(|errno| match errno {
            rustix::io::Errno::XDEV
            | rustix::io::Errno::LOOP
            | rustix::io::Errno::NOTDIR
            | rustix::io::Errno::INVAL => missing(),
            other => other.into(),
        })?;
        let status = fstat(&descriptor)?;
        if FileType::from_raw_mode(status.st_mode) != FileType::RegularFile {
            return Err(missing());
        }
        let length = u64::try_from(status.st_size).map_err(|_| missing())?;
        let tag = format!("\"{:x}-{:x}-{:x}.{:x}\"", status.st_ino, length, status.st_mtime, status.st_mtime_nsec);
        Ok(Opened { file: File::from(descriptor), length, tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_served_only_with_the_bytes_that_content_declares() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().join("kernel");
        std::fs::write(&at, b"kernel").expect("written");
        let images = Folder::open(folder.path()).expect("opened");
        let declare = |sums: &[&str]| {
            let sums = sums.iter().map(|sum| (*sum).to_owned()).collect();
            images.declare(BTreeMap::from([("kernel".to_owned(), sums)]));
        };
        let wrong = || matches!(images.checked("kernel"), Err(FileError::Wrong { .. }));
        let right = "7f25a39a4e9a5ac3a4f7e4cbd5e6dbc3"; // no checksum at all
        declare(&[right]);
        assert!(wrong());
        let trouble = images.troubles().remove("kernel").expect("told");
        let found = trouble.split("SHA-256 ").nth(1).and_then(|rest| rest.split(',').next()).expect("a sum").to_owned();
        assert_eq!(found.len(), 64);
        declare(&[right, &found]);
        assert!(!wrong() && images.troubles().is_empty());
        // Another content is noticed by size or time, without reading what has not changed.
        std::fs::write(&at, b"colonel").expect("written");
        assert!(wrong());
        std::fs::write(&at, b"kernel").expect("written");
        assert!(!wrong());
        // A run that is pinned to the revision before still boots what that declares.
        declare(&[right]);
        assert!(wrong());
        assert!(images.check("kernel", right).is_err() && wrong());
        images.check("kernel", &found.to_ascii_uppercase()).expect("what it declares");
        assert!(!wrong());
        std::fs::remove_file(&at).expect("removed");
        assert!(matches!(images.checked("kernel"), Err(FileError::Missing(_))));
        assert_eq!(images.troubles().len(), 1);
        // One without a checksum may be anything, but not nothing.
        declare(&[]);
        assert_eq!((images.missing(), images.troubles().len()), (vec!["kernel".to_owned()], 1));
        std::fs::write(&at, b"whatever").expect("written");
        assert!(images.missing().is_empty() && images.troubles().is_empty());
    }

    #[test]
    fn no_name_leads_out_of_the_folder() {
        let outer = tempfile::tempdir().expect("a folder");
        let inner = outer.path().join("images");
        std::fs::create_dir_all(inner.join("a")).expect("made");
        std::fs::write(outer.path().join("secret"), b"secret").expect("written");
        std::fs::write(inner.join("a/kernel"), b"kernel").expect("written");
        std::os::unix::fs::symlink("../secret", inner.join("link")).expect("linked");
        std::os::unix::fs::symlink("a/kernel", inner.join("inside")).expect("linked");
        let folder = Folder::open(&inner).expect("opened");
        assert_eq!(folder.file("a/kernel").expect("there").length, 6);
        let absolute = outer.path().join("secret").display().to_string();
        for path in
            ["../secret", "a/../../secret", "link", "inside", "a", "", "/etc/passwd", &absolute, "a/kernel/x", "a\0"]
        {
            assert_eq!(folder.file(path).map(|_| ()).map_err(|e| e.kind()), Err(io::ErrorKind::NotFound), "{path}");
        }
    }
}
