//! What a server does now and then by itself. Of several on one store the one that leads does what is done once for a site.

use super::ServeError;
use crate::api::push::Receiving;
use crate::fleet::{Fleet, Looked};
use crate::journal::Retention;
use crate::replicas::Replicas;
use crate::store::logs::LogStore;
use std::sync::Arc;
use std::time::Duration;

/// Logs of jobs that ended go to the disk so often.
const BRING_LOGS_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked for events that are kept no longer.
const RETAIN_EVERY: Duration = Duration::from_secs(600);
/// How often machines are looked for that should have said something by now.
const LOOK_FOR_OVERDUE: Duration = Duration::from_secs(15);

/// Drops what happened long ago, now and then; what fails now is tried the next time.
pub(super) async fn retain(
    fleet: Arc<Fleet>,
    logs: Arc<LogStore>,
    receiving: Arc<Receiving>,
    policy: Retention,
    replicas: Replicas,
) -> Result<(), ServeError> {
    let mut looked = Looked::default();
    loop {
        if replicas.leads() {
            match fleet.retain(&logs, &policy, &mut looked).await {
                Ok(0) => {}
                Ok(dropped) => tracing::info!(dropped, "old events were dropped"),
                Err(error) => tracing::warn!(%error, "old events could not be dropped"),
            }
        }
        tokio::time::sleep(RETAIN_EVERY).await;
        let receiving = Arc::clone(&receiving);
        drop(tokio::task::spawn_blocking(move || receiving.sweep()).await);
    }
}

/// Brings the logs of jobs that ended to the disk, now and then.
pub(super) async fn bring_logs(fleet: Arc<Fleet>, logs: Arc<LogStore>) -> Result<(), ServeError> {
    loop {
        tokio::time::sleep(BRING_LOGS_EVERY).await;
        if let Err(error) = fleet.bring_logs(&logs).await {
            tracing::warn!(%error, "logs of jobs that ended are not on the disk yet; the store has them");
        }
    }
}

/// Writes down which machines should have said something by now, and did not.
pub(super) async fn note_overdue(fleet: Arc<Fleet>, replicas: Replicas) -> Result<(), ServeError> {
    let mut ticks = tokio::time::interval(LOOK_FOR_OVERDUE);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if replicas.leads() {
            fleet.note_overdue().await;
        }
    }
}
