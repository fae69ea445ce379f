//! What a commit will do, before it does it: the objects that differ between two revisions, and what follows for each machine.
//!
//! Pure. Nothing here knows a rule of its own: what follows for a machine is what the one function ([`crate::workflow::next`])
//! answers on the new revision and not on the old, asked in the imagination ([`super::Imagined`], [`super::foresee`]). Machines
//! whose own view, profiles and workflow are the same on both are not imagined at all, so that a look costs by the size of the
//! change. No value of a secret param is ever in the answer.

mod draw;
mod machines;
mod objects;
mod sameness;
#[cfg(test)]
mod tests;

pub use draw::{Drawing, draw};
pub use objects::{Became, FieldChange, ObjectChange};

use super::Obstacle;
use crate::catalog::Catalog;
use crate::content::Place;
use crate::journal::MachineState;
use crate::workflow::Trust;
use sameness::Sameness;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What is known of machines beside Git.
#[derive(Debug, Clone, Default)]
pub enum Knowledge {
    /// Nothing: each declared machine is taken as one that has done what the old revision says.
    #[default]
    Nothing,
    /// What the journal says; a machine that is not in it was never seen.
    Journal {
        /// By name.
        states: BTreeMap<String, Arc<MachineState>>,
        /// Whether machines without a journal may start.
        trust: Trust,
        /// Machines that go on under a new name: the new to the old one.
        renamed: BTreeMap<String, String>,
    },
}

impl Knowledge {
    fn trust(&self) -> Trust {
        match self {
            Self::Nothing => Trust::New,
            Self::Journal { trust, .. } => *trust,
        }
    }

    fn renamed_from(&self, name: &str) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Journal { renamed, .. } => renamed.get(name).map(String::as_str),
        }
    }

    fn renamed_to(&self, name: &str) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Journal { renamed, .. } => renamed.iter().find(|(_, old)| *old == name).map(|(new, _)| new.as_str()),
        }
    }
}

/// What is compared.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The revision that serves; none: nothing does yet.
    pub old: Option<&'a Catalog>,
    /// The revision that would.
    pub new: &'a Catalog,
    /// What is known of machines.
    pub known: &'a Knowledge,
    /// Revisions that open runs are pinned to, by their ids; the two that are compared need not be among them.
    pub pinned: &'a BTreeMap<String, Arc<Catalog>>,
    /// The wall clock, Unix milliseconds.
    pub now_unix_ms: i64,
}

impl<'a> Question<'a> {
    fn catalog_at(&self, revision: &str) -> Option<&'a Catalog> {
        let either = [self.old, Some(self.new)].into_iter().flatten();
        let either = either.into_iter().find(|catalog| *catalog.revision == *revision);
        either.or_else(|| self.pinned.get(revision).map(|catalog| &**catalog))
    }
}

/// What follows for a machine, the weightiest of it in a word.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Follows {
    /// Work begins or goes on that changes disks of a machine that has walked before.
    Reinstalled,
    /// Its first run begins, and changes disks.
    Installed,
    /// It is gone from Git: its run ends, it boots its own disk.
    Leaves,
    /// Something is to be done and waits for a person or another commit.
    Waits,
    /// A run begins that changes no disk.
    Runs,
    /// A run that failed is taken up again, fixed.
    Resumes,
    /// A run that failed cannot be taken up: what is done differs.
    Diverges,
    /// Its run ends, and none begins.
    Cancelled,
    /// It is new in Git, and there is nothing to do for it.
    Joins,
    /// Only values are new: they hold at the next boot, job or run.
    #[default]
    Values,
}

/// What follows for one machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineChange {
    /// Its name.
    pub name: String,
    /// The weightiest in a word.
    pub follows: Follows,
    /// Where it (or the rule that took it in) is declared; of one that leaves, where it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The run that begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<RunChange>,
    /// The run that is open, and ends without being done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_run: Option<u64>,
    /// Its failed run is taken up again, for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resumes: Option<String>,
    /// Its failed run cannot be taken up, for this reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diverges: Option<String>,
    /// Boots until the run that begins or resumes is done.
    pub boots: u32,
    /// Stages that change disks, and only now would, may, or may no longer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub destroys: Vec<Destruction>,
    /// What stops it, that did not before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits: Vec<Obstacle>,
    /// It has walked before, and a stage that changes disks may run: it loses what it runs.
    pub wiped: bool,
    /// Of its own declaration: `run`, `protect`, `labels` and so on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<String>,
    /// Params whose value for it changes, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Parts of its workflow that changed; they start nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Clusters it becomes a member of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub joins: Vec<String>,
    /// Clusters it is a member of no longer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub leaves: Vec<String>,
    /// It goes on as this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_to: Option<String>,
    /// It was this machine before, and keeps what that one has walked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// It leaves, and was never seen.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub never_seen: bool,
}

