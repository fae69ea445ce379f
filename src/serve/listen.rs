//! Listeners: TLS with the site's certificate, plain HTTP; both bounded.

use super::ServeError;
use super::connections::{Bounded, Limits};
use crate::identity::{self, SiteKeys};
use crate::net::dhcp::{self, DhcpConfig};
use crate::net::tftp::TftpError;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustls::pki_types::pem::PemObject as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

/// The options of the ports of the API and of plain HTTP.
pub(super) const API_PORT: &str = "--api-port";
pub(super) const HTTP_PORT: &str = "--http-port";

/// A listening socket, where an option says so.
///
/// # Errors
/// [`ServeError::Listen`].
pub fn bind(address: SocketAddr, option: &'static str) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).map_err(|error| ServeError::Listen { address, option, error })
}

/// Tries every listener, all at once, and gives them back: whether they can be had is known before anything is taken from another server. Who
/// reaches a port before it is served would wait at it, so none is kept.
pub(super) fn can_bind(own: Ipv4Addr, tcp: [u16; 2], tftp: bool, interfaces: &[String]) -> Result<(), ServeError> {
    let mut had = Vec::new();
    for (port, option) in tcp.into_iter().zip([API_PORT, HTTP_PORT]) {
        had.push(bind(SocketAddr::new(IpAddr::V4(own), port), option)?);
    }
    if tftp {
        let address = SocketAddr::new(IpAddr::V4(own), 69);
        drop(UdpSocket::bind(address).map_err(|error| TftpError::Listen { address, error })?);
    }
    if !interfaces.is_empty() {
        dhcp::can_bind(&DhcpConfig { interfaces: interfaces.to_vec(), ..DhcpConfig::default() })?;
    }
    Ok(())
}

/// The server's certificate, for every address it is reached at or listens on, made anew at each start.
pub(super) fn tls(
    keys: &SiteKeys,
    own: [Ipv4Addr; 2],
    administrators: Option<&TcpListener>,
) -> Result<RustlsConfig, ServeError> {
    let mut addresses: Vec<IpAddr> = own.into_iter().chain([Ipv4Addr::LOCALHOST]).map(IpAddr::V4).collect();
    if let Some(listener) = administrators.and_then(|listener| listener.local_addr().ok()) {
        addresses.push(listener.ip());
    }
    addresses.sort_unstable();
    addresses.dedup();
    let (chain, key) = identity::issue_server_certificate(keys, &["localhost".to_owned()], &addresses)?;
    let wrong = |error: String| ServeError::Tls(error);
    let chain: Vec<_> = rustls::pki_types::CertificateDer::pem_slice_iter(chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(error.to_string()))?;
    let key =
        rustls::pki_types::PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| wrong(error.to_string()))?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|error| wrong(error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(RustlsConfig::from_config(Arc::new(config)))
}

/// Where other servers of the site reach the API: a listener for administrators that more than this host reaches, or the machines' own.
pub(super) fn reached_at(own: Ipv4Addr, port: u16, administrators: Option<&TcpListener>) -> String {
    let wide = |address: &SocketAddr| !address.ip().is_loopback() && !address.ip().is_unspecified();
    let apart = administrators.and_then(|listener| listener.local_addr().ok()).filter(wide);
    format!("https://{}", apart.unwrap_or(SocketAddr::new(IpAddr::V4(own), port)))
}

/// How long a client may take to say what it wants, once it began, and between two questions.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest head of a request over HTTP/2, bytes.
const HEAD_BYTES: u32 = 64 * 1024;
/// What of one connection is held in memory each way, bytes: with as many connections as there may be, what slow clients cost.
const BUFFER_BYTES: usize = 64 * 1024;
/// Questions at once on one connection of HTTP/2: a machine's waits are bounded to as many.
const STREAMS: u32 = 256;
/// A silent connection of HTTP/2 is asked for a sign of life so often.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Serves routes over TLS.
pub(super) async fn serve_tls(
    listener: TcpListener,
    tls: RustlsConfig,
    bounded: Bounded,
    routes: axum::Router,
) -> Result<(), ServeError> {
    let ended = |error: std::io::Error| ServeError::Ended { service: "the API", message: error.to_string() };
    listener.set_nonblocking(true).map_err(ended)?;
    let mut server =
        axum_server::from_tcp_rustls(listener, tls).map_err(ended)?.map(|acceptor| acceptor.acceptor(bounded));
    bound(server.http_builder());
    server.serve(routes.into_make_service_with_connect_info::<SocketAddr>()).await.map_err(ended)
}

/// Serves routes over plain HTTP; `service` names them where they end.
pub(super) async fn serve_plain(
    listener: TcpListener,
    bounded: Bounded,
    service: &'static str,
    routes: axum::Router,
) -> Result<(), ServeError> {
    let ended = |error: std::io::Error| ServeError::Ended { service, message: error.to_string() };
    listener.set_nonblocking(true).map_err(ended)?;
    let mut server = axum_server::from_tcp(listener).map_err(ended)?.acceptor(bounded);
    bound(server.http_builder());
    server.serve(routes.into_make_service_with_connect_info::<SocketAddr>()).await.map_err(ended)
}

fn bound(builder: &mut Builder<TokioExecutor>) {
    // A slow reader is sent no further ahead than this.
    builder.http1().max_buf_size(BUFFER_BYTES);
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let mut http2 = builder.http2();
    http2.timer(TokioTimer::new()).keep_alive_interval(PING_EVERY);
    http2.max_concurrent_streams(STREAMS).max_header_list_size(HEAD_BYTES);
}

/// Lets this process have as many open files as the system allows it, since each connection is one; gives the bounds that
/// follow from it.
pub(super) fn connections() -> Bounded {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays");
    }
    Bounded::new(Limits::with_files(getrlimit(Resource::Nofile).current))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_known_before_it_is_listened_at_and_a_free_one_stays_free() {
        let own = Ipv4Addr::LOCALHOST;
        let taken = TcpListener::bind((own, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let error = can_bind(own, [port, 0], false, &[]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot listen on 127.0.0.1:{port}")), "{error}");
        assert!(can_bind(own, [0, port], false, &[]).is_err());
        assert!(can_bind(own, [0, 0], false, &["no-such-interface".to_owned()]).is_err());
        drop(taken);
        can_bind(own, [port, 0], false, &[]).unwrap();
        assert!(bind(SocketAddr::new(IpAddr::V4(own), port), API_PORT).is_ok());
    }
}
