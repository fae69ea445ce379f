//! A plain bare repository that people reach by a real sshd, with our hooks.

use super::site::{Content, FORMWORK, NODE_1, Person, SITE, Said, Site, free_ports, node, said, until_listens};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// An sshd of this test alone, as the user who runs it.
struct Sshd {
    server: Child,
    port: u16,
    folder: PathBuf,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Sshd {
    /// `None` where there is no sshd.
    fn start(folder: &Path) -> Option<Self> {
        let program = Path::new("/usr/sbin/sshd");
        if !program.exists() {
            println!("SKIPPED: there is no /usr/sbin/sshd; install openssh-server");
            return None;
        }
        let key = |name: &str| {
            let path = folder.join(name);
            let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&path).status();
            assert!(made.expect("ssh-keygen runs").success());
            path
        };
        let (host, user) = (key("host"), key("user"));
        std::fs::copy(folder.join("user.pub"), folder.join("authorized_keys")).unwrap();
        let _ = user;
        // sshd run by root wants its folder for separated privileges.
        let _ = std::fs::create_dir_all("/run/sshd");
        for _ in 0..20 {
            let port = free_ports().0;
            let config = format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
                 PidFile none\nPasswordAuthentication no\nPermitRootLogin yes\n",
                host.display(),
                folder.join("authorized_keys").display()
            );
            std::fs::write(folder.join("sshd_config"), config).unwrap();
            let mut server = Command::new(program)
                .args(["-D", "-e", "-f"])
                .arg(folder.join("sshd_config"))
                .stderr(Stdio::null())
                .spawn()
                .expect("sshd starts");
            std::thread::sleep(std::time::Duration::from_millis(300));
            if server.try_wait().unwrap().is_none() {
                until_listens(port);
                let text = std::fs::read_to_string(folder.join("host.pub")).unwrap();
                let words: Vec<&str> = text.split(' ').take(2).collect();
                std::fs::write(folder.join("known_hosts"), format!("[127.0.0.1]:{port} {}\n", words.join(" ")))
                    .unwrap();
                return Some(Self { server, port, folder: folder.to_owned() });
            }
        }
        panic!("no sshd could be started");
    }

    fn push(&self, person: &Person<'_>, repository: &Path, words: &[&str]) -> Said {
        let folder = self.folder.display();
        let ssh = format!(
            "ssh -F none -p {} -i {folder}/user -o IdentitiesOnly=yes -o UserKnownHostsFile={folder}/known_hosts -o BatchMode=yes",
            self.port
        );
        let url = format!("ssh://127.0.0.1:{}{}", self.port, repository.display());
        let options: Vec<&str> = words.iter().copied().take_while(|word| *word != "--").collect();
        let rest: Vec<&str> = words.iter().copied().skip(options.len() + 1).collect();
        let mut command = person.command(&[&["push"], options.as_slice(), &[&url], rest.as_slice()].concat());
        command.env("GIT_SSH_COMMAND", ssh);
        said(command)
    }
}

fn bare(folder: &Path) -> PathBuf {
    let path = folder.join("own.git");
    let made = Command::new("git").args(["init", "-q", "--bare", "-b", "main"]).arg(&path).status().expect("git runs");
    assert!(made.success());
    path
}

#[test]
fn a_push_by_ssh_is_judged_by_the_running_server_and_refused_without_it() {
    let mut site = Site::new(|folder| Content::Repository(bare(folder)));
    let repository = site.path("own.git");
    let Some(sshd) = Sshd::start(site.folder.path()) else { return };
    let text = repository.display().to_string();
    let installed = site.type_in(&["hook", "install", &text]);
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    {
        let ada = site.person();
        let first = ada.commit("The first machines", SITE);
        let answer = sshd.push(&ada, &repository, &["--", "main"]).taken();
        assert!(answer.text.contains("remote: success: accepted"), "{}", answer.text);
        site.until_applied(&first);
        ada.commit("Broken", &[("machines/node-1.yaml", &NODE_1.replace("workflow: install", "workflow: instal"))]);
        sshd.push(&ada, &repository, &["--", "main"]).refused(&["machines/node-1.yaml:6", "pre-receive hook declined"]);
        ada.git(&["reset", "-q", "--hard", &first]).taken();
        let second = ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
        sshd.push(&ada, &repository, &["-o", "dry-run", "--", "main"]).refused(&["dry run: nothing was changed"]);
        sshd.push(&ada, &repository, &["--", "main"]).taken();
        site.until_applied(&second);
    }
    site.kill();
    let ada = site.person();
    ada.git(&["fetch", "-q", &text, "main"]).taken();
    ada.git(&["reset", "-q", "--hard", "FETCH_HEAD"]).taken();
    let third = ada.commit("Add node-4", &[("machines/node-4.yaml", &node(4))]);
    sshd.push(&ada, &repository, &["--", "main"]).refused(&["cannot be asked", "nothing was changed"]);
    // Unless told otherwise.
    assert!(site.type_in(&["hook", "install", &text, "--when-away", "accept"]).status.success());
    sshd.push(&ada, &repository, &["--", "main"]).taken();
    drop(ada);
    assert!(site.serve(), "{}", site.log());
    site.until_applied(&third);
}

