//! Listeners: TLS with the site's certificate, plain HTTP; both bounded.

use super::ServeError;
use crate::identity::{self, SiteKeys};
use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::pem::PemObject as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

/// A listening socket.
pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).map_err(|error| ServeError::Listen { address, error })
}

/// The server's certificate, for every address it listens on, made anew at each start.
pub(super) fn tls(
    keys: &SiteKeys,
    address: Ipv4Addr,
    administrators: Option<&TcpListener>,
) -> Result<RustlsConfig, ServeError> {
    let mut addresses = vec![IpAddr::V4(address), IpAddr::V4(Ipv4Addr::LOCALHOST)];
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

/// Serves routes over TLS.
pub(super) async fn serve_tls(
    listener: TcpListener,
    tls: RustlsConfig,
    routes: axum::Router,
) -> Result<(), ServeError> {
    let ended = |error: std::io::Error| ServeError::Ended { service: "the API", message: error.to_string() };
    listener.set_nonblocking(true).map_err(ended)?;
    axum_server::from_tcp_rustls(listener, tls)
        .map_err(ended)?
        .serve(routes.into_make_service_with_connect_info::<SocketAddr>())
        .await
        .map_err(ended)
}

/// Serves routes over plain HTTP.
pub(super) async fn serve_plain(listener: TcpListener, routes: axum::Router) -> Result<(), ServeError> {
    let ended = |error: std::io::Error| ServeError::Ended { service: "boot files", message: error.to_string() };
    listener.set_nonblocking(true).map_err(ended)?;
    axum_server::from_tcp(listener)
        .map_err(ended)?
        .serve(routes.into_make_service_with_connect_info::<SocketAddr>())
        .await
        .map_err(ended)
}
