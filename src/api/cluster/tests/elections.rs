use super::Server;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn first_in_leads_and_the_words_are_for_scripts() {
    let server = Server::start(Vec::new());
    let ask = |token| server.ask(token, "POST /v1/cluster/claims/init?ttl=15m", &["accept: */*"], "");
    assert_eq!(ask("a").await.text, "leader 1\n");
    assert_eq!(ask("b").await.text, "follower 1\n");
    assert_eq!(ask("a").await.text, "leader 1\n");
    let said = server.ask("b", "POST /v1/cluster/claims/init", &["accept: application/json"], "").await.json();
    assert_eq!((&said["role"], &said["state"], &said["holder"]), (&json!("follower"), &json!("held"), &json!("a")));
    let renewed = server.ask("a", "PUT /v1/cluster/claims/init?fence=1&ttl=20m", &[], "").await;
    assert_eq!((renewed.status, renewed.text.as_str()), (200, "leader 1\n"));
    let body = r#"{"join-command": "kubeadm join", "ca": {"pem": "…"}}"#;
    let other = server.ask("b", "POST /v1/cluster/claims/init/done?fence=1", &[], body).await;
    assert_eq!(other.code(), (409, "fence-lost".to_owned()));
    assert_eq!(server.ask("a", "POST /v1/cluster/claims/init/done", &[], body).await.status, 400);
    assert_eq!(server.ask("a", "POST /v1/cluster/claims/init/done?fence=1", &[], "[1]").await.status, 400);
    let form = ["content-type: application/x-www-form-urlencoded"];
    let done = server.ask("a", "POST /v1/cluster/claims/init/done?fence=1", &form, body).await;
    assert_eq!((done.status, done.text.as_str()), (200, "leader 1 done\n"));
    assert_eq!(ask("a").await.text, "leader 1 done\n");
    assert_eq!(ask("a:2").await.text, "follower 1\n", "a later run follows");
    assert_eq!(server.ask("b", "GET /v1/cluster/keys/join-command", &[], "").await.json(), json!("kubeadm join"));
}

#[tokio::test]
async fn a_body_that_would_have_no_effect_is_refused_and_changes_nothing() {
    let server = Server::start(Vec::new());
    server.ask("a", "POST /v1/cluster/claims/init?ttl=15m", &[], "").await;
    server.ask("a", "PUT /v1/cluster/keys/k", &["if-none-match: *"], "v").await;
    let before = server.document();
    for (line, headers) in [
        ("POST /v1/cluster/claims/other", &[][..]),
        ("PUT /v1/cluster/claims/init?fence=1&ttl=20m", &[]),
        ("POST /v1/cluster/claims/init/fail?fence=1", &[]),
        ("PUT /v1/cluster/sets/servers/self", &[]),
        ("DELETE /v1/cluster/keys/k", &["if-match: *"]),
    ] {
        for body in [r#"{"ttl": "1h"}"#, "ttl=1h", "[]"] {
            let refused = server.ask("a", line, headers, body).await;
            assert_eq!(refused.code(), (422, "body-wrong".to_owned()), "{line} with {body}");
        }
        assert_eq!(server.document(), before, "{line}");
    }
    let asked = server.ask("a", "POST /v1/cluster/claims/other", &[], "{}").await;
    assert_eq!(asked.status, 200, "an object that says nothing: {}", asked.text);
}

