//! Who asks: bearer tokens of machines and administrators.

use super::{ApiError, App};
use crate::fleet::{Entry, TokenRefusal};
use crate::identity::{Audience, Claims};
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
pub(super) struct Machine {
    /// The token's claims.
    pub claims: Claims,
    /// Its entry.
    pub entry: Arc<Entry>,
}

impl FromRequestParts<App> for Machine {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or(TokenRefusal::Invalid)?;
        let (claims, entry) = app.fleet.authenticate(token)?;
        if claims.audience != Audience::Machine {
            return Err(TokenRefusal::Audience.into());
        }
        Ok(Self { claims, entry })
    }
}

/// A person who proved themselves by the administrator's token.
pub(super) struct Administrator {
    /// Their name, for the journal.
    pub name: String,
}

impl FromRequestParts<App> for Administrator {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let token = bearer(&parts.headers).ok_or(TokenRefusal::Invalid)?;
        if app.administrators.verify(token) {
            Ok(Self { name: "administrator".into() })
        } else {
            Err(TokenRefusal::Invalid.into())
        }
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
