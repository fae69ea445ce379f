//! The site's certificate authority and the server's certificates.
//!
//! Both are valid from 1970: a machine whose clock battery is flat must be able to speak to the server before anything has set
//! its clock. What is trusted is the pinned authority, not a date.

use super::{IdentityError, SiteKeys, sha256};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::net::IpAddr;

/// How the common name of an authority begins; the name of its site follows.
const AUTHORITY_OF: &str = "Formwork authority of ";

/// A new authority for a site: its certificate and key, PEM.
pub(super) fn make_authority(site: &str) -> Result<(String, String), IdentityError> {
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
    params.distinguished_name = name(&format!("{AUTHORITY_OF}{site}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lifetime(&mut params);
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// A certificate (EC P-256) for a server known by these names and addresses: the chain and the key, PEM. The key is secret.
///
/// # Errors
/// [`IdentityError::Certificate`]: a name that cannot be in a certificate, an authority that cannot sign.
pub fn issue_server_certificate(
    keys: &SiteKeys,
    names: &[String],
    addresses: &[IpAddr],
) -> Result<(String, String), IdentityError> {
    let authority_key = KeyPair::from_pem(&keys.authority_key).map_err(failed)?;
    let issuer = Issuer::from_ca_cert_pem(&keys.authority_certificate, authority_key).map_err(failed)?;
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(names.to_vec()).map_err(failed)?;
    params.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
    params.distinguished_name = name("Formwork server");
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    lifetime(&mut params);
    let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
    Ok((format!("{}{}", certificate.pem(), keys.authority_certificate), key.serialize_pem()))
}

/// SHA-256 over the DER of the first certificate in `pem`, lower-case hexadecimal: what is pinned and shown to people.
///
/// # Errors
/// [`IdentityError::Certificate`] where there is none.
pub fn ca_fingerprint(pem: &str) -> Result<String, IdentityError> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| IdentityError::Certificate(format!("there is no certificate in the PEM text: {error:?}")))?;
    Ok(sha256(&der))
}

/// The site whose authority the first certificate in `pem` is; `None` where it does not say.
pub fn site_of_authority(pem: &str) -> Option<String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
    name.strip_prefix(AUTHORITY_OF).map(str::to_owned)
}

fn lifetime(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(1970, 1, 1);
    params.not_after = date_time_ymd(2120, 1, 1);
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn failed(error: rcgen::Error) -> IdentityError {
    IdentityError::Certificate(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::{ca_fingerprint, issue_server_certificate, site_of_authority};
    use crate::identity::SiteKeys;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use std::sync::Arc;
    use std::time::Duration;

    fn accepts(authority: &str, chain: &str, server: &str, at_seconds: u64) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).expect("pem")).expect("root");
        let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
            Arc::new(roots),
            Arc::new(rustls::crypto::ring::default_provider()),
        )
        .build()
        .expect("verifier");
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<_, _>>().expect("chain");
        let name = ServerName::try_from(server.to_owned()).expect("name");
        let now = UnixTime::since_unix_epoch(Duration::from_secs(at_seconds));
        verifier.verify_server_cert(&chain[0], &chain[1..], &name, &[], now).is_ok()
    }

    #[test]
    fn a_server_is_trusted_by_its_names_under_its_authority_whatever_the_clock_says() {
        let keys = SiteKeys::generate("lab").expect("keys");
        let names = ["formwork.example".to_owned()];
        let (chain, key) = issue_server_certificate(&keys, &names, &["10.0.0.1".parse().expect("ip")]).expect("issued");
        assert!(key.contains("PRIVATE KEY"));
        for now in [86_400, 1_000_000_000, 4_000_000_000] {
            assert!(accepts(keys.authority_certificate(), &chain, "formwork.example", now), "{now}");
            assert!(accepts(keys.authority_certificate(), &chain, "10.0.0.1", now), "{now}");
        }
        assert!(!accepts(keys.authority_certificate(), &chain, "other.example", 1_000_000_000));
        let other = SiteKeys::generate("lab").expect("keys");
        assert!(!accepts(other.authority_certificate(), &chain, "formwork.example", 1_000_000_000));
    }

    #[test]
    fn a_fingerprint_is_of_the_certificate() {
        let keys = SiteKeys::generate("lab").expect("keys");
        let print = ca_fingerprint(keys.authority_certificate()).expect("print");
        assert_eq!(print.len(), 64);
        assert!(ca_fingerprint("nothing").is_err());
    }

    #[test]
    fn an_authority_says_of_which_site_it_is() {
        let keys = SiteKeys::generate("lab").expect("keys");
        let (chain, _) = issue_server_certificate(&keys, &["a.example".to_owned()], &[]).expect("issued");
        let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().expect("a leaf");
        for (pem, site) in [(keys.authority_certificate(), Some("lab")), (leaf, None), ("nothing", None)] {
            assert_eq!(site_of_authority(pem).as_deref(), site);
        }
    }
}
