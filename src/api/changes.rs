//! `/v1/changes`, `/v1/tree` and `/v1/machines/{name}/trace`: what revisions say and what a revision would do. Nothing here changes
//! anything.

use super::access::Administrator;
use super::administrators::existing;
use super::extract::{Json, Path, Query};
use super::{ApiError, App};
use crate::catalog::Catalog;
use crate::fleet::Fleet;
use crate::git::{GitError, Origins};
use crate::inspect::change::Change;
use crate::inspect::{SiteTree, Trace, TraceError, trace, tree};
use crate::net::routes::{Opens, Route, Routes};
use crate::reconcile::{Held, REVISION_LEAST, ReconcileError};
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;

pub(super) fn routes() -> Routes<App> {
    let get = |path, summary| Route::get(path, Opens::Administrator, summary);
    Routes::default()
        .route(
            get("/v1/changes", "What a revision would do in place of another, with the machines as they are now")
                .query::<ChangesQuery>()
                .gives::<Change>(),
            changes,
        )
        .route(
            get("/v1/tree", "The site as a tree: packs, workflows, stages, tasks, machines").gives::<SiteTree>(),
            site,
        )
        .route(
            get("/v1/machines/{name}/trace", "The files, lines and commits that make a machine what it is")
                .query::<TraceQuery>()
                .gives::<Trace>(),
            trace_of,
        )
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct ChangesQuery {
    /// The old revision, by any name that Git knows; where not given, the one that serves.
    from: Option<String>,
    /// The new revision, or a mounted source's commit that a guard holds; where not given, what the source shows: where that serves,
    /// the commits that are held.
    to: Option<String>,
}

async fn changes(
    State(app): State<App>,
    _: Administrator,
    Query(query): Query<ChangesQuery>,
) -> Result<Json<Change>, ApiError> {
    let old = match query.from.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => Some(revision(&app, name).await?),
        None => app.fleet.current(),
    };
    let to = query.to.filter(|name| !name.is_empty());
    let held = held(&app, to.as_deref()).await;
    if !held.is_empty() {
        let new = app.fleet.reconciler.with_held(&held).await?;
        return Ok(Json(app.fleet.foresee(old, new).await));
    }
    let shown = || app.fleet.content_status().head;
    let Some(name) = to.or_else(shown) else {
        return Err(ApiError::conflict("no-revision", "the source shows no revision yet").hint("formwork status"));
    };
    let new = revision(&app, &name).await?;
    Ok(Json(app.fleet.foresee(old, new).await))
}

/// Commits of mounted sources that a guard holds and that are asked for: by the name of one; without a name all of them, where
/// nothing of the whole waits.
async fn held(app: &App, to: Option<&str>) -> Vec<Held> {
    let held = app.fleet.reconciler.held().await.unwrap_or_default();
    let whole = held.iter().any(|held| held.source.is_none());
    let asked = |held: &Held| match to {
        Some(name) => name.len() >= REVISION_LEAST && held.revision.id.starts_with(name),
        None => !whole,
    };
    held.into_iter().filter(|held| held.source.is_some() && asked(held)).collect()
}

async fn revision(app: &App, name: &str) -> Result<Arc<Catalog>, ApiError> {
    let reconciler = &app.fleet.reconciler;
    let id = reconciler.resolve(name).await?;
    if let Some(serving) = app.fleet.current().filter(|serving| *serving.revision == *id) {
        return Ok(serving);
    }
    Ok(reconciler.catalog_at(&id).await?)
}

async fn site(State(app): State<App>, _: Administrator) -> Result<Json<SiteTree>, ApiError> {
    let catalog = app.fleet.current().ok_or_else(nothing_serves)?;
    let entries = app.fleet.all();
    let others = entries.iter().filter(|entry| catalog.machine(&entry.name).is_none());
    let views = others
        .filter_map(|entry| Fleet::view_on(&catalog, &entry.name, &entry.state()).map(std::borrow::Cow::into_owned));
    let views: Vec<_> = views.collect();
    let formers = app.fleet.to_adopt(&catalog).into_iter().map(|(name, found)| (name, found.former)).collect();
    Ok(Json(tree(&catalog, &views, formers)))
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(default)]
struct TraceQuery {
    /// A field of its declaration or one of its params; where not given, all that makes it.
    field: Option<String>,
}

async fn trace_of(
    State(app): State<App>,
    _: Administrator,
    Path(name): Path<String>,
    Query(query): Query<TraceQuery>,
) -> Result<Json<Trace>, ApiError> {
    let entry = existing(&app, &name)?;
    let catalog = app.fleet.current().ok_or_else(nothing_serves)?;
    let state = entry.state();
    let Some(view) = Fleet::view_on(&catalog, &name, &state) else {
        return Err(ApiError::not_found(format!("{name} is not on the revision that serves")).hint("formwork why"));
    };
    let mut found = trace(&catalog, &view, query.field.as_deref())?;
    // Without it the places stand as they are.
    let Ok(parts) = app.fleet.reconciler.follower().origins(&found.revision).await else { return Ok(Json(found)) };
    // A walk through the history reads the disk: not on a thread that answers machines.
    let with = tokio::task::spawn_blocking(move || {
        Origins::open(parts).tell(&mut found);
        found
    });
    with.await.map(Json).map_err(|error| {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "history", format!("the history could not be read: {error}"))
    })
}

fn nothing_serves() -> ApiError {
    ApiError::conflict("no-revision", "no revision serves yet").hint("formwork status")
}

impl From<TraceError> for ApiError {
    fn from(error: TraceError) -> Self {
        let refused = Self::new(StatusCode::NOT_FOUND, "no-field", error.to_string());
        match error.hint {
            Some(hint) => refused.hint(hint),
            None => refused.hint("`formwork trace MACHINE` shows all that makes it"),
        }
    }
}

impl From<ReconcileError> for ApiError {
    fn from(error: ReconcileError) -> Self {
        match error {
            ReconcileError::Store(error) => error.into(),
            ReconcileError::Refused { .. } => {
                Self::conflict("refused-revision", error.to_string()).hint("`formwork validate` has all findings")
            }
            ReconcileError::Git(error @ GitError::UnknownRevision { .. }) => {
                Self::not_found(error.to_string()).hint("name a branch, a tag or a commit of the source")
            }
            ReconcileError::Git(error) if error.is_fault_of_revision() => Self::not_found(error.to_string()),
            ReconcileError::Git(error) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "source", error.to_string()).retry(1)
            }
        }
    }
}
