//! The agent's key: made by the machine for itself, never sent anywhere.

use super::layout::write_atomically;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::io;
use std::path::Path;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The key's file could not be read or written.
    #[error("the agent's key {path}: {source}")]
    File {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The file is there and holds no key. It is never replaced: another key quarantines the machine.
    #[error("the agent's key {0} is damaged; a new one needs a new ticket: remove it and install or boot anew")]
    Damaged(String),
    /// The system gave no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// An Ed25519 key pair.
pub struct AgentKey {
    pair: Ed25519KeyPair,
}

impl AgentKey {
    /// The key kept in this file (mode 0600), or a new one put there. In a RAM environment the file lies in a tmpfs: the key is
    /// memory, gone with the boot, and yet an agent started anew in the same boot is the same identity.
    pub fn load_or_create(path: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::File { path: path.display().to_string(), source };
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| IdentityError::NoRandom)?;
                write_atomically(path, made.as_ref(), 0o600).map_err(failed)?;
                made.as_ref().to_vec()
            }
            Err(error) => return Err(failed(error)),
        };
        let pair =
            Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| IdentityError::Damaged(path.display().to_string()))?;
        Ok(Self { pair })
    }

    /// The public key, base64 (URL-safe, no padding).
    pub fn public_key(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref())
    }

    /// A signature over the message, base64 likewise.
    pub fn sign(&self, message: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(message.as_bytes()).as_ref())
    }
}

/// The id (`jti`) of a `v4.public` token: its payload is readable by whoever holds it (PASETO version 4, section 5.3).
pub fn token_id(token: &str) -> Option<String> {
    let payload = token.strip_prefix("v4.public.")?.split('.').next()?;
    let bytes = URL_SAFE_NO_PAD.decode(payload).ok()?;
    let message = bytes.get(..bytes.len().checked_sub(64)?)?;
    let claims: serde_json::Value = serde_json::from_slice(message).ok()?;
    Some(claims.get("jti")?.as_str()?.to_owned())
}

/// Random bytes as hexadecimal: capabilities and idempotency keys.
pub fn random_hex(bytes: usize) -> Result<String, IdentityError> {
    let mut buffer = vec![0u8; bytes];
    ring::rand::SecureRandom::fill(&SystemRandom::new(), &mut buffer).map_err(|_| IdentityError::NoRandom)?;
    Ok(super::transport::hex(&buffer))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_is_the_same_after_a_restart_and_another_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let first = AgentKey::load_or_create(&dir.path().join("a")).unwrap();
        let again = AgentKey::load_or_create(&dir.path().join("a")).unwrap();
        let other = AgentKey::load_or_create(&dir.path().join("b")).unwrap();
        assert_eq!(first.public_key(), again.public_key());
        assert_ne!(first.public_key(), other.public_key());
    }

    #[test]
    fn a_damaged_key_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, b"").unwrap();
        assert!(matches!(AgentKey::load_or_create(&path), Err(IdentityError::Damaged(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn a_tokens_id_is_read_from_its_payload() {
        let mut payload = br#"{"jti":"abc","sub":"node-1"}"#.to_vec();
        payload.extend([7u8; 64]);
        let token = format!("v4.public.{}", URL_SAFE_NO_PAD.encode(&payload));
        assert_eq!(token_id(&token).as_deref(), Some("abc"));
        assert_eq!(token_id(&format!("{token}.Zm9vdGVy")).as_deref(), Some("abc"));
        assert_eq!(token_id("v4.public."), None);
    }

    proptest! {
        #[test]
        fn no_text_makes_the_token_reader_panic(text in "(v4\\.public\\.)?.{0,200}") {
            let _ = token_id(&text);
        }
    }
}
