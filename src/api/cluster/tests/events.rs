use super::{Reply, Server};
use futures_util::StreamExt as _;
use std::time::Duration;

/// Events as they come, each as its lines.
struct Events {
    body: axum::body::BodyDataStream,
    text: String,
}

impl Events {
    fn of(mut reply: Reply) -> Self {
        assert_eq!((reply.status, reply.header("content-type")), (200, "text/event-stream"));
        Self { body: reply.body.take().expect("a stream").into_data_stream(), text: String::new() }
    }

    async fn next(&mut self) -> String {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let event = event.to_owned();
                self.text = rest.to_owned();
                return event;
            }
            let next = tokio::time::timeout(Duration::from_secs(10), self.body.next()).await.expect("in time");
            let bytes = next.expect("the stream goes on").expect("bytes");
            self.text.push_str(std::str::from_utf8(&bytes).expect("text"));
        }
    }
}

#[tokio::test]
async fn a_stream_tells_what_changes_and_resumes_where_it_was_cut() {
    let server = Server::start(Vec::new());
    server.ask("a", "PUT /v1/cluster/keys/x", &["if-match: *"], "1").await;
    let mut events = Events::of(server.ask("admin", "GET /v1/clusters/etcd/events", &[], "").await);
    let start = events.next().await;
    assert!(start.contains("id: 1.1") && start.contains("event: start"), "{start}");
    server.ask("a", "PUT /v1/cluster/keys/token?secret=1", &["if-match: *"], "hunter2").await;
    let change = events.next().await;
    assert!(change.contains("id: 1.2") && change.contains("\"key\":\"token\"") && change.contains("\"bytes\":7"));
    assert!(!change.contains("hunter2"), "secrets are not told");
    drop(events);
    server.ask("a", "DELETE /v1/cluster/keys/x", &["if-match: *"], "").await;
    server.ask("b", "POST /v1/cluster/claims/init", &[], "").await;
    let resume = ["last-event-id: 1.2"];
    let mut events = Events::of(server.ask("b", "GET /v1/cluster/events", &resume, "").await);
    events.next().await;
    let deleted = events.next().await;
    assert!(deleted.contains("id: 1.3") && deleted.contains("\"deleted\":true"), "{deleted}");
    assert!(events.next().await.contains("\"claim\":\"init\""));
    server.ask("admin", "POST /v1/clusters/etcd/reset?reason=r", &[], "").await;
    let reset = events.next().await;
    assert!(reset.contains("id: 2.5") && reset.contains("event: reset"), "{reset}");
    server.ask("a", "PUT /v1/cluster/keys/x", &["if-match: *"], "1").await;
    assert!(events.next().await.contains("id: 2.6"));
}

#[tokio::test]
async fn what_is_not_known_any_more_is_410() {
    let server = Server::start(Vec::new());
    let ahead = server.ask("a", "GET /v1/cluster/events", &["last-event-id: 1.99"], "").await;
    assert_eq!(ahead.code(), (410, "compacted".to_owned()));
    assert_eq!(server.ask("a", "GET /v1/cluster/events?after=x", &[], "").await.status, 400);
}
