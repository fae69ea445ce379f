//! Why a machine is where it is: the answer of the one function in a sentence, and what it rests on: events, rules, content.
//!
//! The answer is `workflow::next`'s own. The evidence is looked for in the same facts, in the order in which `next` asks about
//! them, so that the first thing that holds is the one that decides.

use super::{Imagined, Subject, place_at};
use crate::catalog::{Catalog, LOCAL, MachineView, Source};
use crate::content::Place;
use crate::journal::{Event, MachineState, Record, Run, RunStatus};
use crate::wire::JobRequest;
use crate::workflow::{Action, Next, OFFERS_BEFORE_HOLD, Position, Running, Trust, next, position};
use serde::{Deserialize, Serialize};

/// Why a machine is where it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Why {
    /// The machine.
    pub machine: String,
    /// The newest good revision.
    pub revision: Option<String>,
    /// The revision that its open run is pinned to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_revision: Option<String>,
    /// What it does or waits for, in a sentence.
    pub answer: String,
    /// What the server lacks for its next boot or its jobs, in a line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hindrances: Vec<String>,
    /// After so many milliseconds the answer can be another by itself; none: only an event or a revision changes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask_again_ms: Option<u64>,
    /// What that rests on, the nearest first.
    pub because: Vec<Because>,
}

/// One thing that an answer rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Because {
    /// What is so, in a sentence.
    pub text: String,
    /// What says so.
    pub evidence: Vec<Evidence>,
}

/// What says that something is so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case", rename_all_fields = "camelCase", tag = "kind")]
pub enum Evidence {
    /// Something that happened.
    Event {
        /// Its place and the event itself.
        record: Box<Record>,
    },
    /// Something that content says.
    Content {
        /// Where.
        place: Place,
        /// In which revision.
        revision: String,
        /// What it says there, as `spec.protect: true`.
        says: String,
    },
    /// A rule of Formwork.
    Rule {
        /// In a sentence.
        text: String,
    },
}

/// Why a machine is where it is. Pure.
pub fn why(subject: &Subject<'_>) -> Why {
    let question = &subject.question;
    let answer = next(question);
    let open = question.state.run.as_ref().filter(|run| run.is_open());
    Why {
        machine: question.machine.to_owned(),
        revision: question.current.map(|catalog| catalog.revision.to_string()),
        run_revision: open.map(|run| run.revision.clone()),
        answer: sentence(subject, &answer),
        hindrances: super::hindrances(question, &subject.lacks),
        ask_again_ms: answer.ask_again_ms,
        because: Grounds { subject, found: Vec::new() }.all(),
    }
}

/// The answer as a sentence about the machine.
fn sentence(subject: &Subject<'_>, answer: &Next) -> String {
    let name = subject.question.machine;
    if !matches!(answer.action, Action::Record(_)) {
        return format!("{name} {}", predicate(subject, subject.question.state, answer));
    }
    // What has to be written down first is written down at the machine's next word: say what follows then.
    let mut imagined = Imagined::of(&subject.question);
    let (written, then) = imagined.settle(subject.question.running);
    let first = written.iter().rev().find_map(|event| match event {
        Event::RunStarted { run, workflow, reason, .. } => {
            Some(format!("run {run} of {workflow} begins at its next word with the server ({reason})"))
        }
        Event::RunFinished { run } => Some(format!("run {run} is done")),
        Event::RunCancelled { run, reason, .. } => Some(format!("run {run} ends: {reason}")),
        Event::RunResumed { run, reason, .. } => Some(format!("run {run} goes on by itself: {reason}")),
        Event::RunDiverged { run, reason, .. } => Some(format!("run {run} has diverged: {reason}")),
        _ => None,
    });
    let then = predicate(subject, &imagined.state, &then);
    match first {
        Some(first) => format!("{name}: {first}; then it {then}"),
        None => format!("{name} {then}"),
    }
}

