//! What installers ask for: the files of their environment, and to be heard when they are done.

use super::{Served, plain, refuse};
use crate::boot::desk::{BootDesk, InstallerRefusal, InstallerSaid};
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::warn;

/// The longest word on how it ended, bytes.
pub(super) const MESSAGE_BYTES: usize = 4096;

/// `GET /boot/files/OFFER/NAME`.
pub(super) async fn file<D: BootDesk>(
    State(served): State<Arc<Served<D>>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path((offer, name)): Path<(String, String)>,
) -> Response {
    if offer.len() > 128 || name.len() > 256 {
        return refuse(StatusCode::NOT_FOUND, "no such file for this machine");
    }
    match served.desk.boot_file(offer, name.clone(), plain(peer.ip())).await {
        Some(Ok(text)) => {
            let kind = [(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")];
            (kind, text).into_response()
        }
        Some(Err(reason)) => {
            warn!(file = name, reason, "a boot's file cannot be rendered");
            (StatusCode::INTERNAL_SERVER_ERROR, format!("{name} cannot be rendered: {reason}\n")).into_response()
        }
        None => refuse(StatusCode::NOT_FOUND, "no such file for this machine"),
    }
}

/// `POST /boot/callback/OFFER/done|failed`, the token as bearer, a word on it as body.
pub(super) async fn callback<D: BootDesk>(
    State(served): State<Arc<Served<D>>>,
    Path((offer, outcome)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let success = match outcome.as_str() {
        "done" => true,
        "failed" => false,
        _ => return refuse(StatusCode::NOT_FOUND, "say done or failed"),
    };
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let Some(token) = bearer.and_then(|value| value.strip_prefix("Bearer ")).map(str::trim) else {
        return refuse(StatusCode::UNAUTHORIZED, "the callback's token is missing");
    };
    let Ok(body) = to_bytes(body, MESSAGE_BYTES).await else {
        return refuse(StatusCode::PAYLOAD_TOO_LARGE, "the message is too long");
    };
    let message = Some(String::from_utf8_lossy(&body).trim().to_owned()).filter(|text| !text.is_empty());
    let said = InstallerSaid { token: token.to_owned(), success, message };
    let heard =
        if offer.len() > 128 { Err(InstallerRefusal::Unknown) } else { served.desk.installer_ended(offer, said).await };
    match heard {
        // Not 204: to some clients an answer without a body is none.
        Ok(()) => (StatusCode::OK, "heard\n").into_response(),
        Err(refusal) => {
            let status = match refusal {
                InstallerRefusal::Unknown => StatusCode::FORBIDDEN,
                InstallerRefusal::Over => StatusCode::CONFLICT,
                InstallerRefusal::Busy => StatusCode::SERVICE_UNAVAILABLE,
            };
            (status, format!("{refusal}\n")).into_response()
        }
    }
}
