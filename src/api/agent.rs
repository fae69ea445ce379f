//! `/v1/agent/…`: what agents ask. Authenticated by the machine token, but for the exchange, which a ticket opens.

use super::access::{Machine, Peer};
use super::extract::{Json, Path, Query};
use super::{ApiError, App};
use crate::content::junk::normal_mac;
use crate::fleet::{Decision, Entry};
use crate::identity;
use crate::journal::Event;
use crate::net::routes::{Opens, Route, Routes};
use crate::store::logs::{LogError, Tail};
use crate::store::{Operation, Space};
use crate::wire::{
    BootFile, CheckInRequest, ExchangeAnswer, ExchangeRequest, FactsReport, JobEnd, JobGrant, NextAnswer, NextRequest,
    RenewRequest,
};
use crate::workflow::{Action, Running};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The longest a question is held, seconds.
const WAIT_MAX_SECONDS: u64 = 60;
/// The largest piece of log in one request, bytes.
const LOG_PIECE_MAX: usize = 256 * 1024;
/// Network cards of one machine, at most.
const CARDS_MAX: usize = 64;
/// The largest set of facts, bytes as JSON.
const FACTS_MAX: usize = 256 * 1024;

pub(super) fn routes() -> Routes<App> {
    let machine = |path, summary| Route::post(path, Opens::Machine, summary);
    Routes::default()
        .route(
            Route::post("/v1/agent/exchange", Opens::Ticket, "A ticket and a proved key for tokens")
                .takes::<ExchangeRequest>()
                .gives::<ExchangeAnswer>(),
            exchange,
        )
        .route(
            machine("/v1/agent/renew", "Fresh tokens for the same key")
                .takes::<RenewRequest>()
                .gives::<ExchangeAnswer>(),
            renew,
        )
        .route(
            machine("/v1/agent/check-in", "This kernel runs, this agent lives")
                .takes::<CheckInRequest>()
                .gives_nothing(),
            check_in,
        )
        .route(machine("/v1/agent/next", "What shall I do?").takes::<NextRequest>().gives::<NextAnswer>(), next)
        .route(machine("/v1/agent/facts", "Facts about the machine").takes::<FactsReport>().gives_nothing(), facts)
        .route(
            machine("/v1/agent/heartbeat", "I live; is my job still wanted?")
                .takes::<Heartbeat>()
                .gives::<HeartbeatAnswer>(),
            heartbeat,
        )
        .route(
            machine("/v1/agent/disk-ticket", "A ticket to plant on the installed system")
                .takes::<DiskTicketRequest>()
                .gives::<BootFile>(),
            disk_ticket,
        )
        .route(machine("/v1/agent/jobs/{job}/end", "How a job ended").takes::<JobEnd>().gives_nothing(), job_end)
        .route(
            Route::put("/v1/agent/jobs/{job}/log", Opens::Machine, "A piece of a job's log, at its place")
                .takes_media("application/octet-stream")
                .body_max(LOG_PIECE_MAX)
                .query::<Offset>()
                .gives::<Length>(),
            job_log,
        )
}

async fn exchange(
    State(app): State<App>,
    Peer(peer): Peer,
    Json(request): Json<ExchangeRequest>,
) -> Result<Json<ExchangeAnswer>, ApiError> {
    Ok(Json(app.fleet.exchange(&request, peer).await?))
}

async fn renew(
    State(app): State<App>,
    machine: Machine,
    Json(renewal): Json<RenewRequest>,
) -> Result<Json<ExchangeAnswer>, ApiError> {
    Ok(Json(app.fleet.renew(&machine.claims, &renewal.public_key, &renewal.signature)?))
}