/// What it does or waits for, without its name.
fn predicate(subject: &Subject<'_>, state: &MachineState, answer: &Next) -> String {
    match &answer.action {
        Action::Record(_) => "is decided about anew at its next word with the server".to_owned(),
        Action::Boot { environment, reason } if environment == LOCAL => format!("boots its own disk: {reason}"),
        Action::Boot { environment, reason } => format!("boots {environment} next: {reason}"),
        Action::Hold { reason } => format!("is held at boot: {reason}"),
        Action::Wait { reason } => format!("waits: {reason}"),
        Action::Reboot { reason } => match reason.strip_prefix("reboots ") {
            Some(into) => format!("is told to reboot {into}"),
            None => format!("is told to boot anew: {reason}"),
        },
        Action::PowerOff { reason } => format!("is told to switch off: {reason}"),
        Action::Abandon { job, reason } => format!("is told to let go of job {job}: {reason}"),
        Action::Grant(_) => {
            let task = state.run.as_ref().and_then(|run| {
                let at = position(subject.question.pinned.or(subject.question.current)?.workflow(&run.workflow)?, run)?;
                Some(format!("task {} of stage {}", at.task.name, at.stage.name))
            });
            format!("gets {} when its agent asks", task.unwrap_or_else(|| "its next task".into()))
        }
        Action::Again { job } => {
            let open = state.run.as_ref().and_then(|run| run.job.as_ref());
            let what = open.map(|open| format!("{} of stage {}", open.task, open.stage));
            format!("works on {} (job {job})", what.unwrap_or_else(|| "a task".into()))
        }
    }
}

fn at<'a>(subject: &Subject<'a>, run: &'a Run) -> Option<Position<'a>> {
    position(subject.question.pinned?.workflow(&run.workflow)?, run)
}

/// Grounds are gathered here.
struct Grounds<'s, 'a> {
    subject: &'s Subject<'a>,
    found: Vec<Because>,
}

