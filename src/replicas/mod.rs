//! The replicas of one site: which are there, which one leads, and which answers whom.
//!
//! ```text
//!  each replica: one Lease of its own ──list, renew──► decide ──► Standing { live, leader }
//! ```
//!
//! The leader does what is done once for a site and not once for each server. It is no lock: for a moment there may be none, and what
//! must not be done twice is decided by the store's one order, whoever leads. [`decide`] is pure; `lease` asks the API server.

#[cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "Leases of Kubernetes alone tell who is there"))]
mod decide;
#[cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "Leases of Kubernetes alone tell who is there"))]
mod gone;
#[cfg(feature = "kubernetes")]
mod lease;
#[cfg(feature = "kubernetes")]
mod served;

pub use decide::Standing;
pub use gone::{GONE_AFTER, Gone};
#[cfg(feature = "kubernetes")]
pub use lease::{ReplicasError, join, others_serve};

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{Notify, watch};

/// The name of one that has the store to itself.
pub const ALONE: &str = "alone";

/// The replicas as this one sees them.
#[derive(Clone)]
pub struct Replicas(Arc<Shared>);

struct Shared {
    standing: watch::Sender<Arc<Standing>>,
    leave: Notify,
    /// Where each is reached, by its name, as far as it says so.
    addresses: RwLock<BTreeMap<String, String>>,
    /// What was seen of the Leases of all, also of those that lie there no more.
    lasts: RwLock<gone::Lasts>,
}

impl std::fmt::Debug for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Replicas").field(&self.standing()).finish()
    }
}

impl Default for Replicas {
    fn default() -> Self {
        Self::alone()
    }
}

impl Replicas {
    /// The only one, which leads and answers everybody: for a store that one server has to itself.
    pub fn alone() -> Self {
        let own = ALONE.to_owned();
        Self::new(Standing { own: own.clone(), live: vec![own.clone()], leader: Some(own) })
    }

    /// Replicas that stand so until they are said to stand otherwise.
    pub fn new(standing: Standing) -> Self {
        let standing = watch::Sender::new(Arc::new(standing));
        let lasts = RwLock::new(gone::Lasts::from(now_unix_ms()));
        Self(Arc::new(Shared { standing, leave: Notify::new(), addresses: RwLock::default(), lasts }))
    }

    /// How they stand now.
    pub fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.0.standing.borrow())
    }

    /// Whether this one leads now.
    pub fn leads(&self) -> bool {
        self.0.standing.borrow().leads()
    }

    /// The addresses of the APIs of the others that are there, by their names.
    pub fn others(&self) -> Vec<(String, String)> {
        let standing = self.standing();
        let addresses = self.0.addresses.read().unwrap_or_else(PoisonError::into_inner);
        let others = standing.live.iter().filter(|name| **name != standing.own);
        others.filter_map(|name| Some((name.clone(), addresses.get(name)?.clone()))).collect()
    }

    /// Whether a replica that does not answer is gone for good; none: it is there, or may come back.
    pub fn gone(&self, name: &str) -> Option<Gone> {
        let lasts = self.0.lasts.read().unwrap_or_else(PoisonError::into_inner);
        lasts.gone(name, &self.standing(), now_unix_ms())
    }

    /// Says where each is reached.
    #[cfg_attr(not(feature = "kubernetes"), allow(dead_code, reason = "Leases of Kubernetes alone tell it"))]
    fn set_addresses(&self, addresses: BTreeMap<String, String>) {
        *self.0.addresses.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Tells whenever they stand otherwise.
    pub fn watch(&self) -> watch::Receiver<Arc<Standing>> {
        self.0.standing.subscribe()
    }

    /// Says goodbye: this one leads no more, and what [`join`] gave deletes its Lease and ends, so that the others need not wait until
    /// it runs out. Nothing where it is alone.
    pub fn leave(&self) {
        self.0.leave.notify_one();
    }
}

#[cfg(feature = "kubernetes")]
impl Replicas {
    /// Whether it has the store to itself, and never shares it.
    pub fn is_alone(&self) -> bool {
        self.0.standing.borrow().own == ALONE
    }

    /// Says how they stand. Whether that is something new.
    fn publish(&self, standing: Standing) -> bool {
        self.0.standing.send_if_modified(|before| {
            let new = **before != standing;
            if new {
                *before = Arc::new(standing);
            }
            new
        })
    }

    /// Takes in what the Leases of all say.
    fn see_lasts(&self, listed: Vec<(String, gone::Last)>) {
        self.0.lasts.write().unwrap_or_else(PoisonError::into_inner).see(listed);
    }

    /// Counts this one out, as it stands.
    fn count_out(&self) {
        let mut standing = Standing::clone(&self.standing());
        standing.live.retain(|name| *name != standing.own);
        standing.leader = None;
        self.publish(standing);
    }

    async fn left(&self) {
        self.0.leave.notified().await;
    }
}

/// The clock that Leases are written by.
fn now_unix_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}
