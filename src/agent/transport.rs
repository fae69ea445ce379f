//! HTTP to the server, over TLS that trusts the site's authority and nobody else.
//!
//! A request is sent again after network errors, 429 and 5xx, as patiently as its caller says. What comes out is an answer of
//! the server or an error; an error is never turned into an answer.

use super::retry::{self, Try};
use crate::wire::{BootFile, Problem};
use ring::rand::{SecureRandom, SystemRandom};
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, Instant};
use ureq::tls::{Certificate, RootCerts, TlsConfig, TlsProvider};

/// The most bytes of an answer that are read into memory.
const ANSWER_LIMIT_BYTES: u64 = 8 * 1024 * 1024;
/// A connection that is not up by then never comes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The time an answer may take where the request does not say.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The boot file's authority is not a certificate.
    #[error("the boot file's CA certificate cannot be read: {0}")]
    BadAuthority(String),
    /// The boot file's authority is not the one whose fingerprint it pins.
    #[error("the boot file's CA certificate does not match its fingerprint: boot this machine anew")]
    WrongAuthority,
    /// A request that can never be sent.
    #[error("{method} {path} cannot be sent: {reason}")]
    BadRequest {
        /// The method.
        method: &'static str,
        /// The path.
        path: String,
        /// Why.
        reason: String,
    },
    /// The caller's patience ended first.
    #[error("no answer from {server} to {method} {path} after {tries} tries: {reason}")]
    NoAnswer {
        /// The server's base URL.
        server: String,
        /// The method.
        method: &'static str,
        /// The path, without its query.
        path: String,
        /// How often it was sent.
        tries: u32,
        /// What the last try met.
        reason: String,
    },
    /// The answer was larger than an answer may be.
    #[error("the answer to {0} is larger than 8 MiB")]
    TooLarge(String),
}

/// One request. The body is kept, since it may have to be sent again.
#[derive(Clone)]
pub struct Request {
    /// `GET`, `PUT`, …
    pub method: &'static str,
    /// Path and query, from `/v1`.
    pub path: String,
    /// The bearer token. Secret.
    pub bearer: Option<String>,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
    /// The body; empty where there is none.
    pub body: Vec<u8>,
    /// How long the whole answer may take.
    pub timeout: Duration,
}

impl Request {
    /// A request with no body.
    pub fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), bearer: None, headers: Vec::new(), body: Vec::new(), timeout: ANSWER_TIMEOUT }
    }

    /// A `POST` of JSON.
    pub fn post_json(path: impl Into<String>, body: &impl serde::Serialize) -> Self {
        let mut request = Self::new("POST", path);
        request.headers.push(("content-type", "application/json".into()));
        // Messages are plain structs with string keys: they always serialize.
        request.body = serde_json::to_vec(body).unwrap_or_default();
        request
    }

    /// The same with one header more.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// The same with a body.
    pub fn body(mut self, body: Vec<u8>) -> Self {
        self.body = body;
        self
    }

    /// The same with another limit on the time an answer may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    fn path_for_people(&self) -> String {
        self.path.split('?').next().unwrap_or_default().to_owned()
    }
}

/// An answer of the server, whatever its status.
#[derive(Clone)]
pub struct Response {
    /// The status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON of this type.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, String> {
        serde_json::from_slice(&self.body).map_err(|error| format!("the server's answer cannot be read: {error}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// What the server says is wrong; made up from the status when it says nothing.
    pub fn problem(&self) -> Problem {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| Problem {
            code: format!("http-{}", self.status),
            message: format!("the server answered {}", self.status),
            hint: None,
            retry: false,
        })
    }
}

/// How long a caller goes on when there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// One try.
    Once,
    /// Until then.
    Until(Instant),
    /// For ever: a machine has nothing better to do than to ask again.
    Forever,
}

/// The way to one server.
pub struct Transport {
    server: String,
    agent: ureq::Agent,
    random: SystemRandom,
}

impl Transport {
    /// A way to the boot file's server that trusts the boot file's authority only.
    pub fn new(boot: &BootFile) -> Result<Self, TransportError> {
        let certificate = Certificate::from_pem(boot.ca_certificate.as_bytes())
            .map_err(|error| TransportError::BadAuthority(error.to_string()))?;
        let digest = ring::digest::digest(&ring::digest::SHA256, certificate.der());
        if !boot.ca_fingerprint.eq_ignore_ascii_case(&hex(digest.as_ref())) {
            return Err(TransportError::WrongAuthority);
        }
        Ok(Self { server: boot.server.clone(), agent: http_agent(vec![certificate]), random: SystemRandom::new() })
    }

