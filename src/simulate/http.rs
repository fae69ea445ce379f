//! HTTP for simulated machines: one connection to a server, plain or over TLS that trusts one authority; bodies that are read and
//! forgotten. Thousands of these live in one process, so each holds no more than its connection.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection that is not up by then never comes.
const CONNECT: Duration = Duration::from_secs(10);
/// The longest body that is kept, bytes.
const BODY_MAX: usize = 8 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address is not `http://IPv4:PORT` or `https://IPv4:PORT`.
    #[error("`{0}` is no address of a server that can be simulated against: an IP address and a port are needed")]
    Address(String),
    /// The authority is no certificate.
    #[error("the site's authority is no certificate")]
    Authority,
    /// The network.
    #[error("{0}")]
    Network(String),
    /// It took too long.
    #[error("no answer in time")]
    Time,
}

fn network(error: impl std::fmt::Display) -> HttpError {
    HttpError::Network(error.to_string())
}

/// A server: where it is, and whom to trust there.
#[derive(Clone)]
pub struct Server {
    address: SocketAddr,
    tls: Option<TlsConnector>,
}

impl Server {
    /// A server that is spoken to in the clear.
    pub fn plain(address: SocketAddr) -> Self {
        Self { address, tls: None }
    }

    /// A server by its URL, trusting this authority (PEM) and nobody else.
    ///
    /// # Errors
    /// [`HttpError::Address`] and [`HttpError::Authority`].
    pub fn pinned(url: &str, authority: &str) -> Result<Self, HttpError> {
        let host = url.strip_prefix("https://").map(|host| host.trim_end_matches('/'));
        let address = host.and_then(|host| host.parse().ok()).ok_or_else(|| HttpError::Address(url.to_owned()))?;
        let mut roots = rustls::RootCertStore::empty();
        let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(|_| HttpError::Authority)?;
        roots.add(certificate).map_err(|_| HttpError::Authority)?;
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| HttpError::Authority)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { address, tls: Some(TlsConnector::from(Arc::new(config))) })
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, HttpError> {
        let stream = TcpStream::connect(self.address).await.map_err(network)?;
        stream.set_nodelay(true).map_err(network)?;
        match &self.tls {
            None => drive(TokioIo::new(stream)).await,
            Some(tls) => {
                let name = ServerName::IpAddress(self.address.ip().into());
                let stream = tls.connect(name, stream).await.map_err(network)?;
                drive(TokioIo::new(stream)).await
            }
        }
    }
}

async fn drive<T>(io: T) -> Result<SendRequest<Full<Bytes>>, HttpError>
where
    T: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(io).await.map_err(network)?;
    tokio::spawn(async move {
        // What ends a connection is seen by whoever asks over it.
        let _ = connection.await;
    });
    Ok(sender)
}

/// What is sent.
pub struct Question<'a> {
    /// The method.
    pub method: &'static str,
    /// Path and query.
    pub path: &'a str,
    /// The bearer token. Secret.
    pub bearer: Option<&'a str>,
    /// More headers.
    pub headers: &'a [(&'static str, String)],
    /// The body.
    pub body: Bytes,
    /// How long the whole answer may take.
    pub timeout: Duration,
}

impl<'a> Question<'a> {
    /// A `GET`.
    pub fn get(path: &'a str, timeout: Duration) -> Self {
        Self { method: "GET", path, bearer: None, headers: &[], body: Bytes::new(), timeout }
    }
}

/// What came back.
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body; empty where it was not kept.
    pub body: Bytes,
    /// Its length, bytes.
    pub length: u64,
}

/// A way to one server: one connection, made when it is needed.
pub struct Client {
    server: Server,
    sender: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    /// Nothing is connected yet.
    pub fn new(server: Server) -> Self {
        Self { server, sender: None }
    }

    /// Where it asks.
    pub fn server(&self) -> String {
        let scheme = if self.server.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.server.address)
    }

    /// Lets the connection go.
    pub fn disconnect(&mut self) {
        self.sender = None;
    }

    /// Asks once. Whatever went wrong, the connection is not used again.
    ///
    /// # Errors
    /// [`HttpError`] says what the network met.
    pub async fn ask(&mut self, question: &Question<'_>, keep: bool) -> Result<Reply, HttpError> {
        let asked = tokio::time::timeout(question.timeout + CONNECT, Box::pin(self.once(question, keep))).await;
        let reply = asked.map_err(|_| HttpError::Time).and_then(|reply| reply);
        if reply.is_err() {
            self.sender = None;
        }
        reply
    }

    async fn once(&mut self, question: &Question<'_>, keep: bool) -> Result<Reply, HttpError> {
        // One that the server closed meanwhile is found out here, not by a request that is lost.
        let mut kept = self.sender.take();
        let good = match &mut kept {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        let mut sender = match kept.filter(|_| good) {
            Some(sender) => sender,
            None => tokio::time::timeout(CONNECT, self.server.connect()).await.map_err(|_| HttpError::Time)??,
        };
        let mut request = Request::builder()
            .method(question.method)
            .uri(question.path)
            .header("host", self.server.address.to_string())
            .header("user-agent", concat!("formwork-simulate/", env!("CARGO_PKG_VERSION")));
        if let Some(token) = question.bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in question.headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(question.body.clone())).map_err(network)?;
        let response = sender.send_request(request).await.map_err(network)?;
        let reply = read(response, keep).await?;
        self.sender = Some(sender);
        Ok(reply)
    }
}

async fn read(response: Response<Incoming>, keep: bool) -> Result<Reply, HttpError> {
    let (parts, mut body) = response.into_parts();
    let (mut kept, mut length) = (Vec::new(), 0_u64);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(network)?;
        if let Some(data) = frame.data_ref() {
            length = length.saturating_add(data.len() as u64);
            if keep && kept.len().saturating_add(data.len()) <= BODY_MAX {
                kept.extend_from_slice(data);
            }
        }
    }
    Ok(Reply { status: parts.status.as_u16(), headers: parts.headers, body: kept.into(), length })
}
