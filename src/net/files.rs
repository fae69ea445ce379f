//! The image folder: files beneath one directory, opened so that no name leads out of it.

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// A folder whose files are served. Names are resolved by the kernel beneath the folder's handle: neither `..` nor a
/// symbolic link nor a rename under way leads out.
#[derive(Debug)]
pub struct Folder(OwnedFd);

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
        Ok(Self(openat(CWD, path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?))
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
        let descriptor = openat2(&self.0, path, flags, Mode::empty(), resolve).map_err(|errno| match errno {
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
