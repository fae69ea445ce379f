//! `GET events`: what changes, as server-sent events. The `id` is the version; one event a version, so that a stream cut
//! anywhere resumes whole. What changed twice in between is told once, as it is now.

use super::asker::{Asker, gone};
use super::limits::Waiting;
use super::{ClusterAccess, Refused};
use crate::cluster::{Change, changes_after, etag, parse_etag};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::json;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// A stream ends after so long; a client comes back with `Last-Event-ID` and is looked at anew.
const STREAM_MAX: Duration = Duration::from_secs(15 * 60);

struct Stream<A> {
    asker: Asker<A>,
    commits: watch::Receiver<u64>,
    /// What was told so far.
    at: (u64, u64),
    ready: VecDeque<Event>,
    end: Instant,
    _counted: Waiting,
}

pub(super) async fn stream<A: ClusterAccess>(mut asker: Asker<A>) -> Result<Response, Refused> {
    asker.knows(&["after"])?;
    let counted = asker.waiting()?;
    let commits = asker.desk.access.store().watch_cluster(&asker.cluster);
    let context = asker.context()?;
    let document = asker.document(&context)?;
    let asked = asker.header("last-event-id")?.or(asker.word("after"));
    let now = (document.epoch, document.version);
    let at = match asked {
        None => now,
        Some(text) => {
            parse_etag(text).ok_or_else(|| Refused::bad_request(format!("`{text}` is not the id of an event here")))?
        }
    };
    if at.0 > now.0 || at.1 > now.1 || (at.0 == now.0 && at.1 < document.compacted) {
        let message = "what happened since then is not known any more";
        return Err(
            Refused::new(StatusCode::GONE, "compacted", message).hint("read the document and begin from its ETag")
        );
    }
    // A stream outlives a reset and tells of it: the token's epoch was good when it began.
    asker.epoch = None;
    let hello =
        Event::default().id(etag(at.0, at.1)).event("start").data(json!({"cluster": asker.cluster}).to_string());
    let state = Stream {
        asker,
        commits,
        at,
        ready: VecDeque::from([hello]),
        end: Instant::now() + STREAM_MAX,
        _counted: counted,
    };
    Ok(Sse::new(stream::unfold(state, next)).keep_alive(KeepAlive::default()).into_response())
}

async fn next<A: ClusterAccess>(mut state: Stream<A>) -> Option<(Result<Event, Infallible>, Stream<A>)> {
    loop {
        if let Some(event) = state.ready.pop_front() {
            return Some((Ok(event), state));
        }
        state.commits.borrow_and_update();
        state.look().ok()?;
        if state.ready.is_empty() {
            timeout_at(state.end, state.commits.changed()).await.ok()?.ok()?;
        }
    }
}

impl<A: ClusterAccess> Stream<A> {
    /// Takes up what is new.
    fn look(&mut self) -> Result<(), Refused> {
        let context = self.asker.context()?;
        let document = self.asker.document(&context)?;
        if self.at.0 != document.epoch {
            self.at = (document.epoch, document.compacted);
            let data = json!({"epoch": document.epoch}).to_string();
            self.ready.push_back(Event::default().id(etag(self.at.0, self.at.1)).event("reset").data(data));
        }
        let Some(found) = changes_after(&document, self.at.1, context.now_ms) else {
            return Err(gone(document.epoch, self.at.0));
        };
        for Change { version, changes } in found {
            let id = etag(document.epoch, version);
            let data = json!({"epoch": document.epoch, "version": version, "changes": changes}).to_string();
            self.ready.push_back(Event::default().id(id).event("change").data(data));
        }
        self.at.1 = document.version;
        Ok(())
    }
}
