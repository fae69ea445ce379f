//! A site that is pushed to: a state directory, a server on loopback, and people with clones.

use super::bed::{self, Server};
pub use super::bed::{FORMWORK, PATIENCE, free_ports};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// What a site of two machines is made of.
pub const SITE: &[(&str, &str)] = &[
    ("site.yaml", "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\n"),
    (
        "workflows/install.yaml",
        "apiVersion: formwork.dev/v1alpha1
kind: BootEnv
metadata: {name: ram}
spec: {architectures: {x86_64: {kernel: {file: ram/vmlinuz}}}}
---
apiVersion: formwork.dev/v1alpha1
kind: Task
metadata: {name: write-disk}
spec: {steps: [{name: write, script: 'true'}]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: disk}
spec: {bootEnv: ram, tasks: [write-disk], destructive: true}
---
apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {name: install}
spec: {stages: [disk]}
",
    ),
    ("machines/node-1.yaml", NODE_1),
    ("machines/node-2.yaml", NODE_2),
];

/// The first machine.
pub const NODE_1: &str = "apiVersion: formwork.dev/v1alpha1
kind: Machine
metadata: {name: node-1}
spec:
  match: {macs: ['52:54:00:00:02:01']}
  workflow: install
";
/// The second.
pub const NODE_2: &str = "apiVersion: formwork.dev/v1alpha1
kind: Machine
metadata: {name: node-2}
spec:
  match: {macs: ['52:54:00:00:02:02']}
  workflow: install
";

/// A machine's file.
pub fn node(number: usize) -> String {
    let mac = format!("52:54:00:00:{:02x}:{:02x}", 0x10 + number / 256, number % 256);
    NODE_1.replace("node-1", &format!("node-{number}")).replace("52:54:00:00:02:01", &mac)
}

/// What content a server is started with.
#[derive(Clone)]
pub enum Content {
    /// Its own repository.
    Hosted,
    /// That one.
    Repository(PathBuf),
}

/// A site, and a server that runs until this is dropped.
pub struct Site {
    pub folder: tempfile::TempDir,
    content: Content,
    server: Option<Server>,
    ports: (u16, u16),
    /// What servers before said.
    log: String,
    /// What is done first, in a mount namespace of the server's own.
    before: Option<String>,
}

impl Site {
    /// A site with a repository of its own.
    pub fn hosted() -> Self {
        Self::new(|_| Content::Hosted)
    }

    /// A site of this content, made by whoever knows the folder.
    pub fn new(content: impl FnOnce(&Path) -> Content) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        bed::make_site(&folder.path().join("state"));
        let content = content(folder.path());
        let mut site = Self { folder, content, server: None, ports: (0, 0), log: String::new(), before: None };
        let (server, ports) = Server::on_free_ports(|ports| site.command(ports));
        (site.server, site.ports) = (Some(server), ports);
        std::fs::write(site.path("ca.pem"), site.context()["caCertificate"].as_str().expect("PEM")).expect("written");
        site
    }

    fn command(&self, ports: (u16, u16)) -> Command {
        let program = self.before.as_deref().map_or_else(|| Command::new(FORMWORK), apart);
        let mut command = Server::command(program, &self.state(), ports);
        match &self.content {
            Content::Hosted => command.arg("--hosted"),
            Content::Repository(path) => command.arg("--repository").arg(path),
        };
        command.env("FORMWORK_LOG", "debug");
        command
    }

    /// Starts the server again, where it was; whether it serves.
    pub fn serve(&mut self) -> bool {
        match Server::spawn(self.command(self.ports)) {
            Ok(server) => self.server = Some(server),
            Err(said) => self.log.push_str(&said),
        }
        self.server.is_some()
    }

    /// From the next start on the server has mounts of its own, after this was done.
    pub fn in_namespace(&mut self, before: &str) {
        self.before = Some(before.to_owned());
    }

    /// Does something in the mount namespace of the server that runs.
    pub fn beside_server(&self, script: &str) {
        let id = self.server.as_ref().expect("a server").id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--mount", "--target", &id]);
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        let said = said_of(command.args(["sh", "-c", script]));
        assert!(said.good, "{script}: {}", said.text);
    }

    /// Ends the server as a power cut would.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            self.log.push_str(&server.log());
        }
    }

    /// What the server logged.
    pub fn log(&self) -> String {
        format!("{}{}", self.log, self.server.as_ref().map(Server::log).unwrap_or_default())
    }

    /// A path beside the state directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// The hosted repository on the disk.
    pub fn repository(&self) -> PathBuf {
        self.state().join("git/site.git")
    }

    /// The API's port.
    pub fn port(&self) -> u16 {
        self.ports.1
    }

    /// The port of boot files.
    pub fn http_port(&self) -> u16 {
        self.ports.0
    }

    fn context(&self) -> serde_json::Value {
        let bytes = std::fs::read(self.state().join("administrator.json")).expect("a context");
        serde_json::from_slice(&bytes).expect("JSON")
    }

    /// The administrator's token.
    pub fn administrator(&self) -> String {
        self.context()["token"].as_str().expect("a token").to_owned()
    }

    /// The URL of the repository.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}/git/site.git", self.port())
    }

    /// Types a command.
    pub fn type_in(&self, words: &[&str]) -> Output {
        bed::type_in(&self.state(), words)
    }

    /// Adds a user; gives their token.
    pub fn user(&self, name: &str, rights: &[&str]) -> String {
        let words = [&["user", "add", name, "-o", "json"], rights].concat();
        let said = self.type_in(&words);
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
        said["token"].as_str().expect("a token").to_owned()
    }

    /// The administrator, with an empty work tree.
    pub fn person(&self) -> Person<'_> {
        Person::new(self, "administrator", &self.administrator())
    }

    /// The revision that serves.
    pub fn applied(&self) -> Option<String> {
        let said = self.type_in(&["status", "-o", "json"]);
        let said: serde_json::Value = serde_json::from_slice(&said.stdout).ok()?;
        said.pointer("/content/lastAppliedRevision")?.as_str().map(str::to_owned)
    }

    /// Waits until this revision serves.
    pub fn until_applied(&self, revision: &str) {
        until(&format!("{revision} serves"), || self.applied().as_deref() == Some(revision));
    }

    /// Quarantines that lie in the repository.
    pub fn quarantines(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.repository().join("objects")).expect("objects");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| name.starts_with("tmp_objdir") || name.starts_with("incoming")).collect()
    }

    /// What a branch of the hosted repository points to.
    pub fn branch(&self, name: &str) -> Option<String> {
        let command =
            Command::new("git").arg("-C").arg(self.repository()).args(["rev-parse", "--verify", "-q", name]).output();
        let said = command.expect("git runs");
        said.status.success().then(|| String::from_utf8_lossy(&said.stdout).trim().to_owned())
    }
}

