//! What can be asked of a document.

use super::{Content, Step};
use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "operation")]
pub enum Operation {
    /// Write one key.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: Content,
        /// What must be so.
        condition: Condition,
        /// Keep it from everybody but members, whether declared so or not.
        secret: bool,
    },
    /// Delete one key.
    Delete {
        /// The key.
        key: String,
        /// What must be so; [`Condition::Absent`] never is.
        condition: Condition,
    },
    /// Write and delete many keys, all or nothing.
    Patch {
        /// The operations, in order.
        steps: Vec<Step>,
        /// `If-Match`: the document is as one of these versions left it.
        versions: Option<Vec<(u64, u64)>>,
    },
    /// Ask for a claim: the first to ask holds it. Machines only.
    Claim {
        /// The claim.
        claim: String,
        /// How long it holds without renewal, milliseconds.
        ttl_ms: u64,
    },
    /// Renew a claim that is held.
    Renew {
        /// The claim.
        claim: String,
        /// The fence it was given with.
        fence: u64,
        /// A new lifetime, milliseconds; the one it had where `None`.
        ttl_ms: Option<u64>,
    },
    /// The claim's work is done: publish keys and end its expiry in one write.
    Done {
        /// The claim.
        claim: String,
        /// The fence it was given with.
        fence: u64,
        /// Keys to write, whatever they held.
        publish: Vec<(String, Content)>,
    },
    /// The claim's work failed.
    Fail {
        /// The claim.
        claim: String,
        /// The fence it was given with.
        fence: u64,
        /// Whether another may try (the claim is vacant) or the failure is for good.
        retry: bool,
        /// What went wrong.
        reason: String,
    },
    /// Join a set. Machines only.
    Join {
        /// The set.
        set: String,
        /// The barrier that the machine is going to wait at, so that its opening is recorded.
        barrier: Option<Count>,
    },
    /// Record the opening of a barrier that is satisfied without anybody joining (the cluster has fewer members now).
    Open {
        /// The set.
        set: String,
        /// The barrier.
        count: Count,
    },
    /// Begin anew: the epoch rises and everything is gone. Administrators and the server.
    Reset {
        /// Why.
        reason: String,
    },
    /// From now on machines change nothing, and are told why. Administrators and the server.
    Freeze {
        /// Why.
        reason: String,
    },
    /// Machines may write again; claims that are held get their lifetime anew. Administrators and the server.
    Thaw,
    /// The document came back from a backup: no version and no fence given since is given again, what was held falls, and
    /// it is frozen until a person has looked at it. The server only.
    Restored {
        /// Why it is frozen.
        reason: String,
    },
    /// Write down what time and Git did by themselves: expired claims, an epoch below `spec.run`. The server only.
    Settle,
    /// What the machine was doing ended: the claims it holds fall (a new run, a failed job, an unexpected boot, it left).
    /// The server only.
    MachineEnded {
        /// The machine.
        machine: String,
        /// What ended.
        reason: String,
    },
}

/// What must be so for a write to be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Condition {
    /// `If-None-Match: *`: the key is not there.
    Absent,
    /// `If-Match: "e.v"`: the key is there as that version (one of them) wrote it, in that epoch.
    Versions(Vec<(u64, u64)>),
    /// `If-Match: *`, for a write: whatever is there, or nothing.
    Any,
}

/// How many a barrier waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Count {
    /// Every member of the cluster, never fewer than its declared size.
    All,
    /// So many members.
    AtLeast(u32),
}

impl std::str::FromStr for Count {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            number => match number.parse() {
                Ok(count) if count > 0 => Ok(Self::AtLeast(count)),
                _ => Err(format!("`{number}` is not a count; write `all` or a number from 1")),
            },
        }
    }
}

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::All => f.write_str("all"),
            Self::AtLeast(count) => write!(f, "{count}"),
        }
    }
}
