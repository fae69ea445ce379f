//! A stand-in for a forge that takes commit statuses: it writes down what it is told, and no more. There is no forge to be had as
//! a package; what it is asked is held against the forges' own documentation by the unit tests of `git::remote::forge`.

use crate::https_server::tls;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// One status that it was told.
#[derive(Debug, Clone)]
pub struct Told {
    pub path: String,
    pub authorization: String,
    pub private_token: String,
    pub body: serde_json::Value,
}

#[derive(Default)]
struct Memory {
    told: Vec<Told>,
    refused: usize,
    is_away: bool,
}

/// The stand-in.
pub struct ForgeStandIn {
    pub port: u16,
    pub authority: PathBuf,
    _folder: tempfile::TempDir,
    memory: Arc<Mutex<Memory>>,
}

impl ForgeStandIn {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (authority_pem, config) = tls();
        let authority = folder.path().join("authority.pem");
        std::fs::write(&authority, authority_pem).expect("written");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let port = listener.local_addr().expect("an address").port();
        let memory: Arc<Mutex<Memory>> = Arc::default();
        let shared = Arc::clone(&memory);
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("one");
            runtime.block_on(async {
                let routes = Router::new().fallback(write_down).with_state(shared);
                let config = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(config));
                let server = axum_server::from_tcp_rustls(listener, config).expect("a server");
                server.serve(routes.into_make_service()).await.expect("served");
            });
        });
        Self { port, authority, _folder: folder, memory }
    }

    /// It answers 503 to everything.
    pub fn set_away(&self, is_away: bool) {
        self.memory.lock().expect("a lock").is_away = is_away;
    }

    /// How often it answered 503.
    pub fn refused(&self) -> usize {
        self.memory.lock().expect("a lock").refused
    }

    pub fn told(&self) -> Vec<Told> {
        self.memory.lock().expect("a lock").told.clone()
    }
}

async fn write_down(
    State(memory): State<Arc<Mutex<Memory>>>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> StatusCode {
    let mut memory = memory.lock().expect("a lock");
    if memory.is_away {
        memory.refused += 1;
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    memory.told.push(Told {
        path: uri.path().to_owned(),
        authorization: header("authorization"),
        private_token: header("private-token"),
        body: serde_json::from_str(&body).unwrap_or_default(),
    });
    StatusCode::CREATED
}
