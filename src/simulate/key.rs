//! A simulated agent's key and what it proves with it. Keys are real and from the system's random numbers: a seed must not be
//! enough to be one of these machines.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{Ed25519KeyPair, KeyPair};
use std::sync::Arc;

/// An Ed25519 key pair, shared by the agents that one boot or one disk has one after another.
#[derive(Clone)]
pub struct Key(Arc<Ed25519KeyPair>);

impl Key {
    /// A new one; `None` where the system has no random numbers.
    pub fn new() -> Option<Self> {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).ok()?;
        Ed25519KeyPair::from_pkcs8(pair.as_ref()).ok().map(|pair| Self(Arc::new(pair)))
    }

    /// The public key, as the wire has it.
    pub fn public(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.public_key().as_ref())
    }

    /// A signature, as the wire has it.
    pub fn sign(&self, message: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes()).as_ref())
    }
}

/// A random identity in the form of `/proc/sys/kernel/random/boot_id`.
pub fn boot_id() -> Option<String> {
    let mut bytes = [0_u8; 16];
    SystemRandom::new().fill(&mut bytes).ok()?;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let part = |range: std::ops::Range<usize>| hex.get(range).unwrap_or_default();
    Some([part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-"))
}
