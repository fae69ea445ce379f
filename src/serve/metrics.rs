//! `GET /metrics`, on a listener of its own: nobody is asked for a token there, and nothing else is told.

use super::connections::{Bounded, Limits};
use super::desk::Desk;
use super::{ServeError, listen};
use crate::api::{App, counted, counts, views::Phase};
use crate::boot::desk::BootDesk as _;
use crate::content::kinds::SubnetMode;
use crate::git::remote::SourceStatus;
use crate::inspect::Standing;
use crate::metrics::{Followed, Format, Metrics, Now, Pool, Process};
use crate::replicas::Replicas;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use serde::Serialize;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::sync::Mutex;

/// Its bounds are its own: it is looked at when the other listeners have no place left.
const LIMITS: Limits = Limits { connections: 64, of_one_peer: 16, idle: Duration::from_secs(60), pace: None };
/// So much of a revision is shown.
const REVISION: usize = 10;

/// Where all of it is gathered from.
pub(super) struct Scraped {
    pub(super) app: App,
    pub(super) desk: Arc<Desk>,
    pub(super) replicas: Replicas,
    pub(super) metrics: Metrics,
}

struct Asked {
    scraped: Scraped,
    /// One at a time: whoever asks without an end has nobody counted twice at once.
    turn: Mutex<()>,
}

/// Serves it for as long as it is polled.
pub(super) async fn serve(listener: TcpListener, scraped: Scraped) -> Result<(), ServeError> {
    let asked = Arc::new(Asked { scraped, turn: Mutex::default() });
    let routes = Router::new().route("/metrics", get(answer)).with_state(asked);
    listen::serve_plain(listener, Bounded::new(LIMITS), "metrics", routes).await
}

/// Counts the requests to these routes, under the name of their listener.
pub(super) fn around(routes: Router, metrics: &Metrics, listener: &'static str) -> Router {
    routes.layer(from_fn_with_state((metrics.http.clone(), listener), crate::metrics::counted))
}

