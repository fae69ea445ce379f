//! From how content stands to conditions: which of Ready, Reconciling and Stalled holds, for which reason, in a sentence. Pure.
//!
//! Kubernetes' kstatus reads them the same way: exactly one of the three is true.

use super::status::{Attempt, Outcome, Status};
use serde::{Deserialize, Serialize};

/// So many tries in a row that were postponed: about a quarter of a minute.
const STALLED_AFTER: u32 = 5;

/// The one word for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Condition {
    /// What the source shows is what serves.
    Ready,
    /// On the way.
    Reconciling,
    /// It does not go on by itself: the revision is refused, the source cannot be read, or a person said so.
    Stalled,
}

impl Condition {
    const ALL: [Self; 3] = [Self::Ready, Self::Reconciling, Self::Stalled];

    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
        }
    }
}

/// A condition as programs read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConditionRow {
    /// `Ready`, `Reconciling` or `Stalled`; of a source with a forge also `Reporting`, beside these.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True` or `False`.
    pub status: String,
    /// Why, in a word that stays the same.
    pub reason: String,
    /// Why, in a sentence.
    pub message: String,
    /// Since when its status is this, Unix milliseconds.
    pub last_transition_unix_ms: i64,
}

/// What holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which.
    pub condition: Condition,
    /// Why, in a word that stays the same.
    pub reason: &'static str,
    /// Why, in a sentence.
    pub message: String,
}

impl Verdict {
    pub(super) fn new(condition: Condition, reason: &'static str, message: String) -> Self {
        Self { condition, reason, message }
    }
}

/// The three conditions. A time moves only where the status does.
pub(super) fn rows(verdict: &Verdict, before: &[ConditionRow], now_unix_ms: i64) -> Vec<ConditionRow> {
    let row = |condition: Condition| {
        let status = if condition == verdict.condition { "True" } else { "False" };
        let last = before.iter().find(|row| row.kind == condition.as_str() && row.status == status);
        ConditionRow {
            kind: condition.as_str().to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.to_owned(),
            message: verdict.message.clone(),
            last_transition_unix_ms: last.map_or(now_unix_ms, |row| row.last_transition_unix_ms),
        }
    };
    Condition::ALL.map(row).to_vec()
}

/// Which condition holds, by what is seen of the whole.
pub(super) fn verdict(status: &Status) -> Verdict {
    let serving = match &status.applied {
        Some(applied) => format!("revision {} serves", short(&applied.revision)),
        None => "no revision serves".to_owned(),
    };
    if let Some(why) = &status.unavailable {
        let held = held(status).map(|held| format!("; {held}")).unwrap_or_default();
        let reason = status.unavailable_reason.unwrap_or("SourceUnavailable");
        return Verdict::new(Condition::Stalled, reason, format!("{why}{held}; {serving}"));
    }
    let applied = status.applied.as_ref().map(|applied| applied.revision.as_str());
    if let Some(pin) = &status.pinned
        && applied != Some(pin.revision.as_str())
    {
        return pin_to_come(status, &pin.revision, &serving);
    }
    let Some(head) = status.head.as_deref() else {
        return Verdict::new(Condition::Reconciling, "Looking", format!("the source is being looked at; {serving}"));
    };
    if let Some(held) = held(status) {
        let reason = if status.pinned.is_some() { "Pinned" } else { "Suspended" };
        if applied == Some(head) {
            return Verdict::new(Condition::Ready, reason, format!("{serving}; {held}"));
        }
        let waits = format!("revision {} {}", short(head), while_held(last_of(status, head)));
        return Verdict::new(Condition::Stalled, reason, format!("{held}; {waits}; {serving}"));
    }
    followed(status, head, serving)
}

