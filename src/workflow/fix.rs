//! Fixing: a task failed, and a newer good revision is there.
//!
//! It resumes the run once, by itself, if what the failed task is made of changed and what is already done is the same in
//! it. If what is done differs, the run has diverged and waits for a person.

use super::{Action, Next, Position, Question};
use crate::catalog::Workflow;
use crate::journal::{Event, Run};

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
    let digest = |stage_index: u32, task_index: u32| digest_at(question, workflow, stage_index, task_index);
    if let Some(reason) = done_differs(workflow, run, &digest) {
        return Some(diverged(run, revision, reason));
    }
    let now = digest(position.stage_index, position.task_index);
    let then = position.record.map(|record| record.digest.as_str());
    if now.is_none() {
        return Some(diverged(run, revision, format!("task {} is not in its place any more", position.task.name)));
    }
    if now.as_deref() == then {
        return None;
    }
    Some(Next::now(Action::Record(vec![Event::RunResumed {
        run: run.number,
        revision,
        reason: format!("task {} was changed", position.task.name),
    }])))
}

fn diverged(run: &Run, revision: String, reason: String) -> Next {
    Next::now(Action::Record(vec![Event::RunDiverged { run: run.number, revision, reason }]))
}

/// In what the work already done would differ under this workflow.
fn done_differs(workflow: &Workflow, run: &Run, digest: &dyn Fn(u32, u32) -> Option<String>) -> Option<String> {
    for (&(stage_index, task_index), record) in run.tasks.iter().filter(|(_, record)| record.is_done()) {
        if record.digest.is_empty() {
            continue;
        }
        let task = task_at(workflow, stage_index, task_index);
        if task.is_none_or(|task| *task.name != *record.task) {
            return Some(format!("task {}, already done, is not in its place any more", record.task));
        }
        if digest(stage_index, task_index).as_deref() != Some(record.digest.as_str()) {
            return Some(format!("task {}, already done, is made of something else", record.task));
        }
    }
    None
}

fn task_at(workflow: &Workflow, stage_index: u32, task_index: u32) -> Option<&crate::catalog::Task> {
    let stage = workflow.stages.get(usize::try_from(stage_index).ok()?)?;
    stage.tasks.get(usize::try_from(task_index).ok()?).map(AsRef::as_ref)
}

/// Of what a task at a place is made for this machine: its own digest, and the params it declares (without those that the
/// cluster supplies at run time).
pub(crate) fn digest_at(
    question: &Question<'_>,
    workflow: &Workflow,
    stage_index: u32,
    task_index: u32,
) -> Option<String> {
    let stage = workflow.stages.get(usize::try_from(stage_index).ok()?)?;
    let task = stage.tasks.get(usize::try_from(task_index).ok()?)?;
    let (catalog, view) = (question.current?, question.view?);
    Some(made_of(catalog, view, stage, task))
}

/// See [`digest_at`].
pub(crate) fn made_of(
    catalog: &crate::catalog::Catalog,
    view: &crate::catalog::MachineView,
    stage: &crate::catalog::Stage,
    task: &crate::catalog::Task,
) -> String {
    let resolved = crate::params::resolve(catalog, view, Some(stage), &crate::params::ClusterKeys::default());
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
