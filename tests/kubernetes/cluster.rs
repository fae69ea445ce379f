//! A Kubernetes API as it is: a real kube-apiserver over a real etcd, as processes of this test. No kubelet and no controllers.

use serde_json::Value;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// The longest that anything is waited for.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// Whose word is law, by the token in the API server's file.
const ADMINISTRATOR: &str = "administrator-of-the-test";
/// Who is Formwork, by the same file: user `formwork`, who may do nothing that no Role says.
pub const SERVER: &str = "server-of-the-test";

/// Where the programs are.
pub struct Programs {
    etcd: PathBuf,
    api_server: PathBuf,
    kubectl: PathBuf,
}

impl Programs {
    /// From `KUBEBUILDER_ASSETS`, as controllers' tests have it everywhere; else from what `scripts/kubernetes-programs` made;
    /// etcd may be installed, too. None: the reason was said in a line that can be counted.
    pub fn find(test: &str) -> Option<Self> {
        let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("cache");
        let given = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
        let find = |name: &str| {
            let folders = match &given {
                Some(given) => vec![given.clone()],
                None => vec![cache.join("kubernetes")],
            };
            let path = std::env::var_os("PATH").unwrap_or_default();
            let installed = std::env::split_paths(&path).chain([cache.join("etcd/usr/bin")]);
            let more = installed.filter(|_| name == "etcd");
            folders.into_iter().chain(more).map(|folder| folder.join(name)).find(|file| file.is_file())
        };
        // The first that is missing is said, so that a test is counted once.
        let found = |name: &str| {
            let file = find(name);
            if file.is_none() {
                assert!(given.is_none(), "KUBEBUILDER_ASSETS holds no {name}");
                println!(
                    "SKIPPED {test}: there is no {name}; scripts/kubernetes-programs sees to it, or set KUBEBUILDER_ASSETS"
                );
            }
            file
        };
        Some(Self { etcd: found("etcd")?, api_server: found("kube-apiserver")?, kubectl: found("kubectl")? })
    }
}

/// One cluster; its processes end with it.
pub struct Cluster {
    folder: tempfile::TempDir,
    programs: Programs,
    etcd: Option<Child>,
    api_server: Option<Child>,
    etcd_ports: (u16, u16),
    port: u16,
    /// What kubectl said of the definitions beside that they were applied.
    pub warned: String,
}

fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}

