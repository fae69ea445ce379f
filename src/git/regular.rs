//! Files that people name: opened so that nothing waits, and read within a bound. A pipe that nobody writes to would hold whoever
//! opens it for ever, and a device such as `/dev/zero` whoever reads it.

use std::fs::{File, FileType, Metadata};
use std::io;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// The largest file that is read whole where nothing smaller is asked, bytes.
pub const FILE_MAX: u64 = 4 << 20;

/// Opens a file to be read; one that is a link to a file is as good.
///
/// # Errors
/// What the system says, or that it is something else than a file.
pub fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    // Before it is opened: that has an effect on some devices.
    must_be_regular(&std::fs::metadata(path)?)?;
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // And of the open file, not of its name: it is this one that is read.
    let about = file.metadata()?;
    must_be_regular(&about)?;
    Ok((file, about))
}

/// All of a file of at most so many bytes.
///
/// # Errors
/// What the system says, or that it is larger.
pub fn whole(file: File, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > most {
        let said = format!("it is over {} KiB, and no such file is; name another", most >> 10);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, said));
    }
    Ok(bytes)
}

/// Opens a file and reads all of it, within the bound.
///
/// # Errors
/// What the system says, that it is something else than a file, or that it is larger.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    whole(open_regular(path)?.0, most)
}

/// That it is a file.
///
/// # Errors
/// What it is instead, and what to do.
pub fn must_be_regular(about: &Metadata) -> io::Result<()> {
    if about.is_file() {
        return Ok(());
    }
    let said = format!("it is {}, and no file; name a file (a link to one will do)", what(about.file_type()));
    Err(io::Error::new(io::ErrorKind::InvalidInput, said))
}

fn what(kind: FileType) -> &'static str {
    match kind {
        kind if kind.is_dir() => "a folder",
        kind if kind.is_fifo() => "a named pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_not_opened_and_no_more_is_read_than_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for (path, what) in [(Path::new("/dev/zero"), "a device"), (&pipe, "a named pipe"), (folder.path(), "a folder")]
        {
            let error = read_regular(path, FILE_MAX).unwrap_err().to_string();
            assert!(error.starts_with(&format!("it is {what}, and no file")), "{error}");
        }
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        std::fs::write(&file, vec![b'x'; 2048]).unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert_eq!(read_regular(&link, 2048).unwrap().len(), 2048);
        assert_eq!(
            read_regular(&file, 2047).unwrap_err().to_string(),
            "it is over 1 KiB, and no such file is; name another"
        );
    }
}
