//! A real server of S3 on the loopback address, over TLS with an authority of its own, behind a proxy that can be stuck or slow.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

const KEY: &str = "formwork-test";
pub const SECRET: &str = "correct-horse-battery-staple";

/// How the way there is.
#[derive(Clone, Copy)]
pub enum Mood {
    Well = 0,
    /// What is sent goes there, and no answer comes.
    Stuck = 1,
    /// Each piece of an answer takes its time.
    Slow = 2,
}

pub struct S3 {
    folder: tempfile::TempDir,
    child: Child,
    mood: Arc<AtomicU8>,
    /// The proxy's.
    port: u16,
    certificate: String,
}

/// The program, where it is installed or was built beside the tests.
fn program() -> Option<PathBuf> {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("cache/s3/versitygw");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut all = std::env::split_paths(&path).map(|folder| folder.join("versitygw")).chain([built]);
    all.find(|program| program.is_file())
}

impl S3 {
    /// None, and a line that is counted, where there is no such program.
    pub fn started(test: &str) -> Option<Self> {
        let Some(program) = program() else {
            println!("SKIPPED {test}: there is no versitygw; scripts/test builds it into cache/s3");
            return None;
        };
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        ["buckets", "metadata"].iter().for_each(|name| std::fs::create_dir(folder.path().join(name)).unwrap());
        let (certificate, key) = (at("tls.pem"), at("tls.key"));
        let subject = ["-subj", "/CN=S3", "-addext", "subjectAltName=IP:127.0.0.1"];
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]);
        openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        let made = openssl.args(subject).args(["-keyout", &key, "-out", &certificate]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let own = free_port();
        let listen = format!("127.0.0.1:{own}");
        let mut command = Command::new(program);
        command.args(["--port", &listen, "--access", KEY, "--secret", SECRET, "--region", "lab", "--quiet"]);
        command.args(["--cert", &certificate, "--key", &key, "posix", "--sidecar", &at("metadata"), &at("buckets")]);
        let log = std::fs::File::create(folder.path().join("s3.log")).unwrap();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let proxy = TcpListener::bind("127.0.0.1:0").unwrap();
        let mood = Arc::new(AtomicU8::new(Mood::Well as u8));
        let s3 = Self { port: proxy.local_addr().unwrap().port(), child, mood, certificate, folder };
        let began = Instant::now();
        while TcpStream::connect(&listen).is_err() {
            let said = std::fs::read_to_string(s3.folder.path().join("s3.log")).unwrap_or_default();
            assert!(began.elapsed() < Duration::from_secs(60), "no S3 starts: {said}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let mood = Arc::clone(&s3.mood);
        std::thread::spawn(move || {
            for client in proxy.incoming().flatten() {
                if let Ok(server) = TcpStream::connect(&listen) {
                    lead(&client, &server, &mood);
                }
            }
        });
        Some(s3)
    }

    pub fn set(&self, mood: Mood) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    /// The URL of a bucket and a folder in it.
    pub fn url(&self, path: &str) -> String {
        format!("s3://{path}?region=lab&endpoint=https://127.0.0.1:{}", self.port)
    }

    /// What the server of a site needs to know beside.
    pub fn environment(&self) -> Vec<(&str, &str)> {
        vec![("AWS_ACCESS_KEY_ID", KEY), ("AWS_SECRET_ACCESS_KEY", SECRET), ("SSL_CERT_FILE", &self.certificate)]
    }

    /// Where the buckets are on the disk.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().join("buckets")
    }

    /// A folder is a bucket there.
    pub fn make_bucket(&self, name: &str) {
        std::fs::create_dir(self.folder().join(name)).unwrap();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn lead(client: &TcpStream, server: &TcpStream, mood: &Arc<AtomicU8>) {
    for (from, to, answers) in [(client, server, false), (server, client, true)] {
        let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
        let mood = Arc::clone(mood);
        std::thread::spawn(move || {
            let mut buffer = [0; 16 << 10];
            while let Ok(length @ 1..) = from.read(&mut buffer) {
                match mood.load(Ordering::SeqCst) {
                    1 if answers => continue,
                    2 if answers => std::thread::sleep(Duration::from_millis(200)),
                    _ => {}
                }
                if to.write_all(&buffer[..length]).is_err() {
                    break;
                }
            }
            let _ = to.shutdown(Shutdown::Both);
            let _ = from.shutdown(Shutdown::Both);
        });
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
