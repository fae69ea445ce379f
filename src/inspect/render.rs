//! What a machine would get: its boot script and its jobs, made by the functions that serve them.

use super::rendered::{RenderQuestion, Rendered, RenderedBoot, RenderedFile, RenderedJob, Values, What, WhatError};
use super::{Imagined, Subject, view_on};
use crate::boot::client::Firmware;
use crate::boot::desk::{ScriptAction, ScriptAnswer};
use crate::boot::kernel::{Kernel, hold};
use crate::boot::script;
use crate::catalog::{Catalog, LOCAL, MachineView, Stage, Task, is_secret_reference};
use crate::content::kinds::Architecture;
use crate::content::names::did_you_mean;
use crate::params::Layered;
use crate::wire::JobGrant;
use crate::workflow::{Action, Grant, Ingredients, JobError, Next, job, position, secret_name, timeout_seconds};
use serde_json::{Map, Value};
use std::net::IpAddr;
use std::sync::Arc;

/// What stands for the offer's id, which is made when a script is served.
const OFFER: &str = "OFFER";

/// What a machine would get. Pure.
///
/// # Errors
/// [`WhatError`]. What cannot be rendered is no error of this: it is said in its place.
pub fn render(subject: &Subject<'_>, question: &RenderQuestion<'_>) -> Result<Rendered, WhatError> {
    let machine = subject.question.machine;
    let mut imagined = Imagined::of(&subject.question);
    imagined.settle(subject.question.running);
    let state = imagined.state.clone();
    let catalog = imagined.pinned().or(subject.question.current);
    let catalog = catalog.ok_or_else(|| WhatError::NoMachine(machine.to_owned()))?;
    let view = view_on(catalog, machine, &state).ok_or_else(|| WhatError::NoMachine(machine.to_owned()))?;
    let maker = Maker { subject, question, catalog, view: &view };
    let mut rendered = Rendered {
        machine: machine.to_owned(),
        revision: catalog.revision.to_string(),
        run: state.run.as_ref().filter(|run| run.is_open()).map(|run| run.number),
        secrets_shown: matches!(question.values, Values::Open(_)),
        boots: Vec::new(),
        jobs: Vec::new(),
    };
    if question.what == What::Now {
        maker.now(imagined, &mut rendered);
        return Ok(rendered);
    }
    let open = state.run.as_ref().filter(|run| run.is_open());
    let workflow = open.map(|run| run.workflow.as_str()).or(view.workflow.as_deref());
    let workflow = workflow.and_then(|name| catalog.workflow(name));
    let workflow = workflow.ok_or_else(|| WhatError::NoWorkflow(machine.to_owned()))?;
    let number = rendered.run.unwrap_or(view.run);
    let mut environment: Option<&str> = None;
    let named = |name: &str, wanted: &str| name == wanted || name.rsplit('.').next() == Some(wanted);
    for (stage_index, stage) in (0..).zip(&workflow.stages) {
        let booted = environment;
        environment = stage.boot_env.as_deref().or(environment);
        let (whole, wanted) = match &question.what {
            What::Stage(name) => (named(&stage.name, name), None),
            What::Task(name) => (false, Some(name)),
            What::All | What::Now => (true, None),
        };
        let again = matches!(question.what, What::All) && booted == environment && !stage.fresh_boot;
        if whole && !again {
            let reason = format!("stage {}", stage.name);
            let action = Action::Boot { environment: environment.unwrap_or(LOCAL).to_owned(), reason };
            rendered.boots.push(maker.boot(&imagined, &Next { action, ask_again_ms: None }));
        }
        for (task_index, task) in (0..).zip(&stage.tasks) {
            if whole || wanted.is_some_and(|wanted| named(&task.name, wanted)) {
                let wipe = stage.destructive && view.wipe;
                let grant = Grant { stage_index, task_index, attempt: 1, destructive: stage.destructive, wipe };
                rendered.jobs.push(maker.job(&imagined, number, stage, task, environment, &grant));
            }
        }
    }
    if rendered.boots.is_empty() && rendered.jobs.is_empty() {
        let stages = workflow.stages.iter();
        return Err(match &question.what {
            What::Task(name) => WhatError::Unknown {
                kind: "task",
                name: name.clone(),
                hint: near(name, stages.flat_map(|stage| &stage.tasks).map(|task| &*task.name)),
            },
            What::Stage(name) => WhatError::Unknown {
                kind: "stage",
                name: name.clone(),
                hint: near(name, stages.map(|stage| &*stage.name)),
            },
            What::All | What::Now => WhatError::NoWorkflow(machine.to_owned()),
        });
    }
    Ok(rendered)
}

