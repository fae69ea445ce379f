//! One walk of one workflow, folded from its events.

use super::event::Event;
use super::state::push_bounded;
use super::tasks::Tasks;
use crate::wire::{JobOutcome, JobRequest};
use serde::{Deserialize, Serialize};

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// It goes on.
    Open,
    /// All its stages are done.
    Finished,
    /// It was ended before its end.
    Cancelled,
}

/// One walk of a workflow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Run {
    /// Its number.
    pub number: u64,
    /// The workflow.
    pub workflow: String,
    /// The revision it is pinned to.
    pub revision: String,
    /// Where it stands.
    pub status: RunStatus,
    /// Destructive stages may run in it.
    pub destructive_allowed: bool,
    /// When it began, Unix milliseconds.
    pub started_unix_ms: i64,
    /// When it ended, Unix milliseconds.
    pub ended_unix_ms: Option<i64>,
    /// The boots in it, oldest first.
    pub boots: Vec<String>,
    /// Count of boots in it.
    pub boot_count: u32,
    /// The job that is open.
    pub job: Option<Job>,
    /// Boots in it since work was last given, or a person last asked to retry.
    pub idle_boots: u32,
    /// Tasks that were granted or skipped, by the names of stage and task: a newer revision may put them elsewhere.
    pub tasks: Tasks,
    /// The task of the last grant or skip: where the walk stands, whatever earlier failures it went past.
    pub last: Option<(String, String)>,
    /// The last task asked to stop.
    pub stopped: Option<String>,
    /// The last task asked for a reboot, in this boot.
    pub reboot_asked_in: Option<String>,
    /// The last task asked to switch off, in this boot.
    pub poweroff_asked_in: Option<String>,
    /// The last revision that was looked at for a fix.
    pub considered: Option<String>,
    /// Why it does not go on by itself.
    pub diverged: Option<String>,
}

/// A job that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Job {
    /// Its id.
    pub id: String,
    /// The stage's place.
    pub stage_index: u32,
    /// The task's place.
    pub task_index: u32,
    /// The stage.
    pub stage: String,
    /// The task.
    pub task: String,
    /// 1 for the first try.
    pub attempt: u32,
    /// The boot it was granted in.
    pub boot_id: String,
    /// Granted at, Unix milliseconds.
    pub granted_unix_ms: i64,
    /// Its timeout.
    pub timeout_seconds: u64,
    /// Leave to change disks was in it.
    pub destructive: bool,
}

/// What became of a task in a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    /// The stage's place at the last grant.
    pub stage_index: u32,
    /// The task's place at the last grant.
    pub task_index: u32,
    /// The stage's name.
    pub stage: String,
    /// The task's name.
    pub task: String,
    /// Of what it was made at the last grant; empty where it was skipped unseen.
    pub digest: String,
    /// Jobs granted in all.
    pub attempts: u32,
    /// Failures and timeouts since a person last asked to retry.
    pub failures: u32,
    /// Tries that a boot's end or an agent cut short, since a person last asked to retry.
    pub interruptions: u32,
    /// How often it asked to be run again.
    pub agains: u32,
    /// Its end, where it has one.
    pub end: Option<TaskEnd>,
    /// The boot of its last grant.
    pub boot_id: String,
    /// Its last job.
    pub job: String,
    /// Of several servers, the one whose state directory has the log of that job; empty, where there is one server, and it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_at: Option<String>,
}

/// How the last try of a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskEnd {
    /// How.
    pub outcome: JobOutcome,
    /// It asked to be run again.
    pub again: bool,
    /// A person skipped it.
    pub skipped: bool,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// What went wrong.
    pub message: Option<String>,
}

impl TaskRecord {
    /// Nothing more is to be done for it.
    pub fn is_done(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.skipped || (end.outcome == JobOutcome::Done && !end.again))
    }
}

impl Run {
    pub(super) fn started(number: u64, workflow: &str, revision: &str, destructive_allowed: bool, at: i64) -> Self {
        Self {
            number,
            workflow: workflow.to_owned(),
            revision: revision.to_owned(),
            status: RunStatus::Open,
            destructive_allowed,
            started_unix_ms: at,
            ended_unix_ms: None,
            boots: Vec::new(),
            boot_count: 0,
            job: None,
            idle_boots: 0,
            tasks: Tasks::default(),
            last: None,
            stopped: None,
            reboot_asked_in: None,
            poweroff_asked_in: None,
            considered: None,
            diverged: None,
        }
    }

    /// It goes on.
    pub fn is_open(&self) -> bool {
        self.status == RunStatus::Open
    }

    /// What became of a task.
    pub fn task(&self, stage: &str, task: &str) -> Option<&TaskRecord> {
        self.tasks.get(stage, task)
    }

    /// Lets the task where the walk stands be tried again, its counters from nought.
    pub(super) fn try_again(&mut self) {
        self.stopped = None;
        self.idle_boots = 0;
        // Only where the walk stands: what failed before and was gone past by `onFailure` stays behind it.
        let Some((stage, task)) = &self.last else { return };
        let Some(record) = self.tasks.get_mut(stage, task) else { return };
        if !record.is_done() && self.job.as_ref().is_none_or(|job| job.id != record.job) {
            record.failures = 0;
            record.interruptions = 0;
            record.agains = 0;
            record.end = None;
        }
    }

    pub(super) fn booted(&mut self, boot_id: &str) {
        self.boot_count = self.boot_count.saturating_add(1);
        self.idle_boots = self.idle_boots.saturating_add(1);
        push_bounded(&mut self.boots, boot_id.to_owned());
    }

