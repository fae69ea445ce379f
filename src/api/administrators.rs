//! `/v1/…`: what people ask and order. Every route wants the administrator's token.

use super::access::Administrator;
use super::asks::ask;
use super::content::{content_status, held};
use super::describe::Subject;
use super::extract::{Json, Optional, Path, Query};
use super::read_once::unread;
use super::standings;
use super::views::{
    AdoptBody, AskAnswer, AskBody, ChangedFile, ClusterRow, EventPage, List, LogsStatus, MachineDetail, MachineSummary,
    SiteStatus, SourceRow, StoreStatus, UploadsStatus,
};
use super::{ApiError, App, ReadOnce};
use crate::archive::{Archive, Uploads};
use crate::catalog::{Catalog, MachineView};
use crate::fleet::{BoxRow, Entry, Fleet, ToAdopt};
use crate::git::Source;
use crate::inspect::Lacks;
use crate::journal::{Event, Stream};
use crate::net::routes::{Opens, Route, Routes};
use crate::store::{Batch, Lease};
use crate::workflow::Trust;
use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The longest a question is held, seconds.
const WAIT_MAX_SECONDS: u64 = 60;
/// Events in one page, at most.
const PAGE_MAX: usize = 1000;

pub(super) fn routes() -> Routes<App> {
    let get = |path, summary| Route::get(path, Opens::Administrator, summary);
    let post = |path, summary| Route::post(path, Opens::Administrator, summary);
    Routes::default()
        .route(get("/v1/status", "The site: its content and its machines, counted").gives::<SiteStatus>(), status)
        .route(get("/v1/machines", "Every machine, in a line").gives::<List<MachineSummary>>(), machines)
        .route(get("/v1/machines/{name}", "One machine").gives::<MachineDetail>(), machine)
        .route(
            post(
                "/v1/machines/{name}/{ask}",
                "Asks something of a machine: retry, skip, cancel, approve, adopt, forget or reboot",
            )
            .takes::<AskBody>()
            .optional()
            .gives::<AskAnswer>(),
            ask,
        )
        .route(
            post("/v1/adopt", "Machines that the store does not know are new from now on")
                .takes::<AdoptBody>()
                .gives::<AskAnswer>(),
            adopt_site,
        )
        .route(get("/v1/events", "What happened, in order").query::<EventQuery>().gives::<EventPage>(), events)
        .route(get("/v1/boxes", "Boxes that are no machines").gives::<List<BoxRow>>(), boxes)
        .route(get("/v1/clusters", "Declared clusters and their members").gives::<List<ClusterRow>>(), clusters)
        .route(get("/v1/leases", "Leases of addresses").gives::<List<Lease>>(), leases)
        .route(get("/v1/subnets", "Declared subnets").gives::<List<Named>>(), subnets)
        .route(get("/v1/workflows", "Declared workflows").gives::<List<Named>>(), workflows)
}

/// What serves at the moment a question is asked: an answer of many rows is made of one revision, whatever comes meanwhile.
pub type Serving = Option<Arc<Catalog>>;

/// All machines: declared, enrolled, and those that left. Each box once: one that a declaration takes over at its next word has the
/// name that it will have.
pub fn names(fleet: &Fleet, serving: &Serving) -> BTreeSet<String> {
    let to_adopt = serving.as_deref().map(|catalog| fleet.to_adopt(catalog)).unwrap_or_default();
    names_without(fleet, serving, &to_adopt)
}

/// The same, where it is known which those are.
pub(super) fn names_without(
    fleet: &Fleet,
    serving: &Serving,
    to_adopt: &BTreeMap<String, ToAdopt>,
) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        fleet.all().into_iter().filter(|entry| entry.state().is_known()).map(|entry| entry.name.clone()).collect();
    if let Some(catalog) = serving {
        names.extend(catalog.machines().map(|view| view.name.to_string()));
    }
    for ToAdopt { former, .. } in to_adopt.values() {
        names.remove(former);
    }
    names
}

