//! Formwork's cluster profile as a server of its own: the real routes on the real embedded store, over plain HTTP as etcd
//! is asked here. Left out is who asks: a token is its machine's name (in a whole server: one Ed25519 verification and TLS).

use super::wire::Http;
use axum::http::{HeaderMap, StatusCode, header};
use formwork::api::cluster::{Authorized, ClusterAccess, Limits, Refused, routes};
use formwork::cluster::{Caller, Context};
use formwork::store::Store;
use formwork::store::embedded::EmbeddedStore;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Machines of the cluster.
const MEMBERS: usize = 1100;

struct Site {
    store: Arc<EmbeddedStore>,
    members: Arc<[String]>,
    began: Instant,
}

impl ClusterAccess for Site {
    fn authorize(&self, headers: &HeaderMap, _: Option<SocketAddr>) -> Result<Authorized, Refused> {
        let token = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let Some(machine) = token.map(str::to_owned) else {
            return Err(Refused::new(StatusCode::UNAUTHORIZED, "no-token", "no token"));
        };
        let (token, boot_id) = (machine.clone(), "boot".to_owned());
        let address = "127.0.0.1".to_owned();
        let caller = Caller::Machine { machine, run: 1, boot_id, job: None, token, address };
        Ok(Authorized { cluster: "figures".to_owned(), caller, epoch: None })
    }

    fn authorize_administrator(&self, _: &HeaderMap, _: Option<SocketAddr>) -> Result<Caller, Refused> {
        Err(Refused::new(StatusCode::UNAUTHORIZED, "nobody", "there is none"))
    }

    fn context(&self, _: &str, caller: &Caller) -> Option<Context> {
        if let Caller::Machine { machine, .. } = caller {
            self.members.binary_search(machine).ok()?;
        }
        Some(Context {
            now_ms: self.now_ms(),
            now_unix_ms: 1_700_000_000_000,
            caller: caller.clone(),
            epoch: None,
            members: Arc::clone(&self.members),
            size: 3,
            run: 1,
            keys: Arc::from([]),
            idempotency_key: None,
            fence: None,
        })
    }

    fn shows_wait(&self, _: &str, _: u64, _: Option<String>) {}

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("not that long")
    }
}

/// Serves until it is killed.
pub fn serve(folder: &str, port: u16) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    EmbeddedStore::create(Path::new(folder), "figures", true).expect("a store");
    let store = Arc::new(EmbeddedStore::open(Path::new(folder)).expect("it opens"));
    let members = (0..MEMBERS).map(|machine| format!("m{machine:05}")).collect();
    let site = Arc::new(Site { store, members, began: Instant::now() });
    let limits = Limits { requests_per_second: 1e9, burst: 1e9, ..Limits::default() };
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.expect("a listener");
        // What HTTP alone allows here: an answer as short as a claim's, from a route that asks nobody.
        let nothing =
            axum::routing::post(async || axum::Json(serde_json::json!({"role": "follower", "leader": "m00000"})));
        let service = routes::<_, ()>(site, limits)
            .route("/nothing", nothing)
            .into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(listener, service).await.expect("it serves");
    });
}

/// Where stores are made: `FORMWORK_BENCH_DIR`, else the folder of temporary files. It must be a real disk.
pub fn disk() -> PathBuf {
    std::env::var_os("FORMWORK_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// That server as a process; it ends when this is dropped.
pub struct Formwork {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Formwork {
    pub fn start(port: u16) -> Self {
        let folder = tempfile::tempdir_in(disk()).expect("a folder");
        let store = folder.path().join("store");
        let child = Command::new(std::env::current_exe().expect("this program"))
            .args(["serve-cluster", store.to_str().expect("a path"), &port.to_string()])
            .spawn()
            .expect("it starts");
        let limit = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < limit, "it does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, port, _folder: folder }
    }

    /// A connection for each of so many machines.
    pub async fn clients(&self, count: usize) -> Vec<Http> {
        let mut clients = Vec::new();
        for machine in 0..count {
            clients.push(Http::connect(self.port, machine).await);
        }
        clients
    }
}

impl Drop for Formwork {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
