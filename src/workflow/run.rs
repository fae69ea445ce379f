//! When a run begins, and why not.

use super::{Action, Disk, Next, Question, Trust, idle};
use crate::catalog::MachineView;
use crate::journal::{Event, MachineState, RunStatus};

/// A run to start or to end before anything else; `None`: what is open goes on.
pub(super) fn begin(question: &Question<'_>, view: &MachineView) -> Option<Next> {
    let state = question.state;
    let revision = question.current.map(|catalog| catalog.revision.to_string()).unwrap_or_default();
    let open = state.run.as_ref().filter(|run| run.is_open());
    let Some(workflow) = view.workflow.as_deref() else {
        let run = open?;
        return Some(Next::now(Action::Record(vec![Event::RunCancelled {
            run: run.number,
            by: "formwork".into(),
            reason: "the machine has no workflow any more".into(),
        }])));
    };
    let before = walked_before(state);
    let raised = view.run > state.highest_run;
    let (reason, destructive_allowed) = match before {
        None => ("its first workflow".to_owned(), true),
        Some(None) if raised && state.highest_run == 0 => ("it was taken in as new".to_owned(), true),
        Some(_) if raised => (format!("spec.run was raised from {} to {}", state.highest_run, view.run), true),
        Some(Some(walked)) if walked != workflow => (format!("its workflow changed from {walked}"), false),
        Some(None) => ("its first workflow since it was adopted".to_owned(), false),
        Some(Some(_)) => return None,
    };
    if before.is_none() && question.trust == Trust::HoldUnknown {
        let reason = format!(
            "this store has no journal for it and was not made for new machines: it may be installed already; \
             `formwork adopt {}` takes it as it is, `formwork adopt --new {}` lets its workflow start",
            question.machine, question.machine
        );
        return Some(idle(question, &reason, Disk::Boot));
    }
    let mut events = Vec::new();
    if let Some(run) = open {
        events.push(Event::RunCancelled { run: run.number, by: "formwork".into(), reason: reason.clone() });
    }
    // What an earlier run's scripts still hold must not write into a cluster any more; its agent gets new tokens.
    if state.generation > 0 {
        let generation = state.generation.saturating_add(1);
        events.push(Event::GenerationRaised { generation, reason: "a new run began".into() });
    }
    events.push(Event::RunStarted {
        run: view.run.max(state.highest_run),
        workflow: workflow.to_owned(),
        revision,
        reason,
        destructive_allowed,
    });
    Some(Next::now(Action::Record(events)))
}

/// `None`: it never had a workflow. `Some(None)`: adopted without one. `Some(Some(w))`: it last walked `w`.
#[expect(clippy::option_option, reason = "three cases that the caller matches on in one place")]
fn walked_before(state: &MachineState) -> Option<Option<&str>> {
    match (&state.run, &state.adopted) {
        (Some(run), _) => Some(Some(run.workflow.as_str())),
        (None, Some((_, workflow))) => Some(workflow.as_deref()),
        (None, None) => None,
    }
}

/// Why a machine with a workflow has no open run.
pub(super) fn rest_reason(state: &MachineState, view: &MachineView) -> String {
    match &state.run {
        Some(run) if run.status == RunStatus::Cancelled => {
            format!("run {} was cancelled; raise spec.run above {} to walk again", run.number, state.highest_run)
        }
        Some(run) => format!("run {} of {} is done", run.number, run.workflow),
        None => format!(
            "adopted with run {}; raise spec.run above it to walk {}",
            state.highest_run,
            view.workflow.as_deref().unwrap_or("a workflow")
        ),
    }
}
