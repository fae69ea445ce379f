//! Which source to follow.

use super::remote::Sources;
use std::path::PathBuf;

/// Where the content is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A repository on the local disk, bare or not. Only what is committed counts.
    Bare {
        /// The repository (for one with a work tree: the work tree or its `.git`).
        path: PathBuf,
        /// The branch to follow; none: the one that `HEAD` names.
        branch: Option<String>,
        /// The site's folder inside the repository; none: its root.
        subpath: Option<String>,
    },
    /// Repositories that are elsewhere, or several of them.
    Sources(Sources),
    /// A plain directory, as it stands. Names that begin with a dot or end with `~` are left out.
    Directory {
        /// The directory.
        path: PathBuf,
    },
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bare { path, branch, subpath } => {
                write!(f, "repository {}", path.display())?;
                if let Some(branch) = branch {
                    write!(f, ", branch {branch}")?;
                }
                if let Some(subpath) = subpath {
                    write!(f, ", folder {subpath}")?;
                }
                Ok(())
            }
            Self::Sources(sources) => sources.fmt(f),
            Self::Directory { path } => write!(f, "directory {}", path.display()),
        }
    }
}
