//! What a machine does next: one pure function, [`next`].
//!
//!     next(current catalog, pinned catalog, machine's events, what it says it runs now, now) -> (action, when to ask again)
//!
//! `pinned` decides the tasks of the open run; `current` decides network, membership and protection. The same function
//! answers a boot, grants an agent its next job, and explains what a machine waits for. Where something has to be written
//! down before the answer stands (a run starts, a fix resumes it), the action is [`Action::Record`]: commit those events
//! on the head they were decided on, and ask again.

mod fix;
mod installer;
mod job;
mod run;
pub mod silence;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

pub(crate) use fix::{boots_the_same, made_of, made_of_all};
pub use job::{Ingredients, JobError, TIMEOUT_DEFAULT_SECONDS, job, machine_info, secret_name, timeout_seconds};
pub use walk::{Position, position};

use crate::catalog::{Catalog, MachineView};
use crate::journal::{Event, LOCAL, MachineState, RunStatus};

/// What the machine says it runs now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Running<'a> {
    /// Firmware or a boot loader that asks what to boot.
    Firmware,
    /// An agent that has checked in.
    Agent {
        /// Its boot.
        boot_id: &'a str,
        /// The environment it runs in (qualified name, or `local`).
        environment: &'a str,
        /// The job it says it still works on.
        job: Option<&'a str>,
    },
}

/// Whether machines without a journal may start by themselves on this store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The store knows all its machines, or a person said that there are none yet.
    New,
    /// The store may be an empty one in front of installed machines: hold them until adopted.
    HoldUnknown,
}

/// What a decision is made on.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The machine's name.
    pub machine: &'a str,
    /// The newest good revision.
    pub current: Option<&'a Catalog>,
    /// The machine on it; `None`: it is not there.
    pub view: Option<&'a MachineView>,
    /// The revision that the open run is pinned to; `None`: it cannot be loaded (or there is no run).
    pub pinned: Option<&'a Catalog>,
    /// The machine's folded events.
    pub state: &'a MachineState,
    /// What it says it runs now.
    pub running: Running<'a>,
    /// Whether unknown machines may start.
    pub trust: Trust,
    /// The server's wall clock, Unix milliseconds (back-off between tries; no lifetime hangs on it).
    pub now_unix_ms: i64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Write these events down, then ask again.
    Record(Vec<Event>),
    /// Boot this environment (`local`: its own disk). Only to firmware.
    Boot {
        /// The environment.
        environment: String,
        /// Why.
        reason: String,
    },
    /// Nothing to boot now; show the reason and ask again. Only to firmware.
    Hold {
        /// Why.
        reason: String,
    },
    /// Give it this job. Only to an agent.
    Grant(Grant),
    /// The open job of this boot, the same again. Only to an agent.
    Again {
        /// The job.
        job: String,
    },
    /// The job it works on is no longer wanted. Only to an agent.
    Abandon {
        /// The job.
        job: String,
        /// Why.
        reason: String,
    },
    /// Nothing to do now. Only to an agent.
    Wait {
        /// Why.
        reason: String,
    },
    /// Boot anew. Only to an agent.
    Reboot {
        /// Why.
        reason: String,
    },
    /// Switch off. Only to an agent.
    PowerOff {
        /// Why.
        reason: String,
    },
}

/// The job to grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The stage's place.
    pub stage_index: u32,
    /// The task's place.
    pub task_index: u32,
    /// 1 for the first try.
    pub attempt: u32,
    /// The stage changes disks, and may.
    pub destructive: bool,
    /// A disk that is neither blank nor ours may be wiped.
    pub wipe: bool,
}

/// The answer: what, and after how many milliseconds asking again can give another answer by itself (`None`: only an
/// event or a revision changes it).
#[derive(Debug, Clone, PartialEq)]
pub struct Next {
    /// What is to be done.
    pub action: Action,
    /// When to ask again.
    pub ask_again_ms: Option<u64>,
}

impl Action {
    /// The run that begins at the machine's next word, where one does.
    pub fn begins(&self) -> Option<u64> {
        let Self::Record(events) = self else { return None };
        events.iter().find_map(|event| match event {
            Event::RunStarted { run, .. } => Some(*run),
            _ => None,
        })
    }
}

impl Next {
    fn now(action: Action) -> Self {
        Self { action, ask_again_ms: None }
    }
}

/// After so many scripts served with no check-in, a machine in an open run is held between tries.
pub const OFFERS_BEFORE_HOLD: u32 = 4;
/// The longest pause between tries of a held machine, and of a failed task.
pub const LONGEST_PAUSE_MS: u64 = 10 * 60 * 1000;

