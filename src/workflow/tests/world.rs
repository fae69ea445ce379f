//! A world of one machine: revisions, its events, a clock. Tests say what happens and read what comes next.

use crate::catalog::{Catalog, MachineView, from_tree};
use crate::content::Tree;
use crate::journal::{Ask, Event, LOCAL, MachineState, Record, Stream};
use crate::wire::{CheckInRequest, HardwareIdentity, JobOutcome, JobRequest};
use crate::workflow::{Action, Grant, Next, Question, Running, Trust, made_of, next};
use std::collections::BTreeMap;

pub const NODE: &str = "node";
pub const MAC: &str = "52:54:00:00:00:01";

/// Content of one revision: what the machine says, stages and tasks by name with the inside of their specs. The workflows
/// `walk` and `other` have all stages in their order.
#[derive(Debug, Clone, Copy)]
pub struct Content<'a> {
    pub machine: &'a str,
    pub stages: &'a [(&'a str, &'a str)],
    pub tasks: &'a [(&'a str, &'a str)],
}

/// Two stages: `look` in `ram`, destructive `install` in `ram`, then `use` on the disk.
pub const PLAIN: Content<'static> = Content {
    machine: "workflow: walk",
    stages: &[
        ("look", "bootEnv: ram, tasks: [see]"),
        ("install", "bootEnv: ram, tasks: [write, check], destructive: true"),
        ("use", "bootEnv: local, tasks: [join]"),
    ],
    tasks: &[("see", ""), ("write", ""), ("check", ""), ("join", "")],
};

impl Content<'_> {
    pub fn compile(&self, revision: &str) -> Catalog {
        let head = "apiVersion: formwork.dev/v1alpha1\n";
        let mut text = format!("{head}kind: Site\nmetadata: {{name: lab}}\nspec: {{}}\n");
        let mut add = |kind: &str, name: &str, spec: &str| {
            text.push_str(&format!("---\n{head}kind: {kind}\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"));
        };
        if !self.machine.is_empty() {
            add("Machine", NODE, &format!("match: {{macs: ['{MAC}']}}, {}", self.machine));
        }
        for env in ["ram", "blue"] {
            add("BootEnv", env, "architectures: {x86_64: {kernel: {file: a/vmlinuz}, arguments: quiet}}");
        }
        for (name, spec) in self.tasks {
            let steps = if spec.contains("steps:") { "" } else { "steps: [{name: s, script: 'true'}], " };
            add("Task", name, &format!("{steps}{spec}"));
        }
        for (name, spec) in self.stages {
            add("Stage", name, spec);
        }
        let names: Vec<&str> = self.stages.iter().map(|(name, _)| *name).collect();
        for workflow in ["walk", "other"] {
            add("Workflow", workflow, &format!("stages: [{}]", names.join(", ")));
        }
        let name = "\"node-{{ mac | replace(':', '') }}\"";
        let rule = format!("match: {{macPrefixes: ['52:54:00']}}, name: {name}, workflow: walk, mayWipe: true");
        add("Enrollment", "rule", &rule);
        add("BootEnv", "setup", "endsBy: callback, architectures: {x86_64: {kernel: {file: a/linux}}}");
        let tree = Tree::from_texts([("site.yaml", text)]);
        from_tree(&tree, &BTreeMap::new(), revision).unwrap_or_else(|findings| panic!("{findings}"))
    }
}

pub struct World {
    catalogs: BTreeMap<String, std::sync::Arc<Catalog>>,
    current: Option<String>,
    pub records: Vec<Record>,
    pub state: MachineState,
    pub trust: Trust,
    pub now: i64,
    boots: u32,
    jobs: u32,
}

impl World {
    pub fn new(content: &Content<'_>) -> Self {
        let mut world = Self {
            catalogs: BTreeMap::new(),
            current: None,
            records: Vec::new(),
            state: MachineState::default(),
            trust: Trust::New,
            now: 1_000_000,
            boots: 0,
            jobs: 0,
        };
        world.push("r1", content);
        world
    }

    /// A new good revision.
    pub fn push(&mut self, revision: &str, content: &Content<'_>) {
        self.catalogs.insert(revision.to_owned(), std::sync::Arc::new(content.compile(revision)));
        self.current = Some(revision.to_owned());
    }

    /// The same revision without its object: as when Git lost it.
    pub fn lose(&mut self, revision: &str) {
        self.catalogs.remove(revision);
    }

    pub fn no_catalog(&mut self) {
        self.current = None;
    }

    pub fn catalog(&self) -> Option<&Catalog> {
        self.catalogs.get(self.current.as_ref()?).map(|catalog| &**catalog)
    }

