//! `/v1/…` about content as a whole: how it stands, its history, and what people say about following its source.

use super::access::Administrator;
use super::administrators::{list, list_of};
use super::extract::{Json, Optional, Path, Query};
use super::standings;
use super::views::{AllowBody, AskAnswer, ContentStatus, HoldBody, List, ReconcileAnswer, RollbackBody};
use super::{ApiError, App, words};
use crate::inspect::{MachineStanding, Standing};
use crate::net::routes::{Opens, Route, Routes};
use crate::reconcile::{Allowance, Held, HistoryRow, HoldError, NoWayBack, ReconcileError, Status};
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

/// Lines of history in one answer, at most.
const HISTORY_MAX: usize = 10_000;
/// Lines of history where nobody says how many.
const HISTORY_DEFAULT: usize = 20;
/// The longest reason that is kept, characters.
const REASON_MAX: usize = 1_000;

pub(super) fn routes() -> Routes<App> {
    let get = |path, summary| Route::get(path, Opens::Administrator, summary);
    let post = |path, summary| Route::post(path, Opens::Administrator, summary);
    Routes::default()
        .route(
            post("/v1/reconcile", "The source of content is looked at now")
                .takes::<AllowBody>()
                .optional()
                .gives::<ReconcileAnswer>(),
            reconcile,
        )
        .route(
            post("/v1/suspend", "Nothing that the source shows is applied from now on; it is still looked at")
                .takes::<HoldBody>()
                .optional()
                .gives::<AskAnswer>(),
            suspend,
        )
        .route(
            post("/v1/resume", "The source is followed again: a suspension and a pin are lifted")
                .takes::<AllowBody>()
                .optional()
                .gives::<AskAnswer>(),
            resume,
        )
        .route(
            post(
                "/v1/sources/{name}/accept",
                "A source's branch that was rewritten and is held is followed from where it is now",
            )
            .takes::<HoldBody>()
            .optional()
            .gives::<AskAnswer>(),
            accept,
        )
        .route(
            post("/v1/rollback", "An earlier good revision serves, and stays until it is lifted")
                .takes::<RollbackBody>()
                .gives::<AskAnswer>(),
            roll_back,
        )
        .route(
            get("/v1/history", "Revisions applied and refused, and what people said, the newest last")
                .query::<HistoryQuery>()
                .gives::<List<HistoryRow>>(),
            history,
        )
        .route(get("/v1/drift", "How each machine stands to Git").gives::<List<MachineStanding>>(), drift)
}

/// How content stands, as administrators are shown it: beside rows that are made of the same status.
pub(super) fn content_status(app: &App, status: Status) -> ContentStatus {
    let verdict = status.verdict();
    let attempted = status.attempted;
    ContentStatus {
        source: status.source,
        last_seen_revision: status.head,
        last_attempted_revision: attempted.as_ref().map(|attempt| attempt.revision.clone()),
        signed_by: status.applied.as_ref().map(|applied| applied.signed_by.clone()).unwrap_or_default(),
        last_applied_revision: status.applied.map(|applied| applied.revision),
        loading_revision: status.loading,
        loading_since_unix_ms: status.loading_since_unix_ms,
        condition: verdict.condition.as_str().to_owned(),
        reason: verdict.reason.to_owned(),
        message: verdict.message,
        outcome: attempted.as_ref().map(|attempt| attempt.outcome.as_str().to_owned()),
        at_unix_ms: attempted.as_ref().map_or(0, |attempt| attempt.at_unix_ms),
        findings: attempted.map(|attempt| attempt.findings).unwrap_or_default(),
        conditions: status.conditions,
        suspended: status.suspended,
        pinned: status.pinned,
        recent: status.recent,
        generation: status.generation,
        observed_generation: status.observed_generation,
        observed_request: status.observed_request,
        next_look_unix_ms: app.fleet.reconciler.next_look_unix_ms(),
        retry_unix_ms: status.retry_unix_ms,
    }
}

/// What holds content back, in a sentence for lists; none where nothing does.
pub(super) fn held(app: &App) -> Option<String> {
    let status = app.fleet.reconciler.status().borrow().clone();
    if status.suspended.is_none() && status.pinned.is_none() {
        return None;
    }
    Some(status.verdict().message)
}

