//! The journal: what happened, and the fold that makes a machine's state of it.

mod event;
mod state;

pub use event::{Ask, Event, Record, Stream};
pub use state::{Boot, EnrolledBy, Job, LOCAL, MachineState, Offer, Run, RunStatus, TaskEnd, TaskRecord, TicketUse};
