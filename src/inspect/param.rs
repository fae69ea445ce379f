//! Who gives a param to a machine: everyone who is asked, in order, and which one wins.

use super::Subject;
use crate::catalog::{Catalog, MachineView, Stage, is_secret_reference};
use crate::content::Place;
use crate::content::names::did_you_mean;
use crate::params::{Giver, givers, resolve};
use crate::workflow::position;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::sync::Arc;

/// Why a param cannot be explained.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    /// No revision, or the machine is not on it.
    #[error("{0} is not on the revision that serves")]
    NoMachine(String),
    /// Nobody declares or gives it.
    #[error("there is no param {name}: no Param declares it, and nothing gives it to this machine")]
    Unknown {
        /// The name.
        name: String,
        /// The nearest name.
        hint: Option<String>,
    },
    /// Its workflow has no such stage.
    #[error("the machine's workflow has no stage {name}")]
    NoStage {
        /// The name.
        name: String,
        /// The nearest name.
        hint: Option<String>,
    },
}

/// One who is asked for a param.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Asked {
    /// Who: `machine`, `profile NAME`, …
    pub layer: String,
    /// It gives a value.
    pub gives: bool,
    /// Its value is the one that holds.
    pub wins: bool,
    /// The value; left out where it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The secret that the value names; what it holds is in the server's secrets folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// Where it stands, from the site's root; none for what a cluster's document holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The commit that wrote that line, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
}

/// A commit, as the one that wrote a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Commit {
    /// Its id.
    pub id: String,
    /// The first line of its message.
    pub summary: String,
    /// Whose work it is.
    pub author: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// History is known back to this commit only: it wrote the line, or one before it did.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub or_before: bool,
}

/// What the param would be in a stage, where that differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Elsewhere {
    /// The stage.
    pub stage: String,
    /// Who gives it there.
    pub layer: String,
    /// The value there; left out where it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// Where that stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
}

/// Why a param is what it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ParamWhy {
    /// The machine.
    pub machine: String,
    /// The param.
    pub param: String,
    /// The revision that was read: that of the open run, else the newest.
    pub revision: String,
    /// The stage it is read for; none: outside of any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Its value is never shown.
    pub secret: bool,
    /// The value that holds; left out where it is secret or there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// The Param's description.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where the Param is declared; none: nobody declares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_at: Option<Place>,
    /// Everyone who is asked, strongest first.
    pub asked: Vec<Asked>,
    /// Stages of the machine's workflow in which something else holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub elsewhere: Vec<Elsewhere>,
    /// Tasks of its workflow that use it.
    pub used_by: Vec<String>,
}

/// Why a param is what it is for a machine, in the stage it is in or in the one that is named.
///
/// # Errors
/// [`ParamError`].
pub fn param_why(subject: &Subject<'_>, name: &str, stage: Option<&str>) -> Result<ParamWhy, ParamError> {
    let machine = subject.question.machine;
    let (catalog, view) = subject.deciding().ok_or_else(|| ParamError::NoMachine(machine.to_owned()))?;
    let view: &MachineView = &view;
    let stages = stages_of(subject, catalog, view);
    let stage = match stage {
        Some(wanted) => Some(find(&stages, wanted)?),
        None => stage_now(subject, catalog),
    };
    let all = givers(catalog, view, stage.map(|stage| &**stage), subject.clusters, name);
    let declared = catalog.param(name);
    // What a task uses, or a cluster will supply, is known though nobody gives it yet.
    let used =
        stages.iter().flat_map(|stage| &stage.tasks).any(|task| task.params.iter().any(|param| param.name == name));
    let keys = catalog.clusters_of(view).into_iter().flat_map(|cluster| &cluster.spec.keys);
    let known = declared.is_some() || used || keys.filter(|key| key.param).any(|key| key.name == name);
    if !known && all.iter().all(|giver| giver.value.is_none()) {
        let in_stage = |stage: &&Arc<Stage>| resolve(catalog, view, Some(stage), subject.clusters).get(name).is_some();
        if !stages.iter().any(in_stage) {
            let resolved = resolve(catalog, view, stage.map(|stage| &**stage), subject.clusters);
            let known = resolved.iter().map(|(name, _)| name).chain(catalog.params().map(|param| &*param.name));
            return Err(ParamError::Unknown { name: name.to_owned(), hint: did_you_mean(name, known) });
        }
    }
    let secret = is_secret(subject, catalog, view, stage, name, &all);
    let value = all.iter().find_map(|giver| giver.value.clone());
    let mut won = false;
    let asked = all
        .into_iter()
        .map(|giver| {
            let gives = giver.value.is_some();
            let wins = gives && !won;
            won |= gives;
            asked(giver, wins, secret)
        })
        .collect();
    let used = stages.iter().flat_map(|stage| &stage.tasks);
    let mut used_by: Vec<String> = used
        .filter(|task| task.params.iter().any(|param| param.name == name))
        .map(|task| task.name.to_string())
        .collect();
    used_by.dedup();
    Ok(ParamWhy {
        machine: machine.to_owned(),
        param: name.to_owned(),
        revision: catalog.revision.to_string(),
        stage: stage.map(|stage| stage.name.to_string()),
        secret,
        elsewhere: elsewhere(subject, catalog, view, &stages, name, value.as_ref(), secret),
        value: value.filter(|_| !secret),
        description: declared.map(|param| param.spec.description.clone()).unwrap_or_default(),
        declared_at: declared.map(|param| param.document.place()),
        asked,
        used_by,
    })
}

