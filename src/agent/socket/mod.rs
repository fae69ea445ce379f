//! How scripts reach their agent: `formwork agent …` sends one JSON line over a unix socket and gets one back.
//!
//! The socket lies in a folder of mode 0700 and each question carries the job's capability. What needs a token (cluster, facts,
//! disk ticket) is done by the agent, so that no script ever holds one; what takes a script's place (running a leader's
//! command, writing a disk) is done by the client, so that it ends with the job.

pub mod client;
mod cluster;
mod commands;
mod elect;
pub mod server;
pub mod words;

/// The most bytes of standard input that a command takes.
pub const INPUT_LIMIT_BYTES: usize = 512 * 1024;
/// The most bytes of one line on the socket: the input, escaped, and the rest.
pub const LINE_LIMIT_BYTES: u64 = 4 * 1024 * 1024;

/// Exit codes of `formwork agent`, beside 0 (done), 1 (failed) and 2 (misused).
pub mod exit {
    /// Failed.
    pub const FAILED: i32 = 1;
    /// The command line is wrong.
    pub const MISUSED: i32 = 2;
    /// `elect` and `claim`: another leads.
    pub const FOLLOWER: i32 = 10;
    /// The claim that should produce a value failed or is vacant.
    pub const PRODUCER_FAILED: i32 = 24;
    /// A wait ended without what was waited for.
    pub const TIMED_OUT: i32 = 28;
}
