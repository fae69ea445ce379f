//! A server that follows a repository, and commands typed at it.

pub use super::bed::FORMWORK;
use super::bed::{self, PATIENCE, Server};
use super::repository::Repository;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// Until this is dropped.
pub struct Site {
    server: Server,
    state: PathBuf,
}

impl Site {
    /// Serves the bare repository with these further options.
    pub fn start(repository: &Repository, more: &[&str]) -> Self {
        let bare = repository.bare();
        Self::serve(repository, &[&["--repository", &bare.to_string_lossy(), "--branch", "main"], more].concat())
    }

    /// Serves what these options say, with its state beside the repository.
    pub fn serve(repository: &Repository, words: &[&str]) -> Self {
        let state = repository.root().join("state");
        bed::make_site(&state);
        let (server, _) = Server::on_free_ports(|ports| {
            let mut command = Server::command(Command::new(FORMWORK), &state, ports);
            command.args(words);
            command
        });
        Self { server, state }
    }

    /// Pushes from the repository's work tree to the server's own repository, as its administrator: whether it was taken, and
    /// what git printed.
    pub fn push(&self, repository: &Repository, words: &[&str]) -> (bool, String) {
        let context = std::fs::read(self.state.join("administrator.json")).unwrap();
        let context: serde_json::Value = serde_json::from_slice(&context).unwrap();
        let text = |name: &str| context[name].as_str().unwrap().to_owned();
        let authority = self.state.join("pushed-ca.pem");
        std::fs::write(&authority, text("caCertificate")).unwrap();
        let output = Command::new("git")
            .current_dir(repository.root().join("work"))
            .env("PUSH_TOKEN", text("token"))
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env_remove("GIT_SSL_CAINFO")
            .env("no_proxy", "*")
            .arg("-c")
            .arg(format!("http.sslCAInfo={}", authority.display()))
            .args([
                "-c",
                "credential.helper=!f() { echo username=administrator; echo password=$PUSH_TOKEN; }; f",
                "push",
            ])
            .arg(format!("{}/git/site.git", text("server")))
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("git runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Types a command.
    pub fn type_in(&self, words: &[&str]) -> Output {
        bed::type_in(&self.state, words)
    }

    /// The same, and it must be done.
    pub fn say(&self, words: &[&str]) -> String {
        let output = self.type_in(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the status has this in it.
    pub fn until(&self, wanted: &[&str]) -> String {
        let end = Instant::now() + PATIENCE;
        let mut status = String::new();
        while Instant::now() < end {
            status = String::from_utf8_lossy(&self.type_in(&["status", "-o", "json"]).stdout).into_owned();
            if wanted.iter().all(|part| status.contains(part)) {
                return status;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{wanted:?}: {status}");
    }

    /// Waits until the server has logged this so often.
    pub fn until_logged(&self, text: &str, times: usize) {
        let end = Instant::now() + PATIENCE;
        while self.server.log().matches(text).count() < times {
            assert!(Instant::now() < end, "{text}, {times} times: {}", self.server.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until this revision serves and nothing newer is worked on.
    pub fn until_served(&self, revision: &str) -> String {
        self.until(&["\"condition\": \"Ready\"", &format!("\"lastAppliedRevision\": \"{revision}\"")])
    }
}
