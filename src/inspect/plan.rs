//! What is still to come for a machine: its boots, stages and tasks, by asking the one function over and over as if everything
//! went well. What would stop it is said, lifted in the imagination, and passed.

use super::hindrance::{self, FILE_REMEDY, LOGS_REMEDY, Lacks};
use super::planned::{Obstacle, Plan, PlannedBoot, PlannedStage, PlannedTask};
use super::render::Maker;
use super::rendered::{RenderQuestion, Values, What};
use super::{Imagined, Subject, view_on};
use crate::catalog::{CompiledAction, LOCAL, ServerInfo, Stage, Task};
use crate::journal::{Ask, Event};
use crate::workflow::{Action, Grant, JobError, Next, Question, Running, Trust, position, timeout_seconds};
use std::sync::Arc;

/// So many questions are asked at most: a workflow has bounded stages and tasks, and each wants a few.
const QUESTIONS_MAX: usize = 20_000;

/// What is to come. Pure.
pub fn plan(subject: &Subject<'_>, server: &ServerInfo, values: Values<'_>) -> Plan {
    walked(subject, Some((server, values)))
}

/// The same without making the jobs: boots, stages, and what would stop it before them. Pure.
pub fn foresee(question: &Question<'_>) -> Plan {
    let (none, lacks) = (crate::params::ClusterKeys::new(), Lacks::NOTHING);
    walked(&Subject { question: *question, records: &[], clusters: &none, lacks }, None)
}

fn walked(subject: &Subject<'_>, making: Option<(&ServerInfo, Values<'_>)>) -> Plan {
    let question = subject.question;
    let mut walk = Walk {
        subject,
        making,
        imagined: Imagined::of(&question),
        running: matches!(question.running, Running::Agent { .. }),
        granted: true,
        plan: Plan {
            machine: question.machine.to_owned(),
            former: None,
            revision: question.current.map(|catalog| catalog.revision.to_string()),
            run: None,
            begins: None,
            workflow: None,
            run_revision: None,
            done: 0,
            boots: Vec::new(),
            obstacles: Vec::new(),
            ends: String::new(),
        },
    };
    walk.go();
    walk.plan
}

struct Walk<'s, 'a> {
    subject: &'s Subject<'a>,
    /// With what the jobs are made, where they are.
    making: Option<(&'s ServerInfo, Values<'s>)>,
    imagined: Imagined<'a>,
    /// An agent is there to be asked.
    running: bool,
    /// No refusal of destructive work was lifted for the stage that is next.
    granted: bool,
    plan: Plan,
}

