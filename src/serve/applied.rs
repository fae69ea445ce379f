//! What a revision that comes to serve changes in a server that runs.

use super::brought::{self, Brought};
use super::desk::Desk;
use crate::api;
use crate::catalog::Catalog;
use crate::fleet::{Entry, Fleet};
use crate::git::Follower;
use crate::metrics::Metrics;
use crate::reconcile::{Change, Foresee, Foreseen, Hook, Outcome};
use crate::replicas::Replicas;
use crate::store::BoxFuture;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::watch;

/// What a new revision changes in a running server.
pub(super) struct Applied {
    /// Set with the parts.
    pub replicas: OnceLock<Replicas>,
    /// Set once the fleet is there; revisions before that are taken in at its making.
    pub parts: OnceLock<(Arc<Fleet>, Arc<Desk>)>,
    /// The fleet, once it is there: what a revision would do cannot be told before.
    pub fleet: watch::Sender<Option<Arc<Fleet>>>,
    pub count: watch::Sender<u64>,
    /// Set before the first revision is looked at.
    pub follower: OnceLock<Arc<Follower>>,
    /// What each source's commit did when it came to serve: for commit statuses.
    pub brought: Brought,
    pub standings: Arc<api::Standings>,
    pub metrics: Metrics,
}

impl Hook for Applied {
    fn applied(&self, change: Change) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tracing::debug!(revision = change.revision.id, "taken in");
            if let Some(follower) = self.follower.get() {
                self.brought.serves(&change.revision.id, &brought::parts(follower, &change.revision));
            }
            if let Some(before) = &change.previous {
                self.standings.revise(before, &change.catalog);
            }
            if let Some((fleet, desk)) = self.parts.get() {
                let leads = self.replicas.get().is_none_or(Replicas::leads);
                take_in(fleet, desk, change.previous.as_deref(), leads).await;
            }
            self.count.send_modify(|count| *count = count.wrapping_add(1));
        })
    }

    fn attempted(&self, outcome: &Outcome, took: Duration) {
        self.metrics.reconcile.attempted(outcome.as_str(), took);
    }
}

impl Foresee for Applied {
    fn foresee(&self, serving: Arc<Catalog>, next: Arc<Catalog>) -> BoxFuture<'_, Foreseen> {
        let mut fleet = self.fleet.subscribe();
        Box::pin(async move {
            let fleet = match fleet.wait_for(Option::is_some).await {
                Ok(fleet) => fleet.clone(),
                Err(_) => None,
            };
            let Some(fleet) = fleet else { return Foreseen::under(&serving) };
            let change = fleet.foresee(Some(Arc::clone(&serving)), next).await;
            if let Some(follower) = self.follower.get() {
                self.brought.foresee(&change, &brought::mounts(follower));
            }
            Foreseen::of(&change, &serving)
        })
    }
}

/// Takes in the revision that serves: networks first, since boxes ask for their addresses at this moment; members; and, once for
/// a site, what follows from it for every machine that is known and not the same as in the revision before.
pub(super) async fn take_in(fleet: &Fleet, desk: &Desk, before: Option<&Catalog>, leads: bool) {
    desk.refresh_network(before);
    fleet.refresh_members_after(before, &[]);
    let to_settle = fleet.to_settle(before);
    if leads {
        settle(fleet, &to_settle).await;
    }
    fleet.refresh_members_after(before, &to_settle);
}

/// Writes down what follows from the revision that serves for these machines, and for clusters.
pub(super) async fn settle(fleet: &Fleet, machines: &[Arc<Entry>]) {
    for entry in machines {
        if let Err(error) = fleet.settle(entry).await {
            tracing::error!(machine = entry.name, %error, "a revision's consequences could not be written down");
        }
    }
    if let Err(error) = fleet.settle_clusters().await {
        tracing::error!(%error, "a revision's consequences for clusters could not be written down");
    }
}
