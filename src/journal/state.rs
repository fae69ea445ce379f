//! A machine's state, folded from its events: a projection that can be thrown away and made again.

use super::event::{Ask, Event, Record};
use crate::wire::{CheckInRequest, JobOutcome, JobRequest};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// How many boots and tickets a state remembers: enough for a long run, bounded for a machine that never rests.
const REMEMBERED: usize = 32;

/// How an unknown box became a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrolledBy {
    /// The rule.
    pub rule: String,
    /// The MAC it was taken in with.
    pub mac: String,
    /// Its UUID, unless junk.
    pub uuid: Option<String>,
    /// Its serial, unless junk.
    pub serial: Option<String>,
    /// Its architecture.
    pub architecture: Option<String>,
}

/// A script that was served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Its id, which is also its ticket's.
    pub id: String,
    /// The environment.
    pub environment: String,
    /// To which address.
    pub address: Option<Ipv4Addr>,
    /// To which MAC.
    pub mac: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
}

/// One start of a kernel, by its check-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Boot {
    /// What the agent said.
    #[serde(flatten)]
    pub said: CheckInRequest,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
}

/// How a ticket was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketUse {
    /// The ticket.
    pub ticket: String,
    /// SHA-256 of the key it was exchanged for.
    pub key: String,
    /// In which boot.
    pub boot_id: String,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize)]
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
    /// Tasks that were granted or skipped, by (stage, task) place.
    #[serde(skip)]
    pub tasks: BTreeMap<(u32, u32), TaskRecord>,
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

impl Run {
    /// It goes on.
    pub fn is_open(&self) -> bool {
        self.status == RunStatus::Open
    }
}

/// A job that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TaskRecord {
    /// The task's name.
    pub task: String,
    /// Of what it was made at the last grant; empty where it was skipped unseen.
    pub digest: String,
    /// Jobs granted in all.
    pub attempts: u32,
    /// Failures and timeouts since a person last asked to retry.
    pub failures: u32,
    /// Boots that ended under it since a person last asked to retry.
    pub interruptions: u32,
    /// How often it asked to be run again.
    pub agains: u32,
    /// Its end, where it has one.
    pub end: Option<TaskEnd>,
    /// The boot of its last grant.
    pub boot_id: String,
    /// Its last job.
    pub job: String,
}

/// How the last try of a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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

/// What is known of a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MachineState {
    /// Count of its events: what a decision is made on.
    pub head: u64,
    /// How it came in, where by a rule.
    pub enrolled: Option<EnrolledBy>,
    /// What a person took over: highest run and workflow taken as done.
    pub adopted: Option<(u64, Option<String>)>,
    /// It is gone from Git.
    pub left: bool,
    /// All tokens of lower generations are dead.
    pub generation: u64,
    /// Why its identity is in doubt.
    pub quarantined: Option<String>,
    /// A person trusts its next exchange.
    pub approved: bool,
    /// Why it is held at boot.
    pub held: Option<String>,
    /// Tickets used, newest last.
    #[serde(skip)]
    pub tickets: Vec<TicketUse>,
    /// Disk tickets planted, newest last: (ticket, run).
    #[serde(skip)]
    pub disk_tickets: Vec<(String, u64)>,
    /// The last script served.
    pub offer: Option<Offer>,
    /// The last few scripts served, newest last: a firmware that asked twice may boot the earlier.
    #[serde(skip)]
    pub offers: Vec<Offer>,
    /// Scripts served since the last check-in that expect one.
    pub offers_unanswered: u32,
    /// The last boot.
    pub boot: Option<Boot>,
    /// MAC addresses it was seen with.
    pub macs: std::collections::BTreeSet<String>,
    /// The highest run ever started (or adopted).
    pub highest_run: u64,
    /// The last run.
    pub run: Option<Run>,
    /// Facts.
    #[serde(skip)]
    pub facts: serde_json::Map<String, serde_json::Value>,
    /// A person asked for a reboot in this boot.
    pub reboot_asked_in: Option<String>,
    /// When it was last heard of in an event, Unix milliseconds.
    pub last_event_unix_ms: i64,
}

impl MachineState {
    /// Anything happened to it (since it was last forgotten).
    pub fn is_known(&self) -> bool {
        self.enrolled.is_some() || self.run.is_some() || self.adopted.is_some() || self.left || !self.macs.is_empty()
    }

