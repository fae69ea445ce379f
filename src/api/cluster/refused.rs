//! Refusals: a status, a [`Problem`], and what else the asker needs to go on.

use crate::cluster::{Refusal, etag};
use crate::store::StoreError;
use crate::wire::Problem;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

/// A refusal as it is sent.
#[derive(Debug, Clone)]
pub struct Refused(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    status: StatusCode,
    problem: Problem,
    headers: Vec<(HeaderName, String)>,
    more: Map<String, Value>,
}

impl Refused {
    /// A refusal. `code` is for programs, in kebab-case; `message` a sentence for people, without secrets.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let problem = Problem { code: code.to_owned(), message: message.into(), hint: None, retry: false };
        Self(Box::new(Parts { status, problem, headers: Vec::new(), more: Map::new() }))
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: &str) -> Self {
        self.0.problem.hint = Some(hint.to_owned());
        self
    }

    /// Asking again after so many seconds can succeed. (Not 0: curl reads that as nothing said.)
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.problem.retry = true;
        self.header(header::RETRY_AFTER, &seconds.max(1).to_string())
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What it says.
    pub fn problem(&self) -> &Problem {
        &self.0.problem
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    fn header(mut self, name: HeaderName, value: &str) -> Self {
        self.0.headers.push((name, value.to_owned()));
        self
    }

    fn etag(self, epoch: u64, version: u64) -> Self {
        self.header(header::ETAG, &format!("\"{}\"", etag(epoch, version)))
    }

    fn with(mut self, name: &str, value: Value) -> Self {
        self.0.more.insert(name.to_owned(), value);
        self
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let parts = *self.0;
        let mut body = match serde_json::to_value(&parts.problem) {
            Ok(Value::Object(body)) => body,
            _ => Map::new(),
        };
        body.extend(parts.more);
        let mut response = (parts.status, axum::Json(Value::Object(body))).into_response();
        for (name, value) in parts.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let message = refusal.to_string();
        let new = |status, code| Self::new(status, code, message);
        match refusal {
            Refusal::BadName { .. } => new(StatusCode::BAD_REQUEST, "bad-name"),
            Refusal::BadRequest { .. } => new(StatusCode::BAD_REQUEST, "bad-request"),
            Refusal::NotAMember { .. } => new(StatusCode::FORBIDDEN, "not-a-member"),
            Refusal::WrongCaller { .. } => new(StatusCode::FORBIDDEN, "wrong-caller"),
            Refusal::NotAWriter { .. } => new(StatusCode::FORBIDDEN, "not-a-writer"),
            Refusal::EpochOver { epoch, .. } => epoch_over(new(StatusCode::GONE, "epoch-over"), epoch),
            Refusal::Condition { epoch, current, .. } => {
                let refused = new(StatusCode::PRECONDITION_FAILED, "condition");
                match current {
                    Some(current) => {
                        let value = current.value.map(|value| (*value.0).clone());
                        refused
                            .etag(epoch, current.version)
                            .with("current", json!({"version": current.version, "value": value}))
                    }
                    None => refused.with("current", Value::Null),
                }
            }
            Refusal::DocumentCondition { epoch, version } => {
                new(StatusCode::PRECONDITION_FAILED, "condition").etag(epoch, version)
            }
            Refusal::BadPatch { index, .. } => {
                new(StatusCode::UNPROCESSABLE_ENTITY, "bad-patch").with("operation", json!(index))
            }
            Refusal::PatchFailed { index, operation, path, epoch, met, version } => {
                let refused = new(StatusCode::CONFLICT, "patch-failed")
                    .with("operation", json!(index))
                    .with("op", json!(operation))
                    .with("path", json!(path))
                    .with("met", met.map_or(Value::Null, |met| (*met.0).clone()))
                    .with("version", json!(version));
                match version {
                    Some(version) => refused.etag(epoch, version),
                    None => refused,
                }
            }
            Refusal::Immutable { version, .. } => {
                new(StatusCode::CONFLICT, "immutable").with("version", json!(version))
            }
            Refusal::Schema { .. } => new(StatusCode::UNPROCESSABLE_ENTITY, "schema"),
            Refusal::Frozen { .. } => {
                new(StatusCode::LOCKED, "frozen").hint("an administrator lets it go on: `formwork cluster thaw NAME`")
            }
            Refusal::TooLarge { .. } => new(StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Refusal::FenceLost { state, latest, .. } => new(StatusCode::CONFLICT, "fence-lost")
                .with("state", json!(state))
                .with("latest", json!(latest))
                .hint("stop what this claim was for; ask for the claim again"),
            Refusal::KeyReused => new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency-key-reused"),
            Refusal::NotYet { .. } => new(StatusCode::REQUEST_TIMEOUT, "not-yet").retry_after(1),
            Refusal::NotFound { what, .. } => new(StatusCode::NOT_FOUND, &format!("no-such-{what}")),
        }
    }
}

pub(super) fn epoch_over(refused: Refused, epoch: u64) -> Refused {
    refused.with("epoch", json!(epoch)).hint("the cluster is built anew: renew the token and start over")
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        match error {
            // 503, not 507: curl repeats it by itself.
            StoreError::Full(_) => {
                let message = "the server's disk is full; nothing can be written until there is room";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-full", message)
                    .hint("make room on the disk of its state directory; it goes on by itself")
                    .retry_after(10)
            }
            StoreError::Unreachable(_) => {
                let message = "what keeps the server's data does not answer; nothing can be written until it does";
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-unreachable", message).retry_after(5)
            }
            StoreError::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-busy", error.to_string()).retry_after(1)
            }
            StoreError::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", error.to_string()),
            StoreError::Conflict { .. } | StoreError::Leased(_) => {
                Self::new(StatusCode::CONFLICT, "conflict", error.to_string())
            }
            // What is wrong with the disk is for the server's log, not for a machine.
            StoreError::Damaged(_)
            | StoreError::Exists(_)
            | StoreError::Open(_)
            | StoreError::Path(_)
            | StoreError::Io(_) => {
                tracing::error!(%error, "a cluster operation found the store failing");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store-failed", "the server's store does not work")
            }
        }
    }
}