async fn answer(State(asked): State<Arc<Asked>>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let _turn = asked.turn.lock().await;
    match asked.scraped.metrics.text(&now(&asked.scraped).await, format) {
        Ok(text) => ([(header::CONTENT_TYPE, format.content_type())], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// What is so now. Nothing of it waits for a disk on a thread that answers machines.
async fn now(Scraped { app, desk, replicas, .. }: &Scraped) -> Now {
    let fleet = &app.fleet;
    let standing = replicas.standing();
    let content = fleet.content_status();
    let sources: Vec<_> = fleet.reconciler.follower().sources().into_iter().map(followed).collect();
    let [phases, standings] = counts(app).await;
    let (store, logs) = (Arc::clone(&fleet.store), Arc::clone(&app.logs));
    let read = tokio::task::spawn_blocking(move || {
        (store.health(), (logs.full().is_some(), logs.failing().is_some()), Process::read())
    });
    let (store, (job_logs_full, job_logs_failing), process) = read.await.unwrap_or_default();
    let (unreachable, full) = (store.unreachable.is_some(), store.full.is_some());
    let conditions = [("Ready", !unreachable && !full), ("Full", full && !unreachable), ("Unreachable", unreachable)];
    let short = |revision: &str| revision.get(..REVISION).unwrap_or(revision).to_owned();
    Now {
        version: env!("CARGO_PKG_VERSION"),
        revision: content.applied.as_ref().map(|applied| short(&applied.revision)),
        content: content.conditions.iter().map(|row| (row.kind.clone(), row.status == "True")).collect(),
        suspended: content.suspended.is_some(),
        pinned: content.pinned.is_some(),
        source_available: content.unavailable.is_none() && sources.iter().all(|source| source.up),
        sources,
        loading_seconds: content.loading_since_unix_ms.map_or(0.0, seconds_since),
        findings: content.attempted.as_ref().map_or(0, |attempt| attempt.count),
        phases: each(Phase::ALL, &phases),
        standings: each(Standing::ALL, &standings),
        enrollments_delayed: fleet.enrolments_waited().0,
        pools: pools(desk, fleet.clock.now_ms()),
        store_bytes: store.bytes,
        store: conditions.map(|(condition, holds)| (condition.to_owned(), holds)).to_vec(),
        store_log: store.log,
        leads: standing.leads(),
        replicas: standing.live.len(),
        job_logs_full,
        log_uploads_waiting: app.archive.as_ref().map_or(0, |archive| archive.uploads().waiting),
        job_logs_failing,
        process,
    }
}

fn seconds_since(unix_ms: i64) -> f64 {
    let at = UNIX_EPOCH + Duration::from_millis(u64::try_from(unix_ms).unwrap_or(0));
    SystemTime::now().duration_since(at).unwrap_or_default().as_secs_f64()
}

/// How a source stands: whatever it is that keeps its newest commit from being used is told by itself.
fn followed(source: SourceStatus) -> Followed {
    Followed {
        up: source.last_success_unix_ms.is_some() && (source.failure.is_none() || source.is_held),
        // Findings of a commit that its branch no longer shows are old news.
        refused: !source.findings.is_empty() && !source.is_held,
        held: source.is_held,
        unreported: source.reporting.is_some_and(|reporting| reporting.failure.is_some()),
        last_success_unix_ms: source.last_success_unix_ms,
        name: source.name,
    }
}

/// So many of each word, those of which there is none too: what is gone is told from what is not counted.
fn each<T: Serialize>(words: impl IntoIterator<Item = T>, counts: &BTreeMap<String, u32>) -> Vec<(String, u32)> {
    let words = counted(words).into_keys();
    words.map(|word| (word.clone(), counts.get(&word).copied().unwrap_or_default())).collect()
}

/// The subnets in which addresses are given. `now_ms` is the lifetime clock.
fn pools(desk: &Desk, now_ms: u64) -> Vec<Pool> {
    let network = desk.network();
    let served = network.subnets().iter().filter(|subnet| subnet.mode == SubnetMode::Server);
    let mut pools: BTreeMap<&str, Pool> = served
        .map(|subnet| {
            let pool = Pool { subnet: subnet.name.clone(), leases: 0, addresses: subnet.pool_size() };
            (subnet.name.as_str(), pool)
        })
        .collect();
    let leases = desk.leases();
    for binding in leases.lock().all().filter(|binding| binding.is_active(now_ms)) {
        if let Some(pool) = pools.get_mut(binding.lease.subnet.as_str()) {
            pool.leases += 1;
        }
    }
    pools.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_up_while_it_can_be_looked_at_whatever_is_thought_of_what_it_shows() {
        let told = |failure: Option<&str>, is_held, findings: usize, success| {
            let followed = followed(SourceStatus {
                failure: failure.map(str::to_owned),
                is_held,
                findings: vec![String::new(); findings],
                last_success_unix_ms: success,
                ..SourceStatus::default()
            });
            (followed.up, followed.refused, followed.held)
        };
        assert_eq!(told(None, false, 0, Some(1)), (true, false, false));
        assert_eq!(told(None, false, 0, None), (false, false, false), "nobody has looked yet");
        assert_eq!(told(Some("no answer"), false, 0, Some(1)), (false, false, false));
        assert_eq!(told(None, false, 2, Some(1)), (true, true, false));
        assert_eq!(told(Some("rewritten"), true, 0, Some(1)), (true, false, true));
    }

    #[test]
    fn every_phase_and_every_standing_is_counted_where_there_is_none_too() {
        // The schema knows every variant, and has a word for each.
        fn words(schema: schemars::Schema) -> Vec<String> {
            let variants = schema.as_value()["oneOf"].as_array().expect("variants").clone();
            let mut words: Vec<_> =
                variants.iter().map(|it| it["const"].as_str().expect("a word").to_owned()).collect();
            words.sort();
            words
        }
        let counts = BTreeMap::from([("ready".to_owned(), 3), ("behind".to_owned(), 2)]);
        let phases = each(Phase::ALL, &counts);
        assert_eq!(
            phases.iter().map(|(word, _)| word.clone()).collect::<Vec<_>>(),
            words(schemars::schema_for!(Phase))
        );
        assert_eq!(phases.iter().map(|(_, count)| count).sum::<u32>(), 3);
        let standings = each(Standing::ALL, &counts);
        let known = standings.iter().map(|(word, _)| word.clone()).collect::<Vec<_>>();
        assert_eq!(known, words(schemars::schema_for!(Standing)));
        assert!(standings.contains(&("behind".to_owned(), 2)) && standings.contains(&("left".to_owned(), 0)));
    }
}
