//! That a machine has the private half of the key it shows.

use super::{IdentityError, sha256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, UnparsedPublicKey};

/// SHA-256 of a public key's bytes, lower-case hexadecimal: the key's name in tokens and events.
pub fn thumbprint(public_key: &[u8]) -> String {
    sha256(public_key)
}

/// Checks an Ed25519 signature (RFC 8032) over `message` and returns the key's [`thumbprint`]. Key and signature are base64,
/// URL-safe, without padding.
///
/// # Errors
/// [`IdentityError::Possession`] says which of them is wrong.
pub fn verify_possession(public_key: &str, message: &[u8], signature: &str) -> Result<String, IdentityError> {
    let wrong = |what: &str| IdentityError::Possession(what.to_owned());
    let decode = |text: &str, length: usize| {
        (text.len() <= 128).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten().filter(|bytes| bytes.len() == length)
    };
    let key = decode(public_key, 32)
        .ok_or_else(|| wrong("the public key is not 32 bytes in base64 (URL-safe, without padding)"))?;
    let signature = decode(signature, 64)
        .ok_or_else(|| wrong("the signature is not 64 bytes in base64 (URL-safe, without padding)"))?;
    UnparsedPublicKey::new(&ED25519, &key)
        .verify(message, &signature)
        .map_err(|_| wrong("the signature is not by this key over this message"))?;
    Ok(thumbprint(&key))
}

#[cfg(test)]
mod tests {
    use super::verify_possession;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use ring::signature::{Ed25519KeyPair, KeyPair as _};

    #[test]
    fn only_the_keys_own_signature_over_this_message_proves() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("a key");
        let key = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let signature = URL_SAFE_NO_PAD.encode(pair.sign(b"this").as_ref());
        let print = verify_possession(&key, b"this", &signature).expect("proved");
        assert_eq!(print.len(), 64);
        assert!(verify_possession(&key, b"that", &signature).is_err());
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).expect("a key");
        let other = URL_SAFE_NO_PAD.encode(other.public_key().as_ref());
        assert!(verify_possession(&other, b"this", &signature).is_err());
        for wrong in ["", "!", &"A".repeat(10_000)] {
            assert!(verify_possession(wrong, b"this", &signature).is_err());
            assert!(verify_possession(&key, b"this", wrong).is_err());
        }
    }
}