/// The one function. Pure; see the module's head.
pub fn next(question: &Question<'_>) -> Next {
    let state = question.state;
    if question.current.is_none() {
        return idle(question, "no good revision has been loaded yet", Disk::Hold);
    }
    let Some(view) = question.view else {
        return gone(question);
    };
    if state.left {
        let revision = question.current.map(|catalog| catalog.revision.to_string()).unwrap_or_default();
        return Next::now(Action::Record(vec![Event::Returned { revision }]));
    }
    if let Some(reason) = &state.quarantined
        && !state.approved
    {
        let reason =
            format!("quarantined: {reason}; look at the machine, then `formwork approve {}`", question.machine);
        return idle(question, &reason, Disk::Hold);
    }
    if state.restored.is_some() {
        let reason = format!(
            "the store came back from a backup, and what it did since is not known: `formwork adopt {}` takes it as it is, \
             `formwork adopt --new {}` lets its workflow start",
            question.machine, question.machine
        );
        return idle(question, &reason, Disk::Boot);
    }
    // Not under a job that runs: half a job is what the restart would leave. It comes when the job has ended.
    if let Running::Agent { boot_id, job, .. } = question.running
        && state.reboot_asked_in.as_deref() == Some(boot_id)
        && !job.is_some_and(|job| is_open_job(state, job))
    {
        return Next::now(Action::Reboot { reason: "an administrator asked for a reboot".into() });
    }
    if let Some(begin) = run::begin(question, view) {
        return begin;
    }
    // The last task of a run that is done may have asked for a reboot or to be switched off as well.
    if let (Running::Agent { boot_id, .. }, Some(run)) = (question.running, &state.run)
        && run.status == RunStatus::Finished
        && let Some(asked) = walk::asked_by_task(run, boot_id)
    {
        return asked;
    }
    match state.run.as_ref().filter(|run| run.is_open()) {
        Some(run) => walk::go_on(question, view, run),
        None if view.workflow.is_none() => idle(question, "it has no workflow", Disk::Boot),
        None => idle(question, &run::rest_reason(state, view), Disk::Boot),
    }
}

/// What a machine without open work does at boot.
#[derive(Clone, Copy)]
enum Disk {
    /// It boots its own disk.
    Boot,
    /// It gets nothing until the reason is gone.
    Hold,
}

/// Nothing to do: an agent waits (and lets go of a job that is no longer wanted), firmware boots the disk or is held.
fn idle(question: &Question<'_>, reason: &str, disk: Disk) -> Next {
    match (question.running, disk) {
        (Running::Agent { job: Some(job), .. }, _) if !is_open_job(question.state, job) => {
            Next::now(Action::Abandon { job: job.to_owned(), reason: reason.to_owned() })
        }
        (Running::Agent { .. }, _) => Next::now(Action::Wait { reason: reason.to_owned() }),
        (Running::Firmware, Disk::Boot) => {
            Next::now(Action::Boot { environment: LOCAL.into(), reason: reason.to_owned() })
        }
        (Running::Firmware, Disk::Hold) => {
            Next { action: Action::Hold { reason: reason.to_owned() }, ask_again_ms: Some(15_000) }
        }
    }
}

fn is_open_job(state: &MachineState, job: &str) -> bool {
    state.run.as_ref().filter(|run| run.is_open()).and_then(|run| run.job.as_ref()).is_some_and(|open| open.id == job)
}

/// The machine is not on the applied revision. Known before: it has left.
fn gone(question: &Question<'_>) -> Next {
    let state = question.state;
    // What was forgotten is as unknown as what never was: it is not leaving again.
    if !state.is_known() {
        return idle(question, "it is not declared, and no enrollment rule matches", Disk::Hold);
    }
    if !state.left {
        let revision = question.current.map(|catalog| catalog.revision.to_string()).unwrap_or_default();
        let mut events = Vec::new();
        if let Some(run) = state.run.as_ref().filter(|run| run.is_open()) {
            events.push(Event::RunCancelled {
                run: run.number,
                by: "formwork".into(),
                reason: "the machine is gone from Git".into(),
            });
        }
        events.push(Event::GenerationRaised {
            generation: state.generation.saturating_add(1),
            reason: "the machine is gone from Git".into(),
        });
        events.push(Event::Left { revision });
        return Next::now(Action::Record(events));
    }
    let reason = format!("it is gone from Git; `formwork forget {}` lets it be enrolled anew", question.machine);
    idle(question, &reason, Disk::Boot)
}
