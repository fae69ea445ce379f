//! What people ask of one machine: which events that is, and when it cannot be. Refusals say what to do instead.

use super::access::Administrator;
use super::administrators::{existing, look};
use super::extract::{Json, Optional, Path};
use super::views::{AskAnswer, AskBody};
use super::{ApiError, App};
use crate::fleet::{Decision, would_take_in};
use crate::inspect::last_said;
use crate::journal::{Ask, Event, MachineState, Run, RunStatus};
use crate::workflow::silence::{Heard, QUIET_MS};
use crate::workflow::{Running, position};
use axum::extract::State;
use axum::http::StatusCode;

pub(super) async fn ask(
    State(app): State<App>,
    who: Administrator,
    Path((name, ask)): Path<(String, String)>,
    Optional(body): Optional<AskBody>,
) -> Result<Json<AskAnswer>, ApiError> {
    let entry = existing(&app, &name)?;
    let turn = entry.turn().await;
    // Only looked at: what is due by itself, such as a first run, is not an ask's to begin, and a refused one changes nothing.
    let on = app.fleet.look_to_ask(&entry).await;
    let serving = app.fleet.current().filter(|_| ask == "forget");
    let becomes = serving.and_then(|catalog| app.fleet.becomes(&catalog, &name));
    let heard = entry.heard(&app.fleet.clock);
    let asked = Asked { name: &name, body: &body, who: &who.name, heard, becomes };
    let events = asked.events(&ask, &on.decision)?;
    app.fleet.record_asked(&entry, &on, events).await?;
    drop(turn);
    // What follows at once, such as the end of a run whose last task was skipped. A first run begins with the machine's own word
    // alone. One that has walked begins the next run that Git declares as soon as nothing is in its way, as it does when the
    // revision comes: an `approve` of a machine in quarantine, whose `spec.run` was raised meanwhile, begins that run here.
    if ask != "adopt" && entry.state().has_walked() {
        app.fleet.settle(&entry).await?;
    }
    if ask == "forget" && !entry.state().is_known() {
        return Ok(Json(AskAnswer { message: format!("{name}: forgotten; a box with its MAC may be enrolled again") }));
    }
    let message = look(&app, &app.fleet.current(), &entry, |subject, _| {
        let summary = subject.summary();
        format!("{}: {}", summary.name, summary.waits_for)
    })
    .await;
    Ok(Json(AskAnswer { message }))
}

/// A cluster profile of the machine asks for assurance A2, and nobody has approved the machine.
fn wants_approval(decision: &Decision) -> bool {
    let asked = decision.current.as_deref().zip(decision.view.as_ref());
    !decision.state.vouched && asked.is_some_and(|(current, view)| crate::fleet::asks_approval(current, view))
}

/// One ask.
struct Asked<'a> {
    name: &'a str,
    body: &'a AskBody,
    who: &'a str,
    heard: Heard,
    /// What its box is called from its next word on, where it is declared under another name now.
    becomes: Option<String>,
}

