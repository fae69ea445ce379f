//! The HTTPS client that speaks with the servers of a site.

use std::sync::Arc;
use std::time::Duration;
use ureq::tls::{PemItem, RootCerts, TlsConfig, TlsProvider};

/// A blocking client that trusts the site's own authority (its certificates, PEM) and nobody else: by no proxy and no redirect does a
/// token go anywhere but to the server that is asked. Statuses are answers. `connect`: how long a connection is waited for; `whole`: and
/// how long an exchange, where each has the same bound. `None`: there is no certificate to trust.
pub fn site_client(authority: &str, connect: Duration, whole: Option<Duration>) -> Option<ureq::Agent> {
    let roots: Vec<_> = ureq::tls::parse_pem(authority.as_bytes())
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if roots.is_empty() {
        return None;
    }
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build();
    let client = ureq::Agent::config_builder()
        .tls_config(tls)
        .https_only(true)
        .proxy(None)
        .max_redirects(0)
        .http_status_as_error(false)
        .user_agent(concat!("formwork/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(connect))
        .timeout_global(whole)
        .build()
        .new_agent();
    Some(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_client_without_an_authority_to_trust() {
        let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, secret) = (key.cert.pem(), key.signing_key.serialize_pem());
        for (authority, is_there) in [(certificate.as_str(), true), ("", false), ("no PEM", false), (&secret, false)] {
            assert_eq!(site_client(authority, Duration::from_secs(1), None).is_some(), is_there, "{authority}");
        }
    }
}
