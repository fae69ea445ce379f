//! Thousands of sockets that say nothing, too little, too much or the wrong thing, held against the real server on the loopback.
//! What must be so: it goes on answering those who ask properly, closes what stands still, and keeps its memory.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where something is not as it should be"
)]

use formwork::metrics::Tftp;
use formwork::net::tftp::{Loaders, TftpService};
use rustix::process::{Resource, getrlimit, setrlimit};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Connections of each kind, where this process may have so many open.
const MANY: usize = 1_500;
/// How long anything is waited for: generous, since the machine may be busy with other things.
const LIMIT: Duration = Duration::from_secs(120);

struct Server {
    folder: tempfile::TempDir,
    child: Child,
    http: u16,
    api: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").port()
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let content = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: flood}\n";
        std::fs::create_dir(folder.path().join("site")).unwrap();
        std::fs::create_dir(folder.path().join("images")).unwrap();
        std::fs::write(folder.path().join("site/site.yaml"), content).unwrap();
        let formwork = |words: &[&str]| {
            let mut command = Command::new(env!("CARGO_BIN_EXE_formwork"));
            command.args(words).current_dir(folder.path()).stdin(Stdio::null());
            command
        };
        let made = formwork(&["site", "create", "flood", "--fresh", "--state-dir", "state"]).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let (http, api) = (free_port(), free_port());
        let mut command = formwork(&["serve", "--state-dir", "state", "--dir", "site", "--images", "images"]);
        command.args(["--address", "127.0.0.1", "--no-dhcp", "--no-tftp"]);
        command.args(["--http-port", &http.to_string(), "--api-port", &api.to_string()]);
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        command.env("FORMWORK_LOG", "warn").stdout(log.try_clone().unwrap()).stderr(log);
        let child = command.spawn().unwrap();
        let server = Self { folder, child, http, api };
        server.until("it listens", || [api, http].iter().all(|port| TcpStream::connect(("127.0.0.1", *port)).is_ok()));
        server
    }

    fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let end = Instant::now() + LIMIT;
        while !so() {
            let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(Instant::now() < end, "not so after {LIMIT:?}: {what}\n{}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn connect(&self, port: u16) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("connected");
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// What is answered to these bytes, until the connection is closed or 64 KiB came. A server that leaves it open and says
    /// nothing more fails the test: silence is no refusal.
    fn say(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect(self.http);
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        if let Err(error) = stream.take(65_536).read_to_end(&mut answer) {
            use std::io::ErrorKind::{BrokenPipe, ConnectionReset};
            // What the server did not read makes the end of the connection a reset.
            assert!(
                matches!(error.kind(), BrokenPipe | ConnectionReset),
                "the connection stays open: {error}, {answer:?}"
            );
        }
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Both listeners answer who asks properly.
    fn answers(&self) {
        let script = self.say(b"GET /boot/start HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        assert!(script.contains("#!ipxe"), "{script:?}");
        let mut status = Command::new(env!("CARGO_BIN_EXE_formwork"));
        status.args(["status", "--context", "state/administrator.json"]).current_dir(self.folder.path());
        let status = status.output().unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    }

    /// Resident memory, KiB.
    fn memory(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }
}

/// Raises this process's limit of open files; gives how many connections of each of three kinds fit.
fn many() -> usize {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
    let files = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX);
    // The server has the same limit, keeps a fifth for itself, and must have room left for those who ask properly.
    MANY.min((files / 5 * 4).saturating_sub(128) / 3)
}

#[test]
fn thousands_of_silent_and_half_open_connections_close_nothing_to_others_and_are_closed() {
    let many = many();
    let server = Server::start();
    server.answers();
    let (memory, files) = (server.memory(), server.open_files());

    let silent: Vec<_> = (0..many).map(|_| server.connect(server.api)).collect();
    // The first bytes of a handshake, whose rest never comes.
    let mut half: Vec<_> = (0..many).map(|_| server.connect(server.api)).collect();
    for stream in &mut half {
        stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).expect("sent");
    }
    let mut slow: Vec<_> = (0..many).map(|_| server.connect(server.http)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /boot/start HTTP/1.1\r\nHost: x\r\nX-Slow: ").expect("sent");
    }
    server.answers();
    let grown = server.memory().saturating_sub(memory);
    assert!(grown < 256 * 1024, "{} connections cost {grown} KiB", 3 * many);

    // Handshakes have an end, begun or not.
    for stream in silent.iter().chain(&half).step_by(many / 8) {
        let (mut stream, mut rest) = (stream, [0; 64]);
        while stream.read(&mut rest).expect("closed, not silent") > 0 {}
    }
    drop((silent, half, slow));
    server.until("the server lets go of the connections", || server.open_files() < files + 64);
    server.answers();
}

#[test]
fn who_takes_files_slowly_takes_no_more_than_its_share_and_others_get_theirs() {
    many();
    let server = Server::start();
    std::fs::write(server.folder.path().join("images/big"), vec![7; 32 << 20]).unwrap();
    std::fs::write(server.folder.path().join("images/small"), b"all of it").unwrap();
    let asked = |last: u8, file: &str| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8 << 10).unwrap();
        socket.bind(&std::net::SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
        socket.connect(&std::net::SocketAddr::from(([127, 0, 0, 1], server.http)).into()).unwrap();
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = format!("GET /files/{file} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).unwrap();
        (stream, String::from_utf8_lossy(&first).into_owned())
    };
    // They ask for a large file and take its first bytes. One address gets 128 of the 1,024 places.
    let slow: Vec<_> = (0..200).map(|_| asked(2, "big")).collect();
    let sent = slow.iter().filter(|(_, first)| first == "HTTP/1.1 200").count();
    let turned_away = slow.iter().filter(|(_, first)| first == "HTTP/1.1 503").count();
    assert_eq!((sent, turned_away), (128, 72));
    let (mut stream, first) = asked(3, "small");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert!(first == "HTTP/1.1 200" && rest.ends_with("all of it"), "{first}{rest}");
    // Who takes nothing for a minute is let go of, and its places are free again.
    server.until("a slow reader's place is free", || asked(2, "small").1 == "HTTP/1.1 200");
    server.answers();
    drop(slow);
}

#[test]
fn requests_that_are_too_much_are_refused_and_what_is_no_request_ends_the_connection() {
    let server = Server::start();
    let long = format!("GET /boot/start HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(4 << 20));
    let many: String = (0..5_000).map(|n| format!("X-{n}: y\r\n")).collect();
    let many = format!("GET /boot/start HTTP/1.1\r\nHost: x\r\n{many}\r\n");
    let line = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(1 << 20));
    for (what, request, refusal) in
        [("a head of 4 MiB", long, "431"), ("5,000 headers", many, "431"), ("a path of 1 MiB", line, "431")]
    {
        let answer = server.say(request.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {refusal} ")), "{what}: {answer:?}");
    }
    for (request, begins) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], "HTTP/1.1 400 "),
        (b"\0\0\0\0\0\0\0\0", "HTTP/1.1 400 "),
        // A frame of settings, and of going away.
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\0\0"),
        (b"GET  HTTP/9.9\r\n\r\n", "HTTP/1.1 400 "),
        (b"GET /boot/script?mac=%zz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 400 "),
        (
            b"POST /boot/start HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\nffffffffffffffff\r\n",
            "HTTP/1.1 405 ",
        ),
    ] {
        let answer = server.say(request);
        assert!(answer.starts_with(begins), "{request:?}: {answer:?}");
    }
    server.answers();
}

