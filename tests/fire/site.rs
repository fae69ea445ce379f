//! A site under fire: content, the real server as a process, the simulation as another.

use super::check::{self, Evidence};
use super::content;
use formwork::store::embedded::EmbeddedStore;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Machines of a round; also the cluster's size.
pub const MACHINES: usize = 20;
/// A site of its own; ends with its processes when it is dropped.
pub struct Site {
    folder: tempfile::TempDir,
    server: Option<Child>,
    http: u16,
    api: u16,
}

fn free_ports() -> (u16, u16) {
    let take = || std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (one, other) = (take(), take());
    let port = |listener: &std::net::TcpListener| listener.local_addr().expect("an address").port();
    (port(&one), port(&other))
}

impl Site {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        content::write(folder.path(), MACHINES);
        let (http, api) = free_ports();
        let site = Self { folder, server: None, http, api };
        let made = site.formwork(&["site", "create", "fire", "--fresh", "--state-dir", "state"]).output();
        assert!(made.expect("formwork runs").status.success());
        site
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn formwork(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    fn log(&self, name: &str) -> Stdio {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.path(name)).expect("a log");
        Stdio::from(file)
    }

    /// Starts the server, and waits until it answers.
    pub fn start(&mut self) {
        let (http, api) = (self.http.to_string(), self.api.to_string());
        let mut command = self.formwork(&["serve", "--state-dir", "state", "--dir", "site", "--images", "images"]);
        command.args(["--address", "127.0.0.1", "--no-dhcp", "--no-tftp", "--http-port", &http, "--api-port", &api]);
        command.env("FORMWORK_LOG", "warn").stdout(self.log("server.log")).stderr(self.log("server.log"));
        self.server = Some(command.spawn().expect("formwork starts"));
        let limit = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", self.http)).is_err() {
            let ended = self.server.as_mut().and_then(|server| server.try_wait().ok().flatten());
            assert!(ended.is_none(), "the server ended by itself: {ended:?}\n{}", self.said());
            assert!(Instant::now() < limit, "the server does not answer\n{}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Kills the server (SIGKILL).
    pub fn kill(&mut self) {
        if let Some(mut server) = self.server.take() {
            server.kill().expect("it can be killed");
            server.wait().expect("it ends");
        }
    }

    /// Starts the machines.
    pub fn simulate(&self, seed: u64) -> Child {
        let (http, seed, machines) = (self.http.to_string(), seed.to_string(), MACHINES.to_string());
        let mut command = self.formwork(&["simulate", "--server", "127.0.0.1", "--protocols", "http"]);
        command.args(["--http-port", &http, "--seed", &seed, "--machines", &machines, "--limit-seconds", "540"]);
        command.args(["--boot-seconds", "0..1", "--task-seconds", "0.1..1.5", "--fail", "0.05"]);
        command.args(["--drop-replies", "0.05", "--power-cuts", "0.15", "--agent-kills", "0.15"]);
        command.args(["--record", "record.jsonl", "--context", "state/administrator.json", "-o", "json"]);
        command.stdout(self.log("report.json")).stderr(self.log("machines.log"));
        command.spawn().expect("formwork starts")
    }

    /// The server let the first machine in.
    pub fn records(&self) -> bool {
        self.path("record.jsonl").exists()
    }

    /// The last of what server and machines said.
    pub fn said(&self) -> String {
        ["server.log", "machines.log"]
            .map(|name| {
                let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                format!("{name}:\n{}\n", lines[lines.len().saturating_sub(60)..].join("\n"))
            })
            .concat()
    }

    /// All that there is to see; the server must not run.
    pub fn evidence(&self) -> Evidence {
        let entries = check::entries(&self.path("record.jsonl"));
        let report = std::fs::read(self.path("report.json")).expect("the report");
        let report: serde_json::Value = serde_json::from_slice(&report).expect("a report");
        let sum = |what: &str| -> usize {
            let questions = report["questions"].as_array().expect("questions");
            let counts = questions.iter().map(|question| question[what].as_u64().expect("a count"));
            usize::try_from(counts.sum::<u64>()).expect("a count")
        };
        let (replies_dropped, questions_lost) = (sum("dropped"), sum("lost"));
        let state = self.path("state");
        let events = check::events(&EmbeddedStore::open(&state).expect("the store opens"));
        let logs = check::logs(&state.join("logs"));
        Evidence { machines: MACHINES, entries, events, logs, replies_dropped, questions_lost }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
