//! The cluster profile at run time: one document, and the operations on it. Pure: no clock, no disk, no socket.
//!
//! `apply(document, request) -> outcome`; the store orders requests and makes outcomes durable.

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

/// The document. (Its shape is this module's own.)
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Document {
    /// Rises at a reset.
    pub epoch: u64,
    /// One up per accepted write, never down.
    pub version: u64,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {}

/// What the asker is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {}

/// What an operation comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The document after it; `None` where nothing changed.
    pub document: Option<Document>,
    /// What the asker is told.
    pub answer: Answer,
    /// Events for the cluster's stream, committed with it.
    pub events: Vec<Event>,
}
