//! SSH signatures, as `ssh-keygen -Y sign` writes them (OpenSSH, PROTOCOL.sshsig) and `git commit -S` with `gpg.format=ssh` uses
//! them: ed25519, ECDSA, RSA and security keys, by a key or by a certificate.

use super::allowed_signers::{AllowedSigner, AllowedSigners};
use super::pattern::matches_list;
use super::{Refusal, Signer};
use base64::Engine as _;
use ssh_key::certificate::CertType;
use ssh_key::public::KeyData;
use ssh_key::{Certificate, HashAlg, PublicKey, Signature, SshSig};

/// The namespace that Git signs in.
pub const NAMESPACE: &str = "git";

const BEGIN: &str = "-----BEGIN SSH SIGNATURE-----";
const END: &str = "-----END SSH SIGNATURE-----";
const MAGIC: &[u8] = b"SSHSIG";
const VERSION: u32 = 1;
/// The longest signature, armored: the certificate in it may name many principals.
const ARMORED_MAX: usize = 64 * 1024;

/// Whether a signature is of this kind.
pub fn is_ssh(signature: &[u8]) -> bool {
    signature.trim_ascii_start().starts_with(BEGIN.as_bytes())
}

/// A signature taken apart; nothing is checked yet.
#[derive(Debug)]
struct Parts<'a> {
    key: Key,
    namespace: &'a str,
    hash: HashAlg,
    signature: Signature,
}

/// What a signature names as its key.
#[derive(Debug)]
enum Key {
    Plain(KeyData),
    Certificate(Box<Certificate>),
}

impl Key {
    fn data(&self) -> &KeyData {
        match self {
            Self::Plain(key) => key,
            Self::Certificate(certificate) => certificate.public_key(),
        }
    }

    fn fingerprint(&self) -> String {
        self.data().fingerprint(HashAlg::Sha256).to_string()
    }
}

/// Checks a signature of these bytes.
///
/// # Errors
/// Why it is not good: not a signature, of another namespace, by a key that is unknown, revoked, expired or not valid yet, or
/// not of these bytes.
pub fn verify(armored: &[u8], signed: &[u8], allowed: &AllowedSigners, now_unix_s: i64) -> Result<Signer, Refusal> {
    let blob = dearmor(armored).map_err(|reason| Refusal::new(None, reason))?;
    let parts = take_apart(&blob).map_err(|reason| Refusal::new(None, reason))?;
    let fingerprint = parts.key.fingerprint();
    let refuse = |reason: String| Refusal::new(Some(fingerprint.clone()), reason);
    if parts.namespace != NAMESPACE {
        return Err(refuse(format!("was made for the namespace `{}`, not for `{NAMESPACE}`", parts.namespace)));
    }
    if !fits(&parts, signed) {
        return Err(refuse("does not fit: what was signed was changed, or somebody else signed it".to_owned()));
    }
    let authority = match &parts.key {
        Key::Plain(_) => None,
        Key::Certificate(certificate) => Some(certificate.signature_key()),
    };
    if allowed.revoked.iter().any(|revoked| revoked == parts.key.data() || Some(revoked) == authority) {
        return Err(refuse("is by a key that was revoked".to_owned()));
    }
    let mut objection = None;
    let mut principals = Vec::new();
    for line in &allowed.lines {
        let named = match &parts.key {
            Key::Plain(key) => (!line.authority && line.key == *key)
                .then(|| Ok(line.principals.split(',').map(str::to_owned).collect::<Vec<_>>())),
            Key::Certificate(certificate) => (line.authority && line.key == *certificate.signature_key())
                .then(|| certified(certificate, line, now_unix_s)),
        };
        match named {
            None => {}
            Some(Ok(names)) => match line.objection(NAMESPACE, now_unix_s) {
                None => principals.extend(names),
                Some(why) => objection = Some(format!("is by a key {why}")),
            },
            Some(Err(why)) => objection = Some(why),
        }
    }
    if principals.is_empty() {
        let unknown = || match authority {
            None => "is by a key that no line of the allowed signers names".to_owned(),
            Some(key) => format!(
                "is by a certificate of the authority {}, which no line of the allowed signers names",
                key.fingerprint(HashAlg::Sha256)
            ),
        };
        return Err(refuse(objection.unwrap_or_else(unknown)));
    }
    principals.sort();
    principals.dedup();
    Ok(Signer { principals, key: fingerprint })
}

