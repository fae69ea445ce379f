//! Standard output: the one way by which anything gets there, so that what could not be written is known when a command ends.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// It was closed when the process began. Rust opens `/dev/null` in its place, where everything can be written and is gone.
static CLOSED: AtomicBool = AtomicBool::new(false);
/// The first thing that went wrong where nobody could be told at once.
static FAILED: Mutex<Option<io::Error>> = Mutex::new(None);

/// Remembers that there is none.
pub(super) fn is_closed() {
    CLOSED.store(true, Ordering::Relaxed);
}

/// Refuses to write where it was closed.
pub(super) fn is_open() -> io::Result<()> {
    match CLOSED.load(Ordering::Relaxed) {
        true => Err(rustix::io::Errno::BADF.into()),
        false => Ok(()),
    }
}

/// What a command writes to.
#[derive(Debug)]
pub(super) struct Stdout(io::StdoutLock<'static>);

/// Standard output, for this thread alone until it is dropped.
pub(super) fn stdout() -> Stdout {
    Stdout(io::stdout().lock())
}

impl Write for Stdout {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        is_open()?;
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Keeps what went wrong until the command ends: what is under way is done all the same.
pub(super) fn remember(written: io::Result<()>) {
    if let Err(error) = written {
        FAILED.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

/// What went wrong until now.
pub(super) fn failed() -> Option<io::Error> {
    FAILED.lock().unwrap_or_else(PoisonError::into_inner).take()
}
