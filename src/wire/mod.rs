//! What agent and server say to each other, and nothing else.
//!
//! Every message is JSON over TLS pinned to the site's certificate authority. Fields are only ever added; a reader ignores
//! what it does not know, so that an agent and a server of different ages understand each other as far as both can.
//! [`PROTOCOL`] rises when that is not enough, and the server then says which agent it wants (HTTP 426).

mod boot_file;
mod exchange;
mod facts;
mod job;
mod socket;
mod variables;

pub use boot_file::{BootFile, BootFileKind};
pub use exchange::{CheckInRequest, ClusterToken, ExchangeAnswer, ExchangeRequest, HardwareIdentity, RenewRequest};
pub use facts::{DiskState, FactsReport};
pub use job::{
    DestructiveGrant, ExitCodes, JobEnd, JobGrant, JobOutcome, JobRequest, MachineInfo, NextAnswer, NextRequest,
    OnInterrupt, Step, StepAction,
};
pub use socket::{SocketAnswer, SocketRequest};
pub use variables::{LONGEST_VARIABLE_BYTES, param_variables, variable_name};

/// The version of this protocol. The server serves [`PROTOCOL`] and [`OLDEST_PROTOCOL`] upward.
pub const PROTOCOL: u32 = 1;
/// The oldest agent protocol that the server still speaks.
pub const OLDEST_PROTOCOL: u32 = 1;

/// A message that the server sends with every refusal (any status of 400 and above), as JSON.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "server", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// A short, stable word in kebab-case for programs, such as `ticket-expired`.
    pub code: String,
    /// What is wrong, in a sentence for people; never holds a secret.
    pub message: String,
    /// What to do about it, where there is something to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Whether asking again later, unchanged, can succeed.
    #[serde(default)]
    pub retry: bool,
}
