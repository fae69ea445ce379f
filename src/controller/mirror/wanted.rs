//! What an object of the mirror should be, from what the applied revision and the journal say. Pure.

use crate::api::views::{MachineSummary, Phase};
use crate::catalog::{ClusterProfile, MachineView};
use crate::cluster::{ClaimStanding, Document};
use crate::content::kinds::{ClusterProfileSpec, MachineSpec, Params, Selectors};
use crate::controller::hand::{NOT_READ, READ, READ_NOW, UNREAD};
use crate::controller::report::{Wanted as WantedCondition, conditions, cut};
use crate::controller::resources::{ClusterProfileStatus, MachineStatus, ResourceCondition};
use crate::controller::{GROUP, MANAGED_BY, MANAGED_LABEL};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// When a machine was last heard is told to so many milliseconds: each telling is a write to etcd.
const LAST_SEEN_STEP_MS: i64 = 600_000;
/// So many members, keys, claims and sets of a cluster are listed.
const LISTED_MAX: usize = 100;
/// The longest name of a label, and the longest value.
const LABEL_MAX: usize = 63;

/// What objects of a kind say of themselves.
pub(super) trait Status: Clone + Default + PartialEq + Serialize + DeserializeOwned + Send + Sync {
    /// It, as it is written: of which generation, and since when what holds. `before`: what is said now.
    fn settled(&self, before: &Self, generation: Option<i64>, now: &str) -> Self;
    /// Whether content declares it, rather than a rule that let it in.
    fn is_declared(&self) -> bool;
    /// What an object says that nothing reads. `why`: in a sentence.
    fn unread(why: &str, before: &Self, generation: Option<i64>, now: &str) -> Self;
    /// Whether it says so.
    fn is_unread(&self) -> bool;
    /// What it says once it is read, before a revision has it.
    fn read(before: &Self, generation: Option<i64>, now: &str) -> Self;
}

/// An object as it should be.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wanted<S> {
    pub labels: BTreeMap<String, String>,
    /// In its normal form ([`normal`]).
    pub spec: Value,
    /// What it says of itself.
    pub status: S,
}

/// A spec with every field written out, so that two that mean the same are the same. [`Value::Null`]: it is none.
pub(super) fn normal<T: Serialize + DeserializeOwned>(spec: Value) -> Value {
    serde_json::from_value::<T>(spec).ok().and_then(|spec| serde_json::to_value(spec).ok()).unwrap_or_default()
}

/// The same as an API server takes it: what is not given is left out.
pub(super) fn to_write(spec: &Value) -> Value {
    match spec {
        Value::Object(fields) => {
            let given = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(given.map(|(key, value)| (key.clone(), to_write(value))).collect())
        }
        other => other.clone(),
    }
}

/// The labels of every object of a site's mirror: by them it is known what may be deleted.
pub(super) fn marks(site: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(MANAGED_LABEL.to_owned(), MANAGED_BY.to_owned()), (format!("{GROUP}/site"), site.to_owned())])
}

/// A machine. Params are left out: they may be out of encrypted files.
pub(super) fn machine(site: &str, view: &MachineView, summary: &MachineSummary) -> Wanted<MachineStatus> {
    let spec = MachineSpec {
        selectors: Selectors { macs: view.macs.clone(), uuid: view.uuid.clone(), serial: view.serial.clone() },
        address: view.address,
        profiles: view.profiles.clone(),
        params: Arc::default(),
        workflow: view.workflow.clone(),
        run: view.run,
        protect: view.protect,
        wipe: view.wipe,
    };
    let mut labels: BTreeMap<_, _> =
        view.labels.iter().filter(|(key, value)| is_label(key, value)).map(|(k, v)| (k.clone(), v.clone())).collect();
    labels.extend(marks(site));
    Wanted { labels, spec: serde_json::to_value(spec).unwrap_or_default(), status: status_of(summary) }
}

