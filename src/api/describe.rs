//! From a machine's state to what administrators are shown. Pure.

use super::views::{JobRow, MachineDetail, MachineSummary, Phase, Place};
use crate::catalog::{Catalog, MachineView, Source};
use crate::fleet::{Decision, Live};
use crate::inspect::{Lacks, MachineStanding, hindrances, standing};
use crate::journal::{MachineState, Run, RunStatus, TaskRecord};
use crate::wire::JobOutcome;
use crate::workflow::silence::{Heard, Silence, silence};
use crate::workflow::{Action, Question, Running, Trust, position};

impl Phase {
    /// Somebody works on it, and should be heard of.
    const fn may_be_silent(self) -> bool {
        matches!(self, Self::Booting | Self::Working | Self::Waiting)
    }

    /// The phase of a machine that is silent for so long.
    pub(super) fn heard(self, silence: Option<&Silence>) -> Self {
        let overdue = self.may_be_silent() && silence.is_some_and(|silence| silence.overdue);
        if overdue { Self::Overdue } else { self }
    }
}

/// A machine as administrators see it.
pub(super) struct Subject<'a> {
    pub name: &'a str,
    pub state: &'a MachineState,
    pub live: &'a Live,
    /// Now, by the clock of lifetimes.
    pub now_ms: u64,
    /// What was heard of it, and when.
    pub heard: Heard,
    /// What it runs, by its last word.
    pub running: Running<'a>,
    /// Whether unknown machines may start.
    pub trust: Trust,
    pub current: Option<&'a Catalog>,
    pub view: Option<&'a MachineView>,
    pub pinned: Option<&'a Catalog>,
    /// What the one function says it does next (as to firmware, or to its agent).
    pub next: Option<&'a Action>,
    /// What the server itself lacks.
    pub lacks: Lacks<'a>,
    /// What it is called until its next word, where it is declared under this name now.
    pub former: Option<&'a str>,
}

impl<'a> Subject<'a> {
    pub fn of(name: &'a str, decision: &'a Decision, live: &'a Live, now_ms: u64, heard: Heard) -> Self {
        Self {
            name,
            state: &decision.state,
            live,
            now_ms,
            heard,
            running: Running::Firmware,
            trust: Trust::New,
            current: decision.current.as_deref(),
            view: decision.view.as_ref(),
            pinned: decision.pinned.as_deref(),
            next: Some(&decision.next.action),
            lacks: Lacks::NOTHING,
            former: None,
        }
    }

    /// What the decision was made on beside it.
    pub fn within(self, running: Running<'a>, trust: Trust) -> Self {
        Self { running, trust, ..self }
    }

    /// With what the server lacks, which is then told beside what it waits for.
    pub fn lacking(self, lacks: Lacks<'a>) -> Self {
        Self { lacks, ..self }
    }

    /// As the machine that is called so until its next word.
    pub fn formerly(self, former: Option<&'a str>) -> Self {
        Self { former, ..self }
    }

    /// How it stands to Git.
    pub fn standing(&self) -> MachineStanding {
        let mut standing = standing(&self.question(), self.next.unwrap_or(&Action::Record(Vec::new())));
        if let Some(former) = self.former {
            standing.message = format!("{}; it is {former} until its next word", standing.message);
            standing.former = Some(former.to_owned());
        }
        standing
    }