/// Nothing holds it back: what came of the head.
fn followed(status: &Status, head: &str, serving: String) -> Verdict {
    let loading = |what: &str| {
        let message = format!("revision {} is being {what}{}; {serving}", short(head), slowly(status, head));
        Verdict::new(Condition::Reconciling, "Loading", message)
    };
    let Some(last) = last_of(status, head) else {
        let taken_in = status.applied.as_ref().is_some_and(|applied| applied.revision == head);
        return loading(if taken_in { "taken in" } else { "loaded" });
    };
    match &last.outcome {
        Outcome::Applied => Verdict::new(Condition::Ready, "Applied", serving),
        Outcome::Refused => {
            // By a policy or a program that is newer than its use.
            let serves = status.applied.as_ref().is_some_and(|applied| applied.revision == head);
            let message = match serves {
                true => format!(
                    "revision {} is refused now, with {}; it was applied before, and goes on serving",
                    short(head),
                    findings(last.count)
                ),
                false => format!("revision {} is refused with {}; {serving}", short(head), findings(last.count)),
            };
            Verdict::new(Condition::Stalled, "Refused", message)
        }
        Outcome::Postponed { reason } => {
            let again = format!("revision {} is tried again: {reason}", short(head));
            Verdict::new(postponed(status, head), "Postponed", format!("{again}; {serving}"))
        }
        // What held it back was lifted a moment ago.
        Outcome::Waiting | Outcome::Overtaken => loading("loaded"),
    }
}

/// What may pass by itself is not called stalled at once; what did not pass, after so many tries, is somebody's to mend.
fn postponed(status: &Status, revision: &str) -> Condition {
    let word = Outcome::Postponed { reason: String::new() }.as_str();
    let tries = status.recent.last().filter(|last| last.revision == revision && last.outcome == word);
    if tries.is_some_and(|last| last.times >= STALLED_AFTER) { Condition::Stalled } else { Condition::Reconciling }
}

/// The pinned revision does not serve (yet).
fn pin_to_come(status: &Status, pinned: &str, serving: &str) -> Verdict {
    let held = held(status).unwrap_or_default();
    match last_of(status, pinned).map(|last| (&last.outcome, last.count)) {
        Some((Outcome::Refused, count)) => {
            let message = format!("{held}, but it is refused with {}; {serving}", findings(count));
            Verdict::new(Condition::Stalled, "PinRefused", message)
        }
        Some((Outcome::Postponed { reason }, _)) => {
            let message = format!("{held}; it is tried again: {reason}; {serving}");
            Verdict::new(postponed(status, pinned), "Postponed", message)
        }
        _ => {
            let message = format!("{held}; it is being loaded{}; {serving}", slowly(status, pinned));
            Verdict::new(Condition::Reconciling, "Loading", message)
        }
    }
}

/// Since when a revision is loaded, where that takes long.
fn slowly(status: &Status, revision: &str) -> String {
    let since = status.loading_since_unix_ms.filter(|_| status.loads_slowly);
    let since = since.filter(|_| status.loading.as_deref() == Some(revision));
    match since.and_then(|at| jiff::Timestamp::from_millisecond(at).ok()) {
        Some(at) => {
            format!(" since {}, and is given up where that takes ten minutes", at.strftime("%Y-%m-%dT%H:%M:%SZ"))
        }
        None => String::new(),
    }
}

/// What holds content back, in words.
fn held(status: &Status) -> Option<String> {
    let because = |reason: &str| match reason.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => format!(" ({line})"),
        None => String::new(),
    };
    let pinned = status.pinned.as_ref().map(|pin| {
        format!("revision {} is pinned by {}{}", short(&pin.revision), pin.word.by, because(&pin.word.reason))
    });
    let suspended = status
        .suspended
        .as_ref()
        .map(|word| format!("suspended by {}{}, still looking", word.by, because(&word.reason)));
    match (pinned, suspended) {
        (Some(pinned), Some(suspended)) => Some(format!("{suspended}; {pinned}")),
        (pinned, suspended) => pinned.or(suspended),
    }
}

/// How a revision that is not applied stands.
fn while_held(last: Option<&Attempt>) -> String {
    match last.map(|last| (&last.outcome, last.count)) {
        Some((Outcome::Waiting | Outcome::Applied, _)) => "is good and waits".to_owned(),
        Some((Outcome::Refused, count)) => format!("would be refused with {}", findings(count)),
        Some((Outcome::Postponed { reason }, _)) => format!("waits, and cannot be judged yet: {reason}"),
        Some((Outcome::Overtaken, _)) | None => "waits, and is being judged".to_owned(),
    }
}

