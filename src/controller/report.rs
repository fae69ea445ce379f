//! From how content stands to what a `ContentSource` says of itself, and which of it is an event. Pure.

use super::resources::{ContentSourceStatus, ResourceCondition};
use crate::reconcile::Status;

/// So many findings are in a status.
const FINDINGS_KEPT: usize = 100;
/// The longest text of a condition or finding, characters: an object goes to etcd whole.
const TEXT_MAX: usize = 1_000;
/// The longest note of an event, bytes: what an API server takes.
const NOTE_MAX: usize = 1_000;

/// A condition as it is wanted: its kind, whether it holds, why in a word and in a sentence.
pub(super) struct Wanted<'a> {
    pub kind: &'a str,
    pub holds: bool,
    pub reason: &'a str,
    pub message: &'a str,
}

/// Conditions for a status. A time moves only where the status of its condition does. `now`: RFC 3339.
pub(super) fn conditions<'a>(
    wanted: impl Iterator<Item = Wanted<'a>>,
    before: &[ResourceCondition],
    generation: Option<i64>,
    now: &str,
) -> Vec<ResourceCondition> {
    let row = |wanted: Wanted<'_>| {
        let status = if wanted.holds { "True" } else { "False" };
        let last = before.iter().find(|row| row.kind == wanted.kind && row.status == status);
        ResourceCondition {
            kind: wanted.kind.to_owned(),
            status: status.to_owned(),
            reason: wanted.reason.to_owned(),
            message: cut(wanted.message),
            last_transition_time: last.map_or_else(|| now.to_owned(), |row| row.last_transition_time.clone()),
            observed_generation: generation,
        }
    };
    wanted.map(row).collect()
}

/// What a source says of itself. `before`: what it said last.
pub(super) fn status_of(
    status: &Status,
    generation: Option<i64>,
    before: &ContentSourceStatus,
    now: &str,
) -> ContentSourceStatus {
    let rows = status.conditions.iter().map(|row| Wanted {
        kind: &row.kind,
        holds: row.status == "True",
        reason: &row.reason,
        message: &row.message,
    });
    let attempted = status.attempted.as_ref();
    ContentSourceStatus {
        observed_generation: generation,
        conditions: conditions(rows, &before.conditions, generation, now),
        head_revision: status.head.clone(),
        last_attempted_revision: attempted.map(|attempt| attempt.revision.clone()),
        last_applied_revision: status.applied.as_ref().map(|applied| applied.revision.clone()),
        findings: attempted
            .map(|attempt| attempt.findings.iter().take(FINDINGS_KEPT).map(|finding| cut(finding)).collect())
            .unwrap_or_default(),
        findings_count: attempted.map_or(0, |attempt| u64::try_from(attempt.count).unwrap_or(u64::MAX)),
        machines: status.applied.as_ref().map_or(0, |it| u64::try_from(it.machines).unwrap_or(u64::MAX)),
    }
}

/// What a source says of itself that is not followed, since there are several and nobody said which. `before`: what it said last.
pub(super) fn not_chosen(
    why: &str,
    generation: Option<i64>,
    before: &ContentSourceStatus,
    now: &str,
) -> ContentSourceStatus {
    let rows = ["Ready", "Reconciling", "Stalled"].map(|kind| Wanted {
        kind,
        holds: kind == "Stalled",
        reason: "NotChosen",
        message: why,
    });
    ContentSourceStatus {
        observed_generation: generation,
        conditions: conditions(rows.into_iter(), &before.conditions, generation, now),
        head_revision: None,
        last_attempted_revision: None,
        findings: Vec::new(),
        findings_count: 0,
        ..before.clone()
    }
}

/// Something that happened to a source.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct News {
    /// It is not as it should be.
    pub warning: bool,
    /// In a word that stays the same.
    pub reason: &'static str,
    /// What was done, with the revision: events of one action are one event.
    pub action: String,
    /// In a sentence.
    pub note: String,
}

/// What happened between two statuses of a source: so nothing is told twice, a restart of this program or not.
pub(super) fn news(before: &ContentSourceStatus, after: &ContentSourceStatus) -> Vec<News> {
    let mut news = Vec::new();
    if let Some(applied) =
        after.last_applied_revision.as_ref().filter(|it| before.last_applied_revision.as_ref() != Some(it))
    {
        let machines =
            if after.machines == 1 { "1 machine".to_owned() } else { format!("{} machines", after.machines) };
        news.push(News {
            warning: false,
            reason: "RevisionApplied",
            action: format!("Apply {applied}"),
            note: format!("revision {applied} serves; it declares {machines}"),
        });
    }
    let refused = |status: &ContentSourceStatus| {
        let refused = status.conditions.iter().any(|row| row.status == "True" && row.reason == "Refused");
        status.last_attempted_revision.clone().filter(|_| refused)
    };
    if let Some(revision) = refused(after).filter(|it| refused(before).as_ref() != Some(it)) {
        let first = after.findings.first().map(String::as_str).unwrap_or_default();
        let findings = if after.findings_count == 1 { "finding" } else { "findings" };
        news.push(News {
            warning: true,
            reason: "RevisionRefused",
            action: format!("Refuse {revision}"),
            note: in_bytes(format!("revision {revision} is refused with {} {findings}: {first}", after.findings_count)),
        });
    }
    news
}

