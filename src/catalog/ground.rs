//! What the machines of a revision stand on, as digests: of everything a machine's view and its checks are made of, besides its
//! own document. Two revisions in which a machine's document and its basis are the same have the same machine, and would say
//! the same of it.

use super::model::{BootEnv, Stage, Subnet, Template, Workflow};
use super::references::References;
use super::schemas::Schemas;
use super::tasks::takes_in_others;
use super::{ClusterProfile, Named, Param, Profile};
use crate::content::kinds::MachineSpec;
use crate::content::{Document, Kind, Loaded, Object};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A digest of what something is made of.
pub(super) type Basis = [u8; 32];

/// What a machine may carry in its list of profiles.
const CARRIED: [Kind; 2] = [Kind::Profile, Kind::ClusterProfile];

/// The parts of a revision that machines refer to.
pub(super) struct Parts<'a> {
    pub(super) loaded: &'a Loaded,
    pub(super) references: &'a References,
    pub(super) params: &'a Named<Arc<Param>>,
    pub(super) profiles: &'a Named<Arc<Profile>>,
    pub(super) cluster_profiles: &'a Named<Arc<ClusterProfile>>,
    pub(super) templates: &'a Named<Template>,
    pub(super) boot_envs: &'a Named<Arc<BootEnv>>,
    pub(super) stages: &'a Named<(Arc<Stage>, bool)>,
    pub(super) workflows: &'a Named<Arc<Workflow>>,
    pub(super) whole_workflows: &'a HashSet<Arc<str>>,
    pub(super) subnets: &'a [Subnet],
    pub(super) subnets_sound: bool,
    pub(super) schemas: &'a Schemas,
}

/// Digests of them.
pub(super) struct Ground {
    /// Of all of it: where it is the same, every machine's basis is.
    pub(super) all: Basis,
    /// Of what every machine depends on: params and their schemas, packs' defaults, global profiles, what could not be read.
    common: Basis,
    subnets: Basis,
    carried: HashMap<(Kind, Arc<str>), Basis>,
    workflows: HashMap<Arc<str>, Basis>,
}

impl Ground {
    pub(super) fn new(parts: &Parts<'_>) -> Self {
        let mut carried = HashMap::new();
        for (name, profile) in parts.profiles {
            carried.insert((Kind::Profile, Arc::clone(name)), of_document(name, &profile.document));
        }
        for (name, cluster) in parts.cluster_profiles {
            carried.insert((Kind::ClusterProfile, Arc::clone(name)), of_document(name, &cluster.document));
        }
        let all_templates = of_templates(parts.templates);
        let boot_envs: HashMap<&str, Basis> =
            parts.boot_envs.values().map(|env| (&*env.name, of_boot_env(env, parts, &all_templates))).collect();
        let workflows: HashMap<Arc<str>, Basis> = parts
            .workflows
            .values()
            .map(|workflow| (Arc::clone(&workflow.name), of_workflow(workflow, parts, &boot_envs, &carried)))
            .collect();
        let mut subnets = Made::new();
        subnets.word(&[u8::from(parts.subnets_sound)]);
        parts.subnets.iter().for_each(|subnet| subnets.document(&subnet.name, &subnet.document));
        let subnets = subnets.end();
        let common = common(parts, &carried);

        let mut all = Made::new();
        all.word(&common);
        all.word(&subnets);
        for name in parts.profiles.keys() {
            all.word(carried.get(&(Kind::Profile, Arc::clone(name))).map_or(&[][..], |basis| basis));
        }
        for name in parts.cluster_profiles.keys() {
            all.word(carried.get(&(Kind::ClusterProfile, Arc::clone(name))).map_or(&[][..], |basis| basis));
        }
        for name in parts.workflows.keys() {
            all.word(workflows.get(name).map_or(&[][..], |basis| basis));
        }
        Self { all: all.end(), common, subnets, carried, workflows }
    }

    /// What a declared machine stands on. `None`: something that it names is not there, or not sound.
    pub(super) fn basis(&self, machine: &Object<MachineSpec>, references: &References) -> Option<Basis> {
        let spec = &machine.spec;
        let mut made = Made::new();
        made.word(&self.common);
        for written in &spec.profiles {
            let (kind, name) = references.sound(&CARRIED, None, written)?;
            made.word(self.carried.get(&(kind, name))?);
        }
        made.word(b"workflow");
        if let Some(written) = &spec.workflow {
            let (_, name) = references.sound(&[Kind::Workflow], None, written)?;
            made.word(self.workflows.get(&name)?);
        }
        if spec.address.is_some() {
            made.word(&self.subnets);
        }
        Some(made.end())
    }
}

