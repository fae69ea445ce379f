//! `POST /hooks/{source}`: a forge says that something was pushed. That is a hint to look, and nothing in it is believed: who
//! forges one makes the server look once more at a repository that it follows.

use super::extract::Path;
use super::{ApiError, App};
use crate::git::remote::{Secret, Webhook, is_signed};
use crate::net::routes::{Opens, Route, Routes};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// The longest webhook, bytes. A forge that sends more for a very large push is answered 413, and the interval finds the push.
const HOOK_BYTES_MAX: usize = 1 << 20;
/// So many refusals at once; then one more every tenth of a second. Guessing a secret is no way in.
const REFUSALS_AT_ONCE: f64 = 300.0;
const REFUSALS_A_SECOND: f64 = 10.0;

/// Which webhook a source has now.
type Declared = dyn Fn(&str) -> Option<Webhook> + Send + Sync;

/// Whom webhooks may come from, and who is told.
pub struct Hooks {
    declared: Box<Declared>,
    wake: Box<dyn Fn(&str) + Send + Sync>,
    refusals: Mutex<(f64, Instant)>,
}

impl Hooks {
    /// Webhooks by the name of their source, asked for each; `wake` is told of a good one. Neither may wait.
    pub fn new(
        declared: impl Fn(&str) -> Option<Webhook> + Send + Sync + 'static,
        wake: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let refusals = Mutex::new((REFUSALS_AT_ONCE, Instant::now()));
        Self { declared: Box::new(declared), wake: Box::new(wake), refusals }
    }

    /// How many refusals are left now.
    fn left(&self, taken: f64) -> f64 {
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let grown = now.duration_since(refusals.1).as_secs_f64() * REFUSALS_A_SECOND;
        *refusals = ((refusals.0 + grown).min(REFUSALS_AT_ONCE) - taken, now);
        refusals.0
    }

    fn is_good(&self, source: &str, headers: &HeaderMap, body: &[u8]) -> bool {
        let Some(webhook) = (self.declared)(source) else { return false };
        let secret = match Secret::read(&webhook.secret_file) {
            Ok(secret) => secret,
            Err(error) => {
                tracing::warn!(source, %error, "a webhook cannot be judged");
                return false;
            }
        };
        is_signed(webhook.kind, &secret, |name| headers.get(name).and_then(|value| value.to_str().ok()), body)
    }
}

pub(super) fn routes() -> Routes<App> {
    let route = Route::post("/hooks/{source}", Opens::Hook, "A forge says that something was pushed: a hint to look")
        .body_max(HOOK_BYTES_MAX)
        .takes_media("application/json")
        .header("x-hub-signature-256", "GitHub, Gitea, Forgejo: `sha256=` and the HMAC of the body")
        .header("x-gitea-signature", "Gitea: the HMAC of the body")
        .header("x-forgejo-signature", "Forgejo: the HMAC of the body")
        .header("x-gitlab-token", "GitLab: the secret")
        .header("x-formwork-signature", "Anybody else: `sha256=` and the HMAC of the body")
        .reply(202, "The repository is looked at soon.", Vec::new());
    Routes::default().route(route, hook)
}

async fn hook(
    State(app): State<App>,
    Path(source): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, ApiError> {
    let hooks = Arc::clone(&app.hooks);
    if hooks.left(0.0) < 1.0 {
        let said = "too many webhooks were refused just now";
        return Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "hooks-refused", said).retry(1));
    }
    let judged = tokio::task::spawn_blocking(move || {
        let good = hooks.is_good(&source, &headers, &body);
        if good {
            (hooks.wake)(&source);
        } else {
            hooks.left(1.0);
        }
        good
    });
    // One refusal for all, whether or not there is such a source.
    match judged.await {
        Ok(true) => Ok(StatusCode::ACCEPTED),
        _ => Err(ApiError::new(StatusCode::UNAUTHORIZED, "hook-refused", "this webhook is not signed by a secret known here")
            .hint("the source's `webhook` in the server's sources.yaml says which kind is expected, and which file holds its secret")),
    }
}