impl<'a> Walk<'_, 'a> {
    fn go(&mut self) {
        if let Some(cluster) = super::wants_approval(&self.subject.question) {
            let reason =
                format!("cluster {} asks for assurance A2: its first exchange waits for a person", cluster.name);
            let remedy = format!("formwork approve {}", self.plan.machine);
            self.obstacle(Obstacle { stage: None, reason, remedy });
        }
        for _ in 0..QUESTIONS_MAX {
            let (written, next) = if self.running { self.imagined.agent() } else { self.imagined.firmware() };
            self.note(&written);
            if self.over(&written) {
                return;
            }
            if !self.step(&next) {
                return;
            }
        }
        self.plan.ends = "it does not end in what can be foreseen".to_owned();
    }

    /// Keeps what the plan says of the run.
    fn note(&mut self, written: &[Event]) {
        for event in written {
            if let Event::RunStarted { reason, .. } = event {
                self.plan.begins = Some(reason.clone());
                self.plan.boots.clear();
            }
        }
        if self.plan.run.is_none()
            && let Some(run) = self.imagined.state.run.as_ref().filter(|run| run.is_open())
        {
            self.plan.run = Some(run.number);
            self.plan.workflow = Some(run.workflow.clone());
            let done = run.tasks.values().filter(|record| record.is_done()).count();
            self.plan.done = u32::try_from(done).unwrap_or(u32::MAX);
        }
        if let Some(run) = self.imagined.state.run.as_ref().filter(|run| run.is_open()) {
            self.plan.run_revision = Some(run.revision.clone());
        }
    }

    /// The run that is planned has ended.
    fn over(&mut self, written: &[Event]) -> bool {
        for event in written {
            match event {
                Event::RunFinished { run } => {
                    self.plan.ends = format!("run {run} is done");
                    return true;
                }
                Event::RunCancelled { reason, run, .. } if self.plan.run == Some(*run) => {
                    self.plan.ends = format!("run {run} ends: {reason}");
                }
                _ => {}
            }
        }
        false
    }

    /// One answer further. False: there is nothing more.
    fn step(&mut self, next: &Next) -> bool {
        match &next.action {
            Action::Boot { environment, reason } => {
                let open = self.imagined.state.run.as_ref().is_some_and(|run| run.is_open());
                if !open {
                    return self.at_rest(environment, reason);
                }
                if let Some(failed) = self.stands() {
                    return self.lift(&failed);
                }
                self.lacking(environment);
                self.plan.boots.push(PlannedBoot {
                    environment: environment.clone(),
                    running: false,
                    reason: reason.clone(),
                    stages: Vec::new(),
                });
                if self.installs() {
                    return true;
                }
                self.imagined.boots(environment);
                self.running = true;
                true
            }
            Action::Grant(grant) => self.grant(grant),
            Action::Again { job } => {
                let job = job.clone();
                let open = self.imagined.state.run.as_ref().and_then(|run| run.job.clone());
                if let Some(open) = open {
                    let (stage_index, task_index) = (open.stage_index, open.task_index);
                    let grant = Grant {
                        stage_index,
                        task_index,
                        attempt: open.attempt,
                        destructive: open.destructive,
                        wipe: false,
                    };
                    if let Some((stage, task)) = self.imagined.granted_task(&grant) {
                        self.write(stage, task, &grant);
                    }
                }
                self.imagined.ends(&job, &[]);
                true
            }
            Action::Reboot { .. } => {
                self.running = false;
                true
            }
            Action::PowerOff { .. } => {
                let reason = "the last task asked to be switched off".to_owned();
                let remedy = "switch it on again".to_owned();
                self.obstacle(Obstacle { stage: None, reason, remedy });
                self.running = false;
                true
            }
            Action::Wait { reason } => {
                // A pause that passes by itself is no obstacle.
                if let Some(ms) = next.ask_again_ms {
                    self.imagined.now_unix_ms =
                        self.imagined.now_unix_ms.saturating_add(i64::try_from(ms).unwrap_or(0)).saturating_add(1);
                    return true;
                }
                let inside = self.imagined.installer().and_then(|at| at.environment.map(str::to_owned));
                let environment = self.imagined.state.boot.as_ref().map(|boot| boot.said.environment.clone());
                if inside.is_some() && inside == environment && self.stands().is_none() {
                    return self.installs();
                }
                let open = self.imagined.state.run.as_ref().is_some_and(|run| run.is_open());
                let reason = reason.clone();
                if open { self.lift(&reason) } else { self.at_rest(LOCAL, &reason) }
            }
            Action::Hold { reason } => {
                let reason = reason.clone();
                self.lift(&reason)
            }
            Action::Abandon { .. } | Action::Record(_) => {
                self.plan.ends = "what comes next is decided at its next word with the server".to_owned();
                false
            }
        }
    }

    /// Says what the server lacks for a boot, where it does; what lies behind it is planned all the same.
    fn lacking(&mut self, environment: &str) {
        let (question, lacks) = (self.subject.question, self.subject.lacks);
        let Some(reason) = hindrance::boot(&question, &self.imagined, environment, &lacks) else { return };
        let stage = self.imagined.state.run.as_ref().filter(|run| run.is_open()).and_then(|run| {
            Some(position(self.imagined.pinned()?.workflow(&run.workflow)?, run)?.stage.name.to_string())
        });
        self.obstacle(Obstacle { stage, reason, remedy: FILE_REMEDY.to_owned() });
    }

    /// An installer does the stage where the run stands, and calls back.
    fn installs(&mut self) -> bool {
        let Some(at) = self.imagined.installer() else { return false };
        let stage = PlannedStage {
            name: at.stage.name.to_string(),
            destructive: true,
            granted: self.granted,
            wipes_foreign_disks: true,
            tasks: vec![PlannedTask {
                name: at.task.name.to_string(),
                timeout_seconds: 0,
                may_reboot: false,
                unknown: None,
            }],
        };
        if let Some(boot) = self.plan.boots.last_mut() {
            boot.stages.push(stage);
        }
        self.imagined.installs();
        self.running = false;
        true
    }

    /// No run is open.
    fn at_rest(&mut self, environment: &str, reason: &str) -> bool {
        let state = &self.imagined.state;
        if (state.quarantined.is_some() || state.restored.is_some()) && self.imagined.view.is_some() {
            return self.lift(reason);
        }
        let never_walked = state.run.is_none() && state.adopted.is_none();
        if self.imagined.trust == Trust::HoldUnknown && never_walked && reason.contains("adopt") {
            let remedy = format!("formwork adopt --new {}", self.plan.machine);
            self.obstacle(Obstacle { stage: None, reason: reason.to_owned(), remedy });
            self.imagined.trust = Trust::New;
            return true;
        }
        if self.plan.ends.is_empty() {
            let disk = if environment == LOCAL { "it boots its own disk: " } else { "" };
            self.plan.ends = format!("{disk}{reason}");
        }
        false
    }

    fn obstacle(&mut self, obstacle: Obstacle) {
        if !self.plan.obstacles.contains(&obstacle) {
            self.plan.obstacles.push(obstacle);
        }
    }

    /// Why the task where the run stands waits for a person, where it does.
    fn stands(&self) -> Option<String> {
        let run = self.imagined.state.run.as_ref()?;
        let at = position(self.imagined.pinned()?.workflow(&run.workflow)?, run)?;
        if let Some(task) = &run.stopped {
            return Some(format!("task {task} asked to stop"));
        }
        at.failed.map(|failed| format!("task {} {failed}", at.task.name))
    }

    /// Says what stops it, and takes it away in the imagination. False: it cannot be taken away.
    fn lift(&mut self, reason: &str) -> bool {
        let machine = self.plan.machine.clone();
        let stage = self.imagined.state.run.as_ref().filter(|run| run.is_open()).and_then(|run| {
            let workflow = self.imagined.pinned()?.workflow(&run.workflow)?;
            Some(position(workflow, run)?.stage.clone())
        });
        let name = stage.as_ref().map(|stage| stage.name.to_string());
        let installer = stage.as_ref().is_some_and(|stage| stage.is_installer());
        let destructive = installer || stage.as_ref().is_some_and(|stage| stage.destructive);
        let said = |walk: &mut Self, reason: &str, remedy: String| {
            walk.obstacle(Obstacle { stage: name.clone(), reason: reason.to_owned(), remedy });
        };
        let state = &self.imagined.state;
        if state.restored.is_some() {
            said(self, reason, format!("formwork adopt {machine}, or formwork adopt --new {machine}"));
            self.imagined.state.restored = None;
            return true;
        }
        if state.quarantined.is_some() {
            said(self, reason, format!("look at the machine, then formwork approve {machine}"));
            self.imagined.state.quarantined = None;
            return true;
        }
        if self.stands().is_some() {
            said(self, reason, format!("push a fix, or formwork retry {machine}"));
            self.retry();
            return true;
        }
        if state.held.is_some() {
            said(self, reason, format!("look at its screen and its boot order; formwork retry {machine}"));
            self.retry();
            return true;
        }
        let protected = self.imagined.view.as_ref().is_some_and(|view| view.protect);
        if destructive && protected {
            said(self, reason, "take spec.protect away in Git".to_owned());
            if let Some(view) = &mut self.imagined.view {
                view.protect = false;
            }
            self.granted = false;
            return true;
        }
        let allowed = state.run.as_ref().is_none_or(|run| run.destructive_allowed);
        if destructive && !allowed {
            said(self, reason, format!("raise spec.run above {} in Git", state.highest_run));
            if let Some(run) = &mut self.imagined.state.run {
                run.destructive_allowed = true;
            }
            self.granted = false;
            return true;
        }
        let wipes = self.imagined.view.as_ref().is_some_and(|view| view.wipe);
        if installer && !wipes {
            said(self, reason, "say spec.wipe: true in Git, if whatever is on its disks may go".to_owned());
            if let Some(view) = &mut self.imagined.view {
                view.wipe = true;
            }
            self.granted = false;
            return true;
        }
        said(self, reason, format!("formwork why {machine}"));
        self.plan.ends = format!("it stops here: {reason}");
        false
    }

    fn retry(&mut self) {
        let diverged = self.imagined.state.run.as_ref().filter(|run| run.diverged.is_some()).map(|run| run.number);
        self.imagined.happens(Event::Asked { by: String::new(), what: Ask::Retry, reason: String::new() });
        if let (Some(run), Some(current)) = (diverged, self.subject.question.current) {
            let revision = current.revision.to_string();
            self.imagined.happens(Event::RunResumed { run, revision, reason: String::new() });
        }
        // The clock goes past every pause between tries.
        self.imagined.now_unix_ms = self.imagined.now_unix_ms.saturating_add(3_600_000);
    }

    fn grant(&mut self, grant: &Grant) -> bool {
        let Some((stage, task)) = self.imagined.granted_task(grant) else {
            self.plan.ends = "its stage or task is not in the revision of its run".to_owned();
            return false;
        };
        self.write(stage, task, grant);
        self.imagined.does(grant)
    }

    /// Puts a task into the boot that runs.
    fn write(&mut self, stage: &'a Arc<Stage>, task: &'a Arc<Task>, grant: &Grant) {
        if let Some(logs) = self.subject.lacks.logs {
            self.obstacle(Obstacle { stage: None, reason: logs.to_owned(), remedy: LOGS_REMEDY.to_owned() });
        }
        let unknown = self.try_job(stage, task, grant);
        if self.plan.boots.is_empty() {
            let said = self.imagined.state.boot.as_ref().map(|boot| boot.said.environment.clone());
            let environment = said.unwrap_or_else(|| LOCAL.to_owned());
            let reason = "it runs".to_owned();
            self.plan.boots.push(PlannedBoot { environment, running: true, reason, stages: Vec::new() });
        }
        let Some(boot) = self.plan.boots.last_mut() else { return };
        if boot.stages.last().is_none_or(|last| last.name != *stage.name) {
            boot.stages.push(PlannedStage {
                name: stage.name.to_string(),
                destructive: stage.destructive,
                granted: self.granted || !stage.destructive,
                wipes_foreign_disks: grant.wipe,
                tasks: Vec::new(),
            });
        }
        let Some(planned) = boot.stages.last_mut() else { return };
        planned.tasks.push(PlannedTask {
            name: task.name.to_string(),
            timeout_seconds: timeout_seconds(task),
            may_reboot: may_reboot(task),
            unknown,
        });
    }

    /// Makes the job as it would be made; what fails is an obstacle, or cannot be told before.
    fn try_job(&mut self, stage: &Arc<Stage>, task: &Arc<Task>, grant: &Grant) -> Option<String> {
        let (server, values) = self.making?;
        let catalog = self.imagined.pinned()?;
        let view = view_on(catalog, self.subject.question.machine, &self.imagined.state)?;
        let question = RenderQuestion { what: What::Now, values, server, firmware: None, architecture: None };
        let maker = Maker { subject: self.subject, question: &question, catalog, view: &view };
        let run = self.imagined.state.run.as_ref().map_or(0, |run| run.number);
        let (error, hint) = maker.try_job(&self.imagined, run, stage, task, grant)?;
        let later = match &error {
            // What comes before may report facts and publish keys; a masked secret is no real value.
            JobError::Render(_) => true,
            JobError::Missing { param, .. } => {
                let keys = catalog.clusters_of(&view).into_iter().flat_map(|cluster| &cluster.spec.keys);
                keys.filter(|key| key.param).any(|key| key.name == *param)
            }
            JobError::Secret { .. } => false,
        };
        if later {
            return Some(error.to_string());
        }
        self.obstacle(Obstacle {
            stage: Some(stage.name.to_string()),
            reason: error.to_string(),
            remedy: hint.unwrap_or_default(),
        });
        None
    }
}

/// Whether its scripts speak of a reboot: nobody can tell what a script does before it runs.
fn may_reboot(task: &Task) -> bool {
    task.steps.iter().any(|step| match &step.action {
        CompiledAction::Script { text } => text.contains("agent request reboot"),
        CompiledAction::Template { .. } | CompiledAction::File { .. } => false,
    })
}
