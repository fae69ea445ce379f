//! A source as administrators are shown it: what was seen of it, and how it stands in the site.

use crate::git::remote::{Reporting, SourceStatus};
use crate::reconcile::{ConditionRow, Standing, Status};
use serde::{Deserialize, Serialize};

/// The condition of what its forge is told.
const REPORTING: &str = "Reporting";

/// A source that is followed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SourceRow {
    /// Its name in the server's sources.yaml.
    pub name: String,
    /// Where it is; never with credentials.
    pub url: String,
    /// What of it is followed.
    pub follows: String,
    /// The folder of the site that it is mounted at; none: it is the main one.
    pub mount: Option<String>,
    /// The commit that it shows.
    pub head: Option<String>,
    /// The commit of it that the newest revision is made of.
    pub used: Option<String>,
    /// The commit of it that is in the revision that serves.
    #[serde(default)]
    pub applied: Option<String>,
    /// `Ready`: what it shows serves; `Reconciling`; or `Stalled`: it is away, refused or held, or the whole site is.
    #[serde(default)]
    pub condition: String,
    /// Why, in a word that stays the same: `Applied`, `Looking`, `Loading`, `Unavailable`, `Refused`, `Untrusted`, `Rewritten`, or
    /// the reason of the whole site.
    #[serde(default)]
    pub reason: String,
    /// Why, in a sentence.
    #[serde(default)]
    pub message: String,
    /// Since when that condition holds, Unix milliseconds.
    #[serde(default)]
    pub since_unix_ms: Option<i64>,
    /// `Ready`, `Reconciling` and `Stalled`, of which one is `True`, with reason, message and since when. With a forge that was told
    /// something also `Reporting`: `True`, or `False` where the forge did not take the last commit status. What serves does not depend on it.
    #[serde(default)]
    pub conditions: Vec<ConditionRow>,
    /// When it was last looked at with success, Unix milliseconds.
    pub last_success_unix_ms: Option<i64>,
    /// When a look last failed, Unix milliseconds.
    pub last_failure_unix_ms: Option<i64>,
    /// Why, where no look has succeeded since, or why its branch is held.
    pub failure: Option<String>,
    /// Who signed the commit that is used, and what led to it; empty where the source has no policy of its own.
    #[serde(default)]
    pub signed_by: Vec<String>,
    /// Why its head is not used: `file:line:column: error: …`.
    pub findings: Vec<String>,
    /// What its repository, where that is on this disk, has lost of its older commits: nobody can clone it. What serves does not depend on it.
    #[serde(default)]
    pub damage: Option<String>,
    /// When it is looked at next, Unix milliseconds.
    pub next_look_unix_ms: Option<i64>,
    /// Since when it has been asked and has not answered, Unix milliseconds; none: it is not being asked, or is on this disk.
    #[serde(default)]
    pub asked_unix_ms: Option<i64>,
    /// Bytes downloaded since the server's start.
    pub fetched_bytes: u64,
    /// The last request for a look (`token`) that it was looked at after, with or without success.
    #[serde(default)]
    pub observed_request: u64,
}

impl SourceRow {
    /// As it stands in the site.
    pub(super) fn of(status: SourceStatus, site: &Status) -> Self {
        let standing = site.sources.iter().find(|standing| standing.name == status.name);
        let holds = standing.and_then(Standing::holds);
        // What is followed alone is judged as a whole: who signed it is known there.
        let whole = site
            .applied
            .as_ref()
            .filter(|applied| site.sources.len() == 1 && status.used.as_ref() == Some(&applied.revision));
        let alone = whole.map(|applied| applied.signed_by.clone()).unwrap_or_default();
        let word = |of: fn(&ConditionRow) -> &String| holds.map(of).cloned().unwrap_or_default();
        Self {
            applied: site.applied_of(&status.name).map(str::to_owned),
            condition: word(|row| &row.kind),
            reason: word(|row| &row.reason),
            message: word(|row| &row.message),
            since_unix_ms: holds.map(|row| row.last_transition_unix_ms),
            conditions: standing
                .map(|standing| standing.conditions.clone())
                .unwrap_or_default()
                .into_iter()
                .chain(status.reporting.as_ref().map(reporting))
                .collect(),
            name: status.name,
            url: status.url,
            follows: status.follows,
            mount: status.mount,
            head: status.head,
            used: status.used,
            last_success_unix_ms: status.last_success_unix_ms,
            last_failure_unix_ms: status.last_failure_unix_ms,
            failure: status.failure,
            signed_by: if alone.is_empty() { status.signed_by } else { alone },
            findings: status.findings,
            damage: status.damage,
            next_look_unix_ms: status.next_look_unix_ms,
            asked_unix_ms: status.asked_unix_ms,
            fetched_bytes: status.fetched_bytes,
            observed_request: status.observed_request,
        }
    }

    /// Why its forge did not take the last commit status, and since when, Unix milliseconds; none: it did, or was told nothing.
    pub fn not_reported(&self) -> Option<(&str, i64)> {
        let row = self.conditions.iter().find(|row| row.kind == REPORTING && row.status == "False")?;
        Some((row.message.as_str(), row.last_transition_unix_ms))
    }

    /// What is wrong with it, in a line; none: nothing.
    pub fn trouble(&self) -> Option<&str> {
        (self.condition == "Stalled").then_some(self.message.as_str())
    }
}

fn reporting(of: &Reporting) -> ConditionRow {
    let (status, reason, message) = match &of.failure {
        None => ("True", "Taken", "its forge took the last commit status"),
        Some(failure) => ("False", "NotTaken", failure.as_str()),
    };
    ConditionRow {
        kind: REPORTING.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_unix_ms: of.since_unix_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reconcile::AppliedRevision;

    #[test]
    fn a_forge_that_takes_nothing_is_a_condition_beside_the_others_and_no_trouble_of_what_serves() {
        let of = |failure: Option<&str>| SourceStatus {
            name: "one".to_owned(),
            reporting: Some(Reporting { failure: failure.map(str::to_owned), since_unix_ms: 5 }),
            ..SourceStatus::default()
        };
        let row = SourceRow::of(of(Some("HTTP 401")), &Status::default());
        assert_eq!((row.not_reported(), row.trouble()), (Some(("HTTP 401", 5)), None));
        assert!(row.conditions.iter().any(|row| row.kind == "Reporting" && row.reason == "NotTaken"));
        assert_eq!(SourceRow::of(of(None), &Status::default()).not_reported(), None);
        assert_eq!(SourceRow::of(SourceStatus::default(), &Status::default()).conditions, []);
    }

    #[test]
    fn who_signed_the_only_source_is_who_signed_what_serves() {
        let status = |used: &str| SourceStatus {
            name: "site".to_owned(),
            used: Some(used.to_owned()),
            ..SourceStatus::default()
        };
        let applied = AppliedRevision {
            revision: "r1".to_owned(),
            summary: String::new(),
            at_unix_ms: 0,
            machines: 1,
            signed_by: vec!["ada".to_owned()],
        };
        let alone = Standing { name: "site".to_owned(), ..Standing::default() };
        let site = Status { applied: Some(applied), sources: vec![alone], ..Status::default() };
        assert_eq!(SourceRow::of(status("r1"), &site).signed_by, ["ada"]);
        assert!(SourceRow::of(status("r2"), &site).signed_by.is_empty(), "it does not serve");
    }
}
