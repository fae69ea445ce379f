use super::Server;
use crate::content::kinds::KeySpec;
use serde_json::json;

const JSON: &str = "content-type: application/json";

#[tokio::test]
async fn a_key_is_created_compared_swapped_overwritten_and_deleted() {
    let server = Server::start(Vec::new());
    let create = server.ask("a", "PUT /v1/cluster/keys/etcd/token", &["if-none-match: *"], "abc").await;
    assert_eq!((create.status, create.header("etag")), (201, "\"1.1\""));
    let again = server.ask("b", "PUT /v1/cluster/keys/etcd/token", &["if-none-match: *"], "def").await;
    assert_eq!(again.code(), (412, "condition".to_owned()));
    assert_eq!(again.header("etag"), "\"1.1\"");
    assert_eq!(again.json()["current"], json!({"version": 1, "value": "abc"}));
    let none = server.ask("b", "PUT /v1/cluster/keys/etcd/token", &[], "def").await;
    assert_eq!(none.code(), (428, "condition-required".to_owned()));
    let swap = server.ask("b", "PUT /v1/cluster/keys/etcd/token", &["if-match: \"1.1\"", JSON], "{\"n\":1}").await;
    assert_eq!((swap.status, swap.header("etag")), (200, "\"1.2\""));
    let stale = server.ask("b", "PUT /v1/cluster/keys/etcd/token", &["if-match: \"1.1\""], "x").await;
    assert_eq!(stale.status, 412);
    let read = server.ask("c", "GET /v1/cluster/keys/etcd/token", &[], "").await;
    assert_eq!((read.status, read.json(), read.header("etag")), (200, json!({"n": 1}), "\"1.2\""));
    let known = server.ask("c", "GET /v1/cluster/keys/etcd/token", &["if-none-match: \"1.2\""], "").await;
    assert_eq!((known.status, known.text.as_str()), (304, ""));
    assert_eq!(server.ask("c", "DELETE /v1/cluster/keys/etcd/token", &[], "").await.status, 428);
    assert_eq!(server.ask("c", "DELETE /v1/cluster/keys/etcd/token", &["if-match: \"1.1\""], "").await.status, 412);
    assert_eq!(server.ask("c", "DELETE /v1/cluster/keys/etcd/token", &["if-match: \"1.2\""], "").await.status, 200);
    let gone = server.ask("c", "GET /v1/cluster/keys/etcd/token", &[], "").await;
    assert_eq!(gone.code(), (404, "no-such-key".to_owned()));
}

#[tokio::test]
async fn a_scalar_is_json_or_just_as_it_was_put() {
    let server = Server::start(Vec::new());
    server.ask("a", "PUT /v1/cluster/keys/join", &["if-match: *"], "kubeadm join\n").await;
    server.ask("a", "PUT /v1/cluster/keys/count", &["if-match: *", JSON], "7").await;
    let raw = server.ask("b", "GET /v1/cluster/keys/join", &["accept: text/plain"], "").await;
    assert_eq!((raw.text.as_str(), raw.header("content-type")), ("kubeadm join\n", "text/plain; charset=utf-8"));
    assert_eq!(
        server.ask("b", "GET /v1/cluster/keys/join", &["accept: */*"], "").await.json(),
        json!("kubeadm join\n")
    );
    assert_eq!(server.ask("b", "GET /v1/cluster/keys/count", &["accept: text/plain"], "").await.text, "7\n");
    assert_eq!(server.ask("b", "GET /v1/cluster/keys/count", &[], "").await.json(), json!(7));
}