impl<'a> Grounds<'_, 'a> {
    fn all(mut self) -> Vec<Because> {
        self.decisive();
        self.found
    }

    fn add(&mut self, text: impl Into<String>, evidence: impl IntoIterator<Item = Option<Evidence>>) {
        self.found.push(Because { text: text.into(), evidence: evidence.into_iter().flatten().collect() });
    }

    /// The newest event of a kind.
    fn event(&self, wanted: impl Fn(&Event) -> bool) -> Option<Evidence> {
        let record = self.subject.records.iter().rev().find(|record| wanted(&record.event))?;
        Some(Evidence::Event { record: Box::new(record.clone()) })
    }

    /// What the machine's own document says.
    fn machine_says(&self, view: &MachineView, field: &str, value: &str) -> Option<Evidence> {
        let catalog = self.subject.question.current?;
        // A rule that takes machines in has its own word for it.
        let field = match (&view.source, field) {
            (Source::Enrollment { .. }, "wipe") => "mayWipe",
            (_, field) => field,
        };
        let path = ["spec", field];
        Some(content(catalog, place_at(&view.document, &path), format!("spec.{field}: {value}")))
    }

    fn decisive(&mut self) {
        let question = self.subject.question;
        let state = question.state;
        if question.current.is_none() {
            self.add("no revision could be applied since this site was made", [rule("without content nothing boots")]);
            return;
        }
        let Some(view) = question.view else { return self.gone() };
        if state.quarantined.is_some() && !state.approved {
            let event = self.event(|event| matches!(event, Event::Quarantined { .. }));
            let text = "two keys claimed its identity; until a person approves it gets neither work nor an environment";
            self.add("its identity is in doubt", [event, rule(text)]);
            return;
        }
        if state.restored.is_some() {
            let text = "what a machine did after the backup was made is not known, so nothing starts by itself";
            self.add("the store came back from a backup", [rule(text)]);
            return;
        }
        if let Running::Agent { boot_id, job: None, .. } = question.running
            && state.reboot_asked_in.as_deref() == Some(boot_id)
        {
            let asked = |event: &Event| matches!(event, Event::Asked { what: crate::journal::Ask::Reboot, .. });
            let event = self.event(asked);
            self.add("a person asked for a reboot in this boot", [event]);
            return;
        }
        let Some(run) = state.run.as_ref().filter(|run| run.is_open()) else { return self.at_rest(view) };
        self.in_run(view, run);
        let revision = &run.revision;
        let started = self.event(|event| matches!(event, Event::RunStarted { .. }));
        let resumed =
            self.event(|event| matches!(event, Event::RunResumed { run: number, .. } if *number == run.number));
        let newer = question.current.filter(|catalog| *catalog.revision != **revision);
        let pinned = newer
            .and(rule("a run keeps the revision it began with; a newer one changes it only to mend a failed task"));
        self.add(format!("run {} of {} is open", run.number, run.workflow), [started, resumed, pinned]);
    }

    /// Not on the newest revision.
    fn gone(&mut self) {
        if !self.subject.question.state.is_known() {
            self.add(
                "no Machine of this name is declared, and no rule has taken it in",
                [rule("an unknown machine that no rule matches gets no boot file")],
            );
            return;
        }
        let left = self.event(|event| matches!(event, Event::Left { .. }));
        let text =
            "what is gone from Git boots its own disk, its tokens are dead, and it is not enrolled again by itself";
        self.add("the newest revision does not declare it any more", [left, rule(text)]);
    }

    /// On the revision, with no open run.
    fn at_rest(&mut self, view: &MachineView) {
        let question = self.subject.question;
        let state = question.state;
        let Some(workflow) = view.workflow.as_deref() else {
            let place = content_of(question.current, view.document.place(), "no spec.workflow");
            self.add("it has no workflow", [place, rule("a machine without a workflow boots its own disk")]);
            return;
        };
        let says_workflow = self.machine_says(view, "workflow", workflow);
        let says_run = self.machine_says(view, "run", &view.run.to_string());
        if let Some(run) = &state.run {
            let ended = self.event(|event| match run.status {
                RunStatus::Cancelled => matches!(event, Event::RunCancelled { .. }),
                _ => matches!(event, Event::RunFinished { .. }),
            });
            let how = if run.status == RunStatus::Cancelled { "was cancelled" } else { "is done" };
            let changed = run.workflow != workflow;
            let raised = view.run > state.highest_run;
            let text = "a run begins when `run` is raised above the highest number there ever was, or when the workflow is \
                        another one; changed tasks, and a number that is lower or the same, start nothing";
            self.add(format!("run {} of {} {how}", run.number, run.workflow), [ended]);
            let now = match (raised, changed) {
                (true, _) => format!("content asks for run {}", view.run),
                (false, true) => "content gives it another workflow".to_owned(),
                (false, false) => "content asks for no newer run".to_owned(),
            };
            self.add(now, [says_run, says_workflow.filter(|_| changed), rule(text)]);
            return;
        }
        if state.adopted.is_some() {
            let adopted = self.event(|event| matches!(event, Event::Adopted { .. }));
            let text = "only a run above the one it was adopted with starts";
            // Who did, the event says: a person, or a declaration in Git.
            self.add("it was taken over as it was", [adopted, rule(text)]);
            let now = match view.run > state.highest_run {
                true => format!("content asks for run {}", view.run),
                false => "content asks for no newer run".to_owned(),
            };
            self.add(now, [says_run]);
            return;
        }
        if question.trust == Trust::HoldUnknown {
            let text = "a store that was not made for new machines starts nothing on a machine it has never heard of: it may \
                        be installed already";
            self.add("the store has no journal of it", [says_workflow, rule(text)]);
            return;
        }
        self.add("it has a workflow and never walked one", [says_workflow, says_run]);
    }

    /// In an open run.
    fn in_run(&mut self, view: &MachineView, run: &'a Run) {
        let question = self.subject.question;
        if let Some(job) = &run.job {
            let granted = self.event(|event| matches!(event, Event::JobGranted { job: id, .. } if *id == job.id));
            let text = format!("without an end by {} s and two minutes it counts as timed out", job.timeout_seconds);
            let elsewhere = !matches!(question.running, Running::Agent { boot_id, .. } if boot_id == job.boot_id);
            let booted = elsewhere.then(|| self.event(|event| matches!(event, Event::CheckedIn { .. }))).flatten();
            let offered = elsewhere.then(|| self.event(|event| matches!(event, Event::Offered { .. }))).flatten();
            self.add(format!("job {} is open", job.id), [granted, offered, booted, rule(text)]);
            return;
        }
        let Some(pinned) = question.pinned else {
            let text = "a run goes on by the revision it is pinned to, and by no other";
            self.add(format!("revision {} cannot be loaded", run.revision), [rule(text)]);
            return;
        };
        let Some(at) = at(self.subject, run) else {
            self.add("all its stages are done", []);
            return;
        };
        if at.failed.is_some() {
            self.failed(pinned, run, &at);
        } else if run.stopped.is_some() {
            let asked = |event: &Event| matches!(event, Event::JobEnded { requests, .. } if requests.contains(&JobRequest::Stop));
            let event = self.event(asked);
            self.add(
                "the last task asked to stop",
                [event, rule("a run that was stopped goes on when a person says so")],
            );
        } else if at.task.is_installer() && self.installer(view, pinned, run, &at) {
        } else {
            match question.running {
                Running::Firmware => self.at_boot(),
                Running::Agent { boot_id, environment, .. } => {
                    self.in_agent(view, pinned, run, &at, boot_id, environment);
                }
            }
        }
        let document = &at.stage.document;
        let tasks = content(pinned, place_at(document, &["spec", "tasks"]), format!("stage {}", at.stage.name));
        self.add(format!("it is at task {} of stage {}", at.task.name, at.stage.name), [Some(tasks)]);
    }

    fn failed(&mut self, pinned: &Catalog, run: &Run, at: &Position<'_>) {
        let job = at.record.map(|record| record.job.clone()).unwrap_or_default();
        let ended = self.event(|event| matches!(event, Event::JobEnded { job: id, .. } if *id == job));
        let document = &at.task.document;
        let retries = match &at.task.retries {
            Some(retries) => content(
                pinned,
                place_at(document, &["spec", "retries"]),
                format!("spec.retries.limit: {}", retries.limit),
            ),
            None => content(pinned, document.place(), "no spec.retries: a failure is final".to_owned()),
        };
        self.add(format!("task {} is not tried again by itself", at.task.name), [ended, Some(retries)]);
        let question = self.subject.question;
        if run.diverged.is_some() {
            let diverged = self.event(|event| matches!(event, Event::RunDiverged { .. }));
            self.add(
                "the newest revision is no mere fix",
                [diverged, rule("what is done already must be the same in a fix")],
            );
        } else if question.current.is_some_and(|catalog| catalog.revision != pinned.revision) {
            let text = "a newer revision resumes the run by itself when what the failed task is made of has changed";
            self.add("the newest revision does not change this task", [rule(text)]);
        }
    }

    fn at_boot(&mut self) {
        let state = self.subject.question.state;
        let offered = self.event(|event| matches!(event, Event::Offered { .. }));
        if state.offers_unanswered == 0 {
            self.add(
                "its firmware has not asked since",
                [rule("machines boot from the network first, so that they ask")],
            );
            return;
        }
        let held = self.event(|event| matches!(event, Event::Held { .. })).filter(|_| state.held.is_some());
        let over = state.offers_unanswered >= OFFERS_BEFORE_HOLD;
        let apart = over.then(|| {
            rule(format!("after {OFFERS_BEFORE_HOLD} scripts with no agent checking in, tries come further apart"))
        });
        self.add(
            format!("{} boot scripts were served since an agent last checked in", state.offers_unanswered),
            [offered, held, apart.flatten()],
        );
    }

    fn in_agent(
        &mut self,
        view: &MachineView,
        pinned: &Catalog,
        run: &Run,
        at: &Position<'_>,
        boot_id: &str,
        environment: &str,
    ) {
        let booted = self.event(|event| matches!(event, Event::CheckedIn { .. }));
        let asked_in = |asked: &Option<String>| asked.as_deref() == Some(boot_id);
        if asked_in(&run.poweroff_asked_in) || asked_in(&run.reboot_asked_in) {
            let wanted = |event: &Event| matches!(event, Event::JobEnded { requests, .. } if !requests.is_empty());
            let event = self.event(wanted);
            self.add("the last task asked for it", [event]);
            return;
        }
        if let Some(wanted) = at.environment.filter(|wanted| *wanted != environment) {
            let path = ["spec", "bootEnv"];
            let says = content(pinned, place_at(&at.stage.document, &path), format!("spec.bootEnv: {wanted}"));
            self.add(format!("its stage runs in {wanted}, and it is in {environment}"), [booted, Some(says)]);
            return;
        }
        let in_run = run.boots.iter().any(|boot| boot == boot_id);
        if !in_run && environment != LOCAL {
            let text = "a run begins with a boot of its own";
            self.add("its boot is older than the run", [booted, rule(text)]);
            return;
        }
        let used = run.tasks.values().any(|record| *record.stage != *at.stage.name && record.boot_id == boot_id);
        if at.stage.fresh_boot && (!in_run || used) {
            let path = ["spec", "freshBoot"];
            let says = content(pinned, place_at(&at.stage.document, &path), "spec.freshBoot: true".to_owned());
            self.add("its stage wants a boot of its own", [booted, Some(says)]);
            return;
        }
        let ended = at.record.and_then(|record| record.end.as_ref().map(|_| record.job.clone()));
        if let Some(job) = ended {
            let event = self.event(|event| matches!(event, Event::JobEnded { job: id, .. } if *id == job));
            let retries = at.task.retries.as_ref().map(|retries| {
                let says = format!("spec.retries.limit: {}", retries.limit);
                content(pinned, place_at(&at.task.document, &["spec", "retries"]), says)
            });
            self.add(format!("task {} is tried again", at.task.name), [event, retries]);
        }
        if let Some(cluster) = super::wants_approval(&self.subject.question) {
            let says = content_of(self.subject.question.current, cluster.document.place(), "spec.assurance: A2");
            let text = "it gets neither tokens nor jobs before a person approves its first exchange";
            self.add(format!("cluster {} asks for more than a ticket", cluster.name), [says, rule(text)]);
        }
        if at.stage.destructive {
            self.destructive(view, pinned, run, at);
        }
    }

    /// A stage that an installer does. False: it may be booted, and nothing else is to be said of it.
    fn installer(&mut self, view: &MachineView, pinned: &Catalog, run: &Run, at: &Position<'_>) -> bool {
        if view.protect || !run.destructive_allowed {
            self.destructive(view, pinned, run, at);
            return true;
        }
        if !view.wipe {
            let says = self.machine_says(view, "wipe", "false, or not there");
            let text = "an installer looks for no marker before it writes, so it is booted only where whatever is on a disk may go";
            self.add("its installer is not booted", [says, rule(text)]);
            return true;
        }
        let booted = self.subject.question.state.boot.as_ref().map(|boot| boot.said.environment.as_str());
        if matches!(self.subject.question.running, Running::Agent { .. }) && booted == at.environment {
            let offered = self.event(|event| matches!(event, Event::Offered { .. }));
            self.add("its installer works", [offered, rule("an installer's callback is the end of its stage")]);
            return true;
        }
        false
    }

    fn destructive(&mut self, view: &MachineView, pinned: &Catalog, run: &Run, at: &Position<'_>) {
        let path = ["spec", "destructive"];
        let says = content(pinned, place_at(&at.stage.document, &path), "spec.destructive: true".to_owned());
        let rule = rule("what may be wiped is read from the newest good revision, at every grant");
        if view.protect {
            let protect = self.machine_says(view, "protect", "true");
            self.add("destructive stages are refused", [Some(says), protect, rule]);
        } else if !run.destructive_allowed {
            let started = self.event(|event| matches!(event, Event::RunStarted { .. }));
            let number = self.machine_says(view, "run", &view.run.to_string());
            self.add("this run was not asked for by a raised number", [Some(says), started, number]);
        } else {
            let wipe = if view.wipe { self.machine_says(view, "wipe", "true") } else { None };
            self.add("its stage may change disks", [Some(says), wipe, rule]);
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "lists of evidence take what may not be there")]
fn rule(text: impl Into<String>) -> Option<Evidence> {
    Some(Evidence::Rule { text: text.into() })
}

fn content(catalog: &Catalog, place: Place, says: String) -> Evidence {
    Evidence::Content { place, revision: catalog.revision.to_string(), says }
}

fn content_of(catalog: Option<&Catalog>, place: Place, says: &str) -> Option<Evidence> {
    Some(content(catalog?, place, says.to_owned()))
}
