//! Over HTTPS.

use crate::https_server::HttpsServer;
use crate::repository::{Following, Repository, closed_file, git, source};
use formwork::git::remote::{Credentials, SourceSettings};
use std::path::Path;

const PASSWORD: &str = "token-that-nobody-may-see";

/// A source of this server, with its authority and the right token.
pub fn over_https(server: &HttpsServer) -> SourceSettings {
    let mut settings = source("site", &server.url("site.git"));
    settings.authority_file = Some(server.authority.clone());
    settings.credentials = with_token(server.folder(), PASSWORD);
    settings
}

fn with_token(folder: &Path, token: &str) -> Credentials {
    let password_file = closed_file(folder, &format!("{}.token", token.len()), &format!("{token}\n"));
    Credentials::Basic { user: "x-access-token".to_owned(), password_file }
}

pub fn login() -> String {
    format!("x-access-token:{PASSWORD}")
}

#[tokio::test]
async fn a_branch_is_followed_with_a_token_and_an_authority_of_its_own_and_its_history_stays_there() {
    let repository = Repository::new();
    for n in 0..30 {
        repository.commit(&format!("before {n}"), &[("n", &n.to_string()), ("packs/a/same.sh", "#!/bin/sh\n")]);
    }
    let first = repository.push("first\n\nwith a body", &[("site.yaml", "one")]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let following = Following::start(vec![over_https(&server)], &repository.folder.path().join("state"));
    following.until_head(&first).await;
    assert_eq!(following.text(&first, "site.yaml").await, "one");
    let room = following.state.join("remotes/site.git");
    assert_eq!(git(&room, &["rev-list", "--count", "refs/formwork/head"]), "1", "no history is fetched");
    let after_first = following.status("site").fetched_bytes;
    assert!(after_first > 0);

    let second = repository.push("second", &[("site.yaml", "two")]);
    following.until_head(&second).await;
    assert_eq!(following.text(&second, "site.yaml").await, "two");
    assert_eq!(following.text(&second, "packs/a/same.sh").await, "#!/bin/sh\n");
    assert_eq!(following.text(&first, "site.yaml").await, "one", "the one before is still in the mirror");
    let status = following.status("site");
    assert_eq!((status.failure, status.head), (None, Some(second.clone())));
    assert!(status.last_success_unix_ms.is_some() && status.next_look_unix_ms.is_some());
    // The commit stands in the mirror as its author made it, byte for byte.
    let mirror = following.state.join("mirror.git");
    let theirs = git(&repository.bare(), &["cat-file", "commit", &second]);
    assert_eq!(git(&mirror, &["cat-file", "commit", &second]), theirs);
    assert_eq!(following.news(), []);
}

#[tokio::test]
async fn several_commits_at_once_are_no_rewritten_branch() {
    let repository = Repository::new();
    let first = repository.push("first", &[("site.yaml", "0")]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let following = Following::start(vec![over_https(&server)], &repository.folder.path().join("state"));
    following.until_head(&first).await;
    for n in 0..40 {
        repository.commit(&format!("{n}"), &[("site.yaml", &n.to_string())]);
    }
    let last = repository.push("last", &[("site.yaml", "last")]);
    following.until_head(&last).await;
    assert_eq!(following.text(&last, "site.yaml").await, "last");
    assert_eq!(following.news(), []);
}

#[tokio::test]
async fn many_fetches_leave_no_heap_behind() {
    let repository = Repository::new();
    let first = repository.push("first", &[("site.yaml", "0")]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let following = Following::start(vec![over_https(&server)], &repository.folder.path().join("state"));
    following.until_head(&first).await;
    let mut most = 0;
    for n in 0..30 {
        let id = repository.push(&format!("{n}"), &[("site.yaml", &format!("{n}\n"))]);
        following.until_head(&id).await;
        assert_eq!(following.text(&id, "site.yaml").await, format!("{n}\n"));
        let packs = std::fs::read_dir(following.state.join("remotes/site.git/objects/pack")).expect("a folder");
        most = most.max(packs.count());
    }
    assert!(most <= 2 * 25, "{most} files of packs");
    assert_eq!(following.news(), [], "a new waiting room is no rewritten branch");
}

#[tokio::test]
async fn a_wrong_credential_a_foreign_authority_and_a_redirect_are_said_and_the_secret_never() {
    let repository = Repository::new();
    let first = repository.push("first", &[("site.yaml", "one")]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let fails = async |change: &dyn Fn(&mut SourceSettings), state: &str| -> String {
        let mut settings = over_https(&server);
        change(&mut settings);
        let following = Following::start(vec![settings], &repository.folder.path().join(state));
        let said = following.until_failure().await;
        let status = format!("{:?}", following.follower.sources());
        for text in [&said, &status] {
            assert!(!text.contains(PASSWORD) && !text.contains("wrong-token"), "{text}");
        }
        assert!(said.starts_with("https://127.0.0.1:"), "{said}");
        said
    };
    let wrong = with_token(server.folder(), "wrong-token");
    let said = fails(&|settings| settings.credentials = wrong.clone(), "wrong").await;
    assert!(said.contains("does not take the credentials (HTTP 401)"), "{said}");
    let said = fails(&|settings| settings.credentials = Credentials::Nobody, "nobody").await;
    assert!(said.contains("wants credentials (HTTP 401)"), "{said}");
    let other = HttpsServer::start(repository.folder.path(), None);
    let said = fails(&|settings| settings.authority_file = Some(other.authority.clone()), "authority").await;
    assert!(said.contains("certificate"), "{said}");
    let said = fails(
        &|settings| {
            *settings = {
                let mut s = source("site", &server.url("none.git"));
                s.authority_file = Some(server.authority.clone());
                s.credentials = over_https(&server).credentials;
                s
            }
        },
        "none",
    )
    .await;
    assert!(said.contains("HTTP 404"), "{said}");
    let open = server.folder().join("open.token");
    std::fs::write(&open, PASSWORD).expect("written");
    let readable = Credentials::Basic { user: "x".to_owned(), password_file: open };
    let said = fails(&|settings| settings.credentials = readable.clone(), "open").await;
    assert!(said.contains("chmod 600"), "{said}");

    // A host that sends us elsewhere does not get the token there.
    let seen = other.seen().len();
    server.set_redirect(Some(other.url("").trim_end_matches('/')));
    let said = fails(&|_| {}, "redirect").await;
    assert!(said.contains("redirect"), "{said}");
    assert_eq!(other.seen().len(), seen, "the redirect was followed");
    server.set_redirect(None);

    // And what was wrong heals without a restart.
    server.set_login(Some("x-access-token:another"));
    let following = Following::start(vec![over_https(&server)], &repository.folder.path().join("healed"));
    following.until_failure().await;
    server.set_login(Some(&login()));
    following.until_head(&first).await;
    assert_eq!(following.status("site").failure, None);
}
