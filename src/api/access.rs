//! Who asks: bearer tokens of machines and administrators. The guard asks as the route table says; handlers take what it found.

use super::{ApiError, App};
use crate::fleet::{Entry, TokenRefusal};
use crate::identity::{Audience, Claims};
use crate::net::routes::Opens;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// The bearer token of a request.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ").map(str::trim)
}

/// A machine that proved itself by its machine token.
#[derive(Clone)]
pub(super) struct Machine {
    /// The token's claims.
    pub claims: Arc<Claims>,
    /// Its entry.
    pub entry: Arc<Entry>,
}

impl Machine {
    /// Waits for the turn to decide and to write about the machine. The token is looked at again: while it waited, a new run, a
    /// quarantine or another boot may have ended it.
    ///
    /// # Errors
    /// 401 where the token has died.
    pub async fn turn(&self, app: &App) -> Result<tokio::sync::MutexGuard<'_, ()>, ApiError> {
        let turn = self.entry.turn().await;
        // What it did may have been written down by another server a moment ago.
        app.fleet.level().await?;
        app.fleet.still_good(&self.claims)?;
        Ok(turn)
    }
}

/// A person who proved themselves by the administrator's token.
#[derive(Clone)]
pub(super) struct Administrator {
    /// Their name, for the journal.
    pub name: String,
}

/// Asks for what a route wants before its handler runs, and leaves in the request who asks.
///
/// # Errors
/// The same refusal whether or not what was asked for exists.
pub(super) fn guard(app: &App, opens: Opens, parts: &mut Parts) -> Result<(), ApiError> {
    match opens {
        // The ticket is in the body, and the exchange judges it; a webhook's signature is over its body.
        Opens::Anybody | Opens::Ticket | Opens::Hook => {}
        Opens::Machine => {
            let token = bearer(&parts.headers).ok_or(TokenRefusal::Invalid)?;
            let (claims, entry) = app.fleet.authenticate(token)?;
            if claims.audience != Audience::Machine {
                return Err(TokenRefusal::Audience.into());
            }
            parts.extensions.insert(Machine { claims, entry });
        }
        Opens::Administrator => {
            let token = bearer(&parts.headers).ok_or(TokenRefusal::Invalid)?;
            if !app.administrators.verify(token) {
                return Err(TokenRefusal::Invalid.into());
            }
            parts.extensions.insert(Administrator { name: "administrator".into() });
        }
        Opens::Git => {
            let visitor = super::push::visitor(app, parts)?;
            parts.extensions.insert(visitor);
        }
        // Routes of the cluster profile have a guard of their own; overlays are on another listener.
        Opens::Cluster | Opens::Offer | Opens::Callback => return Err(TokenRefusal::Invalid.into()),
    }
    Ok(())
}

impl FromRequestParts<App> for Machine {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        parts.extensions.remove().ok_or_else(|| TokenRefusal::Invalid.into())
    }
}

impl FromRequestParts<App> for Administrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, ApiError> {
        parts.extensions.remove().ok_or_else(|| TokenRefusal::Invalid.into())
    }
}

/// The address a request came from.
pub(super) struct Peer(pub IpAddr);

impl<S: Send + Sync> FromRequestParts<S> for Peer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|info| Self(info.0.ip().to_canonical()))
            .ok_or_else(|| ApiError::bad_request("the connection has no address"))
    }
}
