//! Going on with an open run: where it stands, and what that place wants.

use super::{
    Action, Disk, Grant, LONGEST_PAUSE_MS, Next, OFFERS_BEFORE_HOLD, Question, Running, fix, idle, installer,
    is_open_job,
};
use crate::catalog::{MachineView, OnFailure, Stage, Task, Workflow};
use crate::journal::{Event, LOCAL, Run, TaskRecord};
use crate::wire::{JobOutcome, OnInterrupt};
use std::sync::Arc;

/// Boots that may end under a task (power cuts) before it counts as failed; apart from its retries.
const INTERRUPTIONS_MAX: u32 = 5;
/// How often a task may ask to be run again.
const AGAINS_MAX: u32 = 100;
/// An agent that said nothing for its task's timeout and this long after has lost the job.
const SILENCE_GRACE_MS: u64 = 120_000;

/// Where a run stands in its workflow.
#[derive(Debug, Clone)]
pub struct Position<'a> {
    /// The stage's place.
    pub stage_index: u32,
    /// The stage.
    pub stage: &'a Arc<Stage>,
    /// The task's place.
    pub task_index: u32,
    /// The task.
    pub task: &'a Arc<Task>,
    /// What was done for it so far.
    pub record: Option<&'a TaskRecord>,
    /// It has failed and is not tried again by itself.
    pub failed: Option<String>,
    /// The environment it needs; `None`: whichever runs.
    pub environment: Option<&'a str>,
}

/// The first task that is not done, by the stages' failure policies; `None`: all is done.
pub fn position<'a>(workflow: &'a Workflow, run: &'a Run) -> Option<Position<'a>> {
    let mut stage_index = 0;
    let mut environment: Option<&str> = None;
    let mut after_installer = false;
    'stages: while let Some(stage) = workflow.stages.get(stage_index) {
        // An installer's environment ends with its stage: what names none after it runs in what it installed.
        match stage.boot_env.as_deref() {
            Some(wanted) => environment = Some(wanted),
            None if after_installer => environment = None,
            None => {}
        }
        after_installer = stage.is_installer();
        for (task_index, task) in stage.tasks.iter().enumerate() {
            let place = (u32_of(stage_index), u32_of(task_index));
            let record = run.task(&stage.name, &task.name);
            if record.is_some_and(TaskRecord::is_done) {
                continue;
            }
            let failed = record.and_then(|record| failed_for_good(task, record));
            if failed.is_some() {
                match &stage.on_failure {
                    OnFailure::Stop => {}
                    OnFailure::Continue => continue,
                    OnFailure::GoTo(target) => {
                        let target = workflow.stages.iter().position(|stage| *stage.name == **target);
                        if let Some(target) = target.filter(|target| *target > stage_index) {
                            stage_index = target;
                            continue 'stages;
                        }
                    }
                }
            }
            return Some(Position {
                stage_index: place.0,
                stage,
                task_index: place.1,
                task,
                record,
                failed,
                environment,
            });
        }
        stage_index += 1;
    }
    None
}

/// Why a task that has ended is not tried again by itself.
fn failed_for_good(task: &Task, record: &TaskRecord) -> Option<String> {
    let end = record.end.as_ref()?;
    let what = end.message.clone().unwrap_or_else(|| "no message".into());
    let limit = task.retries.as_ref().map_or(0, |retries| retries.limit);
    match end.outcome {
        JobOutcome::Failed if record.failures > limit => Some(format!("failed: {what}")),
        JobOutcome::TimedOut if record.failures > limit => Some("took longer than its timeout".into()),
        JobOutcome::Interrupted if task.on_interrupt == OnInterrupt::Fail => {
            Some("its boot ended under it, and it says `onInterrupt: fail`".into())
        }
        JobOutcome::Interrupted if record.interruptions > INTERRUPTIONS_MAX => {
            Some(format!("its boot ended under it {} times", record.interruptions))
        }
        JobOutcome::Abandoned if record.interruptions > INTERRUPTIONS_MAX => {
            Some(format!("its agent let go of it {} times", record.interruptions))
        }
        JobOutcome::Done if end.again && record.agains > AGAINS_MAX => {
            Some(format!("it asked to be run again {} times", record.agains))
        }
        _ => None,
    }
}