#[tokio::test]
async fn a_follower_waits_for_what_the_leader_publishes() {
    let server = Server::start(Vec::new());
    server.ask("a", "POST /v1/cluster/claims/init?ttl=15m", &[], "").await;
    let waiting = {
        let server = server.clone();
        tokio::spawn(async move {
            server.ask("b", "GET /v1/cluster/keys/join?wait=30s&of=init", &["accept: text/plain"], "").await
        })
    };
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    server.ask("a", "POST /v1/cluster/claims/init/done?fence=1", &[], r#"{"join": "here"}"#).await;
    let reply = waiting.await.expect("woken");
    assert_eq!((reply.status, reply.text.as_str(), reply.header("etag")), (200, "here", "\"1.2\""));
}

#[tokio::test]
async fn who_waits_for_a_claim_is_told_when_it_falls_or_fails() {
    let server = Server::start(Vec::new());
    server.ask("a", "POST /v1/cluster/claims/init?ttl=1s", &[], "").await;
    let began = std::time::Instant::now();
    let expired = server.ask("b", "GET /v1/cluster/keys/join?wait=30s&of=init", &[], "").await;
    assert_eq!(expired.code(), (424, "vacant".to_owned()));
    let waited = began.elapsed();
    assert!(waited > Duration::from_millis(800) && waited < Duration::from_secs(5), "{waited:?}");
    let taken = server.ask("b", "POST /v1/cluster/claims/init", &["accept: application/json"], "").await.json();
    assert_eq!((&taken["role"], &taken["takeover"]), (&json!("leader"), &json!(true)));
    assert_eq!(taken["previous"]["machine"], json!("a"));
    let late = server.ask("a", "POST /v1/cluster/claims/init/done?fence=1", &[], r#"{"join": "late"}"#).await;
    assert_eq!(late.code(), (409, "fence-lost".to_owned()));
    let fence = &taken["fence"];
    let line = format!("POST /v1/cluster/claims/init/fail?fence={fence}&reason=no%20disk");
    assert_eq!(server.ask("b", &line, &[], "").await.status, 200);
    let failed = server.ask("c", "GET /v1/cluster/keys/join?wait=30s&of=init", &[], "").await;
    assert_eq!(failed.code(), (424, "failed".to_owned()));
    assert!(failed.text.contains("no disk"));
}

#[tokio::test]
async fn a_barrier_is_one_call_and_opens_for_all_at_once() {
    let server = Server::start(Vec::new());
    let early = server.ask("a", "PUT /v1/cluster/sets/ready/self?wait=10ms", &[], "").await;
    assert_eq!(early.code(), (408, "not-yet".to_owned()));
    assert_eq!(early.header("retry-after"), "1");
    let wait = |token: &'static str| {
        let server = server.clone();
        tokio::spawn(
            async move { server.ask(token, "PUT /v1/cluster/sets/ready/self?wait=30s&count=all", &[], "").await },
        )
    };
    let (a, b) = (wait("a"), wait("b"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!a.is_finished() && !b.is_finished());
    let c =
        server.ask("c", "PUT /v1/cluster/sets/ready/self?wait=30s&count=all", &["accept: application/json"], "").await;
    assert_eq!((c.status, &c.json()["ordinal"], &c.json()["opened"]["joined"]), (201, &json!(2), &json!(3)));
    let (a, b) = (a.await.expect("woken"), b.await.expect("woken"));
    assert_eq!((a.status, a.text.as_str(), b.status, b.text.as_str()), (200, "0\n", 201, "1\n"));
    let members = server.ask("b", "GET /v1/cluster/sets/ready?wait=1s&count=3", &["accept: text/plain"], "").await;
    assert_eq!((members.status, members.text.as_str()), (200, "a\nb\nc\n"));
    assert_eq!(server.ask("b", "GET /v1/cluster/sets/other", &[], "").await.json()["members"], json!([]));
    assert_eq!(server.ask("b", "PUT /v1/cluster/sets/ready/self?count=0", &[], "").await.status, 400);
}

#[tokio::test]
async fn a_barrier_opens_when_the_cluster_shrank_to_who_is_there() {
    let server = Server::start(Vec::new());
    for token in ["a", "b"] {
        assert_eq!(server.ask(token, "PUT /v1/cluster/sets/ready/self", &[], "").await.status, 201);
    }
    server.site.members.lock().expect("members").retain(|name| name != "c");
    let all = "PUT /v1/cluster/sets/ready/self?wait=10ms&count=all";
    assert_eq!(server.ask("a", all, &[], "").await.status, 408, "never below the declared size");
    let two = server.ask("a", "GET /v1/cluster/sets/ready?wait=10ms&count=2", &[], "").await;
    assert_eq!(two.status, 200);
    assert!(server.document().sets.get("ready").is_some_and(|set| set.barriers.iter().any(|at| at.opened.is_some())));
}
