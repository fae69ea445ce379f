//! The fleet in memory: every machine's folded state, who a box is, decisions driven to their answers, jobs granted.
//!
//! Nothing here is the truth: all of it is made from the store's events and the applied revision, and can be thrown away.

#[cfg(test)]
mod approval_tests;
mod bucket;
mod clock;
#[cfg(test)]
mod counting;
mod decide;
mod entry;
mod files;
mod foresee;
mod grant;
mod heard;
mod identify;
mod index;
mod installer;
mod logs;
mod machines;
mod members;
mod overdue;
mod pins;
mod retention;
mod secrets;
#[cfg(test)]
mod store_tests;
mod take_in;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod tickets;

pub use clock::Clock;
pub use decide::{Decision, ToAsk};
pub use entry::{Entry, Live};
pub use grant::GrantError;
pub use identify::{Resolved, ToAdopt, would_take_in};
pub use logs::Granted;
pub use machines::{BoxRow, Fleet, Identity};
pub use pins::Pins;
pub use retention::{Logs, Looked};
pub use secrets::Secrets;
pub(crate) use tickets::asks_approval;
pub use tickets::{ExchangeError, TokenRefusal};
