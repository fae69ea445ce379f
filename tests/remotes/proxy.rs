//! A network that is not good: passes so many bytes of an answer on, and then cuts, or says nothing more.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// The network between.
pub struct Proxy {
    pub port: u16,
    passes: Arc<AtomicUsize>,
    hangs: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
}

impl Proxy {
    /// Between a client and this port; everything passes.
    pub fn start(to: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let passes = Arc::new(AtomicUsize::new(usize::MAX));
        let (hangs, cuts) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let shared = (Arc::clone(&passes), Arc::clone(&hangs), Arc::clone(&cuts));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { continue };
                let (passes, hangs, cuts) = shared.clone();
                let (from, into) = (client.try_clone().expect("cloned"), server.try_clone().expect("cloned"));
                std::thread::spawn(move || pass(from, into, usize::MAX));
                std::thread::spawn(move || {
                    let left = passes.load(Ordering::SeqCst);
                    if pass(server.try_clone().expect("cloned"), client.try_clone().expect("cloned"), left) {
                        cuts.fetch_add(1, Ordering::SeqCst);
                        while hangs.load(Ordering::SeqCst) {
                            std::thread::sleep(Duration::from_millis(20));
                        }
                    }
                    let _ = client.shutdown(Shutdown::Both);
                    let _ = server.shutdown(Shutdown::Both);
                });
            }
        });
        Self { port, passes, hangs, cuts }
    }

    /// Of each answer so many bytes come through; then the connection is cut, or hangs.
    pub fn pass_only(&self, bytes: usize, then_hang: bool) {
        self.hangs.store(then_hang, Ordering::SeqCst);
        self.passes.store(bytes, Ordering::SeqCst);
    }

    /// All is well again.
    pub fn heal(&self) {
        self.passes.store(usize::MAX, Ordering::SeqCst);
        self.hangs.store(false, Ordering::SeqCst);
    }

    /// How many answers were cut.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

/// Passes bytes on. True: it stopped because so many had passed.
fn pass(mut from: TcpStream, mut into: TcpStream, mut left: usize) -> bool {
    let mut buffer = [0; 8192];
    while let Ok(count) = from.read(&mut buffer) {
        if count == 0 {
            break;
        }
        let most = count.min(left);
        if into.write_all(&buffer[..most]).is_err() {
            break;
        }
        left -= most;
        if left == 0 {
            return true;
        }
    }
    let _ = into.shutdown(Shutdown::Write);
    false
}
