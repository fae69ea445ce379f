//! `git http-backend` behind TLS with an authority of its own, asking for a user and a password.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, Response, StatusCode, Uri};
use base64::Engine as _;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// What the server is like.
#[derive(Default)]
struct Manner {
    /// `user:password`; none: it asks nobody.
    login: Option<String>,
    /// It redirects there.
    redirect: Option<String>,
    /// Every request it saw: method, path, query.
    seen: Vec<String>,
}

/// The server; ends with the test's process.
pub struct HttpsServer {
    pub port: u16,
    /// The authority's certificate.
    pub authority: PathBuf,
    folder: tempfile::TempDir,
    manner: Arc<Mutex<Manner>>,
}

#[derive(Clone)]
struct Shared {
    root: PathBuf,
    manner: Arc<Mutex<Manner>>,
}

impl HttpsServer {
    /// Serves all repositories below a folder.
    pub fn start(root: &Path, login: Option<&str>) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let manner = Arc::new(Mutex::new(Manner { login: login.map(str::to_owned), ..Manner::default() }));
        let (authority_pem, config) = tls();
        let authority = folder.path().join("authority.pem");
        std::fs::write(&authority, authority_pem).expect("written");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("set");
        let port = listener.local_addr().expect("an address").port();
        let shared = Shared { root: root.to_owned(), manner: Arc::clone(&manner) };
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("one");
            runtime.block_on(async {
                let routes = Router::new().fallback(answer).with_state(shared);
                let config = axum_server::tls_rustls::RustlsConfig::from_config(Arc::new(config));
                let server = axum_server::from_tcp_rustls(listener, config).expect("a server");
                server.serve(routes.into_make_service_with_connect_info::<SocketAddr>()).await.expect("served");
            });
        });
        Self { port, authority, folder, manner }
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}/{path}", self.port)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn set_login(&self, login: Option<&str>) {
        self.manner.lock().expect("a lock").login = login.map(str::to_owned);
    }

    pub fn set_redirect(&self, url: Option<&str>) {
        self.manner.lock().expect("a lock").redirect = url.map(str::to_owned);
    }

    pub fn seen(&self) -> Vec<String> {
        self.manner.lock().expect("a lock").seen.clone()
    }
}

/// An authority, and a server that it vouches for.
pub fn tls() -> (String, rustls::ServerConfig) {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("params");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("params");
    params.subject_alt_names.push(SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        )
        .expect("a certificate");
    (authority.pem(), config)
}

fn plain(status: u16) -> Response<Body> {
    Response::builder().status(status).body(Body::empty()).expect("a response")
}

/// One CGI request (RFC 3875).
async fn answer(
    State(shared): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response<Body> {
    let query = uri.query().unwrap_or_default().to_owned();
    let (login, redirect) = {
        let mut manner = shared.manner.lock().expect("a lock");
        manner.seen.push(format!("{method} {} {query}", uri.path()));
        (manner.login.clone(), manner.redirect.clone())
    };
    if let Some(to) = redirect {
        let moved = Response::builder().status(StatusCode::MOVED_PERMANENTLY).header("location", to + uri.path());
        return moved.body(Body::empty()).expect("a response");
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    if let Some(login) = login {
        let wanted = format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(login));
        if header("authorization") != wanted {
            return plain(401);
        }
    }
    let mut backend = Command::new("git");
    backend
        .arg("http-backend")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("GIT_PROJECT_ROOT", &shared.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method.as_str())
        .env("PATH_INFO", uri.path())
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_GIT_PROTOCOL", header("git-protocol"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let run = tokio::task::spawn_blocking(move || {
        let mut child = backend.spawn().expect("git http-backend starts");
        let mut input = child.stdin.take().expect("a pipe");
        let writer = std::thread::spawn(move || drop(input.write_all(&body)));
        let output = child.wait_with_output().expect("it ends").stdout;
        writer.join().expect("written");
        output
    });
    let output = run.await.expect("it ran");
    let end = output.windows(4).position(|piece| piece == b"\r\n\r\n");
    let Some(end) = end else { return plain(500) };
    let head = String::from_utf8_lossy(output.get(..end).unwrap_or_default()).into_owned();
    let mut response = Response::builder();
    for line in head.lines() {
        let Some((name, value)) = line.split_once(": ") else { continue };
        response = match name {
            "Status" => {
                response.status(value.split(' ').next().and_then(|code| code.parse::<u16>().ok()).unwrap_or(500))
            }
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(output.get(end + 4..).unwrap_or_default().to_vec())).expect("a response")
}
