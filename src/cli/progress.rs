//! How far long work has come, on standard error, for a person who waits: nothing where that is no terminal, and nothing of work that
//! is over soon.

use crate::store::Watch;
use std::cell::RefCell;
use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that takes less shows nothing.
const QUIET: Duration = Duration::from_millis(700);
/// Between two looks.
const TICK: Duration = Duration::from_millis(200);

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Bytes, shown as MiB.
    Bytes,
    /// Files.
    Files,
    /// Entries of the store.
    Entries,
}

/// Work that goes on until this is dropped; then its line is gone.
pub struct Progress {
    done: Arc<AtomicU64>,
    line: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Work of so many bytes or files; 0: nobody knows how many.
    pub fn new(what: &str, unit: Unit, total: u64) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        if !std::io::stderr().is_terminal() || dumb {
            return Self { done, line: None };
        }
        let (stop, stopped) = channel::<()>();
        let (what, counted) = (what.to_owned(), Arc::clone(&done));
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            let mut pause = QUIET;
            let mut shown = false;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                pause = TICK;
                let text = line(&what, unit, counted.load(Ordering::Relaxed), total, began.elapsed());
                // To the line's beginning, text, and what was longer before is wiped (ECMA-48 8.3.41).
                let _ = write!(std::io::stderr(), "\r{text}\x1b[K");
                shown = true;
            }
            if shown {
                let _ = write!(std::io::stderr(), "\r\x1b[K");
            }
        });
        Self { done, line: Some((stop, thread)) }
    }

    /// So many more are done.
    pub fn more(&self, count: u64) {
        self.done.fetch_add(count, Ordering::Relaxed);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.line.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

/// The parts of work on a whole store, one after the other, each with a line of its own.
#[derive(Default)]
pub struct Stages(RefCell<Option<Progress>>);

impl Watch for Stages {
    fn begins(&self, what: &'static str, total: u64) {
        // The line before goes first.
        self.0.replace(None);
        self.0.replace(Some(Progress::new(what, Unit::Entries, total)));
    }

    fn more(&self, count: u64) {
        if let Some(progress) = self.0.borrow().as_ref() {
            progress.more(count);
        }
    }
}

/// `checksums: 43 % (120 of 280 MiB)`, `checking: 12 s`.
fn line(what: &str, unit: Unit, done: u64, total: u64, took: Duration) -> String {
    let shown = |count: u64| if unit == Unit::Bytes { count >> 20 } else { count };
    let word = match unit {
        Unit::Bytes => "MiB",
        Unit::Files => "files",
        Unit::Entries => "entries",
    };
    let seconds = took.as_secs();
    match (done, total) {
        (_, 1..) => {
            let percent = done.saturating_mul(100).checked_div(total).unwrap_or(0).min(100);
            format!("{what}: {percent} % ({} of {} {word}), {seconds} s", shown(done), shown(total))
        }
        (1.., 0) => format!("{what}: {} {word}, {seconds} s", shown(done)),
        (0, 0) => format!("{what}: {seconds} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_far_it_is_as_far_as_that_is_known() {
        let second = Duration::from_secs(3);
        assert_eq!(
            line("checksums", Unit::Bytes, 120 << 20, 280 << 20, second),
            "checksums: 42 % (120 of 280 MiB), 3 s"
        );
        assert_eq!(line("reading", Unit::Files, 5, 0, second), "reading: 5 files, 3 s");
        assert_eq!(line("checking", Unit::Files, 0, 0, second), "checking: 3 s");
        assert_eq!(line("copying", Unit::Entries, 50, 200, second), "copying: 25 % (50 of 200 entries), 3 s");
        assert_eq!(line("x", Unit::Files, 9, 3, second), "x: 100 % (9 of 3 files), 3 s");
    }
}
