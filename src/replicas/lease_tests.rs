//! What a replica does before it has seen the others, on a mock of the API server.

use super::*;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};

/// An API server that says so many times that it cannot, and has then one other replica's Lease, which was just renewed.
async fn api_server(cannot: u32) -> (kube::Config, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let list = async move |State(cannot): State<u32>| -> Response {
        if counted.fetch_add(1, Ordering::SeqCst) < cannot {
            let status = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503,
                "reason": "ServiceUnavailable", "message": "not now"});
            return (StatusCode::SERVICE_UNAVAILABLE, Json(status)).into_response();
        }
        let now = jiff::Timestamp::now().to_string();
        let other = json!({"metadata": {"name": "formwork-replica-a", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "spec": {"holderIdentity": "other", "renewTime": now}});
        Json(json!({"kind": "LeaseList", "apiVersion": "coordination.k8s.io/v1", "metadata": {}, "items": [other]}))
            .into_response()
    };
    let keep = async |Json(mut lease): Json<Value>| {
        lease["metadata"]["creationTimestamp"] = "2026-01-02T00:00:00Z".into();
        Json(lease)
    };
    let leases = "/apis/coordination.k8s.io/v1/namespaces/lab/leases";
    let routes = Router::new()
        .route(leases, get(list).post(keep))
        .route(&format!("{leases}/{{name}}"), put(keep))
        .with_state(cannot);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    (kube::Config::new(url.parse().unwrap()), asked)
}

#[tokio::test]
async fn a_replica_that_starts_decides_nothing_before_it_has_seen_the_others() {
    let (config, asked) = api_server(2).await;
    let (replicas, _kept) = join(config, "lab", "b", None).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 4, "twice in vain, and twice with an answer");
    let standing = replicas.standing();
    assert_eq!(standing.live, ["a", "b"]);
    assert_eq!(standing.leader.as_deref(), Some("a"), "it is the older");
}

#[test]
fn what_passes_is_waited_for_and_nothing_else_is() {
    let namespace = || "lab".to_owned();
    let away = ReplicasError::Away { namespace: namespace(), message: String::new() };
    let forbidden = ReplicasError::Forbidden { namespace: namespace(), message: String::new() };
    let taken = ReplicasError::Taken { name: "b".to_owned(), namespace: namespace() };
    for (fault, waited, again) in
        [(&away, 0, true), (&away, 59, true), (&away, 60, false), (&forbidden, 0, false), (&taken, 0, false)]
    {
        assert_eq!(is_waited_for(fault, Duration::from_secs(waited)), again, "{fault} after {waited}");
    }
}
