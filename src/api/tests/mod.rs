//! The routes on a whole server without its sockets.

mod asks;
mod facts;
mod health;
mod hooks;
mod standings;
mod tokens;
mod words;

use super::{App, table};
use crate::catalog::ServerInfo;
use crate::fleet::testing::Lab;
use crate::identity::{AdministratorToken, Audience, Claims, issue};
use crate::journal::Event;
use crate::net::routes::Route;
use crate::store::logs::LogStore;
use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use std::net::SocketAddr;
use std::sync::Arc;
use tower::ServiceExt as _;

/// Machines `one`, `two` (members of `etcd`), `three` (member of `other`), `suspect` (`etcd`, to be quarantined) and `gone`
/// (`etcd`, to be taken out of Git).
const SITE: &str = "
kind: ClusterProfile
metadata: {name: etcd}
spec: {size: 1}
---
kind: ClusterProfile
metadata: {name: other}
spec: {size: 1}
---
kind: Machine
metadata: {name: one}
spec: {match: {macs: ['52:54:00:00:01:01']}, profiles: [etcd], workflow: walk}
---
kind: Machine
metadata: {name: two}
spec: {match: {macs: ['52:54:00:00:01:02']}, profiles: [etcd], workflow: walk}
---
kind: Machine
metadata: {name: three}
spec: {match: {macs: ['52:54:00:00:01:03']}, profiles: [other], workflow: walk}
---
kind: Machine
metadata: {name: suspect}
spec: {match: {macs: ['52:54:00:00:01:04']}, profiles: [etcd], workflow: walk}
";
const GONE: &str = "---
kind: Machine
metadata: {name: gone}
spec: {match: {macs: ['52:54:00:00:01:05']}, profiles: [etcd], workflow: walk}
";

/// The server.
struct Site {
    lab: Lab,
    router: Router,
    /// The administrator's token.
    administrator: String,
    /// The token of a user of the repository who may do everything there.
    user: String,
    /// What the hooks of a push that is under way show.
    pass: crate::api::push::Pass,
    standings: Arc<crate::api::Standings>,
    _applied: tokio::sync::watch::Sender<u64>,
}

impl Site {
    /// Every machine has exchanged a ticket (generation 2), started its run and got a job, `job-NAME`; then `suspect` went into
    /// quarantine and `gone` out of Git.
    async fn start() -> Self {
        let lab = Lab::new(true, &format!("{SITE}{GONE}")).await;
        for name in ["one", "two", "three", "suspect", "gone"] {
            let entry = lab.fleet().entry(name);
            let boot_id = format!("boot-{name}");
            let exchanged = |generation| Event::Exchanged {
                ticket: format!("ticket-{name}-{generation}"),
                key: "key".into(),
                boot_id: boot_id.clone(),
                generation,
            };
            lab.fleet().settle(&entry).await.expect("settled");
            for event in [exchanged(1), exchanged(2), granted(name, &boot_id)] {
                lab.event(&entry, event).await;
            }
        }
        lab.event(&lab.fleet().entry("suspect"), Event::Quarantined { reason: "two keys".into() }).await;
        lab.write(SITE);
        lab.until(|catalog| catalog.machine("gone").is_none()).await;
        lab.fleet().settle(&lab.fleet().entry("gone")).await.expect("settled");
        lab.fleet().settle_clusters().await.expect("settled");

        let (administrator, recognised) = AdministratorToken::generate("ada").expect("random");
        let logs = LogStore::open(&lab.dir.path().join("logs")).expect("a folder");
        logs.append("job-one", 0, b"what it said").expect("a log");
        let server =
            ServerInfo { http: "http://192.0.2.1".into(), https: "https://192.0.2.1".into(), site: "lab".into() };
        let users = lab.dir.path().join("users.json");
        let user = crate::git::receive::Users::in_file(users.clone());
        let user = user.add("bob", crate::identity::user::Rights::all(), 0).expect("a user");
        let followed = crate::git::Source::Directory { path: lab.folder() };
        let receiving = Arc::new(crate::api::push::Receiving::new(users, &followed, None));
        let pusher = crate::api::push::Pusher { name: "bob".into(), rights: crate::identity::user::Rights::all() };
        let pass = receiving.admit(pusher).expect("a push under way");
        let (kept, applied) = tokio::sync::watch::channel(0);
        let standings: Arc<crate::api::Standings> = Arc::default();
        let app = App {
            snapshots: Arc::new(crate::api::Snapshots::in_folder(lab.dir.path().join("snapshots"))),
            fleet: Arc::clone(lab.fleet()),
            logs: Arc::new(logs),
            archive: None,
            others: None,
            administrators: Arc::new(recognised),
            server: Arc::new(server),
            standings: Arc::clone(&standings),
            read_once: Arc::from([]),
            policy_files: crate::api::PolicyFiles::default(),
            private: Arc::default(),
            hooks: Arc::new(hooks::of(lab.dir.path())),
            receiving,
            applied,
        };
        Self { router: super::routes(app), lab, administrator, user, pass, standings, _applied: kept }
    }

    /// What a good token of this machine says.
    fn claims(&self, machine: &str, audience: Audience) -> Claims {
        let now = self.lab.fleet().clock.now_unix_ms();
        Claims {
            id: format!("token-{machine}"),
            machine: machine.into(),
            generation: self.lab.fleet().entry(machine).state().generation,
            audience,
            cluster_epoch: None,
            boot_id: format!("boot-{machine}"),
            run: 1,
            key_thumbprint: "key".into(),
            issued_unix_ms: now,
            expires_unix_ms: now + 60_000,
        }
    }

    fn token(&self, claims: &Claims) -> String {
        format!("Bearer {}", issue(&self.lab.keys, claims).expect("a token"))
    }

    /// One request; `authorization` is the header's value, as bytes.
    async fn ask(&self, route: &Route, path: &str, authorization: Option<&[u8]>, body: &str) -> Answer {
        let media = route.takes.first().map_or("application/json", |shape| shape.media);
        let mut request = Request::builder()
            .method(route.method.as_str())
            .uri(path)
            .header("content-type", media)
            .header("if-match", "*")
            .extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 7], 1000))));
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let request = request.body(Body::from(body.to_owned())).expect("a request");
        let response = self.router.clone().oneshot(request).await.expect("a response");
        let (parts, body) = response.into_parts();
        let mut headers: Vec<String> = parts.headers.iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
        headers.sort();
        let stream = headers.iter().any(|header| header.contains("event-stream"));
        let bytes =
            if stream { Vec::new() } else { axum::body::to_bytes(body, 4 << 20).await.expect("the body").to_vec() };
        Answer { status: parts.status.as_u16(), headers, body: String::from_utf8_lossy(&bytes).into_owned() }
    }
}

/// A response whole, to compare.
#[derive(Debug, Clone, PartialEq)]
struct Answer {
    status: u16,
    headers: Vec<String>,
    body: String,
}

fn granted(name: &str, boot_id: &str) -> Event {
    Event::JobGranted {
        job: format!("job-{name}"),
        run: 1,
        stage_index: 0,
        stage: "look".into(),
        task_index: 0,
        task: "look".into(),
        digest: "digest".into(),
        attempt: 1,
        boot_id: boot_id.into(),
        destructive: true,
        timeout_seconds: 3600,
    }
}