/// A cluster profile, with its members. `document`: what they agreed on, where anything was written. Params are left out here too.
pub(super) fn cluster_profile(
    site: &str,
    profile: &ClusterProfile,
    members: &[String],
    document: &Document,
    now_ms: u64,
) -> Wanted<ClusterProfileStatus> {
    let spec = ClusterProfileSpec { params: Params::default(), ..profile.spec.clone() };
    let document = document.at_run(profile.spec.run);
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let claim = |name: &String| {
        let holder = document.claims.get(name).map(|claim| claim.grant.machine.as_str()).unwrap_or_default();
        match document.standing(name, now_ms) {
            ClaimStanding::Free => "free".to_owned(),
            ClaimStanding::Held => format!("held by {holder}"),
            ClaimStanding::Done => format!("done by {holder}"),
            ClaimStanding::Vacant => "vacant".to_owned(),
            ClaimStanding::Failed => "failed".to_owned(),
        }
    };
    let status = ClusterProfileStatus {
        observed_generation: None,
        epoch: document.epoch,
        version: document.version,
        frozen: document.frozen.as_deref().map(cut),
        members: members.iter().take(LISTED_MAX).cloned().collect(),
        keys: document.keys.keys().take(LISTED_MAX).cloned().collect(),
        keys_count: count(document.keys.size()),
        claims: document.claims.keys().take(LISTED_MAX).map(|name| (name.clone(), claim(name))).collect(),
        sets: document
            .sets
            .iter()
            .take(LISTED_MAX)
            .map(|(name, set)| (name.clone(), count(set.members.size())))
            .collect(),
        conditions: Vec::new(),
    };
    Wanted { labels: marks(site), spec: serde_json::to_value(spec).unwrap_or_default(), status }
}

impl Status for ClusterProfileStatus {
    fn settled(&self, _: &Self, generation: Option<i64>, _: &str) -> Self {
        Self { observed_generation: generation, ..self.clone() }
    }

    fn is_declared(&self) -> bool {
        true
    }

    fn unread(why: &str, before: &Self, generation: Option<i64>, now: &str) -> Self {
        Self {
            observed_generation: generation,
            conditions: all("Stalled", (NOT_READ, why), &before.conditions, generation, now),
            ..Self::default()
        }
    }

    fn is_unread(&self) -> bool {
        are_unread(&self.conditions)
    }

    fn read(before: &Self, generation: Option<i64>, now: &str) -> Self {
        let conditions = all("Reconciling", (READ, READ_NOW), &before.conditions, generation, now);
        Self { observed_generation: generation, conditions, ..Self::default() }
    }
}

fn are_unread(conditions: &[ResourceCondition]) -> bool {
    conditions.iter().any(|row| row.reason == NOT_READ)
}

/// All conditions with one reason and sentence, of which one holds.
fn all(
    holds: &str,
    (reason, message): (&str, &str),
    before: &[ResourceCondition],
    generation: Option<i64>,
    now: &str,
) -> Vec<ResourceCondition> {
    let row = |kind| WantedCondition { kind, holds: kind == holds, reason, message };
    conditions(["Ready", "Reconciling", "Stalled"].map(row).into_iter(), before, generation, now)
}

fn status_of(summary: &MachineSummary) -> MachineStatus {
    let seen = summary.last_seen_unix_ms.map(|at| at - at.rem_euclid(LAST_SEEN_STEP_MS));
    let seen = seen.and_then(|at| jiff::Timestamp::from_millisecond(at).ok());
    MachineStatus {
        observed_generation: None,
        phase: word(summary.phase),
        boot: summary.environment.clone(),
        workflow: summary.workflow.clone(),
        run: summary.run,
        stage: summary.stage.as_ref().map(|stage| stage.name.clone()),
        task: summary.task.as_ref().map(|task| task.name.clone()),
        waits_for: cut(&steady(&summary.waits_for)),
        address: summary.address.clone(),
        last_seen: seen.map(|seen| seen.to_string()),
        source: summary.source.clone(),
        revision: summary.run_revision.clone(),
        conditions: Vec::new(),
    }
}

fn word(phase: Phase) -> String {
    serde_json::to_value(phase).ok().and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}

