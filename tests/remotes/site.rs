//! The server as a process, followed by its commands.

use crate::bed::{self, FORMWORK, PATIENCE, Server};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A sources.yaml in a folder: the name of each source, its port on this machine, its authority, and what else is said of it. It is
/// looked at once a day: whatever comes soon comes because it was asked for.
pub fn sources(folder: &Path, of: &[(&str, u16, &Path, &str)]) -> PathBuf {
    let mut text = "apiVersion: formwork.dev/v1alpha1\nkind: Sources\nspec:\n  sources:\n".to_owned();
    for (name, port, authority, more) in of {
        text.push_str(&format!(
            "  - {{name: {name}, url: 'https://127.0.0.1:{port}/site.git', branch: main, interval: 1d, timeout: 2s, \
             certificateAuthorityFile: '{}'{more}}}\n",
            authority.display()
        ));
    }
    let path = folder.join("sources.yaml");
    std::fs::write(&path, text).expect("written");
    path
}

/// A server with its log.
pub struct Site {
    pub state: PathBuf,
    server: Server,
    pub api: u16,
}

impl Site {
    /// Serves what these words say, with its state in a folder.
    pub fn start(folder: &Path, words: &[&str]) -> Self {
        let state = folder.join("state");
        bed::make_site(&state);
        let (server, (_, api)) = Server::on_free_ports(|ports| {
            let mut command = Server::command(Command::new(FORMWORK), &state, ports);
            command.args(words).env("FORMWORK_LOG", "trace");
            command
        });
        Self { state, server, api }
    }

    pub fn log(&self) -> String {
        self.server.log()
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
        let output = bed::type_in(&self.state, words);
        let said = [output.stdout, output.stderr].concat();
        (String::from_utf8_lossy(&said).into_owned(), output.status.code())
    }

    /// Waits until the status is as wanted.
    pub fn until(&self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = bed::status(&self.state);
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < end, "{what}: {status:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
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