async fn check_in(
    State(app): State<App>,
    machine: Machine,
    Json(mut said): Json<CheckInRequest>,
) -> Result<StatusCode, ApiError> {
    if said.hardware.macs.len() > CARDS_MAX {
        return Err(ApiError::bad_request(format!("a machine has at most {CARDS_MAX} network cards here")));
    }
    // Other hardware addresses than a card's (InfiniBand's are longer) select nothing.
    said.hardware.macs = said.hardware.macs.iter().filter_map(|mac| normal_mac(mac)).collect();
    if said.boot_id != machine.claims.boot_id {
        return Err(
            ApiError::conflict("other-boot", "the token belongs to another boot").hint("exchange the ticket anew")
        );
    }
    let entry = &machine.entry;
    let _turn = machine.turn(&app).await?;
    let state = entry.state();
    entry.touch(&app.fleet.clock, None);
    if state.boot.as_ref().is_some_and(|boot| boot.said.boot_id == said.boot_id) {
        return Ok(StatusCode::NO_CONTENT);
    }
    let offer =
        state.offer.as_ref().filter(|offer| offer.environment == said.environment).map(|offer| offer.id.clone());
    tracing::info!(machine = entry.name, environment = said.environment, kernel = said.kernel, "checked in");
    app.fleet.record(entry, &state, vec![Event::CheckedIn { check_in: said, offer }]).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn next(
    State(app): State<App>,
    machine: Machine,
    Json(request): Json<NextRequest>,
) -> Result<Json<NextAnswer>, ApiError> {
    let wait = Duration::from_secs(request.wait_seconds.min(WAIT_MAX_SECONDS));
    let deadline = tokio::time::Instant::now() + wait;
    let mut changed = machine.entry.watch();
    let mut applied = app.applied.clone();
    loop {
        changed.mark_unchanged();
        applied.mark_unchanged();
        let (answer, again) = answer(&app, &machine, &request).await?;
        let NextAnswer::Wait { .. } = answer else { return Ok(Json(answer)) };
        let now = tokio::time::Instant::now();
        if now >= deadline {
            return Ok(Json(answer));
        }
        let until = again.map_or(deadline, |ms| deadline.min(now + Duration::from_millis(ms.max(50))));
        tokio::select! {
            _ = changed.changed() => {}
            _ = applied.changed() => {}
            () = tokio::time::sleep_until(until) => {}
        }
        // A token may have died meanwhile: a held question must not outlive it.
        app.fleet.still_good(&machine.claims)?;
    }
}

async fn answer(app: &App, machine: &Machine, request: &NextRequest) -> Result<(NextAnswer, Option<u64>), ApiError> {
    let entry = &machine.entry;
    let _turn = machine.turn(app).await?;
    let state = entry.state();
    let Some(boot) = state.boot.as_ref().filter(|boot| boot.said.boot_id == request.boot_id) else {
        return Err(
            ApiError::conflict("not-checked-in", "this boot has not checked in").hint("POST /v1/agent/check-in")
        );
    };
    let running = Running::Agent {
        boot_id: &request.boot_id,
        environment: &boot.said.environment,
        job: request.running.as_deref(),
    };
    let decision = app.fleet.decide(entry, running).await?;
    let again = decision.next.ask_again_ms;
    let answer = match &decision.next.action {
        Action::Grant(grant) => match app.fleet.grant(entry, &decision, grant, &request.boot_id, &app.server).await {
            Ok(job) => {
                tracing::info!(
                    machine = entry.name,
                    stage = job.stage,
                    task = job.task,
                    attempt = job.attempt,
                    "granted"
                );
                with_tokens(app, machine, job)?
            }
            Err(crate::fleet::GrantError::Store(error)) => return Err(error.into()),
            Err(error) => wait(error.to_string(), Some(10_000)),
        },
        Action::Again { .. } => match kept_grant(app, entry)? {
            Some(mut job) => {
                // What was let may be forbidden since; what was forbidden stays so until the next grant.
                if let Some(leave) = &mut job.destructive {
                    leave.wipe &= decision.view.as_ref().is_some_and(|view| view.wipe);
                }
                with_tokens(app, machine, job)?
            }
            None => wait("the job's text is not in the store any more; it ends by its timeout".to_owned(), again),
        },
        Action::Abandon { job, reason } => NextAnswer::Abandon { job: job.clone(), reason: reason.clone() },
        Action::Reboot { reason } => NextAnswer::Reboot { reason: reason.clone() },
        Action::PowerOff { reason } => NextAnswer::PowerOff { reason: reason.clone() },
        Action::Wait { reason } | Action::Hold { reason } | Action::Boot { reason, .. } => wait(reason.clone(), again),
        Action::Record(_) => wait("the server has to write something down first".to_owned(), Some(1_000)),
    };
    entry.touch(&app.fleet.clock, Some(said(&answer, &decision)));
    if matches!(answer, NextAnswer::Reboot { .. }) {
        entry.told_to_reboot(&app.fleet.clock);
    }
    Ok((answer, again))
}

/// What the machine is shown to wait for or to do.
fn said(answer: &NextAnswer, _decision: &Decision) -> String {
    match answer {
        NextAnswer::Job(job) => format!("task {}", job.task),
        NextAnswer::Wait { reason, .. } => reason.clone(),
        NextAnswer::Abandon { reason, .. } => format!("ends its job: {reason}"),
        NextAnswer::Reboot { reason } if reason.starts_with("reboots ") => reason.clone(),
        NextAnswer::Reboot { reason } => format!("reboots: {reason}"),
        NextAnswer::PowerOff { reason } => format!("switches off: {reason}"),
    }
}

fn wait(reason: String, again_ms: Option<u64>) -> NextAnswer {
    NextAnswer::Wait { reason, ask_again_seconds: again_ms.map_or(1, |ms| ms.div_ceil(1000).clamp(1, 60)) }
}

fn kept_grant(app: &App, entry: &Entry) -> Result<Option<JobGrant>, ApiError> {
    let Some(bytes) = app.fleet.store.get(Space::Grant, &entry.name)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|error| {
        tracing::error!(machine = entry.name, %error, "a grant in the store cannot be read");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "grant-unreadable", "the job's text cannot be read")
    })
}

