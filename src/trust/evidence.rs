//! What a repository shows of a revision's signatures, gathered before anything is decided.

use super::{Refusal, openpgp};

/// What the new revision is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// The same revision was trusted before.
    Itself,
    /// It descends from this one, which was trusted before (or is the anchor).
    Ancestor(String),
    /// Nothing was trusted before, and there is no anchor.
    Nothing,
    /// It does not descend from this one, which was trusted before.
    Rewritten(String),
    /// This one was trusted before, and the repository does not have it any more.
    Gone(String),
    /// The anchor is not among the ancestors.
    NoAnchor(String),
}

/// A signature as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seal {
    /// There is none.
    None,
    /// By SSH: still to be checked.
    Ssh {
        /// The signature, armored.
        signature: Vec<u8>,
        /// What was signed.
        signed: Vec<u8>,
    },
    /// By OpenPGP: what `gpg` said.
    OpenPgp(Result<openpgp::Fingerprint, Refusal>),
    /// Of a kind that is not known here, such as X.509.
    Unknown,
}

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitEvidence {
    /// Its id.
    pub id: String,
    /// The first line of its message.
    pub summary: String,
    /// What it touches by itself, from the repository's root, sorted: of a merge only what no side of it had so.
    pub paths: Vec<String>,
    /// Its signature.
    pub seal: Seal,
}

/// An annotated tag of the new revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagEvidence {
    /// The reference's name, without `refs/tags/`.
    pub reference: String,
    /// The name that was signed.
    pub name: String,
    /// Its signature.
    pub seal: Seal,
}

/// All of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The new revision.
    pub tip: CommitEvidence,
    /// What it is compared with.
    pub base: Base,
    /// Commits since the base, where every one is asked about; the tip among them.
    pub commits: Vec<CommitEvidence>,
    /// More commits than are read.
    pub too_many: bool,
    /// What differs from the base; with none, all files of the site.
    pub difference: Vec<String>,
    /// Its annotated tags, where tags are asked about.
    pub tags: Vec<TagEvidence>,
}