/// What an open run wants next.
pub(super) fn go_on(question: &Question<'_>, view: &MachineView, run: &Run) -> Next {
    let Some(workflow) = question.pinned.and_then(|catalog| catalog.workflow(&run.workflow)) else {
        let reason = format!("revision {} of run {} cannot be loaded from Git", short(&run.revision), run.number);
        return idle(question, &reason, Disk::Hold);
    };
    if let Some(job) = &run.job {
        return with_open_job(question, view, run, job);
    }
    if let Running::Agent { job: Some(job), .. } = question.running
        && !is_open_job(question.state, job)
    {
        return Next::now(Action::Abandon { job: job.to_owned(), reason: "the server has it as ended".into() });
    }
    let Some(position) = position(workflow, run) else {
        return Next::now(Action::Record(vec![Event::RunFinished { run: run.number }]));
    };
    if let Some(reason) = &position.failed {
        if let Some(fixed) = fix::consider(question, run, &position) {
            return fixed;
        }
        let why = run.diverged.as_ref().map_or_else(
            || format!("push a fix, or `formwork retry {}`", question.machine),
            |diverged| {
                format!("diverged: {diverged}; `formwork retry {}` goes on with the newest revision", question.machine)
            },
        );
        let reason = format!("task {} {reason}; {why}", position.task.name);
        return waiting_in_run(question, &position, &reason);
    }
    if let Some(task) = &run.stopped {
        let reason = format!("task {task} asked to stop; `formwork retry {}` goes on", question.machine);
        return waiting_in_run(question, &position, &reason);
    }
    match question.running {
        Running::Firmware => at_boot(question, view, run, &position),
        Running::Agent { boot_id, environment, .. } => in_agent(question, view, run, &position, boot_id, environment),
    }
}

/// A job is open: the same boot gets it again, another boot ends it, firmware gets its environment.
fn with_open_job(question: &Question<'_>, view: &MachineView, run: &Run, job: &crate::journal::Job) -> Next {
    let interrupted = |message: &str, outcome| {
        Next::now(Action::Record(vec![Event::JobEnded {
            job: job.id.clone(),
            outcome,
            exit_code: None,
            message: Some(message.to_owned()),
            requests: Vec::new(),
            log_at: None,
        }]))
    };
    match question.running {
        Running::Agent { boot_id, job: said, .. } if boot_id == job.boot_id => {
            // Giving it again is giving leave again: an agent that does not work on it may never have had it.
            if said.is_none() && job.destructive && view.protect {
                return interrupted("spec.protect is true since: it is not given again", JobOutcome::Abandoned);
            }
            let silent_after = job.timeout_seconds.saturating_mul(1000).saturating_add(SILENCE_GRACE_MS);
            let age = elapsed(question.now_unix_ms, job.granted_unix_ms);
            if age > silent_after {
                return interrupted("the agent did not end it by its timeout", JobOutcome::TimedOut);
            }
            let other = matches!(question.running, Running::Agent { job: Some(said), .. } if said != job.id);
            if let (true, Running::Agent { job: Some(said), .. }) = (other, question.running) {
                return Next::now(Action::Abandon { job: said.to_owned(), reason: "another job is open".into() });
            }
            Next { action: Action::Again { job: job.id.clone() }, ask_again_ms: Some(silent_after.saturating_sub(age)) }
        }
        Running::Agent { .. } => interrupted("the machine booted under it", JobOutcome::Interrupted),
        Running::Firmware => {
            // Only a check-in is a boot: a script that is served ends nothing. The place of the open job says what to boot.
            let environment = question
                .pinned
                .and_then(|catalog| catalog.workflow(&run.workflow))
                .and_then(|workflow| position(workflow, run)?.environment)
                .unwrap_or(LOCAL);
            offer(question, environment, &format!("task {} goes on after an interruption", job.task))
        }
    }
}

/// What firmware boots for this place.
fn at_boot(question: &Question<'_>, view: &MachineView, run: &Run, position: &Position<'_>) -> Next {
    if let Some(reason) = installer::refused(question, view, run, position) {
        return installer::hold(reason);
    }
    let environment = position.environment.unwrap_or(LOCAL);
    let reason = format!("run {}, stage {}, task {}", run.number, position.stage.name, position.task.name);
    offer(question, environment, &reason)
}

