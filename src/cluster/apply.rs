//! The one function that changes a document.

use super::document::Reply;
use super::limits::{IDEMPOTENCY_KEY_MAX, REPLIES_MAX, reason};
use super::{Answer, Caller, ClaimStanding, Context, Document, Operation, Outcome, Refusal, Request};
use super::{after_restart, claims, keys, patch, sets};
use crate::journal::Event;

/// A document being changed: dropped whole where the operation is refused.
pub(super) struct Draft<'a> {
    /// The document as it will be.
    pub document: Document,
    /// Who asks and when.
    pub context: &'a Context,
    /// The version that this write will have.
    pub version: u64,
    /// Whether there is a write at all.
    pub changed: bool,
    /// What to tell the journal.
    pub events: Vec<Event>,
}

impl Draft<'_> {
    /// The answer to a write of keys.
    pub fn written(&mut self, created: bool) -> Answer {
        self.changed = true;
        Answer::Written { epoch: self.document.epoch, version: self.version, created }
    }

    /// The answer where there is nothing to do.
    pub fn unchanged(&self) -> Answer {
        Answer::Unchanged { epoch: self.document.epoch, version: self.document.version }
    }
}

/// Applies one operation. Pure: the same document and request give the same outcome.
pub fn apply(document: &Document, request: &Request) -> Outcome {
    let context = &request.context;
    let mut events = Vec::new();
    let raised = raise_epoch(document, context, &mut events);
    let start = raised.as_ref().unwrap_or(document);
    // A document that nobody wrote yet only takes its number here; that alone is not worth a write.
    let raised_alone = raised.as_ref().filter(|_| document.epoch != 0).cloned();

    let mut draft = Draft {
        document: start.clone(),
        context,
        version: start.version.saturating_add(1),
        changed: false,
        events: Vec::new(),
    };
    match run(&mut draft, &request.operation) {
        Ok(answer) if draft.changed => {
            draft.document.version = draft.version;
            if let Some(id) = reply_id(context, &request.operation) {
                keep_reply(&mut draft, id, &request.operation, &answer);
            }
            events.append(&mut draft.events);
            Outcome { document: Some(draft.document), answer, events }
        }
        Ok(answer) => Outcome { document: raised_alone, answer, events },
        Err(refusal) => Outcome { document: raised_alone, answer: Answer::Refused(refusal), events },
    }
}

/// The document after `spec.run` was raised above its epoch; `None` where it was not.
fn raise_epoch(document: &Document, context: &Context, events: &mut Vec<Event>) -> Option<Document> {
    let run = context.run.max(1);
    if document.epoch >= run {
        return None;
    }
    let mut next = document.at_run(run);
    if document.epoch != 0 {
        next.version = document.version.saturating_add(1);
        next.compacted = next.version;
        events.push(Event::EpochRaised { epoch: run, reason: format!("spec.run raised to {run}") });
    }
    Some(next)
}

fn run(draft: &mut Draft<'_>, operation: &Operation) -> Result<Answer, Refusal> {
    let context = draft.context;
    admit(draft, operation)?;
    if let Some(id) = reply_id(context, operation) {
        if context.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > IDEMPOTENCY_KEY_MAX) {
            return Err(Refusal::BadRequest {
                message: format!("an Idempotency-Key has 1 to {IDEMPOTENCY_KEY_MAX} characters"),
            });
        }
        if let Some(reply) = draft.document.replies.get(&id) {
            return if reply.fingerprint == fingerprint(operation) {
                Ok(reply.answer.clone())
            } else {
                Err(Refusal::KeyReused)
            };
        }
    }
    if let Some((claim, fence)) = &context.fence {
        keep_fence(draft, claim, *fence)?;
    }
    match operation {
        Operation::Put { key, value, condition, secret } => keys::put(draft, key, value, condition, *secret),
        Operation::Delete { key, condition } => keys::delete(draft, key, condition),
        Operation::Patch { steps, versions } => patch::patch(draft, steps, versions.as_deref()),
        Operation::Claim { claim, ttl_ms } => claims::ask(draft, claim, *ttl_ms),
        Operation::Renew { claim, fence, ttl_ms } => claims::renew(draft, claim, *fence, *ttl_ms),
        Operation::Done { claim, fence, publish } => claims::done(draft, claim, *fence, publish),
        Operation::Fail { claim, fence, retry, reason } => claims::fail(draft, claim, *fence, *retry, reason),
        Operation::Join { set, barrier } => sets::join(draft, set, *barrier),
        Operation::Open { set, count } => sets::open(draft, set, *count),
        Operation::Reset { reason } => Ok(reset(draft, reason)),
        Operation::Freeze { reason: why } => Ok(freeze(draft, Some(reason(why)))),
        Operation::Thaw => Ok(freeze(draft, None)),
        Operation::Restored { reason: why } => Ok(restored(draft, why)),
        Operation::Settle => Ok(claims::settle(draft)),
        Operation::MachineEnded { machine, reason } => Ok(claims::machine_ended(draft, machine, reason)),
    }
}

