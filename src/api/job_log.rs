//! `GET /v1/jobs/{job}/log`: what a job printed. Of a job that is open, what came here so far; of one that ended, what is here, else what the
//! object store has, or another server of the site.

use super::access::Administrator;
use super::extract::{Path, Query};
use super::others::ASKED_BY;
use super::{ApiError, App};
use crate::archive::ReadError;
use crate::fleet::{Entry, Fleet};
use crate::net::routes::{Opens, Route, Routes};
use crate::replicas::{GONE_AFTER, Gone};
use crate::store::logs::{CAP_BYTES, LogError};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// The longest a question is held, seconds.
const WAIT_MAX_SECONDS: u64 = 60;
/// Bytes of log in one answer, at most.
const LOG_PIECE: usize = 1024 * 1024;
/// Other servers are asked so often while a job is open that no more comes of here.
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(super) fn routes() -> Routes<App> {
    let route = Route::get("/v1/jobs/{job}/log", Opens::Administrator, "A job's log");
    Routes::default().route(route.query::<LogQuery>().gives_media("application/octet-stream"), log)
}

#[derive(Deserialize, JsonSchema)]
struct LogQuery {
    /// Where to begin, bytes.
    #[serde(default)]
    from: u64,
    /// How long the answer may be held while there is no more and the job is open, seconds, at most 60.
    #[serde(default)]
    wait: u64,
}

/// A part of a log.
#[derive(Debug)]
struct Piece {
    bytes: Vec<u8>,
    /// How long the log is, bytes.
    length: u64,
}

impl Piece {
    fn of_whole(log: &[u8], from: u64) -> Self {
        let from = usize::try_from(from).unwrap_or(usize::MAX).min(log.len());
        let to = from.saturating_add(LOG_PIECE).min(log.len());
        Self { bytes: log.get(from..to).unwrap_or_default().to_vec(), length: log.len() as u64 }
    }

    fn into_response(self, from: u64, open: bool) -> Response<Body> {
        let read = from.saturating_add(self.bytes.len() as u64);
        let complete = !open && read >= self.length;
        let mut response = Response::new(Body::from(self.bytes));
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert("formwork-log-length", HeaderValue::from(self.length));
        headers.insert("formwork-log-complete", HeaderValue::from_static(if complete { "true" } else { "false" }));
        response
    }
}

