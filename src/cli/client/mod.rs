//! The administrators' API as one blocking client: TLS that trusts the site's authority and nothing else, a bearer token,
//! a bound on every wait and every answer. The token is in a header and nowhere else.

use super::error::CliError;
use crate::api::views::{
    AllowBody, AskAnswer, AskBody, BoxRow, Context, EventPage, HistoryRow, List, MachineDetail, MachineSummary,
    ReconcileAnswer, SiteStatus, SnapshotMade,
};
use crate::inspect::change::Change;
use crate::inspect::{MachineStanding, ParamWhy, Plan, Rendered, SiteTree, Trace, Why};
use crate::net::site_client;
use crate::store::Lease;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// A server on the same network that does not take a connection in this time is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer may take beyond the wait that was asked for.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// No answer is larger: a list of 100,000 machines is about half of it.
const ANSWER_MAX_BYTES: u64 = 128 * 1024 * 1024;
/// The most events asked for at once.
pub const EVENTS_A_PAGE: usize = 1000;
/// The longest wait the server is asked for: it holds no request longer than a minute.
pub const LONGEST_WAIT: Duration = Duration::from_secs(55);

/// A piece of a job's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPiece {
    /// The bytes, from the offset that was asked for.
    pub bytes: Vec<u8>,
    /// How long the log is on the server now, bytes.
    pub length: u64,
    /// The job ended and the server has all of its log.
    pub complete: bool,
}

/// The connection to one server.
pub struct Client {
    agent: ureq::Agent,
    server: String,
    authorization: String,
}

impl Client {
    /// A client for this context. Nothing is connected yet.
    ///
    /// # Errors
    /// [`CliError::Usage`] when the context has no certificate.
    pub fn new(context: &Context) -> Result<Self, CliError> {
        let Some(agent) = site_client(&context.ca_certificate, CONNECT_TIMEOUT, None) else {
            return Err(CliError::Usage {
                message: "the context has no certificate of the site's authority (`caCertificate`, PEM)".to_owned(),
                hint: Some("take the file that `formwork site create` wrote as it is".to_owned()),
            });
        };
        Ok(Self {
            agent,
            server: context.server.trim_end_matches('/').to_owned(),
            authorization: format!("Bearer {}", context.token),
        })
    }

    /// `GET /v1/machines`.
    pub fn machines(&self) -> Result<List<MachineSummary>, CliError> {
        self.get("/v1/machines")
    }

    /// `GET /v1/machines/{name}`.
    pub fn machine(&self, name: &str) -> Result<MachineDetail, CliError> {
        self.get(&format!("/v1/machines/{}", segment(name)))
    }

    /// `GET /v1/machines/{name}/why`.
    pub fn why(&self, name: &str) -> Result<Why, CliError> {
        self.get(&format!("/v1/machines/{}/why", segment(name)))
    }

    /// `GET /v1/machines/{name}/params/{param}`.
    pub fn param_why(&self, name: &str, param: &str, stage: Option<&str>) -> Result<ParamWhy, CliError> {
        let stage = stage.map(|stage| format!("?stage={}", segment(stage))).unwrap_or_default();
        self.get(&format!("/v1/machines/{}/params/{}{stage}", segment(name), segment(param)))
    }

    /// `GET /v1/machines/{name}/render`; `query` is what stands behind the question mark, each value escaped.
    pub fn render(&self, name: &str, query: &[(&str, &str)]) -> Result<Rendered, CliError> {
        let words: Vec<String> = query.iter().map(|(word, value)| format!("{word}={}", segment(value))).collect();
        self.get(&format!("/v1/machines/{}/render?{}", segment(name), words.join("&")))
    }

    /// `GET /v1/machines/{name}/plan`.
    pub fn plan(&self, name: &str) -> Result<Plan, CliError> {
        self.get(&format!("/v1/machines/{}/plan", segment(name)))
    }

    /// `GET /v1/changes`: what revision `to` would do in place of `from`.
    pub fn changes(&self, from: Option<&str>, to: Option<&str>) -> Result<Change, CliError> {
        let (from, to) = (segment(from.unwrap_or_default()), segment(to.unwrap_or_default()));
        self.get(&format!("/v1/changes?from={from}&to={to}"))
    }

    /// `GET /v1/tree`.
    pub fn tree(&self) -> Result<SiteTree, CliError> {
        self.get("/v1/tree")
    }

    /// `GET /v1/machines/{name}/trace`.
    pub fn trace(&self, name: &str, field: Option<&str>) -> Result<Trace, CliError> {
        let field = field.map(|field| format!("?field={}", segment(field))).unwrap_or_default();
        self.get(&format!("/v1/machines/{}/trace{field}", segment(name)))
    }

