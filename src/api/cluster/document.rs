//! The document as a whole.

use super::answers::{respond, tagged};
use super::asker::{Asker, read_body, read_nothing, versions};
use super::{ClusterAccess, Refused};
use crate::cluster::{Operation, document_view, has_condition, parse_patch};
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::Value;

/// JSON Patch (RFC 6902).
const JSON_PATCH: &str = "application/json-patch+json";
/// The same with `absent`.
const OUR_PATCH: &str = "application/vnd.formwork.patch+json";

/// `GET`: all of it.
pub(super) async fn read<A: ClusterAccess>(asker: Asker<A>) -> Result<Response, Refused> {
    asker.knows(&[])?;
    let context = asker.context()?;
    let document = asker.document(&context)?;
    let (epoch, version) = (document.epoch, document.version);
    let known = match asker.header("if-none-match")? {
        Some("*") => true,
        Some(list) => versions(list)?.contains(&(epoch, version)),
        None => false,
    };
    if known {
        return Ok(tagged(StatusCode::NOT_MODIFIED, epoch, version));
    }
    let body = document_view(&asker.cluster, &document, asker.secrets(), context.now_ms);
    Ok(tagged(axum::Json(body), epoch, version))
}

/// `PATCH`: many keys, all or nothing.
pub(super) async fn patch<A: ClusterAccess>(asker: Asker<A>, body: Body) -> Result<Response, Refused> {
    asker.knows(&[])?;
    let ours = match asker.content_type()?.as_str() {
        JSON_PATCH | "application/json" => false,
        OUR_PATCH => true,
        other => {
            let message = format!("`{other}` is not a patch; send {JSON_PATCH} or {OUR_PATCH}");
            return Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not-a-patch", message));
        }
    };
    let expected = match asker.header("if-match")? {
        None => None,
        Some("*") => Some(None),
        Some(list) => Some(Some(versions(list)?)),
    };
    let body = read_body(body).await?;
    let patch: Value = serde_json::from_slice(&body).map_err(|error| {
        Refused::new(StatusCode::UNPROCESSABLE_ENTITY, "bad-patch", format!("the body is not JSON: {error}"))
    })?;
    let steps = parse_patch(&patch, ours)?;
    if expected.is_none() && !has_condition(&steps) {
        return Err(Refused::new(
            StatusCode::PRECONDITION_REQUIRED,
            "condition-required",
            "a patch says what it expects to find",
        )
        .hint("test the versions of the keys it depends on: {\"op\": \"test\", \"path\": \"/keys/NAME/version\", \"value\": 42}"));
    }
    let operation = Operation::Patch { steps, versions: expected.flatten() };
    Ok(respond(asker.commit(operation).await?, true))
}

/// `POST freeze`, administrators: machines change nothing until it is thawed.
pub(super) async fn freeze<A: ClusterAccess>(asker: Asker<A>, body: Body) -> Result<Response, Refused> {
    asker.knows(&["reason"])?;
    read_nothing(body).await?;
    let reason = reason(&asker)?;
    Ok(respond(asker.commit(Operation::Freeze { reason }).await?, true))
}

/// `POST thaw`, administrators.
pub(super) async fn thaw<A: ClusterAccess>(asker: Asker<A>, body: Body) -> Result<Response, Refused> {
    asker.knows(&[])?;
    read_nothing(body).await?;
    Ok(respond(asker.commit(Operation::Thaw).await?, true))
}

/// Why it is asked: what stops or empties a whole cluster stands in the journal with its reason.
fn reason<A: ClusterAccess>(asker: &Asker<A>) -> Result<String, Refused> {
    match asker.word("reason").map(str::trim) {
        Some(reason) if !reason.is_empty() => Ok(reason.to_owned()),
        _ => Err(Refused::bad_request("the query says no reason").hint("add ?reason=WORDS, for the journal")),
    }
}

/// `POST reset`, administrators: a new epoch.
pub(super) async fn reset<A: ClusterAccess>(asker: Asker<A>, body: Body) -> Result<Response, Refused> {
    asker.knows(&["reason"])?;
    read_nothing(body).await?;
    let reason = reason(&asker)?;
    Ok(respond(asker.commit(Operation::Reset { reason }).await?, true))
}
