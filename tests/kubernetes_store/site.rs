//! A site in a repository, two state directories, and two servers on one store behind one address.

#[path = "../fire/check.rs"]
pub mod check;
#[path = "../fire/content.rs"]
mod content;

use super::*;
use formwork::simulate::record::Entry;
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Machines, all members of one cluster.
pub const MACHINES: usize = 200;
/// The servers' names, and the addresses that are theirs alone.
pub const REPLICAS: [(&str, Ipv4Addr); 2] =
    [("one", Ipv4Addr::new(127, 0, 0, 2)), ("two", Ipv4Addr::new(127, 0, 0, 3))];
/// What is waited for takes less.
pub const LIMIT: Duration = Duration::from_secs(600);

/// An address that leads to whichever server takes the connection, as a service of Kubernetes does.
fn lead_to_any(listener: TcpListener) {
    let port = listener.local_addr().unwrap().port();
    let turn = AtomicUsize::new(0);
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let first = turn.fetch_add(1, Ordering::Relaxed);
            let order = [first, first + 1].map(|at| REPLICAS[at % REPLICAS.len()].1);
            let Some(server) = order.iter().find_map(|address| TcpStream::connect((*address, port)).ok()) else {
                continue;
            };
            for (mut from, mut to) in [(client.try_clone(), server.try_clone()), (Ok(server), Ok(client))]
                .into_iter()
                .filter_map(|(from, to)| Some((from.ok()?, to.ok()?)))
            {
                std::thread::Builder::new()
                    .stack_size(64 << 10)
                    .spawn(move || {
                        let mut buffer = [0; 16 << 10];
                        while let Ok(length @ 1..) = from.read(&mut buffer) {
                            if to.write_all(&buffer[..length]).is_err() {
                                break;
                            }
                        }
                        // Either end is both: who was talking to a server that died is to know it.
                        let _ = to.shutdown(Shutdown::Both);
                        let _ = from.shutdown(Shutdown::Both);
                    })
                    .unwrap();
            }
        }
    });
}

/// A site in a repository, two state directories that begin empty, and servers.
pub struct Site {
    pub folder: tempfile::TempDir,
    pub environment: Vec<(String, String)>,
    pub http: u16,
    pub api: u16,
    machines: usize,
    pub servers: [Option<Child>; 2],
}