/// Serve a boot, unless it was served too often with no sign of life; then tries come further apart.
fn offer(question: &Question<'_>, environment: &str, reason: &str) -> Next {
    let state = question.state;
    let boot = Next::now(Action::Boot { environment: environment.to_owned(), reason: reason.to_owned() });
    if state.offers_unanswered < OFFERS_BEFORE_HOLD {
        return boot;
    }
    let pause = pause_after(state.offers_unanswered.saturating_sub(OFFERS_BEFORE_HOLD));
    let since = state.offer.as_ref().map_or(u64::MAX, |offer| elapsed(question.now_unix_ms, offer.at_unix_ms));
    // A fix of the environment resumes the run as a fix of a task does.
    if let Some(run) = state.run.as_ref().filter(|run| run.is_open())
        && let Some(fixed) = fix::consider_boot(question, run, environment)
    {
        return fixed;
    }
    if since >= pause {
        return boot;
    }
    let unanswered = format!("{} boots of {environment} were served and no agent checked in", state.offers_unanswered);
    // Written down once; later tries are offers, which the journal has anyway.
    if state.held.is_none() {
        return Next::now(Action::Record(vec![Event::Held { reason: unanswered }]));
    }
    let diverged = state.run.as_ref().and_then(|run| run.diverged.as_ref());
    let reason = format!(
        "{unanswered}{}; the next try comes in {} s, or `formwork retry {}`",
        diverged.map(|diverged| format!(", and the newest revision diverged: {diverged}")).unwrap_or_default(),
        (pause - since).div_ceil(1000),
        question.machine
    );
    Next { action: Action::Hold { reason }, ask_again_ms: Some(pause - since) }
}

/// The pause before the next of tries that led to nothing: it doubles, to [`LONGEST_PAUSE_MS`].
fn pause_after(tries: u32) -> u64 {
    (30_000_u64 << tries.min(10)).min(LONGEST_PAUSE_MS)
}

/// In a run that waits for a person or a fix: an agent waits, firmware gets the environment it waits in.
fn waiting_in_run(question: &Question<'_>, position: &Position<'_>, reason: &str) -> Next {
    match question.running {
        Running::Agent { .. } => Next::now(Action::Wait { reason: reason.to_owned() }),
        // To boot an installer is to run it.
        Running::Firmware if position.task.is_installer() => installer::hold(reason.to_owned()),
        Running::Firmware => offer(question, position.environment.unwrap_or(LOCAL), reason),
    }
}

/// What the last task asked of the boot that it ran in.
pub(super) fn asked_by_task(run: &Run, boot_id: &str) -> Option<Next> {
    let reason = || "the last task asked for it".to_owned();
    if run.poweroff_asked_in.as_deref() == Some(boot_id) {
        return Some(Next::now(Action::PowerOff { reason: reason() }));
    }
    (run.reboot_asked_in.as_deref() == Some(boot_id)).then(|| Next::now(Action::Reboot { reason: reason() }))
}

/// Boot after boot came up in another environment than the one wanted (the firmware does not ask the network first):
/// rebooting at once for ever would be a loop, so tries come further apart and the reason is shown.
fn comes_up_elsewhere(
    question: &Question<'_>,
    run: &Run,
    position: &Position<'_>,
    wanted: &str,
    environment: &str,
) -> Option<Next> {
    let over = run.idle_boots.checked_sub(OFFERS_BEFORE_HOLD)?;
    let booted = question.state.boot.as_ref()?.at_unix_ms;
    let pause = pause_after(over);
    let left = pause.saturating_sub(elapsed(question.now_unix_ms, booted));
    (left > 0).then(|| Next {
        action: Action::Wait {
            reason: format!(
                "stage {} runs in {wanted}, and the last {} boots came up in {environment}: is the network first in \
                 its boot order? The next reboot comes in {} s",
                position.stage.name,
                run.idle_boots,
                left.div_ceil(1000)
            ),
        },
        ask_again_ms: Some(left),
    })
}

