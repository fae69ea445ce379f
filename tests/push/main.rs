//! Pushes by real git clients to a real server over TLS, and over a real sshd with our hooks: what is taken, what is refused, and what
//! stands on the pusher's terminal.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test ends where something is not as it should be"
)]

mod answers;
#[path = "../bed/mod.rs"]
mod bed;
mod bounds;
mod broken;
mod closed;
mod leave;
mod permissions;
mod restarts;
mod site;
mod ssh;
mod transfers;
mod wipe;
