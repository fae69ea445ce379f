//! `/sets/{set}`: joining, members, barriers.

use super::answers::{line, respond, tagged};
use super::asker::{Asker, read_nothing};
use super::wait::{Look, over, wait_for};
use super::{ClusterAccess, Refused};
use crate::cluster::{Answer, Context, Count, Document, Opening, Operation, check_name, set_json};
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::time::Duration;

/// `PUT sets/{set}/self[?wait=…&count=N|all]`: joins; with `wait` it is a barrier in one call.
pub(super) async fn join<A: ClusterAccess>(asker: Asker<A>, body: Body) -> Result<Response, Refused> {
    asker.knows(&["wait", "count"])?;
    read_nothing(body).await?;
    let set = asker.param("set")?.to_owned();
    let (wait, count) = (asker.wait()?, asker.count()?);
    let barrier = count.or(wait.map(|_| Count::All));
    let mut answer = asker.commit(Operation::Join { set: set.clone(), barrier }).await?;
    if let (Answer::Joined(joined), Some(count), Some(wait)) = (&mut answer, barrier, wait)
        && joined.opened.is_none()
    {
        joined.opened = Some(opening(&asker, &set, count, wait).await?);
    }
    Ok(respond(answer, asker.wants_json()))
}

/// `GET sets/{set}[?wait=…&count=N]`: members in order, once the barrier is open where one is named with a wait.
pub(super) async fn read<A: ClusterAccess>(asker: Asker<A>) -> Result<Response, Refused> {
    asker.knows(&["wait", "count"])?;
    let name = asker.param("set")?;
    check_name(name)?;
    let (wait, count) = (asker.wait()?, asker.count()?);
    if let Some(wait) = wait {
        opening(&asker, name, count.unwrap_or(Count::All), wait).await?;
    }
    let context = asker.context()?;
    let document = asker.document(&context)?;
    let set = document.sets.get(name).cloned().unwrap_or_default();
    let body = if asker.accepts("text/plain") && !asker.wants_json() {
        if set.order.is_empty() {
            StatusCode::OK.into_response()
        } else {
            line(set.order.values().map(String::as_str).collect::<Vec<_>>().join("\n"))
        }
    } else {
        let mut body = set_json(&set);
        if let Some(object) = body.as_object_mut() {
            object.shift_insert(0, "set".to_owned(), json!(name));
            object.insert("joined".to_owned(), json!(set.joined(&context)));
        }
        axum::Json(body).into_response()
    };
    Ok(tagged(body, document.epoch, set.version))
}

/// The opening of a barrier, waited for. Joining records openings; where the cluster shrank instead, this does.
async fn opening<A: ClusterAccess>(
    asker: &Asker<A>,
    set: &str,
    count: Count,
    wait: Duration,
) -> Result<Opening, Refused> {
    let say = |document: &Document, context: &Context| {
        let joined = document.sets.get(set).map_or(0, |found| found.joined(context));
        let wanted = match count {
            Count::AtLeast(count) => count,
            Count::All => context.size.max(u32::try_from(context.members.len()).unwrap_or(u32::MAX)),
        };
        format!("barrier {set} {joined}/{wanted}")
    };
    let recorded = wait_for(asker, Some(wait), say, |document, context| {
        let Some(found) = document.sets.get(set) else {
            return Ok(Look::NotYet { look_again_at_ms: None });
        };
        Ok(match found.opening(count) {
            Some(opening) => Look::Found(Some(opening)),
            None if found.satisfies(count, context) => Look::Found(None),
            None => Look::NotYet { look_again_at_ms: None },
        })
    })
    .await?;
    if let Some(Some(opening)) = recorded {
        return Ok(opening);
    }
    asker.commit(Operation::Open { set: set.to_owned(), count }).await?;
    let context = asker.context()?;
    let document = asker.document(&context)?;
    document.sets.get(set).and_then(|set| set.opening(count)).ok_or_else(over)
}
