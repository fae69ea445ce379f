//! The server as a process, followed by its commands.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const FORMWORK: &str = env!("CARGO_BIN_EXE_formwork");

/// A server with its log.
pub struct Site {
    pub state: PathBuf,
    server: Child,
    pub api: u16,
    log: Arc<Mutex<String>>,
}

impl Site {
    /// Serves what these words say, with its state in a folder.
    pub fn start(folder: &Path, words: &[&str]) -> Self {
        let state = folder.join("state");
        let made =
            Command::new(FORMWORK).args(["site", "create", "lab", "--fresh", "--state-dir"]).arg(&state).output();
        assert!(made.expect("formwork starts").status.success());
        let log: Arc<Mutex<String>> = Arc::default();
        for _ in 0..10 {
            let port = || TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
            let (http, api) = (port(), port());
            let mut server = Command::new(FORMWORK)
                .args(["serve", "--no-dhcp", "--no-tftp", "--address", "127.0.0.1", "--state-dir"])
                .arg(&state)
                .args(["--http-port", &http.to_string(), "--api-port", &api.to_string()])
                .args(words)
                .env("FORMWORK_LOG", "trace")
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("formwork starts");
            let mut lines = BufReader::new(server.stderr.take().expect("its errors")).lines();
            let keep = |line: &str| log.lock().expect("a lock").push_str(&format!("{line}\n"));
            let serves = lines.by_ref().map_while(Result::ok).any(|line| {
                keep(&line);
                line.contains("serving")
            });
            if serves {
                let log = Arc::clone(&log);
                let kept = Arc::clone(&log);
                std::thread::spawn(move || {
                    for line in lines.map_while(Result::ok) {
                        kept.lock().expect("a lock").push_str(&format!("{line}\n"));
                    }
                });
                return Self { state, server, api, log };
            }
            let _ = server.wait();
        }
        panic!("no server could be started: {}", log.lock().expect("a lock"));
    }

    pub fn log(&self) -> String {
        self.log.lock().expect("a lock").clone()
    }

    pub fn process(&self) -> u32 {
        self.server.id()
    }

    /// What a command prints, and whether it succeeded.
    pub fn type_in(&self, words: &[&str]) -> (String, bool) {
        let (said, code) = self.ended(words);
        (said, code == Some(0))
    }

    /// What a command prints, and its exit code.
    pub fn ended(&self, words: &[&str]) -> (String, Option<i32>) {
        let output = Command::new(FORMWORK)
            .args(words)
            .env("FORMWORK_CONTEXT", self.state.join("administrator.json"))
            .stdin(Stdio::null())
            .output()
            .expect("formwork starts");
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&said).into_owned(), output.status.code())
    }

    /// Waits until the status is as wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let end = Instant::now() + Duration::from_secs(120);
        let mut last = String::new();
        while Instant::now() < end {
            let output = Command::new(FORMWORK)
                .args(["status", "-o", "json"])
                .env("FORMWORK_CONTEXT", self.state.join("administrator.json"))
                .output()
                .expect("formwork starts");
            last = String::from_utf8_lossy(&output.stdout).into_owned();
            if let Ok(status) = serde_json::from_str(&last)
                && wanted(&status)
            {
                return status;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{what}: {last}\n{}", self.log());
    }

    /// POSTs to the API, with the site's own authority.
    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> u16 {
        let authority = std::fs::read(self.state.join("keys/authority.pem")).expect("an authority");
        let roots: Vec<_> = ureq::tls::parse_pem(&authority)
            .filter_map(|item| match item {
                Ok(ureq::tls::PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        let tls = ureq::tls::TlsConfig::builder()
            .provider(ureq::tls::TlsProvider::Rustls)
            .root_certs(ureq::tls::RootCerts::new_with_certs(&roots))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let agent = ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().new_agent();
        let mut request = agent.post(format!("https://127.0.0.1:{}{path}", self.api));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.send(body).expect("an answer").status().as_u16()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
