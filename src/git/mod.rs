//! Where revisions come from: a bare repository on the local disk, repositories elsewhere ([`remote`]), or a plain directory for
//! authors.
//!
//! Content is read from the object database, nothing is checked out. Every revision that is looked at is copied, object by
//! object, into our own mirror (`<state>/mirror.git`), so that a run keeps its commit when people rewrite the branch, and so
//! that the last good revision still serves when the repository is away or broken. A plain directory becomes a synthetic
//! commit in that mirror only, so that runs can be pinned to it; the same files always give the same commit.
//!
//! One thread owns libgit2 (its `Repository` may be sent, not shared) and answers a bounded queue; [`Follower`] is the rest of
//! the program's handle to it. Only threads of [`remote`] wait for a network, so that a question about what the mirror holds
//! never does. This module decides nothing about content and never writes to the source; only what the
//! server's own repository has lost is put back from the mirror.
//!
//! Where the server has a policy of who may sign, [`Verifier`] gathers what the source shows of a revision's signatures, and
//! `trust` decides on it; the history that this needs is read from the source, the mirror has none.
//!
//! libgit2 refuses a repository that belongs to another user ([`GitError::NotOurs`]), and that stays so: who owns the
//! repository's files can change what the machines become. Run the server as the repository's owner, or name the path as
//! `safe.directory` in the configuration of the user the server runs as.

mod bounded;
mod changes;
#[cfg(test)]
mod changes_tests;
mod composite;
mod directory;
mod error;
mod follower;
mod frame;
mod gpg;
mod history;
mod init;
mod leave;
mod limits;
mod loose;
mod mend;
#[cfg(test)]
mod mend_tests;
mod mirror;
mod older;
mod once;
mod opened;
mod origins;
#[cfg(feature = "kubernetes")]
pub mod own;
mod owner;
mod packs;
mod prune;
pub mod receive;
pub mod regular;
pub mod remote;
mod rewritten;
mod sound;
mod source;
mod switch;
mod verified;
mod verify;
mod walk;
mod watch;
mod work_tree;

#[cfg(test)]
pub(crate) mod test_repository;
#[cfg(test)]
mod tests;

pub use error::GitError;
pub use follower::{ALONE, Follower};
pub use init::{init, work_tree_around};
pub use leave::{LEAVE_TRAILER, MayLeave};
pub use limits::{DEPTH, ENTRIES, TOTAL_BYTES};
pub use mirror::remembers;
pub use older::{Looked, read_history};
pub use once::{History, Written, read_once, work_tree_of};
pub use origins::{Origins, Part};
use owner::open;
pub use packs::{PackCache, PackError, RemoteReference};
pub use remote::Ears;
pub use sound::read_through;
pub use source::Source;
pub use verify::{MovedTag, Verifier};
pub use work_tree::submodules;

/// One commit of the content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its object id, hexadecimal.
    pub id: String,
    /// The first line of its message.
    pub summary: String,
    /// The whole message: its trailers may say what only a person can say.
    pub message: String,
}

impl Revision {
    /// So much of its id as people are shown, and as is enough to name it by.
    pub fn short(&self) -> &str {
        self.id.get(..12).unwrap_or(&self.id)
    }
}

/// What the last look at the source showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Nobody has looked yet.
    Nothing,
    /// The branch points to this revision.
    Head(Revision),
    /// The source could not be read; what was applied before goes on serving.
    Unavailable(GitError),
}
