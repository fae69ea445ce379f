//! The agent's program against a server over real TLS that loses replies, breaks off, and is not there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "it is how a test fails")]

mod jobs;
mod scripts;
mod server;

use formwork::wire::BootFileKind;
use server::Server;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Long enough for a machine with other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// An agent in a folder of its own. It is ended with the test.
struct Agent {
    dir: tempfile::TempDir,
    child: Child,
}

impl Agent {
    fn start(server: &Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = serde_json::to_vec(&server.boot_file(BootFileKind::Boot)).unwrap();
        std::fs::write(dir.path().join("boot.json"), text).unwrap();
        let child = Self::spawn(&dir);
        Self { dir, child }
    }

    fn spawn(dir: &tempfile::TempDir) -> Child {
        let log = std::fs::File::options().create(true).append(true).open(dir.path().join("console")).unwrap();
        Command::new(env!("CARGO_BIN_EXE_formwork-agent"))
            .args(["run", "--no-clock", "--boot-file"])
            .arg(dir.path().join("boot.json"))
            .arg("--run-dir")
            .arg(dir.path().join("run"))
            .arg("--state-dir")
            .arg(dir.path().join("state"))
            .arg("--reboot-command")
            .arg(format!("echo reboot >>{}", dir.path().join("power").display()))
            .arg("--poweroff-command")
            .arg(format!("echo poweroff >>{}", dir.path().join("power").display()))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    /// `kill -9`, and another agent in its place.
    fn restart(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.child = Self::spawn(&self.dir);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn console(&self) -> String {
        std::fs::read_to_string(self.path("console")).unwrap_or_default()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- the agent said:\n{}", self.console());
        }
    }
}

fn is_alive(pid: &str) -> bool {
    // A zombie of a killed agent's child waits for init only.
    std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
        .is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}
