//! Drift: how what a machine runs stands to what Git says. What differs, the journal explains. Pure.

use super::view_on;
use crate::catalog::{Catalog, MachineView, Workflow};
use crate::journal::{Run, RunStatus, TaskEnd, TaskRecord};
use crate::workflow::{Action, Question, boots_the_same, made_of_all, position};
use serde::{Deserialize, Serialize};

/// In a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It runs what Git says, or is on its way there.
    InStep,
    /// It does not, and does not come to it by itself (now).
    Behind,
    /// It shows itself, and Git says nothing of it.
    Unknown,
    /// Git declares it, and it never showed itself.
    NeverSeen,
    /// It was there, and is gone from Git.
    Left,
}

impl Standing {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::InStep, Self::Behind, Self::Unknown, Self::NeverSeen, Self::Left];
}

/// Why a machine is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Lag {
    /// Its identity is in doubt.
    Quarantine,
    /// The store does not know what it did: it waits for `formwork adopt`.
    NotAdopted,
    /// It is held, or waits for a person's word.
    Held,
    /// Its run is pinned to an older revision, and a person must say how it goes on.
    Diverged,
    /// A task failed.
    Failed,
    /// It should have said something long ago.
    Overdue,
    /// Its open run is pinned to a revision that says something else for it.
    OlderRevision,
    /// Its run is done, and what it was built from was changed since.
    ChangedSince,
    /// Its run was cancelled.
    Cancelled,
}

/// How a machine stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineStanding {
    /// Its name; of a box that is no machine, its MAC.
    pub name: String,
    /// What its box is called until its next word, where it is declared under another name now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub former: Option<String>,
    /// In a word.
    pub standing: Standing,
    /// Why, of one that is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<Lag>,
    /// Why, in a sentence.
    pub message: String,
    /// The revision of its last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<String>,
    /// Since when, Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since_unix_ms: Option<i64>,
}

impl MachineStanding {
    /// By either of its names.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.former.as_deref() == Some(name)
    }
}

/// How a machine stands, given what a decision about it is made on and what that decision is.
pub fn standing(question: &Question<'_>, next: &Action) -> MachineStanding {
    let state = question.state;
    let run = state.run.as_ref();
    let last = (state.head > 0).then_some(state.last_event_unix_ms);
    let said = |standing, lag, message: String, since: Option<i64>| MachineStanding {
        name: question.machine.to_owned(),
        former: None,
        standing,
        lag,
        message,
        runs: run.map(|run| run.revision.clone()),
        since_unix_ms: since.or(last),
    };
    let in_step = |message: String, since| said(Standing::InStep, None, message, since);
    let behind = |lag, message: String, since| said(Standing::Behind, Some(lag), message, since);
    let Some(view) = question.view.filter(|_| !state.left) else {
        return match state.is_known() {
            true => said(Standing::Left, None, "gone from Git".to_owned(), None),
            false => said(Standing::Unknown, None, "neither declared nor enrolled".to_owned(), None),
        };
    };
    if !state.is_known() {
        return said(Standing::NeverSeen, None, "declared, and never seen".to_owned(), None);
    }
    if let Some(reason) = state.quarantined.as_ref().filter(|_| !state.approved) {
        return behind(Lag::Quarantine, format!("in quarantine: {reason}"), None);
    }
    if state.restored.is_some() {
        let message = "the store came back from a backup, and what it did since is not known";
        return behind(Lag::NotAdopted, message.to_owned(), state.restored);
    }
    if state.awaiting.is_some() && state.approved_key.is_none() {
        return behind(Lag::Held, "its key waits for `formwork approve`".to_owned(), None);
    }
    if let Action::Hold { reason } = next {
        return behind(Lag::Held, reason.clone(), None);
    }
    if let Some(begins) = next.begins().filter(|_| state.has_walked()) {
        return in_step(format!("run {begins} begins at its next word"), None);
    }
    let Some(run) = run else {
        return match (&state.adopted, &view.workflow, next) {
            (None, Some(_), Action::Boot { reason, .. } | Action::Wait { reason }) => {
                behind(Lag::NotAdopted, reason.clone(), None)
            }
            (_, None, _) => in_step("it has no workflow".to_owned(), None),
            (Some((run, _)), ..) => in_step(format!("taken over as it is: run {run} counts as done"), None),
            (None, Some(_), _) => in_step("it begins its first run at its next word".to_owned(), None),
        };
    };
    let taken_over = state.adopted.as_ref().is_some_and(|(adopted, _)| *adopted >= run.number);
    match run.status {
        RunStatus::Open => match why_open_is_behind(question, next, view, run) {
            Some((lag, message, since)) => behind(lag, message, since),
            None => in_step(format!("walks run {} of {}", run.number, run.workflow), Some(run.started_unix_ms)),
        },
        _ if taken_over => in_step(format!("taken over as it is: run {} counts as done", run.number), None),
        _ if view.workflow.is_none() => in_step("it has no workflow".to_owned(), run.ended_unix_ms),
        RunStatus::Cancelled => {
            let message = format!("run {} was cancelled before its end", run.number);
            behind(Lag::Cancelled, message, run.ended_unix_ms)
        }
        RunStatus::Finished => match changed_since(question.current, view, run) {
            changed if changed.is_empty() => in_step(format!("run {} is done", run.number), run.ended_unix_ms),
            changed => {
                let message = format!(
                    "run {} was done on revision {}, and {} changed since; spec.run above {} builds it anew",
                    run.number,
                    short(&run.revision),
                    named(&changed),
                    state.highest_run,
                );
                behind(Lag::ChangedSince, message, run.ended_unix_ms)
            }
        },
    }
}

