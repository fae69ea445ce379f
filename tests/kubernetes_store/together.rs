//! Two servers on one store, both answering, behind an address that leads to either: killed in the middle of boots and of an
//! election of 200 machines; and what is said to one of them counts for the other. Content, machines and judge are those of
//! `tests/fire`, where one server has its store alone.

#[path = "../fire/check.rs"]
mod check;
#[path = "../fire/content.rs"]
mod content;

use super::*;
use check::{Evidence, violations};
use formwork::simulate::record::{Entry, Fact};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Machines, all members of one cluster.
const MACHINES: usize = 200;
/// The servers' names, and the addresses that are theirs alone.
const REPLICAS: [(&str, Ipv4Addr); 2] = [("one", Ipv4Addr::new(127, 0, 0, 2)), ("two", Ipv4Addr::new(127, 0, 0, 3))];
/// What is waited for takes less.
const LIMIT: Duration = Duration::from_secs(600);

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
struct Site {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    http: u16,
    api: u16,
    servers: [Option<Child>; 2],
}

impl Site {
    fn new(cluster: &Cluster, namespace: &str, machines: usize) -> Self {
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
        let site = Self { http: port(&http), api: port(&api), folder, environment, servers: [None, None] };
        [http, api].into_iter().for_each(lead_to_any);
        site.git(&["init", "-q", "-b", "main"]);
        site.commit("first");
        site
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn git(&self, words: &[&str]) {
        let mut command = Command::new("git");
        command.args(["-c", "user.name=ada", "-c", "user.email=ada@example.org"]).args(words);
        assert!(command.current_dir(self.path("site")).status().unwrap().success(), "git {words:?}");
    }

    fn commit(&self, subject: &str) {
        self.git(&["add", "."]);
        self.git(&["commit", "-q", "-m", subject]);
    }

    /// The subject of a commit.
    fn subject(&self, id: &str) -> String {
        let mut command = Command::new("git");
        let output = command.args(["log", "-1", "--format=%s", id]).current_dir(self.path("site")).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn formwork(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
        command.args(words).current_dir(self.folder.path()).stdin(Stdio::null());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn log(&self, name: &str) -> Stdio {
        Stdio::from(std::fs::OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap())
    }

    /// Makes the site: both say so at the same time, and there is one.
    fn create(&self) {
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
    fn start(&mut self, which: usize) {
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
    fn context(&self, name: &str, address: Ipv4Addr) {
        let context = std::fs::read_to_string(self.path(name).join("administrator.json")).unwrap();
        let mut context: serde_json::Value = serde_json::from_str(&context).unwrap();
        for (file, address) in [(name, address), ("both", Ipv4Addr::LOCALHOST)] {
            context["server"] = format!("https://{address}:{}", self.api).into();
            let path = self.path(&format!("{file}.json"));
            std::fs::write(&path, context.to_string()).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
    }

    fn kill(&mut self, which: usize) {
        if let Some(mut server) = self.servers[which].take() {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }

    /// Ends a server as whoever runs it does.
    fn stop(&mut self, which: usize) {
        if let Some(mut server) = self.servers[which].take() {
            let id = rustix::process::Pid::from_child(&server);
            rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
            assert!(server.wait().unwrap().success(), "{}", self.said());
        }
    }

    /// What a command says to a server, or to both.
    fn ask(&self, whom: &str, words: &[&str]) -> String {
        let context = format!("{whom}.json");
        let output = self.formwork(words).args(["--context", &context]).output().unwrap();
        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        format!("{}{}", said(&output.stdout), said(&output.stderr))
    }

    fn ask_json(&self, whom: &str, words: &[&str]) -> serde_json::Value {
        let context = format!("{whom}.json");
        let output = self.formwork(words).args(["-o", "json", "--context", &context]).output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{words:?}: {error}: {output:?}\n{}", self.said()))
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < Duration::from_secs(90), "not within 90 s: {what}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn simulate(&self) -> Child {
        let (http, machines) = (self.http.to_string(), MACHINES.to_string());
        let mut command = self.formwork(&["simulate", "--server", "127.0.0.1", "--protocols", "http"]);
        command.args(["--http-port", &http, "--seed", "1", "--machines", &machines, "--limit-seconds", "540"]);
        command.args(["--boot-seconds", "0..4", "--task-seconds", "0.1..1.5", "--fail", "0.02"]);
        command.args(["--drop-replies", "0.02", "--power-cuts", "0.05", "--agent-kills", "0.05"]);
        command.args(["--record", "record.jsonl", "--context", "both.json", "-o", "json"]);
        command.stdout(self.log("report.json")).stderr(self.log("machines.log"));
        command.spawn().unwrap()
    }

    fn entries(&self) -> Vec<Entry> {
        let text = std::fs::read_to_string(self.path("record.jsonl")).unwrap_or_default();
        // The last line may be half there.
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The last of what servers and machines said.
    fn said(&self) -> String {
        ["create.log", "servers.log", "machines.log"]
            .map(|name| {
                let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                format!("{name}:\n{}\n", lines[lines.len().saturating_sub(60)..].join("\n"))
            })
            .concat()
    }

    /// The logs of both servers: of each job the longer one, since the one that took its end has all of it.
    fn logs(&self) -> BTreeMap<String, Vec<u8>> {
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
}

impl Drop for Site {
    fn drop(&mut self) {
        (0..REPLICAS.len()).for_each(|which| self.kill(which));
    }
}

#[test]
fn two_servers_on_one_store_lose_nothing_though_each_is_killed() {
    let _turn = turn();
    let Some(cluster) = Cluster::started("two servers on one store") else { return };
    let mut site = Site::new(&cluster, "together", MACHINES);
    site.create();
    site.start(0);
    site.start(1);
    site.until("a revision serves", || site.ask("one", &["status"]).contains("first"));
    let mut machines = site.simulate();
    let began = Instant::now();
    let mut wait = |site: &Site, what: &str, until: &dyn Fn(&[Entry]) -> bool| loop {
        let entries = site.entries();
        if until(&entries) {
            return;
        }
        assert!(machines.try_wait().unwrap().is_none(), "the machines ended before {what}\n{}", site.said());
        assert!(began.elapsed() < LIMIT, "{what} takes too long\n{}", site.said());
        std::thread::sleep(Duration::from_millis(50));
    };
    let boots = |entries: &[Entry]| entries.iter().filter(|entry| matches!(entry.fact, Fact::Boots { .. })).count();
    wait(&site, "boots", &|entries| boots(entries) >= MACHINES / 4);
    assert!(boots(&site.entries()) < MACHINES, "they have all booted: there is nothing to kill a server in");
    site.kill(1);
    wait(&site, "more boots, of one server alone", &|entries| boots(entries) >= MACHINES / 2);
    site.start(1);
    let leads = |entry: &Entry| matches!(entry.fact, Fact::Leads { .. });
    wait(&site, "an election", &|entries| entries.iter().any(leads));
    site.kill(0);
    let passes = |entry: &Entry| matches!(entry.fact, Fact::Passes { .. });
    wait(&site, "machines that go on", &|entries| entries.iter().any(passes));
    site.start(0);
    let status = machines.wait().unwrap();
    assert!(status.success(), "not every run was done\n{}", site.said());
    let (took, boots) = (began.elapsed(), boots(&site.entries()));

    // Both know the same of every machine.
    let known = |whom: &str| {
        let machines = site.ask_json(whom, &["get", "machines"]);
        let rows = machines["items"].as_array().expect("items").iter();
        rows.map(|row| [&row["name"], &row["phase"], &row["run"]].map(ToString::to_string)).collect::<Vec<_>>()
    };
    assert_eq!(known("one").len(), MACHINES);
    site.until("both know the same", || known("one") == known("two"));
    site.stop(0);
    site.stop(1);
    let leases = cluster.kubectl(&["-n", "together", "get", "leases", "-o", "name"]);
    assert_eq!(leases.trim(), "", "they said goodbye");

    let namespaces = Namespaces::of(&cluster);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(site.path("report.json")).unwrap()).unwrap();
    let sum = |what: &str| {
        let questions = report["questions"].as_array().unwrap().iter();
        usize::try_from(questions.map(|question| question[what].as_u64().unwrap()).sum::<u64>()).unwrap()
    };
    let evidence = Evidence {
        machines: MACHINES,
        entries: check::entries(&site.path("record.jsonl")),
        events: check::events(&*namespaces.open("together")),
        logs: site.logs(),
        replies_dropped: sum("dropped"),
        questions_lost: sum("lost"),
    };
    let wrong = violations(&evidence);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!(
        "{MACHINES} runs done in {took:?}, {boots} boots, {} events, {} answers lost, two servers killed once each",
        evidence.events.len(),
        evidence.replies_dropped + evidence.questions_lost,
    );
}

#[test]
fn what_is_said_to_one_server_counts_for_the_other() {
    let _turn = turn();
    let Some(cluster) = Cluster::started("two servers on one repository") else { return };
    let mut site = Site::new(&cluster, "one-word", 3);
    site.create();
    // Said again it changes nothing, and keys of another site are neither taken for these nor written over.
    site.create();
    let mut foreign = Command::new(env!("CARGO_BIN_EXE_formwork"));
    foreign.args(["site", "create", "fire", "--fresh", "--state-dir", "other"]).current_dir(site.folder.path());
    assert!(foreign.stdout(site.log("create.log")).status().unwrap().success());
    let authority = || std::fs::read(site.path("other/keys/authority.pem")).unwrap();
    let before = authority();
    std::fs::rename(site.path("other/store.redb"), site.path("store.redb")).unwrap();
    let mut shared = site.formwork(&["site", "create", "fire", "--fresh", "--shared", "--state-dir", "other"]);
    assert!(!shared.stderr(site.log("create.log")).status().unwrap().success(), "{}", site.said());
    assert!(authority() == before && site.said().contains("keys of another site"), "{}", site.said());
    // The second has no state directory yet, and takes the keys from beside the store.
    std::fs::remove_dir_all(site.path("two")).unwrap();
    site.start(0);
    site.start(1);
    let serves = |whom: &str| {
        let id = site.ask_json(whom, &["status"])["content"]["lastAppliedRevision"].clone();
        id.as_str().map(|id| site.subject(id)).unwrap_or_default()
    };
    let both_serve = |subject: &str| {
        site.until(subject, || ["one", "two"].iter().all(|whom| serves(whom) == subject));
    };
    both_serve("first");
    let edit = |subject: &str| {
        let path: &Path = &site.path("site/content.yaml");
        let more = format!(
            "---\napiVersion: formwork.dev/v1alpha1\nkind: Param\nmetadata: {{name: {subject}}}\n\
            spec: {{schema: {{type: string}}}}\n"
        );
        std::fs::OpenOptions::new().append(true).open(path).unwrap().write_all(more.as_bytes()).unwrap();
        site.commit(subject);
    };
    edit("second");
    both_serve("second");
    // Nothing is applied by either while one was told so.
    site.ask("one", &["suspend", "--reason", "night"]);
    edit("third");
    let suspended = |whom: &str| site.ask("two", &["status"]).contains("suspended") && serves(whom) == "second";
    site.until("the other knows", || suspended("two"));
    std::thread::sleep(Duration::from_secs(3));
    assert!(suspended("one") && suspended("two"), "{}", site.said());
    site.ask("two", &["resume"]);
    both_serve("third");
    // Gone back to by one, by both.
    site.ask("two", &["rollback", "--reason", "slow"]);
    both_serve("second");
    site.ask("one", &["resume"]);
    both_serve("third");
    // One outcome a revision in the journal, whoever wrote it.
    let namespaces = Namespaces::of(&cluster);
    let events = check::events(&*namespaces.open("one-word"));
    let applied: Vec<_> = events
        .iter()
        .filter_map(|record| match &record.event {
            journal::Event::RevisionApplied { summary, .. } => Some(summary.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(applied, ["first", "second", "third", "second", "third"]);
    // A server that is to be alone takes the store, and both end.
    let alone = Options { sharing: Sharing::Alone, ..options() };
    let alone = KubernetesStore::open(namespaces.connect("one-word"), alone).unwrap();
    for server in &mut site.servers {
        let server = server.as_mut().unwrap();
        let began = Instant::now();
        while server.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(30), "it goes on");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    drop(alone);
    assert!(site.said().contains("a server that is to serve alone took over"), "{}", site.said());
}
