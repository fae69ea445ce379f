//! What the document holds. Copies share everything that did not change ([`Map`]): one write on a thousand keys is cheap.

use super::{Answer, Caller, ClaimStanding, Count};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::sync::Arc;

/// A sorted map whose copies share their parts.
pub type Map<K, V> = rpds::RedBlackTreeMapSync<K, V>;

/// The document of one cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// Rises at a reset, and with `spec.run`; 0 where nothing was ever written.
    pub epoch: u64,
    /// One up per accepted write, never down, across epochs.
    pub version: u64,
    /// Names and values of all keys together, bytes.
    pub bytes: usize,
    /// Keys.
    pub keys: Map<String, Entry>,
    /// Claims that somebody asked for in this epoch.
    pub claims: Map<String, Claim>,
    /// Sets that somebody joined in this epoch.
    pub sets: Map<String, Set>,
    /// Keys deleted in this epoch and the version that did it, for streams of events; bounded.
    pub deleted: Map<String, u64>,
    /// A stream of events that stopped before this version cannot be resumed.
    pub compacted: u64,
    /// Machines change nothing while this is set, and are told this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<String>,
    /// Replies by caller and `Idempotency-Key`; bounded.
    pub(super) replies: Map<String, Reply>,
    /// The same by version, so that the oldest is found.
    pub(super) reply_order: Map<u64, String>,
}

impl Document {
    /// The document as it is once `spec.run` is `run`: an epoch below it is over, and so is all that it held.
    pub fn at_run(&self, run: u64) -> Self {
        let run = run.max(1);
        if self.epoch >= run {
            return self.clone();
        }
        Self { epoch: run, version: self.version, compacted: self.version, ..Self::default() }
    }

    /// How a claim stands at `now_ms`: one that is held past its expiry has fallen, whether or not anybody wrote that down.
    pub fn standing(&self, claim: &str, now_ms: u64) -> ClaimStanding {
        self.claims.get(claim).map_or(ClaimStanding::Free, |claim| claim.standing(now_ms))
    }
}

/// A JSON value that never shows itself in a log.
#[derive(Clone, PartialEq)]
pub struct Content(pub Arc<Value>);

impl Serialize for Content {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

impl Content {
    /// Length in bytes: of a string its own, of anything else that of its compact JSON.
    pub fn len(&self) -> usize {
        match &*self.0 {
            Value::String(text) => text.len(),
            other => other.to_string().len(),
        }
    }

    /// Whether it is an empty string.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<Value> for Content {
    fn from(value: Value) -> Self {
        Self(Arc::new(value))
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "({} bytes)", self.len())
    }
}

/// A key's value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// The value.
    pub value: Content,
    /// The version that last wrote it.
    pub version: u64,
    /// Its length, bytes ([`Content::len`]).
    pub bytes: usize,
    /// Shown to members only; everybody else sees how long it is.
    #[serde(default)]
    pub secret: bool,
    /// Who last wrote it.
    pub by: Writer,
    /// When, Unix milliseconds, for people.
    pub at_unix_ms: i64,
}

/// Who wrote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Writer {
    /// A machine in a run.
    Machine {
        /// Its name.
        machine: String,
        /// Its run.
        run: u64,
    },
    /// A person.
    Administrator(String),
    /// The server.
    Server,
}

impl From<&Caller> for Writer {
    fn from(caller: &Caller) -> Self {
        match caller {
            Caller::Machine { machine, run, .. } => Self::Machine { machine: machine.clone(), run: *run },
            Caller::Administrator { name } => Self::Administrator(name.clone()),
            Caller::Server => Self::Server,
        }
    }
}

/// A claim.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claim {
    /// The version that last changed it.
    pub version: u64,
    /// The latest grant.
    pub grant: Grant,
    /// What became of it.
    pub state: ClaimState,
}

