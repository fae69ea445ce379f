//! A network of its own for a test: the test starts itself again in a new network namespace, and clients live in another.

use std::process::{Child, Command, Stdio};

const INSIDE: &str = "FORMWORK_TEST_INSIDE_NAMESPACE";

/// Runs a command and gives back what it printed, both streams together. Ends at 60 seconds.
pub fn run(command: &str) -> (bool, String) {
    let output = Command::new("timeout")
        .args(["60", "sh", "-c", &format!("{command} 2>&1")])
        .stdin(Stdio::null())
        .output()
        .expect("sh runs");
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command that must succeed.
#[track_caller]
pub fn must(command: &str) -> String {
    let (good, text) = run(command);
    assert!(good, "`{command}` failed:\n{text}");
    text
}

fn unshare() -> Command {
    let root = run("id -u").1.trim() == "0";
    let mut command = Command::new("unshare");
    // As an ordinary user the namespace comes with a user namespace in which that user is root.
    command.args(if root { &["--net"][..] } else { &["--user", "--map-root-user", "--net"] });
    // Children must not outlive the test.
    command.args(["--pid", "--fork", "--kill-child", "--mount", "--mount-proc"]);
    command
}

/// Whether the programs are there and namespaces can be made. Says why not, once, in a line that can be counted.
pub fn possible(test: &str, programs: &[&str]) -> bool {
    for program in programs {
        if !run(&format!("command -v {program}")).0 {
            println!("SKIPPED {test}: there is no {program} on this machine");
            return false;
        }
    }
    let made = unshare().args(["ip", "link", "add", "fw0", "type", "veth", "peer", "name", "fw1"]).output();
    if !made.is_ok_and(|output| output.status.success()) {
        println!("SKIPPED {test}: network namespaces with veth devices cannot be made here");
        return false;
    }
    true
}

/// In the test itself: `false`, after the whole test has run once more inside a namespace. Inside it: `true`.
pub fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let me = std::env::current_exe().expect("the test's own program");
    let status = unshare()
        .arg(me)
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .status()
        .expect("unshare runs");
    assert!(status.success(), "{test} failed inside its namespace");
    false
}

/// A second namespace, for clients, alive as long as this is.
pub struct ClientNamespace(Child);

impl ClientNamespace {
    /// Makes it and moves a device there.
    pub fn with(device: &str) -> Self {
        let child = Command::new("unshare").args(["--net", "sleep", "600"]).spawn().expect("unshare runs");
        let here = must("readlink /proc/self/ns/net");
        // `unshare` needs a moment before it is in its own namespace.
        for _ in 0..100 {
            let (good, there) = run(&format!("readlink /proc/{}/ns/net", child.id()));
            if good && there != here {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        must(&format!("ip link set {device} netns {}", child.id()));
        let namespace = Self(child);
        namespace.must(&format!("ip link set lo up && ip link set {device} up"));
        namespace
    }

    /// A process in it.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Runs a command in it.
    pub fn run(&self, command: &str) -> (bool, String) {
        run(&format!("nsenter --net=/proc/{}/ns/net sh -c '{command}'", self.0.id()))
    }

    /// Runs a command in it that must succeed.
    #[track_caller]
    pub fn must(&self, command: &str) -> String {
        let (good, text) = self.run(command);
        assert!(good, "`{command}` failed in the client's namespace:\n{text}");
        text
    }
}

impl Drop for ClientNamespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
