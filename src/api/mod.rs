//! HTTP routes for machines, administrators and events. Thin: who asks, what the fleet answers, which status.

mod access;
mod administrators;
mod agent;
pub mod cluster;
mod cluster_access;
mod describe;
mod error;
pub mod views;

pub use error::ApiError;

use crate::catalog::ServerInfo;
use crate::fleet::Fleet;
use crate::identity::AdministratorToken;
use crate::store::logs::LogStore;
use std::sync::Arc;

/// What all routes share.
#[derive(Clone)]
pub struct App {
    /// The fleet.
    pub fleet: Arc<Fleet>,
    /// Job logs.
    pub logs: Arc<LogStore>,
    /// Who is an administrator.
    pub administrators: Arc<AdministratorToken>,
    /// Where machines find this server.
    pub server: Arc<ServerInfo>,
    /// Rises when a revision was applied.
    pub applied: tokio::sync::watch::Receiver<u64>,
}

/// The largest body of any route but logs, bytes.
const BODY_MAX: usize = 1024 * 1024;

/// All routes of the TLS listener.
pub fn routes(app: App) -> axum::Router {
    axum::Router::new()
        .merge(agent::routes())
        .merge(administrators::routes())
        .with_state(app.clone())
        .merge(cluster::routes(Arc::new(app), cluster::Limits::default()))
        .layer(axum::extract::DefaultBodyLimit::max(BODY_MAX))
        .fallback(|| async { ApiError::not_found("there is no such route") })
}
