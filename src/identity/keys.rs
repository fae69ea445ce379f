//! The keys of a site: made once, kept with the store, backed up with it.

use super::{IdentityError, certificate, random};
use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::version4::V4;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// What a server proves itself and its machines with.
pub struct SiteKeys {
    seed: [u8; 32],
    pub(super) secret: AsymmetricSecretKey<V4>,
    pub(super) public: AsymmetricPublicKey<V4>,
    pub(super) ticket: [u8; 32],
    pub(super) authority_certificate: String,
    pub(super) authority_key: String,
}

/// The same as the bytes of four files, to be kept with mode 0600. Secret but for the certificate.
#[derive(Clone)]
pub struct KeyFiles {
    /// `signing.key`: the Ed25519 seed of tokens, 32 bytes.
    pub signing: Vec<u8>,
    /// `ticket.key`: what ticket secrets are derived from, 32 bytes.
    pub ticket: Vec<u8>,
    /// `authority.pem`: the certificate of the site's authority.
    pub authority_certificate: Vec<u8>,
    /// `authority.key`: its key, PKCS #8 in PEM.
    pub authority_key: Vec<u8>,
}

impl SiteKeys {
    /// New keys for a new site of that name.
    ///
    /// # Errors
    /// [`IdentityError::Random`], [`IdentityError::Certificate`].
    pub fn generate(site: &str) -> Result<Self, IdentityError> {
        let (certificate, key) = certificate::make_authority(site)?;
        Self::assemble(random()?, random()?, certificate, key)
    }

    /// From the bytes of the files.
    ///
    /// # Errors
    /// [`IdentityError::Key`] names the file.
    pub fn from_files(files: &KeyFiles) -> Result<Self, IdentityError> {
        let exact = |what, bytes: &[u8]| {
            <[u8; 32]>::try_from(bytes)
                .map_err(|_| IdentityError::Key { what, why: format!("it has {} bytes, not 32", bytes.len()) })
        };
        let text = |what, bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| IdentityError::Key { what, why: "it is not PEM".to_owned() })
        };
        let keys = Self::assemble(
            exact("signing.key", &files.signing)?,
            exact("ticket.key", &files.ticket)?,
            text("authority.pem", &files.authority_certificate)?,
            text("authority.key", &files.authority_key)?,
        )?;
        // Better found at the start than at the first machine.
        certificate::issue_server_certificate(&keys, &["localhost".to_owned()], &[])?;
        certificate::ca_fingerprint(&keys.authority_certificate)?;
        Ok(keys)
    }

    /// To the bytes of the files.
    pub fn to_files(&self) -> KeyFiles {
        KeyFiles {
            signing: self.seed.to_vec(),
            ticket: self.ticket.to_vec(),
            authority_certificate: self.authority_certificate.clone().into_bytes(),
            authority_key: self.authority_key.clone().into_bytes(),
        }
    }

    /// The authority's certificate, PEM: what machines pin.
    pub fn authority_certificate(&self) -> &str {
        &self.authority_certificate
    }

    fn assemble(
        seed: [u8; 32],
        ticket: [u8; 32],
        authority_certificate: String,
        authority_key: String,
    ) -> Result<Self, IdentityError> {
        let wrong = |why: &str| IdentityError::Key { what: "signing.key", why: why.to_owned() };
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| wrong("it is no Ed25519 seed"))?;
        let public = pair.public_key().as_ref();
        // PASETO's secret key is the seed followed by the public key (RFC 8032's, as libsodium keeps it).
        let mut secret = seed.to_vec();
        secret.extend_from_slice(public);
        Ok(Self {
            seed,
            secret: AsymmetricSecretKey::from(&secret).map_err(|_| wrong("it is no Ed25519 seed"))?,
            public: AsymmetricPublicKey::from(public).map_err(|_| wrong("it is no Ed25519 seed"))?,
            ticket,
            authority_certificate,
            authority_key,
        })
    }
}

impl std::fmt::Debug for SiteKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SiteKeys")
    }
}

#[cfg(test)]
mod tests {
    use super::SiteKeys;
    use crate::identity::{IdentityError, ticket_secret, verify_ticket};

    #[test]
    fn keys_survive_their_files_and_a_cut_file_is_named() {
        let keys = SiteKeys::generate("lab").expect("keys");
        let mut files = keys.to_files();
        let again = SiteKeys::from_files(&files).expect("the same keys");
        assert_eq!(verify_ticket(&again, &ticket_secret(&keys, "offer-1")).as_deref(), Some("offer-1"));
        files.ticket.pop();
        match SiteKeys::from_files(&files) {
            Err(IdentityError::Key { what, .. }) => assert_eq!(what, "ticket.key"),
            other => panic!("{other:?}"),
        }
        assert_eq!(format!("{keys:?}"), "SiteKeys");
    }
}
