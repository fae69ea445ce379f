//! The server's log on standard error: an event is one line, whatever is in it, and nothing in it steers a terminal.

use crate::content::visible;
use std::io::{self, Write};

/// Takes events, each as a whole, as the formatter gives them.
#[derive(Debug, Clone, Copy)]
pub struct Log {
    /// The formatter's own colours stay.
    pub colour: bool,
}

impl Write for Log {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        // A reader that went away ends no server.
        let _ = io::stderr().lock().write_all(one_line(event, self.colour).as_bytes());
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn one_line(event: &[u8], colour: bool) -> String {
    let text = String::from_utf8_lossy(event);
    let text = text.strip_suffix('\n').unwrap_or(&text).replace('\n', "\\n");
    let shown = if colour { visible::drawn(&text) } else { visible::lines(&text) };
    format!("{shown}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    /// Keeps what would go to standard error.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<String>>, bool);

    impl Write for Kept {
        fn write(&mut self, event: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().push_str(&one_line(event, self.1));
            Ok(event.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_is_in_it() {
        for colour in [false, true] {
            let kept = Kept(Arc::default(), colour);
            let writer = kept.clone();
            let log = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(colour).finish();
            tracing::subscriber::with_default(log, || {
                let error = "a\nb: ERROR fake\u{1b}[2J\r\u{9b}";
                tracing::info!(%error, "{error}");
            });
            let text = kept.0.lock().unwrap().clone();
            assert!(text.lines().count() == 1 && text.ends_with('\n'), "{text:?}");
            assert!(text.contains("a\\nb: ERROR fake"), "{text:?}");
            assert!(!text.contains("\u{1b}[2J") && !text.contains(['\r', '\u{9b}']), "{text:?}");
            // The formatter's own colours are still there.
            assert_eq!(text.contains("\u{1b}["), colour, "{text:?}");
        }
    }
}
