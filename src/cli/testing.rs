//! Machines and journals for the tests of drawing.

use crate::api::views::{JobRow, MachineDetail, MachineSummary, Phase, Place};
use crate::journal::{Record, RunStatus, Stream};
use crate::wire::JobOutcome;
use serde_json::json;
use std::collections::BTreeMap;

/// A machine in a phase.
pub fn machine(name: &str, phase: Phase) -> MachineSummary {
    let started = phase != Phase::Expected;
    MachineSummary {
        restored: false,
        name: name.to_owned(),
        former: None,
        source: "git".to_owned(),
        labels: BTreeMap::new(),
        phase,
        waits_for: String::new(),
        workflow: Some("etcd-node".to_owned()),
        run: started.then_some(1),
        run_status: started.then_some(if phase == Phase::Ready { RunStatus::Finished } else { RunStatus::Open }),
        run_revision: started.then(|| "0123456789abcdef0123".to_owned()),
        boots: u32::from(started) * 2,
        environment: started.then(|| "discovery.ram".to_owned()),
        stage: None,
        task: None,
        address: started.then(|| "10.0.0.11".to_owned()),
        macs: vec!["52:54:00:00:00:01".to_owned()],
        firmware: Some("uefi".to_owned()),
        last_seen_unix_ms: started.then_some(1_795_384_984_000),
        since_unix_ms: started.then_some(1_795_384_984_000),
        clusters: Vec::new(),
    }
}

/// A machine with everything.
pub fn detail(name: &str) -> MachineDetail {
    let mut summary = machine(name, Phase::Failed);
    summary.labels.insert("rack".to_owned(), "a1".to_owned());
    summary.stage = Some(Place { name: "scrub".to_owned(), index: 3, of: 5 });
    summary.task = Some(Place { name: "hardware.scrub".to_owned(), index: 1, of: 1 });
    summary.waits_for = "a fix of task hardware.scrub, or `formwork retry`".to_owned();
    summary.clusters = vec!["etcd".to_owned()];
    let job = |stage: &str, task: &str, state: &str| JobRow {
        job: (state != "to-do").then(|| format!("job-of-{task}")),
        stage: stage.to_owned(),
        task: task.to_owned(),
        attempts: u32::from(state != "to-do"),
        state: state.to_owned(),
        outcome: None,
        message: None,
        log_at: None,
    };
    let mut failed = job("scrub", "hardware.scrub", "failed");
    failed.outcome = Some(JobOutcome::Failed);
    failed.message = Some("step erase: exit code 3".to_owned());
    MachineDetail {
        summary,
        declared_at: Some("machines/node-1.yaml:1".to_owned()),
        profiles: vec!["etcd".to_owned()],
        spec_run: Some(1),
        protect: false,
        wipe: true,
        jobs: vec![job("discover", "discovery.inventory", "done"), failed, job("install", "image.write", "to-do")],
        facts: serde_json::json!({"memory": {"bytes": 2_147_483_648_u64}, "disks": [{"name": "vda"}]})
            .as_object()
            .cloned()
            .unwrap_or_default(),
        kernel: Some("6.1.0-41-amd64".to_owned()),
        agent_version: Some("0.1.0".to_owned()),
    }
}

/// A machine's events, at seconds of one's choice.
pub struct Journal {
    machine: String,
    offset: i64,
    jobs: u32,
    runs: u64,
    /// What was written so far.
    pub records: Vec<Record>,
}

impl Journal {
    /// All times are shifted by `offset` seconds.
    pub fn new(machine: &str, offset: i64) -> Self {
        Self { machine: machine.to_owned(), offset, jobs: 0, runs: 0, records: Vec::new() }
    }

    fn push(&mut self, at: i64, event: serde_json::Value) {
        let index = self.records.len() as u64;
        self.records.push(Record {
            sequence: index + 1,
            stream: Stream::Machine(self.machine.clone()),
            index,
            at_unix_ms: (at + self.offset) * 1000,
            event: serde_json::from_value(event).expect("an event"),
        });
    }

    /// The next run begins.
    pub fn start(&mut self, at: i64) {
        self.runs += 1;
        self.push(
            at,
            json!({"type": "run-started", "run": self.runs, "workflow": "etcd-node", "revision": "r1",
            "reason": "first workflow", "destructiveAllowed": true}),
        );
    }

    /// A boot script was served.
    pub fn offered(&mut self, at: i64, environment: &str) {
        self.push(
            at,
            json!({"type": "offered", "offer": format!("o{at}"), "environment": environment, "address": null,
            "mac": "52:54:00:00:00:01", "firmware": "uefi", "reason": "", "run": self.runs}),
        );
    }

    /// A boot.
    pub fn checked_in(&mut self, at: i64, boot: &str, environment: &str) {
        self.push(
            at,
            json!({"type": "checked-in", "bootId": boot, "environment": environment, "architecture": "x86_64",
            "firmware": "uefi", "agentVersion": "0.1.0", "kernel": "6.1.0", "hardware": {}, "offer": null}),
        );
    }

    /// A job.
    pub fn granted(&mut self, at: i64, stage: &str, task: &str, attempt: u32) {
        self.jobs += 1;
        self.push(
            at,
            json!({"type": "job-granted", "job": format!("j{}", self.jobs), "run": self.runs, "stageIndex": 0,
            "stage": stage, "taskIndex": 0, "task": task, "digest": "", "attempt": attempt, "bootId": "b1",
            "destructive": false, "timeoutSeconds": 600}),
        );
    }

    /// The last job ended.
    pub fn ended(&mut self, at: i64, outcome: &str) {
        self.push(
            at,
            json!({"type": "job-ended", "job": format!("j{}", self.jobs), "outcome": outcome, "exitCode": null,
            "message": null, "requests": []}),
        );
    }

    /// The run is done.
    pub fn finished(&mut self, at: i64) {
        self.push(at, json!({"type": "run-finished", "run": self.runs}));
    }
}

/// A run of two boots and three stages in ninety seconds.
pub fn one_run(machine: &str, offset: i64) -> Vec<Record> {
    let mut journal = Journal::new(machine, offset);
    journal.start(0);
    journal.offered(1, "discovery.ram");
    journal.offered(2, "discovery.ram");
    journal.checked_in(15, "b1", "discovery.ram");
    journal.granted(16, "discover", "discovery.inventory", 1);
    journal.ended(22, "done");
    journal.granted(22, "scrub", "hardware.scrub", 1);
    journal.ended(50, "done");
    journal.granted(50, "scrub", "hardware.verify", 1);
    journal.ended(52, "done");
    journal.offered(60, "local");
    journal.checked_in(80, "b2", "local");
    journal.granted(80, "join", "etcd.join", 1);
    journal.ended(90, "done");
    journal.finished(90);
    journal.records
}