fn last_of<'a>(status: &'a Status, revision: &str) -> Option<&'a Attempt> {
    status.attempted.as_ref().filter(|last| last.revision == revision)
}

pub(super) fn findings(count: usize) -> String {
    if count == 1 { "1 finding".to_owned() } else { format!("{count} findings") }
}

pub(super) fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}

#[cfg(test)]
mod tests {
    use super::super::status::AppliedRevision;
    use super::*;
    use crate::journal::{Pin, Word};

    fn status(head: Option<&str>, applied: Option<&str>, last: Option<(&str, Outcome)>) -> Status {
        Status {
            head: head.map(str::to_owned),
            applied: applied.map(|revision| AppliedRevision {
                revision: revision.into(),
                summary: String::new(),
                at_unix_ms: 0,
                machines: 1,
                signed_by: Vec::new(),
            }),
            attempted: last.map(|(revision, outcome)| Attempt {
                revision: revision.into(),
                summary: String::new(),
                at_unix_ms: 0,
                count: usize::from(outcome == Outcome::Refused),
                outcome,
                findings: Vec::new(),
            }),
            ..Status::default()
        }
    }

    fn word() -> Word {
        Word { by: "ann".into(), reason: "audit".into(), since_unix_ms: 5 }
    }

    #[test]
    fn what_is_postponed_again_and_again_is_stalled() {
        let outcome = Outcome::Postponed { reason: "no room".into() };
        for (revision, times, condition) in [
            ("b", 1, Condition::Reconciling),
            ("b", 4, Condition::Reconciling),
            ("b", 5, Condition::Stalled),
            ("a", 9, Condition::Reconciling),
        ] {
            let mut status = status(Some("b"), Some("a"), Some(("b", outcome.clone())));
            status.recent.push(super::super::status::Recent {
                revision: revision.into(),
                summary: String::new(),
                at_unix_ms: 1,
                outcome: outcome.as_str().into(),
                count: 0,
                times,
            });
            let verdict = verdict(&status);
            assert_eq!((verdict.condition, verdict.reason), (condition, "Postponed"), "{revision} {times}");
        }
    }

