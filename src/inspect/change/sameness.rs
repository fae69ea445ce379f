//! What of two revisions is the same for a machine: its own view, its profiles, its workflow down to the files. Told cheaply,
//! once for each profile and workflow, so that a commit costs by what it changes.

use crate::catalog::{BootEnv, Catalog, MachineView, Stage, Task};
use crate::params::{ClusterKeys, resolve};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Compares the parts of two revisions, each part once.
pub(super) struct Sameness<'a> {
    old: &'a Catalog,
    new: &'a Catalog,
    /// What every machine has: packs' defaults, global profiles, the Params' own defaults.
    everywhere: bool,
    profiles: BTreeMap<&'a str, bool>,
    workflows: BTreeMap<&'a str, Arc<[String]>>,
}

impl<'a> Sameness<'a> {
    pub(super) fn of(old: &'a Catalog, new: &'a Catalog) -> Self {
        let mut all = Self { old, new, everywhere: false, profiles: BTreeMap::new(), workflows: BTreeMap::new() };
        all.everywhere = all.everywhere();
        all
    }

    fn everywhere(&mut self) -> bool {
        let packs = |catalog: &'a Catalog| catalog.packs().iter().map(|pack| (&pack.name, &pack.params));
        let params =
            |catalog: &'a Catalog| catalog.params().map(|param| (&param.name, &param.spec.default, param.spec.secret));
        packs(self.old).eq(packs(self.new))
            && params(self.old).eq(params(self.new))
            && self.old.global() == self.new.global()
            && self.new.global().iter().all(|name| self.profile(name))
    }

    /// The machine is the same on both, with all that it carries and walks: whatever is decided for it on one is decided on the
    /// other.
    pub(super) fn machine(&mut self, old: &MachineView, new: &'a MachineView) -> bool {
        self.everywhere
            && same_view(old, new)
            && new.profiles.iter().all(|name| self.profile(name))
            && new.workflow.as_deref().is_none_or(|workflow| self.workflow(workflow).is_empty())
    }

