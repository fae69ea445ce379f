//! A server that follows a repository, and commands typed at it.

use super::repository::{Repository, run};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The program.
pub const FORMWORK: &str = env!("CARGO_BIN_EXE_formwork");

/// Until this is dropped.
pub struct Site {
    server: Child,
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
        let (state, images) = (repository.root().join("state"), repository.root().join("images"));
        if !state.exists() {
            std::fs::create_dir_all(images.join("loaders")).unwrap();
            run(Command::new(FORMWORK).args(["site", "create", "lab", "--fresh", "--state-dir"]).arg(&state));
        }
        // A free port may be taken by another test before we have it: then others are tried.
        for _ in 0..10 {
            let open = || TcpListener::bind("127.0.0.1:0").expect("a port");
            let ports = [open(), open()].map(|listener| listener.local_addr().unwrap().port().to_string());
            let mut server = Command::new(FORMWORK)
                .args(["serve", "--no-dhcp", "--no-tftp", "--address", "127.0.0.1", "--images"])
                .arg(&images)
                .arg("--state-dir")
                .arg(&state)
                .args(["--http-port", &ports[0], "--api-port", &ports[1]])
                .args(words)
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("formwork starts");
            let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
            let serves = lines.by_ref().map_while(Result::ok).any(|line| line.contains("serving"));
            std::thread::spawn(move || lines.for_each(drop));
            if serves {
                return Self { server, state };
            }
            let _ = server.wait();
        }
        panic!("no server could be started");
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
        let context = self.state.join("administrator.json");
        let mut command = Command::new(FORMWORK);
        command.env("FORMWORK_CONTEXT", context).stdin(Stdio::null()).args(words);
        command.output().expect("formwork starts")
    }

    /// The same, and it must be done.
    pub fn say(&self, words: &[&str]) -> String {
        let output = self.type_in(words);
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until the status has this in it.
    pub fn until(&self, wanted: &[&str]) -> String {
        let end = Instant::now() + Duration::from_secs(120);
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

    /// Waits until this revision serves and nothing newer is worked on.
    pub fn until_served(&self, revision: &str) -> String {
        self.until(&["\"condition\": \"Ready\"", &format!("\"lastAppliedRevision\": \"{revision}\"")])
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