async fn log(
    State(app): State<App>,
    _: Administrator,
    headers: HeaderMap,
    Path(job): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response<Body>, ApiError> {
    let from = query.from;
    let deadline = Instant::now() + Duration::from_secs(query.wait.min(WAIT_MAX_SECONDS));
    let mut watch = app.fleet.store.watch_events();
    // Another server that asks is told what is here, and asks no further.
    let asks_others = !headers.contains_key(ASKED_BY);
    let authorization = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut ask_again = Instant::now();
    loop {
        watch.mark_unchanged();
        let open = is_open(&app.fleet, &job);
        let Some(mut here) = here(&app, &job, from, open).await else {
            return Err(ApiError::not_found(format!("there is no log of job {job}")));
        };
        let mut away = None;
        if asks_others && !open && here.may_be_more_there() {
            match archived(&app, &job, from).await {
                Ok(Some(piece)) => return Ok(piece.into_response(from, open)),
                Ok(None) => {}
                Err(error) => away = Some(error),
            }
        }
        let now = Instant::now();
        let mut answered = Vec::new();
        if let Some(others) =
            app.others.as_ref().filter(|_| asks_others && here.may_be_part(from, open) && is_due(open, now, ask_again))
        {
            ask_again = now + ASK_AGAIN;
            let told = others.log(&job, from, authorization).await;
            answered = told.answered;
            match told.best {
                Some(theirs) if theirs.length > here.piece.length && here.piece.bytes.is_empty() => {
                    return Ok(Piece { bytes: theirs.bytes, length: theirs.length }.into_response(from, open));
                }
                // What is here first; the rest is asked for next.
                Some(theirs) => here.piece.length = here.piece.length.max(theirs.length),
                None => {}
            }
        }
        let piece = here.piece;
        if let Some(error) = away.filter(|_| piece.length == 0) {
            return Err(error);
        }
        if piece.length == 0 && !open {
            let Some(record) = record_of(&app.fleet, &job) else {
                let error = ApiError::not_found(format!("there is no job {job}"));
                return Err(error.hint("formwork describe machine NAME"));
            };
            if let Some(others) = app.others.as_ref().filter(|_| asks_others)
                && let Some(name) = is_away(record.as_deref(), &others.own(), &answered)
            {
                return Err(match others.gone(name) {
                    Some(replica) => gone_with(&job, name, &replica),
                    None => elsewhere(&job, name),
                });
            }
            if asks_others && record.is_some_and(|at| !at.is_empty() || app.others.is_none()) {
                return Err(gone(&job));
            }
        }
        if piece.bytes.is_empty() && open && now < deadline {
            let soon = deadline.min(now + Duration::from_millis(250));
            let _ = tokio::time::timeout_at(soon, watch.changed()).await;
            continue;
        }
        return Ok(piece.into_response(from, open));
    }
}

/// What is in the file here.
struct Here {
    piece: Piece,
    /// How much of it can be read.
    readable: u64,
    /// Up to which length the object store has it, as far as that is remembered.
    uploaded: Option<u64>,
}

impl Here {
    /// Whether the object store may have more, given that the job ended.
    fn may_be_more_there(&self) -> bool {
        self.readable == 0 || self.uploaded.is_some_and(|uploaded| uploaded > self.readable)
    }

    /// Whether another server may have more than what would be answered.
    fn may_be_part(&self, from: u64, open: bool) -> bool {
        let at_its_end = from.saturating_add(self.piece.bytes.len() as u64) >= self.piece.length;
        match open {
            true => self.piece.bytes.is_empty(),
            false => at_its_end && self.uploaded.is_none(),
        }
    }
}

/// None: it cannot be a job, or its file cannot be read. What came after the bound is nobody's to read, so a log is as long as what
/// can be read of it; the note at its end counts, and is shown once nothing more comes.
async fn here(app: &App, job: &str, from: u64, open: bool) -> Option<Here> {
    let (logs, job) = (Arc::clone(&app.logs), job.to_owned());
    let read = tokio::task::spawn_blocking(move || {
        let readable = logs.readable(&job)?;
        let length = if open { readable.min(CAP_BYTES) } else { readable };
        let most = usize::try_from(length.saturating_sub(from)).unwrap_or(usize::MAX).min(LOG_PIECE);
        let piece = Piece { bytes: logs.read(&job, from, most)?, length };
        Ok::<_, LogError>(Here { piece, readable, uploaded: logs.uploaded(&job) })
    });
    read.await.ok()?.ok()
}

/// What the object store has.
async fn archived(app: &App, job: &str, from: u64) -> Result<Option<Piece>, ApiError> {
    let Some(archive) = &app.archive else { return Ok(None) };
    match archive.read(job).await {
        Ok(log) => Ok(log.map(|log| Piece::of_whole(&log, from))),
        Err(error @ ReadError::Damaged { .. }) => {
            let hint = "an older version of the object may be had from the object store, where that keeps them";
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "log-damaged", error.to_string()).hint(hint))
        }
        #[cfg(feature = "object-storage")]
        Err(error) => {
            let hint = "formwork status says whether logs go there; what was not uploaded is in the state directory";
            let refusal = ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "log-away", error.to_string());
            Err(refusal.hint(hint).retry(10))
        }
    }
}

fn is_open(fleet: &Fleet, job: &str) -> bool {
    fleet
        .all()
        .iter()
        .any(|entry| entry.state().run.as_ref().and_then(|run| run.job.as_ref()).is_some_and(|open| open.id == job))
}

/// Whether other servers are asked now. Once the job ended they are, however lately they were: what they said then was of an open job,
/// and this answer is the last.
fn is_due(open: bool, now: Instant, ask_again: Instant) -> bool {
    !open || now >= ask_again
}

/// A job of some machine's last run that wrote nothing is still a job. Where its log is, as far as its end says so; `None`: it is no job.
fn record_of(fleet: &Fleet, job: &str) -> Option<Option<String>> {
    let of = |entry: &Arc<Entry>| {
        let state = entry.state();
        let record = state.run.as_ref()?.tasks.values().find(|record| record.job == job)?;
        Some(record.log_at.clone())
    };
    fleet.all().iter().find_map(of)
}

/// The server that has the log and did not answer. One that answered has it no more: it was removed, and nobody has it.
fn is_away<'a>(log_at: Option<&'a str>, own: &str, answered: &[String]) -> Option<&'a str> {
    log_at.filter(|name| !name.is_empty() && *name != own && !answered.iter().any(|answered| answered == name))
}

fn elsewhere(job: &str, name: &str) -> ApiError {
    let error = format!("the log of job {job} is at replica {name}, which does not answer");
    let hint = format!(
        "start that replica again with its state directory. If it never comes back, say so: kubectl annotate lease formwork-replica-{name} \
         formwork.dev/gone=WHY, in the store's namespace. With --object-store on all replicas, logs do not go away with one"
    );
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "log-elsewhere", error).hint(hint).retry(10)
}