impl Claim {
    /// How it stands at `now_ms`.
    pub fn standing(&self, now_ms: u64) -> ClaimStanding {
        match &self.state {
            ClaimState::Held { expires_ms, .. } if *expires_ms > now_ms => ClaimStanding::Held,
            ClaimState::Held { .. } | ClaimState::Vacant { .. } => ClaimStanding::Vacant,
            ClaimState::Done => ClaimStanding::Done,
            ClaimState::Failed { .. } => ClaimStanding::Failed,
        }
    }
}

/// To whom a claim was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The document's version at the grant: higher for every later one.
    pub fence: u64,
    /// The holder.
    pub machine: String,
    /// Its run.
    pub run: u64,
    /// Who held it before and did not finish, where somebody did: then this is a takeover.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// When, Unix milliseconds, for people.
    pub at_unix_ms: i64,
}

/// Who held a claim before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Previous {
    /// The machine.
    pub machine: String,
    /// Its run.
    pub run: u64,
    /// Its fence.
    pub fence: u64,
    /// How it lost the claim.
    pub fall: Fall,
}

/// What became of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "state")]
pub enum ClaimState {
    /// Held until it expires.
    Held {
        /// For so long from each renewal, milliseconds.
        ttl_ms: u64,
        /// Until this moment of the server's lifetime clock, milliseconds.
        expires_ms: u64,
    },
    /// Done: final within the epoch.
    Done,
    /// Nobody holds it: the next to ask gets it.
    Vacant {
        /// Why.
        fall: Fall,
    },
    /// Failed for good: final within the epoch.
    Failed {
        /// What the holder said.
        reason: String,
    },
}

/// Why a claim that was held is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "why")]
pub enum Fall {
    /// Not renewed in time.
    Expired,
    /// The holder's run, job or boot ended.
    Revoked {
        /// Which.
        reason: String,
    },
    /// The holder gave it back for another try.
    Released {
        /// What it said.
        reason: String,
    },
}

/// A set of machines in the order they joined.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Set {
    /// The version that last changed it.
    pub version: u64,
    /// Who joined, by name.
    pub members: Map<String, Member>,
    /// Who joined, by ordinal: contiguous from 0.
    pub order: Map<u32, String>,
    /// Barriers that somebody asked for, with their openings.
    pub barriers: Vec<Barrier>,
}

/// A machine in a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Its place in the order of joining, from 0; it keeps it, over reinstallations too.
    pub ordinal: u32,
    /// The version at which it joined.
    pub version: u64,
    /// When, Unix milliseconds, for people.
    pub at_unix_ms: i64,
}

/// A barrier on a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Barrier {
    /// For how many it waits.
    pub count: Count,
    /// Its opening. Once there it stays, whoever leaves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened: Option<Opening>,
}

/// The opening of a barrier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Opening {
    /// The version at which it opened.
    pub version: u64,
    /// With so many machines.
    pub joined: u32,
}

/// A stored answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply {
    /// The version of the write.
    pub version: u64,
    /// What was asked: the same key with another question is a mistake of the caller's.
    pub fingerprint: String,
    /// What was told.
    pub answer: Answer,
}

/// After a restart the clock counts from the start of the new process: every claim that is held gets a full lifetime again.
pub fn after_restart(document: &mut Document, now_ms: u64) {
    let held: Vec<(String, Claim)> = document
        .claims
        .iter()
        .filter(|(_, claim)| matches!(claim.state, ClaimState::Held { .. }))
        .map(|(name, claim)| (name.clone(), claim.clone()))
        .collect();
    for (name, mut claim) in held {
        if let ClaimState::Held { ttl_ms, .. } = claim.state {
            claim.state = ClaimState::Held { ttl_ms, expires_ms: now_ms.saturating_add(ttl_ms) };
            document.claims.insert_mut(name, claim);
        }
    }
}

/// The moment of the lifetime clock, milliseconds, at which the first of the claims that are held falls; it may be past.
pub fn next_expiry_ms(document: &Document) -> Option<u64> {
    document
        .claims
        .values()
        .filter_map(|claim| match claim.state {
            ClaimState::Held { expires_ms, .. } => Some(expires_ms),
            _ => None,
        })
        .min()
}