    /// `GET /v1/status`.
    pub fn status(&self) -> Result<SiteStatus, CliError> {
        self.get("/v1/status")
    }

    /// `GET /v1/boxes`.
    pub fn boxes(&self) -> Result<List<BoxRow>, CliError> {
        self.get("/v1/boxes")
    }

    /// `GET /v1/leases`.
    pub fn leases(&self) -> Result<List<Lease>, CliError> {
        self.get("/v1/leases")
    }

    /// `GET /v1/subnets` and the like: lists of names with the place of their declaration.
    pub fn named<T: DeserializeOwned>(&self, kind: &str) -> Result<List<T>, CliError> {
        self.get(&format!("/v1/{}", segment(kind)))
    }

    /// `GET /v1/clusters/{name}`.
    pub fn cluster(&self, name: &str) -> Result<serde_json::Value, CliError> {
        self.get(&format!("/v1/clusters/{}", segment(name)))
    }

    /// `POST /v1/clusters/{name}/{freeze|thaw|reset}`.
    pub fn tell_cluster(&self, name: &str, verb: &str, reason: Option<&str>) -> Result<serde_json::Value, CliError> {
        let mut path = format!("/v1/clusters/{}/{}", segment(name), segment(verb));
        if let Some(reason) = reason {
            path.push_str("?reason=");
            path.push_str(&segment(reason));
        }
        self.post(&path, &serde_json::Map::new())
    }

    /// `POST /v1/store/snapshots`: the name of a copy of the store, in the server's own state directory.
    pub fn store_snapshot(&self) -> Result<SnapshotMade, CliError> {
        self.post("/v1/store/snapshots", &serde_json::Map::new())
    }

    /// `GET /v1/events`: at most `limit` events after `after`, waiting up to `wait` (at most [`LONGEST_WAIT`]) while there is none.
    pub fn events(
        &self,
        after: u64,
        limit: usize,
        wait: Duration,
        machine: Option<&str>,
    ) -> Result<EventPage, CliError> {
        let wait = wait.min(LONGEST_WAIT);
        let mut path = format!("/v1/events?after={after}&limit={limit}&wait={}", wait.as_secs());
        if let Some(machine) = machine {
            path.push_str("&machine=");
            path.push_str(&segment(machine));
        }
        self.get_waiting(&path, wait)
    }

    /// `GET /v1/jobs/{job}/log`: what there is from byte `from` on, waiting up to `wait` while there is nothing.
    pub fn log(&self, job: &str, from: u64, wait: Duration) -> Result<LogPiece, CliError> {
        let wait = wait.min(LONGEST_WAIT);
        let path = format!("/v1/jobs/{}/log?from={from}&wait={}", segment(job), wait.as_secs());
        let response = self.call(self.request("GET", &path, wait), None, &path)?;
        let header = |name: &str| response.0.get(name).and_then(|value| value.to_str().ok());
        let length = header("formwork-log-length").and_then(|value| value.parse().ok());
        let complete = header("formwork-log-complete").map(|value| value == "true");
        let (Some(length), Some(complete)) = (length, complete) else {
            return Err(CliError::Answer { path, what: "it does not say how long the log is".to_owned() });
        };
        Ok(LogPiece { bytes: response.1, length, complete })
    }

    /// `POST /v1/machines/{name}/{verb}`.
    pub fn ask(&self, machine: &str, verb: &str, body: &AskBody) -> Result<AskAnswer, CliError> {
        self.post(&format!("/v1/machines/{}/{}", segment(machine), segment(verb)), body)
    }

    /// `POST /v1/{suspend|resume|rollback}`.
    pub fn tell_content(&self, verb: &str, body: &impl Serialize) -> Result<AskAnswer, CliError> {
        self.post(&format!("/v1/{}", segment(verb)), body)
    }

    /// `POST /v1/sources/{name}/accept`.
    pub fn accept_source(&self, name: &str, body: &impl Serialize) -> Result<AskAnswer, CliError> {
        self.post(&format!("/v1/sources/{}/accept", segment(name)), body)
    }

    /// `GET /v1/history`: the last so many lines.
    pub fn history(&self, limit: u32) -> Result<List<HistoryRow>, CliError> {
        self.get(&format!("/v1/history?limit={limit}"))
    }

    /// `GET /v1/drift`: how each machine stands to Git.
    pub fn drift(&self) -> Result<List<MachineStanding>, CliError> {
        self.get("/v1/drift")
    }

    /// `POST /v1/reconcile`: look at the source of content now. Where nothing is said there is no body: an older server takes none.
    pub fn reconcile(&self, body: &AllowBody) -> Result<ReconcileAnswer, CliError> {
        const PATH: &str = "/v1/reconcile";
        if !body.is_empty() {
            return self.post(PATH, body);
        }
        let (_, answer) = self.call(self.request("POST", PATH, Duration::ZERO), None, PATH)?;
        decode(PATH, &answer)
    }

