//! Content that is encrypted in Git, in the format of SOPS, with age keys: values are decrypted in memory as a file is read, and
//! never written anywhere.
//!
//! A decrypted value does not become a value of the catalog. A param that is given (or part of which is given) by an encrypted
//! value becomes a reference to a secret, `{secret: sops/PARAM/DIGEST}`, as `{secret: NAME}` is one to the server's secrets
//! folder: so plans, differences, pages and events show what they show of any secret, by construction. What it stands for lies
//! sealed beside the document ([`Sealed`]), is opened where a job is made and nowhere else, goes when the last catalog (or
//! cache) that has the document goes, and is wiped then. The digest is of the ciphertext, which SOPS keeps as long as the value
//! is the same: so that a changed secret is a change, and nothing is told of what it is.
//!
//! Only `spec.params` (and a Param's `spec.default`) may be encrypted; names, labels and addresses are there to be shown.

mod cipher;
mod data_key;
mod file;
mod identities;
mod sealed;
mod stanza;
#[cfg(test)]
mod tests;

pub(crate) use file::open;
pub use identities::{Identities, IdentitiesError};
pub use sealed::Sealed;
use std::sync::Arc;

/// What is known of the keys to encrypted files.
#[derive(Clone, Default)]
pub enum Keys {
    /// Nothing: values stay unknown, as those of the secrets folder are, and only the shape around them is checked. For
    /// authors, who need not have the keys.
    #[default]
    Unknown,
    /// These there are; a file that none of them opens is refused.
    Known(Arc<Identities>),
    /// Several sources are put together, and each opens what is its own.
    Apart(Arc<Apart>),
}

/// Whose keys open which files, where several sources are put together: a file that one of them copied from another is not opened
/// for it.
#[derive(Debug)]
pub struct Apart {
    /// For the site's own files.
    pub site: Identities,
    /// For the files below each of these folders, and nothing else.
    pub folders: Vec<(String, Identities)>,
}

impl Keys {
    /// What opens this file, and the mounted folder that it lies in; none: nothing is known of keys.
    fn of(&self, file: &str) -> Option<(&Identities, Option<&str>)> {
        match self {
            Self::Unknown => None,
            Self::Known(identities) => Some((identities, None)),
            Self::Apart(apart) => {
                let below = |folder: &str| file.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'));
                let own = apart.folders.iter().find(|(folder, _)| below(folder));
                Some(own.map_or((&apart.site, None), |(folder, identities)| (identities, Some(folder))))
            }
        }
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => f.write_str("Unknown"),
            Self::Known(identities) => write!(f, "Known({})", identities.len()),
            Self::Apart(apart) => write!(f, "Apart({}, {} folders)", apart.site.len(), apart.folders.len()),
        }
    }
}
