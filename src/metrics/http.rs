//! Requests over HTTP, by the template of their route: a path that somebody made up is no label.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::Response;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Instant;

/// Up to a minute: a question that waits for something is held for so long.
const SECONDS: [f64; 10] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 15.0, 60.0];

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Route {
    pub(super) listener: &'static str,
    pub(super) method: &'static str,
    pub(super) route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    #[prometheus(flatten)]
    route: Route,
    status: &'static str,
}

/// Requests over HTTP.
#[derive(Debug, Clone)]
pub struct Http {
    requests: Family<Answered, Counter>,
    seconds: Family<Route, Histogram, fn() -> Histogram>,
    in_flight: Family<Route, Gauge>,
}

impl Default for Http {
    fn default() -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(SECONDS);
        Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(seconds),
            in_flight: Family::default(),
        }
    }
}

impl Http {
    pub(super) fn register(&self, to: &mut Registry) {
        let help =
            "HTTP requests, by listener, route and class of status; `gone`: the client hung up before the answer";
        to.register("http_requests", help, self.requests.clone());
        let help = "How long an answer took to begin; of routes that wait for something, the wait too";
        to.register("http_request_duration_seconds", help, self.seconds.clone());
        let help = "Requests that are being answered, those that wait for something among them";
        to.register("http_requests_in_flight", help, self.in_flight.clone());
    }

    pub(super) fn begun(&self, route: Route) -> Begun {
        self.in_flight.get_or_create(&route).inc();
        Begun { http: self.clone(), route, began: Instant::now(), status: None }
    }
}

/// A request that is being answered. Counted when it is over, which it also is when its client hangs up.
pub(super) struct Begun {
    http: Http,
    route: Route,
    began: Instant,
    pub(super) status: Option<StatusCode>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let Self { http, route, began, status } = self;
        http.in_flight.get_or_create(route).dec();
        if status.is_some() {
            http.seconds.get_or_create(route).observe(began.elapsed().as_secs_f64());
        }
        let status = status.map_or("gone", class);
        http.requests.get_or_create(&Answered { route: route.clone(), status }).inc();
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// The method, where it is one of those that are in use: clients may send any word.
fn known(method: &Method) -> &'static str {
    const KNOWN: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
    KNOWN.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// Counts each request to the routes that it is laid around, under the name of their listener.
pub async fn counted(
    State((http, listener)): State<(Http, &'static str)>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let route = path.map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let mut begun = http.begun(Route { listener, method: known(request.method()), route });
    let answer = next.run(request).await;
    begun.status = Some(answer.status());
    answer
}
