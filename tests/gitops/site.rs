//! A site that follows a repository: real `git` clients, a bare repository, the real server as a process that can be killed.

pub use super::bed::PATIENCE;
use super::bed::{self, FORMWORK, Server};
use serde_json::Value;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// One site; its server ends with it.
pub struct Site {
    folder: tempfile::TempDir,
    server: Option<Server>,
    /// Said in the server's mount namespace before it starts; none: it has none.
    before: Option<String>,
    branch: String,
    http: u16,
}

/// `git` as anybody has it: no configuration of this computer.
pub fn try_git(folder: &Path, words: &[&str]) -> Output {
    Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "protocol.file.allow=always"])
        .args(["-c", "gc.auto=0", "-c", "receive.autogc=false"])
        .args(words)
        .env_remove("GIT_DIR")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .output()
        .expect("git runs")
}

/// The same; what does not succeed ends the test.
pub fn git(folder: &Path, words: &[&str]) -> String {
    let output = try_git(folder, words);
    assert!(output.status.success(), "git {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// A machine's declaration.
pub fn machine(name: &str, number: u32, label: &str) -> String {
    format!(
        "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: {name}, labels: {{n: \"{label}\"}}}}\n\
         spec: {{match: {{macs: [\"52:54:00:00:{:02x}:{:02x}\"]}}, workflow: hardware.inventory}}\n",
        number / 256,
        number % 256
    )
}

/// What is a finding wherever it stands.
pub const BROKEN: &str = "apiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {name: broken}\n\
     spec: {match: {macs: [\"52:54:00:00:ff:01\"]}, nonsense: 1}\n";

impl Site {
    /// A site with two machines, `a` and `b`, both labelled `n: "0"`, pushed; no server yet.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        git(folder.path(), &["init", "-q", "--bare", "-b", "main", "site.git"]);
        git(folder.path(), &["clone", "-q", "site.git", "work"]);
        std::fs::create_dir(folder.path().join("images")).unwrap();
        let site = Self { folder, server: None, before: None, branch: "main".to_owned(), http: 0 };
        bed::make_site(&site.path("state"));
        site.write(
            "site.yaml",
            "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: gitops}\n\
             spec: {packs: [{builtin: discovery}, {builtin: hardware}]}\n",
        );
        site.label("0");
        git(&site.work(), &["checkout", "-q", "-B", "main"]);
        site.push("begin");
        site
    }

    /// The same with its server, once the first revision serves.
    pub fn started() -> Self {
        let mut site = Self::new();
        site.start();
        let head = site.head();
        site.applied(&head);
        site
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The work tree that is pushed from.
    pub fn work(&self) -> PathBuf {
        self.path("work")
    }

    /// The repository that is followed.
    pub fn bare(&self) -> PathBuf {
        self.path("site.git")
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.work().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Both machines carry this label: whoever sees two different ones sees a mix of two revisions.
    pub fn label(&self, label: &str) {
        self.write("machines/a.yaml", &machine("a", 1, label));
        self.write("machines/b.yaml", &machine("b", 2, label));
    }

    /// Commits all there is: its id.
    pub fn commit(&self, message: &str) -> String {
        git(&self.work(), &["add", "-A"]);
        git(&self.work(), &["commit", "-q", "--allow-empty", "-m", message]);
        self.head()
    }

    /// Commits and pushes: its id.
    pub fn push(&self, message: &str) -> String {
        let id = self.commit(message);
        git(&self.work(), &["push", "-q", "origin", "HEAD:main"]);
        id
    }

    /// A good one with this label, pushed.
    pub fn push_label(&self, label: &str) -> String {
        self.label(label);
        let _ = std::fs::remove_file(self.work().join("machines/broken.yaml"));
        self.push(&format!("label {label}"))
    }

    /// A broken one, pushed.
    pub fn push_broken(&self, message: &str) -> String {
        self.write("machines/broken.yaml", BROKEN);
        self.push(message)
    }

    /// The work tree's commit.
    pub fn head(&self) -> String {
        git(&self.work(), &["rev-parse", "HEAD"])
    }

    /// Types a command.
    pub fn type_in(&self, words: &[&str]) -> Output {
        bed::type_in(&self.path("state"), words)
    }

    /// Types a command, and gives its exit code and all it printed.
    pub fn ends(&self, words: &[&str]) -> (i32, String) {
        let output = self.type_in(words);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
    }

    /// From the next start on, the server is in a mount namespace after these commands.
    pub fn in_namespace(&mut self, before: &str) {
        self.before = Some(before.to_owned());
    }

    /// From the next start on, another branch is followed.
    pub fn follow(&mut self, branch: &str) {
        self.branch = branch.to_owned();
    }

    /// Starts the server and waits until it serves.
    pub fn start(&mut self) {
        let (server, (http, _)) = Server::on_free_ports(|ports| self.serve(ports));
        (self.server, self.http) = (Some(server), http);
    }

    fn serve(&self, ports: (u16, u16)) -> Command {
        let program = match &self.before {
            None => Command::new(FORMWORK),
            Some(before) => {
                let mut command = namespace();
                let script = format!("{before}\nexec \"$@\"");
                command.args(["sh", "-ec", &script, "sh", FORMWORK]);
                command
            }
        };
        let mut command = Server::command(program, Path::new("state"), ports);
        command.current_dir(self.folder.path()).env("FORMWORK_LOG", "info");
        command.args(["--repository", "site.git", "--branch", &self.branch, "--images", "images"]);
        command
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.server = None;
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.server.as_ref().unwrap().id()
    }

    /// The last of what the server said.
    pub fn said(&self) -> String {
        let log = self.server.as_ref().map(Server::log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// An answer as JSON, whatever the exit code.
    pub fn json(&self, words: &[&str]) -> Value {
        let output = self.type_in(&[words, &["-o", "json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            panic!("{words:?}: {error}\n{}\n{}", String::from_utf8_lossy(&output.stderr), self.said())
        })
    }

    /// How content stands.
    pub fn content(&self) -> Value {
        self.json(&["status"])["content"].take()
    }

    /// Waits until the status says so.
    pub fn until(&self, what: &str, so: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let content = self.content();
            if so(&content) {
                return content;
            }
            assert!(began.elapsed() < PATIENCE, "{what}:\n{content:#}\n{}", self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until this revision serves and nothing goes on.
    pub fn applied(&self, id: &str) -> Value {
        self.until(&format!("{id} is applied"), |content| {
            content["lastAppliedRevision"] == id && content["condition"] == "Ready"
        })
    }

    /// Waits until this revision was attempted to its end: the status then.
    pub fn attempted(&self, id: &str) -> Value {
        self.until(&format!("{id} is attempted"), |content| {
            content["lastAttemptedRevision"] == id && content["loadingRevision"].is_null()
        })
    }

    /// The label that machines are served with: of all of them the same, or it is a mix of revisions.
    pub fn serves_label(&self) -> String {
        self.serves().1
    }

    /// The revision that serves and the label of it.
    pub fn serves(&self) -> (String, String) {
        let list = self.json(&["get", "machines"]);
        let items = list["items"].as_array().unwrap();
        let declared = items.iter().filter(|item| item["source"] == "git");
        let mut labels: Vec<&str> = declared.filter_map(|item| item["labels"]["n"].as_str()).collect();
        labels.dedup();
        assert_eq!(labels.len(), 1, "a mix of revisions serves: {list:#}");
        (list["revision"].as_str().unwrap().to_owned(), labels[0].to_owned())
    }

    /// What was written down about revisions, oldest first: the outcome and the revision.
    pub fn history(&self) -> Vec<(String, String)> {
        let list = self.json(&["history", "-n", "1000"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let rows = list["items"].as_array().unwrap();
        rows.iter().map(|row| (text(&row["outcome"]), text(&row["revision"]))).collect()
    }

    /// A box's firmware asks what to boot.
    pub fn firmware_asks(&self, mac: &str) -> String {
        use std::io::{Read as _, Write as _};
        let mut stream = TcpStream::connect(("127.0.0.1", self.http)).unwrap();
        let path = format!("/boot/script?mac={}&arch=x86_64&platform=efi", mac.replace(':', "-"));
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

/// A mount namespace; of an ordinary user, inside a user namespace.
fn namespace() -> Command {
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.args(["--user", "--map-root-user"]);
    }
    command.arg("--mount");
    command
}

/// Whether namespaces with a disk of their own can be made. Says why not, in a line that can be counted.
pub fn disks_possible(test: &str) -> bool {
    let made = namespace().args(["mount", "-t", "tmpfs", "tmpfs", "/mnt"]).output();
    let possible = made.is_ok_and(|output| output.status.success());
    if !possible {
        println!("SKIPPED {test}: mount namespaces cannot be made here");
    }
    possible
}