fn common(parts: &Parts<'_>, carried: &HashMap<(Kind, Arc<str>), Basis>) -> Basis {
    let loaded = parts.loaded;
    let mut made = Made::new();
    match &loaded.site {
        Some(site) => {
            made.word(site.name.as_bytes());
            for written in &site.spec.global {
                let basis =
                    parts.references.sound(&[Kind::Profile], None, written).and_then(|found| carried.get(&found));
                made.word(basis.map_or(&[][..], |basis| basis));
            }
        }
        None => made.word(b"no site"),
    }
    made.word(b"packs");
    loaded.packs.iter().for_each(|pack| made.document(&pack.name, &pack.object.document));
    made.word(b"broken");
    let mut broken: Vec<_> = loaded.broken.iter().collect();
    broken.sort_unstable();
    for (kind, name) in broken {
        made.word(kind.as_str().as_bytes());
        made.word(name.as_bytes());
    }
    let mut broken: Vec<_> = loaded.broken_packs.iter().collect();
    broken.sort_unstable();
    broken.into_iter().for_each(|name| made.word(name.as_bytes()));
    made.word(b"params");
    parts.params.iter().for_each(|(name, param)| made.document(name, &param.document));
    made.word(b"used");
    parts.schemas.names().into_iter().for_each(|name| made.word(name.as_bytes()));
    made.end()
}

fn of_document(name: &str, document: &Document) -> Basis {
    let mut made = Made::new();
    made.document(name, document);
    made.end()
}

fn of_templates(templates: &Named<Template>) -> Basis {
    let mut made = Made::new();
    for (name, template) in templates {
        made.word(name.as_bytes());
        made.word(template.text.as_bytes());
    }
    made.end()
}

fn of_boot_env(env: &BootEnv, parts: &Parts<'_>, all_templates: &Basis) -> Basis {
    let mut made = Made::new();
    made.word(env.name.as_bytes());
    if let Some(document) = &env.document {
        made.document(&env.name, document);
    }
    let mut takes_in = env.architectures.values().any(|what| takes_in_others(&what.arguments));
    for (written, name) in &env.templates {
        made.word(written.as_bytes());
        made.word(name.as_bytes());
        let text = parts.templates.get(name).map_or("", |template| &template.text);
        made.word(text.as_bytes());
        takes_in |= takes_in_others(text);
    }
    if takes_in {
        made.word(all_templates);
    }
    made.end()
}

fn of_workflow(
    workflow: &Workflow,
    parts: &Parts<'_>,
    boot_envs: &HashMap<&str, Basis>,
    carried: &HashMap<(Kind, Arc<str>), Basis>,
) -> Basis {
    let mut made = Made::new();
    made.word(workflow.name.as_bytes());
    made.word(&[u8::from(parts.whole_workflows.contains(&workflow.name))]);
    for stage in &workflow.stages {
        made.document(&stage.name, &stage.document);
        made.word(&[
            parts.stages.get(&stage.name).map_or(0, |(_, whole)| u8::from(*whole)),
            u8::from(stage.destructive),
        ]);
        let boot_env = stage.boot_env.as_deref();
        made.word(boot_env.and_then(|name| boot_envs.get(name)).map_or(&[][..], |basis| basis));
        for profile in &stage.profiles {
            let basis = carried.get(&(Kind::Profile, Arc::from(profile.as_str())));
            made.word(basis.map_or(&[][..], |basis| basis));
        }
        made.word(b"tasks");
        for task in &stage.tasks {
            made.word(task.name.as_bytes());
            made.word(task.digest.as_bytes());
        }
    }
    made.end()
}

/// SHA-256 over words, each with its length before it.
struct Made(ring::digest::Context);

impl Made {
    fn new() -> Self {
        Self(ring::digest::Context::new(&ring::digest::SHA256))
    }

    fn word(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    fn document(&mut self, name: &str, document: &Document) {
        self.word(name.as_bytes());
        self.word(document.text().as_bytes());
    }

    fn end(self) -> Basis {
        let mut basis = [0; 32];
        for (byte, made) in basis.iter_mut().zip(self.0.finish().as_ref()) {
            *byte = *made;
        }
        basis
    }
}