type Why = (Lag, String, Option<i64>);

/// Why an open run does not come to what Git says by itself.
fn why_open_is_behind(question: &Question<'_>, next: &Action, view: &MachineView, run: &Run) -> Option<Why> {
    let state = question.state;
    if let Some(reason) = &run.diverged {
        return Some((Lag::Diverged, format!("run {} has diverged: {reason}", run.number), None));
    }
    let pinned = question.pinned;
    let position = pinned.and_then(|pinned| pinned.workflow(&run.workflow)).and_then(|it| position(it, run));
    if let Some((position, failed)) = position.as_ref().and_then(|it| Some((it, it.failed.as_ref()?))) {
        let since = position.record.and_then(|record| record.end.as_ref()).map(|end: &TaskEnd| end.at_unix_ms);
        return Some((Lag::Failed, format!("task {}: {failed}", position.task.name), since));
    }
    if let Some(reason) = &state.overdue {
        return Some((Lag::Overdue, reason.clone(), None));
    }
    let held = position.as_ref().is_some_and(|it| it.stage.destructive) && (view.protect || !run.destructive_allowed);
    if let (true, Action::Wait { reason }) = (held, next) {
        return Some((Lag::Held, reason.clone(), None));
    }
    let current = question.current?;
    if *current.revision == *run.revision {
        return None;
    }
    let older = format!("run {} is pinned to revision {}", run.number, short(&run.revision));
    let since = Some(run.started_unix_ms);
    let Some(pinned) = pinned else {
        return Some((Lag::OlderRevision, format!("{older}, which cannot be read any more"), since));
    };
    let differs = in_what_differs(current, view, pinned, &*view_on(pinned, question.machine, state)?, run);
    let differs = differs.filter(|differs| !differs.is_empty())?;
    Some((Lag::OlderRevision, format!("{older}; in the newest, {} changed", named(&differs)), since))
}

/// In what two revisions differ for the run's workflow. `None`: the workflow is in neither.
fn in_what_differs(
    current: &Catalog,
    view: &MachineView,
    pinned: &Catalog,
    before: &MachineView,
    run: &Run,
) -> Option<Vec<String>> {
    let (Some(now), Some(then)) = (current.workflow(&run.workflow), pinned.workflow(&run.workflow)) else {
        return Some(vec![format!("workflow {}", run.workflow)]);
    };
    let mut changed = Vec::new();
    if walk(now) != walk(then) {
        changed.push(format!("the order of workflow {}", run.workflow));
    }
    let made_then = made_of_all(pinned, before, then);
    for (stage, task, digest) in made_of_all(current, view, now) {
        let differs = made_then.iter().any(|(s, t, made)| *s == stage && *t == task && *made != digest);
        if differs {
            changed.push(format!("task {task}"));
        }
    }
    let mut environments: Vec<&str> = now.stages.iter().filter_map(|stage| stage.boot_env.as_deref()).collect();
    environments.sort_unstable();
    environments.dedup();
    let other = |environment: &&str| !boots_the_same(current, view, pinned, before, environment);
    changed.extend(environments.into_iter().filter(other).map(|name| format!("boot environment {name}")));
    Some(changed)
}

/// Stages with their environments and tasks, in order.
fn walk(workflow: &Workflow) -> Vec<(&str, Option<&str>, Vec<&str>)> {
    workflow
        .stages
        .iter()
        .map(|stage| (&*stage.name, stage.boot_env.as_deref(), stage.tasks.iter().map(|task| &*task.name).collect()))
        .collect()
}

/// What a finished run did that would be made of something else now.
fn changed_since(current: Option<&Catalog>, view: &MachineView, run: &Run) -> Vec<String> {
    let Some(current) = current.filter(|current| *current.revision != *run.revision) else { return Vec::new() };
    let Some(workflow) = current.workflow(&run.workflow) else {
        return vec![format!("workflow {}", run.workflow)];
    };
    let made = made_of_all(current, view, workflow);
    let was_done = |record: &&TaskRecord| {
        record.is_done() && !record.digest.is_empty() && record.end.as_ref().is_some_and(|end| !end.skipped)
    };
    let mut changed: Vec<(u32, u32, String)> = Vec::new();
    for record in run.tasks.values().filter(was_done) {
        let now = made.iter().find(|(stage, task, _)| *stage == record.stage && *task == record.task);
        if now.is_none_or(|(.., digest)| *digest != record.digest) {
            changed.push((record.stage_index, record.task_index, format!("task {}", record.task)));
        }
    }
    changed.sort();
    changed.into_iter().map(|(.., name)| name).collect()
}

/// `task a`, `task a and 3 more`.
fn named(changed: &[String]) -> String {
    match changed {
        [] => "nothing".to_owned(),
        [one] => format!("{one} was"),
        [one, rest @ ..] => format!("{one} and {} more were", rest.len()),
    }
}

fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}

#[cfg(test)]
mod tests;