    /// `POST /v1/push`: whether a push may be taken. The longest judging is waited for.
    pub fn push(&self, question: &crate::api::push::Question) -> Result<crate::api::push::Answer, CliError> {
        self.post("/v1/push", question)
    }

    /// `POST /v1/adopt`: machines without a journal are new from now on.
    pub fn adopt_all(&self, body: &AskBody) -> Result<AskAnswer, CliError> {
        self.post("/v1/adopt", body)
    }

    fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, CliError> {
        self.get_waiting(path, Duration::ZERO)
    }

    fn get_waiting<T: DeserializeOwned>(&self, path: &str, wait: Duration) -> Result<T, CliError> {
        let (_, body) = self.call(self.request("GET", path, wait), None, path)?;
        decode(path, &body)
    }

    fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, CliError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| CliError::Usage { message: format!("cannot be said in JSON: {error}"), hint: None })?;
        let request = self.request("POST", path, Duration::ZERO).header("content-type", "application/json");
        let (_, answer) = self.call(request, Some(body), path)?;
        decode(path, &answer)
    }

    fn request(&self, method: &str, path: &str, wait: Duration) -> http_request::Builder {
        http_request::Builder::new(method, format!("{}{path}", self.server), wait + ANSWER_TIMEOUT)
            .header("authorization", &self.authorization)
    }

    fn call(
        &self,
        request: http_request::Builder,
        body: Option<Vec<u8>>,
        path: &str,
    ) -> Result<(ureq::http::HeaderMap, Vec<u8>), CliError> {
        let response = request.send(&self.agent, body).map_err(|error| self.unreachable(&error))?;
        let (parts, mut body) = response.into_parts();
        let bytes =
            body.with_config().limit(ANSWER_MAX_BYTES).read_to_vec().map_err(|error| self.unreachable(&error))?;
        if parts.status.is_success() {
            Ok((parts.headers, bytes))
        } else {
            Err(CliError::of_answer(parts.status.as_u16(), path, &bytes))
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> CliError {
        let mut what = error.to_string();
        if what.contains("close_notify") {
            what = "the connection was cut".to_owned();
        }
        let hint = if what.contains("InvalidContentType") {
            what = "what listens there does not speak TLS".to_owned();
            "`server` in the context file wants the port of the API (8443 unless --api-port says another), not that of boot files"
        } else if what.contains("certificate") || what.contains("UnknownIssuer") {
            "the server's certificate is not of the authority in the context file: is it the context of this site?"
        } else {
            "is `formwork serve` running, and is the address in the context file its own?"
        };
        CliError::Unreachable { server: self.server.clone(), what, hint, away: is_away(error) }
    }
}

/// Whether nobody is there: no name, no way, no listener. Whoever is there and does not answer well is not away.
fn is_away(error: &ureq::Error) -> bool {
    use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(when) => matches!(when, ureq::Timeout::Resolve | ureq::Timeout::Connect),
        // The standard library has no kind for a name that is not found.
        ureq::Error::Io(error) => {
            matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable)
                || error.raw_os_error().is_none() && error.to_string().starts_with("failed to lookup address")
        }
        _ => false,
    }
}

/// Building requests, so that the token is put in at one place only.
mod http_request {
    use std::time::Duration;

    pub struct Builder {
        inner: ureq::http::request::Builder,
        timeout: Duration,
    }

    impl Builder {
        pub fn new(method: &str, uri: String, timeout: Duration) -> Self {
            Self { inner: ureq::http::Request::builder().method(method).uri(uri), timeout }
        }

        pub fn header(self, name: &str, value: &str) -> Self {
            Self { inner: self.inner.header(name, value), timeout: self.timeout }
        }

        pub fn send(
            self,
            agent: &ureq::Agent,
            body: Option<Vec<u8>>,
        ) -> Result<ureq::http::Response<ureq::Body>, ureq::Error> {
            match body {
                Some(body) => {
                    let request = self.inner.body(body)?;
                    agent.run(agent.configure_request(request).timeout_global(Some(self.timeout)).build())
                }
                None => {
                    let request = self.inner.body(())?;
                    agent.run(agent.configure_request(request).timeout_global(Some(self.timeout)).build())
                }
            }
        }
    }
}

fn decode<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, CliError> {
    serde_json::from_slice(body).map_err(|error| CliError::Answer { path: path.to_owned(), what: error.to_string() })
}

/// One segment of a path: everything but RFC 3986's unreserved characters is escaped, so that no name can leave its place.
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => out.push(char::from(byte)),
            b'.' if text != "." && text != ".." => out.push('.'),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests;
