//! Receiving pushes: a repository of the server's own, git's server code as a child, the hooks that ask before a branch moves.
//!
//! git does the protocol ([`Backend`] runs `git http-backend`); what a push may do is decided here without looking at content
//! ([`refusals`], pure), and what it would do to machines above, by whoever knows them. Nothing here writes to a repository but
//! git itself; we make it, configure it, and write its hooks.

mod backend;
mod clashes;
mod feed;
mod gunzip;
mod hooks;
mod leftovers;
mod options;
mod points;
mod quarantine;
mod repository;
mod standing;
mod updates;
mod users;

pub use backend::{Answer, Ask, Backend, BackendError, Service};
pub use hooks::{HOOKS, Installed, WhenAway, folder_of, install};
pub use options::{PushOptions, Said, parse_options};
pub use points::points_to;
pub use quarantine::{Received, in_quarantine};
pub use repository::{Hosted, PUSH_BYTES_MAX};
pub use standing::is_noexec;
pub use updates::{Moved, Refusal, UPDATES_MAX, Update, refusals, short_name};
pub use users::{Users, UsersError};