impl MachineChange {
    fn of(name: &str, place: Option<Place>) -> Self {
        Self { name: name.to_owned(), place, ..Self::default() }
    }

    fn has_values(&self) -> bool {
        [&self.fields, &self.values, &self.parts, &self.joins, &self.leaves].into_iter().any(|list| !list.is_empty())
    }
}

/// A run that begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunChange {
    /// Its number.
    pub number: u64,
    /// Of which workflow.
    pub workflow: String,
    /// Why.
    pub reason: String,
}

/// A stage that changes disks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Destruction {
    /// The stage.
    pub stage: String,
    /// It may run, as things stand.
    pub allowed: bool,
    /// On which disks, by which rule; or why it may not.
    pub reason: String,
}

/// A cluster whose declaration changes what its members share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterChange {
    /// Its name.
    pub name: String,
    /// Old and new `spec.run`, where it was raised: the epoch rises and the whole cluster is built anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raised: Option<(u64, u64)>,
    /// Old and new `spec.size`, where they differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<(u32, u32)>,
    /// How many members come.
    pub joins: u32,
    /// How many members go.
    pub leaves: u32,
}

/// What a commit will do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// The old revision; none: nothing served before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The new revision.
    pub to: String,
    /// The journal was asked; else machines are taken as having done what the old revision says.
    pub live: bool,
    /// Objects that differ, by kind and name.
    pub objects: Vec<ObjectChange>,
    /// Machines for which something follows, by name.
    pub machines: Vec<MachineChange>,
    /// Clusters that change, by name.
    pub clusters: Vec<ClusterChange>,
    /// How many machines there are: declared or enrolled on either revision, each box once.
    pub machines_in_all: u32,
    /// How many of them have walked a workflow or were adopted, each box once under the name it goes on with: what the guard
    /// against wiping takes its share of.
    #[serde(default)]
    pub machines_walked: u32,
    /// How many the old revision has, declared or enrolled, each box once: what the guard against leaving takes its share of.
    #[serde(default)]
    pub machines_before: u32,
    /// How many machines something follows for, by the word for it.
    pub counts: BTreeMap<Follows, u32>,
}

impl Change {
    /// Both revisions say the same, and nothing follows.
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty() && self.machines.is_empty() && self.clusters.is_empty()
    }

    /// Machines that lose what they run, by name.
    pub fn wiped(&self) -> impl Iterator<Item = &MachineChange> {
        self.machines.iter().filter(|machine| machine.wiped)
    }
}

/// What the new revision will do. Pure. Costs a comparison of texts an object, and for each machine that it touches a walk in
/// the imagination on both revisions.
pub fn change(question: &Question<'_>) -> Change {
    let Question { old, new, known, .. } = *question;
    let (names, in_all) = names(question);
    let mut sameness = old.map(|old| Sameness::of(old, new));
    let machines: Vec<MachineChange> =
        names.iter().filter_map(|name| machines::machine(question, sameness.as_mut(), name)).collect();
    let mut counts = BTreeMap::new();
    for machine in &machines {
        let count: &mut u32 = counts.entry(machine.follows).or_default();
        *count = count.saturating_add(1);
    }
    Change {
        from: old.map(|catalog| catalog.revision.to_string()),
        to: new.revision.to_string(),
        live: matches!(known, Knowledge::Journal { .. }),
        objects: objects::objects(old, new),
        clusters: clusters(old, new, &machines),
        machines,
        machines_in_all: u32::try_from(in_all).unwrap_or(u32::MAX),
        machines_walked: u32::try_from(walked(known, in_all)).unwrap_or(u32::MAX),
        machines_before: u32::try_from(before(question)).unwrap_or(u32::MAX),
        counts,
    }
}