/// The principals of a certificate that an authority's line lets it speak for.
fn certified(certificate: &Certificate, line: &AllowedSigner, now_unix_s: i64) -> Result<Vec<String>, String> {
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    let now = u64::try_from(now_unix_s).unwrap_or(0);
    if certificate.verify_signature().is_err() {
        return Err("is by a certificate that its authority did not sign".to_owned());
    }
    if certificate.validate_at(now, [&authority]).is_err() {
        let when = if now < certificate.valid_after() { "is not valid yet" } else { "has expired" };
        return Err(format!("is by a certificate that {when}"));
    }
    if certificate.cert_type() != CertType::User {
        return Err("is by a certificate of a host".to_owned());
    }
    if let Some((option, _)) = certificate.critical_options().iter().next() {
        return Err(format!("is by a certificate with the critical option `{option}`, which is not known here"));
    }
    let names = certificate.valid_principals().iter();
    let allowed: Vec<String> = names.filter(|name| matches_list(name, &line.principals)).cloned().collect();
    if allowed.is_empty() {
        return Err("is by a certificate for principals that its authority's line does not allow".to_owned());
    }
    Ok(allowed)
}

fn dearmor(armored: &[u8]) -> Result<Vec<u8>, String> {
    let not_one = || "is not an SSH signature".to_owned();
    if armored.len() > ARMORED_MAX {
        return Err(format!("is longer than {} KiB", ARMORED_MAX >> 10));
    }
    let text = std::str::from_utf8(armored).map_err(|_| not_one())?.trim();
    let body = text.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(END)).ok_or_else(not_one)?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    base64::engine::general_purpose::STANDARD.decode(body).map_err(|_| not_one())
}

fn take_apart(blob: &[u8]) -> Result<Parts<'_>, String> {
    let broken = || "is broken".to_owned();
    let rest = blob.strip_prefix(MAGIC).ok_or_else(broken)?;
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(broken)?;
    let version = u32::from_be_bytes(*version);
    if version != VERSION {
        return Err(format!("has the version {version}, which is not known here"));
    }
    let (key, rest) = text(rest).ok_or_else(broken)?;
    let (namespace, rest) = text(rest).ok_or_else(broken)?;
    let (reserved, rest) = text(rest).ok_or_else(broken)?;
    let (hash, rest) = text(rest).ok_or_else(broken)?;
    let (signature, rest) = text(rest).ok_or_else(broken)?;
    // Reserved for later versions: what is in it would be signed too, and not be understood.
    if !rest.is_empty() || !reserved.is_empty() {
        return Err(broken());
    }
    let hash = match hash {
        b"sha256" => HashAlg::Sha256,
        b"sha512" => HashAlg::Sha512,
        _ => return Err("uses a hash that is not allowed (sha256 and sha512 are)".to_owned()),
    };
    let unreadable = |error: ssh_key::Error| format!("has a key that cannot be read: {error}");
    let is_certificate = text(key).is_some_and(|(name, _)| name.ends_with(b"-cert-v01@openssh.com"));
    // A key that is written in another way than its own is not taken, though the same key can be read from it.
    let (key, own) = if is_certificate {
        let certificate = Certificate::from_bytes(key).map_err(unreadable)?;
        let own = certificate.to_bytes().is_ok_and(|bytes| bytes == key);
        (Key::Certificate(Box::new(certificate)), own)
    } else {
        let public = PublicKey::from_bytes(key).map_err(unreadable)?;
        (Key::Plain(public.key_data().clone()), public.to_bytes().is_ok_and(|bytes| bytes == key))
    };
    if !own {
        return Err(broken());
    }
    Ok(Parts {
        key,
        namespace: std::str::from_utf8(namespace).map_err(|_| broken())?,
        hash,
        signature: Signature::try_from(signature).map_err(|_| broken())?,
    })
}

/// A length of four bytes and so many bytes, and what comes after them (RFC 4251, 5).
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

/// Whether the signature is of these bytes and by its key.
fn fits(parts: &Parts<'_>, signed: &[u8]) -> bool {
    let key = PublicKey::from(parts.key.data().clone());
    let signature = SshSig::new(parts.key.data().clone(), parts.namespace, parts.hash, parts.signature.clone());
    signature.is_ok_and(|signature| key.verify(parts.namespace, signed, &signature).is_ok())
}
