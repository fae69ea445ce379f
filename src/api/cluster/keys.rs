//! `/keys/{key}`.

use super::answers::{line, respond, tagged};
use super::asker::{Asker, gone, read_body, read_nothing, versions};
use super::wait::{Look, wait_for};
use super::{ClusterAccess, Desk, Refused};
use crate::cluster::{
    ClaimStanding, ClaimState, Content, Context, Document, Entry, Operation, Secrets, check_key, check_name,
    entry_json, parse_etag,
};
use axum::body::Body;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::sync::Arc;

/// `GET keys/{key}?wait=55s[&after=V][&of=claim]`.
pub(super) async fn read<A: ClusterAccess>(asker: Asker<A>) -> Result<Response, Refused> {
    asker.knows(&["wait", "after", "of"])?;
    let key = asker.param("key")?;
    check_key(key)?;
    let claim = asker.word("of");
    if let Some(claim) = claim {
        check_name(claim)?;
    }
    let after = asker.word("after").map(read_after).transpose()?;
    let say = |document: &Document, context: &Context| {
        let leads = claim
            .and_then(|claim| document.claims.get(claim))
            .filter(|claim| claim.standing(context.now_ms) == ClaimStanding::Held)
            .map(|claim| format!(" ({} leads)", claim.grant.machine));
        format!("key {key}{}", leads.unwrap_or_default())
    };
    let found = wait_for(&asker, asker.wait()?, say, |document, context| {
        let newer = match after {
            Some((Some(epoch), _)) if epoch != document.epoch => return Err(gone(document.epoch, epoch)),
            Some((_, version)) => version,
            None => 0,
        };
        match document.keys.get(key).filter(|entry| entry.version > newer) {
            Some(entry) => Ok(Look::Found((document.epoch, entry.clone()))),
            None => producer(document, context, claim),
        }
    })
    .await?;
    let Some((epoch, entry)) = found else {
        return Err(Refused::new(StatusCode::NOT_FOUND, "no-such-key", format!("there is no key `{key}` (yet)"))
            .hint("wait=55s waits for it"));
    };
    let known = match asker.header("if-none-match")? {
        Some("*") => true,
        Some(list) => versions(list)?.contains(&(epoch, entry.version)),
        None => false,
    };
    if known {
        return Ok(tagged(StatusCode::NOT_MODIFIED, epoch, entry.version));
    }
    let version = entry.version;
    Ok(tagged(show(&asker, &entry)?, epoch, version))
}

/// `V` or `epoch.V`.
fn read_after(text: &str) -> Result<(Option<u64>, u64), Refused> {
    let plain = text.trim().trim_matches('"');
    match (parse_etag(plain), plain.parse::<u64>()) {
        (Some((epoch, version)), _) => Ok((Some(epoch), version)),
        (None, Ok(version)) => Ok((None, version)),
        (None, Err(_)) => Err(Refused::bad_request(format!("after: `{plain}` is not a version"))),
    }
}

/// While the key is not there: 424 when the claim that should produce it will not.
fn producer<T>(document: &Document, context: &Context, claim: Option<&str>) -> Result<Look<T>, Refused> {
    let failed = |code: &str, message: String| Refused::new(StatusCode::FAILED_DEPENDENCY, code, message);
    let Some((name, found)) = claim.and_then(|name| Some((name, document.claims.get(name)?))) else {
        return Ok(Look::NotYet { look_again_at_ms: None });
    };
    match (found.standing(context.now_ms), &found.state) {
        (ClaimStanding::Failed, ClaimState::Failed { reason }) => {
            Err(failed("failed", format!("the claim `{name}` failed for good on {}: {reason}", found.grant.machine)))
        }
        (ClaimStanding::Vacant, _) => Err(failed(
            "vacant",
            format!("{} held the claim `{name}` and lost it before it was done", found.grant.machine),
        )
        .hint("ask for the claim again: the next to ask leads")),
        (_, ClaimState::Held { expires_ms, .. }) => Ok(Look::NotYet { look_again_at_ms: Some(*expires_ms) }),
        _ => Ok(Look::NotYet { look_again_at_ms: None }),
    }
}

/// The value: JSON, or the raw scalar with `Accept: text/plain`. Of a secret, for all but members, that it is one.
fn show<A: ClusterAccess>(asker: &Asker<A>, entry: &Entry) -> Result<Response, Refused> {
    if entry.secret && asker.secrets() == Secrets::Hidden {
        return Ok(axum::Json(entry_json(entry, Secrets::Hidden)).into_response());
    }
    if !asker.accepts("text/plain") || asker.wants_json() {
        return Ok(axum::Json(&*entry.value.0).into_response());
    }
    match &*entry.value.0 {
        // Just as it came: a script's own newline at the end is its own.
        Value::String(text) => {
            Ok(([(axum::http::header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.clone()).into_response())
        }
        other => Ok(line(other)),
    }
}

/// `PUT keys/{key}`.
pub(super) async fn write<A: ClusterAccess>(
    State(_): State<Arc<Desk<A>>>,
    asker: Asker<A>,
    body: Body,
) -> Result<Response, Refused> {
    asker.knows(&["secret"])?;
    let key = asker.param("key")?.to_owned();
    let (condition, secret) = (asker.condition()?, asker.switch("secret")?);
    let body = read_body(body).await?;
    let value = if asker.content_type()? == "application/json" {
        serde_json::from_slice(&body).map_err(|error| Refused::bad_request(format!("the body is not JSON: {error}")))?
    } else {
        let text = std::str::from_utf8(&body)
            .map_err(|_| Refused::bad_request("the body is not UTF-8 text; encode bytes, in base64 say"))?;
        Value::String(text.to_owned())
    };
    let operation = Operation::Put { key, value: Content::from(value), condition, secret };
    Ok(respond(asker.commit(operation).await?, true))
}

/// `DELETE keys/{key}`.
pub(super) async fn delete<A: ClusterAccess>(asker: Asker<A>, body: Body) -> Result<Response, Refused> {
    asker.knows(&[])?;
    read_nothing(body).await?;
    let key = asker.param("key")?.to_owned();
    let condition = asker.condition()?;
    Ok(respond(asker.commit(Operation::Delete { key, condition }).await?, true))
}
