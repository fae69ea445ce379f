//! From a decision to grant a job to the job itself: params resolved, steps rendered, written down before it leaves.

use super::decide::Decision;
use super::entry::Entry;
use super::machines::Fleet;
use super::tickets::asks_approval;
use crate::catalog::{Catalog, MachineView, ServerInfo};
use crate::identity;
use crate::journal::Event;
use crate::params::ClusterKeys;
use crate::store::{Operation, Space, StoreError};
use crate::wire::JobGrant;
use crate::workflow::{self, Grant, Ingredients, JobError, secret_name};
use std::sync::Arc;

/// Why a job could not be made though it was due. The machine waits with this reason.
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The catalog lost what the decision was made on.
    #[error("stage or task is not in revision {0}")]
    Gone(String),
    /// The machine's clusters ask for more than a ticket.
    #[error("its first exchange waits for `formwork approve {0}`: a cluster profile asks for assurance A2")]
    Approval(String),
    /// It cannot be made.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The system gives no random numbers.
    #[error("a job's id cannot be made: {0}")]
    Id(String),
    /// It cannot be kept.
    #[error("the job cannot be written down: {0}")]
    Encode(String),
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
        let id = identity::new_id().map_err(|error| GrantError::Id(error.to_string()))?;
        let ingredients = Ingredients {
            site: &self.site,
            catalog,
            view: &view,
            state: &decision.state,
            run: run.number,
            stage,
            task,
            grant,
            server,
            clusters: &self.cluster_keys(catalog, &view),
        };
        let job = workflow::job(id, &ingredients, |param, layered| {
            // Encrypted in Git, or in the secrets folder; anything else is the value itself.
            layered.unseal().map_or_else(|| self.open_secret(param, &layered.value), Ok)
        })?;
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
        let bytes = serde_json::to_vec(&job).map_err(|error| GrantError::Encode(error.to_string()))?;
        let keep = Operation::Put { space: Space::Grant, key: entry.name.clone(), value: Some(bytes) };
        self.commit_for(entry, decision.state.head, vec![event], vec![keep]).await?;
        Ok(job)
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
    ///
    /// # Errors
    /// [`JobError::Secret`]: it is not there, or cannot be used.
    pub fn open_secret(&self, param: &str, value: &serde_json::Value) -> Result<serde_json::Value, JobError> {
        let Some(name) = secret_name(value) else { return Ok(value.clone()) };
        let found = self.secrets.get(name);
        found.map(serde_json::Value::String).map_err(|fault| JobError::Secret {
            param: param.to_owned(),
            secret: name.to_owned(),
            fault,
        })
    }
}

fn at<T>(items: &[Arc<T>], index: u32) -> Option<&Arc<T>> {
    items.get(usize::try_from(index).ok()?)
}