fn with_tokens(app: &App, machine: &Machine, mut job: JobGrant) -> Result<NextAnswer, ApiError> {
    let (entry, claims) = (&machine.entry, &machine.claims);
    job.clusters = app.fleet.cluster_tokens(entry, &entry.state(), &claims.key_thumbprint, &claims.boot_id)?;
    Ok(NextAnswer::Job(Box::new(job)))
}

async fn facts(
    State(app): State<App>,
    machine: Machine,
    Json(report): Json<FactsReport>,
) -> Result<StatusCode, ApiError> {
    let entry = &machine.entry;
    let _turn = machine.turn(&app).await?;
    let state = entry.state();
    let mut changed = report.facts;
    changed.retain(|name, value| match state.facts.get(name) {
        Some(known) => known != value,
        None => !value.is_null(),
    });
    if changed.is_empty() {
        return Ok(StatusCode::NO_CONTENT);
    }
    let mut all = serde_json::Map::clone(&state.facts);
    all.extend(changed.clone());
    let size = serde_json::to_vec(&all).map_or(usize::MAX, |bytes| bytes.len());
    if size > FACTS_MAX {
        let message = format!("the machine's facts would be {size} bytes; {FACTS_MAX} is the most");
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "facts-too-large", message));
    }
    let bytes = serde_json::to_vec(&changed).map_or(u64::MAX, |bytes| bytes.len() as u64);
    entry.may_report(&app.fleet.clock, bytes).map_err(|ms| too_many_facts(&entry.name, bytes, ms))?;
    let job = state.run.as_ref().and_then(|run| run.job.as_ref()).map(|job| job.id.clone());
    app.fleet.record(entry, &state, vec![Event::FactsReported { facts: changed, job }]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The refusal of a report that has to wait.
fn too_many_facts(machine: &str, bytes: u64, wait_ms: u64) -> ApiError {
    let seconds = u32::try_from(wait_ms.div_ceil(1000)).unwrap_or(u32::MAX);
    let message =
        format!("{machine} changes its facts too often: this report of {bytes} bytes is taken in {seconds} seconds");
    let hint = "60 changes and 4 MiB are taken at once, then 10 and 64 KiB a minute; report what changes seldom, and several facts in \
                one report. The agent waits and asks again by itself";
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, "too-many-facts", message).hint(hint).retry(seconds)
}

/// What an agent says while it works.
#[derive(Deserialize, Serialize, JsonSchema)]
pub struct Heartbeat {
    /// The job it works on, if it does.
    #[serde(default)]
    job: Option<String>,
}

/// What it is told.
#[derive(Serialize, JsonSchema)]
struct HeartbeatAnswer {
    /// The job is not wanted any more.
    abandon: bool,
}

async fn heartbeat(State(app): State<App>, machine: Machine, Json(beat): Json<Heartbeat>) -> Json<HeartbeatAnswer> {
    let state = machine.entry.state();
    machine.entry.touch(&app.fleet.clock, None);
    let open = state.run.as_ref().filter(|run| run.is_open()).and_then(|run| run.job.as_ref());
    let abandon = beat.job.is_some_and(|job| open.is_none_or(|open| open.id != job));
    Json(HeartbeatAnswer { abandon })
}

/// For which job.
#[derive(Deserialize, Serialize, JsonSchema)]
pub struct DiskTicketRequest {
    /// The open job of a destructive stage.
    job: String,
}

async fn disk_ticket(
    State(app): State<App>,
    machine: Machine,
    Json(request): Json<DiskTicketRequest>,
) -> Result<Json<BootFile>, ApiError> {
    let entry = &machine.entry;
    let _turn = machine.turn(&app).await?;
    let state = entry.state();
    let open = state.run.as_ref().and_then(|run| run.job.as_ref().map(|job| (run.number, job)));
    let Some((run, _)) = open.filter(|(_, job)| job.id == request.job && job.destructive) else {
        return Err(ApiError::conflict("no-such-job", "a disk ticket is for the open job of a destructive stage"));
    };
    let id = identity::new_id().map_err(|error| {
        tracing::error!(%error, "no ticket can be made");
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "ticket-failed", "no ticket can be made now").retry(5)
    })?;
    let ticket = format!("disk-{id}");
    app.fleet
        .record(entry, &state, vec![Event::DiskTicketPlanted { ticket: ticket.clone(), job: request.job, run }])
        .await?;
    Ok(Json(app.fleet.disk_file(entry, &ticket, &app.server.https)))
}

