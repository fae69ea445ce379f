//! What was begun is ended, whether or not the asker waits for the answer.
//!
//! A connection that breaks drops its handler where it stands. Between a commit and what the server takes in of it, that would
//! leave the machine in memory behind the journal: a quarantine that was written and does not hold.

use super::ApiError;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// The longest a question may take until its answer begins: the longest wait, and a slow body.
const LONGEST: Duration = Duration::from_secs(180);

/// Runs the handler as a task of its own.
pub(super) async fn detached(request: Request, next: Next) -> Response {
    let handler = tokio::time::timeout(LONGEST, next.run(request));
    match tokio::spawn(handler).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            ApiError::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "the request did not come to an end in time")
                .into_response()
        }
        Err(error) => {
            tracing::error!(%error, "a request was not answered");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", "the server failed; see its log").into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::detached;
    use axum::Router;
    use axum::body::Body;
    use axum::http::Request;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use std::sync::Arc;
    use tokio::sync::Notify;
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn a_handler_goes_on_when_its_asker_hangs_up() {
        let (begun, go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let parts = (Arc::clone(&begun), Arc::clone(&go), Arc::clone(&done));
        let handler = move || {
            let (begun, go, done) = parts.clone();
            async move {
                begun.notify_one();
                go.notified().await;
                done.notify_one();
            }
        };
        let router: Router = Router::new().route("/", get(handler)).layer(from_fn(detached));
        let asker = tokio::spawn(router.oneshot(Request::get("/").body(Body::empty()).expect("a request")));
        begun.notified().await;
        asker.abort();
        assert!(asker.await.is_err_and(|error| error.is_cancelled()));
        go.notify_one();
        done.notified().await;
    }
}
