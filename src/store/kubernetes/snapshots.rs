//! Makes snapshots, and deletes what they make needless.

use super::log::Listing;
use super::objects::{Fault, Kind, pack, snapshot_name};
use super::read::{self, Unread};
use super::shared::Shared;
use crate::store::StoreError;
use std::sync::Arc;

/// Makes a snapshot of the newest state, reads it back, and only then deletes older segments.
///
/// # Errors
/// [`StoreError`] of the API server's. Nothing is lost by it: the log is there.
pub(super) async fn make(shared: &Shared) -> Result<(), StoreError> {
    let (objects, state) = (&*shared.objects, shared.state());
    let number = state.number;
    let encoding = Arc::clone(&state);
    let sealed = tokio::task::spawn_blocking(move || encoding.snapshot()?.seal()).await;
    let sealed = sealed.map_err(|error| StoreError::Io(error.to_string()))??;
    let id = crate::identity::new_id().map_err(|error| StoreError::Io(error.to_string()))?;
    let packed = pack(number, &id, &sealed);
    for (name, bytes) in &packed.parts {
        objects.create(Kind::Part, name, Arc::clone(bytes)).await?;
    }
    match objects.create(Kind::Snapshot, &snapshot_name(number), Arc::clone(&packed.bytes)).await {
        // Another replica was faster.
        Ok(_) | Err(Fault::Exists) => {}
        Err(fault) => return Err(fault.into()),
    }
    let (read, bytes) = match read::snapshot(objects, number).await {
        Ok(read) => read,
        Err(Unread::Fault(fault)) => return Err(fault.into()),
        Err(Unread::Failed(error)) => return Err(error),
        // A newer one was made meanwhile, and this one tidied away.
        Err(Unread::Missing(name)) => return Err(StoreError::Unreachable(format!("{name} is gone again"))),
        Err(Unread::Wrong(text)) => return Err(StoreError::Damaged(text)),
    };
    if read != *state {
        return Err(StoreError::Damaged(format!(
            "the snapshot of segment {number} is not the state that it was made of"
        )));
    }
    shared.made_snapshot(number, bytes);
    tidy(shared, number).await
}

async fn tidy(shared: &Shared, number: u64) -> Result<(), StoreError> {
    let listing = Listing::of(shared.objects.list().await?.heads);
    for head in listing.needless(number, shared.options.kept_segments) {
        shared.objects.delete(&head).await?;
    }
    Ok(())
}
