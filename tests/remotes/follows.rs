//! What is followed: tags, ranges of versions, single commits; and branches that are rewritten.

use crate::https::{login, over_https};
use crate::https_server::HttpsServer;
use crate::repository::{Following, Repository, git, until};
use formwork::git::remote::{Follow, OnRewrite, SourceEvent};
use formwork::git::{GitError, Sight};

#[tokio::test]
async fn an_annotated_tag_is_followed_to_its_commit_and_kept_as_it_is() {
    let repository = Repository::new();
    let first = repository.push("first", &[("site.yaml", "one")]);
    repository.git(&["tag", "-a", "-m", "released", "v1", "HEAD"]);
    repository.push("after", &[("site.yaml", "two")]);
    repository.git(&["push", "-q", "origin", "v1"]);
    let tag = repository.git(&["rev-parse", "v1^{tag}"]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let mut settings = over_https(&server);
    settings.follow = Follow::Tag("v1".to_owned());
    let following = Following::start(vec![settings], &repository.folder.path().join("state"));
    following.until_head(&first).await;
    assert_eq!(following.text(&first, "site.yaml").await, "one");
    let mirror = following.state.join("mirror.git");
    let theirs = git(&repository.bare(), &["cat-file", "tag", &tag]);
    assert_eq!(git(&mirror, &["cat-file", "tag", &format!("refs/formwork/tags/{first}")]), theirs);
}

#[tokio::test]
async fn the_highest_tag_in_a_range_is_followed() {
    let repository = Repository::new();
    let mut ids = Vec::new();
    for (n, tag) in ["v1.9.0", "v1.10.0", "v2.0.0"].iter().enumerate() {
        ids.push(repository.push(tag, &[("n", &n.to_string())]));
        repository.git(&["tag", tag]);
    }
    repository.git(&["push", "-q", "--tags", "origin"]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let mut settings = over_https(&server);
    settings.follow = Follow::Semver("^1.2".parse().unwrap());
    let following = Following::start(vec![settings], &repository.folder.path().join("state"));
    following.until_head(&ids[1]).await;
    let newest = repository.push("v1.11.0", &[("n", "new")]);
    repository.git(&["tag", "v1.11.0"]);
    repository.git(&["push", "-q", "--tags", "origin"]);
    following.until_head(&newest).await;
    assert_eq!(following.text(&newest, "n").await, "new");
    assert_eq!(following.news(), [], "a later version is no rewritten history");
}

#[tokio::test]
async fn a_single_commit_that_no_branch_ends_at_is_followed_also_where_the_server_gives_branches_only() {
    let repository = Repository::new();
    let wanted = repository.push("wanted", &[("site.yaml", "one")]);
    let last = repository.push("later", &[("site.yaml", "two")]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    for (state, allows) in [("branches-only", "false"), ("by-id", "true")] {
        git(&repository.bare(), &["config", "uploadpack.allowReachableSHA1InWant", allows]);
        let mut settings = over_https(&server);
        settings.follow = Follow::Commit(wanted.clone());
        let following = Following::start(vec![settings], &repository.folder.path().join(state));
        following.until_head(&wanted).await;
        assert_eq!(following.text(&wanted, "site.yaml").await, "one");
        assert!(following.follower.tree(&last).await.is_err() || state == "branches-only");
    }
    let mut settings = over_https(&server);
    settings.follow = Follow::Commit("1".repeat(40));
    let following = Following::start(vec![settings], &repository.folder.path().join("none"));
    let said = following.until_failure().await;
    assert!(said.contains(&format!("it has no commit {}", "1".repeat(40))), "{said}");
    let mut settings = over_https(&server);
    settings.follow = Follow::Branch("trunk".to_owned());
    let following = Following::start(vec![settings], &repository.folder.path().join("trunk"));
    let said = following.until_failure().await;
    assert!(said.contains("it has no branch trunk"), "{said}");
}

#[tokio::test]
async fn a_rewritten_branch_is_followed_or_held_as_its_policy_says_and_an_event_tells() {
    let server_side = |repository: &Repository| {
        let base = repository.push("base", &[("site.yaml", "base")]);
        let before = repository.push("before", &[("site.yaml", "before")]);
        (base, before)
    };
    for policy in [OnRewrite::Follow, OnRewrite::Hold] {
        let repository = Repository::new();
        let (_, before) = server_side(&repository);
        let server = HttpsServer::start(repository.folder.path(), Some(&login()));
        let mut settings = over_https(&server);
        settings.on_rewrite = policy;
        let state = repository.folder.path().join("state");
        let following = Following::start(vec![settings.clone()], &state);
        following.until_head(&before).await;
        repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
        repository.commit("another way", &[("site.yaml", "another")]);
        let after = repository.push("and on", &[("site.yaml", "on")]);
        let event = SourceEvent::Rewritten {
            source: "site".to_owned(),
            reference: "refs/heads/main".to_owned(),
            from: before.clone(),
            to: after.clone(),
            followed: policy == OnRewrite::Follow,
        };
        if policy == OnRewrite::Follow {
            following.until_head(&after).await;
            assert_eq!(following.text(&after, "site.yaml").await, "on");
            assert_eq!(following.news(), [event]);
            continue;
        }
        let said = following.until_failure().await;
        assert!(said.contains(&before) && said.contains(&after) && said.contains("onRewrite: follow"), "{said}");
        assert!(said.contains("`formwork resume --rewritten site`"), "{said}");
        assert_eq!(following.news(), std::slice::from_ref(&event));
        let status = following.status("site");
        assert_eq!(status.head.as_deref(), Some(after.as_str()));
        assert!(status.failure.is_some_and(|failure| failure.contains("rewritten")));
        // A restart does not make it forget; the branch going on from where it was does.
        drop(following);
        let following = Following::start(vec![settings], &state);
        following
            .until("held", |sight| matches!(sight, Sight::Unavailable(GitError::Rewritten { to, .. }) if *to == after))
            .await;
        repository.git(&["reset", "-q", "--hard", &before]);
        let onward = repository.push("onward", &[("site.yaml", "onward")]);
        following.until_head(&onward).await;
        assert_eq!(following.status("site").failure, None);
        assert_eq!(following.news(), [event], "told once more after the restart, and not of what goes on");
    }
}

#[tokio::test]
async fn a_branch_that_is_held_goes_on_when_a_person_goes_along_with_it() {
    let repository = Repository::new();
    repository.push("first", &[("site.yaml", "one")]);
    let before = repository.push("second", &[("site.yaml", "two")]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let mut settings = over_https(&server);
    settings.on_rewrite = OnRewrite::Hold;
    let state = repository.folder.path().join("state");
    let following = Following::start(vec![settings.clone()], &state);
    following.until_head(&before).await;
    assert_eq!(following.follower.accept("site"), Ok(None), "nothing is held");
    repository.git(&["reset", "-q", "--hard", "HEAD~1"]);
    let after = repository.push("another way", &[("site.yaml", "another")]);
    assert!(following.until_failure().await.contains("formwork resume --rewritten"));
    assert_eq!(following.follower.accept("other"), Ok(None));
    assert_eq!(following.follower.accept("site"), Ok(Some((before, after.clone()))));
    following.until_head(&after).await;
    assert_eq!(following.text(&after, "site.yaml").await, "another");
    until("it is held no more", || following.status("site").failure.is_none()).await;
    assert_eq!(following.follower.accept("site"), Ok(None));
    // Also after a restart.
    drop(following);
    let following = Following::start(vec![settings], &state);
    following.until_head(&after).await;
    until("it was looked at", || following.status("site").last_success_unix_ms.is_some()).await;
    assert_eq!(following.status("site").failure, None);
}

#[tokio::test]
async fn a_tag_that_moves_is_rewritten_history() {
    let repository = Repository::new();
    let first = repository.push("first", &[("site.yaml", "one")]);
    repository.git(&["tag", "v1"]);
    repository.git(&["push", "-q", "--tags", "origin"]);
    let server = HttpsServer::start(repository.folder.path(), Some(&login()));
    let mut settings = over_https(&server);
    settings.follow = Follow::Tag("v1".to_owned());
    settings.on_rewrite = OnRewrite::Hold;
    let following = Following::start(vec![settings], &repository.folder.path().join("state"));
    following.until_head(&first).await;
    repository.push("second", &[("site.yaml", "two")]);
    repository.git(&["tag", "-f", "v1"]);
    repository.git(&["push", "-q", "-f", "--tags", "origin"]);
    let said = following.until_failure().await;
    assert!(said.contains("refs/tags/v1 was rewritten"), "{said}");
}
