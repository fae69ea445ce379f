//! Machines for the tests of drawing.

use crate::api::views::{JobRow, MachineDetail, MachineSummary, Phase, Place};
use crate::journal::RunStatus;
use crate::wire::JobOutcome;
use std::collections::BTreeMap;

/// A machine in a phase.
pub fn machine(name: &str, phase: Phase) -> MachineSummary {
    let started = phase != Phase::Expected;
    MachineSummary {
        name: name.to_owned(),
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