/// Revisions that open runs of the machines it touches are pinned to, beside the two that are compared: to be loaded and put into
/// [`Question::pinned`] before [`change`] is asked.
pub fn pinned_revisions(question: &Question<'_>) -> BTreeSet<String> {
    let mut sameness = question.old.map(|old| Sameness::of(old, question.new));
    let (names, _) = names(question);
    let pinned = names.iter().filter_map(|name| machines::pinned(question, sameness.as_mut(), name));
    pinned.filter(|revision| question.catalog_at(revision).is_none()).collect()
}

/// Machines that the new revision may touch: declared and not known to be the same on both, or enrolled. And how many there are
/// in all, on either revision.
fn names<'a>(question: &Question<'a>) -> (BTreeSet<&'a str>, usize) {
    let Question { old, new, .. } = *question;
    let (differing, mut in_all) = match old {
        Some(old) => new.differing(old),
        None => {
            let all: Vec<&str> = new.machines().map(|machine| machine.name.as_str()).collect();
            let count = all.len();
            (all, count)
        }
    };
    let mut names: BTreeSet<&str> = differing.into_iter().collect();
    if let Knowledge::Journal { states, renamed, .. } = question.known {
        let declared = |name: &str| new.machine(name).is_some() || old.is_some_and(|old| old.machine(name).is_some());
        for (name, _) in states.iter().filter(|(_, state)| state.enrolled.is_some() && !state.left) {
            in_all += usize::from(!declared(name));
            names.insert(name);
        }
        // A box with two names is one.
        let enrolled = |name: &str| states.get(name).is_some_and(|state| state.enrolled.is_some() && !state.left);
        let counted = |name: &str| declared(name) || enrolled(name);
        let twice = renamed.iter().filter(|(name, former)| counted(name) && counted(former)).count();
        in_all = in_all.saturating_sub(twice);
    }
    (names, in_all)
}

/// How many machines have something to lose. Without a journal each is taken as one that has done what the old revision says.
fn walked(known: &Knowledge, in_all: usize) -> usize {
    let Knowledge::Journal { states, renamed, .. } = known else { return in_all };
    let former: BTreeSet<&str> = renamed.values().map(String::as_str).collect();
    states.iter().filter(|(name, state)| state.has_walked() && !state.left && !former.contains(name.as_str())).count()
}

/// How many machines the old revision has.
fn before(question: &Question<'_>) -> usize {
    let Some(old) = question.old else { return 0 };
    let declared = old.machines().count();
    let Knowledge::Journal { states, renamed, .. } = question.known else { return declared };
    let is_declared = |name: &str| old.machine(name).is_some();
    let enrolled = |name: &str| states.get(name).is_some_and(|state| state.enrolled.is_some() && !state.left);
    let counted = |name: &str| is_declared(name) || enrolled(name);
    let more = states.keys().filter(|name| enrolled(name) && !is_declared(name)).count();
    let twice = renamed.iter().filter(|(name, former)| counted(name) && counted(former)).count();
    (declared + more).saturating_sub(twice)
}

fn clusters(old: Option<&Catalog>, new: &Catalog, machines: &[MachineChange]) -> Vec<ClusterChange> {
    let mut moved: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for machine in machines {
        machine.joins.iter().for_each(|name| moved.entry(name).or_default().0 += 1);
        machine.leaves.iter().for_each(|name| moved.entry(name).or_default().1 += 1);
    }
    let mut changes = Vec::new();
    for cluster in new.cluster_profiles() {
        let before = old.and_then(|old| old.cluster_profile(&cluster.name)).map(|before| &before.spec);
        let raised = before.map(|before| (before.run, cluster.spec.run)).filter(|(old, new)| new > old);
        let size = before.map(|before| (before.size, cluster.spec.size)).filter(|(old, new)| new != old);
        let (joins, leaves) = moved.remove(&*cluster.name).unwrap_or_default();
        if raised.is_some() || size.is_some() || joins > 0 || leaves > 0 {
            changes.push(ClusterChange { name: cluster.name.to_string(), raised, size, joins, leaves });
        }
    }
    changes
}
