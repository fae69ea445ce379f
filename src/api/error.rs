//! Refusals: a status and a [`Problem`].

use crate::fleet::{ExchangeError, TokenRefusal};
use crate::store::StoreError;
use crate::wire::Problem;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// What a client is told when it does not get what it asked for.
#[derive(Debug)]
pub struct ApiError(Box<Refusal>);

#[derive(Debug)]
struct Refusal {
    status: StatusCode,
    problem: Problem,
    header: Option<(HeaderName, HeaderValue)>,
    /// As a line of text, which git shows to people.
    plain: bool,
}

impl ApiError {
    /// A refusal with a stable code.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let problem = Problem { code: code.to_owned(), message: message.into(), hint: None, retry: false };
        Self(Box::new(Refusal { status, problem, header: None, plain: false }))
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.problem.hint = Some(hint.into());
        self
    }

    /// As text and not as JSON: git shows the one to people and not the other.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.0.plain = true;
        self
    }

    /// A header beside it.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<HeaderValue>) -> Self {
        self.0.header = Some((HeaderName::from_static(name), value.into()));
        self
    }

    /// Asking again later, unchanged, can succeed.
    #[must_use]
    pub fn retry(mut self, after_seconds: u32) -> Self {
        self.0.problem.retry = true;
        self.0.header = Some((header::RETRY_AFTER, HeaderValue::from(after_seconds)));
        self
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", message)
    }

    /// 400.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", message)
    }

    /// 409.
    pub fn conflict(code: &str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = if self.0.plain {
            let hint = self.0.problem.hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
            (self.0.status, format!("{}\n{hint}", self.0.problem.message)).into_response()
        } else {
            (self.0.status, axum::Json(self.0.problem)).into_response()
        };
        if let Some((name, value)) = self.0.header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-full",
                "the server's disk is full; nothing can be written until there is room",
            )
            .hint("make room on the disk of its state directory; it goes on by itself")
            .retry(10),
            StoreError::Unreachable(_) => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "store-unreachable",
                "what keeps the server's data does not answer; nothing can be written until it does",
            )
            .hint("look at the Kubernetes API server; it goes on by itself")
            .retry(5),
            StoreError::Busy => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store-busy", "too many writes wait for the store").retry(1)
            }
            StoreError::Conflict { .. } | StoreError::Leased(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "conflict", "something else was written first").retry(1)
            }
            StoreError::TooLarge(message) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", message),
            error @ (StoreError::Damaged(_)
            | StoreError::Exists(_)
            | StoreError::Open(_)
            | StoreError::Path(_)
            | StoreError::Io(_)) => {
                tracing::error!(%error, "the store failed");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "store-failed", "the server's store failed; see its log")
            }
        }
    }
}

impl From<TokenRefusal> for ApiError {
    fn from(refusal: TokenRefusal) -> Self {
        match refusal {
            TokenRefusal::Invalid => Self::new(StatusCode::UNAUTHORIZED, "token-invalid", refusal.to_string()),
            TokenRefusal::Revoked => Self::new(StatusCode::UNAUTHORIZED, "token-revoked", refusal.to_string()),
            TokenRefusal::Audience => Self::new(StatusCode::FORBIDDEN, "token-audience", refusal.to_string()),
        }
    }
}

impl From<ExchangeError> for ApiError {
    fn from(error: ExchangeError) -> Self {
        let (status, code) = match &error {
            ExchangeError::Unknown => (StatusCode::UNAUTHORIZED, "ticket-unknown"),
            ExchangeError::Ended => (StatusCode::UNAUTHORIZED, "ticket-ended"),
            ExchangeError::Address => (StatusCode::FORBIDDEN, "ticket-address"),
            ExchangeError::Possession => (StatusCode::UNAUTHORIZED, "key-not-proved"),
            ExchangeError::Quarantined => (StatusCode::CONFLICT, "quarantined"),
            ExchangeError::Approval { .. } => (StatusCode::CONFLICT, "approval-awaited"),
            ExchangeError::TooOld(_) => (StatusCode::UPGRADE_REQUIRED, "agent-too-old"),
            ExchangeError::Gone => (StatusCode::FORBIDDEN, "machine-gone"),
            ExchangeError::Token(_) => (StatusCode::INTERNAL_SERVER_ERROR, "token-failed"),
            ExchangeError::Store(_) => {
                if let ExchangeError::Store(store) = error {
                    return store.into();
                }
                (StatusCode::INTERNAL_SERVER_ERROR, "store-failed")
            }
        };
        Self::new(status, code, error.to_string())
    }
}
