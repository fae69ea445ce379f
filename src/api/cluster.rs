//! The cluster profile over HTTP: `/v1/cluster/…` for machines (the cluster is the one in the token) and
//! `/v1/clusters/{name}/…` for administrators. Reads the request, hands it to the store, says what came of it; what an
//! operation means is decided in [`crate::cluster`].
//!
//! Statuses are chosen for curl: 408 at the end of a wait, because `curl -f --retry` repeats it by itself; 424 when what should
//! produce a key failed, because it does not repeat that; never 204 or 304 for "not yet".

mod answers;
mod asker;
mod claims;
mod document;
mod events;
mod keys;
mod limits;
mod refused;
mod sets;
mod table;
#[cfg(test)]
mod tests;
mod wait;

pub use limits::Limits;
pub use refused::Refused;

use crate::cluster::{Caller, Context};
use crate::net::routes::{Opens, Route};
use crate::store::Store;
use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use std::net::SocketAddr;
use std::sync::Arc;

/// What these routes need of the server.
pub trait ClusterAccess: Send + Sync + 'static {
    /// Which machine asks, by its cluster token, and for which cluster. `peer` is where the connection comes from, where it is
    /// known.
    ///
    /// # Errors
    /// What the asker is told: 401 for no token or a foreign one, 403 for one that was revoked.
    fn authorize(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Result<Authorized, Refused>;

    /// Which person asks.
    ///
    /// # Errors
    /// As above.
    fn authorize_administrator(&self, headers: &HeaderMap, peer: Option<SocketAddr>) -> Result<Caller, Refused>;

    /// What surrounds a question at this moment; its `epoch`, `idempotency_key` and `fence` are filled in here. `None` where
    /// there is no such cluster, or the machine is not (or no longer) a member of it, or its token was revoked. Asked again
    /// whenever a wait wakes up.
    fn context(&self, cluster: &str, caller: &Caller) -> Option<Context>;

    /// What a machine waits for here changed: for people to see. `wait` tells apart what it waits for at a time; `None`: it
    /// waits no longer.
    fn shows_wait(&self, machine: &str, wait: u64, what: Option<String>);

    /// Where documents are.
    fn store(&self) -> Arc<dyn Store>;

    /// The lifetime clock of [`Context::now_ms`].
    fn now_ms(&self) -> u64;
}

/// Who asks, by a cluster token.
#[derive(Debug, Clone, PartialEq)]
pub struct Authorized {
    /// The cluster that the token opens.
    pub cluster: String,
    /// The machine.
    pub caller: Caller,
    /// The epoch the token was made for: the writes of an earlier one are refused. `None`: not checked.
    pub epoch: Option<u64>,
}

/// What all routes share.
struct Desk<A> {
    access: Arc<A>,
    limits: limits::Usage,
}

/// Who asks, as the guard found out.
#[derive(Clone)]
enum Asking {
    Machine(Authorized),
    Administrator(Caller),
}

/// The table of these routes.
pub fn table() -> Vec<Route> {
    table::routes::<super::App>().table()
}

/// The routes of machines and administrators.
pub fn routes<A: ClusterAccess, S>(access: Arc<A>, limits: Limits) -> Router<S> {
    let desk = Arc::new(Desk { access: Arc::clone(&access), limits: limits::Usage::new(limits) });
    table::routes::<A>().into_router(move |opens, parts| guard(access.as_ref(), opens, parts)).with_state(desk)
}

/// Asks for what a route wants before its handler runs.
fn guard<A: ClusterAccess>(access: &A, opens: Opens, parts: &mut Parts) -> Result<(), Refused> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| *peer);
    let asking = match opens {
        Opens::Cluster => Asking::Machine(access.authorize(&parts.headers, peer)?),
        Opens::Administrator => Asking::Administrator(access.authorize_administrator(&parts.headers, peer)?),
        Opens::Anybody | Opens::Offer | Opens::Callback | Opens::Ticket | Opens::Hook | Opens::Machine | Opens::Git => {
            return Err(Refused::new(StatusCode::UNAUTHORIZED, "token-invalid", "this opens nothing here"));
        }
    };
    parts.extensions.insert(asking);
    Ok(())
}
