//! The cluster profile at run time: one document, and the operations on it. Pure: no clock, no disk, no socket.
//!
//! [`apply`]`(document, request) -> outcome`; the store orders requests and makes outcomes durable. Everything an operation
//! depends on (who asks, when, who is a member, what is declared) travels in its [`Context`], so that the same requests in
//! the same order always give the same document.
//!
//! * the document has one version, one up per accepted write; each key, claim and set remembers the version that last
//!   changed it, and conditions are on those: machines that write different keys never conflict
//! * a claim goes free → held (fence, expiry) → done; expiry is judged when somebody asks, by the caller's clock
//! * a set gives ordinals in the order of joining; a barrier that opened stays open
//! * a reset raises the epoch, empties the document and goes on counting versions

mod answer;
mod apply;
mod claims;
mod document;
mod keys;
mod limits;
mod operation;
mod parts;
mod patch;
mod pointer;
mod sets;
#[cfg(test)]
mod tests;
mod view;

pub use answer::{Answer, ClaimAnswer, ClaimStanding, Current, Joined, Refusal, Role};
pub use apply::apply;
pub use document::{
    Barrier, Claim, ClaimState, Content, Document, Entry, Fall, Grant, Map, Member, Opening, Previous, Set, Writer,
    after_restart, next_expiry_ms,
};
pub use keys::declared;
pub use limits::{
    CLAIM_TTL_MAX_MS, CLAIM_TTL_MIN_MS, DOCUMENT_MAX_BYTES, KEYS_MAX, SET_MEMBERS_MAX, VALUE_MAX_BYTES, check_key,
    check_name,
};
pub use operation::{Condition, Count, Operation};
pub use parts::{Part, changed_parts};
pub use patch::{Action, Place, Step, has_condition, parse_patch};
pub use view::{
    Change, DocumentView, Secrets, changes_after, claim_json, document_view, entry_json, etag, parse_etag, set_json,
};

use crate::content::kinds::KeySpec;
use crate::journal::Event;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Who asks, and what is known around the question at the moment it is ordered.
#[derive(Debug, Clone, PartialEq)]
pub struct Context {
    /// The server's lifetime clock in milliseconds: monotonic, counted from the start of this process.
    pub now_ms: u64,
    /// Wall clock, for people.
    pub now_unix_ms: i64,
    /// Who asks.
    pub caller: Caller,
    /// The epoch that the caller's token was made for: a machine of an earlier epoch is told so and changes nothing.
    /// `None` where it is not known.
    pub epoch: Option<u64>,
    /// The members on the applied revision (Git and enrolments), sorted by name.
    pub members: Arc<[String]>,
    /// `spec.size`.
    pub size: u32,
    /// `spec.run`: the epoch is never below it.
    pub run: u64,
    /// Declared keys.
    pub keys: Arc<[KeySpec]>,
    /// `Idempotency-Key` of the request: the same key of the same caller gets the stored answer again.
    pub idempotency_key: Option<String>,
    /// `Fence: claim=42`: the write is refused once that claim went to another.
    pub fence: Option<(String, u64)>,
}

impl Context {
    /// Whether a machine belongs to the cluster on the applied revision.
    pub fn is_member(&self, machine: &str) -> bool {
        self.members.binary_search_by(|known| known.as_str().cmp(machine)).is_ok()
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "kind")]
pub enum Caller {
    /// A machine, by its cluster token.
    Machine {
        /// Its name.
        machine: String,
        /// Its run; claims fall when it rises.
        run: u64,
        /// Its boot; claims fall at an unexpected new one.
        boot_id: String,
        /// Its job, where it said.
        job: Option<String>,
        /// The token's id.
        token: String,
        /// Where it called from.
        address: String,
    },
    /// A person.
    Administrator {
        /// Their name.
        name: String,
    },
    /// The server itself (a fallen claim, a raised epoch).
    Server,
}

/// An operation on one cluster's document, as it enters the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The cluster profile's name.
    pub cluster: String,
    /// What is asked.
    pub operation: Operation,
    /// By whom and when.
    pub context: Context,
}

/// What an operation comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The document after it; `None` where nothing changed. It can be there beside a refusal: a raised `spec.run` empties
    /// the document whatever becomes of the operation that came first after it.
    pub document: Option<Document>,
    /// What the asker is told.
    pub answer: Answer,
    /// Events for the cluster's stream, committed with it.
    pub events: Vec<Event>,
}
