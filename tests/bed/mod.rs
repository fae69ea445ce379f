//! What many groups of tests begin with: a site, its server as a process, and what is typed at it.

#![allow(dead_code, reason = "each group of tests takes what it needs")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The program.
pub const FORMWORK: &str = env!("CARGO_BIN_EXE_formwork");
/// The longest that anything is waited for: the computer may be loaded, and no test is about speed.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Makes a site where there is none.
pub fn make_site(state: &Path) {
    if !state.exists() {
        let words = ["site", "create", "lab", "--fresh", "--state-dir"];
        let made = Command::new(FORMWORK).args(words).arg(state).output().expect("formwork starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }
}

/// Ports that were free a moment ago: of HTTP, and of the API.
pub fn free_ports() -> (u16, u16) {
    let open = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let (one, other) = (open(), open());
    let port = |listener: &TcpListener| listener.local_addr().expect("an address").port();
    (port(&one), port(&other))
}

/// What is typed at a site by whom it was made.
pub fn type_in(state: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(FORMWORK);
    command.args(words).env("FORMWORK_CONTEXT", state.join("administrator.json")).env("FORMWORK_STATE_DIR", state);
    command.stdin(Stdio::null()).output().expect("formwork starts")
}

/// How a site stands.
pub fn status(state: &Path) -> serde_json::Value {
    serde_json::from_slice(&type_in(state, &["status", "-o", "json"]).stdout).unwrap_or_default()
}

/// A server that runs until this is dropped, and what it said.
pub struct Server {
    process: Child,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// The command of a server on loopback, for what else it needs.
    pub fn command(program: Command, state: &Path, (http, api): (u16, u16)) -> Command {
        let mut command = program;
        command.args(["serve", "--no-dhcp", "--no-tftp", "--address", "127.0.0.1", "--state-dir"]).arg(state);
        command.args(["--http-port", &http.to_string(), "--api-port", &api.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Starts it, and waits until it serves.
    ///
    /// # Errors
    /// It ends instead: what it said.
    pub fn spawn(mut command: Command) -> Result<Self, String> {
        let mut process = command.spawn().expect("formwork starts");
        let log: Arc<Mutex<String>> = Arc::default();
        let keep = {
            let log = Arc::clone(&log);
            move |line: &str| log.lock().expect("a lock").push_str(&format!("{line}\n"))
        };
        let mut lines = BufReader::new(process.stderr.take().expect("its errors")).lines().map_while(Result::ok);
        let serves = lines.by_ref().any(|line| {
            keep(&line);
            line.contains("serving")
        });
        if !serves {
            let _ = process.wait();
            return Err(log.lock().expect("a lock").clone());
        }
        std::thread::spawn(move || lines.for_each(|line| keep(&line)));
        Ok(Self { process, log })
    }

    /// Starts it on ports that are free: one may be taken by another test before we have it, and then others are tried.
    pub fn on_free_ports(command: impl Fn((u16, u16)) -> Command) -> (Self, (u16, u16)) {
        let mut said = String::new();
        for _ in 0..20 {
            let ports = free_ports();
            match Self::spawn(command(ports)) {
                Ok(server) => return (server, ports),
                Err(error) => said = error,
            }
        }
        panic!("no server could be started: {said}");
    }

    /// What it said.
    pub fn log(&self) -> String {
        self.log.lock().expect("a lock").clone()
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    /// As a power cut would.
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
