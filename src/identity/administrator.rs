//! Tokens of people. The server keeps what recognises one, not the token.

use super::{IdentityError, random, sha256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};

/// What recognises an administrator's token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AdministratorToken {
    /// Whose it is.
    pub name: String,
    /// SHA-256 of the token, lower-case hexadecimal. The token is 256 random bits: there is nothing to guess from it.
    pub sha256: String,
}

impl AdministratorToken {
    /// A new token (secret, shown once) and what recognises it.
    ///
    /// # Errors
    /// [`IdentityError::Random`].
    pub fn generate(name: &str) -> Result<(String, Self), IdentityError> {
        let token = format!("fwa_{}", URL_SAFE_NO_PAD.encode(random::<32>()?));
        let recognised = Self { name: name.to_owned(), sha256: sha256(token.as_bytes()) };
        Ok((token, recognised))
    }

    /// Whether `presented` is the token. An empty one never is. Takes as long whether or not it is.
    pub fn verify(&self, presented: &str) -> bool {
        // Comparing MACs of both under one key is comparing them in constant time; the key need not be secret for that.
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"formwork-administrator-v1");
        let given = hmac::sign(&key, sha256(presented.as_bytes()).as_bytes());
        !presented.is_empty() && hmac::verify(&key, self.sha256.as_bytes(), given.as_ref()).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::AdministratorToken;

    #[test]
    fn a_token_is_recognised_and_not_kept() {
        let (token, recognised) = AdministratorToken::generate("ada").expect("random");
        assert!(recognised.verify(&token));
        assert!(!recognised.verify("") && !recognised.verify(&recognised.sha256) && !recognised.verify(&token[1..]));
        assert!(!serde_json::to_string(&recognised).expect("text").contains(&token));
    }
}
