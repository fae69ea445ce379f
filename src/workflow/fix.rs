//! Fixing: a task failed, and a newer good revision is there.
//!
//! It resumes the run once, by itself, if what the failed task is made of changed and what is already done is the same in
//! it. If what is done differs, the run has diverged and waits for a person.

use super::{Action, Next, Position, Question};
use crate::catalog::{Catalog, MachineView, Stage, Task, Workflow};
use crate::journal::{Event, Run, TaskRecord};
use std::sync::Arc;

/// Events that take a new revision into account; `None`: there is none that was not looked at before.
pub(super) fn consider(question: &Question<'_>, run: &Run, position: &Position<'_>) -> Option<Next> {
    let current = question.current?;
    let revision = current.revision.to_string();
    if revision == run.revision || run.considered.as_deref() == Some(&revision) {
        return None;
    }
    let Some(workflow) = current.workflow(&run.workflow) else {
        return Some(diverged(run, revision, format!("workflow {} is gone", run.workflow)));
    };
    let view = question.view?;
    let made_now = |stage: &Stage, task: &Task| made_of(current, view, stage, task);
    if let Some(reason) = done_differs(question, workflow, run, &made_now) {
        return Some(diverged(run, revision, reason));
    }
    let Some((stage, task)) = task_at(workflow, position.stage_index, position.task_index) else {
        return Some(diverged(run, revision, format!("task {} is not in its place any more", position.task.name)));
    };
    if position.record.is_some_and(|record| record.digest == made_now(stage, task)) {
        return None;
    }
    Some(Next::now(Action::Record(vec![Event::RunResumed {
        run: run.number,
        revision,
        reason: format!("task {} was changed", position.task.name),
    }])))
}

/// The same for an environment whose boots come to nothing: what it is made of changed, and what is done is the same. `None`:
/// there is no newer revision, or it does not change the environment.
pub(super) fn consider_boot(question: &Question<'_>, run: &Run, environment: &str) -> Option<Next> {
    let (current, view, pinned) = (question.current?, question.view?, question.pinned?);
    let revision = current.revision.to_string();
    if revision == run.revision || run.considered.as_deref() == Some(&revision) {
        return None;
    }
    let before = pinned_view(question, pinned)?;
    if boots_with(current, view, environment) == boots_with(pinned, &before, environment) {
        return None;
    }
    let Some(workflow) = current.workflow(&run.workflow) else {
        return Some(diverged(run, revision, format!("workflow {} is gone", run.workflow)));
    };
    let made_now = |stage: &Stage, task: &Task| made_of(current, view, stage, task);
    if let Some(reason) = done_differs(question, workflow, run, &made_now) {
        return Some(diverged(run, revision, reason));
    }
    let reason = format!("boot environment {environment} was changed");
    Some(Next::now(Action::Record(vec![Event::RunResumed { run: run.number, revision, reason }])))
}

/// Whether an environment's boot is made of the same for this machine on both revisions.
pub(crate) fn boots_the_same(
    one: &Catalog,
    view: &MachineView,
    other: &Catalog,
    before: &MachineView,
    environment: &str,
) -> bool {
    boots_with(one, view, environment) == boots_with(other, before, environment)
}

/// Of what an environment's boot is made for this machine: what it declares, its templates' texts, and the params they may use.
fn boots_with(catalog: &Catalog, view: &MachineView, environment: &str) -> Option<impl PartialEq> {
    let boot_env = catalog.boot_env(environment)?;
    let templates: Vec<_> = boot_env
        .templates
        .iter()
        .map(|(name, template)| (name.clone(), catalog.template(template).map(|template| Arc::clone(&template.text))))
        .collect();
    let params = crate::params::resolve(catalog, view, None, &crate::params::ClusterKeys::default()).values();
    Some((boot_env.ends_by, boot_env.architectures.clone(), templates, params))
}

