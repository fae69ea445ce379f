//! Between the machines and the server: plain HTTP on this side, TLS on the other, and of so many replies one is lost after the
//! server gave it.

use super::program::Dice;
use super::server::Server;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider};

/// Headers that are passed on, both ways.
const PASSED: &[&str] =
    &["authorization", "accept", "content-type", "if-match", "idempotency-key", "etag", "retry-after"];

/// The proxy. It lives as long as the test's process.
pub struct Proxy {
    pub address: SocketAddr,
    lost: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts it before a server, which may come and go.
    pub fn start(server: &Server, lost_reply: u64) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let lost = Arc::new(AtomicU64::new(0));
        let upstream = format!("https://{}", server.api);
        let agent = agent(&server.authority());
        let dice = Arc::new(Mutex::new(Dice::new(5)));
        let counter = Arc::clone(&lost);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (agent, upstream) = (agent.clone(), upstream.clone());
                let (dice, lost) = (Arc::clone(&dice), Arc::clone(&counter));
                std::thread::spawn(move || {
                    // Any error ends the connection: the machine asks again.
                    let _ = serve(stream, &agent, &upstream, || {
                        let lose = dice.lock().unwrap().below(lost_reply) == 0;
                        lost.fetch_add(u64::from(lose), Ordering::SeqCst);
                        lose
                    });
                });
            }
        });
        Self { address, lost }
    }

    /// Replies lost so far.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

/// A client that trusts the site's authority; it keeps connections open.
pub fn agent(authority: &str) -> ureq::Agent {
    let roots: Vec<_> = ureq::tls::parse_pem(authority.as_bytes())
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    ureq::Agent::config_builder()
        .tls_config(tls)
        .proxy(None)
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(60)))
        .max_idle_connections(128)
        .max_idle_connections_per_host(128)
        .build()
        .new_agent()
}

fn serve(stream: TcpStream, agent: &ureq::Agent, upstream: &str, lose: impl Fn() -> bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{upstream}{path}"));
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim_end().split_once(": ") else { break };
            let name = name.to_ascii_lowercase();
            if name == "content-length" {
                length = value.parse().map_err(io::Error::other)?;
            } else if PASSED.contains(&name.as_str()) {
                request = request.header(name, value);
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let response = if method == "GET" {
            agent.run(request.body(()).map_err(io::Error::other)?)
        } else {
            agent.run(request.body(body).map_err(io::Error::other)?)
        };
        let mut response = response.map_err(io::Error::other)?;
        let body = response.body_mut().read_to_vec().map_err(io::Error::other)?;
        if lose() {
            return Ok(());
        }
        let mut reply = format!("HTTP/1.1 {} x\r\ncontent-length: {}\r\n", response.status().as_u16(), body.len());
        for name in PASSED {
            if let Some(value) = response.headers().get(*name).and_then(|value| value.to_str().ok()) {
                reply.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        reply.push_str("\r\n");
        writer.write_all(reply.as_bytes())?;
        writer.write_all(&body)?;
    }
}
