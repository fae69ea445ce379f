//! `/v1/store/snapshots`: a consistent copy of the store while it is written to.
//!
//! The copy stays in the state directory, readable by whoever may read the store itself: what clusters keep secret does not
//! leave the server over the network. The command line on the server fetches it from there.

use super::extract::{Json, NoBody};
use super::views::SnapshotMade;
use super::{ApiError, App};
use crate::net::routes::{Opens, Route, Routes};
use crate::store::{Store, StoreError};
use axum::extract::State;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A copy is removed by whoever asked for it; one that is still there after so long is removed by the server, since its asker was
/// interrupted. (An asker opens it at once, and an open file can be read to its end when its name is gone.)
const FORGOTTEN: Duration = Duration::from_secs(600);
/// So many are there at most: before one more is made, the oldest goes.
const COPIES_MAX: usize = 4;

/// Where copies are made, one at a time.
#[derive(Debug)]
pub struct Snapshots {
    folder: PathBuf,
    turn: tokio::sync::Mutex<()>,
}

impl Snapshots {
    /// Copies go to this folder; what a server before left there is removed.
    pub fn in_folder(folder: PathBuf) -> Self {
        keep_newest(&folder, 0);
        Self { folder, turn: tokio::sync::Mutex::default() }
    }

    async fn make(self: &Arc<Self>, store: Arc<dyn Store>) -> Result<String, StoreError> {
        let _turn = self.turn.lock().await;
        let this = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            keep_newest(&this.folder, COPIES_MAX - 1);
            let id = crate::identity::new_id().map_err(|error| StoreError::Io(error.to_string()))?;
            let file = format!("{id}.redb");
            store.backup(&this.folder.join(&file))?;
            Ok(file)
        });
        let made = made.await.map_err(|error| StoreError::Io(error.to_string()))?;
        if let Ok(file) = &made {
            tokio::spawn(forget(self.folder.join(file), FORGOTTEN));
        }
        made
    }
}

/// Removes a copy that its asker left behind.
async fn forget(copy: PathBuf, after: Duration) {
    tokio::time::sleep(after).await;
    let _ = tokio::fs::remove_file(copy).await;
}

/// Removes all but so many of the newest.
fn keep_newest(folder: &std::path::Path, count: usize) {
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<_> = files
        .map(|file| (file.metadata().and_then(|about| about.modified()).unwrap_or(std::time::UNIX_EPOCH), file.path()))
        .collect();
    files.sort_unstable();
    let older = files.len().saturating_sub(count);
    for (_, path) in files.into_iter().take(older) {
        let _ = std::fs::remove_file(path);
    }
}

pub(super) fn routes() -> Routes<App> {
    let snapshot = Route::post(
        "/v1/store/snapshots",
        Opens::Administrator,
        "Copies the store into its state directory while it is written to",
    );
    Routes::default().route(snapshot.gives::<SnapshotMade>(), snapshots)
}

async fn snapshots(State(app): State<App>, _: NoBody) -> Result<Json<SnapshotMade>, ApiError> {
    let made = app.snapshots.make(Arc::clone(&app.fleet.store)).await;
    let file = made.map_err(|error| match error {
        // Such as a store that is no file: the asker is told where it lies.
        StoreError::Open(message) | StoreError::Path(message) => ApiError::conflict("no-copy", message),
        other => other.into(),
    })?;
    Ok(Json(SnapshotMade { file }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_copy_whose_asker_was_interrupted_is_removed_after_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("a.redb");
        std::fs::write(&copy, "a copy").unwrap();
        let forgotten = tokio::spawn(forget(copy.clone(), Duration::from_secs(2)));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(copy.exists(), "its asker may still be about to open it");
        forgotten.await.unwrap();
        assert!(!copy.exists());
    }

    #[test]
    fn only_the_newest_copies_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        for (age, name) in ["new", "older", "oldest"].into_iter().enumerate() {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(std::time::SystemTime::now() - Duration::from_secs(60 * age as u64)).unwrap();
        }
        let there = || ["new", "older", "oldest"].map(|name| folder.path().join(name).exists());
        keep_newest(folder.path(), 3);
        assert_eq!(there(), [true; 3]);
        keep_newest(folder.path(), 1);
        assert_eq!(there(), [true, false, false]);
        keep_newest(folder.path(), 0);
        assert_eq!(there(), [false; 3]);
    }
}