    /// A revision that was pushed and not lost.
    pub fn compiled(&self, revision: &str) -> Option<std::sync::Arc<Catalog>> {
        self.catalogs.get(revision).cloned()
    }

    /// The revision of the run.
    pub fn pinned(&self) -> Option<&Catalog> {
        self.catalogs.get(&self.state.run.as_ref()?.revision).map(|catalog| &**catalog)
    }

    fn view_on(&self, catalog: &Catalog) -> Option<MachineView> {
        if let Some(view) = catalog.machine(NODE) {
            return Some(view.clone());
        }
        let by = self.state.enrolled.as_ref().filter(|_| !self.state.left)?;
        catalog.enrolled_view(NODE, &by.rule, &by.mac, None, None)
    }

    pub fn event(&mut self, event: Event) {
        let index = self.state.head;
        let record =
            Record { sequence: index + 1, stream: Stream::Machine(NODE.into()), index, at_unix_ms: self.now, event };
        self.state.apply(&record);
        self.records.push(record);
    }

    pub fn pass(&mut self, milliseconds: i64) {
        self.now += milliseconds;
    }

    /// One answer, with nothing written down.
    pub fn ask(&self, running: Running<'_>) -> Next {
        self.look(running, next)
    }

    /// What a decision is made on.
    pub fn look<T>(&self, running: Running<'_>, show: impl FnOnce(&Question<'_>) -> T) -> T {
        let view = self.catalog().and_then(|catalog| self.view_on(catalog));
        show(&Question {
            machine: NODE,
            current: self.catalog(),
            view: view.as_ref(),
            pinned: self.pinned(),
            state: &self.state,
            running,
            trust: self.trust,
            now_unix_ms: self.now,
        })
    }

    fn settle(&mut self, running: Running<'_>) -> Next {
        for _ in 0..6 {
            let answer = self.ask(running);
            let Action::Record(events) = answer.action else { return answer };
            assert!(!events.is_empty(), "nothing was to be written down");
            events.into_iter().for_each(|event| self.event(event));
        }
        panic!("it goes on writing things down: {:?}", self.records.iter().rev().take(8).collect::<Vec<_>>());
    }

    /// What firmware gets, after all that had to be written down.
    pub fn firmware(&mut self) -> Next {
        self.settle(Running::Firmware)
    }

    /// What the agent of the last boot gets.
    pub fn agent(&mut self) -> Next {
        self.agent_with(None)
    }

    /// The same, where something has booted.
    pub fn try_agent(&mut self) -> Option<Action> {
        self.state.boot.is_some().then(|| self.agent().action)
    }

    pub fn agent_with(&mut self, job: Option<&str>) -> Next {
        let boot = self.state.boot.clone().expect("no boot yet").said.clone();
        self.settle(Running::Agent { boot_id: &boot.boot_id, environment: &boot.environment, job })
    }

    /// Firmware asks; what it is offered is written down as the server does. `None`: it was held.
    pub fn offer(&mut self) -> Option<String> {
        match self.firmware().action {
            Action::Boot { environment, reason } => {
                let run = self.state.run.as_ref().filter(|run| run.is_open()).map(|run| run.number);
                self.event(Event::Offered {
                    offer: format!("offer-{}", self.state.head),
                    environment: environment.clone(),
                    address: None,
                    mac: MAC.into(),
                    firmware: "uefi".into(),
                    reason,
                    run,
                });
                Some(environment)
            }
            Action::Hold { .. } => None,
            other => panic!("firmware got {other:?}"),
        }
    }

    /// A kernel starts and its agent checks in.
    pub fn check_in(&mut self, environment: &str) -> String {
        self.boots += 1;
        let boot_id = format!("boot-{}", self.boots);
        self.event(Event::CheckedIn {
            check_in: CheckInRequest {
                boot_id: boot_id.clone(),
                environment: environment.into(),
                architecture: "x86_64".into(),
                firmware: "uefi".into(),
                agent_version: "1".into(),
                kernel: "6".into(),
                address: None,
                hardware: HardwareIdentity { macs: vec![MAC.into()], ..HardwareIdentity::default() },
            },
            offer: None,
        });
        boot_id
    }

    /// Power on: firmware asks, boots what it is offered, the agent checks in there.
    pub fn boot(&mut self) -> String {
        let environment = self.offer().expect("held");
        self.check_in(&environment);
        environment
    }

    /// The agent asks and is given a job: its id and the grant.
    pub fn job(&mut self) -> (String, Grant) {
        match self.agent().action {
            Action::Grant(grant) => {
                let id = self.granted(&grant);
                (id, grant)
            }
            other => panic!("no job but {other:?}"),
        }
    }

    /// Writes a grant down as the server does.
    pub fn granted(&mut self, grant: &Grant) -> String {
        let run = self.state.run.clone().expect("a run");
        let catalog = self.catalogs.get(&run.revision).expect("its revision");
        let workflow = catalog.workflow(&run.workflow).expect("its workflow");
        let stage = &workflow.stages[grant.stage_index as usize];
        let task = &stage.tasks[grant.task_index as usize];
        let view = self.view_on(catalog).expect("its view");
        let event = Event::JobGranted {
            job: format!("job-{}", self.jobs + 1),
            run: run.number,
            stage_index: grant.stage_index,
            stage: stage.name.to_string(),
            task_index: grant.task_index,
            task: task.name.to_string(),
            digest: made_of(catalog, &view, stage, task),
            attempt: grant.attempt,
            boot_id: self.state.boot.as_ref().expect("a boot").said.boot_id.clone(),
            destructive: grant.destructive,
            timeout_seconds: 60,
        };
        self.jobs += 1;
        self.event(event);
        format!("job-{}", self.jobs)
    }

    /// The open job ends.
    pub fn end(&mut self, outcome: JobOutcome, requests: &[JobRequest]) {
        let job = self.state.run.as_ref().and_then(|run| run.job.as_ref()).expect("an open job").id.clone();
        self.event(Event::JobEnded {
            job,
            outcome,
            exit_code: None,
            message: (outcome == JobOutcome::Failed).then(|| "exit code 1".into()),
            requests: requests.to_vec(),
            log_at: None,
        });
    }

    /// The next job is given and ends well: the task's name.
    pub fn done(&mut self) -> String {
        self.job_ends(JobOutcome::Done, &[])
    }

    /// The next job is given and fails: the task's name.
    pub fn fails(&mut self) -> String {
        self.job_ends(JobOutcome::Failed, &[])
    }

    pub fn job_ends(&mut self, outcome: JobOutcome, requests: &[JobRequest]) -> String {
        self.job();
        let task = self.state.run.as_ref().and_then(|run| run.job.as_ref()).expect("an open job").task.clone();
        self.end(outcome, requests);
        task
    }

    pub fn person(&mut self, what: Ask) {
        self.event(Event::Asked { by: "anna".into(), what, reason: String::new() });
    }

    /// `formwork retry`, as the server writes it down.
    pub fn retry(&mut self) {
        let diverged = self.state.run.as_ref().filter(|run| run.is_open() && run.diverged.is_some());
        let run = diverged.map(|run| run.number);
        self.person(Ask::Retry);
        if let (Some(run), Some(revision)) = (run, self.current.clone()) {
            self.event(Event::RunResumed { run, revision, reason: "anna asked".into() });
        }
    }

    /// All of `PLAIN` is walked.
    pub fn walk_plain(&mut self) {
        self.boot();
        for task in ["see", "write", "check"] {
            assert_eq!(self.done(), task);
        }
        assert!(matches!(self.agent().action, Action::Reboot { .. }));
        assert_eq!(self.boot(), LOCAL);
        assert_eq!(self.done(), "join");
        assert!(matches!(self.agent().action, Action::Wait { .. }));
    }

    /// The names of events since the record with this index.
    pub fn names_since(&self, index: usize) -> Vec<String> {
        self.records[index..]
            .iter()
            .map(|record| serde_json::to_value(&record.event).unwrap()["type"].as_str().unwrap().to_owned())
            .collect()
    }

    /// The last event with this name.
    pub fn last(&self, name: &str) -> Option<&Event> {
        let named = |event: &Event| serde_json::to_value(event).unwrap()["type"] == name;
        self.records.iter().rev().map(|record| &record.event).find(|event| named(event))
    }
}

/// The reason of an answer that has one.
pub fn reason(next: &Next) -> &str {
    match &next.action {
        Action::Boot { reason, .. }
        | Action::Hold { reason }
        | Action::Abandon { reason, .. }
        | Action::Wait { reason }
        | Action::Reboot { reason }
        | Action::PowerOff { reason } => reason,
        Action::Record(_) | Action::Grant(_) | Action::Again { .. } => "",
    }
}

/// A word for an answer, to compare in tables.
pub fn word(next: &Next) -> String {
    match &next.action {
        Action::Record(_) => "record".into(),
        Action::Boot { environment, .. } => format!("boot {environment}"),
        Action::Hold { .. } => "hold".into(),
        Action::Grant(grant) => format!("grant {}.{} attempt {}", grant.stage_index, grant.task_index, grant.attempt),
        Action::Again { job } => format!("again {job}"),
        Action::Abandon { job, .. } => format!("abandon {job}"),
        Action::Wait { .. } => "wait".into(),
        Action::Reboot { .. } => "reboot".into(),
        Action::PowerOff { .. } => "poweroff".into(),
    }
}
