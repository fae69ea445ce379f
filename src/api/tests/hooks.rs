//! Webhooks: what opens them, and what they do.

use super::{Site, table};
use crate::api::Hooks;
use crate::git::remote::{Webhook, WebhookKind};
use crate::net::routes::Opens;
use axum::body::Body;
use axum::http::Request;
use ring::hmac;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use tower::ServiceExt as _;

const SECRET: &str = "hunter22";

/// A webhook of GitHub for the source `one`; each good one is a line in a file.
pub(super) fn of(folder: &Path) -> Hooks {
    let (secret_file, woken) = (folder.join("hook.secret"), folder.join("woken"));
    std::fs::write(&secret_file, SECRET).expect("written");
    std::fs::set_permissions(&secret_file, std::fs::Permissions::from_mode(0o600)).expect("closed");
    let webhook = Webhook { kind: WebhookKind::Github, secret_file };
    Hooks::new(
        move |source| (source == "one").then(|| webhook.clone()),
        move |source| {
            let before = std::fs::read_to_string(&woken).unwrap_or_default();
            std::fs::write(&woken, format!("{before}{source}\n")).expect("written");
        },
    )
}

fn signature(secret: &str, body: &[u8]) -> String {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), body);
    format!("sha256={}", tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

async fn post(site: &Site, source: &str, signature: Option<&str>, body: &'static [u8]) -> (u16, String) {
    let mut request = Request::post(format!("/hooks/{source}"));
    if let Some(signature) = signature {
        request = request.header("x-hub-signature-256", signature);
    }
    let request = request.body(Body::from(body)).expect("a request");
    let response = site.router.clone().oneshot(request).await.expect("a response");
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.expect("a body");
    (status, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn a_signed_webhook_wakes_its_source_and_a_forged_one_is_refused_like_one_for_nobody() {
    let site = Site::start().await;
    assert_eq!(table().iter().filter(|route| route.opens == Opens::Hook).count(), 1);
    let good = signature(SECRET, b"{}");
    assert_eq!(post(&site, "one", Some(&good), b"{}").await.0, 202);
    let refused = post(&site, "one", None, b"{}").await;
    assert_eq!(refused.0, 401);
    assert!(!refused.1.contains(SECRET));
    let other = signature("another secret", b"{}");
    for (source, signature, body) in [
        ("one", Some(other.as_str()), b"{}".as_slice()),
        ("one", Some(&good), b"{ }"),
        ("two", Some(&good), b"{}"),
        ("two", None, b""),
    ] {
        assert_eq!(post(&site, source, signature, body).await, refused, "{source} {signature:?}");
    }
    let woken = std::fs::read_to_string(site.lab.dir.path().join("woken")).expect("read");
    assert_eq!(woken, "one\n", "exactly the good one");
}

#[tokio::test]
async fn guessing_is_bounded() {
    let site = Site::start().await;
    let mut statuses = Vec::new();
    for _ in 0..400 {
        statuses.push(post(&site, "one", Some("sha256=00"), b"{}").await.0);
    }
    assert!(statuses.starts_with(&[401; 50]), "{statuses:?}");
    assert!(statuses.contains(&429), "nobody is stopped");
}
