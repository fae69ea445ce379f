//! How each of the sources stands, and what that says of the site: one that is away, refused or held is seen in the site's own
//! condition, whatever else serves. Pure.

use super::status::Status;
use super::verdict::{self, Condition, ConditionRow, Verdict, findings, short};
use crate::git::remote::SourceStatus;
use serde::Serialize;

/// How one source stands. Nothing in it moves while nothing happens: a status that is the same is told to nobody again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// The commit that it shows.
    pub head: Option<String>,
    /// The commit of it that the newest revision is made of.
    pub used: Option<String>,
    /// It was looked at with success since the start.
    pub seen: bool,
    /// Why it cannot be looked at, or is held.
    pub failure: Option<String>,
    /// Its branch was rewritten, and is held.
    pub is_held: bool,
    /// How many findings keep its head from being used.
    pub findings: usize,
    /// They are about who signed it.
    pub is_untrusted: bool,
    /// Ready, Reconciling and Stalled, each with its reason and since when.
    pub conditions: Vec<ConditionRow>,
}

impl Standing {
    /// What of a source's status stands still while nothing happens. `before`: its conditions.
    pub(super) fn of(status: SourceStatus, before: Vec<ConditionRow>) -> Self {
        Self {
            name: status.name,
            head: status.head,
            used: status.used,
            seen: status.last_success_unix_ms.is_some(),
            failure: status.failure,
            is_held: status.is_held,
            findings: crate::content::count_of(&status.findings),
            is_untrusted: status.is_untrusted,
            conditions: before,
        }
    }

    /// The condition that is true.
    pub fn holds(&self) -> Option<&ConditionRow> {
        self.conditions.iter().find(|row| row.status == "True")
    }

    /// What keeps its head from being used and is nobody's fault but its own: why in a word, the same as a reason of the whole
    /// site, and in a sentence.
    fn trouble(&self, applied: Option<&str>) -> Option<(&'static str, &'static str, String)> {
        let goes_on = goes_on(self.used.as_deref(), applied);
        if let Some(failure) = &self.failure {
            return Some(match self.is_held {
                true => ("Rewritten", "SourceRewritten", failure.clone()),
                false => ("Unavailable", "SourceUnavailable", format!("{failure}; {goes_on}")),
            });
        }
        let (head, count) = (self.head.as_deref()?, self.findings);
        if count == 0 {
            return None;
        }
        let refused = format!("commit {} is refused with {}", short(head), findings(count));
        Some(match self.is_untrusted {
            // By a policy that is newer than its use.
            true if self.used.as_deref().or(applied) == Some(head) => {
                let still =
                    "it was used before the policy that asks for signatures, and goes on until a commit is signed";
                ("Untrusted", "SourceUntrusted", format!("{refused}; {still}"))
            }
            true => ("Untrusted", "SourceUntrusted", format!("{refused}; {goes_on}")),
            false => ("Refused", "SourceRefused", format!("{refused}; {goes_on}")),
        })
    }
}

/// What of a source is used now. `used`: in the newest revision, which may be refused; `applied`: in the one that serves.
fn goes_on(used: Option<&str>, applied: Option<&str>) -> String {
    match (used, applied) {
        (Some(used), Some(applied)) if used == applied => format!("its last good commit is used ({})", short(used)),
        (_, Some(applied)) => format!("commit {} of it, which was applied before, goes on serving", short(applied)),
        (Some(used), None) => format!("commit {} of it was read last, and does not serve", short(used)),
        (None, None) => "nothing of it is used".to_owned(),
    }
}

/// What holds for a source. `site`: what would hold for the whole if no source were in trouble.
fn of_source(source: &Standing, status: &Status, site: &Verdict) -> Verdict {
    let applied = status.applied_of(&source.name);
    if let Some((reason, _, message)) = source.trouble(applied) {
        return Verdict::new(Condition::Stalled, reason, message);
    }
    let Some(head) = source.head.as_deref().filter(|_| source.seen) else {
        let message = format!("it is being looked at; {}", goes_on(source.used.as_deref(), applied));
        return Verdict::new(Condition::Reconciling, "Looking", message);
    };
    let serves = applied.is_none_or(|applied| applied == head) && status.applied.is_some();
    match site.condition {
        _ if source.used.as_deref() == Some(head)
            && serves
            && (applied.is_some() || site.condition == Condition::Ready) =>
        {
            Verdict::new(Condition::Ready, "Applied", format!("commit {} serves", short(head)))
        }
        Condition::Ready => {
            let message = format!("commit {} is being taken in", short(head));
            Verdict::new(Condition::Reconciling, "Loading", message)
        }
        condition => {
            let message = format!("commit {} does not serve yet: {}", short(head), site.message);
            Verdict::new(condition, site.reason, message)
        }
    }
}