/// The program in a mount namespace of its own, after something was done there.
pub fn apart(before: &str) -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.args(["--mount", "sh", "-c", &format!("{before} && exec \"$0\" \"$@\""), FORMWORK]);
    command
}

/// Waits for something.
pub fn until(what: &str, so: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("waited in vain: {what}");
}

/// Waits for a listener.
pub fn until_listens(port: u16) {
    until("it listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// What git printed and how it ended.
#[derive(Debug)]
pub struct Said {
    pub good: bool,
    pub text: String,
}

impl Said {
    /// The lines of the server, as the terminal shows them, without what is different each time.
    pub fn remote(&self) -> String {
        let lines = self.text.lines().filter_map(|line| line.strip_prefix("remote:"));
        lines.map(|line| line.trim_end().strip_prefix(' ').unwrap_or_default().trim_end().to_owned() + "\n").collect()
    }

    /// It was taken.
    #[track_caller]
    pub fn taken(self) -> Self {
        assert!(self.good, "refused:\n{}", self.text);
        self
    }

    /// It was refused, and says this.
    #[track_caller]
    pub fn refused(self, parts: &[&str]) -> Self {
        assert!(!self.good, "taken:\n{}", self.text);
        for part in parts {
            assert!(self.text.contains(part), "`{part}` is not in:\n{}", self.text);
        }
        self
    }
}

/// Somebody with a token and a work tree.
pub struct Person<'a> {
    site: &'a Site,
    pub folder: tempfile::TempDir,
    name: String,
    token: String,
}

impl<'a> Person<'a> {
    /// With an empty work tree that has the repository as its origin.
    pub fn new(site: &'a Site, name: &str, token: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let person = Self { site, folder, name: name.to_owned(), token: token.to_owned() };
        person.git(&["init", "-q", "-b", "main"]).taken();
        person.git(&["remote", "add", "origin", &site.url()]).taken();
        person
    }

    /// A git command in the work tree. The token comes from a credential helper, as it would from a keyring.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("git");
        // The helper reads the environment of git itself: the token is in no list of processes.
        let helper = "!f() { echo username=$PUSH_NAME; echo password=$PUSH_TOKEN; }; f";
        command
            .current_dir(self.folder.path())
            .env("PUSH_NAME", &self.name)
            .env("PUSH_TOKEN", &self.token)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("LC_ALL", "C.UTF-8")
            .env_remove("GIT_DIR")
            .env_remove("GIT_SSL_CAINFO")
            .env("no_proxy", "*")
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@localhost", "-c", "gc.auto=0"])
            .args(["-c", &format!("http.sslCAInfo={}", self.site.path("ca.pem").display())])
            .args(["-c", &format!("credential.helper={helper}")])
            .args(words)
            .stdin(Stdio::null());
        command
    }

    /// Runs it.
    pub fn git(&self, words: &[&str]) -> Said {
        said(self.command(words))
    }

    /// Writes files and commits them; gives the commit.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.folder.path().join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            std::fs::write(path, text).expect("a file");
        }
        self.git(&["add", "-A"]).taken();
        self.git(&["commit", "-q", "--allow-empty", "-m", message]).taken();
        self.head()
    }

    /// The work tree's commit.
    pub fn head(&self) -> String {
        self.git(&["rev-parse", "HEAD"]).taken().text.trim().to_owned()
    }

    /// Pushes.
    pub fn push(&self, words: &[&str]) -> Said {
        self.git(&[&["push"], words].concat())
    }

    /// The first push of a site, and what serves then.
    pub fn begin(&self) -> String {
        let revision = self.commit("The first machines", SITE);
        self.push(&["origin", "main"]).taken();
        self.site.until_applied(&revision);
        revision
    }
}

/// Runs a command to its end.
pub fn said(mut command: Command) -> Said {
    said_of(&mut command)
}

fn said_of(command: &mut Command) -> Said {
    let said = command.output().expect("it runs");
    let text = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    Said { good: said.status.success(), text }
}