#[test]
fn a_flood_of_transfers_that_nobody_takes_leaves_tftp_to_the_others() {
    many();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("loaders")).unwrap();
    std::fs::write(folder.path().join("loaders/big"), vec![7; 100_000]).unwrap();
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).unwrap();
    let counted = Tftp::default();
    let loaders = Arc::new(Loaders::read(folder.path(), 8080));
    let service = TftpService::bind(port, loaders, counted.clone()).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(service.serve()).unwrap();
    });
    let request = b"\0\x01big\0octet\0windowsize\08\0";
    let strangers: Vec<UdpSocket> = (0..900).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for stranger in &strangers {
        stranger.send_to(request, port).unwrap();
        stranger.send_to(b"\0\x04\xff\xff", port).unwrap();
        stranger.send_to(b"\0\x02big\0octet\0", port).unwrap();
    }
    // A patient client gets its file while they hang, or as soon as they have ended.
    let client = UdpSocket::bind("127.0.0.1:0").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let end = Instant::now() + LIMIT;
    let mut buffer = [0; 2048];
    loop {
        assert!(Instant::now() < end, "no answer: {} were turned away", counted.ended("busy"));
        client.send_to(b"\0\x01big\0octet\0tsize\x000\0", port).unwrap();
        // DATA, or OACK with the size.
        if let Ok((read, _)) = client.recv_from(&mut buffer)
            && buffer[..2] == [0, 6]
        {
            assert!(buffer[..read].windows(6).any(|window| window == b"100000"));
            break;
        }
    }
    let ended = counted.ended("complete") + counted.ended("incomplete");
    assert!(ended <= 900 + 200, "{ended} transfers were opened");
}
