//! How each machine stands, for counts and lists: thought out anew only where something came that can change it. So a question
//! about the whole site costs what happened since the one before, and not the size of the fleet.

use super::App;
use super::administrators::{Serving, look, names_without};
use super::content::unknown;
use super::describe::Subject;
use super::views::Phase;
use crate::catalog::Catalog;
use crate::fleet::{Entry, Fleet};
use crate::inspect::MachineStanding;
use crate::workflow::silence::silence;
use crate::workflow::{Action, Trust};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What was thought out, by machine.
#[derive(Debug, Default)]
pub struct Standings {
    told: Mutex<HashMap<String, Told>>,
    thought: AtomicU64,
}

/// How a machine stands, and what that was thought out on.
#[derive(Debug)]
struct Told {
    revision: Option<Arc<str>>,
    /// Events of the machine.
    head: u64,
    trust: Trust,
    /// From then on time alone may change it, Unix milliseconds.
    until_unix_ms: Option<i64>,
    action: Action,
    /// By its last word, however long ago that was.
    phase: Phase,
    standing: MachineStanding,
}

impl Standings {
    /// A revision serves in place of another: what is the same in both stands as it stood.
    pub fn revise(&self, before: &Catalog, now: &Catalog) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // What was thought out on any other is of no use any more: a revision may be another folder of the same commit.
        told.retain(|name, told| {
            let same = told.revision.as_deref() == Some(&*before.revision) && now.has_same(before, name);
            told.revision = Some(Arc::clone(&now.revision));
            same
        });
    }

    #[cfg(test)]
    pub(super) fn forget_all(&self) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How often it had to be thought.
    #[cfg(test)]
    pub(super) fn thought(&self) -> u64 {
        self.thought.load(Ordering::Relaxed)
    }

    fn known(&self, fleet: &Fleet, serving: &Serving, entry: &Entry) -> Option<(Phase, MachineStanding)> {
        let state = entry.state();
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let told = told.get(&entry.name)?;
        let revision = serving.as_ref().map(|catalog| &*catalog.revision);
        let over = told.until_unix_ms.is_some_and(|until| fleet.clock.now_unix_ms() >= until);
        if told.revision.as_deref() != revision || told.head != state.head || told.trust != fleet.trust() || over {
            return None;
        }
        let silence = silence(&state, &told.action, &entry.heard(&fleet.clock));
        Some((told.phase.heard(silence.as_ref()), told.standing.clone()))
    }

    /// Keeps it, where nothing but a new revision, an event or time changes it.
    fn keep(&self, fleet: &Fleet, subject: &Subject<'_>, ask_again_ms: Option<u64>, standing: &MachineStanding) {
        self.thought.fetch_add(1, Ordering::Relaxed);
        let Some(action) = subject.next else { return };
        // What cannot be read now may be read later.
        let run = subject.state.run.as_ref().filter(|run| run.is_open());
        if run.is_some() && subject.pinned.is_none() {
            return;
        }
        let until = |ms: u64| fleet.clock.now_unix_ms().saturating_add(i64::try_from(ms).unwrap_or(i64::MAX));
        let told = Told {
            revision: subject.current.map(|catalog| Arc::clone(&catalog.revision)),
            head: subject.state.head,
            trust: subject.trust,
            until_unix_ms: ask_again_ms.map(until),
            action: action.clone(),
            phase: subject.phase_as_heard().0,
            standing: standing.clone(),
        };
        self.told.lock().unwrap_or_else(PoisonError::into_inner).insert(subject.name.to_owned(), told);
    }

    fn forget_others(&self, names: &BTreeSet<String>) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() > names.len() {
            told.retain(|name, _| names.contains(name));
        }
    }
}

/// How every machine stands, each box once: one that a declaration takes over at its next word stands as it will then, under the
/// name that it will have.
pub(super) async fn all(app: &App, serving: &Serving) -> Vec<(Phase, MachineStanding)> {
    let to_adopt = serving.as_ref().map(|catalog| app.fleet.to_adopt(catalog)).unwrap_or_default();
    let names = names_without(&app.fleet, serving, &to_adopt);
    app.standings.forget_others(&names);
    let mut all = Vec::with_capacity(names.len());
    for name in &names {
        all.push(one(app, serving, &app.fleet.entry(name), to_adopt.contains_key(name)).await);
    }
    all
}

async fn one(app: &App, serving: &Serving, entry: &Entry, is_another: bool) -> (Phase, MachineStanding) {
    let fleet = &app.fleet;
    // What was thought out is kept by the events under its own name.
    if is_another {
        return look(app, serving, entry, |subject, _| (subject.phase().0, subject.standing())).await;
    }
    if let Some(known) = app.standings.known(fleet, serving, entry) {
        return known;
    }
    look(app, serving, entry, |subject, ask_again_ms| {
        let standing = subject.standing();
        app.standings.keep(fleet, subject, ask_again_ms, &standing);
        (subject.phase().0, standing)
    })
    .await
}

/// So many machines in each phase, and machines and boxes by how they stand to Git; nothing of what there is none of.
pub async fn counts(app: &App) -> [BTreeMap<String, u32>; 2] {
    let standings = all(app, &app.fleet.current()).await;
    let unknown = unknown(app).map(|standing| standing.standing);
    let phases = counted(standings.iter().map(|(phase, _)| *phase));
    [phases, counted(standings.iter().map(|(_, standing)| standing.standing).chain(unknown))]
}

/// So many of each, by the word for it.
pub fn counted<T: serde::Serialize>(items: impl IntoIterator<Item = T>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for item in items {
        let word = serde_json::to_value(item).ok().and_then(|value| value.as_str().map(str::to_owned));
        *counts.entry(word.unwrap_or_default()).or_insert(0) += 1;
    }
    counts
}
