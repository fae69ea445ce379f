use super::Server;
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_wait_ends_with_408_and_the_word_to_ask_again() {
    let server = Server::start(Vec::new());
    let reply = server.ask("a", "GET /v1/cluster/keys/x?wait=30ms", &[], "").await;
    assert_eq!(reply.code(), (408, "not-yet".to_owned()));
    assert_eq!((reply.header("retry-after"), &reply.json()["retry"]), ("1", &serde_json::json!(true)));
}

#[tokio::test]
async fn what_a_machine_waits_for_is_shown_while_it_waits_and_an_administrators_wait_is_not() {
    let server = Server::start(Vec::new());
    server.ask("a", "POST /v1/cluster/claims/init?ttl=1m", &[], "").await;
    for (who, question) in [
        ("b", "GET /v1/cluster/keys/etcd/bootstrap?wait=20ms&of=init"),
        ("b", "GET /v1/cluster/keys/plain?wait=20ms"),
        ("b", "PUT /v1/cluster/sets/joined/self?wait=20ms"),
        ("c", "PUT /v1/cluster/sets/joined/self?wait=20ms&count=5"),
        ("admin", "GET /v1/clusters/etcd/keys/plain?wait=20ms"),
    ] {
        assert_eq!(server.ask(who, question, &[], "").await.status, 408, "{question}");
    }
    let shown = std::mem::take(&mut *server.site.shown.lock().expect("shown"));
    let words: Vec<String> = shown
        .iter()
        .map(|(machine, _, what)| format!("{machine} {}", what.as_deref().unwrap_or("no longer")))
        .collect();
    assert_eq!(
        words,
        [
            "b key etcd/bootstrap (a leads)",
            "b no longer",
            "b key plain",
            "b no longer",
            "b barrier joined 1/3",
            "b no longer",
            "c barrier joined 2/5",
            "c no longer"
        ]
    );
    assert!(shown.chunks(2).all(|pair| pair.iter().all(|(_, wait, _)| Some(*wait) == pair.first().map(|it| it.1))));
}

#[tokio::test]
async fn after_waits_for_something_newer() {
    let server = Server::start(Vec::new());
    server.ask("a", "PUT /v1/cluster/keys/x", &["if-match: *"], "old").await;
    assert_eq!(server.ask("b", "GET /v1/cluster/keys/x?wait=20ms&after=1", &[], "").await.status, 408);
    let waiting = {
        let server = server.clone();
        tokio::spawn(async move { server.ask("b", "GET /v1/cluster/keys/x?wait=20s&after=1.1", &[], "").await })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    server.ask("a", "PUT /v1/cluster/keys/y", &["if-match: *"], "other").await;
    server.ask("a", "PUT /v1/cluster/keys/x", &["if-match: *"], "new").await;
    assert_eq!(waiting.await.expect("woken").text, "\"new\"");
}

#[tokio::test]
async fn a_reset_ends_a_wait_with_410() {
    let server = Server::start(Vec::new());
    server.ask("a", "PUT /v1/cluster/keys/y", &["if-match: *"], "1").await;
    let waiting = {
        let server = server.clone();
        tokio::spawn(async move { server.ask("b", "GET /v1/cluster/keys/x?wait=20s", &[], "").await })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert_eq!(server.ask("admin", "POST /v1/clusters/etcd/reset?reason=r", &[], "").await.status, 200);
    assert_eq!(waiting.await.expect("woken").code(), (410, "epoch-over".to_owned()));
    let old = server.ask("b", "GET /v1/cluster/keys/y?wait=20s&after=1.1", &[], "").await;
    assert_eq!(old.status, 410, "what is asked after is of another epoch");
}

#[tokio::test]
async fn who_leaves_the_cluster_is_not_told_what_it_waited_for() {
    let server = Server::start(Vec::new());
    let waiting = {
        let server = server.clone();
        tokio::spawn(async move { server.ask("b", "GET /v1/cluster/keys/x?wait=20s", &[], "").await })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    server.site.members.lock().expect("members").retain(|name| name != "b");
    server.ask("a", "PUT /v1/cluster/keys/x", &["if-match: *"], "hunter2").await;
    let reply = waiting.await.expect("woken");
    assert_eq!(reply.code(), (403, "not-a-member".to_owned()));
}

#[tokio::test]
async fn a_token_waits_for_64_things_at_most() {
    let server = Server::start(Vec::new());
    let waits: Vec<_> = (0..64)
        .map(|_| {
            let server = server.clone();
            tokio::spawn(async move { server.ask("b", "GET /v1/cluster/keys/x?wait=20s", &[], "").await.status })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let over = server.ask("b", "GET /v1/cluster/keys/x?wait=20s", &[], "").await;
    assert_eq!(over.code(), (429, "too-many-waits".to_owned()));
    assert!(!over.header("retry-after").is_empty());
    assert_eq!(server.ask("b", "GET /v1/cluster/keys/x", &[], "").await.status, 404, "a question is no wait");
    server.ask("a", "PUT /v1/cluster/keys/x", &["if-match: *"], "1").await;
    for wait in waits {
        assert_eq!(wait.await.expect("woken"), 200);
    }
    assert_eq!(server.ask("b", "GET /v1/cluster/keys/x?wait=1s", &[], "").await.status, 200, "they count no more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waiters_are_woken_by_one_commit() {
    let members: Vec<String> = (0..1_001).map(|number| format!("m{number}")).collect();
    let server = Server::with_members(Vec::new(), members);
    let waits: Vec<_> = (1..1_001)
        .map(|number| {
            let server = server.clone();
            let token = format!("m{number}");
            tokio::spawn(async move { server.ask(&token, "GET /v1/cluster/keys/x?wait=50s", &[], "").await.status })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(waits.iter().all(|wait| !wait.is_finished()));
    let began = Instant::now();
    server.ask("m0", "PUT /v1/cluster/keys/x", &["if-match: *"], "1").await;
    for wait in waits {
        assert_eq!(wait.await.expect("woken"), 200);
    }
    let took = began.elapsed();
    println!("a thousand waiters were answered in {took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}
