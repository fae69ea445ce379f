//! What a server does beside serving where several have one store: joins the others, takes in what they write, tells them what it
//! hears, and does what is done once for a site while it leads.

use super::desk::Desk;
use super::{Keeping, ServeError};
use crate::fleet::{Fleet, Pins};
use crate::replicas::Replicas;
use crate::store::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How often servers tell one another when they heard of machines.
const TELL_EVERY: Duration = Duration::from_secs(15);
/// How long a server that ends waits for its goodbye to the others.
const GOODBYE: Duration = Duration::from_secs(2);

/// A task that keeps a server among the others, and ends when it said goodbye or must not go on.
pub(super) type Kept = BoxFuture<'static, Result<(), ServeError>>;

/// Joins those who have the store together; alone where this server has it alone.
///
/// `address` is where the others reach this server's API.
pub(super) async fn join(keeping: &Keeping, address: &str) -> Result<(Replicas, Option<Kept>), ServeError> {
    #[cfg(feature = "kubernetes")]
    if let Keeping::Kubernetes { config, namespace, replica: Some(replica) } = keeping {
        let joined = crate::replicas::join(kube::Config::clone(config), namespace, replica, Some(address)).await;
        let (replicas, kept) = joined.map_err(|error| ServeError::Replicas(error.to_string()))?;
        // From now on: what comes before it is waited for takes its time with a large site.
        let kept = tokio::spawn(kept);
        let kept = async move {
            let kept = kept.await.map_err(|error| ServeError::Replicas(error.to_string()))?;
            kept.map_err(|error| ServeError::Replicas(error.to_string()))
        };
        return Ok((replicas, Some(Box::pin(kept))));
    }
    let _ = (keeping, address);
    Ok((Replicas::alone(), None))
}

/// Says goodbye to the others, for as long as that may take.
pub(super) async fn leave(replicas: &Replicas, services: &mut tokio::task::JoinSet<Result<(), ServeError>>) {
    replicas.leave();
    // The first to end is the one that keeps this server among the others.
    let _ = tokio::time::timeout(GOODBYE, services.join_next()).await;
}

/// The tasks of a server among others.
pub(super) fn spawn(
    services: &mut tokio::task::JoinSet<Result<(), ServeError>>,
    fleet: &Arc<Fleet>,
    desk: &Arc<Desk>,
    replicas: &Replicas,
    kept: Kept,
) {
    services.spawn(kept);
    let followed = Arc::clone(fleet);
    services.spawn(async move { followed.follow().await.map_err(Into::into) });
    let desk = Arc::clone(desk);
    services.spawn(async move { desk.follow_leases().await.map_err(Into::into) });
    services.spawn(lead(Arc::clone(fleet), replicas.clone()));
    services.spawn(tell(Arc::clone(fleet), replicas.clone()));
}

/// Does, whenever this server begins to lead, what the one before may not have done: writes down what follows from the revision that
/// serves.
async fn lead(fleet: Arc<Fleet>, replicas: Replicas) -> Result<(), ServeError> {
    let mut standing = replicas.watch();
    let mut led = false;
    loop {
        let now = Arc::clone(&standing.borrow_and_update());
        let leads = now.leads();
        if leads != led {
            tracing::info!(replica = now.own, live = now.live.join(" "), leads, "among the replicas");
        }
        if leads && !led {
            super::settle(&fleet, &fleet.to_settle(None)).await;
        }
        led = leads;
        if standing.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Tells the others what was heard of machines, and takes in what they did; keeps what open runs need in this server's mirror.
async fn tell(fleet: Arc<Fleet>, replicas: Replicas) -> Result<(), ServeError> {
    let mut told = BTreeMap::new();
    let mut pins = Pins::new();
    loop {
        let standing = replicas.standing();
        let said = fleet.tell_heard(&standing.own, &mut told).await.and_then(|()| fleet.take_heard(&standing.own));
        let said = match said {
            Ok(()) if standing.leads() => fleet.forget_heard(&standing.live).await,
            said => said,
        };
        if let Err(error) = said {
            tracing::debug!(%error, "when machines were heard of could not be told to other replicas");
        }
        fleet.keep_pins(&mut pins).await;
        tokio::time::sleep(TELL_EVERY).await;
    }
}
