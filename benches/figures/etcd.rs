//! The peer: etcd as Debian ships it, one member, its data on the same disk, its own gRPC interface without TLS.

use super::wire::{Grpc, bytes_field, field_bytes, field_number, number_field};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// etcd's own advice for a thousand clients is a hundred connections.
const CONNECTIONS: usize = 100;

/// A running etcd; it ends when this is dropped.
pub struct Etcd {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Etcd {
    /// Starts one; `None`: there is no etcd on this machine.
    pub fn start(port: u16) -> Option<Self> {
        let folder = tempfile::tempdir_in(super::formwork::disk()).expect("a folder");
        let (client, peer) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{}", port + 1));
        let child = Command::new("etcd")
            .args(["--data-dir", folder.path().to_str().expect("a path"), "--log-level", "error"])
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("default={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let limit = Instant::now() + Duration::from_secs(30);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < limit, "etcd does not answer");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_secs(1)); // it elects itself
        Some(Self { child, port, _folder: folder })
    }

    /// Connections for so many clients.
    pub async fn clients(&self, count: usize) -> Vec<Grpc> {
        let mut connections = Vec::new();
        for _ in 0..count.min(CONNECTIONS) {
            connections.push(Grpc::connect(self.port).await);
        }
        (0..count).map(|client| connections[client % connections.len()].clone()).collect()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A compare-and-swap: puts the value where the key was last written at `revision` (0: it is not there), else reads it. In one
/// transaction. Whether it was put, and the revision that holds now.
pub async fn swap(client: &mut Grpc, key: &str, revision: u64, value: &[u8]) -> (bool, u64) {
    // Compare{result EQUAL, target MOD, key, mod_revision}
    let mut compare = field_number(2, 2);
    compare.extend(field_bytes(3, key.as_bytes()));
    compare.extend(field_number(6, revision));
    let mut put = field_bytes(1, key.as_bytes());
    put.extend(field_bytes(2, value));
    let mut transaction = field_bytes(1, &compare);
    transaction.extend(field_bytes(2, &field_bytes(2, &put)));
    transaction.extend(field_bytes(3, &field_bytes(1, &field_bytes(1, key.as_bytes()))));
    let answer = client.ask("KV/Txn", &transaction).await;
    if number_field(&answer, 2) == 1 {
        let header = bytes_field(&answer, 1).expect("a header");
        return (true, number_field(header, 3));
    }
    let range = bytes_field(&answer, 3).and_then(|response| bytes_field(response, 1)).expect("a range");
    (false, bytes_field(range, 2).map_or(0, |pair| number_field(pair, 3)))
}

/// Puts a key.
pub async fn put(client: &mut Grpc, key: &str, value: &[u8]) {
    let mut put = field_bytes(1, key.as_bytes());
    put.extend(field_bytes(2, value));
    client.ask("KV/Put", &put).await;
}

/// Reads a key, linearizably as etcd does by default.
pub async fn get(client: &mut Grpc, key: &str) {
    client.ask("KV/Range", &field_bytes(1, key.as_bytes())).await;
}

/// Waits for a key's first write, even if that was before.
pub async fn wait(client: &mut Grpc, key: &str, ready: impl FnOnce()) {
    let mut create = field_bytes(1, key.as_bytes());
    create.extend(field_number(3, 1));
    client.watch(&create, ready).await;
}