/// What holds for the site, with all of its sources. `site`: without a look at them one by one.
pub(super) fn of_site(status: &Status, site: Verdict) -> Verdict {
    // What is to be said of the only one is said of the whole.
    if status.sources.len() < 2 {
        return site;
    }
    let behind: Vec<_> = status
        .sources
        .iter()
        .filter_map(|source| Some((&source.name, source.trouble(status.applied_of(&source.name))?)))
        .filter(|(_, (.., message))| !message.split("; ").next().is_some_and(|why| site.message.contains(why)))
        .collect();
    let said = || behind.iter().map(|(name, (.., message))| format!("source {name}: {message}"));
    match (site.condition, behind.first()) {
        (Condition::Ready, Some((_, (_, reason, _)))) => {
            let message = said().chain([site.message.clone()]).collect::<Vec<_>>().join("; ");
            Verdict::new(Condition::Stalled, reason, message)
        }
        (Condition::Ready, None) => {
            let coming = status.sources.iter().map(|source| (&source.name, of_source(source, status, &site)));
            match coming.into_iter().find(|(_, verdict)| verdict.condition == Condition::Reconciling) {
                Some((name, verdict)) => {
                    let message = format!("source {name}: {}; {}", verdict.message, site.message);
                    Verdict::new(Condition::Reconciling, verdict.reason, message)
                }
                None => site,
            }
        }
        (condition, _) => {
            let message = std::iter::once(site.message.clone()).chain(said()).collect::<Vec<_>>().join("; ");
            Verdict::new(condition, site.reason, message)
        }
    }
}