/// Who may ask this at all.
fn admit(draft: &Draft<'_>, operation: &Operation) -> Result<(), Refusal> {
    let wrong = |who: &str| Err(Refusal::WrongCaller { who: who.to_owned() });
    let context = draft.context;
    match (&context.caller, operation) {
        (Caller::Machine { .. }, Operation::Reset { .. } | Operation::Freeze { .. } | Operation::Thaw) => {
            wrong("an administrator")
        }
        (
            Caller::Machine { .. } | Caller::Administrator { .. },
            Operation::Settle | Operation::MachineEnded { .. } | Operation::Restored { .. },
        ) => wrong("the server"),
        (
            Caller::Administrator { .. } | Caller::Server,
            Operation::Claim { .. }
            | Operation::Renew { .. }
            | Operation::Done { .. }
            | Operation::Fail { .. }
            | Operation::Join { .. },
        ) => wrong("a machine"),
        (Caller::Machine { machine, .. }, _) => {
            if !context.is_member(machine) {
                return Err(Refusal::NotAMember { machine: machine.clone() });
            }
            match context.epoch {
                Some(token) if token != draft.document.epoch => {
                    Err(Refusal::EpochOver { epoch: draft.document.epoch, token })
                }
                _ => match &draft.document.frozen {
                    Some(reason) => Err(Refusal::Frozen { reason: reason.clone() }),
                    None => Ok(()),
                },
            }
        }
        _ => Ok(()),
    }
}

/// Refuses once the claim is not held, or done, with this fence.
fn keep_fence(draft: &Draft<'_>, claim: &str, fence: u64) -> Result<(), Refusal> {
    let state = draft.document.standing(claim, draft.context.now_ms);
    let latest = draft.document.claims.get(claim).map(|claim| claim.grant.fence);
    if latest == Some(fence) && matches!(state, ClaimStanding::Held | ClaimStanding::Done) {
        Ok(())
    } else {
        Err(Refusal::FenceLost { claim: claim.to_owned(), fence, state, latest })
    }
}

/// A new epoch, empty; versions go on.
fn reset(draft: &mut Draft<'_>, why: &str) -> Answer {
    let epoch = draft.document.epoch.saturating_add(1);
    draft.document =
        Document { epoch, version: draft.document.version, compacted: draft.version, ..Document::default() };
    draft.events.push(Event::EpochRaised { epoch, reason: reason(why) });
    draft.written(false)
}

/// Freezes, or thaws with `None`.
fn freeze(draft: &mut Draft<'_>, why: Option<String>) -> Answer {
    if draft.document.frozen == why {
        return draft.unchanged();
    }
    if why.is_none() {
        // Nobody could renew meanwhile.
        after_restart(&mut draft.document, draft.context.now_ms);
    }
    let by = match &draft.context.caller {
        Caller::Administrator { name } => name.clone(),
        _ => "formwork".to_owned(),
    };
    draft.events.push(Event::ClusterFrozen { by, reason: why.clone() });
    draft.document.frozen = why;
    draft.written(false)
}

/// More versions than any cluster takes between a backup and its return.
const RESTORED_JUMP: u64 = 1_000_000;

fn restored(draft: &mut Draft<'_>, why: &str) -> Answer {
    draft.version = draft.version.saturating_add(RESTORED_JUMP);
    claims::fall_all(draft, why);
    // Whoever followed the changes since the backup was told of versions that never were.
    draft.document.compacted = draft.version;
    freeze(draft, Some(reason(why)));
    draft.written(false)
}

/// Under which name a reply is kept; `None` for what can be repeated by its nature, and where no key was given.
fn reply_id(context: &Context, operation: &Operation) -> Option<String> {
    match operation {
        Operation::Put { .. }
        | Operation::Delete { .. }
        | Operation::Patch { .. }
        | Operation::Done { .. }
        | Operation::Fail { .. }
        | Operation::Reset { .. } => {}
        Operation::Claim { .. }
        | Operation::Renew { .. }
        | Operation::Join { .. }
        | Operation::Open { .. }
        | Operation::Freeze { .. }
        | Operation::Thaw
        | Operation::Restored { .. }
        | Operation::Settle
        | Operation::MachineEnded { .. } => return None,
    }
    let key = context.idempotency_key.as_deref()?;
    Some(match &context.caller {
        Caller::Machine { machine, run, .. } => format!("machine/{machine}/{run}/{key}"),
        Caller::Administrator { name } => format!("administrator/{name}/{key}"),
        Caller::Server => format!("server/{key}"),
    })
}

fn keep_reply(draft: &mut Draft<'_>, id: String, operation: &Operation, answer: &Answer) {
    let reply = Reply { version: draft.version, fingerprint: fingerprint(operation), answer: answer.clone() };
    let document = &mut draft.document;
    document.replies.insert_mut(id.clone(), reply);
    document.reply_order.insert_mut(draft.version, id);
    while document.reply_order.size() > REPLIES_MAX {
        let Some((version, id)) = document.reply_order.first().map(|(version, id)| (*version, id.clone())) else {
            break;
        };
        document.reply_order.remove_mut(&version);
        document.replies.remove_mut(&id);
    }
}

/// SHA-256 of the operation, the first sixteen bytes, hexadecimal.
fn fingerprint(operation: &Operation) -> String {
    // An operation is plain data: it always has a JSON text.
    let text = serde_json::to_vec(operation).unwrap_or_default();
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
