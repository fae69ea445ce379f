//! Networks and servers that are not good.

use crate::https::{login, over_https};
use crate::https_server::HttpsServer;
use crate::proxy::Proxy;
use crate::repository::{Following, PATIENCE, Repository, git, until};
use formwork::git::remote::{Location, SourceEvent, SourceSettings};
use std::path::Path;
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

/// The files of a folder of packs with this ending.
fn packs(room: &Path, end: &str) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(room.join("objects/pack")).expect("packs").map(|entry| entry.expect("one").path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == end)).collect()
}

fn spoil(path: &Path, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).expect("a file");
    change(&mut bytes);
    // git lets nobody write into a pack.
    std::fs::remove_file(path).expect("removed");
    std::fs::write(path, bytes).expect("written");
}

/// What happens to a folder of what was fetched.
type Damage = fn(&Path);

#[tokio::test]
async fn what_was_fetched_and_is_damaged_on_our_own_disk_is_fetched_again() {
    let repository = Repository::new();
    let mut last = repository.push("0", &[("site.yaml", "0"), ("large", &noise(20_000, 4))]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let state = repository.folder.path().join("state");
    let room = state.join("remotes/site.git");
    let damages: [(&str, Damage); 4] = [
        ("a byte", |room| {
            packs(room, "pack").iter().for_each(|pack| {
                spoil(pack, |bytes| {
                    let middle = bytes.len() / 2;
                    bytes[middle] ^= 0xff;
                });
            });
        }),
        ("nothing in it", |room| packs(room, "pack").iter().for_each(|pack| spoil(pack, Vec::clear))),
        ("gone", |room| {
            packs(room, "pack").iter().chain(&packs(room, "idx")).for_each(|pack| {
                std::fs::remove_file(pack).expect("removed");
            });
        }),
        ("no repository", |room| std::fs::remove_file(room.join("HEAD")).expect("removed")),
    ];
    for (name, damage) in damages {
        for restarted in [false, true] {
            let mut following = Following::start(vec![over_https(&server)], &state);
            following.until_head(&last).await;
            if restarted {
                // The first look reads all, and goes on in its thread when nobody waits for it any more: it would mend what is damaged.
                until("it has looked", || following.status("site").last_success_unix_ms.is_some()).await;
                drop(following);
                tokio::time::sleep(Duration::from_secs(2)).await;
                damage(&room);
                following = Following::start(vec![over_https(&server)], &state);
            } else {
                damage(&room);
            }
            last = repository.push(name, &[("site.yaml", &format!("{name} {restarted}"))]);
            following.until_head(&last).await;
            assert_eq!(following.text(&last, "site.yaml").await, format!("{name} {restarted}"));
            let again = |event: &SourceEvent| matches!(event, SourceEvent::FetchedAgain { path, .. } if path.ends_with("remotes/site.git"));
            // A look that had begun already may have found the new commit before.
            until(name, || following.news().iter().filter(|event| again(event)).count() == 1).await;
            git(&room, &["fsck", "--connectivity-only"]);
            drop(following);
        }
    }
}
