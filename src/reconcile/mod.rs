//! From a revision to the catalog that serves: load, check, compile, swap once, whole or not at all.
//!
//! The last good revision goes on serving whatever happens to the source or to what is pushed. A revision that is refused is
//! tried once, and again only when something changes; a newer one is always tried. What was attempted and what is applied are
//! told apart ([`Status`]), and each outcome is an event of the site. While one is built and a newer one is seen, the work on
//! the older is thrown away. People may suspend all of it, or go back to a revision that was good ([`people`]): events too, so
//! that they outlive the process. Which of these happens is decided in [`decide`], and what needs a person's word
//! in [`guards`]; neither knows anything of what a catalog is: [`catalogs`] is how one is made.

mod adopt;
#[cfg(test)]
mod adopt_tests;
mod allowance;
#[cfg(test)]
mod allowed_once_tests;
mod build;
#[cfg(test)]
mod cost_tests;
mod decide;
#[cfg(test)]
mod decide_wipe_tests;
#[cfg(test)]
mod example_tests;
mod foresee;
#[cfg(test)]
mod guard_leave_tests;
mod guards;
mod history;
mod in_time;
mod mounted;
mod people;
mod pinned;
mod reconciler;
mod serving;
mod signed;
mod standing;
mod status;
mod task;
mod verdict;

#[cfg(test)]
mod people_tests;
#[cfg(test)]
mod test_store;
#[cfg(test)]
mod tests;

pub use allowance::{Allowance, Promise};
pub use build::{KeysInForce, catalogs, catalogs_by, sealed_catalogs};
pub use foresee::{Blind, Foresee, Foreseen, Loss};
pub use guards::{GoneSource, guard_bound, guard_leave, guard_leave_bound, guard_site, guard_wipe, of_push, said_in};
pub use history::{HistoryRow, NoWayBack, REVISION_LEAST, trusted_sources};
pub use in_time::{LOAD_MOST, in_time, until_late};
pub use mounted::Held;
pub use people::HoldError;
pub use reconciler::{Change, Hook, Parts, ReconcileError, Reconciler};
pub use standing::Standing;
pub use status::{AppliedRevision, Attempt, Outcome, Recent, Status};
pub use verdict::{Condition, ConditionRow, Verdict};

use crate::catalog::Catalog;
use crate::content::{Stop, Tree};
use std::sync::Arc;

/// How much a revision declares: what the guard against an emptied repository counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Census {
    /// Machines declared in Git.
    pub machines: usize,
    /// All objects, machines among them.
    pub objects: usize,
}

/// What a revision calls its site.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SiteName {
    /// The name; empty where it has none.
    pub name: String,
    /// Where it stands, as shown to people.
    pub place: String,
}

/// A revision that loaded whole.
#[derive(Debug)]
pub struct Built<C = Catalog> {
    /// The catalog.
    pub catalog: Arc<C>,
    /// What is in it.
    pub census: Census,
    /// Which site it is.
    pub site: SiteName,
    /// Findings that do not refuse it, as shown to people.
    pub warnings: Vec<String>,
}

/// Loads and compiles the files of a revision, or says all that is wrong with them. Leaves off when nobody waits for it.
pub type Build<C = Catalog> = dyn Fn(&Tree, &str, &Stop) -> Result<Built<C>, Vec<String>> + Send + Sync;