/// The machine on the revision of its run.
fn pinned_view(question: &Question<'_>, pinned: &Catalog) -> Option<MachineView> {
    pinned.machine(question.machine).cloned().or_else(|| {
        let by = question.state.enrolled.as_ref()?;
        pinned.enrolled_view(question.machine, &by.rule, &by.mac, by.uuid.as_deref(), by.serial.as_deref())
    })
}

fn diverged(run: &Run, revision: String, reason: String) -> Next {
    Next::now(Action::Record(vec![Event::RunDiverged { run: run.number, revision, reason }]))
}

/// In what the work already done would differ under this workflow. A skipped task is not work that was done. Where a person
/// took a difference for good, by letting the run go on with a revision that has it, it is one no more: what is the same as in
/// the run's revision does not differ.
fn done_differs(
    question: &Question<'_>,
    workflow: &Workflow,
    run: &Run,
    made_now: &dyn Fn(&Stage, &Task) -> String,
) -> Option<String> {
    let pinned = question.pinned.and_then(|pinned| Some((pinned, pinned.workflow(&run.workflow)?)));
    let done =
        run.tasks.values().filter(|record| record.is_done() && record.end.as_ref().is_some_and(|end| !end.skipped));
    for record in done {
        let (place, taken) = (place_of(workflow, record), pinned.and_then(|(_, workflow)| place_of(workflow, record)));
        if place != Some((record.stage_index, record.task_index)) && (pinned.is_none() || place != taken) {
            return Some(format!("task {}, already done, is not in its place any more", record.task));
        }
        let Some((stage, task)) = place.and_then(|(stage, task)| task_at(workflow, stage, task)) else { continue };
        let now = made_now(stage, task);
        let as_taken = || {
            let (catalog, workflow) = pinned?;
            let (stage, task) = taken.and_then(|(stage, task)| task_at(workflow, stage, task))?;
            Some(made_of(catalog, &pinned_view(question, catalog)?, stage, task))
        };
        if now != record.digest && as_taken().is_none_or(|taken| now != taken) {
            return Some(format!("task {}, already done, is made of something else", record.task));
        }
    }
    None
}

/// Where a task that was done stands in this workflow, by its names.
fn place_of(workflow: &Workflow, record: &TaskRecord) -> Option<(u32, u32)> {
    let stage = workflow.stages.iter().position(|stage| *stage.name == *record.stage)?;
    let task = workflow.stages.get(stage)?.tasks.iter().position(|task| *task.name == *record.task)?;
    Some((u32::try_from(stage).ok()?, u32::try_from(task).ok()?))
}

fn task_at(workflow: &Workflow, stage_index: u32, task_index: u32) -> Option<(&Stage, &Task)> {
    let stage = workflow.stages.get(usize::try_from(stage_index).ok()?)?;
    let task = stage.tasks.get(usize::try_from(task_index).ok()?)?;
    Some((stage, task))
}

/// Of what a task is made for this machine: its own digest, and the params it declares (without those that the cluster
/// supplies at run time).
pub(crate) fn made_of(catalog: &Catalog, view: &MachineView, stage: &Stage, task: &Task) -> String {
    made_with(&crate::params::resolve(catalog, view, Some(stage), &crate::params::ClusterKeys::default()), task)
}

/// The same of every task of a workflow, by the names of stage and task.
pub(crate) fn made_of_all<'a>(
    catalog: &Catalog,
    view: &MachineView,
    workflow: &'a Workflow,
) -> Vec<(&'a str, &'a str, String)> {
    let mut made = Vec::new();
    for stage in &workflow.stages {
        let resolved = crate::params::resolve(catalog, view, Some(stage), &crate::params::ClusterKeys::default());
        made.extend(stage.tasks.iter().map(|task| (&*stage.name, &*task.name, made_with(&resolved, task))));
    }
    made
}

fn made_with(resolved: &crate::params::Resolved, task: &Task) -> String {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(task.digest.as_bytes());
    for param in &task.params {
        if let Some(layered) = resolved.get(&param.name) {
            context.update(param.name.as_bytes());
            context.update(b"\0");
            context.update(layered.value.to_string().as_bytes());
            context.update(b"\0");
        }
    }
    hex(context.finish().as_ref())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
