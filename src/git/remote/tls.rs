//! The HTTPS client for repositories and forges: one source's authorities, no redirects, no proxy, a bound on the whole.

use crate::git::regular::{FILE_MAX, read_regular};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider};

/// A host that does not take a connection in this time is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A client for one exchange that may take so long. `authority_file`: the authorities to trust and no others; none: the system's.
///
/// # Errors
/// The authorities cannot be read; in a sentence.
pub(in crate::git) fn agent(authority_file: Option<&Path>, whole: Duration) -> Result<ureq::Agent, String> {
    let roots = match authority_file {
        Some(path) => of_file(path)?,
        None => of_system()?,
    };
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    Ok(ureq::Agent::config_builder()
        .tls_config(tls)
        .https_only(true)
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("git/2.40 formwork/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(CONNECT_TIMEOUT.min(whole)))
        .timeout_global(Some(whole))
        .build()
        .new_agent())
}

fn of_file(path: &Path) -> Result<Vec<Certificate<'static>>, String> {
    let pem = read_regular(path, FILE_MAX)
        .map_err(|error| format!("the authorities in {} cannot be read: {error}", path.display()))?;
    let roots: Vec<_> = ureq::tls::parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if roots.is_empty() {
        return Err(format!("there is no certificate in {}", path.display()));
    }
    Ok(roots)
}

fn of_system() -> Result<Vec<Certificate<'static>>, String> {
    let found = rustls_native_certs::load_native_certs();
    let roots: Vec<_> = found.certs.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    if roots.is_empty() {
        return Err("this system has no certificate authorities (package ca-certificates); name your own in certificateAuthorityFile".to_owned());
    }
    Ok(roots)
}
