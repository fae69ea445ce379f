//! A site of a few simulated machines, and its server.

use super::bed::{PATIENCE, Server, free_ports, make_site, status, type_in};
use super::{check, content};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const MACHINES: usize = 4;

pub struct Site {
    folder: tempfile::TempDir,
    server: Option<Server>,
    ports: (u16, u16),
    /// What the servers before said.
    said: String,
}

impl Site {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        content::write(folder.path(), MACHINES);
        make_site(&folder.path().join("state"));
        Self { folder, server: None, ports: free_ports(), said: String::new() }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn command(&self, environment: &[(&str, &str)]) -> Command {
        let mut command = Server::command(Command::new(super::bed::FORMWORK), &self.path("state"), self.ports);
        command.args(["--dir", "site", "--images", "images"]).current_dir(self.folder.path());
        command.envs(environment.iter().copied()).env("FORMWORK_LOG", "info");
        command
    }

    pub fn start(&mut self, environment: &[(&str, &str)]) {
        self.server = Some(Server::spawn(self.command(environment)).unwrap_or_else(|said| panic!("{said}")));
    }

    /// Starts a server that has no log of its own, as on another host. The store holds short ones for some seconds after their jobs, and a
    /// server puts them back; until that is over it is tried again.
    pub fn start_without_logs(&mut self, environment: &[(&str, &str)]) {
        for _ in 0..10 {
            std::fs::remove_dir_all(self.path("state/logs")).unwrap();
            self.start(environment);
            if self.logs().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_secs(6));
            self.kill();
        }
        panic!("the store does not let go of logs\n{}", self.said());
    }

    /// What a server says that does not start.
    pub fn refused(&self, environment: &[(&str, &str)]) -> String {
        match Server::spawn(self.command(environment)) {
            Ok(server) => panic!("it starts: {}", server.log()),
            Err(said) => said,
        }
    }

    pub fn kill(&mut self) {
        self.said = self.said();
        self.server = None;
    }

    pub fn said(&self) -> String {
        format!("{}{}", self.said, self.server.as_ref().map(Server::log).unwrap_or_default())
    }

    /// All machines walk to their ends.
    pub fn walk(&self) {
        let (http, machines) = (self.ports.0.to_string(), MACHINES.to_string());
        let mut command = Command::new(super::bed::FORMWORK);
        command.args(["simulate", "--server", "127.0.0.1", "--protocols", "http", "--http-port", &http]);
        command.args(["--machines", &machines, "--limit-seconds", "240", "--seed", "1", "--boot-seconds", "0..1"]);
        command.args(["--task-seconds", "0.1..0.3", "--context", "state/administrator.json", "-o", "json"]);
        let output = command.current_dir(self.folder.path()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{output:?}\n{}", self.said());
    }

    pub fn type_in(&self, words: &[&str]) -> Output {
        type_in(&self.path("state"), words)
    }

    pub fn status(&self) -> serde_json::Value {
        status(&self.path("state"))
    }

    /// How many logs wait for their upload.
    pub fn waiting(&self) -> Option<usize> {
        usize::try_from(self.status()["logs"]["objectStore"]["waiting"].as_u64()?).ok()
    }

    /// The logs in the state directory.
    pub fn logs(&self) -> BTreeMap<String, Vec<u8>> {
        check::logs(&self.path("state/logs"))
    }

    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "not in time: {what}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