/// An agent asks, and no job is open.
fn in_agent(
    question: &Question<'_>,
    view: &MachineView,
    run: &Run,
    position: &Position<'_>,
    boot_id: &str,
    environment: &str,
) -> Next {
    if let Some(asked) = asked_by_task(run, boot_id) {
        return asked;
    }
    if let Some(reason) = installer::keeps_agent(question, view, run, position, environment) {
        return Next::now(Action::Wait { reason });
    }
    if let Some(wanted) = position.environment.filter(|wanted| *wanted != environment) {
        if let Some(wait) = comes_up_elsewhere(question, run, position, wanted, environment) {
            return wait;
        }
        return Next::now(Action::Reboot {
            reason: format!("reboots into {wanted} for stage {}", position.stage.name),
        });
    }
    if !run.boots.iter().any(|boot| boot == boot_id) {
        // The run began (or was raised) under a system that was up already: its first task still begins with a boot,
        // so that what is walked is what would be walked from power-on. An environment of its own disk stays.
        if environment != LOCAL {
            return Next::now(Action::Reboot { reason: format!("run {} begins with a fresh boot", run.number) });
        }
    }
    if needs_fresh_boot(run, position, boot_id) {
        return Next::now(Action::Reboot { reason: format!("stage {} wants a boot of its own", position.stage.name) });
    }
    if let Some(pause) = backoff_left(question, position) {
        let reason = format!("task {} is tried again in {} s", position.task.name, pause.div_ceil(1000));
        return Next { action: Action::Wait { reason }, ask_again_ms: Some(pause) };
    }
    if position.stage.destructive
        && let Some(reason) = destruction_refused(question, view, run, position)
    {
        return Next::now(Action::Wait { reason });
    }
    Next::now(Action::Grant(Grant {
        stage_index: position.stage_index,
        task_index: position.task_index,
        attempt: position.record.map_or(0, |record| record.attempts).saturating_add(1),
        destructive: position.stage.destructive,
        wipe: position.stage.destructive && view.wipe,
    }))
}

/// Why a destructive stage does not run now. Read from the newest good revision at every grant.
pub(super) fn destruction_refused(
    question: &Question<'_>,
    view: &MachineView,
    run: &Run,
    position: &Position<'_>,
) -> Option<String> {
    let stage = &position.stage.name;
    if view.protect {
        return Some(format!("stage {stage} is destructive and spec.protect is true"));
    }
    if !run.destructive_allowed {
        return Some(format!(
            "stage {stage} is destructive and the workflow was only changed by name; raise spec.run above {}",
            question.state.highest_run
        ));
    }
    if question.state.quarantined.is_some() {
        return Some(format!("stage {stage} is destructive and the machine's identity is in quarantine"));
    }
    None
}

/// The stage wants a boot of this run in which no other stage has worked.
fn needs_fresh_boot(run: &Run, position: &Position<'_>, boot_id: &str) -> bool {
    let stage = &*position.stage.name;
    position.stage.fresh_boot
        && (run.boots.iter().all(|boot| boot != boot_id)
            || run.tasks.values().any(|record| record.stage != stage && record.boot_id == boot_id))
}

/// How long a task that failed still rests before it is tried again.
fn backoff_left(question: &Question<'_>, position: &Position<'_>) -> Option<u64> {
    let record = position.record?;
    let end = record.end.as_ref()?;
    let pause = match end.outcome {
        JobOutcome::Failed | JobOutcome::TimedOut => {
            let first = position.task.retries.as_ref().and_then(|retries| retries.backoff);
            let first = first.map_or(10_000, |span| u64::try_from(span.0.as_millis()).unwrap_or(LONGEST_PAUSE_MS));
            let doublings = record.failures.saturating_sub(1).min(16);
            first.saturating_mul(1 << doublings).min(LONGEST_PAUSE_MS)
        }
        JobOutcome::Done if end.again => 1_000,
        JobOutcome::Done | JobOutcome::Interrupted | JobOutcome::Abandoned => return None,
    };
    let left = pause.saturating_sub(elapsed(question.now_unix_ms, end.at_unix_ms));
    (left > 0).then_some(left)
}

/// Milliseconds from `then` to `now`; a wall clock that stepped back counts as no time.
fn elapsed(now: i64, then: i64) -> u64 {
    u64::try_from(now.saturating_sub(then)).unwrap_or(0)
}

fn u32_of(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// The first twelve characters of a revision, for people.
fn short(revision: &str) -> &str {
    revision.get(..12).unwrap_or(revision)
}