    fn question(&self) -> Question<'a> {
        Question {
            machine: self.name,
            current: self.current,
            view: self.view,
            pinned: self.pinned,
            state: self.state,
            running: self.running,
            trust: self.trust,
            now_unix_ms: self.heard.now_unix_ms,
        }
    }

    /// What it waits for, and what the server lacks for that.
    fn waits_for(&self, reason: String) -> String {
        let hindrances = hindrances(&self.question(), &self.lacks);
        std::iter::once(reason).chain(hindrances).collect::<Vec<_>>().join(", but ")
    }

    fn open_run(&self) -> Option<&'a Run> {
        self.state.run.as_ref().filter(|run| run.is_open())
    }

    /// An offer after the last boot's check-in: it is on its way.
    fn booting(&self) -> Option<&'a str> {
        let offer = self.state.offer.as_ref()?;
        let later = self.state.boot.as_ref().is_none_or(|boot| offer.at_unix_ms > boot.at_unix_ms);
        let expected = self.open_run().is_some() || offer.environment != crate::journal::LOCAL;
        (later && expected).then_some(offer.environment.as_str())
    }

    /// What runs, or is being booted: whichever is newer.
    fn environment(&self) -> Option<String> {
        let offer = self.state.offer.as_ref();
        let boot = self.state.boot.as_ref();
        match offer.filter(|offer| boot.is_none_or(|boot| offer.at_unix_ms > boot.at_unix_ms)) {
            Some(offer) => Some(offer.environment.clone()),
            None => boot.map(|boot| boot.said.environment.clone()),
        }
    }

    fn silence(&self) -> Option<Silence> {
        silence(self.state, self.next?, &self.heard)
    }

    /// Since when it is in this phase: by the event that led there.
    fn since(&self, phase: Phase) -> Option<i64> {
        let state = self.state;
        let run = state.run.as_ref();
        let job = run.and_then(|run| run.job.as_ref());
        match phase {
            Phase::Expected => None,
            Phase::Booting => state.offer.as_ref().map(|offer| offer.at_unix_ms),
            Phase::Working => job.map(|job| job.granted_unix_ms),
            Phase::Overdue => self.silence().map(|silence| silence.since_unix_ms),
            Phase::Ready | Phase::Cancelled => run.and_then(|run| run.ended_unix_ms),
            Phase::Failed => {
                let record = run.and_then(|run| run.last.as_ref().and_then(|(stage, task)| run.task(stage, task)));
                record.and_then(|record| record.end.as_ref()).map(|end| end.at_unix_ms)
            }
            Phase::Waiting | Phase::Held | Phase::Left => None,
        }
        .or_else(|| (state.head > 0).then_some(state.last_event_unix_ms))
    }

    pub fn summary(&self) -> MachineSummary {
        let (stage, task) = self.places();
        let (phase, waits_for) = self.phase();
        let state = self.state;
        let said = state.boot.as_ref().map(|boot| &boot.said);
        let offered = state.offer.as_ref().and_then(|offer| offer.address).map(|address| address.to_string());
        MachineSummary {
            name: self.name.to_owned(),
            former: self.former.map(str::to_owned),
            source: self.source(),
            labels: self.view.map(|view| view.labels.clone()).unwrap_or_default(),
            phase,
            waits_for: self.waits_for(waits_for),
            restored: state.restored.is_some(),
            workflow: state
                .run
                .as_ref()
                .map(|run| run.workflow.clone())
                .or_else(|| self.view.and_then(|view| view.workflow.clone())),
            run: state.run.as_ref().map(|run| run.number),
            run_status: state.run.as_ref().map(|run| run.status),
            run_revision: state.run.as_ref().map(|run| run.revision.clone()),
            boots: state.run.as_ref().map_or(0, |run| run.boot_count),
            environment: self.environment(),
            stage,
            task,
            address: self
                .view
                .and_then(|view| view.address)
                .map(|address| address.to_string())
                .or_else(|| said.and_then(|said| said.address.clone()))
                .or(offered),
            macs: match self.view {
                Some(view) if !view.macs.is_empty() => view.macs.clone(),
                _ => state.macs.iter().cloned().collect(),
            },
            firmware: said.map(|said| said.firmware.clone()),
            last_seen_unix_ms: self.heard.last_unix_ms(state),
            since_unix_ms: self.since(phase),
            clusters: match (self.current, self.view) {
                (Some(catalog), Some(view)) => {
                    catalog.clusters_of(view).iter().map(|profile| profile.name.to_string()).collect()
                }
                _ => Vec::new(),
            },
        }
    }

    fn source(&self) -> String {
        match (self.view.map(|view| &view.source), self.state.left) {
            (Some(Source::Git(_)), _) => "git".into(),
            (Some(Source::Enrollment { rule }), _) => format!("enrollment {rule}"),
            (None, true) => "left".into(),
            (None, false) => "unknown".into(),
        }
    }

    /// The phase in a word, and in a sentence what it does or waits for. A silence says more than what it broke off.
    pub fn phase(&self) -> (Phase, String) {
        let (phase, reason) = self.phase_as_heard();
        let silence = self.silence();
        let heard = phase.heard(silence.as_ref());
        match silence.filter(|_| phase.may_be_silent()) {
            Some(silence) => (heard, silence.reason),
            None => (heard, reason),
        }
    }

    /// The same by its last word, however long ago that was.
    pub fn phase_as_heard(&self) -> (Phase, String) {
        let state = self.state;
        if state.left || self.view.is_none() {
            return (Phase::Left, "gone from Git; boots its own disk".into());
        }
        if let Some(reason) = &state.quarantined {
            return (Phase::Held, format!("quarantined: {reason}"));
        }
        if let Some(awaiting) = &state.awaiting
            && state.approved_key.is_none()
        {
            let key = awaiting.key.get(..16).unwrap_or(&awaiting.key);
            return (Phase::Held, format!("its key {key} waits for `formwork approve {}`", self.name));
        }
        if let (Some(_), Some(Action::Boot { reason, .. } | Action::Wait { reason } | Action::Abandon { reason, .. })) =
            (state.restored, self.next)
        {
            return (Phase::Held, reason.clone());
        }
        if let Some(Action::Hold { reason }) = self.next {
            return (Phase::Held, reason.clone());
        }
        let Some(run) = self.open_run() else {
            return self.at_rest();
        };
        if let Some(environment) = self.booting() {
            return (Phase::Booting, format!("boots {environment}"));
        }
        if let Some(job) = &run.job {
            let waits = self.live.cluster_wait(self.now_ms).map(str::to_owned);
            return (Phase::Working, waits.unwrap_or_else(|| format!("runs {}", job.task)));
        }
        let reason = match self.next {
            Some(Action::Wait { reason } | Action::Reboot { reason } | Action::PowerOff { reason }) => reason.clone(),
            Some(Action::Boot { environment, .. }) => format!("to boot {environment}"),
            Some(Action::Grant(_)) => match self.places().1 {
                Some(task) => format!("its agent to take task {}", task.name),
                None => "its agent to ask".into(),
            },
            _ => self.live.waits_for.clone().unwrap_or_else(|| "its agent to ask".into()),
        };
        let position = self
            .pinned
            .and_then(|catalog| catalog.workflow(&run.workflow))
            .and_then(|workflow| position(workflow, run));
        let failed = position.as_ref().is_some_and(|position| position.failed.is_some());
        let refused = matches!(self.next, Some(Action::Wait { .. }))
            && position.is_some_and(|position| position.stage.destructive)
            && (self.view.is_some_and(|view| view.protect) || !run.destructive_allowed);
        let phase = match (failed, refused) {
            (true, _) => Phase::Failed,
            (false, true) => Phase::Held,
            (false, false) => Phase::Waiting,
        };
        (phase, reason)
    }

    fn at_rest(&self) -> (Phase, String) {
        let state = self.state;
        if let Some(run) = self.next.and_then(Action::begins).filter(|_| state.has_walked()) {
            return (Phase::Waiting, format!("its next word, with which run {run} begins"));
        }
        let to_adopt =
            state.run.is_none() && state.adopted.is_none() && self.view.is_some_and(|view| view.workflow.is_some());
        if let (true, Some(Action::Boot { reason, .. } | Action::Wait { reason })) = (to_adopt, self.next) {
            return (Phase::Held, reason.clone());
        }
        if to_adopt && state.head > 0 {
            return (Phase::Booting, "shows itself on the network".into());
        }
        if state.head == 0 {
            return (Phase::Expected, "its first boot".into());
        }
        // Taken over as it is, its run counts as done: as after a store that came back from a backup.
        let adopted = state.adopted.as_ref().map(|(run, _)| *run);
        match &state.run {
            Some(run) if run.status == RunStatus::Cancelled && adopted < Some(run.number) => {
                let above = state.highest_run;
                (
                    Phase::Cancelled,
                    format!("run {} was cancelled: raise spec.run above {above} to walk again", run.number),
                )
            }
            Some(run) => (Phase::Ready, format!("run {} is done", run.number)),
            None => match (adopted, self.view.and_then(|view| view.workflow.as_deref())) {
                (Some(run), Some(workflow)) => {
                    let above = state.highest_run.max(run);
                    (Phase::Ready, format!("adopted with run {run}: raise spec.run above {above} to walk {workflow}"))
                }
                _ => (Phase::Ready, "no workflow to walk".into()),
            },
        }
    }

    /// Stage and task with their places from 1.
    fn places(&self) -> (Option<Place>, Option<Place>) {
        let Some(run) = self.open_run() else { return (None, None) };
        let Some(workflow) = self.pinned.and_then(|catalog| catalog.workflow(&run.workflow)) else {
            return (None, None);
        };
        let Some(at) = position(workflow, run) else { return (None, None) };
        let count = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let stage = Place {
            name: at.stage.name.to_string(),
            index: at.stage_index.saturating_add(1),
            of: count(workflow.stages.len()),
        };
        let task = Place {
            name: at.task.name.to_string(),
            index: at.task_index.saturating_add(1),
            of: count(at.stage.tasks.len()),
        };
        (Some(stage), Some(task))
    }

    pub fn detail(&self) -> MachineDetail {
        let said = self.state.boot.as_ref().map(|boot| &boot.said);
        MachineDetail {
            summary: self.summary(),
            declared_at: self.view.and_then(|view| match &view.source {
                Source::Git(place) => Some(format!("{}:{}", place.file, place.line)),
                Source::Enrollment { .. } => None,
            }),
            profiles: self.view.map(|view| view.profiles.clone()).unwrap_or_default(),
            spec_run: self.view.map(|view| view.run),
            protect: self.view.is_some_and(|view| view.protect),
            wipe: self.view.is_some_and(|view| view.wipe),
            jobs: self.jobs(),
            facts: serde_json::Map::clone(&self.state.facts),
            kernel: said.map(|said| said.kernel.clone()),
            agent_version: said.map(|said| said.agent_version.clone()),
        }
    }

    /// Every task of the run's workflow, in order, with what became of it.
    fn jobs(&self) -> Vec<JobRow> {
        let Some(run) = &self.state.run else { return Vec::new() };
        let catalog = self.pinned.or(self.current);
        let Some(workflow) = catalog.and_then(|catalog| catalog.workflow(&run.workflow)) else {
            return run.tasks.values().map(|record| row(&record.stage, &record.task, Some(record), run)).collect();
        };
        let mut rows = Vec::new();
        for stage in &workflow.stages {
            for task in &stage.tasks {
                rows.push(row(&stage.name, &task.name, run.task(&stage.name, &task.name), run));
            }
        }
        rows
    }
}

fn row(stage: &str, task: &str, record: Option<&TaskRecord>, run: &Run) -> JobRow {
    let end = record.and_then(|record| record.end.as_ref());
    let job = record.map(|record| record.job.clone()).filter(|job| !job.is_empty());
    let open = job.is_some() && run.job.as_ref().map(|open| &open.id) == job.as_ref();
    let state = match (open, end) {
        (true, _) => "open",
        (_, Some(end)) if end.skipped => "skipped",
        (_, Some(end)) => match end.outcome {
            JobOutcome::Done if end.again => "again",
            JobOutcome::Done => "done",
            JobOutcome::Failed => "failed",
            JobOutcome::TimedOut => "timed-out",
            JobOutcome::Interrupted => "interrupted",
            JobOutcome::Abandoned => "abandoned",
        },
        (false, None) => "to-do",
    };
    JobRow {
        job,
        stage: stage.to_owned(),
        task: task.to_owned(),
        log_at: record.and_then(|record| record.log_at.clone()).filter(|name| !name.is_empty()),
        attempts: record.map_or(0, |record| record.attempts),
        state: state.to_owned(),
        outcome: end.map(|end| end.outcome),
        message: end.and_then(|end| end.message.clone()),
    }
}
