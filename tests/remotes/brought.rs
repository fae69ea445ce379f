//! Commits that are not followed any more, for a server that has an empty state directory: what another server applied, what a run is pinned to.

use crate::https::{login, over_https};
use crate::https_server::HttpsServer;
use crate::repository::{Following, Repository, git};
use std::path::Path;

/// How many commits of history lie in the waiting room.
fn depth(state: &Path) -> u32 {
    git(&state.join("remotes/site.git"), &["rev-list", "--count", "refs/formwork/head"]).parse().unwrap()
}

/// A branch with a commit that fifty later ones have left behind, and one that no branch leads to.
fn repository() -> (Repository, [String; 3]) {
    let repository = Repository::new();
    repository.push("first", &[("site.yaml", "first")]);
    let lost = repository.push("lost", &[("site.yaml", "lost"), ("packs/a.sh", "lost")]);
    repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let left = repository.push("left behind", &[("site.yaml", "left"), ("packs/a.sh", "same")]);
    for number in 0..50 {
        repository.commit(&format!("{number}"), &[("n", &number.to_string())]);
    }
    let last = repository.push("last", &[("site.yaml", "last")]);
    (repository, [lost, left, last])
}

#[tokio::test]
async fn a_commit_that_the_branch_has_left_behind_is_fetched_by_its_id_and_else_out_of_history() {
    let (repository, [lost, left, last]) = repository();
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    for (state, option, has_lost) in [
        ("neither", None, false),
        ("reachable", Some("uploadpack.allowReachableSHA1InWant"), false),
        ("any", Some("uploadpack.allowAnySHA1InWant"), true),
    ] {
        if let Some(option) = option {
            git(&repository.bare(), &["config", option, "true"]);
        }
        let following = Following::start(vec![over_https(&server)], &repository.folder.path().join(state));
        following.until_head(&last).await;
        assert_eq!(following.text(&last, "site.yaml").await, "last");
        assert_eq!(depth(&following.state), 1);
        assert!(following.follower.tree(&left).await.is_err(), "{state}");
        assert!(following.follower.bring(&left).await, "{state}");
        assert_eq!(following.text(&left, "site.yaml").await, "left", "{state}");
        assert_eq!(following.text(&left, "packs/a.sh").await, "same", "{state}");
        // By its id no history comes along.
        assert_eq!(depth(&following.state) == 1, option.is_some(), "{state}");
        // It is not asked for again at once.
        assert!(!following.follower.bring(&left).await);
        assert!(following.follower.bring(&lost).await);
        assert_eq!(following.follower.tree(&lost).await.is_ok(), has_lost, "{state}");
        assert!(following.follower.bring(&"1".repeat(40)).await);
        assert!(following.follower.tree(&"1".repeat(40)).await.is_err(), "{state}");
        assert_eq!(following.status("site").failure, None, "what cannot be had is no failure of the source");
        // What is followed goes on, and no history is taken for rewritten.
        let next = repository.push(state, &[("site.yaml", state)]);
        following.until_head(&next).await;
        assert_eq!(following.text(&next, "site.yaml").await, state);
        assert_eq!(following.news(), [], "{state}");
        repository.git(&["reset", "-q", "--hard", &last]);
        repository.git(&["push", "-q", "-f", "origin", "HEAD:main"]);
    }
}
