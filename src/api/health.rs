//! `/healthz`: whether this server answers, for what watches over processes. Anybody may ask; nothing else is told.

use super::App;
use crate::net::routes::{Opens, Route, Routes};

/// Where it is asked.
pub(super) const PATH: &str = "/healthz";

pub(super) fn routes() -> Routes<App> {
    let route = Route::get(PATH, Opens::Anybody, "Whether this server answers").body_max(0).gives_media("text/plain");
    Routes::default().route(route, async || "ok\n")
}
