//! `formwork serve --kubernetes` as a process, allowed what `docs/kubernetes.md` says and no more; and a repository for it.

use super::cluster::{Cluster, PATIENCE, SERVER};
use serde_json::Value;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Instant;

/// One site and its server, which ends with it.
pub struct Server {
    folder: tempfile::TempDir,
    child: Option<Child>,
    http: u16,
    api: u16,
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

fn git(folder: &Path, words: &[&str]) -> String {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "protocol.file.allow=always"])
        .args(words)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A machine's declaration.
pub fn machine(name: &str, number: u8, rest: &str) -> String {
    format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: {name}, labels: {{rack: \"1\"}}}}\n\
         spec: {{match: {{macs: [\"52:54:00:00:00:{number:02x}\"]}}, workflow: hardware.inventory{rest}}}\n"
    )
}

/// A source that follows the site's repository: `rest` is more of its spec.
pub fn source(name: &str, server: &Server, rest: &str) -> String {
    let url = server.path("site.git").display().to_string();
    format!(
        "{{apiVersion: formwork.dev/v1alpha1, kind: ContentSource, metadata: {{name: {name}}}, spec: {{url: '{url}'{rest}}}}}"
    )
}

impl Server {
    /// A site whose repository declares one machine, `a`; the kubeconfig of who may do what the book says. Not started.
    pub fn new(cluster: &Cluster) -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "site.git"]);
        git(folder.path(), &["clone", "-q", "site.git", "work"]);
        let server = Self { folder, child: None, http: free_port(), api: free_port() };
        let made = server.type_in(&["site", "create", "lab", "--fresh", "--state-dir", "state"]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.write(
            "site.yaml",
            "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\n\
             spec: {packs: [{builtin: discovery}, {builtin: hardware}]}\n",
        );
        server.write("machines/a.yaml", &machine("a", 1, ""));
        server.push("begin");
        allow(cluster);
        std::fs::write(server.path("kubeconfig"), cluster.kubeconfig(SERVER, "default")).unwrap();
        server
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path("work").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    pub fn remove(&self, path: &str) {
        std::fs::remove_file(self.path("work").join(path)).unwrap();
    }

    /// Commits all there is and pushes: its id.
    pub fn push(&self, message: &str) -> String {
        self.push_to("main", message)
    }

    /// The same to another branch.
    pub fn push_to(&self, branch: &str, message: &str) -> String {
        git(&self.path("work"), &["add", "-A"]);
        git(&self.path("work"), &["commit", "-q", "--allow-empty", "-m", message]);
        git(&self.path("work"), &["push", "-q", "origin", &format!("HEAD:{branch}")]);
        git(&self.path("work"), &["rev-parse", "HEAD"])
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
        command.current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("FORMWORK_CONTEXT", self.path("state/administrator.json"));
        command.env("KUBECONFIG", self.path("kubeconfig")).env("HOME", self.folder.path());
        command
    }

    /// Types a command.
    pub fn type_in(&self, words: &[&str]) -> Output {
        self.command().args(words).output().unwrap()
    }

    fn serve(&self, words: &[&str]) -> Command {
        let mut command = self.command();
        command.args([
            "serve",
            "--kubernetes",
            "--address",
            "127.0.0.1",
            "--no-dhcp",
            "--no-tftp",
            "--state-dir",
            "state",
        ]);
        command.args(["--http-port", &self.http.to_string(), "--api-port", &self.api.to_string()]);
        command.args(words).env("FORMWORK_LOG", "info");
        command
    }

    /// Types `formwork serve --kubernetes`, which is to end by itself: its exit code and what it says.
    pub fn ends(&self, words: &[&str], kubeconfig: &Path) -> (i32, String) {
        let output = self.serve(words).env("KUBECONFIG", kubeconfig).output().unwrap();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts the server and waits until it answers.
    pub fn start(&mut self, words: &[&str]) {
        // A free port may be taken by another test before we have it: then others are tried.
        for _ in 0..10 {
            let log = std::fs::File::options().create(true).append(true).open(self.path("serve.log")).unwrap();
            let child = self.serve(words).stdout(Stdio::null()).stderr(log).spawn().unwrap();
            let child = self.child.insert(child);
            let began = Instant::now();
            loop {
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                if [self.http, self.api].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()) {
                    return;
                }
                assert!(began.elapsed() < PATIENCE, "the server does not answer\n{}", self.said());
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            (self.http, self.api) = (free_port(), free_port());
        }
        panic!("the server does not start\n{}", self.said());
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub const fn http_port(&self) -> u16 {
        self.http
    }

    /// The last of what the server said.
    pub fn said(&self) -> String {
        let log = std::fs::read_to_string(self.path("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// How content stands, by the server's own API.
    pub fn content(&self) -> Value {
        let output = self.type_in(&["status", "-o", "json"]);
        let mut status: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}\n{}\n{}", String::from_utf8_lossy(&output.stderr), self.said()));
        status["content"].take()
    }

    /// Waits until the server's own API says so.
    pub fn until(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let content = self.content();
            if so(&content) {
                return content;
            }
            assert!(began.elapsed() < PATIENCE, "{what}:\n{content:#}\n{}", self.said());
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The Role that the book shows, for the user of the test in place of a service account.
fn allow(cluster: &Cluster) {
    let book = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kubernetes.md")).unwrap();
    let blocks =
        book.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("yaml file=kubernetes/role.yaml\n"));
    let role = blocks.filter(|block| block.contains("\nkind: Role\n")).collect::<Vec<_>>();
    assert_eq!(role.len(), 1, "the book shows one Role");
    cluster.apply(role[0]);
    cluster.apply(
        "{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: formwork-of-the-test}, \
         roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: formwork}, \
         subjects: [{kind: User, name: formwork, apiGroup: rbac.authorization.k8s.io}]}",
    );
}
