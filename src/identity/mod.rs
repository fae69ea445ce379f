//! Tickets, tokens, possession of keys, the site's authority. Keys are passed in; no socket, no clock, no disk.
//!
//! Selecting is not proving: MAC, UUID and serial say which machine a box claims to be. What proves it is a chain: a
//! [ticket](ticket_secret) served once a boot, exchanged together with a public key for tokens bound to that key
//! ([`verify_possession`]), and from then on [tokens](issue) with a generation that can be raised to kill them all.

mod administrator;
mod certificate;
mod keys;
mod possession;
mod ticket;
mod token;
pub mod user;
mod verified;

pub use administrator::AdministratorToken;
pub use certificate::{ca_fingerprint, issue_server_certificate, site_of_authority};
pub use keys::{KeyFiles, SiteKeys};
pub use possession::{thumbprint, verify_possession};
pub use ticket::{ticket_id, ticket_secret, verify_ticket};
pub use token::{Audience, Claims, TOKEN_LIFETIME_MS, TokenError, issue, verify};
pub use verified::Verified;

use ring::rand::{SecureRandom, SystemRandom};

/// Why keys, certificates or random numbers could not be made or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum IdentityError {
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    Random,
    /// A key file is not what it should be.
    #[error("{what} of the site's keys cannot be used: {why}; restore the state directory from its backup")]
    Key {
        /// Which.
        what: &'static str,
        /// What is wrong; never the key.
        why: String,
    },
    /// A certificate could not be made or read.
    #[error("the certificate cannot be made: {0}")]
    Certificate(String),
    /// A public key or signature that a machine sent.
    #[error("{0}")]
    Possession(String),
}

/// 128 random bits as 32 lower-case hexadecimal digits.
///
/// # Errors
/// [`IdentityError::Random`].
pub fn new_id() -> Result<String, IdentityError> {
    Ok(hexadecimal(&random::<16>()?))
}

/// What is wrong with a file of JSON, without the place that is told beside it.
pub(crate) fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message).to_owned()
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| IdentityError::Random)?;
    Ok(bytes)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sha256(bytes: &[u8]) -> String {
    hexadecimal(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_are_long_and_differ() {
        let (one, two) = (super::new_id().expect("random"), super::new_id().expect("random"));
        assert_eq!(one.len(), 32);
        assert_ne!(one, two);
    }
}
