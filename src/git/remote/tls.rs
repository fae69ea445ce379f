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

/// Why a host gave no answer, with what to do where its certificate is why. Pure.
pub(in crate::git) fn no_answer(error: &ureq::Error, authority_file: Option<&Path>) -> String {
    in_words(&error.to_string(), authority_file)
}

fn in_words(said: &str, authority_file: Option<&Path>) -> String {
    let what = if said.contains("CaUsedAsEndEntity") {
        "its certificate is that of an authority (CA:TRUE), which is no certificate of a server, also where it is trusted; give the host one \
         with `basicConstraints=critical,CA:FALSE`: signed by that authority, or by itself, and named in certificateAuthorityFile"
            .to_owned()
    } else if said.contains("UnknownIssuer") {
        match authority_file {
            Some(path) => format!("its certificate is of no authority in {}; put that of the host in there", path.display()),
            None => "its certificate is of no authority that this system trusts; name the host's own in certificateAuthorityFile"
                .to_owned(),
        }
    } else if said.contains("UnsupportedCertVersion") {
        "its certificate is of X.509 version 1, which is long out of use; give the host one of version 3".to_owned()
    } else {
        return format!("no answer: {said}");
    };
    format!("it is not trusted: {what}")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_is_not_taken_says_what_to_do() {
        let peer = |what: &str| format!("io: invalid peer certificate: {what}");
        let own = Some(Path::new("/etc/formwork/ca.pem"));
        for (said, file, expected) in [
            (peer("Other(OtherError(CaUsedAsEndEntity))"), own, "`basicConstraints=critical,CA:FALSE`"),
            (peer("UnknownIssuer"), own, "of no authority in /etc/formwork/ca.pem"),
            (peer("UnknownIssuer"), None, "name the host's own in certificateAuthorityFile"),
            (peer("Other(OtherError(UnsupportedCertVersion))"), None, "of X.509 version 1"),
            ("io: Connection refused".to_owned(), own, "no answer: io: Connection refused"),
        ] {
            let told = in_words(&said, file);
            assert!(told.contains(expected) && !told.contains("OtherError"), "{said}: {told}");
        }
    }
}
