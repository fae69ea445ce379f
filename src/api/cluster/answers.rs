//! Answers as responses.

use crate::cluster::{Answer, ClaimAnswer, ClaimStanding, Joined, Role, etag};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

/// What an accepted write came to.
#[derive(Serialize, JsonSchema)]
pub(super) struct Written {
    /// The document's epoch.
    epoch: u64,
    /// The document's version, and that of each written key.
    version: u64,
    /// The one key written was not there before.
    created: bool,
}

/// Adds the `ETag`.
pub(super) fn tagged(response: impl IntoResponse, epoch: u64, version: u64) -> Response {
    let mut response = response.into_response();
    if let Ok(value) = HeaderValue::from_str(&format!("\"{}\"", etag(epoch, version))) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// A line of text.
pub(super) fn line(text: impl std::fmt::Display) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n")).into_response()
}

/// An answer of the store, as JSON or as a line for scripts.
pub(super) fn respond(answer: Answer, wants_json: bool) -> Response {
    match answer {
        Answer::Written { epoch, version, created } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            tagged((status, axum::Json(Written { epoch, version, created })), epoch, version)
        }
        Answer::Unchanged { epoch, version } => {
            tagged(axum::Json(Written { epoch, version, created: false }), epoch, version)
        }
        Answer::Claim(answer) => {
            let (epoch, version) = (answer.epoch, answer.version);
            let body = if wants_json { axum::Json(&answer).into_response() } else { line(claim_line(&answer)) };
            tagged(body, epoch, version)
        }
        Answer::Joined(joined) => respond_joined(&joined, wants_json),
        Answer::Refused(refusal) => super::Refused::from(refusal).into_response(),
    }
}

/// `leader 42`, `leader 42 done`, `follower 42`.
fn claim_line(answer: &ClaimAnswer) -> String {
    match (answer.role, answer.state) {
        (Role::Leader, ClaimStanding::Done) => format!("leader {} done", answer.fence),
        (Role::Leader, _) => format!("leader {}", answer.fence),
        (Role::Follower, _) => format!("follower {}", answer.fence),
    }
}

/// The ordinal alone, or with what surrounds it.
fn respond_joined(joined: &Joined, wants_json: bool) -> Response {
    let mut response = if wants_json { axum::Json(joined).into_response() } else { line(joined.ordinal) };
    if joined.created {
        *response.status_mut() = StatusCode::CREATED;
    }
    tagged(response, joined.epoch, joined.version)
}
