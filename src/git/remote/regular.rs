//! Files that people name: opened so that nothing waits. A pipe that nobody writes to would hold whoever opens it for ever.

use std::fs::{File, FileType, Metadata};
use std::io;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Opens a file to be read; one that is a link to a file is as good.
///
/// # Errors
/// What the system says, or that it is something else than a file.
pub(super) fn open_regular(path: &Path) -> io::Result<(File, Metadata)> {
    // Before it is opened: that has an effect on some devices.
    must_be_regular(&std::fs::metadata(path)?)?;
    let flags = (rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY).bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    // And of the open file, not of its name: it is this one that is read.
    let about = file.metadata()?;
    must_be_regular(&about)?;
    Ok((file, about))
}

/// All of a file.
///
/// # Errors
/// What the system says.
pub(super) fn whole(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// That it is a file.
///
/// # Errors
/// What it is instead, and what to do.
pub(super) fn must_be_regular(about: &Metadata) -> io::Result<()> {
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
