//! A cpio archive in the kernel's `newc` form: files laid over an initial RAM disk. The same files give the same bytes.
//! (Documentation/driver-api/early-userspace/buffer-format.rst of the Linux kernel.)

use std::collections::BTreeMap;

/// A file of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayFile<'a> {
    /// Its path in the RAM disk, such as `formwork/boot.json`; a leading slash is taken off.
    pub path: &'a str,
    /// Its permission bits, such as `0o600`.
    pub mode: u32,
    /// What is in it.
    pub bytes: &'a [u8],
}

/// Why an overlay cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OverlayError {
    /// Empty, with `..` or an empty part, or with a zero byte.
    #[error("`{0}` is no path of a file in an overlay")]
    Path(String),
    /// One path twice, or a file where another needs a directory.
    #[error("`{0}` is in the overlay twice")]
    Twice(String),
    /// A file that the form cannot hold.
    #[error("`{0}` is too large for an overlay")]
    TooLarge(String),
}

const DIRECTORY: u32 = 0o040_755;
const REGULAR: u32 = 0o100_000;

/// Writes an archive. Directories come before what is in them, everything belongs to root, times are zero.
///
/// # Errors
/// A path or size that cannot be.
pub fn cpio(files: &[OverlayFile<'_>]) -> Result<Vec<u8>, OverlayError> {
    let mut entries: BTreeMap<String, (u32, &[u8])> = BTreeMap::new();
    for file in files {
        let path = file.path.strip_prefix('/').unwrap_or(file.path);
        let wrong = path.is_empty() || path.contains('\0') || path.split('/').any(|p| matches!(p, "" | "." | ".."));
        if wrong {
            return Err(OverlayError::Path(file.path.to_owned()));
        }
        for (place, _) in path.match_indices('/') {
            let directory = path.get(..place).unwrap_or_default();
            let entry = entries.entry(directory.to_owned()).or_insert((DIRECTORY, &[]));
            if entry.0 != DIRECTORY {
                return Err(OverlayError::Twice(directory.to_owned()));
            }
        }
        if entries.insert(path.to_owned(), (REGULAR | (file.mode & 0o7777), file.bytes)).is_some() {
            return Err(OverlayError::Twice(path.to_owned()));
        }
    }
    let mut archive = Vec::with_capacity(entries.values().map(|(_, bytes)| bytes.len() + 256).sum::<usize>() + 128);
    // The map's order puts `a` before `a/b`.
    for (number, (path, (mode, bytes))) in (1u32..).zip(&entries) {
        let size = u32::try_from(bytes.len()).map_err(|_| OverlayError::TooLarge(path.clone()))?;
        entry(&mut archive, number, *mode, path, size, bytes);
    }
    entry(&mut archive, 0, 0, "TRAILER!!!", 0, &[]);
    Ok(archive)
}

fn entry(archive: &mut Vec<u8>, inode: u32, mode: u32, path: &str, size: u32, bytes: &[u8]) {
    let links: u32 = if mode == DIRECTORY { 2 } else { 1 };
    let name = u32::try_from(path.len() + 1).unwrap_or(u32::MAX);
    archive.extend_from_slice(b"070701");
    for field in [inode, mode, 0, 0, links, 0, size, 0, 0, 0, 0, name, 0] {
        archive.extend_from_slice(format!("{field:08X}").as_bytes());
    }
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(bytes);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    while !archive.len().is_multiple_of(4) {
        archive.push(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::process::{Command, Stdio};

    fn file<'a>(path: &'a str, bytes: &'a [u8]) -> OverlayFile<'a> {
        OverlayFile { path, mode: 0o600, bytes }
    }

    #[test]
    fn the_same_files_in_any_order_give_the_same_bytes() {
        let one = cpio(&[file("formwork/boot.json", b"{}"), file("/etc/hostname", b"node-1")]);
        let two = cpio(&[file("etc/hostname", b"node-1"), file("/formwork/boot.json", b"{}")]);
        assert!(one.is_ok());
        assert_eq!(one, two);
    }

    #[test]
    fn paths_that_leave_the_overlay_or_come_twice_are_refused() {
        for path in ["", "/", "../a", "a/../b", "a//b", "a/./b", "a\0b", "a/"] {
            assert!(matches!(cpio(&[file(path, b"")]), Err(OverlayError::Path(_))), "{path:?}");
        }
        assert!(matches!(cpio(&[file("a", b""), file("/a", b"")]), Err(OverlayError::Twice(_))));
        assert!(matches!(cpio(&[file("a", b""), file("a/b", b"")]), Err(OverlayError::Twice(_))));
        assert!(matches!(cpio(&[file("a/b", b""), file("a", b"")]), Err(OverlayError::Twice(_))));
    }

    #[test]
    fn the_systems_own_cpio_unpacks_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let archive =
            cpio(&[file("formwork/boot.json", b"{\"a\":1}"), file("formwork/deep/x", b"12345")]).expect("an archive");
        let Ok(mut child) =
            Command::new("cpio").args(["-idm", "--quiet"]).current_dir(folder.path()).stdin(Stdio::piped()).spawn()
        else {
            eprintln!("SKIPPED: no cpio on this machine");
            return;
        };
        child.stdin.take().expect("a pipe").write_all(&archive).expect("written");
        assert!(child.wait().expect("ended").success());
        assert_eq!(std::fs::read(folder.path().join("formwork/boot.json")).expect("unpacked"), b"{\"a\":1}");
        assert_eq!(std::fs::read(folder.path().join("formwork/deep/x")).expect("unpacked"), b"12345");
    }
}
