//! Tokens: PASETO v4.public. Lifetimes are judged here by the server's clock, not by the library's.

use super::{IdentityError, SiteKeys};
use pasetors::Public;
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use serde::{Deserialize, Serialize};

/// How long a token lives, milliseconds: two hours.
pub const TOKEN_LIFETIME_MS: i64 = 2 * 60 * 60 * 1_000;
/// Longest token that is looked at, bytes.
const TOKEN_MAX: usize = 4_096;
/// Signed along with every token and never sent: a signature made for something else is none here.
const ASSERTION: &[u8] = b"formwork-token-v1";

/// What a token opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Audience {
    /// The machine itself and its jobs.
    Machine,
    /// One cluster's document and nothing else.
    Cluster(String),
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// Its own id.
    #[serde(rename = "jti")]
    pub id: String,
    /// The machine.
    pub machine: String,
    /// The machine's generation: a raised one ends it.
    pub generation: u64,
    /// What it opens.
    #[serde(rename = "aud")]
    pub audience: Audience,
    /// The cluster's epoch at issue, for a cluster token: a reset ends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_epoch: Option<u64>,
    /// The boot it was issued in.
    pub boot_id: String,
    /// The run it was issued in.
    pub run: u64,
    /// [`super::thumbprint`] of the agent's key: renewal needs that key.
    pub key_thumbprint: String,
    /// Issued at, Unix milliseconds by the server.
    pub issued_unix_ms: i64,
    /// Until, Unix milliseconds by the server.
    pub expires_unix_ms: i64,
}

/// Why a token opens nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is no token of ours.
    #[error("this is not a token of this site")]
    Foreign,
    /// Its time is over.
    #[error("the token ended {ago_ms} ms ago; renew it")]
    Expired {
        /// So long ago, milliseconds.
        ago_ms: i64,
    },
}

/// Signs a token. The result is secret.
///
/// # Errors
/// [`IdentityError::Key`] where the site's key cannot sign.
pub fn issue(keys: &SiteKeys, claims: &Claims) -> Result<String, IdentityError> {
    let wrong = |why: String| IdentityError::Key { what: "signing.key", why };
    let message = serde_json::to_vec(claims).map_err(|error| wrong(error.to_string()))?;
    PublicToken::sign(&keys.secret, &message, None, Some(ASSERTION)).map_err(|_| wrong("it cannot sign".to_owned()))
}

/// What a token says, where this site signed it and its time is not over. Whether its generation, membership and epoch still
/// stand is for the caller to ask.
///
/// # Errors
/// [`TokenError`].
pub fn verify(keys: &SiteKeys, token: &str, now_unix_ms: i64) -> Result<Claims, TokenError> {
    if token.len() > TOKEN_MAX {
        return Err(TokenError::Foreign);
    }
    let untrusted = UntrustedToken::<Public, V4>::try_from(token).map_err(|_| TokenError::Foreign)?;
    let trusted =
        PublicToken::verify(&keys.public, &untrusted, None, Some(ASSERTION)).map_err(|_| TokenError::Foreign)?;
    let claims: Claims = serde_json::from_str(trusted.payload()).map_err(|_| TokenError::Foreign)?;
    in_time(&claims, now_unix_ms)?;
    Ok(claims)
}

/// Whether its time is not over.
pub(super) fn in_time(claims: &Claims, now_unix_ms: i64) -> Result<(), TokenError> {
    if claims.expires_unix_ms <= now_unix_ms {
        return Err(TokenError::Expired { ago_ms: now_unix_ms.saturating_sub(claims.expires_unix_ms) });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Audience, Claims, TokenError, issue, verify};
    use crate::identity::SiteKeys;
    use proptest::prelude::*;

    fn claims() -> Claims {
        Claims {
            id: "0123".to_owned(),
            machine: "rack1-a".to_owned(),
            generation: 3,
            audience: Audience::Cluster("etcd".to_owned()),
            cluster_epoch: Some(1),
            boot_id: "b".to_owned(),
            run: 2,
            key_thumbprint: "ab".to_owned(),
            issued_unix_ms: 1_000,
            expires_unix_ms: 2_000,
        }
    }

    #[test]
    fn a_token_says_what_it_was_given_until_it_ends() {
        let keys = SiteKeys::generate("lab").expect("keys");
        let token = issue(&keys, &claims()).expect("a token");
        assert!(token.starts_with("v4.public."));
        assert_eq!(verify(&keys, &token, 1_999), Ok(claims()));
        assert_eq!(verify(&keys, &token, 2_000), Err(TokenError::Expired { ago_ms: 0 }));
        let other = SiteKeys::generate("lab").expect("keys");
        assert_eq!(verify(&other, &token, 1_999), Err(TokenError::Foreign));
    }

    #[test]
    fn a_changed_token_is_foreign() {
        let keys = SiteKeys::generate("lab").expect("keys");
        let token = issue(&keys, &claims()).expect("a token");
        for at in 0..token.len() {
            let mut bytes = token.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(bytes).expect("text");
            // The last characters of base64 may hold bits that nothing reads; the library refuses those as well.
            assert_eq!(verify(&keys, &changed, 1_000), Err(TokenError::Foreign), "at {at}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(v4\\.public\\.)?[A-Za-z0-9_.=-]{0,300}") {
            let keys = SiteKeys::from_files(&KEYS.with(Clone::clone)).expect("keys");
            prop_assert_eq!(verify(&keys, &text, 0), Err(TokenError::Foreign));
        }
    }

    thread_local! {
        static KEYS: crate::identity::KeyFiles = SiteKeys::generate("lab").expect("keys").to_files();
    }
}