/// The files of an environment.
fn files(kernel: &Kernel<'_>) -> Vec<RenderedFile> {
    let names = kernel.boot_env().map(|boot_env| boot_env.templates.as_slice()).unwrap_or_default();
    let made = names.iter().map(|(name, _)| (name.clone(), kernel.file(name, "TOKEN")));
    made.map(|(name, made)| match made {
        Ok(text) => RenderedFile { name, text: Some(text), error: None },
        Err(error) => RenderedFile { name, text: None, error: Some(error) },
    })
    .collect()
}

/// The nearest of names that may be written without their pack.
pub(super) fn near<'a>(written: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    did_you_mean(
        written,
        names.map(|name| if written.contains('.') { name } else { name.rsplit('.').next().unwrap_or(name) }),
    )
}

/// Makes the pieces.
pub(super) struct Maker<'s, 'a, 'q> {
    pub(super) subject: &'s Subject<'a>,
    pub(super) question: &'s RenderQuestion<'q>,
    pub(super) catalog: &'s Catalog,
    pub(super) view: &'s MachineView,
}

impl Maker<'_, '_, '_> {
    /// The boot that its firmware would get now, and the job that its agent would get after it.
    fn now(&self, mut imagined: Imagined<'_>, rendered: &mut Rendered) {
        let (_, boot) = imagined.clone().firmware();
        rendered.boots.push(self.boot(&imagined, &boot));
        let open = imagined.state.run.as_ref().and_then(|run| run.job.clone());
        let grant = if let Some(open) = open {
            let wipe = open.destructive && self.view.wipe;
            let (stage_index, task_index) = (open.stage_index, open.task_index);
            Some(Grant { stage_index, task_index, attempt: open.attempt, destructive: open.destructive, wipe })
        } else {
            let mut next = imagined.settle(self.subject.question.running).1;
            if !matches!(next.action, Action::Grant(_))
                && let Action::Boot { environment, .. } = boot.action
            {
                imagined.boots(&environment);
                next = imagined.agent().1;
            }
            match next.action {
                Action::Grant(grant) => Some(grant),
                _ => None,
            }
        };
        let Some(grant) = grant else { return };
        let run = imagined.state.run.as_ref().map_or(self.view.run, |run| run.number);
        let Some((stage, task)) = imagined.granted_task(&grant) else { return };
        let workflow = imagined.state.run.as_ref().and_then(|run| self.catalog.workflow(&run.workflow));
        let environment = imagined.state.run.as_ref().and_then(|run| position(workflow?, run)?.environment);
        rendered.jobs.push(self.job(&imagined, run, stage, task, environment, &grant));
    }

    /// The value that takes a param's place.
    fn value(&self, param: &str, layered: &Layered) -> Result<Value, JobError> {
        match self.question.values {
            Values::Open(open) => layered.unseal().map_or_else(|| open(param, &layered.value), Ok),
            Values::Masked => Ok(match secret_name(&layered.value) {
                Some(name) => Value::String(format!("(secret {name})")),
                None if layered.secret => Value::String("(hidden)".to_owned()),
                None => layered.value.clone(),
            }),
        }
    }

    fn boot(&self, imagined: &Imagined<'_>, next: &Next) -> RenderedBoot {
        let state = &imagined.state;
        let said = state.boot.as_ref().map(|boot| &boot.said);
        let firmware = self.question.firmware.unwrap_or_else(|| match said.map(|said| said.firmware.as_str()) {
            Some("bios") => Firmware::Bios,
            _ => Firmware::Uefi,
        });
        let seen = match said.map(|said| said.architecture.as_str()) {
            Some("aarch64") => Architecture::Aarch64,
            _ => Architecture::X86_64,
        };
        let architecture = self.question.architecture.unwrap_or(seen);
        let mut boot = RenderedBoot {
            environment: None,
            reason: String::new(),
            firmware: firmware.as_str().to_owned(),
            architecture: architecture.as_str().to_owned(),
            kernel: None,
            initrds: Vec::new(),
            arguments: None,
            script: None,
            files: Vec::new(),
            error: None,
        };
        let action = match &next.action {
            Action::Boot { environment, reason } => {
                boot.environment = Some(environment.clone());
                boot.reason.clone_from(reason);
                if environment == LOCAL {
                    Ok(ScriptAction::Local)
                } else {
                    let mac = state.offer.as_ref().map(|offer| offer.mac.as_str());
                    let address = state.offer.as_ref().and_then(|offer| offer.address).map(IpAddr::V4);
                    let kernel = Kernel {
                        catalog: self.catalog,
                        view: self.view,
                        state,
                        environment,
                        offer: OFFER,
                        mac: mac.or(self.view.macs.first().map(String::as_str)),
                        address,
                        server: self.question.server,
                    };
                    boot.files = files(&kernel);
                    kernel.action(architecture)
                }
            }
            Action::Hold { reason } => {
                boot.reason.clone_from(reason);
                Ok(hold(reason.clone(), next.ask_again_ms))
            }
            _ => Err("nothing can be said before its next word with the server".to_owned()),
        };
        match action {
            Ok(action) => self.script(&mut boot, action, firmware),
            Err(error) => boot.error = Some(error),
        }
        boot
    }

    fn script(&self, boot: &mut RenderedBoot, action: ScriptAction, firmware: Firmware) {
        if let ScriptAction::Boot { kernel, initrds, arguments, .. } = &action {
            boot.kernel = Some(kernel.clone());
            boot.initrds.clone_from(initrds);
            boot.arguments = Some(arguments.clone());
        }
        let answer = ScriptAnswer {
            machine: Some(self.subject.question.machine.to_owned()),
            revision: self.subject.question.current.map(|catalog| catalog.revision.to_string()),
            waits_for: boot.environment.as_ref().map(|_| boot.reason.clone()),
            action,
        };
        match script::render(&answer, firmware) {
            Ok(script) => boot.script = Some(script),
            Err(error) => boot.error = Some(error.to_string()),
        }
    }

    fn job(
        &self,
        imagined: &Imagined<'_>,
        run: u64,
        stage: &Arc<Stage>,
        task: &Arc<Task>,
        environment: Option<&str>,
        grant: &Grant,
    ) -> RenderedJob {
        let mut masked = Vec::new();
        let made = self.make(imagined, run, stage, task, grant, &mut masked);
        let mut rendered = RenderedJob {
            stage: stage.name.to_string(),
            task: task.name.to_string(),
            environment: environment.map(str::to_owned),
            timeout_seconds: timeout_seconds(task),
            destructive: stage.destructive,
            params: Map::new(),
            masked,
            steps: Vec::new(),
            left_out: Vec::new(),
            error: None,
            hint: None,
        };
        match made {
            Ok(made) => {
                let there = |name: &str| made.steps.iter().any(|step| step.name == name);
                let names = task.steps.iter().map(|step| step.name.clone());
                rendered.left_out = names.filter(|name| !there(name)).collect();
                rendered.params = made.params;
                rendered.steps = made.steps;
            }
            Err(error) => {
                rendered.hint = self.hint(&error, imagined, stage, &rendered.masked);
                rendered.error = Some(error.to_string());
            }
        }
        rendered
    }

    /// Why a job could not be made, and what to do about it.
    pub(super) fn try_job(
        &self,
        imagined: &Imagined<'_>,
        run: u64,
        stage: &Arc<Stage>,
        task: &Arc<Task>,
        grant: &Grant,
    ) -> Option<(JobError, Option<String>)> {
        let mut masked = Vec::new();
        let error = self.make(imagined, run, stage, task, grant, &mut masked).err()?;
        let hint = self.hint(&error, imagined, stage, &masked);
        Some((error, hint))
    }

    /// The job itself; params whose values are masked are named.
    fn make(
        &self,
        imagined: &Imagined<'_>,
        run: u64,
        stage: &Stage,
        task: &Task,
        grant: &Grant,
        masked: &mut Vec<String>,
    ) -> Result<JobGrant, JobError> {
        let ingredients = Ingredients {
            site: &self.question.server.site,
            catalog: self.catalog,
            view: self.view,
            state: &imagined.state,
            run,
            stage,
            task,
            grant,
            server: self.question.server,
            clusters: self.subject.clusters,
        };
        job("JOB".to_owned(), &ingredients, |param, layered| {
            let secret = layered.secret || is_secret_reference(&layered.value);
            if secret && matches!(self.question.values, Values::Masked) {
                masked.push(param.to_owned());
            }
            self.value(param, layered)
        })
    }

    /// What to do about a job that cannot be made.
    fn hint(&self, error: &JobError, imagined: &Imagined<'_>, stage: &Stage, masked: &[String]) -> Option<String> {
        match error {
            JobError::Missing { param, .. } => {
                let clusters = self.catalog.clusters_of(self.view);
                let key =
                    clusters.iter().find(|cluster| cluster.spec.keys.iter().any(|key| key.param && key.name == *param));
                Some(match key {
                    Some(cluster) => format!("cluster {} supplies it once a member has published it", cluster.name),
                    None => {
                        let machine = self.subject.question.machine;
                        format!(
                            "give it one; `formwork why {machine} {param} --stage {}` says who is asked",
                            stage.name
                        )
                    }
                })
            }
            // What is wrong with one that is there says what to do.
            JobError::Secret { fault: Some(_), .. } => None,
            JobError::Secret { secret, .. } => {
                Some(format!("put it into secrets/{secret} of the state directory, mode 0600"))
            }
            JobError::Render(_) if imagined.state.facts.is_empty() => {
                Some("it has reported no facts yet; what needs them can only be rendered after that".to_owned())
            }
            JobError::Render(_) if !masked.is_empty() => {
                Some("a masked secret may be what does not fit; --show-secrets renders with the real ones".to_owned())
            }
            JobError::Render(_) => None,
        }
    }
}
