//! A site of its own: a state directory, a server, and a way to type commands at it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The program.
pub const FORMWORK: &str = env!("CARGO_BIN_EXE_formwork");

/// The example that has every kind.
pub fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/every-kind")
}

/// A server that runs until this is dropped.
pub struct Site {
    folder: tempfile::TempDir,
    server: Child,
    http_port: u16,
    metrics_port: u16,
}

/// Ports that were free a moment ago.
fn free_ports() -> [u16; 3] {
    let open = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    open.map(|listener| listener.local_addr().expect("an address").port())
}

impl Site {
    /// Makes a site and serves the example from a plain directory.
    pub fn start() -> Self {
        Self::serving("--dir", &example())
    }

    /// Makes a site and serves what is there: `--dir` or `--repository`.
    pub fn serving(kind: &str, source: &Path) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let images = folder.path().join("images");
        std::fs::create_dir_all(images.join("loaders")).expect("made");
        // What the example boots.
        std::fs::create_dir_all(images.join("discovery")).expect("made");
        for name in ["discovery/vmlinuz", "discovery/initrd.zst"] {
            std::fs::write(images.join(name), "anything").expect("written");
        }
        let state = folder.path().join("state");
        let made = Command::new(FORMWORK)
            .args(["site", "create", "every-kind", "--fresh", "--state-dir"])
            .arg(&state)
            .output()
            .expect("formwork starts");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        // A free port may be taken by another test before we have it: then others are tried.
        for _ in 0..10 {
            let [http_port, api_port, metrics_port] = free_ports();
            let mut server = Command::new(FORMWORK)
                .args(["serve", "--no-dhcp", "--no-tftp", "--address", "127.0.0.1", "--images"])
                .arg(&images)
                .arg("--state-dir")
                .arg(&state)
                .arg(kind)
                .arg(source)
                .args(["--http-port", &http_port.to_string(), "--api-port", &api_port.to_string()])
                .args(["--metrics", &format!("127.0.0.1:{metrics_port}")])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("formwork starts");
            let mut lines = BufReader::new(server.stderr.take().expect("its errors")).lines();
            let serves = lines.by_ref().map_while(Result::ok).any(|line| line.contains("serving"));
            // What it says later is read, so that it never waits for a reader.
            std::thread::spawn(move || lines.for_each(drop));
            if serves {
                let site = Self { folder, server, http_port, metrics_port };
                site.wait_until_applied();
                return site;
            }
            let _ = server.wait();
        }
        panic!("no server could be started");
    }

    fn wait_until_applied(&self) {
        let end = Instant::now() + Duration::from_secs(120);
        while Instant::now() < end {
            // The store has a condition of its own: that of content is meant.
            let status = self.type_in(&["status", "-o", "json"]);
            let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            if status["content"]["condition"] == "Ready" {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the example was not applied: {:?}", self.type_in(&["status", "-o", "json"]));
    }

    /// Waits until the status has these words.
    pub fn wait_for(&self, words: &str) -> String {
        let end = Instant::now() + Duration::from_secs(120);
        let mut said = String::new();
        while Instant::now() < end {
            let status = self.type_in(&["status", "-o", "json"]);
            said = String::from_utf8_lossy(&status.stdout).into_owned();
            if said.contains(words) {
                return said;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("the status never said {words}: {said}");
    }

    /// Waits for something.
    pub fn wait_until(&self, what: &str, so: impl Fn() -> bool) {
        let end = Instant::now() + Duration::from_secs(120);
        while !so() {
            assert!(Instant::now() < end, "never: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The image folder.
    pub fn images(&self) -> PathBuf {
        self.folder.path().join("images")
    }

    /// The context file.
    pub fn context(&self) -> PathBuf {
        self.folder.path().join("state/administrator.json")
    }

    /// A command that finds the server.
    pub fn command(&self) -> Command {
        let mut command = Command::new(FORMWORK);
        command.env("FORMWORK_CONTEXT", self.context()).env_remove("NO_COLOR").stdin(Stdio::null());
        command
    }

    /// Types a command.
    pub fn type_in(&self, words: &[&str]) -> Output {
        self.command().args(words).output().expect("formwork starts")
    }

    /// A machine's firmware asks what to boot.
    pub fn firmware_asks(&self, mac: &str) -> String {
        self.boot_server_gives(&format!("/boot/script?mac={}&arch=x86_64&platform=efi", mac.replace(':', "-")))
    }

    /// What the boot server answers to a `GET`, head and body.
    pub fn boot_server_gives(&self, path: &str) -> String {
        gives(self.http_port, path, "*/*")
    }

    /// What is told at the listener for metrics, head and body.
    pub fn metrics_give(&self, path: &str, accept: &str) -> String {
        gives(self.metrics_port, path, accept)
    }
}

/// What is answered to a `GET` at a port of this host, head and body.
fn gives(port: u16, path: &str, accept: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nAccept: {accept}\r\nConnection: close\r\n\r\n").expect("written");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