#[test]
fn a_push_by_ssh_that_is_good_and_that_git_refuses_by_itself_is_among_the_rejected_ones() {
    let site = Site::new(|folder| Content::Repository(bare(folder)));
    let repository = site.path("own.git");
    let Some(sshd) = Sshd::start(site.folder.path()) else { return };
    let text = repository.display().to_string();
    assert!(site.type_in(&["hook", "install", &text]).status.success());
    let ada = site.person();
    let first = ada.commit("The first machines", SITE);
    sshd.push(&ada, &repository, &["--", "main"]).taken();
    site.until_applied(&first);
    let hook = repository.join("hooks/update");
    std::fs::write(&hook, "#!/bin/sh\necho not on a friday >&2\nexit 1\n").unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    ada.commit("Add node-3", &[("machines/node-3.yaml", &node(3))]);
    sshd.push(&ada, &repository, &["--", "main"]).refused(&["not on a friday"]);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(90);
    let pushes = loop {
        let said = site.type_in(&["status", "-o", "json"]);
        let status: serde_json::Value = serde_json::from_slice(&said.stdout).expect("JSON");
        if status["pushes"]["rejected"] != 0 {
            break status["pushes"].clone();
        }
        assert!(std::time::Instant::now() < end, "{status:#}");
        std::thread::sleep(std::time::Duration::from_millis(500));
    };
    assert_eq!(pushes["rejected"], 1);
    let reason = pushes["recent"][0]["reason"].as_str().unwrap();
    assert!(reason.contains("git did not move main"), "{pushes:#}");
}

#[test]
fn a_hook_that_asks_the_api_has_the_rights_of_its_token() {
    let site = Site::new(|folder| Content::Repository(bare(folder)));
    let repository = site.path("own.git");
    let Some(sshd) = Sshd::start(site.folder.path()) else { return };
    let token = site.user("ssh", &["--push", "main"]);
    let context = serde_json::json!({
        "server": format!("https://127.0.0.1:{}", site.port()),
        "caCertificate": std::fs::read_to_string(site.path("ca.pem")).unwrap(),
        "token": token,
    });
    let path = site.path("hook.json");
    std::fs::write(&path, context.to_string()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let installed =
        Command::new(FORMWORK).args(["hook", "install"]).arg(&repository).arg("--context").arg(&path).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let ada = site.person();
    let first = ada.commit("The first machines", SITE);
    // A token that may only read, and one that is dead: neither is a server that is away.
    let reader = site.user("reader", &["--read"]);
    let hooks = |words: &[&str]| {
        let mut install = Command::new(FORMWORK);
        install.args(["hook", "install"]).arg(&repository).arg("--context").arg(&path).args(words);
        assert!(install.output().unwrap().status.success());
    };
    let with = |token: &str| {
        let mut context = context.clone();
        context["token"] = token.into();
        std::fs::write(&path, context.to_string()).unwrap();
    };
    hooks(&["--when-away", "accept"]);
    with(&reader);
    sshd.push(&ada, &repository, &["--", "main"]).refused(&["you may only read"]);
    with("fwu_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    sshd.push(&ada, &repository, &["--", "main"]).refused(&["could not be judged", "nothing was changed"]);
    with(&token);
    hooks(&[]);
    sshd.push(&ada, &repository, &["--", "HEAD:feature/x"]).refused(&["you may not push to `feature/x`"]);
    sshd.push(&ada, &repository, &["-o", "allow-empty", "--", "main"]).refused(&["you may not say -o allow-empty"]);
    sshd.push(&ada, &repository, &["--", "main"]).taken();
    site.until_applied(&first);
}
