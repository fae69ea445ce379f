//! Tickets: `id.secret`, the secret derived from the site's ticket key and the id, so that it can be served again after a
//! retry or a restart and nothing needs to be kept.

use super::SiteKeys;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

/// Longest ticket that is looked at, bytes.
const TICKET_MAX: usize = 512;
/// HKDF's salt: says what the secret is for.
const SALT: &[u8] = b"formwork-ticket-v1";

/// The whole ticket `id.secret` of that id. Secret.
///
/// HKDF with SHA-256 (RFC 5869), the id as `info`.
pub fn ticket_secret(keys: &SiteKeys, id: &str) -> String {
    format!("{id}.{}", URL_SAFE_NO_PAD.encode(derive(keys, id)))
}

/// The id of a ticket, unproved; for finding out what a refused ticket was.
pub fn ticket_id(ticket: &str) -> Option<&str> {
    let (id, _) = ticket.rsplit_once('.')?;
    (!id.is_empty() && ticket.len() <= TICKET_MAX).then_some(id)
}

/// The id of a ticket whose secret is right. Takes as long whether or not it is.
pub fn verify_ticket(keys: &SiteKeys, ticket: &str) -> Option<String> {
    let id = ticket_id(ticket)?;
    let (_, secret) = ticket.rsplit_once('.')?;
    let secret = URL_SAFE_NO_PAD.decode(secret).ok()?;
    // Comparing MACs of both under the same key is comparing them in constant time.
    let key = hmac::Key::new(hmac::HMAC_SHA256, &keys.ticket);
    let given = hmac::sign(&key, &secret);
    hmac::verify(&key, &derive(keys, id), given.as_ref()).ok()?;
    Some(id.to_owned())
}

/// HKDF with one block of output, written out (RFC 5869, section 2): this form cannot fail.
fn derive(keys: &SiteKeys, id: &str) -> [u8; 32] {
    let extracted = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SALT), &keys.ticket);
    let mut expand = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, extracted.as_ref()));
    expand.update(id.as_bytes());
    expand.update(&[1]);
    let mut secret = [0; 32];
    for (to, from) in secret.iter_mut().zip(expand.sign().as_ref()) {
        *to = *from;
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::{SALT, derive, ticket_secret, verify_ticket};
    use crate::identity::SiteKeys;
    use ring::hkdf;

    #[test]
    fn the_secret_is_what_hkdf_gives() {
        let keys = SiteKeys::generate("lab").expect("keys");
        let mut expected = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, SALT)
            .extract(&keys.ticket)
            .expand(&[b"offer-1"], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(&mut expected))
            .expect("one block");
        assert_eq!(derive(&keys, "offer-1"), expected);
    }

    #[test]
    fn a_ticket_is_the_same_each_time_and_proves_its_id_only() {
        let keys = SiteKeys::generate("lab").expect("keys");
        let ticket = ticket_secret(&keys, "offer-1");
        assert_eq!(ticket, ticket_secret(&keys, "offer-1"));
        assert_eq!(verify_ticket(&keys, &ticket).as_deref(), Some("offer-1"));
        let secret = ticket.split_once('.').expect("a dot").1;
        let other = SiteKeys::generate("lab").expect("keys");
        assert_eq!(verify_ticket(&other, &ticket), None, "another site");
        for wrong in [
            format!("offer-2.{secret}"),
            "offer-1.".to_owned(),
            "offer-1".to_owned(),
            format!(".{secret}"),
            String::new(),
            format!("offer-1.{}", "A".repeat(43)),
            format!("{}.{secret}", "x".repeat(1_000)),
        ] {
            assert_eq!(verify_ticket(&keys, &wrong), None, "{wrong}");
        }
    }
}