/// Looks at a machine without changing anything, as its last boot or as firmware; at a declared one that is another until its next
/// word, as it will be then.
/// `show` is also told after how long time alone may change the answer.
pub(super) async fn look<T>(
    app: &App,
    serving: &Serving,
    entry: &Entry,
    show: impl FnOnce(&Subject<'_>, Option<u64>) -> T,
) -> T {
    look_in(&app.fleet, serving, entry, logs_lack(app).as_deref(), show).await
}

async fn look_in<T>(
    fleet: &Fleet,
    serving: &Serving,
    entry: &Entry,
    logs: Option<&str>,
    show: impl FnOnce(&Subject<'_>, Option<u64>) -> T,
) -> T {
    let state = entry.state();
    let view = serving.as_deref().and_then(|catalog| Some((catalog, catalog.machine(&entry.name)?)));
    let (state, former) = match view.and_then(|(catalog, view)| fleet.adopting(catalog, view, &state)) {
        Some(ToAdopt { state, former }) => (state, Some(former)),
        None => (state, None),
    };
    let running = crate::inspect::last_said(&state);
    let decision = fleet.look_as(serving.clone(), entry, Arc::clone(&state), running).await;
    // What its box said it said under the name that it has until now.
    let speaks = former.as_deref().and_then(|former| fleet.known(former));
    let speaks = speaks.as_deref().unwrap_or(entry);
    let (live, heard) = (speaks.live(), speaks.heard(&fleet.clock));
    let trust = fleet.trust();
    let files = fleet.file_troubles();
    let subject = Subject::of(&entry.name, &decision, &live, fleet.clock.now_ms(), heard).within(running, trust);
    let subject = subject.lacking(Lacks { files: &files, logs }).formerly(former.as_deref());
    show(&subject, decision.next.ask_again_ms)
}

/// A machine as lists show it, and as that revision has it; none: it is not in it.
pub async fn shown(fleet: &Fleet, serving: &Serving, name: &str) -> (MachineSummary, Option<MachineView>) {
    let entry = fleet.entry(name);
    // Of a box that is declared under another name now, that one is shown.
    let shows = serving.as_deref().is_none_or(|catalog| fleet.becomes(catalog, name).is_none());
    look_in(fleet, serving, &entry, None, |subject, _| (subject.summary(), subject.view.filter(|_| shows).cloned()))
        .await
}

async fn machines(State(app): State<App>, _: Administrator) -> Json<List<MachineSummary>> {
    let serving = app.fleet.current();
    let mut items = Vec::new();
    for name in names(&app.fleet, &serving) {
        items.push(look(&app, &serving, &app.fleet.entry(&name), |subject, _| subject.summary()).await);
    }
    Json(list_of(&app, &serving, items))
}

async fn machine(
    State(app): State<App>,
    _: Administrator,
    Path(name): Path<String>,
) -> Result<Json<MachineDetail>, ApiError> {
    let entry = existing_as_declared(&app, &name)?;
    Ok(Json(look(&app, &app.fleet.current(), &entry, |subject, _| subject.detail()).await))
}

pub(super) fn existing(app: &App, name: &str) -> Result<Arc<Entry>, ApiError> {
    let declared = app.fleet.current().is_some_and(|catalog| catalog.machine(name).is_some());
    let known = app.fleet.known(name).filter(|entry| declared || entry.state().is_known());
    match known {
        Some(entry) => Ok(entry),
        None if declared => Ok(app.fleet.entry(name)),
        None => Err(ApiError::not_found(format!("there is no machine {name}")).hint("formwork get machines")),
    }
}

/// The same for showing it: a box that is declared under another name now is that machine, by whichever of its names it is asked for.
pub(super) fn existing_as_declared(app: &App, name: &str) -> Result<Arc<Entry>, ApiError> {
    let entry = existing(app, name)?;
    let declared = app.fleet.current().and_then(|catalog| app.fleet.becomes(&catalog, name));
    Ok(declared.map_or(entry, |declared| app.fleet.entry(&declared)))
}

/// Rows that no revision has a part in.
pub(super) fn list<T>(app: &App, items: Vec<T>) -> List<T> {
    list_of(app, &app.fleet.current(), items)
}

/// Rows made of this revision.
pub(super) fn list_of<T>(app: &App, serving: &Serving, items: Vec<T>) -> List<T> {
    List { revision: serving.as_ref().map(|catalog| catalog.revision.to_string()), held: held(app), items }
}

async fn status(State(app): State<App>, _: Administrator) -> Json<SiteStatus> {
    let [machines, drift] = standings::counts(&app).await;
    let read_once = Arc::clone(&app.read_once);
    let private = Arc::clone(&app.private);
    let policy_files = app.policy_files.changed();
    // How they stand first: a row says no less than its condition.
    let standing = app.fleet.content_status();
    let (source, sources) = (app.fleet.reconciler.follower().source(), app.fleet.reconciler.follower().sources());
    let of_sources = sources.clone();
    let files = tokio::task::spawn_blocking(move || {
        let mut changed: Vec<ChangedFile> = read_once.iter().filter_map(ReadOnce::changed).collect();
        if let Source::Sources(settings) = &*source {
            let status = |name: &str| of_sources.iter().find(|status| status.name == name);
            let unread = settings.0.iter().filter_map(|settings| Some(unread(settings, status(&settings.name)?)));
            changed.extend(unread.flatten());
        }
        changed.extend(policy_files);
        (changed, private.open_to_others())
    });
    let (changed, open_to_others) = files.await.unwrap_or_default();
    let sources = sources.into_iter().map(|source| SourceRow::of(source, &standing)).collect();
    Json(SiteStatus {
        site: app.fleet.site.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ca_fingerprint: app.fleet.fingerprint.clone(),
        // From the same status as the rows: else it could say what none of them says yet.
        content: content_status(&app, standing),
        machines,
        drift,
        holds_unknown: app.fleet.trust() == Trust::HoldUnknown,
        store: store_status(&app.fleet.store.health()),
        logs: LogsStatus { object_store: app.archive.as_deref().map(uploads_status), ..logs_status(lack(&app)) },
        enrollment: app.fleet.enrolments_waited().1.unwrap_or_default(),
        open_to_others,
        files: app.fleet.file_troubles().values().cloned().collect(),
        pushes: app.receiving.rejected(),
        changed_files: changed,
        sources,
    })
}

fn store_status(health: &crate::store::Health) -> StoreStatus {
    let (condition, message) = match (&health.unreachable, &health.full) {
        (None, None) => ("Ready", health.little_room.clone().unwrap_or_default()),
        (Some(why), _) => ("Unreachable", format!("nothing can be written until it answers: {why}")),
        (None, Some(why)) => ("Full", format!("nothing can be written until there is room: {why}")),
    };
    StoreStatus { condition: condition.to_owned(), message, bytes: health.bytes }
}

/// Why no log of a job can be written now; none: they can.
pub(super) fn logs_lack(app: &App) -> Option<String> {
    lack(app).map(|(_, why)| why)
}

/// The condition of logs that cannot be written, and why in a sentence.
fn lack(app: &App) -> Option<(&'static str, String)> {
    let full = app.logs.full().map(|why| ("Full", jobs_wait(&why)));
    full.or_else(|| app.logs.failing().map(|why| ("Failing", logs_fail(&why))))
}

fn logs_fail(why: &str) -> String {
    format!("the logs of jobs cannot be written, and jobs wait with what they print: {why}")
}

fn jobs_wait(why: &str) -> String {
    let wait = "no log can be written and jobs wait with what they print";
    format!("{wait}, until there is room on the disk of the state directory: {why}")
}

fn logs_status(lack: Option<(&str, String)>) -> LogsStatus {
    let (condition, message) = lack.unwrap_or(("Ready", String::new()));
    LogsStatus { condition: condition.to_owned(), message, object_store: None }
}

fn uploads_status(archive: &Archive) -> UploadsStatus {
    let Uploads { place, waiting, failure } = archive.uploads();
    UploadsStatus { place, waiting, failure: failure.unwrap_or_default() }
}

#[derive(Deserialize, JsonSchema)]
struct EventQuery {
    /// The sequence number after which to begin; 0 for all.
    #[serde(default)]
    after: u64,
    /// Events in the answer, at most 1,000.
    limit: Option<usize>,
    /// How long the answer may be held while there is none, seconds, at most 60.
    #[serde(default)]
    wait: u64,
    /// Only this machine's.
    machine: Option<String>,
}

async fn events(
    State(app): State<App>,
    _: Administrator,
    Query(query): Query<EventQuery>,
) -> Result<Json<EventPage>, ApiError> {
    let limit = query.limit.unwrap_or(PAGE_MAX).clamp(1, PAGE_MAX);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(query.wait.min(WAIT_MAX_SECONDS));
    let mut watch = app.fleet.store.watch_events();
    let stream = query.machine.map(Stream::Machine);
    let mut after = query.after;
    // Who begins anew gets what there is; who goes on must not miss anything without being told.
    let compacted = app.fleet.store.compacted(stream.as_ref())?;
    if after > 0 && after < compacted {
        let message = format!("events up to {compacted} were dropped by retention");
        return Err(ApiError::new(StatusCode::GONE, "compacted", message).hint("begin anew, with no `after`"));
    }
    loop {
        watch.mark_unchanged();
        let page = app.fleet.store.events_after(after, limit)?;
        let next = page.last().map_or(after, |record| record.sequence);
        let more = page.len() == limit;
        let mut items = page;
        if let Some(stream) = &stream {
            items.retain(|record| record.stream == *stream);
        }
        if !items.is_empty() {
            return Ok(Json(EventPage { items, next }));
        }
        after = next;
        if more {
            continue;
        }
        if tokio::time::timeout_at(deadline, watch.changed()).await.is_err() {
            return Ok(Json(EventPage { items, next }));
        }
    }
}

async fn boxes(State(app): State<App>, _: Administrator) -> Json<List<BoxRow>> {
    let items = app.fleet.boxes();
    Json(list(&app, items))
}

async fn leases(State(app): State<App>, _: Administrator) -> Result<Json<List<Lease>>, ApiError> {
    let mut items = app.fleet.store.leases()?;
    items.sort_unstable_by_key(|lease| lease.address);
    Ok(Json(list(&app, items)))
}

/// A declared object.
#[derive(Serialize, JsonSchema)]
struct Named {
    /// Its name.
    name: String,
    /// Where it is declared, `file:line:column`.
    place: String,
}

async fn clusters(State(app): State<App>, _: Administrator) -> Json<List<ClusterRow>> {
    let serving = app.fleet.current();
    // Each box once, by the name that it will have.
    let to_adopt = serving.as_deref().map(|catalog| app.fleet.to_adopt(catalog)).unwrap_or_default();
    let former: BTreeSet<String> = to_adopt.into_values().map(|found| found.former).collect();
    let row = |profile: &crate::catalog::ClusterProfile| ClusterRow {
        name: profile.name.to_string(),
        size: profile.spec.size,
        members: app.fleet.members(&profile.name).iter().filter(|name| !former.contains(*name)).cloned().collect(),
    };
    let items = serving.as_deref().map_or_else(Vec::new, |catalog| catalog.cluster_profiles().map(row).collect());
    Json(list_of(&app, &serving, items))
}

async fn subnets(State(app): State<App>, _: Administrator) -> Json<List<Named>> {
    let serving = app.fleet.current();
    let items = serving.as_deref().map_or_else(Vec::new, |catalog| {
        catalog
            .subnets()
            .map(|subnet| Named { name: subnet.name.to_string(), place: subnet.place.to_string() })
            .collect()
    });
    Json(list_of(&app, &serving, items))
}

async fn workflows(State(app): State<App>, _: Administrator) -> Json<List<Named>> {
    let serving = app.fleet.current();
    let items = serving.as_deref().map_or_else(Vec::new, |catalog| {
        catalog
            .workflows()
            .map(|workflow| Named { name: workflow.name.to_string(), place: workflow.place.to_string() })
            .collect()
    });
    Json(list_of(&app, &serving, items))
}

/// Nothing but the whole word lifts what keeps installed machines from being wiped.
async fn adopt_site(
    State(app): State<App>,
    who: Administrator,
    Optional(body): Optional<AdoptBody>,
) -> Result<Json<AskAnswer>, ApiError> {
    if !body.new {
        let message = "this lets every machine without a journal start, now and from now on, and says so in its body: \
                       `{\"new\": true}`";
        let hint = "formwork adopt --all --new; what is installed is adopted machine by machine: formwork adopt NAME";
        return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "new-missing", message).hint(hint));
    }
    let event = (Stream::Site, Event::SiteAdopted { by: who.name, reason: body.reason.trim().to_owned() });
    app.fleet.commit(Batch { expected: Vec::new(), events: vec![event], operations: Vec::new() }).await?;
    Ok(Json(AskAnswer { message: "machines without a journal are new from now on, and may start".into() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Health;

    #[test]
    fn logs_that_cannot_be_written_are_full_and_say_that_jobs_wait() {
        let status = logs_status(None);
        assert_eq!((status.condition.as_str(), status.message.as_str()), ("Ready", ""));
        let status = logs_status(Some(("Full", jobs_wait("12 bytes are left"))));
        assert_eq!(status.condition, "Full");
        assert!(status.message.contains("jobs wait") && status.message.ends_with(": 12 bytes are left"), "{status:?}");
    }

    #[test]
    fn a_store_that_cannot_be_reached_is_not_called_full() {
        let why = || Some("so it is".to_owned());
        for (health, condition, message) in [
            (Health::default(), "Ready", ""),
            (Health { little_room: why(), ..Health::default() }, "Ready", "so it is"),
            (
                Health { full: why(), ..Health::default() },
                "Full",
                "nothing can be written until there is room: so it is",
            ),
            (
                Health { unreachable: why(), ..Health::default() },
                "Unreachable",
                "nothing can be written until it answers: so it is",
            ),
        ] {
            let status = store_status(&health);
            assert_eq!((status.condition.as_str(), status.message.as_str()), (condition, message));
        }
    }
}
