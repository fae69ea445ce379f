//! A refusal that comes before the body was read still reaches its asker.
//!
//! hyper answers such a request and then resets its stream (HTTP/2) or closes the connection (HTTP/1.1); curl takes either for a
//! broken transfer and never shows the answer. So what is left of a body is read and thrown away, up to a bound, before the
//! answer leaves.

use axum::body::{Body, Bytes, HttpBody as _};
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::{Stream, StreamExt as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

/// So much is read of a body that nobody wants, bytes: far more than the longest that any route takes, since who sends more than
/// that has to come to read so. Nothing of it is kept.
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// For so long at most.
const TIME_MAX: Duration = Duration::from_secs(10);

/// A body that outlives its handler.
#[derive(Clone)]
struct Shared(Arc<Mutex<Option<axum::body::BodyDataStream>>>);

impl Stream for Shared {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut body = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(stream) = body.as_mut() else { return Poll::Ready(None) };
        let piece = stream.poll_next_unpin(context);
        // After its end, or an error, there is nothing more to ask it for.
        if matches!(piece, Poll::Ready(None | Some(Err(_)))) {
            *body = None;
        }
        piece
    }
}

/// Reads what the handler left of the body, then lets the answer go.
pub(super) async fn drained(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return next.run(Request::from_parts(parts, body)).await;
    }
    let mut shared = Shared(Arc::new(Mutex::new(Some(body.into_data_stream()))));
    let response = next.run(Request::from_parts(parts, Body::from_stream(shared.clone()))).await;
    let rest = async {
        let mut read = 0;
        while let Some(Ok(piece)) = shared.next().await {
            read += piece.len();
            if read > BYTES_MAX {
                break;
            }
        }
    };
    // What is still there after that gets the broken stream it asked for.
    let _ = tokio::time::timeout(TIME_MAX, rest).await;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::Router;
    use axum::http::StatusCode;
    use axum::middleware::from_fn;
    use axum::routing::put;
    use std::io::Write as _;
    use std::process::Command;

    /// The status that curl shows of a PUT of this file, or its exit code.
    fn curl(address: &str, file: &std::path::Path, version: &str) -> Result<String, i32> {
        let data = format!("@{}", file.display());
        let body = ["--data-binary", &data, "--output", "/dev/null", "--write-out", "%{http_code}"];
        let command = Command::new("curl")
            .args(["--silent", "--max-time", "60", "--noproxy", "*", version, "-X", "PUT"])
            .args(["-H", "Expect:"])
            .args(body)
            .arg(format!("http://{address}/"))
            .output()
            .expect("curl is installed");
        match command.status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&command.stdout).into_owned()),
            other => Err(other.unwrap_or(-1)),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn curl_is_shown_a_refusal_that_came_before_its_body_was_read() {
        let refuse = || async { (StatusCode::PRECONDITION_REQUIRED, "a write says what it expects to find") };
        let router: Router = Router::new().route("/", put(refuse)).layer(from_fn(drained));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&vec![b'x'; 700_000]).expect("written");
        let path = file.path().to_owned();
        let all = tokio::task::spawn_blocking(move || {
            let versions = ["--http2-prior-knowledge", "--http1.1"];
            let tries = (0..100).flat_map(|_| versions).map(|version| (version, curl(&address, &path, version)));
            tries.filter(|(_, answer)| *answer != Ok("428".to_owned())).collect::<Vec<_>>()
        });
        assert_eq!(all.await.expect("it ran"), [], "of 200 tries");
        server.abort();
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn curl_is_shown_that_a_body_is_far_too_long() {
        let takes = |body: Bytes| async move { body.len().to_string() };
        let bound = axum::extract::DefaultBodyLimit::max(1024 * 1024);
        let router: Router = Router::new().route("/", put(takes)).layer(bound).layer(from_fn(drained));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        file.write_all(&vec![b'x'; 40 << 20]).expect("written");
        let path = file.path().to_owned();
        let all = tokio::task::spawn_blocking(move || {
            let versions = ["--http2-prior-knowledge", "--http1.1"];
            let tries = (0..5).flat_map(|_| versions).map(|version| (version, curl(&address, &path, version)));
            tries.filter(|(_, answer)| *answer != Ok("413".to_owned())).collect::<Vec<_>>()
        });
        assert_eq!(all.await.expect("it ran"), [], "of 10 tries");
        server.abort();
    }

    #[tokio::test]
    async fn a_handler_reads_its_body_as_it_was_sent() {
        use tower::ServiceExt as _;
        let router: Router = Router::new().route("/", put(|body: Bytes| async move { body })).layer(from_fn(drained));
        for text in ["", "a body"] {
            let request = Request::put("/").body(Body::from(text)).expect("a request");
            let response = router.clone().oneshot(request).await.expect("an answer");
            assert_eq!(axum::body::to_bytes(response.into_body(), 100).await.expect("a body"), text);
        }
    }
}
