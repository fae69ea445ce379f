//! Over SSH, with OpenSSH's own server.

use crate::repository::{Following, Repository, closed_file, source};
use formwork::git::remote::{Credentials, SourceSettings};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SSHD: &str = "/usr/sbin/sshd";

/// An `sshd` of its own: port, host key, who may log in.
struct Sshd {
    folder: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn make_key(path: &Path) {
    let made =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-C", "test", "-f"]).arg(path).status();
    assert!(made.expect("ssh-keygen runs").success());
}

fn user() -> String {
    let output = Command::new("id").arg("-un").output().expect("id runs");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

impl Sshd {
    /// `None`: there is no sshd on this machine.
    fn start() -> Option<Self> {
        if !Path::new(SSHD).exists() {
            println!("SKIPPED: there is no {SSHD} (package openssh-server)");
            return None;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        for key in ["host", "other-host", "client", "stranger"] {
            make_key(&at(key));
        }
        std::fs::copy(at("client.pub"), at("authorized")).expect("copied");
        // Where root starts it, it wants this folder for its unprivileged half.
        let _ = std::fs::create_dir_all("/run/sshd");
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\nPidFile none\n",
                at("host").display(),
                at("authorized").display(),
            );
            std::fs::write(at("config"), config).expect("written");
            let log = std::fs::File::create(at("log")).expect("a log");
            let mut child = Command::new(SSHD)
                .args(["-D", "-e", "-f"])
                .arg(at("config"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(log)
                .spawn()
                .expect("sshd starts");
            let end = Instant::now() + Duration::from_secs(30);
            while Instant::now() < end && child.try_wait().expect("asked").is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(Self { folder, port, child });
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("sshd does not start: {}", std::fs::read_to_string(at("log")).unwrap_or_default());
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn known_hosts(&self, key: &str) -> PathBuf {
        let public = std::fs::read_to_string(self.at(&format!("{key}.pub"))).expect("a key");
        let path = self.at(&format!("known-{key}"));
        std::fs::write(&path, format!("[127.0.0.1]:{} {public}", self.port)).expect("written");
        path
    }

    fn source(&self, repository: &Repository, key: &str, known_hosts_file: PathBuf) -> SourceSettings {
        let url = format!("ssh://{}@127.0.0.1:{}{}", user(), self.port, repository.bare().display());
        let mut settings = source("site", &url);
        settings.credentials = Credentials::Ssh { key_file: Some(self.at(key)), known_hosts_file };
        settings
    }
}

#[tokio::test]
async fn a_branch_is_followed_over_ssh_with_a_key_and_a_known_host() {
    let Some(sshd) = Sshd::start() else { return };
    let repository = Repository::new();
    for n in 0..10 {
        repository.commit(&format!("before {n}"), &[("n", &n.to_string())]);
    }
    let first = repository.push("first", &[("site.yaml", "one")]);
    let settings = sshd.source(&repository, "client", sshd.known_hosts("host"));
    let following = Following::start(vec![settings], &repository.folder.path().join("state"));
    following.until_head(&first).await;
    assert_eq!(following.text(&first, "site.yaml").await, "one");
    let room = following.state.join("remotes/site.git");
    assert_eq!(crate::repository::git(&room, &["rev-list", "--count", "refs/formwork/head"]), "1");
    for n in 0..5 {
        repository.commit(&format!("more {n}"), &[("n", &format!("more {n}"))]);
    }
    let second = repository.push("second", &[("site.yaml", "two")]);
    following.until_head(&second).await;
    assert_eq!(following.text(&second, "site.yaml").await, "two");
    assert_eq!(following.news(), []);
}

#[tokio::test]
async fn a_host_with_another_key_or_none_that_is_known_is_refused_and_so_is_a_strange_key_of_ours() {
    let Some(sshd) = Sshd::start() else { return };
    let repository = Repository::new();
    repository.push("first", &[("site.yaml", "one")]);
    let empty = closed_file(sshd.folder.path(), "known-none", "");
    let open = sshd.at("open-key");
    std::fs::copy(sshd.at("client"), &open).expect("copied");
    std::fs::set_permissions(&open, std::os::unix::fs::PermissionsExt::from_mode(0o644)).expect("opened");
    for (what, key, known, expected) in [
        ("other-host", "client", sshd.known_hosts("other-host"), "somebody stands between"),
        ("unknown-host", "client", empty, "not in known_hosts"),
        ("strange-key", "stranger", sshd.known_hosts("host"), "does not take the key"),
        ("open-key", "open-key", sshd.known_hosts("host"), "chmod 600"),
    ] {
        let settings = sshd.source(&repository, key, known);
        let following = Following::start(vec![settings], &repository.folder.path().join(what));
        let said = following.until_failure().await;
        assert!(said.contains(expected), "{what}: {said}");
        assert!(!following.state.join("remotes/site.git").exists(), "{what}: something was fetched");
    }
    let mut settings = sshd.source(&repository, "client", sshd.known_hosts("host"));
    settings.location =
        formwork::git::remote::Location::parse(&format!("ssh://{}@127.0.0.1:{}/no/such.git", user(), sshd.port))
            .expect("a URL");
    let following = Following::start(vec![settings], &repository.folder.path().join("nowhere"));
    let said = following.until_failure().await;
    assert!(said.contains("no such repository"), "{said}");
}

#[test]
fn a_repository_named_on_the_command_line_is_followed_with_a_key() {
    let Some(sshd) = Sshd::start() else { return };
    let repository = Repository::new();
    let first = repository.push("first", &[("site.yaml", crate::several::SITE)]);
    let url = format!("ssh://{}@127.0.0.1:{}{}", user(), sshd.port, repository.bare().display());
    let (key, hosts) = (sshd.at("client"), sshd.known_hosts("host"));
    let folder = tempfile::tempdir().unwrap();
    let words = ["--repository", &url, "--branch", "main", "--key-file", key.to_str().unwrap(), "--known-hosts"];
    let site = crate::site::Site::start(folder.path(), &[&words[..], &[hosts.to_str().unwrap()]].concat());
    site.until("it is followed", |status| {
        status["content"]["condition"] == "Ready" && status["content"]["lastAppliedRevision"] == *first
    });
}
