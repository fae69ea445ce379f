//! A machine that is only imagined: the same decisions on the same state, with what would be written down applied to a copy.

use crate::catalog::{Catalog, MachineView, Stage, Task};
use crate::journal::{Event, MachineState, Record, Stream};
use crate::wire::{CheckInRequest, HardwareIdentity, JobOutcome, JobRequest};
use crate::workflow::{Action, Grant, Next, Position, Question, Running, Trust, made_of, next, position};
use std::sync::Arc;

/// How often one question may want something written down first; as in the fleet, each rule writes at most once.
const ROUNDS: usize = 12;

/// A machine, its revisions, and a state of its own that nothing is kept of.
#[derive(Debug, Clone)]
pub struct Imagined<'a> {
    machine: &'a str,
    current: Option<&'a Catalog>,
    /// The machine on the newest revision; a plan lifts what forbids here, to see what lies behind it.
    pub view: Option<MachineView>,
    pinned: Option<&'a Catalog>,
    /// Its state so far.
    pub state: MachineState,
    /// Whether a machine without a journal may start.
    pub trust: Trust,
    /// The imagined clock, Unix milliseconds.
    pub now_unix_ms: i64,
    boots: u32,
    jobs: u32,
}

impl<'a> Imagined<'a> {
    /// As the machine is now.
    pub fn of(question: &Question<'a>) -> Self {
        Self {
            machine: question.machine,
            current: question.current,
            view: question.view.cloned(),
            pinned: question.pinned,
            state: question.state.clone(),
            trust: question.trust,
            now_unix_ms: question.now_unix_ms,
            boots: 0,
            jobs: 0,
        }
    }

    /// The revision of the open run: the one it was pinned to, or the newest where it begins on that or was resumed with it.
    pub fn pinned(&self) -> Option<&'a Catalog> {
        let run = self.state.run.as_ref().filter(|run| run.is_open())?;
        self.current.filter(|catalog| *catalog.revision == *run.revision).or(self.pinned)
    }

    /// One answer, with nothing applied.
    pub fn ask(&self, running: Running<'_>) -> Next {
        next(&Question {
            machine: self.machine,
            current: self.current,
            view: self.view.as_ref(),
            pinned: self.pinned(),
            state: &self.state,
            running,
            trust: self.trust,
            now_unix_ms: self.now_unix_ms,
        })
    }

    /// The answer after all that would have to be written down first; that is given too.
    pub fn settle(&mut self, running: Running<'_>) -> (Vec<Event>, Next) {
        let mut written = Vec::new();
        for _ in 0..ROUNDS {
            let answer = self.ask(running);
            let Action::Record(events) = answer.action else { return (written, answer) };
            for event in events {
                self.happens(event.clone());
                written.push(event);
            }
        }
        (written, self.ask(running))
    }

    /// What firmware would get.
    pub fn firmware(&mut self) -> (Vec<Event>, Next) {
        self.settle(Running::Firmware)
    }

    /// What the agent of the last boot would get.
    pub fn agent(&mut self) -> (Vec<Event>, Next) {
        let Some(boot) = self.state.boot.clone() else { return self.firmware() };
        let said = &boot.said;
        let run = self.state.run.as_ref().filter(|run| run.is_open());
        let job = run.and_then(|run| run.job.clone()).filter(|job| job.boot_id == said.boot_id).map(|job| job.id);
        self.settle(Running::Agent { boot_id: &said.boot_id, environment: &said.environment, job: job.as_deref() })
    }

    /// Something is taken as having happened.
    pub fn happens(&mut self, event: Event) {
        let record = Record {
            sequence: 0,
            stream: Stream::Machine(self.machine.to_owned()),
            index: self.state.head,
            at_unix_ms: self.now_unix_ms,
            event,
        };
        self.state.apply(&record);
    }

    /// It boots this environment, and an agent checks in there.
    pub fn boots(&mut self, environment: &str) {
        self.boots = self.boots.saturating_add(1);
        self.now_unix_ms = self.now_unix_ms.saturating_add(1);
        let before = self.state.boot.as_ref().map(|boot| &boot.said);
        let check_in = CheckInRequest {
            boot_id: format!("imagined-{}", self.boots),
            environment: environment.to_owned(),
            architecture: before.map_or_else(|| "x86_64".to_owned(), |said| said.architecture.clone()),
            firmware: before.map_or_else(|| "uefi".to_owned(), |said| said.firmware.clone()),
            agent_version: String::new(),
            kernel: String::new(),
            address: before.and_then(|said| said.address.clone()),
            hardware: HardwareIdentity::default(),
        };
        self.happens(Event::CheckedIn { check_in, offer: None });
    }

    /// Stage and task of a grant, by the revision of the run.
    pub fn granted_task(&self, grant: &Grant) -> Option<(&'a Arc<Stage>, &'a Arc<Task>)> {
        let run = self.state.run.as_ref()?;
        let stage = self.pinned()?.workflow(&run.workflow)?.stages.get(usize::try_from(grant.stage_index).ok()?)?;
        Some((stage, stage.tasks.get(usize::try_from(grant.task_index).ok()?)?))
    }

    /// The granted task is done, and nothing more is asked for.
    pub fn does(&mut self, grant: &Grant) -> bool {
        let (Some((stage, task)), Some(run), Some(boot)) =
            (self.granted_task(grant), self.state.run.as_ref(), self.state.boot.as_ref())
        else {
            return false;
        };
        let digest = match (self.pinned(), &self.view) {
            (Some(catalog), Some(view)) => made_of(catalog, view, stage, task),
            _ => String::new(),
        };
        self.jobs = self.jobs.saturating_add(1);
        let job = format!("imagined-job-{}", self.jobs);
        let granted = Event::JobGranted {
            job: job.clone(),
            run: run.number,
            stage_index: grant.stage_index,
            stage: stage.name.to_string(),
            task_index: grant.task_index,
            task: task.name.to_string(),
            digest,
            attempt: grant.attempt,
            boot_id: boot.said.boot_id.clone(),
            destructive: grant.destructive,
            timeout_seconds: 0,
        };
        self.happens(granted);
        self.ends(&job, &[]);
        true
    }

    /// Where the open run stands, if an installer works there.
    pub fn installer(&self) -> Option<Position<'_>> {
        let run = self.state.run.as_ref().filter(|run| run.is_open())?;
        let at = position(self.pinned()?.workflow(&run.workflow)?, run)?;
        (at.task.is_installer() && at.failed.is_none()).then_some(at)
    }

    /// The installer of the stage where the run stands calls back: it is done.
    pub fn installs(&mut self) {
        let (Some(at), Some(catalog), Some(view)) = (self.installer(), self.pinned(), &self.view) else { return };
        let event = Event::InstallerFinished {
            offer: self.state.offer.as_ref().map(|offer| offer.id.clone()).unwrap_or_default(),
            run: self.state.run.as_ref().map_or(0, |run| run.number),
            stage_index: at.stage_index,
            stage: at.stage.name.to_string(),
            task: at.task.name.to_string(),
            digest: made_of(catalog, view, at.stage, at.task),
            success: true,
            message: None,
        };
        self.happens(event);
    }

    /// A job ends well.
    pub fn ends(&mut self, job: &str, requests: &[JobRequest]) {
        self.happens(Event::JobEnded {
            job: job.to_owned(),
            outcome: JobOutcome::Done,
            exit_code: Some(0),
            message: None,
            requests: requests.to_vec(),
            log_at: None,
        });
    }
}
