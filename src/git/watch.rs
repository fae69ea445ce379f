//! Hints from the file system that something changed. Only hints: polling underneath finds what a hint missed.

use super::Source;
use notify::{EventKind, RecursiveMode};
use notify_debouncer_full::{DebounceEventResult, Debouncer, RecommendedCache, new_debouncer};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One push makes about thirty file events within a few milliseconds; after this pause they are one hint.
const DEBOUNCE: Duration = Duration::from_millis(100);

/// Device and inode of a watched folder: a folder put in its place needs a new watch.
type Identity = Option<(u64, u64)>;

/// The watches on a source; made anew when its folders are not the ones that were watched.
pub(super) struct Watch {
    folders: Vec<(PathBuf, RecursiveMode)>,
    identities: Vec<Identity>,
    debouncer: Option<Debouncer<notify::RecommendedWatcher, RecommendedCache>>,
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
        };
        Self { folders, identities: Vec::new(), debouncer: None }
    }

    /// Watches what is there now, if that is not watched yet. Failing (no inotify left) is not an error: polling remains.
    pub(super) fn refresh(&mut self, hint: impl Fn() + Send + Clone + 'static) {
        let identities: Vec<Identity> = self.folders.iter().map(|(folder, _)| identity(folder)).collect();
        if identities == self.identities {
            return;
        }
        self.debouncer = None;
        if identities.iter().all(Option::is_some) {
            let changed = move |result: DebounceEventResult| match result {
                Ok(events) if events.iter().all(|event| matches!(event.kind, EventKind::Access(_))) => {}
                _ => hint(),
            };
            let made = new_debouncer(DEBOUNCE, None, changed).and_then(|mut debouncer| {
                for (folder, mode) in &self.folders {
                    debouncer.watch(folder, *mode)?;
                }
                Ok(debouncer)
            });
            match made {
                Ok(debouncer) => self.debouncer = Some(debouncer),
                Err(error) => tracing::warn!(%error, "file changes cannot be watched; polling goes on"),
            }
        }
        self.identities = identities;
    }
}

fn identity(folder: &Path) -> Identity {
    std::fs::metadata(folder).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
