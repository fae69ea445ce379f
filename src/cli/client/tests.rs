//! The client against a stand-in for the server on loopback (`Double`: real TLS, made-up answers).

use super::*;
use crate::api::views::{AllowBody, Phase, ReconcileAnswer};
use crate::cli::double::Double;
use crate::cli::follow::Follower;
use crate::cli::testing::{detail, machine, one_run};
use crate::wire::Problem;
use axum::extract::{Path, Query, Request};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use std::collections::HashMap;

fn problem(status: StatusCode, code: &str) -> Response {
    let problem = Problem { code: code.to_owned(), message: format!("it is {code}"), hint: None, retry: false };
    (status, Json(problem)).into_response()
}

async fn authenticated(request: Request, next: Next) -> Response {
    if request.headers().get("authorization").is_some_and(|value| value == "Bearer the-secret") {
        next.run(request).await
    } else {
        problem(StatusCode::UNAUTHORIZED, "unauthenticated")
    }
}

async fn events(Query(query): Query<HashMap<String, String>>) -> Json<EventPage> {
    let number = |name: &str| query.get(name).and_then(|value| value.parse::<u64>().ok()).unwrap_or_default();
    let after = number("after");
    // A server may give less at once than was asked for.
    let items: Vec<_> = one_run("node-1", 0).into_iter().filter(|record| record.sequence > after).take(4).collect();
    let next = items.last().map_or(after, |record| record.sequence);
    Json(EventPage { items, next })
}

async fn log(Path(job): Path<String>, Query(query): Query<HashMap<String, String>>) -> Response {
    const LOG: &[u8] = b"one\ntwo\nthree\n";
    if job != "j1" {
        return problem(StatusCode::NOT_FOUND, "no-such-job");
    }
    let from = query.get("from").and_then(|value| value.parse().ok()).unwrap_or(0).min(LOG.len());
    let piece = &LOG[from..(from + 5).min(LOG.len())];
    let mut headers = HeaderMap::new();
    headers.insert("formwork-log-length", LOG.len().into());
    headers.insert("formwork-log-complete", "true".parse().unwrap());
    (headers, piece.to_vec()).into_response()
}

/// Says what came as a body.
async fn reconcile(headers: HeaderMap, body: String) -> Json<ReconcileAnswer> {
    let typed = headers.contains_key("content-type");
    Json(ReconcileAnswer { message: format!("{typed} {body}"), token: 1, sources: Vec::new() })
}

fn double() -> Double {
    let list = || async {
        Json(List { revision: Some("r1".to_owned()), held: None, items: vec![machine("node-1", Phase::Ready)] })
    };
    let one = |Path(name): Path<String>| async move {
        match name.as_str() {
            "node-1" => Json(detail("node-1")).into_response(),
            // What arrives is what was typed, even if that looks like a path.
            "../status" => Json(detail("escaped")).into_response(),
            _ => problem(StatusCode::NOT_FOUND, "no-such-machine"),
        }
    };
    let ask = |Path((name, verb)): Path<(String, String)>, Json(body): Json<AskBody>| async move {
        match verb.as_str() {
            "retry" => Json(AskAnswer { message: format!("{name}: {}", body.reason) }).into_response(),
            _ => problem(StatusCode::CONFLICT, "nothing-to-do"),
        }
    };
    let routes = Router::new()
        .route("/v1/machines", get(list))
        .route("/v1/machines/{name}", get(one))
        .route("/v1/machines/{name}/{verb}", post(ask))
        .route("/v1/reconcile", post(reconcile))
        .route("/v1/events", get(events))
        .route("/v1/jobs/{job}/log", get(log))
        .route("/v1/status", get(|| async { "this is not JSON" }))
        .route("/v1/boxes", get(|| async { (StatusCode::FOUND, [("location", "/v1/machines")]) }))
        .layer(axum::middleware::from_fn(authenticated));
    Double::serve(routes)
}

#[test]
fn lists_and_details_come_over_tls_with_the_token() {
    let double = double();
    let client = Client::new(&double.context).unwrap();
    assert_eq!(client.machines().unwrap().items, [machine("node-1", Phase::Ready)]);
    assert_eq!(client.machine("node-1").unwrap(), detail("node-1"));
    assert_eq!(client.machine("../status").unwrap().summary.name, "escaped");
}

