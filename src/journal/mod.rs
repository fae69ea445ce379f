//! The journal: what happened, and the fold that makes a machine's state of it.

mod event;

pub use event::{Ask, Event, Record, Stream};
