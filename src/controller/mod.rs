//! Formwork in Kubernetes: custom resources, made from the types of content, and the controllers that keep them.
//!
//! ```text
//!  content::kinds::MachineSpec ──┐
//!  resources::MachineStatus ─────┼──► structural schema ──► definition ──► `formwork crds`, charts/formwork-crds
//!  columns, names, rules (CEL) ──┘
//!
//!  ContentSource, Secret ──► source_of ──► follower ──► reconciler ──► status_of ──► ContentSource.status, events
//!  resources of content ──► snapshot ──► commit in a repository of its own ──► follower
//!  applied revision, journal ──► wanted ──┬──► diff ──► Machine, ClusterProfile
//!  what a watch shows ────────────────────┘
//! ```
//!
//! The floor of content knows nothing of Kubernetes: what an API server wants to be told otherwise is made here. What is decided
//! is decided by pure functions (`source`, `report`, `mirror::diff`); the tasks around them watch and write. Nobody who serves a machine
//! ever waits for an API server.

mod content;
mod definitions;
mod files;
mod follow;
mod hand;
mod intent;
mod link;
mod mirror;
mod objects;
mod quarrel;
mod report;
mod resources;
mod secret;
mod snapshot;
mod source;
mod structural;

pub use definitions::{Definition, definitions};
pub use link::{Link, LinkError};
pub use resources::{
    ClusterProfileStatus, ContentSourceSpec, ContentSourceStatus, MachineStatus, ResourceCondition, ResourcesSource,
    SecretReference,
};

use crate::fleet::Fleet;
use crate::git::Source;
use crate::git::remote::Sources;
use crate::replicas::Replicas;
use std::path::Path;
use std::sync::Arc;

/// The group of all custom resources.
pub const GROUP: &str = "formwork.dev";
/// Their version.
pub const VERSION: &str = "v1alpha1";
/// Who writes, in `metadata.managedFields`.
const FIELD_MANAGER: &str = "formwork";
/// The label that says whose objects of the mirror are, and what it says.
const MANAGED_LABEL: &str = "app.kubernetes.io/managed-by";
const MANAGED_BY: &str = "formwork";

/// What was followed last in this state directory, also where it was taken away since: how to read what was mirrored of it.
/// Nothing, where nothing was.
pub fn followed_last(state: &Path) -> Source {
    let folder = files::Folder::open(state).ok();
    let settings = folder.and_then(|folder| source::settings_of(&folder.mirrored()?, &folder.content()).ok());
    Source::Sources(Sources(settings.into_iter().collect()))
}

/// Whether something was followed: then what serves goes on where no API server answers.
pub fn has_followed(state: &Path) -> bool {
    matches!(followed_last(state), Source::Sources(sources) if !sources.0.is_empty())
}

/// Keeps the resources, and follows what they say: of several servers on one store each follows, and the one that leads writes.
/// Never ends.
///
/// # Errors
/// The state directory cannot be used.
pub async fn run(
    link: Link,
    state: &Path,
    fleet: Arc<Fleet>,
    replicas: Replicas,
    metrics: crate::metrics::Mirror,
) -> std::io::Result<()> {
    let folder = files::Folder::open(state)?;
    let (tells, told) = tokio::sync::watch::channel(hand::Told::default());
    let mirror = mirror::Mirror::new(link.clone(), Arc::clone(&fleet), replicas.clone(), told, metrics);
    tokio::join!(follow::Follow::new(link, folder, fleet, replicas, tells).run(), mirror.run());
    Ok(())
}

/// Now, as objects hold it.
fn now() -> String {
    let now = jiff::Timestamp::now();
    jiff::Timestamp::from_second(now.as_second()).unwrap_or(now).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_serves_goes_on_after_a_restart_also_where_its_source_was_taken_away() {
        let state = tempfile::tempdir().unwrap();
        assert!(!has_followed(state.path()));
        let folder = files::Folder::open(state.path()).unwrap();
        let spec = serde_json::from_value(serde_json::json!({"url": "https://h/x", "path": "lab"})).unwrap();
        folder.remember(&spec).unwrap();
        let followed = || followed_last(state.path()).to_string();
        let before = followed();
        assert!(before.contains("folder lab"), "{before}");
        folder.forget().unwrap();
        assert!(has_followed(state.path()));
        assert_eq!(followed(), before, "it is read as it was");
    }
}
