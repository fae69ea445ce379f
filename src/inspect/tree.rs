//! A site as a tree: its packs, its workflows with their stages and tasks, and which machines walk them. Pure.

use crate::catalog::{Catalog, MachineView, Workflow};
use crate::content::Place;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SiteTree {
    /// Its name.
    pub site: String,
    /// The revision.
    pub revision: String,
    /// Packs in use, in the site's order.
    pub packs: Vec<String>,
    /// Workflows that somebody walks or a rule names, then the rest, by name.
    pub workflows: Vec<WorkflowNode>,
    /// Machines that walk none, by name.
    pub without_workflow: Vec<String>,
    /// Machines that are another until their next word, and what those are called: each box stands once, under its declared name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub formers: BTreeMap<String, String>,
}

/// A workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkflowNode {
    /// Its name in the catalog.
    pub name: String,
    /// Where it is declared.
    pub place: Place,
    /// Its stages in order.
    pub stages: Vec<StageNode>,
    /// Machines that walk it, by name.
    pub machines: Vec<String>,
    /// Enrollment rules whose machines walk it, by name.
    pub rules: Vec<String>,
}

/// A stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StageNode {
    /// Its name in the catalog.
    pub name: String,
    /// Where it is declared.
    pub place: Place,
    /// The environment it runs in; none: whichever runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_env: Option<String>,
    /// It changes disks.
    pub destructive: bool,
    /// Its tasks in order.
    pub tasks: Vec<String>,
}

/// The tree of a revision, with these machines beside the declared ones (what rules took in). `formers`: what declared machines are
/// until their next word.
pub fn tree<'a>(
    catalog: &'a Catalog,
    enrolled: impl IntoIterator<Item = &'a MachineView>,
    formers: BTreeMap<String, String>,
) -> SiteTree {
    let former: BTreeSet<&str> = formers.values().map(String::as_str).collect();
    let enrolled = enrolled.into_iter().filter(|view| !former.contains(view.name.as_str()));
    let mut walkers: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut without_workflow = Vec::new();
    for view in catalog.machines().chain(enrolled) {
        match view.workflow.as_deref() {
            Some(workflow) => walkers.entry(workflow).or_default().push(view.name.clone()),
            None => without_workflow.push(view.name.clone()),
        }
    }
    without_workflow.sort_unstable();
    let mut workflows: Vec<WorkflowNode> = catalog
        .workflows()
        .map(|workflow| {
            let mut machines = walkers.remove(&*workflow.name).unwrap_or_default();
            machines.sort_unstable();
            let rules = catalog.enrollments().filter(|rule| rule.workflow.as_deref() == Some(&workflow.name));
            let mut rules: Vec<String> = rules.map(|rule| rule.name.to_string()).collect();
            rules.sort_unstable();
            node(workflow, machines, rules)
        })
        .collect();
    workflows.sort_by_key(|node| node.machines.is_empty() && node.rules.is_empty());
    SiteTree {
        site: catalog.site.clone(),
        revision: catalog.revision.to_string(),
        packs: catalog.packs().iter().map(|pack| pack.name.to_string()).collect(),
        workflows,
        without_workflow,
        formers,
    }
}

fn node(workflow: &Workflow, machines: Vec<String>, rules: Vec<String>) -> WorkflowNode {
    let stages = workflow.stages.iter().map(|stage| StageNode {
        name: stage.name.to_string(),
        place: stage.document.place(),
        boot_env: stage.boot_env.as_deref().map(str::to_owned),
        destructive: stage.destructive || stage.is_installer(),
        tasks: stage.tasks.iter().map(|task| task.name.to_string()).collect(),
    });
    let (name, place) = (workflow.name.to_string(), workflow.place.clone());
    WorkflowNode { name, place, stages: stages.collect(), machines, rules }
}