/// Says anew how each source stands. A condition's time moves with its state only.
pub(super) fn settle(status: &Status, site: &Verdict, now_unix_ms: i64) -> Vec<Standing> {
    let row = |source: &Standing| Standing {
        conditions: verdict::rows(&of_source(source, status, site), &source.conditions, now_unix_ms),
        ..source.clone()
    };
    status.sources.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::super::status::{AppliedRevision, Attempt, Outcome};
    use super::*;

    fn source(name: &str, head: &str, used: &str) -> Standing {
        let id = |id: &str| Some(id.to_owned()).filter(|id| !id.is_empty());
        Standing { name: name.to_owned(), head: id(head), used: id(used), seen: true, ..Standing::default() }
    }

    /// A site of which revision `r1` serves, with commit `m1` of its main source and `t1` of a tenant.
    fn site(main: Standing, tenant: Standing, outcome: Outcome) -> Status {
        let head = if outcome == Outcome::Applied { "r1" } else { "r2" };
        Status {
            head: Some(head.to_owned()),
            applied: Some(AppliedRevision {
                revision: "r1".to_owned(),
                summary: String::new(),
                at_unix_ms: 0,
                machines: 1,
                signed_by: Vec::new(),
            }),
            attempted: Some(Attempt {
                revision: head.to_owned(),
                summary: String::new(),
                at_unix_ms: 0,
                count: usize::from(outcome == Outcome::Refused),
                outcome,
                findings: Vec::new(),
            }),
            applied_parts: [("main", "m1"), ("team", "t1")].map(|(name, id)| (name.to_owned(), id.to_owned())).into(),
            sources: vec![main, tenant],
            ..Status::default()
        }
    }

    #[test]
    fn what_is_said_to_go_on_is_what_serves() {
        for (used, applied, said) in [
            (Some("c1"), Some("c1"), "its last good commit is used (c1)"),
            (Some("refused"), Some("c1"), "commit c1 of it, which was applied before, goes on serving"),
            (None, Some("c1"), "commit c1 of it, which was applied before, goes on serving"),
            (Some("refused"), None, "commit refused of it was read last, and does not serve"),
            (None, None, "nothing of it is used"),
        ] {
            assert_eq!(goes_on(used, applied), said, "{used:?} {applied:?}");
        }
    }

    #[test]
    fn a_source_in_trouble_is_seen_in_its_own_condition_and_in_the_sites() {
        let (main, team) = (|| source("main", "m1", "m1"), || source("team", "t1", "t1"));
        let away = |mut source: Standing| {
            source.failure = Some("no answer".to_owned());
            source
        };
        let refused = |mut source: Standing, is_untrusted| {
            (source.findings, source.is_untrusted) = (2, is_untrusted);
            source
        };
        let held = |source| Standing { is_held: true, ..away(source) };
        let unseen = |source| Standing { seen: false, ..source };
        let suspended = |mut status: Status| {
            let word = crate::journal::Word { by: "ann".into(), reason: String::new(), since_unix_ms: 5 };
            status.suspended = Some(word);
            status
        };
        let unavailable = |mut status: Status| {
            status.unavailable = Some("source `main`: no commit of it is trusted".to_owned());
            status
        };
        let new = Status {
            applied: None,
            applied_parts: Default::default(),
            ..site(main(), away(source("team", "", "")), Outcome::Applied)
        };
        let mut lines = Vec::new();
        for mut status in [
            site(main(), team(), Outcome::Applied),
            site(main(), away(team()), Outcome::Applied),
            site(away(main()), away(team()), Outcome::Applied),
            site(main(), refused(source("team", "t2", "t1"), false), Outcome::Applied),
            site(main(), refused(source("team", "t2", "t1"), true), Outcome::Applied),
            site(main(), refused(team(), true), Outcome::Applied),
            site(refused(source("main", "m2", ""), true), team(), Outcome::Applied),
            unavailable(site(refused(source("main", "m2", ""), true), source("team", "t2", "t1"), Outcome::Applied)),
            site(main(), held(source("team", "t2", "t1")), Outcome::Applied),
            site(main(), unseen(team()), Outcome::Applied),
            site(main(), source("team", "t2", "t1"), Outcome::Applied),
            site(source("main", "m2", "m2"), source("team", "t2", "t1"), Outcome::Refused),
            site(source("main", "m2", "m2"), away(team()), Outcome::Refused),
            suspended(site(source("main", "m2", "m2"), team(), Outcome::Waiting)),
            suspended(site(main(), away(team()), Outcome::Applied)),
            new,
        ] {
            status.settle(7);
            let verdict = status.verdict();
            lines.push(format!("{} {}: {}", verdict.condition.as_str(), verdict.reason, verdict.message));
            for source in &status.sources {
                assert_eq!(source.conditions.iter().filter(|row| row.status == "True").count(), 1);
                let row = source.holds().expect("one holds");
                lines.push(format!("    {} {} {}: {}", source.name, row.kind, row.reason, row.message));
            }
        }
        insta::assert_snapshot!(lines.join("\n"), @r"
        Ready Applied: revision r1 serves
            main Ready Applied: commit m1 serves
            team Ready Applied: commit t1 serves
        Stalled SourceUnavailable: source team: no answer; its last good commit is used (t1); revision r1 serves
            main Ready Applied: commit m1 serves
            team Stalled Unavailable: no answer; its last good commit is used (t1)
        Stalled SourceUnavailable: source main: no answer; its last good commit is used (m1); source team: no answer; its last good commit is used (t1); revision r1 serves
            main Stalled Unavailable: no answer; its last good commit is used (m1)
            team Stalled Unavailable: no answer; its last good commit is used (t1)
        Stalled SourceRefused: source team: commit t2 is refused with 2 findings; its last good commit is used (t1); revision r1 serves
            main Ready Applied: commit m1 serves
            team Stalled Refused: commit t2 is refused with 2 findings; its last good commit is used (t1)
        Stalled SourceUntrusted: source team: commit t2 is refused with 2 findings; its last good commit is used (t1); revision r1 serves
            main Ready Applied: commit m1 serves
            team Stalled Untrusted: commit t2 is refused with 2 findings; its last good commit is used (t1)
        Stalled SourceUntrusted: source team: commit t1 is refused with 2 findings; it was used before the policy that asks for signatures, and goes on until a commit is signed; revision r1 serves
            main Ready Applied: commit m1 serves
            team Stalled Untrusted: commit t1 is refused with 2 findings; it was used before the policy that asks for signatures, and goes on until a commit is signed
        Stalled SourceUntrusted: source main: commit m2 is refused with 2 findings; commit m1 of it, which was applied before, goes on serving; revision r1 serves
            main Stalled Untrusted: commit m2 is refused with 2 findings; commit m1 of it, which was applied before, goes on serving
            team Ready Applied: commit t1 serves
        Stalled SourceUnavailable: source `main`: no commit of it is trusted; revision r1 serves; source main: commit m2 is refused with 2 findings; commit m1 of it, which was applied before, goes on serving
            main Stalled Untrusted: commit m2 is refused with 2 findings; commit m1 of it, which was applied before, goes on serving
            team Stalled SourceUnavailable: commit t2 does not serve yet: source `main`: no commit of it is trusted; revision r1 serves
        Stalled SourceRewritten: source team: no answer; revision r1 serves
            main Ready Applied: commit m1 serves
            team Stalled Rewritten: no answer
        Reconciling Looking: source team: it is being looked at; its last good commit is used (t1); revision r1 serves
            main Ready Applied: commit m1 serves
            team Reconciling Looking: it is being looked at; its last good commit is used (t1)
        Reconciling Loading: source team: commit t2 is being taken in; revision r1 serves
            main Ready Applied: commit m1 serves
            team Reconciling Loading: commit t2 is being taken in
        Stalled Refused: revision r2 is refused with 1 finding; revision r1 serves
            main Stalled Refused: commit m2 does not serve yet: revision r2 is refused with 1 finding; revision r1 serves
            team Stalled Refused: commit t2 does not serve yet: revision r2 is refused with 1 finding; revision r1 serves
        Stalled Refused: revision r2 is refused with 1 finding; revision r1 serves; source team: no answer; its last good commit is used (t1)
            main Stalled Refused: commit m2 does not serve yet: revision r2 is refused with 1 finding; revision r1 serves
            team Stalled Unavailable: no answer; its last good commit is used (t1)
        Stalled Suspended: suspended by ann, still looking; revision r2 is good and waits; revision r1 serves
            main Stalled Suspended: commit m2 does not serve yet: suspended by ann, still looking; revision r2 is good and waits; revision r1 serves
            team Ready Applied: commit t1 serves
        Stalled SourceUnavailable: source team: no answer; its last good commit is used (t1); revision r1 serves; suspended by ann, still looking
            main Ready Applied: commit m1 serves
            team Stalled Unavailable: no answer; its last good commit is used (t1)
        Stalled SourceUnavailable: source team: no answer; nothing of it is used; no revision serves
            main Reconciling Loading: commit m1 is being taken in
            team Stalled Unavailable: no answer; nothing of it is used
        ");
    }

    #[test]
    fn since_when_a_source_is_in_trouble_is_kept_while_it_is() {
        let mut status = site(source("main", "m1", "m1"), source("team", "t1", "t1"), Outcome::Applied);
        let since =
            |status: &Status| status.sources[1].holds().map(|row| (row.kind.clone(), row.last_transition_unix_ms));
        let look = |status: &mut Status, failure: Option<&str>, now| {
            let sight = |name: &str, commit: &str| SourceStatus {
                name: name.to_owned(),
                head: Some(commit.to_owned()),
                used: Some(commit.to_owned()),
                last_success_unix_ms: Some(now),
                ..SourceStatus::default()
            };
            let team = SourceStatus { failure: failure.map(str::to_owned), ..sight("team", "t1") };
            status.see_sources(vec![sight("main", "m1"), team]);
            status.settle(now);
        };
        look(&mut status, None, 1);
        assert_eq!(since(&status), Some(("Ready".to_owned(), 1)));
        for (failure, now, kind, at) in
            [(Some("HTTP 503"), 2, "Stalled", 2), (Some("HTTP 401"), 3, "Stalled", 2), (None, 4, "Ready", 4)]
        {
            look(&mut status, failure, now);
            assert_eq!(since(&status), Some((kind.to_owned(), at)));
            assert_eq!(status.verdict().condition.as_str(), kind);
        }
        let before = status.clone();
        look(&mut status, None, 5);
        assert_eq!(status, before, "a look that shows nothing new is no news");
    }
}