impl Site {
    pub fn new(cluster: &Cluster, namespace: &str, machines: usize) -> Self {
        cluster.kubectl(&["create", "namespace", namespace]);
        let folder = tempfile::tempdir().unwrap();
        content::write(folder.path(), machines);
        let environment = [
            ("FORMWORK_STORE", "kubernetes".to_owned()),
            ("FORMWORK_STORE_NAMESPACE", namespace.to_owned()),
            ("KUBECONFIG", cluster.path("kubeconfig").display().to_string()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value)).to_vec();
        let [http, api] = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let site = Self { http: port(&http), api: port(&api), folder, environment, machines, servers: [None, None] };
        [http, api].into_iter().for_each(lead_to_any);
        site.git(&["init", "-q", "-b", "main"]);
        site.commit("first");
        site
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn git(&self, words: &[&str]) {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=ada", "-c", "user.email=ada@example.org"]).args(words);
        assert!(command.current_dir(self.path("site")).status().unwrap().success(), "git {words:?}");
    }

    pub fn commit(&self, subject: &str) {
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", subject]);
    }

    /// The subject of a commit.
    pub fn subject(&self, id: &str) -> String {
        let mut command = Command::new("git");
        let output = command.args(["log", "-1", "--format=%s", id]).current_dir(self.path("site")).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn formwork(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn log(&self, name: &str) -> Stdio {
        Stdio::from(std::fs::OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap())
    }

    /// Makes the site: both say so at the same time, and there is one.
    pub fn create(&self) {
        let create = |(name, _): (&str, Ipv4Addr)| {
            let words = ["site", "create", "fire", "--fresh", "--shared", "--state-dir", name];
            self.formwork(&words).stderr(self.log("create.log")).stdout(self.log("create.log")).spawn().unwrap()
        };
        for mut creation in REPLICAS.map(create) {
            assert!(creation.wait().unwrap().success(), "{}", self.said());
        }
        let keys = REPLICAS.map(|(name, _)| std::fs::read(self.path(name).join("keys/signing.key")).unwrap());
        assert_eq!(keys[0], keys[1]);
    }

    /// Starts a server, and waits until it answers.
    pub fn start(&mut self, which: usize) {
        let (name, address) = REPLICAS[which];
        let (http, api, listen) = (self.http.to_string(), self.api.to_string(), address.to_string());
        let mut command = self.formwork(&["serve", "--replica", name, "--state-dir", name, "--repository", "site"]);
        command.args(["--address", "127.0.0.1", "--listen", &listen, "--http-port", &http, "--api-port", &api]);
        command.args(["--images", "images", "--no-dhcp", "--no-tftp"]);
        command.env("FORMWORK_LOG", "info").stdout(self.log("servers.log")).stderr(self.log("servers.log"));
        let server = self.servers[which].insert(command.spawn().unwrap());
        let began = Instant::now();
        let up = |port: u16| TcpStream::connect(SocketAddr::from((address, port))).is_ok();
        while !(up(self.http) && up(self.api)) {
            let ended = server.try_wait().unwrap();
            if ended.is_some() || began.elapsed() > Duration::from_secs(120) {
                panic!("server {name} does not start: {ended:?}\n{}", self.said());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.context(name, address);
    }

    /// A context file for a server's own address, beside one for the address of both.
    pub fn context(&self, name: &str, address: Ipv4Addr) {
        let context = std::fs::read_to_string(self.path(name).join("administrator.json")).unwrap();
        let mut context: serde_json::Value = serde_json::from_str(&context).unwrap();
        for (file, address) in [(name, address), ("both", Ipv4Addr::LOCALHOST)] {
            context["server"] = format!("https://{address}:{}", self.api).into();
            let path = self.path(&format!("{file}.json"));
            std::fs::write(&path, context.to_string()).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
    }

    pub fn kill(&mut self, which: usize) {
        if let Some(mut server) = self.servers[which].take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Ends a server as whoever runs it does.
    pub fn stop(&mut self, which: usize) {
        if let Some(mut server) = self.servers[which].take() {
            let id = rustix::process::Pid::from_child(&server);
            rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
            assert!(server.wait().unwrap().success(), "{}", self.said());
        }
    }

    /// What a command says to a server, or to both.
    pub fn ask(&self, whom: &str, words: &[&str]) -> String {
        let context = format!("{whom}.json");
        let output = self.formwork(words).args(["--context", &context]).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{}{}", said(&output.stdout), said(&output.stderr))
    }

    pub fn ask_json(&self, whom: &str, words: &[&str]) -> serde_json::Value {
        let context = format!("{whom}.json");
        let output = self.formwork(words).args(["-o", "json", "--context", &context]).output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {output:?}\n{}", self.said()))
    }

    pub fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(90), "not within 90 s: {what}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub fn simulate(&self) -> Child {
        let (http, machines) = (self.http.to_string(), self.machines.to_string());
        let mut command = self.formwork(&["simulate", "--server", "127.0.0.1", "--protocols", "http"]);
        command.args(["--http-port", &http, "--seed", "1", "--machines", &machines, "--limit-seconds", "540"]);
        command.args(["--boot-seconds", "0..4", "--task-seconds", "0.1..1.5", "--fail", "0.02"]);
        command.args(["--drop-replies", "0.02", "--power-cuts", "0.05", "--agent-kills", "0.05"]);
        command.args(["--record", "record.jsonl", "--context", "both.json", "-o", "json"]);
        command.stdout(self.log("report.json")).stderr(self.log("machines.log"));
        command.spawn().unwrap()
    }

    pub fn entries(&self) -> Vec<Entry> {
        let text = std::fs::read_to_string(self.path("record.jsonl")).unwrap_or_default();
        // The last line may be half there.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The last of what servers and machines said.
    pub fn said(&self) -> String {
        ["create.log", "servers.log", "machines.log"]
            .map(|name| {
                let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                format!("{name}:\n{}\n", lines[lines.len().saturating_sub(60)..].join("\n"))
            })
            .concat()
    }

    /// How often a server said which replicas stand, and whether it said last that both do.
    pub fn stands(&self, whom: &str) -> (usize, bool) {
        let said = std::fs::read_to_string(self.path("servers.log")).unwrap_or_default();
        let own = format!("replica=\"{whom}\"");
        let mut lines =
            said.lines().filter(|line| line.contains("the replicas stand otherwise") && line.contains(&own));
        (lines.clone().count(), lines.next_back().is_some_and(|line| line.contains("live=\"one, two\"")))
    }

    /// The logs of both servers: of each job the longer one, since the one that took its end has all of it.
    pub fn logs(&self) -> BTreeMap<String, Vec<u8>> {
        let mut all: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (name, _) in REPLICAS {
            for (job, log) in check::logs(&self.path(name).join("logs")) {
                let known = all.entry(job).or_default();
                if log.len() > known.len() {
                    *known = log;
                }
            }
        }
        all
    }

    /// What the judge looks at, after the machines have ended: what they wrote down and counted, the journal, and the logs.
    pub fn evidence(&self, machines: usize, journal: &dyn Store, logs: BTreeMap<String, Vec<u8>>) -> check::Evidence {
        let report = std::fs::read(self.path("report.json")).unwrap();
        let report: serde_json::Value = serde_json::from_slice(&report).unwrap();
        let sum = |what: &str| {
            let questions = report["questions"].as_array().unwrap().iter();
            usize::try_from(questions.map(|question| question[what].as_u64().unwrap()).sum::<u64>()).unwrap()
        };
        check::Evidence {
            machines,
            entries: check::entries(&self.path("record.jsonl")),
            events: check::events(journal),
            logs,
            replies_dropped: sum("dropped"),
            questions_lost: sum("lost"),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        (0..REPLICAS.len()).for_each(|which| self.kill(which));
    }
}
