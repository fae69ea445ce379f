//! `/v1/machines/{name}/…` for those who want to know why: evidence and params. Nothing here changes anything.

use super::access::Administrator;
use super::administrators::existing;
use super::extract::{Json, Path, Query};
use super::{ApiError, App};
use crate::fleet::Entry;
use crate::inspect::{self, ParamError, ParamWhy, Subject, Why};
use crate::journal::Stream;
use crate::net::routes::{Opens, Route, Routes};
use crate::workflow::Question;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;

/// So many of a machine's newest events are looked through for evidence.
const EVIDENCE_MAX: u64 = 1000;

pub(super) fn routes() -> Routes<App> {
    let get = |path, summary| Route::get(path, Opens::Administrator, summary);
    Routes::default()
        .route(get("/v1/machines/{name}/why", "Why a machine is where it is, and what says so").gives::<Why>(), why)
        .route(
            get("/v1/machines/{name}/params/{param}", "Who gives a param to a machine, and which value holds")
                .query::<ParamQuery>()
                .gives::<ParamWhy>(),
            param,
        )
}

/// Looks at a machine with all that can be known of it.
async fn subject<T>(app: &App, entry: &Entry, show: impl FnOnce(&Subject<'_>) -> T) -> Result<T, ApiError> {
    let state = entry.state();
    let running = inspect::last_said(&state);
    let decision = app.fleet.look(entry, running).await;
    let stream = Stream::Machine(entry.name.clone());
    let from = decision.state.head.saturating_sub(EVIDENCE_MAX);
    let records = app.fleet.store.events_of(&stream, from, usize::try_from(EVIDENCE_MAX).unwrap_or(usize::MAX))?;
    let deciding = decision.pinned.as_deref().or(decision.current.as_deref());
    let clusters = match (deciding, decision.view.as_ref()) {
        (Some(catalog), Some(view)) => app.fleet.cluster_keys(catalog, view),
        _ => crate::params::ClusterKeys::default(),
    };
    let question = Question {
        machine: &entry.name,
        current: decision.current.as_deref(),
        view: decision.view.as_ref(),
        pinned: decision.pinned.as_deref(),
        state: &decision.state,
        running,
        trust: app.fleet.trust(),
        now_unix_ms: app.fleet.clock.now_unix_ms(),
    };
    Ok(show(&Subject { question, records: &records, clusters: &clusters }))
}

async fn why(State(app): State<App>, _: Administrator, Path(name): Path<String>) -> Result<Json<Why>, ApiError> {
    let entry = existing(&app, &name)?;
    Ok(Json(subject(&app, &entry, inspect::why).await?))
}

#[derive(Deserialize, JsonSchema)]
struct ParamQuery {
    /// Read it as in that stage; where not given, as in the stage that the open run is in.
    stage: Option<String>,
}

async fn param(
    State(app): State<App>,
    _: Administrator,
    Path((name, param)): Path<(String, String)>,
    Query(query): Query<ParamQuery>,
) -> Result<Json<ParamWhy>, ApiError> {
    let entry = existing(&app, &name)?;
    let found = subject(&app, &entry, |subject| inspect::param_why(subject, &param, query.stage.as_deref())).await?;
    Ok(Json(found?))
}

impl From<ParamError> for ApiError {
    fn from(error: ParamError) -> Self {
        let message = error.to_string();
        let (code, hint) = match error {
            ParamError::NoMachine(_) => ("no-machine", Some("formwork describe machine NAME".to_owned())),
            ParamError::Unknown { hint, .. } => ("no-param", hint),
            ParamError::NoStage { hint, .. } => ("no-stage", hint),
        };
        let refused = Self::new(StatusCode::NOT_FOUND, code, message);
        match hint {
            Some(hint) => refused.hint(hint),
            None => refused,
        }
    }
}
