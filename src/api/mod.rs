//! HTTP routes for machines, administrators and events. Thin: who asks, what the fleet answers, which status.

mod access;
mod administrators;
mod agent;
mod asks;
mod changes;
pub mod cluster;
mod cluster_access;
mod content;
mod describe;
mod detached;
mod drained;
mod error;
mod extract;
mod followed;
mod health;
mod hooks;
mod inspect;
mod job_log;
mod openapi;
mod others;
mod private_files;
pub mod push;
mod read_once;
mod standings;
mod store;
#[cfg(test)]
mod tests;
pub mod views;
mod words;

pub use administrators::{Serving, names, shown};
pub use error::ApiError;
pub use hooks::Hooks;
pub use openapi::document as openapi;
pub use others::Others;
pub use private_files::PrivateFiles;
pub use read_once::{PolicyFiles, ReadOnce};
pub use standings::{Standings, counted, counts};
pub use store::Snapshots;
pub use views::ChangedFile;

use crate::archive::Archive;
use crate::catalog::ServerInfo;
use crate::fleet::Fleet;
use crate::identity::AdministratorToken;
use crate::net::routes::{Route, Routes};
use crate::store::logs::LogStore;
use axum::http::StatusCode;
use std::sync::Arc;

/// What all routes share.
#[derive(Clone)]
pub struct App {
    /// The fleet.
    pub fleet: Arc<Fleet>,
    /// Job logs.
    pub logs: Arc<LogStore>,
    /// Those of jobs that ended, in an object store.
    pub archive: Option<Arc<Archive>>,
    /// The other servers of the site, where it has several.
    pub others: Option<Arc<Others>>,
    /// Copies of the store.
    pub snapshots: Arc<Snapshots>,
    /// Who is an administrator.
    pub administrators: Arc<AdministratorToken>,
    /// Where machines find this server.
    pub server: Arc<ServerInfo>,
    /// How machines stand, as far as that was asked.
    pub standings: Arc<Standings>,
    /// What was read at the start and not again.
    pub read_once: Arc<[ReadOnce]>,
    /// Files of policies that were changed and are not in force.
    pub policy_files: PolicyFiles,
    /// What nobody else on this host may read.
    pub private: Arc<PrivateFiles>,
    /// Webhooks of forges.
    pub hooks: Arc<Hooks>,
    /// What receives pushes.
    pub receiving: Arc<push::Receiving>,
    /// Rises when a revision was applied.
    pub applied: tokio::sync::watch::Receiver<u64>,
}

/// Every route of the TLS listener, as a table.
pub fn table() -> Vec<Route> {
    let mut table = own().table();
    table.extend(push::routes().table());
    table.extend(cluster::table());
    table
}

/// The routes that need the whole server.
fn own() -> Routes<App> {
    agent::routes()
        .merge(openapi::routes())
        .merge(administrators::routes())
        .merge(job_log::routes())
        .merge(content::routes())
        .merge(inspect::routes())
        .merge(changes::routes())
        .merge(store::routes())
        .merge(hooks::routes())
        .merge(health::routes())
}

/// Answers the hooks of pushes for as long as it is polled.
pub async fn hooks(listener: tokio::net::UnixListener, app: App) {
    push::serve(listener, app).await;
}

/// All routes of the TLS listener.
pub fn routes(app: App) -> axum::Router {
    let asked = app.clone();
    let visited = app.clone();
    // A push is a stream both ways, and ends with its asker: neither detached nor drained.
    let git =
        push::routes().into_router(move |opens, parts| access::guard(&visited, opens, parts)).with_state(app.clone());
    own()
        .into_router(move |opens, parts| access::guard(&asked, opens, parts))
        .with_state(app.clone())
        .layer(axum::middleware::from_fn(detached::detached))
        .merge(cluster::routes(Arc::new(app), cluster::Limits::default()))
        .fallback(|| async { ApiError::not_found("there is no such route") })
        .method_not_allowed_fallback(|| async {
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "no-such-method", "this route does not know that method")
        })
        // The outermost: also a route that is not there refuses before it reads.
        .layer(axum::middleware::from_fn(drained::drained))
        .merge(git)
}