async fn reconcile(
    State(app): State<App>,
    who: Administrator,
    Optional(body): Optional<AllowBody>,
) -> Result<Json<ReconcileAnswer>, ApiError> {
    let why = reason(&body.reason)?;
    let allowed = allowed(&app, &who.name, &body).await?;
    for (held, words) in &allowed {
        app.fleet.reconciler.allow(&held.revision, words, why).await?;
    }
    let token = app.fleet.reconciler.ask();
    let sources: Vec<String> =
        app.fleet.reconciler.follower().sources().into_iter().map(|source| source.name).collect();
    let mut message = match sources.as_slice() {
        [] | [_] => "the source is looked at now; see `formwork status`".to_owned(),
        several => format!("the sources are looked at now: {}; see `formwork status`", several.join(", ")),
    };
    let status = app.fleet.content_status();
    if status.suspended.is_some() || status.pinned.is_some() {
        let what = if status.pinned.is_some() { "a revision is pinned" } else { "it is suspended" };
        message.push_str(&format!(". Nothing new is applied: {what}, until `formwork resume`"));
    }
    message.push_str(&told(&allowed));
    Ok(Json(ReconcileAnswer { message, token, sources }))
}

/// What is allowed beyond the guards to what the source shows now; empty where nothing is said.
async fn allowed(app: &App, by: &str, body: &AllowBody) -> Result<Vec<(Held, Allowance)>, ApiError> {
    let allowed = words::read(app, by, body)?;
    if !allowed.is_some() {
        return Ok(Vec::new());
    }
    let held = words::meant(app.fleet.reconciler.held().await?, body.revision.as_deref(), &allowed)?;
    words::refuse_unknown(app, Some(&app.fleet.reconciler.seen()?), &allowed).await?;
    Ok(held.into_iter().map(|held| (held, allowed.clone())).collect())
}

/// To what that was, at the end of a sentence.
fn told(allowed: &[(Held, Allowance)]) -> String {
    let one = |(held, allowed): &(Held, Allowance)| {
        format!(". Allowed to {}: {}", words::of_what(held), allowed.words().join(", "))
    };
    allowed.iter().map(one).collect()
}

async fn suspend(
    State(app): State<App>,
    who: Administrator,
    Optional(body): Optional<HoldBody>,
) -> Result<Json<AskAnswer>, ApiError> {
    let before = app.fleet.reconciler.suspend(&who.name, reason(&body.reason)?).await?;
    let message = match before {
        None => {
            "nothing that the source shows is applied from now on; it is still looked at: `formwork status`".to_owned()
        }
        Some(word) => {
            let said = if word.reason.is_empty() { String::new() } else { format!(", for: {}", word.reason) };
            format!("it was suspended already, by {}{said}; the reason is now: {}", word.by, body.reason.trim())
        }
    };
    Ok(Json(AskAnswer { message }))
}

async fn resume(
    State(app): State<App>,
    who: Administrator,
    Optional(body): Optional<AllowBody>,
) -> Result<Json<AskAnswer>, ApiError> {
    let why = reason(&body.reason)?;
    let allowed = allowed(&app, &who.name, &body).await?;
    let to: Vec<_> = allowed.iter().map(|(held, words)| (held.revision.clone(), words.clone())).collect();
    let lifted = app.fleet.reconciler.resume(&who.name, why, &to).await?;
    Ok(Json(AskAnswer { message: format!("the source is followed again; lifted: {lifted}{}", told(&allowed)) }))
}

async fn accept(
    State(app): State<App>,
    who: Administrator,
    Path(name): Path<String>,
    Optional(body): Optional<HoldBody>,
) -> Result<Json<AskAnswer>, ApiError> {
    let (from, to) = app.fleet.reconciler.accept(&name, &who.name, reason(&body.reason)?).await?;
    let message =
        format!("source {name} goes on at {to}; it was rewritten from {from}. `formwork status` says what comes of it");
    Ok(Json(AskAnswer { message }))
}

async fn roll_back(
    State(app): State<App>,
    who: Administrator,
    Json(body): Json<RollbackBody>,
) -> Result<Json<AskAnswer>, ApiError> {
    let reason = reason(&body.reason)?;
    if reason.is_empty() {
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "reason-missing", "say why, for the journal")
            .hint("--reason TEXT"));
    }
    let (allow_wipe, allow_leave, allow_empty) = (body.allow_wipe.clone(), body.allow_leave.clone(), body.allow_empty);
    let said = AllowBody { allow_wipe, allow_leave, allow_empty, ..AllowBody::default() };
    let words = words::read(&app, &who.name, &said)?;
    words::refuse_unknown(&app, None, &words).await?;
    let to = app.fleet.reconciler.way_back(body.to.as_deref())?;
    words::named_where_all(body.to.as_deref(), &to, &words)?;
    let pin = app.fleet.reconciler.roll_back(Some(&to), &who.name, reason, &words).await?;
    let status = app.fleet.content_status();
    let serves = status.applied.as_ref().is_some_and(|applied| applied.revision == pin.revision);
    let message = match serves {
        true => format!(
            "revision {} ({}) serves and is pinned; newer ones are looked at and wait, until `formwork resume`",
            pin.revision, pin.summary
        ),
        false => format!("revision {} is pinned and does not serve yet: {}", pin.revision, status.verdict().message),
    };
    Ok(Json(AskAnswer { message }))
}

