//! Curl against the real server: an installer that cannot run the agent fetches its answers and calls back; a boot file that is
//! not what content declares is not served.

use serde_json::Value;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MAC: &str = "52:54:00:00:00:01";
const SITE: &str = r#"apiVersion: formwork.dev/v1alpha1
kind: Site
metadata: {name: test}
---
apiVersion: formwork.dev/v1alpha1
kind: Machine
metadata: {name: node-1}
spec:
  match: {macs: ["52:54:00:00:00:01"]}
  workflow: system
  params: {mirror: deb.lab.example}
  wipe: true
---
apiVersion: formwork.dev/v1alpha1
kind: Workflow
metadata: {name: system}
spec: {stages: [system]}
---
apiVersion: formwork.dev/v1alpha1
kind: Stage
metadata: {name: system}
spec: {bootEnv: setup}
---
apiVersion: formwork.dev/v1alpha1
kind: BootEnv
metadata: {name: setup}
spec:
  endsBy: callback
  architectures:
    x86_64:
      kernel: {file: setup/linux}
      arguments: "auto=true url={{ boot.files }}/answers"
  templates: [answers]
---
apiVersion: formwork.dev/v1alpha1
kind: Template
metadata: {name: answers}
spec:
  text: |
    name={{ machine.name }} address={{ machine.address }} mirror={{ params.mirror }}
    token={{ boot.token }}
    curl --silent --show-error --write-out '%{http_code}' --header 'Authorization: Bearer {{ boot.token }}' --data-binary 'all is well' {{ boot.callback }}/done
"#;