impl Cluster {
    /// A cluster that answers, with the definitions of Formwork's kinds. None: there are no programs for it, and it was said.
    pub fn started(test: &str) -> Option<Self> {
        let programs = Programs::find(test)?;
        let folder = tempfile::tempdir().unwrap();
        let etcd_ports = (free_port(), free_port());
        let mut cluster = Self {
            folder,
            programs,
            etcd: None,
            api_server: None,
            etcd_ports,
            port: free_port(),
            warned: String::new(),
        };
        // Keys of service accounts: any RSA or EC key will do.
        let made = Command::new("openssl")
            .args(["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out"])
            .arg(cluster.path("accounts.key"))
            .output()
            .expect("openssl runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::write(
            cluster.path("tokens.csv"),
            format!("{ADMINISTRATOR},ann,ann,system:masters\n{SERVER},formwork,formwork\n"),
        )
        .unwrap();
        cluster.start_etcd();
        cluster.start_api_server();
        // As the book has it, and once more as those do who let the API server merge.
        let definitions = formwork(&["crds"]);
        cluster.warned = cluster.piped(&definitions, &["apply", "-f", "-"]);
        cluster.warned += &cluster.apply(&definitions);
        cluster.kubectl(&["wait", "--for=condition=Established", "--timeout=120s", "crd", "--all"]);
        Some(cluster)
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// What a client needs to speak with the API as the owner of that token.
    pub fn kubeconfig(&self, token: &str, namespace: &str) -> String {
        let authority = self.path("certificates/apiserver.crt");
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "certificate-authority": authority,
            }}],
            "users": [{"name": "test", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test", "namespace": namespace}}],
        })
        .to_string()
    }

    fn log(&self, name: &str) -> Stdio {
        std::fs::File::options().create(true).append(true).open(self.path(name)).unwrap().into()
    }

    /// Starts etcd, or starts it again over its folder `etcd`. A free port may be taken by another test before we have it: then
    /// others are tried.
    pub fn start_etcd(&mut self) {
        let again = self.path("etcd").exists();
        while !self.try_etcd() {
            // Started again, it is where the API server looks for it, or nowhere.
            assert!(!again, "{}", self.said("etcd.log"));
            self.etcd_ports = (free_port(), free_port());
        }
    }

    fn try_etcd(&mut self) -> bool {
        let (client, peer) = self.etcd_ports;
        let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
        let child = Command::new(&self.programs.etcd)
            .arg("--data-dir")
            .arg(self.path("etcd"))
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(self.log("etcd.log"))
            .spawn()
            .unwrap();
        answers(self.etcd.insert(child), self.etcd_ports.0)
    }

    /// Starts the API server, or starts it again over what etcd holds, and waits until it is ready.
    pub fn start_api_server(&mut self) {
        while !self.try_api_server() {
            // Started again, it is where clients look for it, or nowhere.
            assert!(!self.path("kubeconfig").exists(), "{}", self.said("apiserver.log"));
            self.port = free_port();
        }
        std::fs::write(self.path("kubeconfig"), self.kubeconfig(ADMINISTRATOR, "default")).unwrap();
        self.until("the API server is ready", || {
            let answer = self.try_kubectl(&["get", "--raw", "/readyz"]);
            answer.status.success().then_some(())
        });
        // Namespaces are made by the API server a moment after it is ready.
        self.until("there is a default namespace", || {
            self.try_kubectl(&["get", "namespace", "default"]).status.success().then_some(())
        });
    }

    fn try_api_server(&mut self) -> bool {
        let child = Command::new(&self.programs.api_server)
            .args(["--etcd-servers", &format!("http://127.0.0.1:{}", self.etcd_ports.0)])
            .args(["--bind-address", "127.0.0.1", "--secure-port", &self.port.to_string()])
            .args(["--service-cluster-ip-range", "10.0.0.0/24", "--authorization-mode", "RBAC"])
            .args(["--service-account-issuer", "https://kubernetes.default.svc", "--allow-privileged"])
            .arg("--cert-dir")
            .arg(self.path("certificates"))
            .arg("--token-auth-file")
            .arg(self.path("tokens.csv"))
            .arg("--service-account-key-file")
            .arg(self.path("accounts.key"))
            .arg("--service-account-signing-key-file")
            .arg(self.path("accounts.key"))
            .stdout(Stdio::null())
            .stderr(self.log("apiserver.log"))
            .spawn()
            .unwrap();
        answers(self.api_server.insert(child), self.port)
    }

    /// `kill -9`.
    pub fn kill_api_server(&mut self) {
        end(&mut self.api_server);
    }

    /// `kill -9`.
    #[allow(dead_code, reason = "the tests of the store do it")]
    pub fn kill_etcd(&mut self) {
        end(&mut self.etcd);
    }

    /// Sends the API server a signal: `STOP`, `CONT`.
    #[allow(dead_code, reason = "the tests of the store do it")]
    pub fn signal_api_server(&self, signal: &str) {
        let process = self.api_server.as_ref().unwrap().id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &process]).status().unwrap();
        assert!(sent.success());
    }

    /// The process of etcd, and that of the API server.
    #[allow(dead_code, reason = "what measures the store asks it")]
    pub fn processes(&self) -> (u32, u32) {
        (self.etcd.as_ref().unwrap().id(), self.api_server.as_ref().unwrap().id())
    }

    /// The port on 127.0.0.1 that the API server listens on.
    #[allow(dead_code, reason = "the tests of firmware lead to it")]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The last of what a process said.
    pub fn said(&self, name: &str) -> String {
        let log = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    pub fn try_kubectl(&self, words: &[&str]) -> Output {
        let mut command = Command::new(&self.programs.kubectl);
        command.arg("--kubeconfig").arg(self.path("kubeconfig")).args(words);
        // What kubectl caches and reads of its user's is this test's own.
        command.env("HOME", self.folder.path()).stdin(Stdio::null()).output().unwrap()
    }

    /// Types a kubectl command; what does not succeed ends the test.
    pub fn kubectl(&self, words: &[&str]) -> String {
        let output = self.try_kubectl(words);
        assert!(output.status.success(), "kubectl {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// An object as JSON; none: it is not there.
    pub fn object(&self, kind: &str, name: &str) -> Option<Value> {
        let output = self.try_kubectl(&["get", kind, name, "-o", "json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// The same of an object in another namespace.
    pub fn object_in(&self, namespace: &str, kind: &str, name: &str) -> Option<Value> {
        let output = self.try_kubectl(&["get", kind, name, "--namespace", namespace, "-o", "json"]);
        output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
    }

    /// `… | kubectl WORDS`; what does not succeed ends the test. Gives what kubectl said beside its answer.
    fn piped(&self, text: &str, words: &[&str]) -> String {
        let mut command = Command::new(&self.programs.kubectl);
        command.arg("--kubeconfig").arg(self.path("kubeconfig")).args(words).env("HOME", self.folder.path());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        said
    }

    /// Waits as anybody does: `kubectl wait --for=condition=…`.
    pub fn wait_for(&self, condition: &str, object: &str) {
        let output = self.try_kubectl(&["wait", "--timeout=180s", &format!("--for=condition={condition}"), object]);
        if !output.status.success() {
            let is = self.try_kubectl(&["get", object, "-o", "yaml"]);
            panic!("{object} is not {condition}\n{}", String::from_utf8_lossy(&is.stdout));
        }
    }

    /// `kubectl apply` of these documents; what does not succeed ends the test. Gives what kubectl warned of.
    pub fn apply(&self, text: &str) -> String {
        let output = self.try_apply(text);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}\n{text}");
        said
    }

    pub fn try_apply(&self, text: &str) -> Output {
        let file = self.path("applied.yaml");
        std::fs::write(&file, text).unwrap();
        self.try_kubectl(&["apply", "--server-side", "-f", &file.display().to_string()])
    }

    /// Waits until there is an answer.
    pub fn until<T>(&self, what: &str, mut answer: impl FnMut() -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            if let Some(answer) = answer() {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "not so: {what}\n{}", self.said("apiserver.log"));
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        end(&mut self.api_server);
        end(&mut self.etcd);
    }
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Waits until a process answers on its port. False: it ended before that.
fn answers(child: &mut Child, port: u16) -> bool {
    let began = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(began.elapsed() < PATIENCE, "nothing answers on port {port}");
        std::thread::sleep(Duration::from_millis(50));
    }
    true
}

/// What our own program prints.
fn formwork(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_formwork")).args(words).output().unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