/// The only replica that had it is not there any more, and is not waited for.
fn gone_with(job: &str, name: &str, replica: &Gone) -> ApiError {
    let since = Timestamp::from_millisecond(replica.since_unix_ms)
        .map_or_else(|_| "a time unknown".to_owned(), |at| format!("{at:.0}"));
    let why = match replica.said.as_deref() {
        Some("") => "and is said to be gone for good".to_owned(),
        Some(word) => format!("and is said to be gone for good: {word}"),
        None => format!("more than {} hours", GONE_AFTER.as_secs() / 3_600),
    };
    let error = format!("the log of job {job} is gone with replica {name}, which is not there since {since}, {why}");
    let hint = "if that replica's state directory is still there, start it again with it, and the log can be read; with --object-store on \
                all replicas, logs do not go away with one";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "log-gone", error).hint(hint)
}

/// It wrote one: what is empty now is not what it said.
fn gone(job: &str) -> ApiError {
    let error =
        format!("job {job} wrote a log, and it is gone: it is neither in the state directory nor in an object store");
    let hint = "a backup of the state directory may have it, under logs/; with --object-store, logs are kept elsewhere as well";
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "log-gone", error).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_asked_where_what_is_here_may_not_be_all() {
        // From, bytes, length, uploaded, open; whether the object store is asked, and whether another server is.
        for (from, bytes, length, uploaded, open, more_there, part) in [
            (0, 0, 0, None, true, true, true),
            (0, 9, 9, None, true, false, false),
            (9, 0, 9, None, true, false, true),
            (0, 0, 0, None, false, true, true),
            (0, 9, 9, None, false, false, true),
            (0, 4, 9, None, false, false, false),
            (0, 9, 9, Some(9), false, false, false),
            (0, 9, 9, Some(12), false, true, false),
        ] {
            let piece = Piece { bytes: vec![b'x'; bytes], length };
            let here = Here { piece, readable: length, uploaded };
            let case = format!("{bytes} of {length} from {from}, {uploaded:?}, open {open}");
            assert_eq!(here.may_be_more_there(), more_there, "{case}");
            assert_eq!(here.may_be_part(from, open), part, "{case}");
        }
    }

    #[test]
    fn others_are_asked_once_a_second_and_in_any_case_when_the_job_ended() {
        let now = Instant::now();
        let soon = now + ASK_AGAIN;
        for (open, ask_again, due) in [(true, now, true), (true, soon, false), (false, soon, true)] {
            assert_eq!(is_due(open, now, ask_again), due, "{open}");
        }
    }

    #[test]
    fn a_log_is_away_where_the_server_that_has_it_does_not_answer() {
        for (log_at, answered, away) in [
            (None, &[][..], None),
            (Some("one"), &[], None),
            // It was written where one server was alone.
            (Some(""), &[], None),
            (Some("two"), &[], Some("two")),
            (Some("two"), &["three"], Some("two")),
            (Some("two"), &["three", "two"], None),
        ] {
            let answered: Vec<String> = answered.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!(is_away(log_at, "one", &answered), away, "{log_at:?} {answered:?}");
        }
        let words = format!("{:?}", elsewhere("3f9c", "two"));
        assert!(words.contains("the log of job 3f9c is at replica two, which does not answer"), "{words}");
        assert!(words.contains("kubectl annotate lease formwork-replica-two formwork.dev/gone="), "{words}");
    }

    #[test]
    fn a_log_that_is_gone_with_its_replica_is_said_with_since_when_and_by_whose_word() {
        for (said, why) in [
            (None, "more than 24 hours"),
            (Some(""), "and is said to be gone for good"),
            (Some("its disk is dead"), "and is said to be gone for good: its disk is dead"),
        ] {
            let replica = Gone { since_unix_ms: 1_700_000_000_123, said: said.map(str::to_owned) };
            let words = format!("{:?}", gone_with("3f9c", "two", &replica));
            let expected = format!("is gone with replica two, which is not there since 2023-11-14T22:13:20Z, {why}\"");
            assert!(words.contains(&expected) && words.contains("log-gone"), "{words}");
        }
    }

    #[test]
    fn a_piece_of_a_whole_log_begins_where_it_was_asked_for_and_is_bounded() {
        let log = vec![b'x'; LOG_PIECE + 10];
        for (from, bytes, complete) in
            [(0, LOG_PIECE, "false"), (10, LOG_PIECE, "true"), (LOG_PIECE + 9, 1, "true"), (LOG_PIECE + 99, 0, "true")]
        {
            let piece = Piece::of_whole(&log, from as u64);
            assert_eq!((piece.bytes.len(), piece.length), (bytes, log.len() as u64), "{from}");
            let response = piece.into_response(from as u64, false);
            assert_eq!(response.headers()["formwork-log-complete"], complete, "{from}");
        }
        let open = Piece::of_whole(&log, 10).into_response(10, true);
        assert_eq!(open.headers()["formwork-log-complete"], "false", "more may come");
    }
}
