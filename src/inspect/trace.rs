//! From a machine back to the files that make it what it is: its declaration, its profiles, its workflow down to the tasks, or one
//! field or param. Pure: who wrote those lines is added by who can read the history.

use super::{Commit, place_at};
use crate::catalog::{Catalog, MachineView, Source};
use crate::content::names::did_you_mean;
use crate::content::{Document, Place};
use crate::params::{ClusterKeys, resolve};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What the names of files begin with that are built into the program.
const BUILT_IN: &str = "builtin:";

/// Whether a place is in a file that is built into the program.
pub fn is_built_in(place: &Place) -> bool {
    place.file.starts_with(BUILT_IN)
}

/// Why something cannot be traced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{machine} has neither a field nor a param {field}")]
pub struct TraceError {
    /// The machine.
    pub machine: String,
    /// What was asked for.
    pub field: String,
    /// The nearest name.
    pub hint: Option<String>,
}

/// Where a machine comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// The machine.
    pub machine: String,
    /// The revision that was read.
    pub revision: String,
    /// What makes it, in the order in which it is found.
    pub origins: Vec<Origin>,
}

/// One thing that makes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Origin {
    /// What: `machine node-1`, `profile lab`, `spec.run`, `param install-disk, by profile lab`.
    pub what: String,
    /// Where it stands.
    pub place: Place,
    /// One line is meant, not the whole file.
    pub line: bool,
    /// It is built into the program of this version, and from no repository.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub built_in: Option<String>,
    /// The repository that it is from; none: the site's own, or it is built in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<OfRepository>,
    /// The commit that last changed that line or file, where the history is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
}

/// A repository that content is from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OfRepository {
    /// How people reach it; never with credentials.
    pub url: String,
    /// The file in it.
    pub file: String,
    /// The commit of it that is used.
    pub revision: String,
}

impl Origin {
    /// Something that stands there.
    pub fn new(what: String, place: Place, line: bool) -> Self {
        let built_in = is_built_in(&place).then(|| env!("CARGO_PKG_VERSION").to_owned());
        Self { what, place, line, built_in, repository: None, commit: None }
    }
}

/// What makes the machine, or one of its fields or params.
///
/// # Errors
/// There is no such field or param.
pub fn trace(catalog: &Catalog, view: &MachineView, field: Option<&str>) -> Result<Trace, TraceError> {
    let origins = match field {
        None => whole(catalog, view),
        Some(field) => vec![one(catalog, view, field)?],
    };
    Ok(Trace { machine: view.name.clone(), revision: catalog.revision.to_string(), origins })
}

fn whole(catalog: &Catalog, view: &MachineView) -> Vec<Origin> {
    let mut origins: Vec<Origin> = Vec::new();
    let mut add = |what: String, place: Place| {
        let origin = Origin::new(what, place, false);
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    };
    match &view.source {
        Source::Git(place) => add(format!("machine {}", view.name), place.clone()),
        Source::Enrollment { rule } => add(format!("enrollment rule {rule}"), view.document.place()),
    }
    let profiles = view.profiles.iter().chain(catalog.global());
    for name in profiles {
        if let Some(profile) = catalog.profile(name) {
            add(format!("profile {name}"), profile.document.place());
        }
        if let Some(cluster) = catalog.cluster_profile(name) {
            add(format!("cluster profile {name}"), cluster.document.place());
        }
    }
    let Some(workflow) = view.workflow.as_deref().and_then(|name| catalog.workflow(name)) else { return origins };
    add(format!("workflow {}", workflow.name), workflow.place.clone());
    for stage in &workflow.stages {
        add(format!("stage {}", stage.name), stage.document.place());
        let environment = stage.boot_env.as_deref().and_then(|name| catalog.boot_env(name));
        if let Some((environment, document)) = environment.and_then(|it| Some((it, it.document.as_ref()?))) {
            add(format!("boot environment {}", environment.name), document.place());
        }
        for task in stage.tasks.iter().filter(|task| !task.is_installer()) {
            add(format!("task {}", task.name), task.document.place());
        }
    }
    origins
}

fn one(catalog: &Catalog, view: &MachineView, field: &str) -> Result<Origin, TraceError> {
    let resolved = resolve(catalog, view, None, &ClusterKeys::default());
    let param = field.strip_prefix("spec.params.").or_else(|| field.strip_prefix("params.")).unwrap_or(field);
    if let Some(layered) = resolved.get(param)
        && let Some(place) = layered.place()
    {
        return Ok(Origin::new(format!("param {param}, by {}", layered.layer), place, true));
    }
    let known = fields(&view.document);
    let short = field.strip_prefix("spec.").unwrap_or(field);
    let Some(path) = known.iter().find(|known| *known == field || known.strip_prefix("spec.") == Some(short)) else {
        let names = known.iter().map(|known| known.strip_prefix("spec.").unwrap_or(known));
        let hint = did_you_mean(field, names.chain(resolved.iter().map(|(name, _)| name)));
        return Err(TraceError { machine: view.name.clone(), field: field.to_owned(), hint });
    };
    let steps: Vec<&str> = path.split('.').collect();
    Ok(Origin::new(path.clone(), place_at(&view.document, &steps), true))
}

/// The fields that a document writes, as paths: two below `spec` and `metadata`.
fn fields(document: &Document) -> Vec<String> {
    let value: Value = serde_yaml::from_str(document.text()).unwrap_or(Value::Null);
    let mut all = Vec::new();
    for part in ["metadata", "spec"] {
        for (key, value) in value.get(part).and_then(Value::as_object).into_iter().flatten() {
            all.push(format!("{part}.{key}"));
            let inside = value.as_object().filter(|_| key != "params").into_iter().flatten();
            all.extend(
                inside.filter(|(inner, _)| !inner.contains('.')).map(|(inner, _)| format!("{part}.{key}.{inner}")),
            );
        }
    }
    all
}