    /// Folds all of a stream's records.
    pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut state = Self::default();
        for record in records {
            state.apply(record);
        }
        state
    }

    /// Takes in one more event.
    pub fn apply(&mut self, record: &Record) {
        self.head = record.index.saturating_add(1);
        let at = record.at_unix_ms;
        self.last_event_unix_ms = at;
        match &record.event {
            Event::Enrolled { rule, mac, uuid, serial, architecture } => {
                self.macs.insert(mac.clone());
                self.left = false;
                self.enrolled = Some(EnrolledBy {
                    rule: rule.clone(),
                    mac: mac.clone(),
                    uuid: uuid.clone(),
                    serial: serial.clone(),
                    architecture: architecture.clone(),
                });
            }
            Event::Adopted { run, workflow, .. } => {
                self.highest_run = self.highest_run.max(*run);
                self.adopted = Some((*run, workflow.clone()));
            }
            Event::Forgotten { .. } => {
                // Only the head and the generation outlive it: a forgotten name must not revive old tokens.
                let (head, generation) = (self.head, self.generation);
                *self = Self { head, generation, last_event_unix_ms: at, ..Self::default() };
            }
            Event::Left { .. } => self.left = true,
            Event::Returned { .. } => self.left = false,
            Event::Leased { mac, .. } => {
                self.macs.insert(mac.clone());
            }
            Event::Offered { offer, environment, address, mac, run, .. } => {
                self.macs.insert(mac.clone());
                if run.is_some() || environment != LOCAL {
                    self.offers_unanswered = self.offers_unanswered.saturating_add(1);
                }
                let offer = Offer {
                    id: offer.clone(),
                    environment: environment.clone(),
                    address: *address,
                    mac: mac.clone(),
                    at_unix_ms: at,
                };
                push_bounded(&mut self.offers, offer.clone());
                self.offer = Some(offer);
            }
            Event::Held { reason } => self.held = Some(reason.clone()),
            Event::Quarantined { reason } => {
                self.quarantined = Some(reason.clone());
                self.approved = false;
            }
            Event::Exchanged { ticket, key, boot_id, generation } => {
                self.generation = *generation;
                if self.approved {
                    self.quarantined = None;
                    self.approved = false;
                }
                push_bounded(
                    &mut self.tickets,
                    TicketUse { ticket: ticket.clone(), key: key.clone(), boot_id: boot_id.clone() },
                );
            }
            Event::DiskTicketPlanted { ticket, run, .. } => {
                push_bounded(&mut self.disk_tickets, (ticket.clone(), *run));
            }
            Event::GenerationRaised { generation, .. } => self.generation = *generation,
            Event::CheckedIn { check_in, .. } => self.checked_in(check_in, at),
            Event::FactsReported { facts, .. } => {
                for (name, value) in facts {
                    if value.is_null() {
                        self.facts.shift_remove(name);
                    } else {
                        self.facts.insert(name.clone(), value.clone());
                    }
                }
            }
            Event::Asked { what, .. } => self.asked(what),
            _ => self.apply_to_run(&record.event, at),
        }
    }

    fn checked_in(&mut self, said: &CheckInRequest, at: i64) {
        self.offers_unanswered = 0;
        self.held = None;
        self.macs.extend(said.hardware.macs.iter().cloned());
        let new_boot = self.boot.as_ref().is_none_or(|boot| boot.said.boot_id != said.boot_id);
        if new_boot && let Some(run) = self.run.as_mut().filter(|run| run.is_open()) {
            run.boot_count = run.boot_count.saturating_add(1);
            push_bounded(&mut run.boots, said.boot_id.clone());
        }
        self.boot = Some(Boot { said: said.clone(), at_unix_ms: at });
    }

    fn asked(&mut self, what: &Ask) {
        match what {
            Ask::Retry => {
                self.held = None;
                self.offers_unanswered = 0;
                if let Some(run) = self.run.as_mut() {
                    run.stopped = None;
                    for record in run.tasks.values_mut().filter(|record| !record.is_done()) {
                        record.failures = 0;
                        record.interruptions = 0;
                        record.agains = 0;
                        record.end = None;
                    }
                }
            }
            Ask::Cancel { .. } => {}
            Ask::Approve => {
                self.approved = true;
            }
            Ask::Reboot => self.reboot_asked_in = self.boot.as_ref().map(|boot| boot.said.boot_id.clone()),
        }
    }

    fn apply_to_run(&mut self, event: &Event, at: i64) {
        if let Event::RunStarted { run, workflow, revision, destructive_allowed, .. } = event {
            self.highest_run = self.highest_run.max(*run);
            self.offers_unanswered = 0;
            self.held = None;
            self.run = Some(Run {
                number: *run,
                workflow: workflow.clone(),
                revision: revision.clone(),
                status: RunStatus::Open,
                destructive_allowed: *destructive_allowed,
                started_unix_ms: at,
                ended_unix_ms: None,
                boots: Vec::new(),
                boot_count: 0,
                job: None,
                tasks: BTreeMap::new(),
                stopped: None,
                reboot_asked_in: None,
                poweroff_asked_in: None,
                considered: None,
                diverged: None,
            });
            return;
        }
        let Some(run) = self.run.as_mut() else { return };
        match event {
            Event::RunResumed { revision, .. } => {
                run.revision.clone_from(revision);
                run.considered = Some(revision.clone());
                run.diverged = None;
                run.stopped = None;
                for record in run.tasks.values_mut().filter(|record| !record.is_done()) {
                    record.failures = 0;
                    record.interruptions = 0;
                    record.agains = 0;
                    record.end = None;
                }
            }
            Event::RunDiverged { revision, reason, .. } => {
                run.considered = Some(revision.clone());
                run.diverged = Some(reason.clone());
            }
            Event::RunFinished { .. } => {
                run.status = RunStatus::Finished;
                run.ended_unix_ms = Some(at);
            }
            Event::RunCancelled { .. } => {
                run.status = RunStatus::Cancelled;
                run.ended_unix_ms = Some(at);
                run.job = None;
            }
            Event::JobGranted {
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
            } => {
                run.job = Some(Job {
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
                let record = run.tasks.entry((*stage_index, *task_index)).or_insert_with(|| TaskRecord::new(task));
                record.attempts = record.attempts.saturating_add(1);
                record.digest.clone_from(digest);
                record.task.clone_from(task);
                record.boot_id.clone_from(boot_id);
                record.job.clone_from(job);
                record.end = None;
            }
            Event::JobEnded { job, outcome, message, requests, .. } => {
                run.job_ended(job, *outcome, message, requests, at)
            }
            Event::TaskSkipped { stage_index, task_index, task, .. } => {
                run.stopped = None;
                run.diverged = None;
                let record = run.tasks.entry((*stage_index, *task_index)).or_insert_with(|| TaskRecord::new(task));
                record.end = Some(TaskEnd {
                    outcome: JobOutcome::Abandoned,
                    again: false,
                    skipped: true,
                    at_unix_ms: at,
                    message: None,
                });
                if run.job.as_ref().is_some_and(|job| (job.stage_index, job.task_index) == (*stage_index, *task_index))
                {
                    run.job = None;
                }
            }
            _ => {}
        }
    }
}

impl Run {
    fn job_ended(
        &mut self,
        job: &str,
        outcome: JobOutcome,
        message: &Option<String>,
        requests: &[JobRequest],
        at: i64,
    ) {
        let Some(open) = self.job.take_if(|open| open.id == job) else { return };
        let Some(record) = self.tasks.get_mut(&(open.stage_index, open.task_index)) else { return };
        let again = requests.contains(&JobRequest::Again);
        match outcome {
            JobOutcome::Done if again => record.agains = record.agains.saturating_add(1),
            JobOutcome::Failed | JobOutcome::TimedOut => record.failures = record.failures.saturating_add(1),
            JobOutcome::Interrupted => record.interruptions = record.interruptions.saturating_add(1),
            JobOutcome::Done | JobOutcome::Abandoned => {}
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
    }
}

impl TaskRecord {
    fn new(task: &str) -> Self {
        Self {
            task: task.to_owned(),
            digest: String::new(),
            attempts: 0,
            failures: 0,
            interruptions: 0,
            agains: 0,
            end: None,
            boot_id: String::new(),
            job: String::new(),
        }
    }
}

/// The name of the environment that boots the machine's own disk.
pub const LOCAL: &str = "local";

fn push_bounded<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= REMEMBERED {
        list.remove(0);
    }
    list.push(item);
}
