//! Tokens whose signature was verified already: a machine sends the same token with every question, and checking the
//! signature costs more than answering. Remembered is what the token says, under its digest, never the token. What may
//! end a token before its time (its lifetime, the generation, membership, the epoch) is asked each time as before.

use super::{Claims, SiteKeys, TokenError, token};
use ring::digest::{SHA256, digest};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Of each of two ages so many are remembered.
const KEPT: usize = 32_768;

type Known = HashMap<[u8; 32], Arc<Claims>>;

/// Two ages of verified tokens: when the young are many they become the old, and the old are forgotten. What is in use comes
/// back to the young.
#[derive(Default)]
pub struct Verified(Mutex<(Known, Known)>);

impl Verified {
    /// As [`super::verify`], with the signature checked once.
    ///
    /// # Errors
    /// As [`super::verify`].
    pub fn verify(&self, keys: &SiteKeys, text: &str, now_unix_ms: i64) -> Result<Arc<Claims>, TokenError> {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        if let Some(claims) = self.known(&key) {
            token::in_time(&claims, now_unix_ms)?;
            return Ok(claims);
        }
        let claims = Arc::new(super::verify(keys, text, now_unix_ms)?);
        self.remember(key, Arc::clone(&claims));
        Ok(claims)
    }

    fn known(&self, key: &[u8; 32]) -> Option<Arc<Claims>> {
        let mut ages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claims) = ages.0.get(key) {
            return Some(Arc::clone(claims));
        }
        let claims = ages.1.remove(key)?;
        ages.0.insert(*key, Arc::clone(&claims));
        Some(claims)
    }

    fn remember(&self, key: [u8; 32], claims: Arc<Claims>) {
        let mut ages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ages.0.len() >= KEPT {
            ages.1 = std::mem::take(&mut ages.0);
        }
        ages.0.insert(key, claims);
    }
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verified")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::{Audience, issue};

    fn claims(number: usize) -> Claims {
        Claims {
            id: number.to_string(),
            machine: "m".to_owned(),
            generation: 1,
            audience: Audience::Machine,
            cluster_epoch: None,
            boot_id: "b".to_owned(),
            run: 1,
            key_thumbprint: "k".to_owned(),
            issued_unix_ms: 0,
            expires_unix_ms: 2_000,
        }
    }

    #[test]
    fn a_remembered_token_ends_at_its_time_and_a_foreign_one_is_never_remembered() {
        let (keys, verified) = (SiteKeys::generate("lab").expect("keys"), Verified::default());
        let token = issue(&keys, &claims(1)).expect("a token");
        let first = verified.verify(&keys, &token, 1_000).expect("good");
        assert_eq!(*first, claims(1));
        assert!(Arc::ptr_eq(&first, &verified.verify(&keys, &token, 1_999).expect("good")), "verified once");
        assert_eq!(verified.verify(&keys, &token, 2_000), Err(TokenError::Expired { ago_ms: 0 }));
        let other = issue(&SiteKeys::generate("lab").expect("keys"), &claims(1)).expect("a token");
        for _ in 0..2 {
            assert_eq!(verified.verify(&keys, &other, 1_000), Err(TokenError::Foreign));
        }
        assert_eq!(verified.0.lock().expect("not poisoned").0.len(), 1);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_in_use_stays() {
        let verified = Verified::default();
        let key = |number: usize| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            key
        };
        for number in 0..5 * KEPT {
            verified.remember(key(number), Arc::new(claims(number)));
            assert!(verified.known(&key(0)).is_some(), "used all the time");
        }
        let ages = verified.0.lock().expect("not poisoned");
        assert!(ages.0.len() <= KEPT + 1 && ages.1.len() <= KEPT + 1);
    }
}
