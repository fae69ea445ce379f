//! `/claims/{claim}`.

use super::answers::respond;
use super::asker::{Asker, read_body, read_nothing};
use super::{ClusterAccess, Refused};
use crate::cluster::{Content, Operation};
use axum::body::Body;
use axum::response::Response;
use serde_json::{Map, Value};

/// A claim's lifetime where none is asked for, milliseconds: fifteen minutes.
const TTL_MS: u64 = 15 * 60 * 1_000;

/// `POST claims/{claim}?ttl=15m`: first in leads.
pub(super) async fn ask<A: ClusterAccess>(asker: Asker<A>, body: Body) -> Result<Response, Refused> {
    asker.knows(&["ttl"])?;
    read_nothing(body).await?;
    let claim = asker.param("claim")?.to_owned();
    let ttl_ms = asker.span_ms("ttl")?.unwrap_or(TTL_MS);
    Ok(respond(asker.commit(Operation::Claim { claim, ttl_ms }).await?, asker.wants_json()))
}

/// `PUT claims/{claim}?fence=42&ttl=…`.
pub(super) async fn renew<A: ClusterAccess>(asker: Asker<A>, body: Body) -> Result<Response, Refused> {
    asker.knows(&["fence", "ttl"])?;
    read_nothing(body).await?;
    let claim = asker.param("claim")?.to_owned();
    let (fence, ttl_ms) = (asker.fence()?, asker.span_ms("ttl")?);
    Ok(respond(asker.commit(Operation::Renew { claim, fence, ttl_ms }).await?, asker.wants_json()))
}

/// `POST claims/{claim}/done?fence=42`; the body, where there is one, is a JSON object of keys to publish, whatever its type
/// is said to be.
pub(super) async fn done<A: ClusterAccess>(asker: Asker<A>, body: Body) -> Result<Response, Refused> {
    asker.knows(&["fence"])?;
    let claim = asker.param("claim")?.to_owned();
    let fence = asker.fence()?;
    let body = read_body(body).await?;
    let publish = if body.trim_ascii().is_empty() {
        Vec::new()
    } else {
        let keys: Map<String, Value> = serde_json::from_slice(&body).map_err(|error| {
            Refused::bad_request(format!("the body is not a JSON object of keys to publish: {error}"))
        })?;
        keys.into_iter().map(|(key, value)| (key, Content::from(value))).collect()
    };
    Ok(respond(asker.commit(Operation::Done { claim, fence, publish }).await?, asker.wants_json()))
}

/// `POST claims/{claim}/fail?fence=42[&retry=true][&reason=…]`.
pub(super) async fn fail<A: ClusterAccess>(asker: Asker<A>, body: Body) -> Result<Response, Refused> {
    asker.knows(&["fence", "retry", "reason"])?;
    read_nothing(body).await?;
    let claim = asker.param("claim")?.to_owned();
    let (fence, retry) = (asker.fence()?, asker.switch("retry")?);
    let reason = asker.word("reason").unwrap_or_default().to_owned();
    Ok(respond(asker.commit(Operation::Fail { claim, fence, retry, reason }).await?, asker.wants_json()))
}