#[tokio::test]
async fn mistakes_have_their_own_statuses() {
    let server = Server::start(vec![KeySpec {
        name: "number".to_owned(),
        schema: Some(json!({"type": "integer"})),
        writers: Default::default(),
        immutable: true,
        secret: false,
        param: false,
    }]);
    let any = "if-match: *";
    for (token, line, headers, body, status) in [
        ("z", "PUT /v1/cluster/keys/x", vec![any], "1", 403),
        ("a", "PUT /v1/cluster/keys/X", vec![any], "1", 400),
        ("a", "PUT /v1/cluster/keys/a/.b", vec![any], "1", 400),
        ("a", "PUT /v1/cluster/keys/x?sercet=1", vec![any], "1", 400),
        ("a", "PUT /v1/cluster/keys/x", vec![any, JSON], "{", 400),
        ("a", "PUT /v1/cluster/keys/x", vec!["if-match: 42"], "1", 400),
        ("a", "PUT /v1/cluster/keys/x", vec![any, "if-none-match: *"], "1", 400),
        ("a", "PUT /v1/cluster/keys/number", vec![any], "seven", 422),
        ("a", "PUT /v1/cluster/keys/number", vec![any, JSON], "7", 201),
        ("a", "PUT /v1/cluster/keys/number", vec![any, JSON], "8", 409),
        ("a", "PUT /v1/cluster/keys/x", vec![any, "fence: init=3"], "1", 409),
        ("a", "PUT /v1/cluster/keys/x", vec![any, "fence: init"], "1", 400),
        ("a", "GET /v1/cluster/keys/x?wait=soon", vec![], "", 400),
        ("a", "POST /v1/cluster/reset", vec![], "", 404),
        ("a", "POST /v1/clusters/etcd/reset", vec![], "", 401),
        ("admin", "GET /v1/cluster", vec![], "", 401),
        ("admin", "GET /v1/clusters/other", vec![], "", 404),
        ("admin", "POST /v1/clusters/etcd/claims/init", vec![], "", 403),
        ("admin", "POST /v1/clusters/etcd/reset?reason=r", vec![JSON], r#"{"reason": "r"}"#, 422),
        ("admin", "POST /v1/clusters/etcd/freeze?reason=r", vec![JSON], r#"["r"]"#, 422),
        ("admin", "POST /v1/clusters/etcd/reset", vec![JSON], "{}", 400),
        ("admin", "POST /v1/clusters/etcd/reset?reason=", vec![], "", 400),
        ("admin", "POST /v1/clusters/etcd/freeze?reason=%20", vec![], "", 400),
        ("admin", "POST /v1/clusters/etcd/thaw", vec![], "now", 422),
        ("admin", "POST /v1/clusters/etcd/reset?reason=r", vec![JSON], "{}", 200),
    ] {
        let reply = server.ask(token, line, &headers, body).await;
        assert_eq!(reply.status, status, "{token} {line} {headers:?}: {}", reply.text);
    }
    let told = server.ask("admin", "POST /v1/clusters/etcd/reset", &[], "").await.text;
    assert!(told.contains("no reason") && told.contains("?reason=WORDS"), "{told}");
    let large = "x".repeat(64 * 1024 + 1);
    assert_eq!(server.ask("a", "PUT /v1/cluster/keys/x", &[any], &large).await.code(), (413, "too-large".to_owned()));
    let larger = "x".repeat(2 << 20);
    assert_eq!(server.ask("a", "PUT /v1/cluster/keys/x", &[any], &larger).await.status, 413);
}

#[tokio::test]
async fn a_patch_is_all_or_nothing_and_needs_a_condition() {
    let server = Server::start(Vec::new());
    server.ask("a", "PUT /v1/cluster/keys/x", &["if-match: *", JSON], "1").await;
    let patch = "content-type: application/json-patch+json";
    let ours = "content-type: application/vnd.formwork.patch+json";
    let add = r#"[{"op": "add", "path": "/keys/y", "value": {"value": 2}}]"#;
    assert_eq!(server.ask("a", "PATCH /v1/cluster", &[patch], add).await.status, 428);
    assert_eq!(server.ask("a", "PATCH /v1/cluster", &[patch, "if-match: \"1.0\""], add).await.status, 412);
    assert_eq!(server.ask("a", "PATCH /v1/cluster", &[patch, "if-match: \"1.1\""], add).await.status, 200);
    let absent = r#"[{"op": "absent", "path": "/keys/z"}, {"op": "add", "path": "/keys/z", "value": {"value": 3}}]"#;
    assert_eq!(server.ask("a", "PATCH /v1/cluster", &[patch], absent).await.code(), (422, "bad-patch".to_owned()));
    let done = server.ask("a", "PATCH /v1/cluster", &[ours], absent).await;
    assert_eq!((done.status, done.header("etag")), (200, "\"1.3\""));
    let failed = server.ask("a", "PATCH /v1/cluster", &[ours], absent).await;
    assert_eq!(failed.code(), (409, "patch-failed".to_owned()));
    assert_eq!((&failed.json()["operation"], &failed.json()["met"]["value"]), (&json!(0), &json!(3)));
    assert_eq!(server.ask("a", "PATCH /v1/cluster", &["content-type: text/plain"], add).await.status, 415);
}

#[tokio::test]
async fn a_reply_that_was_lost_is_given_again() {
    let server = Server::start(Vec::new());
    let headers = ["if-none-match: *", "idempotency-key: 7f3a"];
    let first = server.ask("a", "PUT /v1/cluster/keys/x", &headers, "1").await;
    let second = server.ask("a", "PUT /v1/cluster/keys/x", &headers, "1").await;
    assert_eq!((second.status, second.header("etag"), &second.text), (201, first.header("etag"), &first.text));
    assert_eq!(server.ask("a", "PUT /v1/cluster/keys/x", &headers, "2").await.status, 422);
    assert_eq!(server.document().version, 1);
}

#[tokio::test]
async fn administrators_see_that_there_is_a_secret_and_how_long_it_is() {
    let server = Server::start(Vec::new());
    server.ask("a", "PUT /v1/cluster/keys/token?secret=1", &["if-none-match: *"], "hunter2").await;
    for line in ["GET /v1/clusters/etcd", "GET /v1/clusters/etcd/keys/token"] {
        let reply = server.ask("admin", line, &["accept: text/plain"], "").await;
        assert_eq!(reply.status, 200);
        assert!(reply.text.contains("\"bytes\":7") && !reply.text.contains("hunter2"), "{}", reply.text);
    }
    let refused = server.ask("admin", "PUT /v1/clusters/etcd/keys/token", &["if-none-match: *"], "x").await;
    assert!(refused.status == 412 && !refused.text.contains("hunter2"));
    let member = server.ask("b", "GET /v1/cluster/keys/token", &["accept: text/plain"], "").await;
    assert_eq!(member.text, "hunter2");
}
