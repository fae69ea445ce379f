//! Installers: a stage in an environment that ends by a callback has one task, the installer itself. No agent is in it to
//! run another, and nobody of ours sees what it does to the disks.

use super::Named;
use super::model::{BootEnv, Stage, Task, Template};
use crate::content::kinds::EndsBy;
use crate::content::{Report, Step};
use crate::wire::{ExitCodes, OnInterrupt};
use std::sync::Arc;

/// The name of the one task of such a stage.
pub const INSTALLER: &str = "installer";

impl Task {
    /// It is an installer: nothing is granted for it, it ends by its callback.
    pub fn is_installer(&self) -> bool {
        // Any other task has a step.
        self.steps.is_empty()
    }
}

impl Stage {
    /// Its environment is an installer's.
    pub fn is_installer(&self) -> bool {
        self.tasks.iter().any(|task| task.is_installer())
    }
}

/// Gives a stage in an installer's environment its one task; it changes disks, whatever it says.
pub(super) fn complete(
    stage: &mut Stage,
    boot_envs: &Named<Arc<BootEnv>>,
    templates: &Named<Template>,
    report: &mut Report,
) {
    let boot_env = stage.boot_env.as_ref().and_then(|name| boot_envs.get(name));
    let Some(boot_env) = boot_env.filter(|boot_env| boot_env.ends_by == EndsBy::Callback) else { return };
    if !stage.tasks.is_empty() {
        report
            .error(
                "installer-tasks",
                stage.document.key(&[Step::Key("spec"), Step::Key("tasks")]),
                format!("`{}` ends by a callback: no agent is in it to run tasks", boot_env.name),
            )
            .hint("leave the tasks out here; a later stage, such as one with `bootEnv: local`, has an agent");
    }
    stage.destructive = true;
    stage.tasks = vec![Arc::new(Task {
        name: Arc::from(INSTALLER),
        description: format!("The installer of {}.", boot_env.name),
        params: Vec::new(),
        timeout: None,
        retries: None,
        on_interrupt: OnInterrupt::Rerun,
        exit_codes: ExitCodes::Formwork,
        steps: Vec::new(),
        digest: digest(boot_env, templates),
        document: stage.document.clone(),
    })];
}

/// SHA-256 over what it boots and the files it is served.
fn digest(boot_env: &BootEnv, templates: &Named<Template>) -> Arc<str> {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let mut add = |bytes: &[u8]| {
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(bytes);
    };
    add(&serde_json::to_vec(&boot_env.architectures).unwrap_or_default());
    for (written, name) in &boot_env.templates {
        add(written.as_bytes());
        add(templates.get(name).map_or(&[], |template| template.text.as_bytes()));
    }
    super::tasks::hexadecimal(context.finish().as_ref())
}