impl Asked<'_> {
    /// What it writes down. Pure.
    fn events(&self, ask: &str, decision: &Decision) -> Result<Vec<Event>, ApiError> {
        let state: &MachineState = &decision.state;
        let open = state.run.as_ref().filter(|run| run.is_open());
        let (by, reason) = (self.who.to_owned(), self.body.reason.trim().to_owned());
        if self.body.new && ask != "adopt" {
            let message = format!("`new` is a word of adopt, and says nothing to {ask}");
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "new-unwanted", message).hint("leave it out"));
        }
        match ask {
            "retry" => {
                let run = open.ok_or_else(|| self.no_run(state))?;
                let mut events = vec![Event::Asked { by, what: Ask::Retry, reason }];
                if let (Some(_), Some(current)) = (&run.diverged, &decision.current) {
                    events.push(Event::RunResumed {
                        run: run.number,
                        revision: current.revision.to_string(),
                        reason: format!("{} asked to go on with the newest revision", self.who),
                    });
                }
                Ok(events)
            }
            "skip" => self.skip(open.ok_or_else(|| self.no_run(state))?, decision),
            "cancel" => {
                let run = open.ok_or_else(|| self.no_run(state))?;
                Ok(vec![Event::RunCancelled { run: run.number, by, reason: self.reason()? }])
            }
            "approve" if state.quarantined.is_none() && !wants_approval(decision) => Err(ApiError::conflict(
                "not-awaited",
                "the machine is not in quarantine, and nothing waits for an approval",
            )),
            "approve" => Ok(vec![Event::Asked { by, what: Ask::Approve, reason }]),
            "reboot" => self.reboot(state, reason),
            "adopt" => {
                if state.restored.is_none() && (state.run.is_some() || state.adopted.is_some()) {
                    return Err(ApiError::conflict("known", "the store knows this machine already")
                        .hint(format!("formwork why {} says where it is", self.name)));
                }
                let view = decision.view.as_ref();
                let (run, workflow) = if self.body.new {
                    (0, None)
                } else {
                    // With no workflow, run 0 would say that it is new to the first one that it is given.
                    let workflow = view.and_then(|view| view.workflow.clone());
                    let least = u64::from(workflow.is_none());
                    (view.map_or(least, |view| view.run.max(least)), workflow)
                };
                let mut events = Vec::new();
                if let Some(run) = open {
                    let why = "the store came back from a backup".to_owned();
                    events.push(Event::RunCancelled { run: run.number, by: by.clone(), reason: why });
                }
                let macs = view.map(|view| view.macs.clone()).unwrap_or_default();
                events.push(Event::Adopted { by, run, workflow, macs, reason });
                Ok(events)
            }
            "forget" => self.forget(decision),
            other => Err(ApiError::not_found(format!("there is no ask {other}"))
                .hint("retry, skip, cancel, approve, adopt, forget or reboot")),
        }
    }

    /// The task where the run stands counts as done. Not under a job that runs: it may be half-way through a disk.
    fn skip(&self, run: &Run, decision: &Decision) -> Result<Vec<Event>, ApiError> {
        if let Some(job) = &run.job {
            let message = format!("task {} runs now (job {}): it cannot be skipped half-way", job.task, job.id);
            return Err(ApiError::conflict("job-open", message)
                .hint(format!("wait until it has ended, or formwork cancel {} --reason TEXT", self.name)));
        }
        if run.boot_count == 0 {
            let message = format!("run {} has not booted yet: there is no task at which it stands", run.number);
            return Err(ApiError::conflict("not-booted", message)
                .hint("switch the machine on; what a run should leave out belongs in its workflow, in Git"));
        }
        let workflow = decision.pinned.as_deref().and_then(|catalog| catalog.workflow(&run.workflow));
        let at = workflow
            .and_then(|workflow| position(workflow, run))
            .ok_or_else(|| ApiError::conflict("no-task", format!("run {} stands at no task", run.number)))?;
        Ok(vec![Event::TaskSkipped {
            run: run.number,
            stage_index: at.stage_index,
            stage: at.stage.name.to_string(),
            task_index: at.task_index,
            task: at.task.name.to_string(),
            by: self.who.to_owned(),
            reason: self.reason()?,
        }])
    }

    /// What is forgotten was never installed, as far as the store knows: where a rule takes its box in again, or it is declared
    /// under another name, its next boot walks the workflow from the start. That takes a reason.
    fn forget(&self, decision: &Decision) -> Result<Vec<Event>, ApiError> {
        let state: &MachineState = &decision.state;
        if decision.view.is_some() && state.enrolled.is_none() {
            return Err(ApiError::conflict("declared", "the machine is declared in Git; remove it there first"));
        }
        if decision.view.is_some() && state.run.as_ref().is_some_and(Run::is_open) {
            return Err(ApiError::conflict("open-run", "the machine has an open run; cancel it first"));
        }
        let reason = self.body.reason.trim();
        if let Some(declared) = self.becomes.as_ref().filter(|_| reason.is_empty()) {
            let message = format!(
                "its box is declared as {declared}, which goes on with what {} has walked: forgotten, it is new, and walks its \
                 workflow from the start at its next boot",
                self.name
            );
            let hint = format!(
                "formwork why {declared} says how it goes on; if it is to be new, formwork forget {} --reason TEXT",
                self.name
            );
            return Err(ApiError::conflict("declared-anew", message).hint(hint));
        }
        let walked = state.run.is_some() || state.adopted.is_some();
        let current = decision.current.as_deref().filter(|_| walked && reason.is_empty());
        if let Some(rule) = current.and_then(|current| would_take_in(current, state)) {
            let wipe = if rule.spec.may_wipe { ", and may wipe its disks (mayWipe)" } else { "" };
            let message = format!(
                "enrollment rule {} still matches its box: forgotten, it is taken in as new at its next boot, walks {} from \
                 the start{wipe}",
                rule.name,
                rule.workflow.as_deref().unwrap_or("a workflow")
            );
            let hint = format!(
                "let the rule no longer match it in Git first; if that is what you want, formwork forget {} --reason TEXT",
                self.name
            );
            return Err(ApiError::conflict("rule-matches", message).hint(hint));
        }
        Ok(vec![Event::Forgotten { by: self.who.to_owned(), reason: reason.to_owned() }])
    }

    /// Only an agent that speaks can be told to reboot.
    fn reboot(&self, state: &MachineState, reason: String) -> Result<Vec<Event>, ApiError> {
        let last = self.heard.last_unix_ms(state);
        // After a start of the server every agent gets the time in which it asks again.
        let since = last.map(|last| last.max(self.heard.listening_since_unix_ms));
        let silent = since.map_or(u64::MAX, |since| self.heard.now_unix_ms.abs_diff(since));
        let unreachable = match (&state.boot, last) {
            (None, _) | (_, None) => Some("no agent of it has ever checked in".to_owned()),
            (Some(_), Some(_)) if matches!(last_said(state), Running::Firmware) => {
                Some("it was offered a boot and no agent has checked in since".to_owned())
            }
            (Some(_), Some(last)) if silent >= QUIET_MS => {
                let seconds = self.heard.now_unix_ms.abs_diff(last) / 1000;
                Some(format!("its agent was last heard of {seconds} s ago"))
            }
            _ => None,
        };
        match unreachable {
            None => Ok(vec![Event::Asked { by: self.who.to_owned(), what: Ask::Reboot, reason }]),
            Some(why) => Err(ApiError::conflict("unreachable", format!("it cannot be told to reboot: {why}"))
                .hint("power-cycle it: at its next boot it asks what to do")),
        }
    }

    fn reason(&self) -> Result<String, ApiError> {
        if self.body.reason.trim().is_empty() {
            return Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "reason-missing", "say why, for the journal")
                .hint("--reason TEXT"));
        }
        Ok(self.body.reason.clone())
    }

    fn no_run(&self, state: &MachineState) -> ApiError {
        let message = match &state.run {
            Some(run) if run.status == RunStatus::Cancelled => format!("run {} was cancelled", run.number),
            Some(run) => format!("run {} is done", run.number),
            None => "it has no run yet".to_owned(),
        };
        let hint = match &state.run {
            Some(_) => {
                format!("raise spec.run of {} above {} in Git to walk its workflow", self.name, state.highest_run)
            }
            None => format!("formwork plan {} shows what begins at its next word", self.name),
        };
        ApiError::conflict("no-open-run", format!("the machine has no open run: {message}")).hint(hint)
    }
}
