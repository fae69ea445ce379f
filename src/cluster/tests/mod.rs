//! A cluster in memory: requests in order, as a store would apply them.

mod claims;
mod frozen;
mod history;
mod keys;
mod parts;
mod patches;
mod sets;

use super::{Answer, Caller, Condition, Content, Context, Document, Operation, Outcome, Refusal, Request, apply};
use crate::content::kinds::KeySpec;
use crate::journal::Event;
use serde_json::Value;

/// A document and what surrounds it.
pub(super) struct Cluster {
    pub document: Document,
    pub now_ms: u64,
    pub members: Vec<String>,
    pub size: u32,
    pub run: u64,
    pub keys: Vec<KeySpec>,
    pub epoch: Option<u64>,
    pub idempotency_key: Option<String>,
    pub fence: Option<(String, u64)>,
    pub events: Vec<Event>,
}

impl Cluster {
    /// Three members `a`, `b`, `c` of a cluster of that size.
    pub fn of_three() -> Self {
        Self {
            document: Document::default(),
            now_ms: 1_000,
            members: ["a", "b", "c"].map(str::to_owned).to_vec(),
            size: 3,
            run: 1,
            keys: Vec::new(),
            epoch: None,
            idempotency_key: None,
            fence: None,
            events: Vec::new(),
        }
    }

    pub fn context(&self, caller: Caller) -> Context {
        Context {
            now_ms: self.now_ms,
            now_unix_ms: 1_700_000_000_000,
            caller,
            epoch: self.epoch,
            members: self.members.clone().into(),
            size: self.size,
            run: self.run,
            keys: self.keys.clone().into(),
            idempotency_key: self.idempotency_key.clone(),
            fence: self.fence.clone(),
        }
    }

    pub fn ask(&mut self, caller: Caller, operation: Operation) -> Answer {
        let request = Request { cluster: "etcd".to_owned(), operation, context: self.context(caller) };
        let Outcome { document, answer, events } = apply(&self.document, &request);
        if let Some(document) = document {
            assert!(document.version > self.document.version, "a change has a version of its own");
            self.document = document;
        }
        self.events.extend(events);
        answer
    }

    pub fn put(&mut self, machine: &str, key: &str, value: Value, condition: Condition) -> Answer {
        let operation = Operation::Put { key: key.to_owned(), value: content(value), condition, secret: false };
        self.ask(machine_in(machine, 1), operation)
    }

    pub fn claim(&mut self, machine: &str, run: u64, claim: &str) -> super::ClaimAnswer {
        let operation = Operation::Claim { claim: claim.to_owned(), ttl_ms: 10_000 };
        match self.ask(machine_in(machine, run), operation) {
            Answer::Claim(answer) => answer,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn machine_in(machine: &str, run: u64) -> Caller {
    Caller::Machine {
        machine: machine.to_owned(),
        run,
        boot_id: "boot".to_owned(),
        job: None,
        token: format!("token-of-{machine}"),
        address: "192.0.2.1".to_owned(),
    }
}

pub(super) fn content(value: Value) -> Content {
    Content::from(value)
}

/// The refusal, or what was answered instead.
pub(super) fn refused(answer: Answer) -> Refusal {
    match answer {
        Answer::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}
