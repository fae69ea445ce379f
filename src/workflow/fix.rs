//! Fixing: a task failed, and a newer good revision is there.
//!
//! It resumes the run once, by itself, if what the failed task is made of changed and what is already done is the same in
//! it. If what is done differs, the run has diverged and waits for a person.

use super::{Action, Next, Position, Question};
use crate::catalog::{Stage, Task, Workflow};
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
    let view = question.view?;
    let made_now = |stage: &Stage, task: &Task| made_of(current, view, stage, task);
    if let Some(reason) = done_differs(workflow, run, &made_now) {
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

fn diverged(run: &Run, revision: String, reason: String) -> Next {
    Next::now(Action::Record(vec![Event::RunDiverged { run: run.number, revision, reason }]))
}

/// In what the work already done would differ under this workflow. A skipped task is not work that was done.
fn done_differs(workflow: &Workflow, run: &Run, made_now: &dyn Fn(&Stage, &Task) -> String) -> Option<String> {
    let done =
        run.tasks.values().filter(|record| record.is_done() && record.end.as_ref().is_some_and(|end| !end.skipped));
    for record in done {
        let there = task_at(workflow, record.stage_index, record.task_index)
            .filter(|(stage, task)| *stage.name == *record.stage && *task.name == *record.task);
        let Some((stage, task)) = there else {
            return Some(format!("task {}, already done, is not in its place any more", record.task));
        };
        if made_now(stage, task) != record.digest {
            return Some(format!("task {}, already done, is made of something else", record.task));
        }
    }
    None
}

fn task_at(workflow: &Workflow, stage_index: u32, task_index: u32) -> Option<(&Stage, &Task)> {
    let stage = workflow.stages.get(usize::try_from(stage_index).ok()?)?;
    let task = stage.tasks.get(usize::try_from(task_index).ok()?)?;
    Some((stage, task))
}

/// Of what a task is made for this machine: its own digest, and the params it declares (without those that the cluster
/// supplies at run time).
pub(crate) fn made_of(
    catalog: &crate::catalog::Catalog,
    view: &crate::catalog::MachineView,
    stage: &Stage,
    task: &Task,
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