/// A sentence without how long ago something was, which would be another one each minute: `lastSeen` has the time.
fn steady(text: &str) -> String {
    let words: Vec<&str> = text.split(' ').collect();
    let ago = |at: usize| words.get(at + 1).is_some_and(|next| next.trim_end_matches([':', ',', ';']) == "ago");
    let is_span = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let words = words.iter().enumerate().map(|(at, word)| if ago(at) && is_span(word) { "a while" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

impl Status for MachineStatus {
    fn settled(&self, before: &Self, generation: Option<i64>, now: &str) -> Self {
        settled(self, before, generation, now)
    }

    fn is_declared(&self) -> bool {
        self.source == "git"
    }

    fn unread(why: &str, before: &Self, generation: Option<i64>, now: &str) -> Self {
        Self {
            observed_generation: generation,
            phase: UNREAD.to_owned(),
            waits_for: why.to_owned(),
            conditions: all("Stalled", (NOT_READ, why), &before.conditions, generation, now),
            ..Self::default()
        }
    }

    fn is_unread(&self) -> bool {
        self.phase == UNREAD || are_unread(&self.conditions)
    }

    fn read(before: &Self, generation: Option<i64>, now: &str) -> Self {
        let conditions = all("Reconciling", (READ, READ_NOW), &before.conditions, generation, now);
        Self { observed_generation: generation, waits_for: READ_NOW.to_owned(), conditions, ..Self::default() }
    }
}

/// What a machine says of itself, with conditions. `before`: what it says now.
fn settled(wanted: &MachineStatus, before: &MachineStatus, generation: Option<i64>, now: &str) -> MachineStatus {
    let holds = match wanted.phase.as_str() {
        "ready" => "Ready",
        "failed" | "held" | "overdue" | "cancelled" | "left" => "Stalled",
        _ => "Reconciling",
    };
    let mut reason = wanted.phase.clone();
    if let Some(first) = reason.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    let rows = ["Ready", "Reconciling", "Stalled"].map(|kind| WantedCondition {
        kind,
        holds: kind == holds,
        reason: &reason,
        message: &wanted.waits_for,
    });
    MachineStatus {
        observed_generation: generation,
        conditions: conditions(rows.into_iter(), &before.conditions, generation, now),
        ..wanted.clone()
    }
}

/// Whether an API server takes it as a label.
fn is_label(key: &str, value: &str) -> bool {
    let plain = |text: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        text.len() <= LABEL_MAX
            && edge(text.chars().next())
            && edge(text.chars().next_back())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    let key = match key.split_once('/') {
        Some((prefix, name)) => crate::content::names::is_subdomain(prefix) && plain(name),
        None => plain(key),
    };
    key && (value.is_empty() || plain(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn specs_that_mean_the_same_are_the_same_whoever_wrote_defaults_out() {
        let short = json!({"match": {"macs": ["52:54:00:00:00:01"]}});
        let long =
            json!({"match": {"macs": ["52:54:00:00:00:01"], "uuid": null}, "run": 1, "protect": false, "params": {}});
        assert_eq!(normal::<MachineSpec>(short.clone()), normal::<MachineSpec>(long));
        assert_ne!(
            normal::<MachineSpec>(short.clone()),
            normal::<MachineSpec>(json!({"match": {"macs": ["52:54:00:00:00:01"]}, "params": {"a": 1}}))
        );
        assert_eq!(normal::<MachineSpec>(json!({"match": 7})), Value::Null);
        let written = to_write(&normal::<MachineSpec>(short));
        assert!(!written.to_string().contains("null"), "{written}");
        assert_eq!(written["run"], 1);
    }

    #[test]
    fn a_label_that_an_api_server_refuses_is_none() {
        for (key, value, is) in [
            ("rack", "1", true),
            ("rack", "", true),
            ("example.org/rack", "a_b.C-1", true),
            ("rack", "two words", false),
            ("rack", "-x", false),
            ("", "x", false),
            ("Example/rack", "x", false),
            ("a/b/c", "x", false),
            ("rack", &"x".repeat(64), false),
        ] {
            assert_eq!(is_label(key, value), is, "{key}={value}");
        }
    }

    #[test]
    fn a_sentence_stays_the_same_while_nothing_but_time_goes_on() {
        for (text, kept) in [
            (
                "its agent was last heard of 5m ago: look at its console",
                "its agent was last heard of a while ago: look at its console",
            ),
            ("was told to reboot 59s ago and has not", "was told to reboot a while ago and has not"),
            ("waits for 3 of 5 members", "waits for 3 of 5 members"),
            ("long ago", "long ago"),
        ] {
            assert_eq!(steady(text), kept);
        }
    }

    #[test]
    fn a_phase_is_a_condition_that_kubectl_waits_for() {
        let of = |phase: &str| MachineStatus { phase: phase.to_owned(), ..MachineStatus::default() };
        for (phase, holds) in [
            ("ready", "Ready"),
            ("working", "Reconciling"),
            ("expected", "Reconciling"),
            ("failed", "Stalled"),
            ("overdue", "Stalled"),
        ] {
            let status = settled(&of(phase), &MachineStatus::default(), Some(3), "t");
            let held: Vec<&str> =
                status.conditions.iter().filter(|row| row.status == "True").map(|row| row.kind.as_str()).collect();
            assert_eq!((held, status.conditions.len(), status.observed_generation), (vec![holds], 3, Some(3)));
            assert_eq!(settled(&of(phase), &status, Some(3), "later"), status, "times move with conditions only");
        }
    }
}
