//! Repositories that are elsewhere, and several of them in one site.
//!
//! ```text
//!  sources.yaml ──► one poller a source ──► board ──► conductor ──► what is seen
//!                   (waits for the network)           (judges, puts together)   │
//!                         │ fetched objects                   │ asks            ▼
//!                         ▼                                   ▼             reconciler
//!                   remotes/NAME.git ───── copies ─────► the thread that owns the mirror
//! ```
//!
//! Only pollers wait for the network, so that questions to the mirror never do. This module never writes to a repository, and
//! never shows a credential: they are read from files for one fetch, in a type that cannot be printed, and libgit2 does not get
//! to see them.

pub(super) mod ancestry;
mod board;
mod compose;
mod conductor;
mod fetch;
mod file;
mod follow;
pub mod forge;
mod history;
mod hook;
mod https;
mod job;
mod last_seen;
mod leaving;
mod permit;
mod poller;
mod probe;
mod schedule;
mod secret;
mod settings;
mod signed;
mod ssh;
pub(super) mod tls;
mod transport;
mod url;

pub use board::{Board, Reporting, SourceStatus};
pub use file::{parse_sources, read_sources};
pub use follow::Follow;
pub use hook::is_signed;
pub use probe::probe;
pub use secret::{Secret, SecretError};
pub use settings::{
    Allow, Credentials, Forge, ForgeKind, INTERVAL_LEAST, INTERVAL_MOST, OnRewrite, SourceSettings, Sources, Webhook,
    WebhookKind, is_folder,
};
pub use signed::Policies;
pub use url::{Location, UrlError, keyscan};

pub(super) use compose::{Part, message_of, parts_of};
pub use conductor::Ears;
pub(super) use last_seen::LastSeen;
pub(super) use start::{Asked, Before, Remote, start};

mod start;

use crate::content::Tree;
use crate::git::MayLeave;
use std::path::{Path, PathBuf};

/// Where a source's objects are: fetched ones beside the mirror.
pub(super) fn room_of(mirror: &Path, settings: &SourceSettings) -> PathBuf {
    fetch::Room::new(&mirror.with_file_name("remotes"), settings).repository
}

/// What happened to a source, for the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    /// Its branch was rewritten, or its tag moved.
    Rewritten {
        /// The source.
        source: String,
        /// The branch or tag.
        reference: String,
        /// The commit before.
        from: String,
        /// The commit that it shows now.
        to: String,
        /// Whether it is followed there.
        followed: bool,
    },
    /// What was fetched of it was damaged on this server's disk, and was fetched again.
    FetchedAgain {
        /// The source.
        source: String,
        /// The repository in the state directory.
        path: String,
        /// What was wrong with it.
        why: String,
    },
    /// A source's commit was refused by itself; its last good one goes on.
    Refused {
        /// The source.
        source: String,
        /// The commit.
        revision: String,
        /// Its subject line.
        summary: String,
        /// The findings, as shown to people.
        findings: Vec<String>,
    },

    /// Its commit is signed as the source's policy asks, and goes into the site.
    Trusted {
        /// The source.
        source: String,
        /// The commit.
        revision: String,
        /// Who signed it and what led to it.
        signed_by: Vec<String>,
    },
}

/// Who is told. It must not wait.
pub type News = dyn Fn(SourceEvent) + Send + Sync;

/// Whether a tree would serve, or all that is wrong with it: what a mounted source is judged by before it is put into the site.
pub type Judge = dyn Fn(&Tree, &str) -> Result<(), Vec<String>> + Send + Sync;

/// Which machines a person lets leave by a source's commit, beside what its own message says.
pub type Allowed = dyn Fn(&str) -> MayLeave + Send + Sync;