async fn job_end(
    State(app): State<App>,
    machine: Machine,
    Path(job): Path<String>,
    Json(end): Json<JobEnd>,
) -> Result<StatusCode, ApiError> {
    let entry = &machine.entry;
    let _turn = machine.turn(&app).await?;
    let state = entry.state();
    entry.touch(&app.fleet.clock, None);
    let Some(run) = state.run.as_ref() else {
        return Err(ApiError::not_found("the machine has no run"));
    };
    if run.job.as_ref().is_none_or(|open| open.id != job) {
        // Ended before: by this very request whose answer was lost, or by the server. Either way there is no more to say.
        return if owns(run, &job) { Ok(StatusCode::NO_CONTENT) } else { Err(ApiError::not_found("no such job")) };
    }
    let log = log_at_end(&app, &entry.name, &job).await;
    if app.logs.length(&job).is_ok_and(|length| length < end.log_bytes) {
        tracing::warn!(machine = entry.name, job, "the job ended before all of its log arrived");
    }
    let message = match (end.outcome, end.message, end.exit_code) {
        (crate::wire::JobOutcome::Done, message, _) | (_, message @ Some(_), _) => message,
        (_, None, code) => code.map(|code| format!("exit code {code}")),
    };
    tracing::info!(machine = entry.name, job, outcome = ?end.outcome, "ended");
    let name = job.clone();
    let has_log = app.logs.length(&job).is_ok_and(|length| length > 0);
    let event = Event::JobEnded {
        job,
        outcome: end.outcome,
        exit_code: end.exit_code,
        message,
        requests: end.requests,
        log_at: has_log.then(|| app.others.as_ref().map(|others| others.own()).unwrap_or_default()),
    };
    let written_down = log.is_some();
    let keep = log.map(|log| Operation::Put { space: Space::Log, key: name.clone(), value: Some(log) });
    app.fleet.record_with(entry, &state, vec![event], keep.into_iter().collect()).await?;
    if written_down {
        app.logs.wrote_down(&name);
    }
    if let Some(archive) = &app.archive {
        archive.ended(&name);
    }
    Ok(StatusCode::NO_CONTENT)
}

/// What of a job's log is written down with its end; a long one is on the disk by then.
async fn log_at_end(app: &App, machine: &str, job: &str) -> Option<Vec<u8>> {
    let brought = match app.logs.tail(job) {
        Ok(Tail::Nothing) => return None,
        Ok(Tail::Short(log)) => return Some(log),
        Ok(Tail::Long) => {
            let (logs, name) = (std::sync::Arc::clone(&app.logs), job.to_owned());
            tokio::task::spawn_blocking(move || logs.finish(&name)).await.unwrap_or(Ok(()))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = brought {
        tracing::warn!(machine, job, %error, "the job's log may not be on the disk");
    }
    None
}

#[derive(Deserialize, JsonSchema)]
struct Offset {
    /// Where in the log the piece begins, bytes.
    offset: u64,
}

/// How much of a log the server has.
#[derive(Serialize, JsonSchema)]
struct Length {
    /// Bytes.
    length: u64,
}

async fn job_log(
    State(app): State<App>,
    machine: Machine,
    Path(job): Path<String>,
    Query(at): Query<Offset>,
    bytes: Bytes,
) -> Result<Json<Length>, ApiError> {
    let its_own = || machine.entry.state().run.as_ref().is_some_and(|run| owns(run, &job));
    if !its_own() {
        app.fleet.level().await?;
    }
    if !its_own() {
        return Err(ApiError::not_found("no such job of this machine"));
    }
    machine.entry.touch(&app.fleet.clock, None);
    let logs = std::sync::Arc::clone(&app.logs);
    let appended = tokio::task::spawn_blocking(move || logs.append(&job, at.offset, &bytes)).await;
    match appended {
        Ok(Ok(length)) => Ok(Json(Length { length })),
        Ok(Err(LogError::WrongOffset { length })) => {
            Err(ApiError::conflict("wrong-offset", format!("the log is {length} bytes long"))
                .header("formwork-log-length", length))
        }
        Ok(Err(error)) => {
            // What the disk refuses the logs tell themselves, once: each job asks again every few seconds.
            let message = match &error {
                LogError::Full(why) => {
                    format!("the log cannot be written until there is room on the server's disk: {why}")
                }
                LogError::Io { error, .. } => format!("the log cannot be written on the server's disk: {error}"),
                other => {
                    tracing::error!(error = %other, "a log cannot be written");
                    "the log cannot be written".to_owned()
                }
            };
            Err(ApiError::new(StatusCode::INSUFFICIENT_STORAGE, "log-failed", message).retry(10))
        }
        Err(_) => Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "log-failed", "the log cannot be written")),
    }
}

fn owns(run: &crate::journal::Run, job: &str) -> bool {
    run.job.as_ref().is_some_and(|open| open.id == job) || run.tasks.values().any(|record| record.job == job)
}