#[test]
fn a_request_that_says_nothing_has_no_body() {
    let double = double();
    let client = Client::new(&double.context).unwrap();
    let said = |body: &AllowBody| client.reconcile(body).unwrap().message;
    assert_eq!(said(&AllowBody::default()), "false ");
    let meant = AllowBody { allow_empty: true, ..AllowBody::default() };
    assert_eq!(said(&meant), r#"true {"reason":"","allowEmpty":true}"#);
}

#[test]
fn a_wrong_token_is_refused_and_never_shown() {
    let double = double();
    let mut context = double.context.clone();
    context.token = "another-secret".to_owned();
    let error = Client::new(&context).unwrap().machines().unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.hint().is_some_and(|hint| hint.contains("token")));
    assert!(!format!("{error} {error:?}").contains("another-secret"));
}

#[test]
fn a_server_of_another_authority_is_not_spoken_to() {
    let (double, other) = (double(), double());
    let mut context = double.context.clone();
    context.ca_certificate = other.context.ca_certificate.clone();
    let error = Client::new(&context).unwrap().machines().unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.hint().is_some_and(|hint| hint.contains("authority")), "{error}");
    context.ca_certificate = "no certificate".to_owned();
    assert_eq!(Client::new(&context).map(|_| ()).unwrap_err().exit_code(), 2);
}

#[test]
fn a_server_that_is_gone_is_unreachable_and_the_error_names_it() {
    let context = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut context = double().context.clone();
        context.server = format!("https://{}", listener.local_addr().unwrap());
        context
    };
    let error = Client::new(&context).unwrap().machines().unwrap_err();
    assert_eq!(error.exit_code(), 5);
    assert!(error.is_passing() && error.to_string().contains(&context.server), "{error}");
}

#[test]
fn a_port_that_speaks_no_tls_is_told_as_that_with_the_one_that_is_meant() {
    use std::io::{Read as _, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut context = double().context.clone();
    context.server = format!("https://{}", listener.local_addr().unwrap());
    let boot_server = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        let mut hello = [0; 64];
        assert!(peer.read(&mut hello).unwrap() > 0);
        peer.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").unwrap();
    });
    let error = Client::new(&context).unwrap().machines().unwrap_err();
    boot_server.join().unwrap();
    assert!(error.exit_code() == 5 && error.to_string().contains("does not speak TLS"), "{error}");
    assert!(error.hint().unwrap().contains("port of the API (8443"), "{:?}", error.hint());
}

#[test]
fn refusals_and_what_is_not_there_are_told_apart() {
    let double = double();
    let client = Client::new(&double.context).unwrap();
    assert_eq!(client.machine("node-9").unwrap_err().exit_code(), 3);
    let body = AskBody { reason: "mended the disk".to_owned(), new: false };
    assert_eq!(client.ask("node-1", "retry", &body).unwrap().message, "node-1: mended the disk");
    let error = client.ask("node-1", "skip", &body).unwrap_err();
    assert_eq!((error.exit_code(), error.to_string().as_str()), (4, "it is nothing-to-do"));
}

#[test]
fn an_answer_of_another_kind_is_an_error_and_no_redirect_is_followed() {
    let double = double();
    let client = Client::new(&double.context).unwrap();
    assert!(matches!(client.status(), Err(CliError::Answer { .. })));
    assert!(client.boxes().is_err());
}

#[test]
fn events_are_read_page_by_page_to_the_end_without_one_lost_or_doubled() {
    let double = double();
    let client = Client::new(&double.context).unwrap();
    let mut seen = Vec::new();
    let mut follower = Follower::new(&client, 0, None);
    follower
        .up_to_now(|records| {
            seen.extend(records.iter().map(|record| record.sequence));
            Ok(())
        })
        .unwrap();
    assert_eq!(seen, (1..=one_run("node-1", 0).len() as u64).collect::<Vec<_>>());
}

#[test]
fn a_log_comes_in_pieces_by_offset() {
    let double = double();
    let client = Client::new(&double.context).unwrap();
    let mut log = Vec::new();
    loop {
        let piece = client.log("j1", log.len() as u64, Duration::ZERO).unwrap();
        log.extend(piece.bytes);
        if piece.complete && log.len() as u64 >= piece.length {
            break;
        }
    }
    assert_eq!(log, b"one\ntwo\nthree\n");
    assert_eq!(client.log("j2", 0, Duration::ZERO).unwrap_err().exit_code(), 3);
}

#[test]
fn names_cannot_leave_their_segment_of_the_path() {
    for (name, expected) in
        [("node-1.rack", "node-1.rack"), ("..", "%2E%2E"), ("a/b?c#d", "a%2Fb%3Fc%23d"), ("é", "%C3%A9")]
    {
        assert_eq!(segment(name), expected);
    }
}
