//! Who may say what the machines become: signatures of commits and tags, judged by a policy in the server's hands.
//!
//! The policy (`trust.yaml` and the key files it names) lies beside the server, never in the repository that it judges. Here it
//! is read ([`Policy`]), SSH signatures are checked ([`ssh`]), what `gpg` says of OpenPGP ones is understood ([`openpgp`]), and
//! one pure function decides ([`decide()`]): may this revision follow the one trusted last? What the repository shows is
//! gathered as [`Evidence`] by `git`; this module opens no repository, starts no program and asks no clock.

mod allowed_signers;
mod decide;
mod evidence;
pub mod openpgp;
mod pattern;
mod policy;
pub mod ssh;

#[cfg(test)]
mod tests;

pub use allowed_signers::{AllowedSigner, AllowedSigners, parse as parse_allowed_signers, parse_revoked};
pub use decide::{Signed, decide};
pub use evidence::{Base, CommitEvidence, Evidence, Seal, TagEvidence};
pub use pattern::{matches_list, matches_path};
pub use policy::{Check, KeyFile, Policy, Rewritten, Rule};

/// Somebody whose signature was good.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signer {
    /// The names that the policy gives the key.
    pub principals: Vec<String>,
    /// The key: `SHA256:…` of an SSH key, the primary fingerprint of an OpenPGP one.
    pub key: String,
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.principals.join(", "), self.key)
    }
}

/// Why a signature is not good. The text goes on after "is signed by …" or "its signature …".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The key, as far as it is known.
    pub key: Option<String>,
    /// In words.
    pub reason: String,
}

impl Refusal {
    pub(crate) fn new(key: Option<String>, reason: impl Into<String>) -> Self {
        Self { key, reason: reason.into() }
    }
}