    /// Sends, and sends again as `patience` allows, until there is an answer. `stop` is asked between tries.
    pub fn send(
        &self,
        request: &Request,
        patience: Patience,
        stop: &dyn Fn() -> bool,
    ) -> Result<Response, TransportError> {
        let mut attempt = 0;
        loop {
            let result = self.once(request)?;
            let tried = match &result {
                Ok(response) => Try::Answered(response.status, retry_after(response)),
                Err(_) => Try::NoAnswer,
            };
            let Some(pause) = retry::pause(tried, attempt, self.chance()) else {
                if let Ok(response) = result {
                    return Ok(response);
                }
                continue;
            };
            attempt += 1;
            let over = match patience {
                Patience::Once => true,
                Patience::Until(deadline) => Instant::now() + pause >= deadline,
                Patience::Forever => false,
            };
            if over || stop() || !sleep_unless(pause, stop) {
                let reason = match result {
                    Ok(response) => format!("{} {}", response.status, response.problem().message),
                    Err(reason) => reason,
                };
                return Err(TransportError::NoAnswer {
                    server: self.server.clone(),
                    method: request.method,
                    path: request.path_for_people(),
                    tries: attempt,
                    reason,
                });
            }
        }
    }

    /// One try: the inner error is what the network met.
    fn once(&self, request: &Request) -> Result<Result<Response, String>, TransportError> {
        let mut builder =
            ureq::http::Request::builder().method(request.method).uri(format!("{}{}", self.server, request.path));
        if let Some(token) = &request.bearer {
            builder = builder.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let unsendable = |reason: String| TransportError::BadRequest {
            method: request.method,
            path: request.path_for_people(),
            reason,
        };
        let sent = if request.body.is_empty() && matches!(request.method, "GET" | "DELETE") {
            let built = builder.body(()).map_err(|error| unsendable(error.to_string()))?;
            self.agent.run(self.agent.configure_request(built).timeout_global(Some(request.timeout)).build())
        } else {
            let built = builder.body(request.body.as_slice()).map_err(|error| unsendable(error.to_string()))?;
            self.agent.run(self.agent.configure_request(built).timeout_global(Some(request.timeout)).build())
        };
        let mut response = match sent {
            Ok(response) => response,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let status = response.status().as_u16();
        let headers = response
            .headers()
            .iter()
            .filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())))
            .collect();
        let mut body = Vec::new();
        let mut reader = response.body_mut().as_reader().take(ANSWER_LIMIT_BYTES + 1);
        if let Err(error) = reader.read_to_end(&mut body) {
            return Ok(Err(format!("the answer broke off: {error}")));
        }
        if body.len() as u64 > ANSWER_LIMIT_BYTES {
            return Err(TransportError::TooLarge(request.path_for_people()));
        }
        Ok(Ok(Response { status, headers, body }))
    }

    fn chance(&self) -> f64 {
        let mut byte = [0u8; 2];
        let _ = self.random.fill(&mut byte); // without chance the pause is only less spread
        f64::from(u16::from_le_bytes(byte)) / f64::from(u16::MAX)
    }
}

/// A blocking HTTP client that trusts these authorities and no others; statuses are answers, redirects are not followed.
pub fn http_agent(authorities: Vec<Certificate<'static>>) -> ureq::Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::Specific(Arc::new(authorities)))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .timeout_connect(Some(CONNECT_TIMEOUT))
        .user_agent(concat!("formwork-agent/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

fn retry_after(response: &Response) -> Option<Duration> {
    response.header("retry-after")?.trim().parse().ok().map(Duration::from_secs)
}

/// Sleeps in small pieces; `false` when `stop` said so.
pub fn sleep_unless(pause: Duration, stop: &dyn Fn() -> bool) -> bool {
    let end = Instant::now() + pause;
    loop {
        if stop() {
            return false;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return true;
        }
        std::thread::sleep(left.min(Duration::from_millis(200)));
    }
}

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
