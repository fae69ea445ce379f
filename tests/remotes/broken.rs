//! Networks and servers that are not good.

use crate::https::{login, over_https};
use crate::https_server::HttpsServer;
use crate::proxy::Proxy;
use crate::repository::{Following, PATIENCE, Repository, git, until};
use formwork::git::remote::{Location, SourceSettings};
use std::time::{Duration, Instant};

/// Bytes that no packing makes smaller.
fn noise(count: usize, mut seed: u64) -> String {
    let mut text = String::new();
    while text.len() < count {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{seed:016x}"));
    }
    text
}

fn through(proxy: &Proxy, server: &HttpsServer) -> SourceSettings {
    let mut settings = over_https(server);
    settings.location = Location::parse(&format!("https://127.0.0.1:{}/site.git", proxy.port)).expect("a URL");
    settings
}

#[tokio::test]
async fn a_fetch_that_dies_in_the_middle_leaves_nothing_half_and_the_next_one_is_whole() {
    let repository = Repository::new();
    let first = repository.push("first", &[("site.yaml", "one")]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let proxy = Proxy::start(server.port);
    let following = Following::start(vec![through(&proxy, &server)], &repository.folder.path().join("state"));
    following.until_head(&first).await;
    following.follower.tree(&first).await.expect("a tree");
    following.follower.pin("node-1-1", &first).await.expect("pinned");

    proxy.pass_only(200_000, false);
    let second = repository.push("second", &[("site.yaml", "two"), ("large", &noise(3_000_000, 1))]);
    let said = following.until_failure().await;
    assert!(said.contains("in the middle") || said.contains("no answer"), "{said}");
    let cuts = proxy.cuts();
    assert!(cuts > 0);
    // It is tried again, and the one before serves.
    until("it is tried again", || proxy.cuts() > cuts + 1).await;
    assert_eq!(following.text(&first, "site.yaml").await, "one");
    let room = following.state.join("remotes/site.git");
    git(&room, &["fsck", "--connectivity-only"]);
    let status = following.status("site");
    assert!(status.last_failure_unix_ms.is_some() && status.failure.is_some());
    assert_eq!(status.head.as_deref(), Some(first.as_str()));

    proxy.heal();
    following.until_head(&second).await;
    assert_eq!(following.text(&second, "site.yaml").await, "two");
    git(&room, &["fsck", "--connectivity-only"]);
    assert_eq!(following.news(), []);
}

#[tokio::test]
async fn while_a_remote_hangs_questions_to_the_mirror_are_answered_and_the_fetch_ends_in_time() {
    let repository = Repository::new();
    let first = repository.push("first", &[("site.yaml", "one")]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let proxy = Proxy::start(server.port);
    let mut settings = through(&proxy, &server);
    settings.timeout = Duration::from_secs(15);
    let following = Following::start(vec![settings], &repository.folder.path().join("state"));
    following.until_head(&first).await;
    following.follower.tree(&first).await.expect("a tree");
    proxy.pass_only(200_000, true);
    repository.push("second", &[("large", &noise(3_000_000, 2))]);
    until("the fetch hangs", || proxy.cuts() > 0).await;
    let asked = Instant::now();
    let mut answers = 0;
    while following.status("site").failure.is_none() {
        following.follower.pin("node-1-1", &first).await.expect("pinned");
        assert_eq!(following.text(&first, "site.yaml").await, "one");
        answers += 1;
        assert!(asked.elapsed() < PATIENCE, "the fetch never ended");
    }
    assert!(answers > 5, "only {answers} answers while the fetch hung");
    let said = following.until_failure().await;
    assert!(said.contains("timeout"), "{said}");
    proxy.heal();
}

#[tokio::test]
async fn a_server_is_not_made_to_download_without_end() {
    let repository = Repository::new();
    repository.push("large", &[("site.yaml", "one"), ("large", &noise(4_000_000, 3))]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let mut settings = over_https(&server);
    settings.download_bytes_max = 1 << 20;
    let following = Following::start(vec![settings], &repository.folder.path().join("state"));
    let said = following.until_failure().await;
    assert!(said.contains("more than 1 MiB") && said.contains("maxMegabytes"), "{said}");
    let bytes = following.status("site").fetched_bytes;
    assert!(bytes < 8 << 20, "{bytes} bytes were taken");
}
