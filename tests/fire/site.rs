//! A site under fire: content, the real server as a process, the simulation as another.

use super::check::Evidence;
use formwork::simulate::record::Entry;
use formwork::store::Store;
use formwork::store::embedded::EmbeddedStore;
use formwork::store::logs::LogStore;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Machines of a round; also the cluster's size.
pub const MACHINES: usize = 20;
/// The workflow's tasks.
pub const TASKS: [&str; 5] = ["look", "burn", "install", "join", "check"];

const CONTENT: &str = r#"
apiVersion: formwork.dev/v1alpha1
kind: Enrollment
metadata: {name: simulated}
spec:
  match: {macPrefixes: ["02:46:57"]}
  name: "simulated-{{ mac | replace(':', '') }}"
  profiles: [behaviour, fire]
  workflow: build
  mayWipe: true
---
apiVersion: formwork.dev/v1alpha1
kind: Param
metadata: {name: simulation}
spec: {schema: {type: object}}
---
apiVersion: formwork.dev/v1alpha1
kind: Profile
metadata: {name: behaviour}
spec:
  params:
    simulation:
      look:
        cluster: [{put: "hosts/{machine}", value: up}]
      join:
        cluster:
          - {elect: init, publish: {token: abc}, leadSeconds: 0.5..2.5, ttlSeconds: 3}
          - {join: members}
          - {barrier: ready, count: all}
      check:
        cluster: [{get: token}]
---
apiVersion: formwork.dev/v1alpha1
kind: ClusterProfile
metadata: {name: fire}
spec:
  size: SIZE
  keys: [{name: token, writers: {holderOf: init}, immutable: true}]
---
apiVersion: formwork.dev/v1alpha1
kind: BootEnv
metadata: {name: ram}
spec:
  architectures:
    x86_64: {kernel: {file: ram/vmlinuz}, initrds: [{file: ram/initrd}]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: discover}
spec: {bootEnv: ram, tasks: [look, burn]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: install}
spec: {bootEnv: ram, destructive: true, freshBoot: true, tasks: [install]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: join}
spec: {bootEnv: local, tasks: [join, check]}
---
apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {name: build}
spec: {stages: [discover, install, join]}
"#;

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
        let at = |path: &str| folder.path().join(path);
        std::fs::create_dir_all(at("site")).expect("a folder");
        std::fs::create_dir_all(at("images/ram")).expect("a folder");
        let site = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: fire}\nspec: {}\n";
        std::fs::write(at("site/site.yaml"), site).expect("written");
        let tasks: String = TASKS
            .iter()
            .map(|task| {
                format!(
                    "---\napiVersion: formwork.dev/v1alpha1\nkind: Task\nmetadata: {{name: {task}}}\nspec:\n  \
                     params: [{{name: simulation}}]\n  retries: {{limit: 20, backoff: 200ms}}\n  timeout: 10m\n  \
                     steps: [{{name: {task}, script: \"echo {task}\"}}]\n"
                )
            })
            .collect();
        let content = CONTENT.replace("SIZE", &MACHINES.to_string());
        std::fs::write(at("site/content.yaml"), format!("{content}{tasks}")).expect("written");
        std::fs::write(at("images/ram/vmlinuz"), vec![1; 60_000]).expect("written");
        std::fs::write(at("images/ram/initrd"), vec![2; 200_000]).expect("written");
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
        let record = std::fs::read_to_string(self.path("record.jsonl")).expect("the record");
        let entries: Vec<Entry> = record.lines().map(|line| serde_json::from_str(line).expect("an entry")).collect();
        let report = std::fs::read(self.path("report.json")).expect("the report");
        let report: serde_json::Value = serde_json::from_slice(&report).expect("a report");
        let sum = |what: &str| -> usize {
            let questions = report["questions"].as_array().expect("questions");
            let counts = questions.iter().map(|question| question[what].as_u64().expect("a count"));
            usize::try_from(counts.sum::<u64>()).expect("a count")
        };
        let (replies_dropped, questions_lost) = (sum("dropped"), sum("lost"));
        let state = self.path("state");
        let store = EmbeddedStore::open(&state).expect("the store opens");
        let mut events = Vec::new();
        loop {
            let after = events.last().map_or(0, |record: &formwork::journal::Record| record.sequence);
            let page = store.events_after(after, 1000).expect("events");
            if page.is_empty() {
                break;
            }
            events.extend(page);
        }
        let logs = LogStore::open(&state.join("logs")).expect("the logs open");
        let jobs = names(&state.join("logs"));
        let logs = jobs.into_iter().map(|job| (job.clone(), logs.read(&job, 0, 1 << 20).expect("a log"))).collect();
        Evidence { entries, events, logs, replies_dropped, questions_lost }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder").flatten();
    entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".log")?.to_owned())).collect()
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}
