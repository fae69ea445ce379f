//! `/v1/machines/{name}/…` for those who want to know why: evidence and params. Nothing here changes anything.

use super::access::Administrator;
use super::administrators::{existing_as_declared, logs_lack};
use super::extract::{Json, Path, Query};
use super::{ApiError, App};
use crate::boot::client::Firmware;
use crate::content::kinds::Architecture;
use crate::fleet::Entry;
use crate::inspect::{
    self, Because, Evidence, Lacks, ParamError, ParamWhy, Plan, RenderQuestion, Rendered, Subject, Values, What,
    WhatError, Why,
};
use crate::journal::Stream;
use crate::net::routes::{Opens, Route, Routes};
use crate::workflow::Question;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

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
        .route(
            get(
                "/v1/machines/{name}/render",
                "The boot and the jobs that a machine would get, as they would be served",
            )
            .query::<RenderQuery>()
            .gives::<Rendered>(),
            render,
        )
        .route(
            get("/v1/machines/{name}/plan", "Boots and stages to come, and what would stop them").gives::<Plan>(),
            plan,
        )
}

/// What is shown of a machine, and what it is called until its next word, where it is declared under another name now.
struct Looked<T> {
    found: T,
    former: Option<String>,
}

/// Looks at a machine with all that can be known of it.
async fn subject<T>(app: &App, entry: &Entry, show: impl FnOnce(&Subject<'_>) -> T) -> Result<Looked<T>, ApiError> {
    let (state, current) = (entry.state(), app.fleet.current());
    let view = current.as_ref().and_then(|catalog| Some((&**catalog, catalog.machine(&entry.name)?)));
    // A declared machine that is another until its next word is shown as it will be then.
    let to_adopt = view.and_then(|(catalog, view)| app.fleet.adopting(catalog, view, &state));
    let (state, former) = to_adopt.map_or((state, None), |it| (it.state, Some(it.former)));
    let running = inspect::last_said(&state);
    let decision = app.fleet.look_as(current.clone(), entry, Arc::clone(&state), running).await;
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
    let (files, logs) = (app.fleet.file_troubles(), logs_lack(app));
    let lacks = Lacks { files: &files, logs: logs.as_deref() };
    Ok(Looked { found: show(&Subject { question, records: &records, clusters: &clusters, lacks }), former })
}

async fn why(State(app): State<App>, _: Administrator, Path(name): Path<String>) -> Result<Json<Why>, ApiError> {
    let entry = existing_as_declared(&app, &name)?;
    let Looked { found: mut why, former } = subject(&app, &entry, inspect::why).await?;
    if let Some(former) = former {
        let text =
            format!("it is {former} until its next word, and goes on under this name with what that one has walked");
        let rule =
            "a declaration in Git with the MAC of a machine that is enrolled or gone from Git takes it over".to_owned();
        why.because.insert(0, Because { text, evidence: vec![Evidence::Rule { text: rule }] });
    }
    Ok(Json(why))
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
    let entry = existing_as_declared(&app, &name)?;
    let looked = subject(&app, &entry, |subject| inspect::param_why(subject, &param, query.stage.as_deref())).await?;
    Ok(Json(looked.found?))
}

/// Without any of them: what it would get now.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct RenderQuery {
    /// A stage: its environment and all its tasks.
    stage: Option<String>,
    /// One task.
    task: Option<String>,
    /// Every stage of the workflow.
    all: bool,
    /// Secrets are put in, as for the machine.
    secrets: bool,
    /// `bios` or `uefi`; where not given, what asked last.
    firmware: Option<String>,
    /// `x86_64` or `aarch64`; where not given, what was seen last.
    architecture: Option<Architecture>,
}

async fn render(
    State(app): State<App>,
    who: Administrator,
    Path(name): Path<String>,
    Query(query): Query<RenderQuery>,
) -> Result<Json<Rendered>, ApiError> {
    let entry = existing_as_declared(&app, &name)?;
    let firmware = match query.firmware.as_deref() {
        None => None,
        Some("bios") => Some(Firmware::Bios),
        Some("uefi") => Some(Firmware::Uefi),
        Some(other) => {
            return Err(ApiError::bad_request(format!("there is no firmware {other}")).hint("bios or uefi"));
        }
    };
    let what = match (query.stage, query.task) {
        (Some(stage), None) => What::Stage(stage),
        (None, Some(task)) => What::Task(task),
        (Some(_), Some(_)) => return Err(ApiError::bad_request("a stage or a task, not both")),
        (None, None) if query.all => What::All,
        (None, None) => What::Now,
    };
    if query.secrets {
        tracing::warn!(machine = name, by = who.name, "secrets were shown");
    }
    let (secrets, architecture) = (query.secrets, query.architecture);
    let rendered = subject(&app, &entry, |subject| {
        let open = |param: &str, value: &serde_json::Value| app.fleet.open_secret(param, value);
        let values = if secrets { Values::Open(&open) } else { Values::Masked };
        inspect::render(subject, &RenderQuestion { what, values, server: &app.server, firmware, architecture })
    });
    Ok(Json(rendered.await?.found?))
}

async fn plan(State(app): State<App>, _: Administrator, Path(name): Path<String>) -> Result<Json<Plan>, ApiError> {
    let entry = existing_as_declared(&app, &name)?;
    let planned = subject(&app, &entry, |subject| {
        // Nothing of what secrets hold is in a plan, but it has to know whether they are there.
        let open = |param: &str, value: &serde_json::Value| app.fleet.open_secret(param, value);
        inspect::plan(subject, &app.server, Values::Open(&open))
    });
    let Looked { found: plan, former } = planned.await?;
    Ok(Json(Plan { former, ..plan }))
}

impl From<WhatError> for ApiError {
    fn from(error: WhatError) -> Self {
        let refused = Self::new(StatusCode::NOT_FOUND, "nothing-to-render", error.to_string());
        match error {
            WhatError::Unknown { hint: Some(hint), .. } => refused.hint(hint),
            _ => refused,
        }
    }
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