fn reason(text: &str) -> Result<&str, ApiError> {
    let text = text.trim();
    if text.chars().count() > REASON_MAX {
        return Err(ApiError::bad_request(format!("the reason is longer than {REASON_MAX} characters")));
    }
    Ok(text)
}

#[derive(Deserialize, JsonSchema)]
struct HistoryQuery {
    /// Lines in the answer, at most 10,000; 20 where not given.
    limit: Option<usize>,
}

async fn history(
    State(app): State<App>,
    _: Administrator,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<List<HistoryRow>>, ApiError> {
    let limit = query.limit.unwrap_or(HISTORY_DEFAULT).clamp(1, HISTORY_MAX);
    let fleet = std::sync::Arc::clone(&app.fleet);
    // Reading far back takes a while: not on a thread that answers machines.
    let rows = tokio::task::spawn_blocking(move || fleet.reconciler.history(limit)).await;
    let rows = rows.map_err(|error| ApiError::bad_request(format!("history could not be read: {error}")))?;
    let rows = rows.map_err(|error| match error {
        ReconcileError::Store(error) => ApiError::from(error),
        other => ApiError::bad_request(other.to_string()),
    })?;
    Ok(Json(list(&app, rows)))
}

async fn drift(State(app): State<App>, _: Administrator) -> Json<List<MachineStanding>> {
    let serving = app.fleet.current();
    let standings = standings::all(&app, &serving).await;
    let items = standings.into_iter().map(|(_, standing)| standing).chain(unknown(&app)).collect();
    Json(list_of(&app, &serving, items))
}

/// Boxes that show themselves and are no machines.
pub(super) fn unknown(app: &App) -> impl Iterator<Item = MachineStanding> {
    app.fleet.boxes().into_iter().map(|row| MachineStanding {
        name: row.mac,
        former: None,
        standing: Standing::Unknown,
        lag: None,
        message: row.reason,
        runs: None,
        since_unix_ms: Some(row.last_seen_unix_ms),
    })
}

impl From<HoldError> for ApiError {
    fn from(error: HoldError) -> Self {
        let message = error.to_string();
        match error {
            HoldError::Suspended { .. } => Self::conflict("suspended", message)
                .hint("formwork resume lifts it; --reason with another reason changes that"),
            HoldError::Following => Self::conflict("following", message)
                .hint("formwork reconcile looks at it now, and takes --allow-wipe and --allow-leave as well"),
            HoldError::Unseen { .. } => Self::conflict("unseen", message)
                .hint("nothing was changed; formwork status says how the source stands"),
            HoldError::NothingWaits { .. } => Self::conflict("nothing-waits", message).hint(
                "nothing was changed; what was pushed a moment ago may not be seen yet: formwork status says what is",
            ),
            HoldError::NotHeld { .. } => Self::not_found(message).hint("formwork status says how each source stands"),
            HoldError::Pinned { .. } => Self::conflict("pinned", message)
                .hint("formwork resume lifts it; another rollback with --to goes to another revision"),
            HoldError::NoWayBack(NoWayBack::NeverApplied { .. }) => {
                Self::not_found(message).hint("formwork history shows which were (at least four characters of one)")
            }
            HoldError::NoWayBack(NoWayBack::NothingBefore) => {
                Self::conflict("nothing-before", message).hint("formwork history")
            }
            HoldError::NoWayBack(NoWayBack::Ambiguous { .. }) => {
                Self::conflict("ambiguous", message).hint("give more of it; formwork history -o json has it in full")
            }
            HoldError::Refused { findings, .. } => {
                Self::conflict("refused", message).hint(match crate::content::count_of(&findings) {
                    0 | 1 => "nothing was changed".to_owned(),
                    more => format!("nothing was changed; there are {} findings in all", more),
                })
            }
            HoldError::Git(_) => Self::conflict("unreadable", message)
                .hint("neither the mirror nor the source has it whole; formwork history shows others"),
            HoldError::Store(error) => Self::from(error),
        }
    }
}
