//! From a decision to grant a job to the job itself: params resolved, steps rendered, written down before it leaves.

use super::decide::Decision;
use super::machines::{Entry, Fleet};
use super::tickets::asks_approval;
use crate::catalog::{Catalog, MachineView, Scope, ServerInfo, Stage, Task};
use crate::identity;
use crate::journal::{Event, MachineState};
use crate::params::{self, ClusterKeys};
use crate::store::{Operation, Space, StoreError};
use crate::wire::{DestructiveGrant, JobGrant, MachineInfo};
use crate::workflow::{self, Grant};
use std::sync::Arc;

/// A task's timeout where it gives none.
const TIMEOUT_DEFAULT_SECONDS: u64 = 3600;

/// Why a job could not be made though it was due. The machine waits with this reason.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The catalog lost what the decision was made on.
    #[error("stage or task is not in revision {0}")]
    Gone(String),
    /// A param that the task requires has no value.
    #[error("task {task} needs param {param}, and nothing gives it a value")]
    Missing {
        /// The task.
        task: String,
        /// The param.
        param: String,
    },
    /// A secret is not there.
    #[error("param {param} is the secret {secret}, which is not in the server's secrets folder")]
    Secret {
        /// The param.
        param: String,
        /// The secret's name.
        secret: String,
    },
    /// The machine's clusters ask for more than a ticket.
    #[error("its first exchange waits for `formwork approve {0}`: a cluster profile asks for assurance A2")]
    Approval(String),
    /// A template or a condition does not render.
    #[error("{0}")]
    Render(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Fleet {
    /// Makes the job, writes it down, and gives it. The caller holds `entry.turn` and adds fresh cluster tokens.
    pub async fn grant(
        &self,
        entry: &Entry,
        decision: &Decision,
        grant: &Grant,
        boot_id: &str,
        server: &ServerInfo,
    ) -> Result<JobGrant, GrantError> {
        let run = decision.state.run.as_ref().ok_or_else(|| GrantError::Gone("none".into()))?;
        let gone = || GrantError::Gone(run.revision.clone());
        let catalog = decision.pinned.as_deref().ok_or_else(gone)?;
        let view = Fleet::view_on(catalog, &entry.name, &decision.state).ok_or_else(gone)?;
        // A machine that was there before more was asked: what its job would carry is not for it yet.
        let asked = decision.current.as_deref().zip(decision.view.as_ref());
        if !decision.state.vouched && asked.is_some_and(|(current, view)| asks_approval(current, view)) {
            return Err(GrantError::Approval(entry.name.clone()));
        }
        let workflow = catalog.workflow(&run.workflow).ok_or_else(gone)?;
        let stage = at(&workflow.stages, grant.stage_index).ok_or_else(gone)?;
        let task = at(&stage.tasks, grant.task_index).ok_or_else(gone)?;
        let job = self.render(entry, catalog, &view, &decision.state, run.number, stage, task, grant, server)?;
        let event = Event::JobGranted {
            job: job.job.clone(),
            run: run.number,
            stage_index: grant.stage_index,
            stage: stage.name.to_string(),
            task_index: grant.task_index,
            task: task.name.to_string(),
            digest: workflow::made_of(catalog, &view, stage, task),
            attempt: grant.attempt,
            boot_id: boot_id.to_owned(),
            destructive: grant.destructive,
            timeout_seconds: job.timeout_seconds,
        };
        let bytes = serde_json::to_vec(&job).map_err(|error| GrantError::Render(error.to_string()))?;
        let keep = Operation::Put { space: Space::Grant, key: entry.name.clone(), value: Some(bytes) };
        self.commit_for(entry, decision.state.head, vec![event], vec![keep]).await?;
        Ok(job)
    }

    #[expect(clippy::too_many_arguments, reason = "one place puts a job together from all that makes it")]
    fn render(
        &self,
        entry: &Entry,
        catalog: &Catalog,
        view: &MachineView,
        state: &MachineState,
        run: u64,
        stage: &Stage,
        task: &Task,
        grant: &Grant,
        server: &ServerInfo,
    ) -> Result<JobGrant, GrantError> {
        let resolved = params::resolve(catalog, view, Some(stage), &self.cluster_keys(catalog, view));
        let mut values = serde_json::Map::new();
        for param in &task.params {
            match resolved.get(&param.name) {
                Some(layered) => {
                    values.insert(param.name.clone(), self.open_secret(&param.name, &layered.value)?);
                }
                None if param.required => {
                    return Err(GrantError::Missing { task: task.name.to_string(), param: param.name.clone() });
                }
                None => {}
            }
        }
        let machine = machine_info(view, state, &format!("{}/files", server.http));
        let scope = Scope { params: &values, facts: &state.facts, machine: &machine, server, boot: None };
        let steps = crate::catalog::render_steps(catalog, task, &scope)
            .map_err(|error| GrantError::Render(error.to_string()))?;
        let destructive = grant.destructive.then(|| DestructiveGrant {
            site: self.site.clone(),
            machine: entry.name.clone(),
            run,
            begun_unix_ms: state.run.as_ref().map(|run| run.started_unix_ms),
            wipe: grant.wipe,
        });
        Ok(JobGrant {
            job: identity::new_id().map_err(|error| GrantError::Render(error.to_string()))?,
            run,
            stage: stage.name.to_string(),
            task: task.name.to_string(),
            attempt: grant.attempt,
            timeout_seconds: task.timeout.map_or(TIMEOUT_DEFAULT_SECONDS, |span| span.0.as_secs().max(1)),
            exit_codes: task.exit_codes,
            machine,
            params: values,
            facts: state.facts.clone(),
            steps,
            clusters: Vec::new(),
            destructive,
        })
    }

    /// The keys of the machine's clusters that Git declares as params, as they stand now.
    pub fn cluster_keys(&self, catalog: &Catalog, view: &MachineView) -> ClusterKeys {
        let mut keys = ClusterKeys::default();
        for profile in catalog.clusters_of(view) {
            let Ok(Some(document)) = self.store.cluster(&profile.name) else { continue };
            for key in profile.spec.keys.iter().filter(|key| key.param) {
                // A document of an epoch before `spec.run` is over.
                let entry = document.keys.get(key.name.as_str()).filter(|_| document.epoch >= profile.spec.run);
                if let Some(entry) = entry {
                    let value = serde_json::Value::clone(&entry.value.0);
                    keys.entry(profile.name.to_string()).or_default().insert(key.name.clone(), value);
                }
            }
        }
        keys
    }

    /// `{secret: NAME}` becomes what the server's secrets folder holds under that name; anything else stays.
    fn open_secret(&self, param: &str, value: &serde_json::Value) -> Result<serde_json::Value, GrantError> {
        let Some(name) = secret_name(value) else { return Ok(value.clone()) };
        self.secrets
            .get(name)
            .map(serde_json::Value::String)
            .ok_or_else(|| GrantError::Secret { param: param.to_owned(), secret: name.to_owned() })
    }
}

fn secret_name(value: &serde_json::Value) -> Option<&str> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    object.get("secret")?.as_str()
}

/// Who a machine is, for scripts and templates.
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

fn at<T>(items: &[Arc<T>], index: u32) -> Option<&Arc<T>> {
    items.get(usize::try_from(index).ok()?)
}
