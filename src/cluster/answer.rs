//! What the asker is told.

use super::{Caller, Claim, ClaimState, Content, Context, Count, Opening, Previous};
use serde::{Deserialize, Serialize};

/// What the asker is told. Answers to accepted writes hold no values, so that they can be kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Answer {
    /// Written: the document has this version now.
    Written {
        /// Its epoch.
        epoch: u64,
        /// Its version; the written keys have the same.
        version: u64,
        /// The one key written was not there before.
        created: bool,
    },
    /// There was nothing to do.
    Unchanged {
        /// The document's epoch.
        epoch: u64,
        /// The document's version.
        version: u64,
    },
    /// How a claim stands, for the asker.
    Claim(ClaimAnswer),
    /// Joined a set, now or before.
    Joined(Joined),
    /// Refused: nothing changed.
    Refused(Refusal),
}

/// How a claim stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimStanding {
    /// Nobody asked for it in this epoch.
    Free,
    /// Held.
    Held,
    /// Done, finally.
    Done,
    /// It was held and fell: the next to ask gets it.
    Vacant,
    /// Failed for good.
    Failed,
}

/// What the asker is with regard to a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// It holds the claim, or did when it was done.
    Leader,
    /// Another does.
    Follower,
}

/// How a claim stands, for one machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClaimAnswer {
    /// The document's epoch.
    pub epoch: u64,
    /// The claim's version.
    pub version: u64,
    /// The claim.
    pub claim: String,
    /// What the asker is.
    pub role: Role,
    /// The fence of the latest grant.
    pub fence: u64,
    /// How it stands.
    pub state: ClaimStanding,
    /// The machine of the latest grant.
    pub holder: String,
    /// That machine's run.
    pub run: u64,
    /// Until it falls unless renewed, milliseconds, where it is held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
    /// Somebody held it before and did not finish: clean up first.
    pub takeover: bool,
    /// Who that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
}

impl ClaimAnswer {
    pub(super) fn of(name: &str, claim: &Claim, epoch: u64, context: &Context) -> Self {
        let state = claim.standing(context.now_ms);
        let own = matches!(&context.caller, Caller::Machine { machine, run, .. }
            if *machine == claim.grant.machine && *run == claim.grant.run);
        let leads = own && matches!(state, ClaimStanding::Held | ClaimStanding::Done);
        let expires_in_ms = match (state, &claim.state) {
            (ClaimStanding::Held, ClaimState::Held { expires_ms, .. }) => {
                Some(expires_ms.saturating_sub(context.now_ms))
            }
            _ => None,
        };
        Self {
            epoch,
            version: claim.version,
            claim: name.to_owned(),
            role: if leads { Role::Leader } else { Role::Follower },
            fence: claim.grant.fence,
            state,
            holder: claim.grant.machine.clone(),
            run: claim.grant.run,
            expires_in_ms,
            takeover: claim.grant.previous.is_some(),
            previous: claim.grant.previous.clone(),
        }
    }
}

/// A machine in a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Joined {
    /// The document's epoch.
    pub epoch: u64,
    /// The set's version.
    pub version: u64,
    /// The set.
    pub set: String,
    /// The machine's place, from 0; it keeps it.
    pub ordinal: u32,
    /// It joined by this call.
    pub created: bool,
    /// The opening of the barrier it named, where that is open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Opening>,
}

/// The value that a condition met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Current {
    /// The version that wrote it.
    pub version: u64,
    /// The value; none where the asker may not see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Content>,
}

/// Why an operation was refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Refusal {
    /// A name that does not follow the grammar.
    #[error(
        "`{name}` is not a name: write segments of a-z, 0-9, `.`, `_`, `-` that begin with a letter or digit \
         (keys may join several by `/`), 128 characters at most"
    )]
    BadName {
        /// The name.
        name: String,
    },
    /// A number or text outside of what is allowed.
    #[error("{message}")]
    BadRequest {
        /// What and what to write.
        message: String,
    },
    /// The machine is not a member on the applied revision.
    #[error("{machine} is not a member of this cluster on the applied revision")]
    NotAMember {
        /// The machine.
        machine: String,
    },
    /// Only machines can do this, or only administrators.
    #[error("only {who} can do this")]
    WrongCaller {
        /// Who can.
        who: String,
    },
    /// The token is of an earlier epoch: the cluster was begun anew.
    #[error("the cluster was begun anew: this is epoch {epoch}, the token is of epoch {token}")]
    EpochOver {
        /// The epoch now.
        epoch: u64,
        /// The token's.
        token: u64,
    },
    /// The key is not as the condition says.
    #[error("`{key}` is not as the condition says")]
    Condition {
        /// The key.
        key: String,
        /// The epoch now.
        epoch: u64,
        /// What is there.
        current: Option<Current>,
    },
    /// The document is not as the condition says.
    #[error("the document is not as the condition says: it is at {epoch}.{version}")]
    DocumentCondition {
        /// The epoch now.
        epoch: u64,
        /// The version now.
        version: u64,
    },
    /// A patch that cannot be read.
    #[error("{}{message}", index.map(|index| format!("operation {index}: ")).unwrap_or_default())]
    BadPatch {
        /// Which operation, from 0.
        index: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// An operation of a patch failed; none was done.
    #[error("operation {index}, {operation} at {path}, failed; nothing was changed")]
    PatchFailed {
        /// Which, from 0.
        index: usize,
        /// Its name.
        operation: String,
        /// Where.
        path: String,
        /// The epoch now.
        epoch: u64,
        /// What was there; nothing where there was nothing.
        met: Option<Content>,
        /// The key's version.
        version: Option<u64>,
    },
    /// The key is immutable and written already.
    #[error("`{key}` is declared immutable and was written in version {version}; the first write stands")]
    Immutable {
        /// The key.
        key: String,
        /// The version that wrote it.
        version: u64,
    },
    /// Another may write this key.
    #[error("`{key}` may be written by {writers} only")]
    NotAWriter {
        /// The key.
        key: String,
        /// Who may.
        writers: String,
    },
    /// The value breaks the declared schema.
    #[error("the value of `{key}` breaks its schema: {message}")]
    Schema {
        /// The key.
        key: String,
        /// How; the value is not in it.
        message: String,
    },
    /// Something would grow over its limit.
    #[error("{message}")]
    TooLarge {
        /// What and the limit.
        message: String,
    },
    /// Machines may not write now.
    #[error("the cluster is frozen: {reason}")]
    Frozen {
        /// Why.
        reason: String,
    },
    /// The claim is not held with that fence.
    #[error("the claim `{claim}` is not held with fence {fence} any more")]
    FenceLost {
        /// The claim.
        claim: String,
        /// The fence.
        fence: u64,
        /// How the claim stands now.
        state: ClaimStanding,
        /// The latest fence given, where one was.
        latest: Option<u64>,
    },
    /// Such an `Idempotency-Key` came with another question before.
    #[error("this Idempotency-Key was used for a different operation; make a new one for each operation")]
    KeyReused,
    /// A barrier that is not satisfied.
    #[error("{joined} have joined `{set}`, the barrier waits for {count}")]
    NotYet {
        /// The set.
        set: String,
        /// The barrier.
        count: Count,
        /// How many joined.
        joined: u32,
    },
    /// There is no such thing.
    #[error("there is no {what} `{name}` in this epoch")]
    NotFound {
        /// `claim`, `set`.
        what: String,
        /// Its name.
        name: String,
    },
}
