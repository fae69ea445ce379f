//! The routes on an embedded store, as machines, scripts and administrators meet them.

mod elections;
mod events;
mod keys;
mod waits;

use super::{Authorized, ClusterAccess, Limits, Refused, routes};
use crate::cluster::{Caller, Context, Document};
use crate::content::kinds::KeySpec;
use crate::store::Store;
use crate::store::embedded::EmbeddedStore;
use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode, header};
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tower::ServiceExt as _;

/// The cluster `etcd` of machines `a`, `b`, `c`. A machine's token is `NAME` or `NAME:RUN`, an administrator's `admin`.
pub(super) struct Site {
    store: Arc<EmbeddedStore>,
    began: Instant,
    pub members: Mutex<Vec<String>>,
    /// What was shown of waits: machine, wait, what.
    pub shown: Mutex<Vec<(String, u64, Option<String>)>>,
    pub size: u32,
    pub run: AtomicU64,
    pub keys: Vec<KeySpec>,
    _folder: tempfile::TempDir,
}

impl ClusterAccess for Site {
    fn authorize(&self, headers: &HeaderMap, _: Option<SocketAddr>) -> Result<Authorized, Refused> {
        let token = bearer(headers)?;
        let (machine, run) = token.split_once(':').unwrap_or((&token, "1"));
        if machine == "admin" {
            return Err(Refused::new(StatusCode::UNAUTHORIZED, "not-a-machine", "this is no cluster token"));
        }
        let caller = Caller::Machine {
            machine: machine.to_owned(),
            run: run.parse().expect("a run"),
            boot_id: "boot".to_owned(),
            job: None,
            token: token.clone(),
            address: "192.0.2.1".to_owned(),
        };
        Ok(Authorized { cluster: "etcd".to_owned(), caller, epoch: None })
    }

    fn authorize_administrator(&self, headers: &HeaderMap, _: Option<SocketAddr>) -> Result<Caller, Refused> {
        match bearer(headers)?.as_str() {
            "admin" => Ok(Caller::Administrator { name: "ada".to_owned() }),
            _ => {
                Err(Refused::new(StatusCode::UNAUTHORIZED, "not-an-administrator", "this is no administrator's token"))
            }
        }
    }

    fn context(&self, cluster: &str, caller: &Caller) -> Option<Context> {
        let members: Arc<[String]> = self.members.lock().expect("members").clone().into();
        if cluster != "etcd" || matches!(caller, Caller::Machine { machine, .. } if !members.contains(machine)) {
            return None;
        }
        Some(Context {
            now_ms: self.now_ms(),
            now_unix_ms: 1_700_000_000_000,
            caller: caller.clone(),
            epoch: None,
            members,
            size: self.size,
            run: self.run.load(Ordering::SeqCst),
            keys: self.keys.clone().into(),
            idempotency_key: None,
            fence: None,
        })
    }

    fn shows_wait(&self, machine: &str, wait: u64, what: Option<String>) {
        self.shown.lock().expect("shown").push((machine.to_owned(), wait, what));
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("not that long")
    }
}

fn bearer(headers: &HeaderMap) -> Result<String, Refused> {
    let text = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.strip_prefix("Bearer "))
        .map(str::to_owned)
        .ok_or_else(|| Refused::new(StatusCode::UNAUTHORIZED, "no-token", "a token is missing"))
}

/// A site and the routes to it.
#[derive(Clone)]
pub(super) struct Server {
    pub site: Arc<Site>,
    router: Router,
}

impl Server {
    pub fn start(keys: Vec<KeySpec>) -> Self {
        Self::with_members(keys, ["a", "b", "c"].map(str::to_owned).to_vec())
    }

    pub fn with_members(keys: Vec<KeySpec>, mut members: Vec<String>) -> Self {
        members.sort_unstable();
        let folder = tempfile::tempdir().expect("a folder");
        let state = folder.path().join("state");
        EmbeddedStore::create(&state, "lab", true).expect("a new store");
        let store = Arc::new(EmbeddedStore::open(&state).expect("a store"));
        let site = Arc::new(Site {
            store,
            began: Instant::now(),
            size: u32::try_from(members.len()).expect("few"),
            members: Mutex::new(members),
            shown: Mutex::default(),
            run: AtomicU64::new(1),
            keys,
            _folder: folder,
        });
        let router = routes(Arc::clone(&site), Limits::default());
        Self { site, router }
    }

    /// One request: `METHOD path`, then headers as `name: value`.
    pub async fn ask(&self, token: &str, line: &str, headers: &[&str], body: &str) -> Reply {
        let (method, path) = line.split_once(' ').expect("a method and a path");
        let mut request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        for header in headers {
            let (name, value) = header.split_once(": ").expect("a header");
            request = request.header(name, value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        Reply { status: parts.status.as_u16(), headers: parts.headers, body: Some(body), text: String::new() }
            .read(line)
            .await
    }

    pub fn document(&self) -> Document {
        self.site.store.cluster("etcd").expect("read").map(|found| (*found).clone()).unwrap_or_default()
    }
}

/// A response.
pub(super) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Option<Body>,
    pub text: String,
}

impl Reply {
    /// Reads the body, unless it is a stream that does not end.
    async fn read(mut self, line: &str) -> Self {
        if !(line.contains("/events") && self.status == 200) {
            let body = self.body.take().expect("a body");
            let bytes = axum::body::to_bytes(body, 4 << 20).await.expect("the body");
            self.text = String::from_utf8(bytes.to_vec()).expect("text");
        }
        self
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().expect("text")).unwrap_or_default()
    }

    pub fn code(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }
}
