//! The journal: what happened, and the fold that makes a machine's state of it.

mod event;
mod hold;
mod parts;
mod record;
mod retention;
mod run;
mod state;
mod tasks;
#[cfg(test)]
mod tests;

pub use event::Event;
pub use hold::{Hold, Pin, Word};
pub use parts::{Ask, RefusedCommit};
pub use record::{Record, Stream};
pub use retention::{Cut, Retention, fold_below, jobs_of};
pub use run::{Job, Run, RunStatus, TaskEnd, TaskRecord};
pub use state::{Awaiting, Boot, EnrolledBy, LOCAL, MachineState, Offer, TicketUse};
pub use tasks::Tasks;
