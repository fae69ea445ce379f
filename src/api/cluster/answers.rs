//! Answers as responses.

use crate::cluster::{Answer, ClaimAnswer, ClaimStanding, Joined, Role, etag};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

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
            let body = json!({"epoch": epoch, "version": version, "created": created});
            tagged((status, axum::Json(body)), epoch, version)
        }
        Answer::Unchanged { epoch, version } => {
            tagged(axum::Json(json!({"epoch": epoch, "version": version, "created": false})), epoch, version)
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
