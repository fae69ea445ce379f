//! The table of these routes: the same operations for machines, by a cluster token, and for administrators, by name.

use super::answers::Written;
use super::{ClusterAccess, Desk, claims, document, events, keys, sets};
use crate::cluster::{ClaimAnswer, DocumentView, Joined};
use crate::net::routes::{Method, Opens, Route, Routes, Shape};
use schemars::JsonSchema;
use serde_json::{Map, Value};
use std::sync::Arc;

const LINE: &str = "text/plain";
const JSON: &str = "application/json";

fn plain(media: &'static str) -> Vec<Shape> {
    vec![Shape { media, schema: None }]
}

fn of<T: JsonSchema>() -> Vec<Shape> {
    vec![Shape { media: JSON, schema: Some(|generator| generator.subschema_for::<T>()) }]
}

/// A write says what it expects to find.
fn conditional(route: Route) -> Route {
    write(route)
        .header("If-Match", "The version that is expected, `\"epoch.version\"`, or `*` for any.")
        .header("If-None-Match", "`*`: the key is not there yet.")
}

fn write(route: Route) -> Route {
    route
        .header("Idempotency-Key", "The same key again gets the same answer.")
        .header("Fence", "`claim=42`: refused once that claim went to another.")
}

/// Every operation, twice.
pub(super) fn routes<A: ClusterAccess>() -> Routes<Arc<Desk<A>>> {
    let reset = Route::post("/v1/clusters/{name}/reset", Opens::Administrator, "Begins the cluster anew: a new epoch")
        .needs("reason", "Why, for the journal.")
        .gives::<Written>();
    let freeze =
        Route::post("/v1/clusters/{name}/freeze", Opens::Administrator, "Machines change nothing until it is thawed")
            .needs("reason", "Why, for the journal and for whom it stops.")
            .gives::<Written>();
    let thaw =
        Route::post("/v1/clusters/{name}/thaw", Opens::Administrator, "Machines may write again").gives::<Written>();
    operations::<A>("/v1/cluster", Opens::Cluster)
        .merge(operations::<A>("/v1/clusters/{name}", Opens::Administrator))
        .route(reset, document::reset::<A>)
        .route(freeze, document::freeze::<A>)
        .route(thaw, document::thaw::<A>)
}

fn operations<A: ClusterAccess>(at: &str, opens: Opens) -> Routes<Arc<Desk<A>>> {
    let route = |method, rest: &str, summary| Route::new(method, format!("{at}{rest}"), opens, summary);
    let waits = |route: Route| {
        route
            .word("wait", "How long the answer may be held, as `55s`; a minute at most; then 408.")
            .word("count", "How many must have joined: a number, or `all`.")
    };
    let fenced = |route: Route| write(route).word("fence", "The number that the claim gave.");
    Routes::default()
        .route(
            route(Method::Get, "", "The document")
                .header("If-None-Match", "The version that is known already.")
                .gives::<DocumentView>()
                .reply(304, "Nothing changed.", Vec::new()),
            document::read::<A>,
        )
        .route(
            write(route(Method::Patch, "", "Changes many keys, all or nothing"))
                .header("If-Match", "The version of the document that is expected.")
                .takes_media("application/json-patch+json")
                .takes_media("application/vnd.formwork.patch+json")
                .gives::<Written>(),
            document::patch::<A>,
        )
        .route(
            route(Method::Get, "/keys/{*key}", "A key's value, waited for where `wait` says so")
                .word("wait", "How long the answer may be held, as `55s`; a minute at most; then 408.")
                .word("after", "The version it must be newer than: `V` or `epoch.V`.")
                .word("of", "The claim that should produce it: 424 once that failed or is vacant.")
                .header("If-None-Match", "The version that is known already.")
                .gives_media(JSON)
                .gives_media(LINE)
                .reply(304, "Nothing changed.", Vec::new()),
            keys::read::<A>,
        )
        .route(
            conditional(route(Method::Put, "/keys/{*key}", "Writes a key"))
                .word("secret", "`1`: the value is a secret.")
                .takes_media(JSON)
                .takes_media(LINE)
                .gives::<Written>()
                .reply(201, "Created.", of::<Written>()),
            keys::write::<A>,
        )
        .route(
            conditional(route(Method::Delete, "/keys/{*key}", "Takes a key away")).gives::<Written>(),
            keys::delete::<A>,
        )
        .route(
            write(route(Method::Post, "/claims/{claim}", "Asks for a claim: the first leads, everybody else follows"))
                .word("ttl", "How long it is held unless renewed, as `15m`.")
                .gives::<ClaimAnswer>()
                .gives_media(LINE),
            claims::ask::<A>,
        )
        .route(
            fenced(route(Method::Put, "/claims/{claim}", "Renews a claim"))
                .word("ttl", "How long it is held from now on.")
                .gives::<ClaimAnswer>()
                .gives_media(LINE),
            claims::renew::<A>,
        )
        .route(
            fenced(route(Method::Post, "/claims/{claim}/done", "Publishes keys and ends the claim for good"))
                .takes::<Map<String, Value>>()
                .optional()
                .gives::<ClaimAnswer>()
                .gives_media(LINE),
            claims::done::<A>,
        )
        .route(
            fenced(route(Method::Post, "/claims/{claim}/fail", "Gives a claim back, or fails it for good"))
                .word("retry", "`1`: the next to ask gets it.")
                .word("reason", "Why.")
                .gives::<ClaimAnswer>()
                .gives_media(LINE),
            claims::fail::<A>,
        )
        .route(
            waits(route(Method::Get, "/sets/{set}", "A set's members in order")).gives_media(JSON).gives_media(LINE),
            sets::read::<A>,
        )
        .route(
            write(waits(route(
                Method::Put,
                "/sets/{set}/self",
                "Joins a set; with `wait` it is a barrier in one call",
            )))
            .gives::<Joined>()
            .gives_media(LINE)
            .reply(201, "Joined by this call.", of::<Joined>())
            .reply(201, "Joined by this call.", plain(LINE)),
            sets::join::<A>,
        )
        .route(
            route(Method::Get, "/events", "What changes, as server-sent events")
                .word("after", "The id of the last event that is known.")
                .header("Last-Event-ID", "The same.")
                .gives_media("text/event-stream"),
            events::stream::<A>,
        )
}
