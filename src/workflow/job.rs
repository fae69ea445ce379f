//! From a grant to the job: params resolved, steps rendered. Pure, so that what is shown of a job is what an agent gets.

use super::Grant;
use crate::catalog::{Catalog, MachineView, RenderError, Scope, ServerInfo, Stage, Task, render_steps};
use crate::journal::MachineState;
use crate::params::{self, ClusterKeys, Layered};
use crate::wire::{DestructiveGrant, JobGrant, MachineInfo};
use serde_json::{Map, Value};

/// A task's timeout where it gives none.
pub const TIMEOUT_DEFAULT_SECONDS: u64 = 3600;

/// Why a job could not be made though it was due.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum JobError {
    /// A param that the task requires has no value.
    #[error("task {task} needs param {param}, and nothing gives it a value")]
    Missing {
        /// The task.
        task: String,
        /// The param.
        param: String,
    },
    /// A secret is not there, or cannot be used.
    #[error("param {param} is the secret {secret}, which is {}", unusable(fault.as_deref()))]
    Secret {
        /// The param.
        param: String,
        /// The secret's name.
        secret: String,
        /// Why it cannot be used; none: it is not there.
        fault: Option<String>,
    },
    /// A template or a condition does not render.
    #[error(transparent)]
    Render(#[from] RenderError),
}

fn unusable(fault: Option<&str>) -> String {
    match fault {
        None => "not in the server's secrets folder".to_owned(),
        Some(fault) => format!("in the server's secrets folder and cannot be used: {fault}"),
    }
}

/// What a job is made of.
#[derive(Clone, Copy)]
pub struct Ingredients<'a> {
    /// The site's name.
    pub site: &'a str,
    /// The revision of the run.
    pub catalog: &'a Catalog,
    /// The machine on it.
    pub view: &'a MachineView,
    /// Its state.
    pub state: &'a MachineState,
    /// The run's number.
    pub run: u64,
    /// The stage.
    pub stage: &'a Stage,
    /// The task.
    pub task: &'a Task,
    /// What was decided.
    pub grant: &'a Grant,
    /// Where machines find the server.
    pub server: &'a ServerInfo,
    /// What its clusters supply as params.
    pub clusters: &'a ClusterKeys,
}

/// Makes the job. `open` gives the value that a script gets for a resolved param: what the secrets folder holds where the value
/// names a secret, and something to show in place of secrets where people look on.
///
/// # Errors
/// [`JobError`], and those of `open`.
pub fn job(
    id: String,
    ingredients: &Ingredients<'_>,
    mut open: impl FnMut(&str, &Layered) -> Result<Value, JobError>,
) -> Result<JobGrant, JobError> {
    let Ingredients { site, catalog, view, state, run, stage, task, grant, server, clusters } = *ingredients;
    let resolved = params::resolve(catalog, view, Some(stage), clusters);
    let mut values = Map::new();
    for param in &task.params {
        match resolved.get(&param.name) {
            Some(layered) => {
                values.insert(param.name.clone(), open(&param.name, layered)?);
            }
            None if param.required => {
                return Err(JobError::Missing { task: task.name.to_string(), param: param.name.clone() });
            }
            None => {}
        }
    }
    let machine = machine_info(view, state, &format!("{}/files", server.http));
    let scope = Scope { params: &values, facts: &state.facts, machine: &machine, server, boot: None };
    let steps = render_steps(catalog, task, &scope)?;
    let destructive = grant.destructive.then(|| DestructiveGrant {
        site: site.to_owned(),
        machine: view.name.clone(),
        run,
        begun_unix_ms: state.run.as_ref().map(|run| run.started_unix_ms),
        wipe: grant.wipe,
    });
    Ok(JobGrant {
        job: id,
        run,
        stage: stage.name.to_string(),
        task: task.name.to_string(),
        attempt: grant.attempt,
        timeout_seconds: timeout_seconds(task),
        exit_codes: task.exit_codes,
        machine,
        params: values,
        facts: Map::clone(&state.facts),
        steps,
        clusters: Vec::new(),
        destructive,
    })
}

/// After so many seconds a task ends, with all its processes.
pub fn timeout_seconds(task: &Task) -> u64 {
    task.timeout.map_or(TIMEOUT_DEFAULT_SECONDS, |span| span.0.as_secs().max(1))
}

/// The name of the secret that a value names: `{secret: NAME}`.
pub fn secret_name(value: &Value) -> Option<&str> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.get("secret")?.as_str()
}

/// Who a machine is, for scripts and templates. `files` is the server's base URL for files of the image folder.
pub fn machine_info(view: &MachineView, state: &MachineState, files: &str) -> MachineInfo {
    let said = state.boot.as_ref().and_then(|boot| boot.said.address.clone());
    MachineInfo {
        name: view.name.to_string(),
        address: view.address.map(|address| address.to_string()).or(said),
        macs: if view.macs.is_empty() { state.macs.iter().cloned().collect() } else { view.macs.clone() },
        labels: view.labels.clone(),
        files: files.to_owned(),
    }
}
