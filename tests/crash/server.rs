//! `formwork serve` on the loopback address, as a process that can be killed.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A state directory, a site of so many machines, and a server on it. It is ended with the test.
pub struct Server {
    folder: tempfile::TempDir,
    child: Option<Child>,
    /// What every command of this site has in its environment.
    environment: Vec<(String, String)>,
    pub api: SocketAddr,
    pub http: SocketAddr,
}

/// The MAC of a machine.
pub fn mac(number: u64) -> String {
    format!("02:00:00:00:01:{number:02x}")
}

/// The name of a machine.
pub fn name(number: u64) -> String {
    format!("m{number:02}")
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

fn free_port() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

impl Server {
    /// Makes the site; nothing runs yet.
    pub fn new(machines: u64) -> Self {
        Self::new_with(machines, Vec::new())
    }

    /// The same, with more in the environment of each command.
    pub fn new_with(machines: u64, environment: Vec<(String, String)>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut site = format!(
            "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {{name: crash}}\n\
             spec: {{packs: [{{builtin: discovery}}, {{builtin: hardware}}]}}\n\
             ---\napiVersion: formwork.dev/v1alpha1\nkind: ClusterProfile\nmetadata: {{name: crash}}\n\
             spec: {{size: {machines}, run: 1}}\n"
        );
        for number in 0..machines {
            site.push_str(&format!(
                "---\napiVersion: formwork.dev/v1alpha1\nkind: Machine\nmetadata: {{name: {}}}\n\
                 spec: {{match: {{macs: [\"{}\"]}}, profiles: [crash], workflow: hardware.inventory}}\n",
                name(number),
                mac(number)
            ));
        }
        std::fs::create_dir(folder.path().join("site")).unwrap();
        std::fs::create_dir(folder.path().join("images")).unwrap();
        std::fs::write(folder.path().join("site/site.yaml"), site).unwrap();
        let server = Self { folder, child: None, environment, api: free_port(), http: free_port() };
        let mut create = server.formwork();
        create.args(["site", "create", "crash", "--fresh", "--state-dir"]).arg(server.state());
        let created = create.output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        server
    }

    fn formwork(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// What the server said so far, its end.
    pub fn log(&self) -> String {
        let log = std::fs::read_to_string(self.folder.path().join("serve.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(30).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// The site's authority, PEM.
    pub fn authority(&self) -> String {
        std::fs::read_to_string(self.state().join("keys/authority.pem")).unwrap()
    }

    /// Starts it and waits until it takes connections.
    pub fn start(&mut self) {
        self.start_after(None);
    }

    /// The same in a mount namespace of its own, after these commands in it.
    pub fn start_after(&mut self, before: Option<&str>) {
        let child = self.serve(before).spawn().unwrap();
        let child = self.child.insert(child);
        let began = Instant::now();
        while TcpStream::connect(self.http).is_err() || TcpStream::connect(self.api).is_err() {
            let ended = child.try_wait().unwrap();
            if ended.is_some() || began.elapsed() > Duration::from_secs(120) {
                panic!("the server does not start: {ended:?}\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// `formwork serve`, where `before` says so in a mount namespace after those commands.
    pub fn serve(&self, before: Option<&str>) -> Command {
        let log =
            std::fs::File::options().create(true).append(true).open(self.folder.path().join("serve.log")).unwrap();
        let mut command = match before {
            None => self.formwork(),
            Some(before) => {
                let mut command = namespace();
                command.args(["sh", "-ec", &format!("{before}\nexec \"$@\""), "sh", env!("CARGO_BIN_EXE_formwork")]);
                command
            }
        };
        command
            .args(["serve", "--address", "127.0.0.1", "--no-dhcp", "--no-tftp", "--state-dir"])
            .arg(self.state())
            .arg("--dir")
            .arg(self.folder.path().join("site"))
            .arg("--images")
            .arg(self.folder.path().join("images"))
            .args(["--http-port", &self.http.port().to_string(), "--api-port", &self.api.port().to_string()])
            .env("FORMWORK_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command
    }

    /// Where the server sees a path, from outside of its namespace.
    pub fn inside(&self, path: &Path) -> PathBuf {
        let pid = self.child.as_ref().unwrap().id();
        PathBuf::from(format!("/proc/{pid}/root")).join(path.strip_prefix("/").unwrap())
    }

    /// A command at the server, asked by the first administrator; its exit code and what it printed, both streams.
    pub fn command(&self, words: &[&str], context: &Path) -> (i32, String) {
        let output = self.formwork().args(words).env("FORMWORK_CONTEXT", context).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Writes a key as an administrator: status, body, and what `Retry-After` says.
    pub fn put(&self, key: &str, value: &str, context: &Path) -> (u16, String, String) {
        let context: serde_json::Value = serde_json::from_slice(&std::fs::read(context).unwrap()).unwrap();
        let agent = super::proxy::agent(context["caCertificate"].as_str().unwrap());
        let mut response = agent
            .put(format!("https://{}/v1/clusters/crash/keys/{key}", self.api))
            .header("authorization", format!("Bearer {}", context["token"].as_str().unwrap()))
            .header("if-match", "*")
            .header("content-type", "text/plain")
            .send(value)
            .unwrap();
        let retry = response.headers().get("retry-after").and_then(|value| value.to_str().ok()).unwrap_or_default();
        let retry = retry.to_owned();
        (response.status().as_u16(), response.body_mut().read_to_string().unwrap(), retry)
    }

    /// What every command has in its environment from now on.
    #[allow(dead_code, reason = "where a site moves to another store")]
    pub fn environment(&mut self, environment: Vec<(String, String)>) {
        self.environment = environment;
    }

    /// Its process.
    #[allow(dead_code, reason = "what measures the store asks it")]
    pub fn id(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether it ended by itself.
    #[allow(dead_code, reason = "where another server can take its store")]
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(status.signal(), Some(9), "the server ended by itself\n{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
