//! What a server does now and then by itself. Of several on one store the one that leads does what is done once for a site.

use super::ServeError;
use crate::api::push::Receiving;
use crate::archive::Archive;
use crate::fleet::{Fleet, Granted, Logs, Looked};
use crate::journal::Retention;
use crate::replicas::Replicas;
use crate::store::logs::LogStore;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Logs of jobs that ended go to the disk so often.
const BRING_LOGS_EVERY: Duration = Duration::from_secs(5);
/// How often it is looked for events that are kept no longer.
const RETAIN_EVERY: Duration = Duration::from_secs(600);
/// Each so many times it is looked for logs of jobs that nothing names any more.
const LOOK_FOR_UNNAMED: u64 = 6;
/// How often machines are looked for that should have said something by now.
const LOOK_FOR_OVERDUE: Duration = Duration::from_secs(15);

/// What is dropped, and of what.
pub(super) struct Retaining {
    pub(super) fleet: Arc<Fleet>,
    pub(super) logs: Arc<LogStore>,
    pub(super) archive: Option<Arc<Archive>>,
    pub(super) receiving: Arc<Receiving>,
    pub(super) policy: Retention,
    pub(super) replicas: Replicas,
    /// There are other servers, which drop events that this one has logs of.
    pub(super) among_others: bool,
}

/// Drops what happened long ago, now and then; what fails now is tried the next time.
pub(super) async fn retain(this: Retaining) -> Result<(), ServeError> {
    let Retaining { fleet, logs, archive, receiving, policy, replicas, among_others } = this;
    let mut looked = Looked::default();
    let mut unnamed = Unnamed {
        fleet: Arc::clone(&fleet),
        logs: Arc::clone(&logs),
        policy,
        granted: Granted::default(),
        named: HashSet::new(),
    };
    for round in 0_u64.. {
        if replicas.leads() {
            let logs = Logs { here: &logs, archive: archive.as_deref() };
            match fleet.retain(logs, &policy, &mut looked).await {
                Ok(0) => {}
                Ok(dropped) => tracing::info!(dropped, "old events were dropped"),
                Err(error) => tracing::warn!(%error, "old events could not be dropped"),
            }
        }
        if (among_others || archive.is_some()) && round % LOOK_FOR_UNNAMED == 0 {
            unnamed.drop(archive.as_deref().filter(|_| replicas.leads())).await;
        }
        tokio::time::sleep(RETAIN_EVERY).await;
        let receiving = Arc::clone(&receiving);
        drop(tokio::task::spawn_blocking(move || receiving.sweep()).await);
    }
    Ok(())
}

/// Logs of jobs that the journal does not name any more.
struct Unnamed {
    fleet: Arc<Fleet>,
    logs: Arc<LogStore>,
    policy: Retention,
    /// What was read of the journal.
    granted: Granted,
    /// What it named when it was last looked.
    named: HashSet<String>,
}

impl Unnamed {
    /// Drops here the logs of jobs that were named and are no more: another server dropped what they were of. What nobody ever saw named
    /// may be of a journal that came back older, and stays for as long as anything is kept. The same in the object store, where one leads.
    async fn drop(&mut self, archive: Option<&Archive>) {
        let (fleet, logs) = (Arc::clone(&self.fleet), Arc::clone(&self.logs));
        let mut granted = std::mem::take(&mut self.granted);
        let looked = tokio::task::spawn_blocking(move || {
            // The logs first: one that begins afterwards is not among them.
            let kept = logs.kept().map_err(|error| error.to_string())?;
            let named = fleet.named_jobs(&mut granted).map_err(|error| error.to_string())?;
            Ok::<_, String>((kept, named, granted))
        });
        let (kept, named, granted) = match looked.await.map_err(|error| error.to_string()).and_then(|looked| looked) {
            Ok(looked) => looked,
            Err(error) => return tracing::warn!(error, "logs of jobs that were dropped stay for now"),
        };
        self.granted = granted;
        let before = self.fleet.clock.now_unix_ms().saturating_sub(self.policy.age_ms);
        for log in kept.into_iter().filter(|log| !named.contains(&log.job)) {
            if (self.named.contains(&log.job) || log.changed_unix_ms < before)
                && let Err(error) = self.logs.remove(&log.job)
            {
                tracing::warn!(%error, "the log of a job that was dropped stays");
            }
        }
        if let Some(archive) = archive {
            match archive.sweep(|job| named.contains(job), before).await {
                Ok(0) => {}
                Ok(objects) => tracing::info!(objects, "logs that nothing names any more left the object store"),
                Err(error) => tracing::warn!(%error, "the object store could not be swept; it is tried again"),
            }
        }
        self.named = named;
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

/// Uploads the logs of jobs that ended.
pub(super) async fn upload_logs(fleet: Arc<Fleet>, archive: Arc<Archive>) -> Result<(), ServeError> {
    archive.run(move || fleet.open_jobs()).await;
    Ok(())
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