    pub(super) fn apply(&mut self, event: &Event, at: i64) {
        match event {
            Event::RunResumed { revision, .. } => {
                self.revision.clone_from(revision);
                self.considered = Some(revision.clone());
                self.diverged = None;
                self.try_again();
            }
            Event::RunDiverged { revision, reason, .. } => {
                self.considered = Some(revision.clone());
                self.diverged = Some(reason.clone());
            }
            Event::RunFinished { .. } => self.ended(RunStatus::Finished, at),
            Event::RunCancelled { .. } => self.ended(RunStatus::Cancelled, at),
            Event::JobGranted { .. } => self.granted(event, at),
            Event::JobEnded { job, outcome, message, requests, log_at, .. } => {
                if let Some(record) = self.job_ended(job, *outcome, message, requests, at) {
                    record.log_at.clone_from(log_at);
                }
            }
            Event::InstallerFinished { run, stage_index, stage, task, digest, success, message, .. }
                if *run == self.number && self.is_open() =>
            {
                self.idle_boots = 0;
                self.record(stage, task, |record| {
                    (record.stage_index, record.task_index) = (*stage_index, 0);
                    record.attempts = record.attempts.saturating_add(1);
                    record.digest.clone_from(digest);
                    let outcome = if *success { JobOutcome::Done } else { JobOutcome::Failed };
                    record.failures = record.failures.saturating_add(u32::from(!success));
                    let message = message.clone();
                    record.end = Some(TaskEnd { outcome, again: false, skipped: false, at_unix_ms: at, message });
                });
            }
            Event::TaskSkipped { stage_index, stage, task_index, task, .. } => {
                self.stopped = None;
                self.diverged = None;
                self.record(stage, task, |record| {
                    (record.stage_index, record.task_index) = (*stage_index, *task_index);
                    record.end = Some(TaskEnd {
                        outcome: JobOutcome::Abandoned,
                        again: false,
                        skipped: true,
                        at_unix_ms: at,
                        message: None,
                    });
                });
                if self.job.as_ref().is_some_and(|job| job.stage == *stage && job.task == *task) {
                    self.job = None;
                }
            }
            _ => {}
        }
    }

    fn ended(&mut self, status: RunStatus, at: i64) {
        self.status = status;
        self.ended_unix_ms = Some(at);
        self.job = None;
    }

    /// Changes what is known of a task; the walk stands there now.
    fn record(&mut self, stage: &str, task: &str, change: impl FnOnce(&mut TaskRecord)) {
        self.last = Some((stage.to_owned(), task.to_owned()));
        if let Some(record) = self.tasks.get_mut(stage, task) {
            return change(record);
        }
        let mut record = TaskRecord::new(stage, task);
        change(&mut record);
        self.tasks.insert(record);
    }

    fn granted(&mut self, event: &Event, at: i64) {
        let Event::JobGranted {
            job,
            stage_index,
            stage,
            task_index,
            task,
            digest,
            attempt,
            boot_id,
            destructive,
            timeout_seconds,
            ..
        } = event
        else {
            return;
        };
        self.idle_boots = 0;
        self.job = Some(Job {
            id: job.clone(),
            stage_index: *stage_index,
            task_index: *task_index,
            stage: stage.clone(),
            task: task.clone(),
            attempt: *attempt,
            boot_id: boot_id.clone(),
            granted_unix_ms: at,
            timeout_seconds: *timeout_seconds,
            destructive: *destructive,
        });
        self.record(stage, task, |record| {
            (record.stage_index, record.task_index) = (*stage_index, *task_index);
            record.attempts = record.attempts.saturating_add(1);
            record.digest.clone_from(digest);
            record.boot_id.clone_from(boot_id);
            record.job.clone_from(job);
            record.log_at = None;
            record.end = None;
        });
    }

    fn job_ended(
        &mut self,
        job: &str,
        outcome: JobOutcome,
        message: &Option<String>,
        requests: &[JobRequest],
        at: i64,
    ) -> Option<&mut TaskRecord> {
        let open = self.job.take_if(|open| open.id == job)?;
        let record = self.tasks.get_mut(&open.stage, &open.task)?;
        let again = requests.contains(&JobRequest::Again);
        match outcome {
            JobOutcome::Done if again => record.agains = record.agains.saturating_add(1),
            JobOutcome::Failed | JobOutcome::TimedOut => record.failures = record.failures.saturating_add(1),
            // An agent that let go of a job still wanted counts the same, or it could do so for ever.
            JobOutcome::Interrupted | JobOutcome::Abandoned => {
                record.interruptions = record.interruptions.saturating_add(1);
            }
            JobOutcome::Done => {}
        }
        record.end = Some(TaskEnd { outcome, again, skipped: false, at_unix_ms: at, message: message.clone() });
        if outcome == JobOutcome::Done {
            for request in requests {
                match request {
                    JobRequest::Reboot => self.reboot_asked_in = Some(open.boot_id.clone()),
                    JobRequest::Poweroff => self.poweroff_asked_in = Some(open.boot_id.clone()),
                    JobRequest::Stop => self.stopped = Some(open.task.clone()),
                    JobRequest::Again => {}
                }
            }
        }
        Some(record)
    }
}

impl TaskRecord {
    pub(super) fn new(stage: &str, task: &str) -> Self {
        Self {
            stage_index: 0,
            task_index: 0,
            stage: stage.to_owned(),
            task: task.to_owned(),
            digest: String::new(),
            attempts: 0,
            failures: 0,
            interruptions: 0,
            agains: 0,
            end: None,
            boot_id: String::new(),
            job: String::new(),
            log_at: None,
        }
    }
}
