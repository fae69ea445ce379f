//! Hints from the file system that something changed. Only hints: polling underneath finds what a hint missed.

use super::Source;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A directory that people edit is looked at when it has been still for so long: half an edit is no revision. A repository is
/// looked at on the first event; its branch points to the old commit or the new one, never to half of one.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Device and inode of a watched folder: a folder put in its place needs a new watch.
type Identity = Option<(u64, u64)>;

/// The watches on a source; made anew when its folders are not the ones that were watched.
pub(super) struct Watch {
    folders: Vec<(PathBuf, RecursiveMode)>,
    identities: Vec<Identity>,
    still: bool,
    watcher: Option<Watcher>,
}

#[expect(dead_code, reason = "a watcher watches until it is dropped")]
enum Watcher {
    /// Every event is a hint.
    AtOnce(RecommendedWatcher),
    /// Events are one hint after a pause.
    Still(Debouncer<RecommendedWatcher, RecommendedCache>),
}

impl Watch {
    /// For this source; nothing is watched before the first [`Watch::refresh`].
    pub(super) fn new(source: &Source) -> Self {
        let folders = match source {
            Source::Bare { path, .. } => {
                let folder = if path.join(".git").is_dir() { path.join(".git") } else { path.clone() };
                // `HEAD` and `packed-refs` lie in the folder itself, branches below `refs`; objects are not looked at.
                vec![(folder.clone(), RecursiveMode::NonRecursive), (folder.join("refs"), RecursiveMode::Recursive)]
            }
            Source::Directory { path } => vec![(path.clone(), RecursiveMode::Recursive)],
            // Each has a thread of its own that looks.
            Source::Sources(_) => Vec::new(),
        };
        let still = matches!(source, Source::Directory { .. });
        Self { folders, identities: Vec::new(), still, watcher: None }
    }

    /// Watches what is there now, if that is not watched yet. Failing (no inotify left) is not an error: polling remains.
    pub(super) fn refresh(&mut self, hint: impl Fn() + Send + Clone + 'static) {
        let identities: Vec<Identity> = self.folders.iter().map(|(folder, _)| identity(folder)).collect();
        if identities == self.identities {
            return;
        }
        self.watcher = None;
        if identities.iter().all(Option::is_some) {
            match self.watch(hint) {
                Ok(watcher) => self.watcher = Some(watcher),
                Err(error) => tracing::warn!(%error, "file changes cannot be watched; polling goes on"),
            }
        }
        self.identities = identities;
    }

    fn watch(&self, hint: impl Fn() + Send + Clone + 'static) -> notify::Result<Watcher> {
        if self.still {
            let changed = move |result: DebounceEventResult| match result {
                Ok(events) if events.iter().all(|event| matches!(event.kind, EventKind::Access(_))) => {}
                _ => hint(),
            };
            let mut debouncer = new_debouncer(DEBOUNCE, None, changed)?;
            for (folder, mode) in &self.folders {
                debouncer.watch(folder, *mode)?;
            }
            return Ok(Watcher::Still(debouncer));
        }
        let mut watcher = notify::recommended_watcher(move |result: notify::Result<Event>| match result {
            Ok(Event { kind: EventKind::Access(_), .. }) => {}
            _ => hint(),
        })?;
        for (folder, mode) in &self.folders {
            watcher.watch(folder, *mode)?;
        }
        Ok(Watcher::AtOnce(watcher))
    }
}

fn identity(folder: &Path) -> Identity {
    std::fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