    #[test]
    fn each_state_has_one_condition_a_reason_and_a_sentence() {
        let suspended = |mut status: Status| {
            status.suspended = Some(word());
            status
        };
        let pinned = |revision: &str, mut status: Status| {
            status.pinned = Some(Pin { revision: revision.into(), summary: String::new(), word: word() });
            status
        };
        let away = |mut status: Status| {
            status.unavailable = Some("no repository".into());
            status
        };
        let slow = |revision: &str, mut status: Status| {
            status.loading = Some(revision.into());
            (status.loading_since_unix_ms, status.loads_slowly) = (Some(1_700_000_000_000), true);
            status
        };
        let postponed = || Outcome::Postponed { reason: "no room".into() };
        let mut lines = Vec::new();
        for status in [
            status(None, None, None),
            status(Some("b"), Some("a"), Some(("a", Outcome::Applied))),
            status(Some("b"), Some("b"), Some(("a", Outcome::Applied))),
            status(Some("a"), Some("a"), Some(("a", Outcome::Applied))),
            status(Some("b"), Some("a"), Some(("b", Outcome::Refused))),
            status(Some("a"), Some("a"), Some(("a", Outcome::Refused))),
            status(Some("b"), Some("a"), Some(("b", postponed()))),
            away(status(Some("a"), Some("a"), Some(("a", Outcome::Applied)))),
            suspended(status(Some("a"), Some("a"), Some(("a", Outcome::Applied)))),
            suspended(status(Some("b"), Some("a"), Some(("a", Outcome::Applied)))),
            suspended(status(Some("b"), Some("a"), Some(("b", Outcome::Waiting)))),
            suspended(status(Some("b"), Some("a"), Some(("b", Outcome::Refused)))),
            suspended(status(Some("b"), Some("a"), Some(("b", postponed())))),
            away(suspended(status(Some("b"), Some("a"), Some(("b", Outcome::Waiting))))),
            pinned("a", status(Some("b"), Some("a"), Some(("b", Outcome::Waiting)))),
            pinned("a", status(Some("a"), Some("a"), Some(("a", Outcome::Applied)))),
            pinned("a", status(Some("b"), Some("b"), Some(("b", Outcome::Applied)))),
            pinned("a", status(Some("b"), None, Some(("a", Outcome::Refused)))),
            pinned("a", status(Some("b"), Some("b"), Some(("a", postponed())))),
            suspended(pinned("a", status(Some("b"), Some("a"), Some(("b", Outcome::Waiting))))),
            status(Some("b"), Some("a"), Some(("b", Outcome::Waiting))),
            slow("b", status(Some("b"), Some("a"), Some(("a", Outcome::Applied)))),
            slow("a", pinned("a", status(Some("b"), Some("b"), Some(("b", Outcome::Applied))))),
        ] {
            let verdict = verdict(&status);
            lines.push(format!("{} {}: {}", verdict.condition.as_str(), verdict.reason, verdict.message));
            let rows = rows(&verdict, &[], 7);
            assert_eq!(rows.iter().filter(|row| row.status == "True").count(), 1);
        }
        insta::assert_snapshot!(lines.join("\n"), @r"
        Reconciling Looking: the source is being looked at; no revision serves
        Reconciling Loading: revision b is being loaded; revision a serves
        Reconciling Loading: revision b is being taken in; revision b serves
        Ready Applied: revision a serves
        Stalled Refused: revision b is refused with 1 finding; revision a serves
        Stalled Refused: revision a is refused now, with 1 finding; it was applied before, and goes on serving
        Reconciling Postponed: revision b is tried again: no room; revision a serves
        Stalled SourceUnavailable: no repository; revision a serves
        Ready Suspended: revision a serves; suspended by ann (audit), still looking
        Stalled Suspended: suspended by ann (audit), still looking; revision b waits, and is being judged; revision a serves
        Stalled Suspended: suspended by ann (audit), still looking; revision b is good and waits; revision a serves
        Stalled Suspended: suspended by ann (audit), still looking; revision b would be refused with 1 finding; revision a serves
        Stalled Suspended: suspended by ann (audit), still looking; revision b waits, and cannot be judged yet: no room; revision a serves
        Stalled SourceUnavailable: no repository; suspended by ann (audit), still looking; revision a serves
        Stalled Pinned: revision a is pinned by ann (audit); revision b is good and waits; revision a serves
        Ready Pinned: revision a serves; revision a is pinned by ann (audit)
        Reconciling Loading: revision a is pinned by ann (audit); it is being loaded; revision b serves
        Stalled PinRefused: revision a is pinned by ann (audit), but it is refused with 1 finding; no revision serves
        Reconciling Postponed: revision a is pinned by ann (audit); it is tried again: no room; revision b serves
        Stalled Pinned: suspended by ann (audit), still looking; revision a is pinned by ann (audit); revision b is good and waits; revision a serves
        Reconciling Loading: revision b is being loaded; revision a serves
        Reconciling Loading: revision b is being loaded since 2023-11-14T22:13:20Z, and is given up where that takes ten minutes; revision a serves
        Reconciling Loading: revision a is pinned by ann (audit); it is being loaded since 2023-11-14T22:13:20Z, and is given up where that takes ten minutes; revision b serves
        ");
    }

    #[test]
    fn a_conditions_time_moves_only_when_its_status_does() {
        let ready = verdict(&status(Some("a"), Some("a"), Some(("a", Outcome::Applied))));
        let refused = verdict(&status(Some("b"), Some("a"), Some(("b", Outcome::Refused))));
        let times = |rows: &[ConditionRow]| rows.iter().map(|row| row.last_transition_unix_ms).collect::<Vec<_>>();
        let first = rows(&ready, &[], 1);
        assert_eq!(times(&first), [1, 1, 1]);
        let second = rows(&refused, &first, 2);
        assert_eq!(times(&second), [2, 1, 2]);
        assert_eq!(times(&rows(&refused, &second, 3)), [2, 1, 2]);
    }
}
