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

/// A copy that nobody fetched for so long is removed before the next is made.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Where copies are made, one at a time.
#[derive(Debug)]
pub struct Snapshots {
    folder: PathBuf,
    turn: tokio::sync::Mutex<()>,
}

impl Snapshots {
    /// Copies go to this folder; what a server before left there is removed.
    pub fn in_folder(folder: PathBuf) -> Self {
        remove(&folder, Duration::ZERO);
        Self { folder, turn: tokio::sync::Mutex::default() }
    }

    async fn make(self: &Arc<Self>, store: Arc<dyn Store>) -> Result<String, StoreError> {
        let _turn = self.turn.lock().await;
        let this = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            remove(&this.folder, FORGOTTEN);
            let id = crate::identity::new_id().map_err(|error| StoreError::Io(error.to_string()))?;
            let file = format!("{id}.redb");
            store.backup(&this.folder.join(&file))?;
            Ok(file)
        });
        made.await.map_err(|error| StoreError::Io(error.to_string()))?
    }
}

fn remove(folder: &std::path::Path, older: Duration) {
    for file in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let age = file.metadata().and_then(|metadata| metadata.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_none_or(|age| age >= older) {
            let _ = std::fs::remove_file(file.path());
        }
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