fn asked(giver: Giver, wins: bool, secret: bool) -> Asked {
    let secret_name = giver.value.as_ref().filter(|value| is_secret_reference(value)).and_then(|value| {
        // The name of a secret is no secret.
        value.get("secret").and_then(Value::as_str).map(str::to_owned)
    });
    Asked {
        layer: giver.layer.to_string(),
        gives: giver.value.is_some(),
        wins,
        value: giver.value.filter(|_| !secret && secret_name.is_none()),
        secret_name,
        place: giver.place,
        commit: None,
    }
}

/// Secret as the resolver says, in any stage; or any of its givers names a secret: then a weaker one may be the old secret.
fn is_secret(
    subject: &Subject<'_>,
    catalog: &Catalog,
    view: &MachineView,
    stage: Option<&Arc<Stage>>,
    name: &str,
    all: &[Giver],
) -> bool {
    let resolved = resolve(catalog, view, stage.map(|stage| &**stage), subject.clusters);
    let declared = catalog.param(name).is_some_and(|param| param.spec.secret);
    let key = catalog.clusters_of(view).into_iter().flat_map(|cluster| &cluster.spec.keys);
    declared
        || resolved.get(name).is_some_and(|layered| layered.secret)
        || all.iter().filter_map(|giver| giver.value.as_ref()).any(is_secret_reference)
        || key.filter(|key| key.name == name).any(|key| key.secret)
}

fn elsewhere(
    subject: &Subject<'_>,
    catalog: &Catalog,
    view: &MachineView,
    stages: &[&Arc<Stage>],
    name: &str,
    here: Option<&Value>,
    secret: bool,
) -> Vec<Elsewhere> {
    let mut found = Vec::new();
    for stage in stages {
        let all = givers(catalog, view, Some(stage), subject.clusters, name);
        let Some(giver) = all.into_iter().find(|giver| giver.value.is_some()) else { continue };
        if giver.value.as_ref() != here {
            let hidden = secret || giver.value.as_ref().is_some_and(is_secret_reference);
            found.push(Elsewhere {
                stage: stage.name.to_string(),
                layer: giver.layer.to_string(),
                value: giver.value.filter(|_| !hidden),
                place: giver.place,
            });
        }
    }
    found
}

/// The stages of the workflow that it walks, or would.
fn stages_of<'a>(subject: &Subject<'_>, catalog: &'a Catalog, view: &MachineView) -> Vec<&'a Arc<Stage>> {
    let open = subject.question.state.run.as_ref().filter(|run| run.is_open());
    let workflow = open.map(|run| run.workflow.as_str()).or(view.workflow.as_deref());
    let workflow = workflow.and_then(|name| catalog.workflow(name));
    workflow.map(|workflow| workflow.stages.iter().collect()).unwrap_or_default()
}

fn find<'a>(stages: &[&'a Arc<Stage>], wanted: &str) -> Result<&'a Arc<Stage>, ParamError> {
    let short = |stage: &&&Arc<Stage>| stage.name.rsplit('.').next() == Some(wanted);
    let exact = stages.iter().find(|stage| *stage.name == *wanted);
    exact.or_else(|| stages.iter().find(short)).copied().ok_or_else(|| ParamError::NoStage {
        name: wanted.to_owned(),
        hint: super::render::near(wanted, stages.iter().map(|stage| &*stage.name)),
    })
}

/// The stage that the open run is in.
fn stage_now<'a>(subject: &Subject<'a>, catalog: &'a Catalog) -> Option<&'a Arc<Stage>> {
    let run = subject.question.state.run.as_ref().filter(|run| run.is_open())?;
    Some(position(catalog.workflow(&run.workflow)?, run)?.stage)
}