    /// The same for a machine whose view is not the catalog's own: what a rule took in.
    pub(super) fn enrolled(&mut self, old: &MachineView, new: &MachineView) -> bool {
        let kept = |catalog: &'a Catalog, name: &str| {
            let profile = catalog.profile(name).map(|profile| &*profile.name);
            profile.or_else(|| catalog.cluster_profile(name).map(|cluster| &*cluster.name))
        };
        let workflow = new.workflow.as_deref();
        let known = workflow.and_then(|name| self.new.workflow(name)).map(|workflow| &*workflow.name);
        self.everywhere
            && same_view(old, new)
            && new.profiles.iter().all(|name| kept(self.new, name).is_some_and(|name| self.profile(name)))
            && (workflow.is_none() || known.is_some_and(|name| self.workflow(name).is_empty()))
    }

    /// A profile or cluster profile gives the same.
    fn profile(&mut self, name: &'a str) -> bool {
        if let Some(known) = self.profiles.get(name) {
            return *known;
        }
        let plain = match (self.old.profile(name), self.new.profile(name)) {
            (Some(old), Some(new)) => old.spec.params == new.spec.params,
            (None, None) => true,
            _ => false,
        };
        let cluster = match (self.old.cluster_profile(name), self.new.cluster_profile(name)) {
            (Some(old), Some(new)) => old.spec == new.spec,
            (None, None) => true,
            _ => false,
        };
        self.profiles.insert(name, plain && cluster);
        plain && cluster
    }

    /// What of a workflow differs, in words; nothing: it is the same down to the files.
    pub(super) fn workflow(&mut self, name: &'a str) -> Arc<[String]> {
        if let Some(known) = self.workflows.get(name) {
            return Arc::clone(known);
        }
        let parts: Arc<[String]> = self.parts(name).into();
        self.workflows.insert(name, Arc::clone(&parts));
        parts
    }

    /// The same by a name that is not kept.
    pub(super) fn workflow_of(&mut self, view: &MachineView) -> Arc<[String]> {
        let known = view.workflow.as_deref().and_then(|name| self.new.workflow(name));
        known.map_or_else(|| Arc::from(Vec::new()), |workflow| self.workflow(&workflow.name))
    }

    fn parts(&mut self, name: &'a str) -> Vec<String> {
        let (Some(old), Some(new)) = (self.old.workflow(name), self.new.workflow(name)) else {
            return vec![format!("workflow {name}")];
        };
        if Arc::ptr_eq(old, new) {
            return Vec::new();
        }
        let mut parts = Vec::new();
        let names = |stages: &[Arc<Stage>]| stages.iter().map(|stage| Arc::clone(&stage.name)).collect::<Vec<_>>();
        if names(&old.stages) != names(&new.stages) {
            parts.push(format!("workflow {name}"));
        }
        for stage in &new.stages {
            let Some(before) = old.stages.iter().find(|before| before.name == stage.name) else {
                continue;
            };
            if !self.stage(before, stage) {
                parts.push(format!("stage {}", stage.name));
            }
            for task in &stage.tasks {
                let known = before.tasks.iter().find(|before| before.name == task.name);
                if known.is_some_and(|before| !same_task(before, task)) {
                    parts.push(format!("task {}", task.name));
                }
            }
            if let Some(environment) = stage.boot_env.as_deref() {
                let part = format!("boot environment {environment}");
                if !parts.contains(&part) && !self.boot_env(environment) {
                    parts.push(part);
                }
            }
        }
        parts
    }

    fn stage(&mut self, old: &'a Stage, new: &'a Stage) -> bool {
        let tasks = |stage: &'a Stage| stage.tasks.iter().map(|task| &task.name);
        old.boot_env == new.boot_env
            && old.destructive == new.destructive
            && old.on_failure == new.on_failure
            && old.fresh_boot == new.fresh_boot
            && old.params == new.params
            && old.profiles == new.profiles
            && tasks(old).eq(tasks(new))
            && new.profiles.iter().all(|name| self.profile(name))
    }

    fn boot_env(&self, name: &str) -> bool {
        let (Some(old), Some(new)) = (self.old.boot_env(name), self.new.boot_env(name)) else { return false };
        same_boot_env(old, new)
            && new.templates.iter().all(|(_, name)| {
                let text = |catalog: &'a Catalog| catalog.template(name).map(|template| &template.text);
                text(self.old) == text(self.new)
            })
    }

    /// Params whose value for the machine, outside its stages, is not the same; their names only. In the order of names.
    pub(super) fn values(&self, old: &MachineView, new: &MachineView) -> Vec<String> {
        let none = ClusterKeys::default();
        let (before, after) = (resolve(self.old, old, None, &none), resolve(self.new, new, None, &none));
        let differs = |name: &str| before.get(name).map(|it| &it.value) != after.get(name).map(|it| &it.value);
        let mut names: Vec<String> =
            after.iter().map(|(name, _)| name).filter(|name| differs(name)).map(str::to_owned).collect();
        let gone = before.iter().map(|(name, _)| name).filter(|name| after.get(name).is_none());
        names.extend(gone.map(str::to_owned));
        names.sort_unstable();
        names
    }
}

fn same_boot_env(old: &BootEnv, new: &BootEnv) -> bool {
    old.ends_by == new.ends_by && old.architectures == new.architectures && old.templates == new.templates
}

/// The digest is over all that a task is made of; what its document says beside that decides how it is tried again.
fn same_task(old: &Task, new: &Task) -> bool {
    old.digest == new.digest
        && old.params == new.params
        && old.timeout == new.timeout
        && old.retries == new.retries
        && old.on_interrupt == new.on_interrupt
        && old.exit_codes == new.exit_codes
}

fn same_view(old: &MachineView, new: &MachineView) -> bool {
    fields(old, new).is_empty() && old.params == new.params
}

/// What of the machine's own declaration differs, without its params; paths below `spec`.
pub(super) fn fields(old: &MachineView, new: &MachineView) -> Vec<String> {
    let rule = |view: &MachineView| match &view.source {
        crate::catalog::Source::Git(_) => None,
        crate::catalog::Source::Enrollment { rule } => Some(rule.clone()),
    };
    let differs = [
        ("labels", old.labels != new.labels),
        ("match", (&old.macs, &old.uuid, &old.serial) != (&new.macs, &new.uuid, &new.serial)),
        ("address", old.address != new.address),
        ("profiles", old.profiles != new.profiles),
        ("workflow", old.workflow != new.workflow),
        ("run", old.run != new.run),
        ("protect", old.protect != new.protect),
        ("wipe", old.wipe != new.wipe),
        ("its rule", rule(old) != rule(new)),
    ];
    differs.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name.to_owned()).collect()
}
