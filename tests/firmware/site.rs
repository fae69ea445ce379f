//! A site under test: a lab namespace, a Git repository, the real server, real machines in QEMU.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The longest that anything here is waited for; emulated machines are slow, and a busy host makes them slower.
const PATIENCE: Duration = Duration::from_secs(300);

/// A site: everything of it ends when it is dropped.
pub struct Site {
    pub folder: tempfile::TempDir,
    images: PathBuf,
    server: Option<Child>,
    port: u16,
}

fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The image folder, where it was built; `None`: the test says SKIPPED.
pub fn images() -> Option<PathBuf> {
    let folder = std::env::var_os("FORMWORK_IMAGES").map_or_else(|| top().join("cache/images"), PathBuf::from);
    let built = ["discovery/initrd.zst", "images/debian-etcd.json", "loaders/snponly.efi"];
    built.iter().all(|file| folder.join(file).exists()).then_some(folder)
}

fn done(mut command: Command) -> Output {
    let output = command.output().expect("the command starts");
    assert!(
        output.status.success(),
        "{command:?} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

impl Site {
    /// A lab and a repository with these files; no server yet.
    pub fn new(images: PathBuf, files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let site = Self { folder, images, server: None, port };
        done(site.git(&["init", "--quiet", "--bare", "--initial-branch", "main", "site.git"]));
        done(site.git(&["clone", "--quiet", "site.git", "site"]));
        site.commit("first", files);
        done(site.lab(&["up"]));
        site
    }

    fn git(&self, words: &[&str]) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.folder.path()).args(words);
        for (name, value) in [
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_SYSTEM", "/dev/null"),
            ("GIT_AUTHOR_NAME", "test"),
            ("GIT_AUTHOR_EMAIL", "test@formwork.example"),
            ("GIT_COMMITTER_NAME", "test"),
            ("GIT_COMMITTER_EMAIL", "test@formwork.example"),
        ] {
            command.env(name, value);
        }
        command
    }

    /// Writes files (an empty text removes one), commits and pushes.
    pub fn commit(&self, message: &str, files: &[(&str, &str)]) {
        let work = self.folder.path().join("site");
        for (path, text) in files {
            let path = work.join(path);
            if text.is_empty() {
                std::fs::remove_file(path).expect("the file was there");
            } else {
                std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
                std::fs::write(path, text).expect("the file");
            }
        }
        done(self.git(&["-C", "site", "add", "--all"]));
        done(self.git(&["-C", "site", "commit", "--quiet", "--message", message]));
        done(self.git(&["-C", "site", "push", "--quiet", "origin", "HEAD:main"]));
    }

    pub fn lab(&self, words: &[&str]) -> Command {
        let mut command = Command::new(top().join("scripts/lab"));
        command.args(words).arg("--state").arg(self.folder.path().join("lab"));
        command
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn formwork(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
        command.args(words).env("FORMWORK_CONTEXT", self.state().join("administrator.json"));
        command
    }

    /// `formwork site create`.
    pub fn create(&self, fresh: bool) {
        let mut command = self.formwork(&["site", "create", "test"]);
        command.arg("--state-dir").arg(self.state());
        if fresh {
            command.arg("--fresh");
        }
        done(command);
    }

    /// Starts the server and waits until the newest commit serves.
    pub fn serve(&mut self) {
        let repository = self.folder.path().join("site.git").display().to_string();
        self.serve_from(&["--repository", &repository], &[]);
    }

    /// The same with content from where these words say, and with this environment.
    pub fn serve_from(&mut self, source: &[&str], environment: &[(&str, &Path)]) {
        let holder = std::fs::read_to_string(self.folder.path().join("lab/holder.pid")).expect("the lab's holder");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("serve.log"))
            .expect("a log");
        let mut command = self.formwork(&["serve", "--address", "10.77.0.1", "--interface", "br0"]);
        command
            .args(["--enter", holder.trim(), "--api-listen", &format!("127.0.0.1:{}", self.port)])
            .arg("--state-dir")
            .arg(self.state())
            .args(source)
            .envs(environment.iter().copied())
            .arg("--images")
            .arg(&self.images)
            .stdout(Stdio::null())
            .stderr(log);
        self.server = Some(command.spawn().expect("the server starts"));
        self.until("the server serves", |site| {
            let status = site.json(&["status"])?;
            (status["content"]["condition"] == "Ready").then_some(())
        });
    }

    /// kill -9.
    pub fn kill_server(&mut self) {
        let mut server = self.server.take().expect("a server runs");
        server.kill().expect("it is killed");
        server.wait().expect("it is gone");
    }

    /// A command's JSON; `None` where it printed none.
    pub fn json(&self, words: &[&str]) -> Option<Value> {
        let mut command = self.formwork(words);
        serde_json::from_slice(&command.args(["-o", "json"]).output().ok()?.stdout).ok()
    }

    /// Powers a BIOS machine on, the network first in its boot order.
    pub fn power_on(&self, name: &str, mac: &str) {
        self.start(&["machine", "start", name, "--mac", mac, "--firmware", "bios"]);
    }

    /// Powers a UEFI machine on whose boot order is its own: nobody tells the firmware to begin with the network.
    pub fn power_on_uefi(&self, name: &str, mac: &str) {
        self.start(&["machine", "start", name, "--mac", mac, "--firmware", "uefi", "--boot-order", "firmware"]);
    }

    fn start(&self, words: &[&str]) {
        let mut command = self.lab(words);
        // What QEMU inherits must not be a pipe of ours: it lives on.
        assert!(command.stdout(Stdio::null()).status().expect("the lab").success(), "{words:?}");
    }

    pub fn power_cut(&self, name: &str) {
        done(self.lab(&["machine", "kill", name]));
    }

    /// The reset button.
    pub fn reset(&self, name: &str) {
        done(self.lab(&["machine", "reset", name]));
    }

    /// The server's last words, and those of each machine on its console.
    pub fn words(&self) -> String {
        let tail = |path: PathBuf| {
            let bytes = std::fs::read(&path).unwrap_or_default();
            let text = String::from_utf8_lossy(&bytes).into_owned();
            let lines: Vec<&str> = text.lines().collect();
            format!("{}:\n{}\n", path.display(), lines[lines.len().saturating_sub(25)..].join("\n"))
        };
        let machines = std::fs::read_dir(self.folder.path().join("lab/machines")).into_iter().flatten().flatten();
        let consoles = machines.map(|machine| machine.path().join("console.log")).filter(|console| console.exists());
        std::iter::once(self.folder.path().join("serve.log")).chain(consoles).map(tail).collect()
    }

    /// What the server says of a machine.
    pub fn machine(&self, name: &str) -> Value {
        self.json(&["get", "machines", name]).map_or(Value::Null, |answer| match answer {
            Value::Array(items) => items.into_iter().next().unwrap_or(Value::Null),
            Value::Object(ref object) if object.contains_key("items") => answer["items"][0].clone(),
            other => other,
        })
    }

    /// All events of a machine, oldest first.
    pub fn events(&self, name: &str) -> Vec<Value> {
        let output = self.formwork(&["events", "--machine", name, "-o", "json"]).output().expect("events");
        String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// All events of the site, oldest first.
    pub fn all_events(&self) -> Vec<Value> {
        let output = self.formwork(&["events", "-o", "json"]).output().expect("events");
        String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// How many events of a type a machine has.
    pub fn count(&self, name: &str, kind: &str) -> usize {
        self.events(name).iter().filter(|record| record["event"]["type"] == kind).count()
    }

    /// Waits until `is` gives something.
    pub fn until<T>(&self, what: &str, is: impl Fn(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(value) = is(self) {
                return value;
            }
            if began.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.folder.path().join("serve.log")).unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(25).collect();
                panic!("not within {PATIENCE:?}: {what}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// Waits until a machine is in a phase; what it then waits for.
    pub fn until_phase(&self, name: &str, phase: &str) -> String {
        self.until(&format!("{name} is {phase}"), |site| {
            let machine = site.machine(name);
            (machine["phase"] == phase).then(|| machine["waitsFor"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// What its task wrote in its newest job.
    pub fn log(&self, name: &str, task: &str) -> String {
        let output = self.formwork(&["logs", name, "--task", task]).output().expect("logs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Waits until a machine runs that task.
    pub fn until_task(&self, name: &str, task: &str) {
        self.until(&format!("{name} runs {task}"), |site| {
            let machine = site.machine(name);
            (machine["phase"] == "working" && machine["task"]["name"] == task).then_some(())
        });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut server) = self.server.take() {
            let _ = server.kill();
            let _ = server.wait();
        }
        let _ = self.lab(&["down"]).output();
    }
}