/// The server in a folder; it ends when this is dropped.
struct Server {
    folder: tempfile::TempDir,
    child: Child,
    http: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

fn formwork(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
    command.current_dir(folder).args(words).env("FORMWORK_CONTEXT", folder.join("state/administrator.json"));
    command
}

impl Server {
    fn start(site: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["site", "images"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        std::fs::write(folder.path().join("site/site.yaml"), site).expect("written");
        let create = ["site", "create", "test", "--fresh", "--state-dir", "state"];
        assert!(formwork(folder.path(), &create).stdout(Stdio::null()).status().expect("it runs").success());
        let (http, api) = (free_port(), free_port());
        let mut serve =
            formwork(folder.path(), &["serve", "--state-dir", "state", "--dir", "site", "--images", "images"]);
        serve.args(["--address", "127.0.0.1", "--no-dhcp", "--no-tftp"]);
        serve.args(["--http-port", &http.to_string(), "--api-port", &api.to_string()]);
        let log = std::fs::File::create(folder.path().join("log")).expect("a log");
        let child = serve.stdout(Stdio::null()).stderr(log).spawn().expect("it starts");
        let server = Self { folder, child, http };
        server.until("the server serves", |server| {
            (server.json(&["status"])?["content"]["condition"] == "Ready").then_some(())
        });
        server
    }

    fn json(&self, words: &[&str]) -> Option<Value> {
        let output = formwork(self.folder.path(), words).args(["-o", "json"]).output().ok()?;
        serde_json::from_slice(&output.stdout).ok()
    }

    fn until<T>(&self, what: &str, is: impl Fn(&Self) -> Option<T>) -> T {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(120) {
            if let Some(value) = is(self) {
                return value;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{what}: {}", std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default());
    }

    fn curl(&self, words: &[&str]) -> String {
        let output = Command::new("curl").args(["--silent", "--show-error"]).args(words).output().expect("curl runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// What iPXE would be told.
    fn script(&self) -> String {
        let url = format!("http://127.0.0.1:{}/boot/script?mac={MAC}&arch=x86_64&platform=efi", self.http);
        self.curl(&[&url])
    }
}

#[test]
fn an_installer_fetches_its_answers_and_ends_its_stage_by_plain_http() {
    let test = "installer::an_installer_fetches_its_answers_and_ends_its_stage_by_plain_http";
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED {test}: there is no curl");
        return;
    }
    let server = Server::start(SITE);
    let script = server.script();
    let url =
        script.split_whitespace().find_map(|word| word.strip_prefix("url=")).expect("answers on the command line");
    assert!(!script.contains("callback-"), "the token is on no command line: {script}");

    let answers = server.curl(&[url]);
    assert!(answers.starts_with("name=node-1 address=127.0.0.1 mirror=deb.lab.example\n"), "{answers}");
    let status =
        |words: &[&str]| server.curl(&[&["--output", "/dev/null", "--write-out", "%{http_code}"], words].concat());
    // A stranger: from another address, with another name, with a guessed offer.
    assert_eq!(status(&["--interface", "127.0.0.2", url]), "404");
    assert_eq!(status(&[&url.replace("/answers", "/setup")]), "404");
    assert_eq!(status(&[&format!("http://127.0.0.1:{}/boot/files/offer/answers", server.http)]), "404");

    // Nobody else ends it: no token, a wrong one, another word.
    let done = url.replace("/boot/files/", "/boot/callback/").replace("/answers", "/done");
    let token = answers.lines().find_map(|line| line.strip_prefix("token=")).expect("a token");
    let bearer = format!("Authorization: Bearer {token}");
    assert_eq!(status(&["--data", "", &done]), "401");
    assert_eq!(status(&["--data", "", "--header", &format!("{bearer}x"), &done]), "403");
    assert_eq!(status(&["--data", "", "--header", &bearer, &done.replace("/done", "/perhaps")]), "404");
    let machine = || server.json(&["get", "machines", "node-1"]).map_or(Value::Null, |list| list.to_string().into());
    assert!(machine().to_string().contains("booting"), "{}", machine());

    // The template's own command, as an installer would run it; its answer may be lost and it says it again.
    let command = answers.lines().find(|line| line.starts_with("curl ")).expect("a command");
    for _ in 0..2 {
        let output = Command::new("sh").args(["-c", command]).output().expect("sh runs");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "heard\n200");
    }
    assert!(server.script().contains("boots its own disk"));
    server.until("the run is done", |_| machine().to_string().contains("ready").then_some(()));
    let events =
        formwork(server.folder.path(), &["events", "--machine", "node-1", "-o", "json"]).output().expect("events");
    let events = String::from_utf8_lossy(&events.stdout).into_owned();
    assert_eq!(events.matches("installer-finished").count(), 1, "{events}");
    assert!(events.contains("all is well"));
    assert!(!events.contains(token.split('.').nth(1).expect("a secret")), "the journal holds no secret");

    // It is over: neither files nor callback are there any more.
    assert_eq!(status(&[url]), "404");
    let failed = done.replace("/done", "/failed");
    assert_eq!(
        status(&["--data", "", "--header", &bearer, &failed]),
        "200",
        "what was said stands, and is not said twice"
    );
    let log = std::fs::read_to_string(server.folder.path().join("log")).expect("the log");
    assert!(!log.contains(token), "the log holds no secret");
}

#[test]
fn a_kernel_that_is_not_what_content_declares_is_not_served_and_the_box_is_told_why() {
    let test = "installer::a_kernel_that_is_not_what_content_declares_is_not_served_and_the_box_is_told_why";
    if Command::new("curl").arg("--version").output().is_err() {
        println!("SKIPPED {test}: there is no curl");
        return;
    }
    // SHA-256 of "kernel\n".
    let sum = Command::new("sh").args(["-c", "echo kernel | sha256sum"]).output().expect("sha256sum").stdout;
    let sum = String::from_utf8_lossy(&sum).split_whitespace().next().unwrap_or_default().to_owned();
    let kernel = format!("kernel: {{file: setup/linux, sha256: {sum}}}");
    let server = Server::start(&SITE.replace("kernel: {file: setup/linux}", &kernel));
    let at = server.folder.path().join("images/setup");
    std::fs::create_dir(&at).expect("made");
    std::fs::write(at.join("linux"), "another\n").expect("written");
    let script = server.script();
    assert!(script.contains("held: setup/linux in the image folder has the SHA-256"), "{script}");
    let url = format!("http://127.0.0.1:{}/files/setup/linux", server.http);
    let status = || server.curl(&["--output", "/dev/null", "--write-out", "%{http_code}", &url]);
    assert_eq!(status(), "409");
    let said = || server.json(&["status"]).map_or(Value::Null, |status| status["files"].clone());
    server.until("status says so", |_| said().to_string().contains("content says").then_some(()));
    std::fs::write(at.join("linux"), "kernel\n").expect("written");
    assert!(server.script().contains("kernel /files/setup/linux"));
    assert_eq!((status().as_str(), server.curl(&[&url]).as_str()), ("200", "kernel\n"));
    server.until("status says that it is well", |_| (said() == serde_json::json!([])).then_some(()));
    let events = formwork(server.folder.path(), &["events", "-o", "json"]).output().expect("events").stdout;
    let events = String::from_utf8_lossy(&events).into_owned();
    assert!(events.contains("file-wrong") && events.contains("file-right"), "{events}");
}
