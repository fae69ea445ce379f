//! A stand-in for the server in tests of the client: real TLS on loopback, routes that the test makes up.

use crate::api::views::Context;
use axum::Router;
use axum_server::tls_rustls::RustlsConfig;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::net::SocketAddr;
use std::sync::Arc;

/// A stand-in that serves until it is dropped.
pub struct Double {
    /// How to reach it, with the token `the-secret`.
    pub context: Context,
    handle: axum_server::Handle<SocketAddr>,
}

impl Double {
    /// Serves these routes on a free port of loopback, with a certificate of an authority of its own.
    pub fn serve(routes: Router) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_certificate = authority.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(authority, key);
        let server_key = KeyPair::generate().unwrap();
        let leaf =
            CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&server_key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut tls = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![leaf.der().clone()],
                rustls::pki_types::PrivatePkcs8KeyDer::from(server_key.serialize_der()).into(),
            )
            .unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let server = format!("https://{}", listener.local_addr().unwrap());
        let handle = axum_server::Handle::new();
        let tls = RustlsConfig::from_config(Arc::new(tls));
        let serving = handle.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let server = axum_server::from_tcp_rustls(listener, tls).unwrap().handle(serving);
                server.serve(routes.into_make_service()).await.unwrap();
            });
        });
        Self { context: Context { server, ca_certificate, token: "the-secret".to_owned() }, handle }
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        self.handle.shutdown();
    }
}
