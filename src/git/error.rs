//! What can go wrong between a repository and a tree in memory.

use crate::content::Findings;
use std::path::PathBuf;

/// Why a source or a revision could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GitError {
    // -- the source: it may be mended, the same revision is tried again --
    /// Nothing is there.
    #[error("there is no repository or directory at {path}")]
    Missing {
        /// Where.
        path: PathBuf,
    },
    /// Something is there, and it is none.
    #[error("{path} is no Git repository")]
    NoRepository {
        /// Where.
        path: PathBuf,
    },
    /// It belongs to another user.
    #[error(
        "{path} belongs to another user, so it is not read; run the server as its owner, or name it: \
         git config --global --add safe.directory {path}"
    )]
    NotOurs {
        /// Where.
        path: PathBuf,
    },
    /// It is there and cannot be read.
    #[error("{path} cannot be read: {message}; look with: git -C {path} fsck")]
    Unreadable {
        /// Where.
        path: PathBuf,
        /// What libgit2 or the system said.
        message: String,
    },
    /// The branch is not there.
    #[error("{path} has no branch `{branch}`; push it, or name another branch")]
    NoBranch {
        /// Where.
        path: PathBuf,
        /// Which branch.
        branch: String,
    },
    /// `HEAD` names a branch without a commit.
    #[error("{path} has no commit yet; push one")]
    NoCommit {
        /// Where.
        path: PathBuf,
    },
    /// A repository elsewhere could not be looked at.
    #[error("{url}: {message}")]
    Fetch {
        /// Its URL, without credentials.
        url: String,
        /// Why, without credentials.
        message: String,
    },
    /// What was fetched cannot be kept here.
    #[error(
        "{path}, where this server keeps what it fetched, cannot be used: {message}; make room on its disk and see that the \
         server may write there; else move it away, and it is fetched again"
    )]
    Room {
        /// The repository in the state directory.
        path: PathBuf,
        /// What libgit2 or the system said.
        message: String,
    },
    /// A source's commit is not signed as it must be, and none before it was.
    #[error("source `{name}`: no commit of it is trusted: {finding}")]
    Untrusted {
        /// The source.
        name: String,
        /// What is wrong with the newest.
        finding: String,
    },
    /// Nothing is followed now.
    #[error("{why}")]
    NotFollowed {
        /// Why, in a word that stays the same.
        reason: &'static str,
        /// Why, in a sentence.
        why: String,
    },
    /// A branch was rewritten, and is held where it was.
    #[error(
        "{url}: {reference} was rewritten from {from} to {to}, and is held where it was; if that is meant, `formwork resume \
         --rewritten {name}` goes along with it (and `onRewrite: follow` always), or push a commit that goes on from {from}"
    )]
    Rewritten {
        /// The source.
        name: String,
        /// Its URL, without credentials.
        url: String,
        /// The branch or tag.
        reference: String,
        /// The commit that serves.
        from: String,
        /// The commit that it shows.
        to: String,
    },
    /// An object of a revision is missing or damaged.
    #[error("revision {revision} cannot be read from {path}: {message}; look with: git -C {path} fsck")]
    Damaged {
        /// The revision.
        revision: String,
        /// The repository.
        path: PathBuf,
        /// What libgit2 said.
        message: String,
    },

    /// A pack that the revision locks and does not hold cannot be fetched.
    #[error("pack {name} is locked and not vendored, and cannot be fetched: {message}")]
    Pack {
        /// The pack.
        name: String,
        /// What was wrong.
        message: String,
    },

    // -- the revision: what is in it will not change, so it is refused --
    /// The site's folder is not in it.
    #[error("revision {revision} has no folder `{subpath}`")]
    NoSubpath {
        /// The revision.
        revision: String,
        /// The folder.
        subpath: String,
    },
    /// The main source has something where another one is mounted.
    #[error(
        "the main source has something at `{mount}`, where another source is mounted; move it, or mount that one elsewhere"
    )]
    MountTaken {
        /// The folder.
        mount: String,
    },
    /// It is over a limit.
    #[error("{what} is over the limit of {limit}; content is text, images belong in the server's image folder")]
    TooLarge {
        /// What, with its path.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// Files that are too large, all that were found, as findings.
    #[error("{0}")]
    LargeFiles(Findings),
    /// A name that cannot be shown.
    #[error("the name of `{path}` is not UTF-8 or not a plain name; rename it")]
    BadName {
        /// The path, as well as it can be shown.
        path: String,
    },

    // -- ourselves --
    /// The mirror does not hold it, and neither does the source.
    #[error("revision {revision} is neither in the mirror nor in the source")]
    UnknownRevision {
        /// The revision.
        revision: String,
    },
    /// Not something that can name a revision or a run.
    #[error("`{name}` cannot name a revision or a run")]
    BadReference {
        /// What was given.
        name: String,
    },
    /// The mirror fails.
    #[error(
        "the mirror {path} fails: {message}; on a full disk make room, and it goes on; a damaged one is made anew when the server starts, of what is whole in it and in the source"
    )]
    Mirror {
        /// The mirror.
        path: PathBuf,
        /// What libgit2 or the system said.
        message: String,
    },
    /// A repository cannot be made ready to be pushed to.
    #[error("{path} cannot be pushed to: {message}")]
    Hooks {
        /// The repository.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The thread's queue is full.
    #[error("too many questions wait for the repository; ask again")]
    Busy,
    /// The thread has ended.
    #[error("the reader of the repository has stopped")]
    Stopped,
}

impl GitError {
    /// What it says where the source is followed: a command that looks once looks no second time.
    pub fn while_followed(&self) -> String {
        match self {
            Self::Missing { .. } => format!("{self}; it is looked for again every second"),
            _ => self.to_string(),
        }
    }

    /// What is wrong with a revision by its own fault, each for itself.
    pub fn findings(&self) -> Vec<String> {
        match self {
            Self::LargeFiles(findings) => findings.0.iter().map(ToString::to_string).collect(),
            other => vec![other.to_string()],
        }
    }

    /// Whether the fault lies in what was committed: trying the same revision again cannot help.
    pub const fn is_fault_of_revision(&self) -> bool {
        matches!(self, Self::NoSubpath { .. } | Self::TooLarge { .. } | Self::LargeFiles(_) | Self::BadName { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::GitError;

    #[test]
    fn only_where_a_source_is_followed_is_it_looked_for_again() {
        let missing = GitError::Missing { path: "/nowhere".into() };
        assert_eq!(missing.to_string(), "there is no repository or directory at /nowhere");
        assert_eq!(missing.while_followed(), format!("{missing}; it is looked for again every second"));
        assert_eq!(GitError::Busy.while_followed(), GitError::Busy.to_string());
    }
}