/// A text as long as one may be.
pub(super) fn cut(text: &str) -> String {
    match text.char_indices().nth(TEXT_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A note as an API server takes it.
pub(super) fn in_bytes(mut text: String) -> String {
    let mut end = NOTE_MAX.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::{AppliedRevision, Attempt, ConditionRow, Outcome};

    const THEN: &str = "2026-01-01T00:00:00Z";
    const NOW: &str = "2026-01-02T00:00:00Z";

    fn content(holds: &str, reason: &str, attempted: &str, outcome: Outcome, findings: usize) -> Status {
        let row = |kind: &str| ConditionRow {
            kind: kind.to_owned(),
            status: if kind == holds { "True" } else { "False" }.to_owned(),
            reason: reason.to_owned(),
            message: "m".to_owned(),
            last_transition_unix_ms: 0,
        };
        Status {
            head: Some(attempted.to_owned()),
            attempted: Some(Attempt {
                revision: attempted.to_owned(),
                summary: String::new(),
                at_unix_ms: 0,
                outcome,
                findings: (0..findings).map(|n| format!("a.yaml:{n}:1: error: {}", "é".repeat(n * 20))).collect(),
                count: findings,
            }),
            applied: Some(AppliedRevision {
                revision: "r1".to_owned(),
                summary: String::new(),
                at_unix_ms: 0,
                machines: 1,
                signed_by: Vec::new(),
            }),
            conditions: ["Ready", "Reconciling", "Stalled"].map(row).to_vec(),
            ..Status::default()
        }
    }

    #[test]
    fn a_time_moves_with_its_condition_and_with_nothing_else() {
        let ready = content("Ready", "Applied", "r1", Outcome::Applied, 0);
        let first = status_of(&ready, Some(1), &ContentSourceStatus::default(), THEN);
        let times = |status: &ContentSourceStatus| {
            status.conditions.iter().map(|row| row.last_transition_time.clone()).collect::<Vec<_>>()
        };
        assert_eq!(times(&first), [THEN, THEN, THEN]);
        assert_eq!(status_of(&ready, Some(1), &first, NOW), first, "nothing changed, and nothing is written");
        assert_eq!(times(&status_of(&ready, Some(2), &first, NOW)), [THEN, THEN, THEN]);
        let stalled = content("Stalled", "Refused", "r2", Outcome::Refused, 150);
        let second = status_of(&stalled, Some(1), &first, NOW);
        assert_eq!(times(&second), [NOW, THEN, NOW], "Ready and Stalled moved");
        assert_eq!((second.findings.len(), second.findings_count), (100, 150));
        assert!(second.findings.iter().all(|finding| finding.chars().count() <= TEXT_MAX + 1));
        assert_eq!(second.last_applied_revision.as_deref(), Some("r1"), "the last good one serves");
        assert_eq!((second.last_attempted_revision.as_deref(), second.machines), (Some("r2"), 1));
    }

    #[test]
    fn a_source_that_is_not_chosen_is_ready_no_longer() {
        let ready = status_of(
            &content("Ready", "Applied", "r1", Outcome::Applied, 2),
            Some(1),
            &ContentSourceStatus::default(),
            THEN,
        );
        let left = not_chosen("there are 2 ContentSources", Some(4), &ready, NOW);
        let rows = left.conditions.iter().map(|row| format!("{} {} {}", row.kind, row.status, row.reason));
        assert_eq!(
            rows.collect::<Vec<_>>(),
            ["Ready False NotChosen", "Reconciling False NotChosen", "Stalled True NotChosen"]
        );
        assert!(left.conditions.iter().all(|row| row.message == "there are 2 ContentSources"));
        assert_eq!((left.observed_generation, left.findings.len(), left.findings_count), (Some(4), 0, 0));
        assert_eq!((&left.head_revision, &left.last_attempted_revision), (&None, &None));
        assert_eq!(left.last_applied_revision.as_deref(), Some("r1"), "it serves");
        assert_eq!(not_chosen("there are 2 ContentSources", Some(4), &left, "later"), left, "it is said once");
        assert_eq!(news(&ready, &left), [], "no event says it again");
    }

    #[test]
    fn what_happened_is_told_once() {
        let none = ContentSourceStatus::default();
        let ready = status_of(&content("Ready", "Applied", "r1", Outcome::Applied, 0), Some(1), &none, NOW);
        let told = news(&none, &ready);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].reason, told[0].warning), ("RevisionApplied", false));
        assert_eq!(told[0].note, "revision r1 serves; it declares 1 machine");
        assert_eq!(news(&ready, &ready), []);
        let refused = status_of(&content("Stalled", "Refused", "r2", Outcome::Refused, 90), Some(1), &ready, NOW);
        let told = news(&ready, &refused);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].reason, told[0].warning), ("RevisionRefused", true));
        assert!(
            told[0].note.starts_with("revision r2 is refused with 90 findings: a.yaml:0:1: error"),
            "{}",
            told[0].note
        );
        assert_eq!(news(&refused, &refused), []);
        let other = status_of(&content("Stalled", "Refused", "r3", Outcome::Refused, 1), Some(1), &ready, NOW);
        assert_eq!(news(&refused, &other).len(), 1, "another one was refused");
        assert_eq!(news(&refused, &ready), [], "r1 served all the time");
        assert!(in_bytes("é".repeat(900)).len() <= NOTE_MAX);
    }
}
