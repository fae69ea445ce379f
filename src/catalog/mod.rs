//! A revision compiled: references, indexes, templates checked. Immutable.
//!
//! [`compile`] makes a [`Catalog`] of what `content` loaded, or says everything that is wrong with it. [`from_tree`] does both
//! steps at once and so has all findings of both. Nothing here knows what a machine does next or who may ask.

mod boot_envs;
mod boot_info;
mod check;
mod circles;
mod compile;
mod ground;
mod includes;
mod installer;
mod machines;
mod memory;
mod model;
mod networks;
mod objects;
mod packs;
mod references;
mod render;
mod schemas;
mod stages;
mod tame;
mod tasks;
mod tell;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use boot_info::BootInfo;
pub use compile::{Compiler, compile, from_tree, from_tree_until, from_tree_with};
pub use installer::INSTALLER;
pub use memory::Work;
pub use model::{
    BootEnv, ClusterProfile, CompiledAction, CompiledStep, Enrollment, LOCAL, MachineView, OnFailure, PackDefaults,
    Param, Profile, Seen, Selection, Source, Stage, Subnet, Task, Template, Workflow,
};
pub use objects::Listed;
pub use packs::builtin_packs;
pub(crate) use render::underscored;
pub use render::{RenderError, Scope, ServerInfo, render_arguments, render_boot_template, render_steps};
pub use schemas::is_secret_reference;

use crate::content::kinds::{LeaveGuard, MachineSpec, WipeGuard};
use crate::content::{Document, Findings, Object, Place, Report, Step, junk};
use crate::wire::HardwareIdentity;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// By name.
type Named<T> = BTreeMap<Arc<str>, T>;

/// One revision, compiled. Cheap to share as `Arc<Catalog>`; nothing in it ever changes.
#[derive(Debug)]
pub struct Catalog {
    /// The revision (a commit's id).
    pub revision: Arc<str>,
    /// The site's name.
    pub site: String,
    /// What is not wrong, but worth a look.
    pub warnings: Findings,
    /// Sorted by name.
    machines: Vec<Declared>,
    selectors: Selectors,
    /// Sorted by priority from the highest down, then by name.
    enrollments: Vec<Enrollment>,
    subnets: Vec<Subnet>,
    profiles: Named<Arc<Profile>>,
    params: Named<Arc<Param>>,
    cluster_profiles: Named<Arc<ClusterProfile>>,
    tasks: Named<Arc<Task>>,
    stages: Named<Arc<Stage>>,
    workflows: Named<Arc<Workflow>>,
    boot_envs: Named<Arc<BootEnv>>,
    templates: Named<Template>,
    packs: Vec<PackDefaults>,
    /// Profiles that every machine has, by their names in the catalog.
    global: Vec<String>,
    /// The guard against wiping many machines by one commit, as `site.yaml` says it.
    wipe_guard: WipeGuard,
    /// The guard against many machines leaving by one commit, as `site.yaml` says it.
    leave_guard: LeaveGuard,
    /// `site.yaml`, where it was sound.
    site_document: Option<Document>,
    environment: minijinja::Environment<'static>,
}

/// A machine declared in Git.
#[derive(Debug)]
struct Declared {
    view: Arc<MachineView>,
    object: Arc<Object<MachineSpec>>,
    /// What it stands on; none where that is not sound.
    basis: Option<ground::Basis>,
}

impl Declared {
    fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.object, &other.object) && self.basis.is_some() && self.basis == other.basis
    }
}

/// From what a box shows to the machine's position.
#[derive(Debug, Default)]
struct Selectors {
    macs: HashMap<String, usize>,
    uuids: HashMap<String, usize>,
    serials: HashMap<String, usize>,
}

impl Catalog {
    /// Machines declared in Git, by name.
    pub fn machines(&self) -> impl Iterator<Item = &MachineView> {
        self.machines.iter().map(|machine| &*machine.view)
    }

    /// The declared machine of that name.
    pub fn machine(&self, name: &str) -> Option<&MachineView> {
        self.declared(name).map(|machine| &*machine.view)
    }

    fn declared(&self, name: &str) -> Option<&Declared> {
        let position = self.machines.binary_search_by(|machine| machine.view.name.as_str().cmp(name)).ok()?;
        self.machines.get(position)
    }

    /// Whether a declared machine is the same in another revision: its document, and all that it refers to there, with
    /// params, workflow, tasks and templates. `false` where that cannot be told.
    pub fn has_same(&self, other: &Self, name: &str) -> bool {
        let (Some(own), Some(their)) = (self.declared(name), other.declared(name)) else { return false };
        own.is_same(their)
    }

    /// Which declared machine a box is, by what it shows. Vendors' placeholders select nothing.
    pub fn select(&self, hardware: &HardwareIdentity) -> Selection<'_> {
        let macs = hardware.macs.iter().filter_map(|mac| self.selectors.macs.get(&junk::normal_mac(mac)?));
        let uuid = hardware.uuid.as_deref().and_then(junk::normal_uuid).filter(|uuid| !junk::is_junk_uuid(uuid));
        let uuid = uuid.and_then(|uuid| self.selectors.uuids.get(&uuid));
        let serial = hardware.serial.as_deref().and_then(junk::normal_serial);
        let serial = serial.and_then(|serial| self.selectors.serials.get(&serial));
        let mut found: Vec<usize> = macs.chain(uuid).chain(serial).copied().collect();
        found.sort_unstable();
        found.dedup();
        let mut found: Vec<&MachineView> =
            found.into_iter().filter_map(|position| Some(&*self.machines.get(position)?.view)).collect();
        match (found.pop(), found.is_empty()) {
            (None, _) => Selection::None,
            (Some(machine), true) => Selection::One(machine),
            (Some(machine), false) => {
                found.push(machine);
                Selection::Conflict(found)
            }
        }
    }

    /// The rule that takes in a box that is no declared machine, and the name it gives it. A rule whose name cannot be made of
    /// what the box shows, or would be a declared machine's, does not apply.
    pub fn enrollment_for(&self, seen: &Seen) -> Option<(&Enrollment, String)> {
        let seen = Seen {
            mac: junk::normal_mac(&seen.mac)?,
            uuid: seen.uuid.as_deref().and_then(junk::normal_uuid).filter(|uuid| !junk::is_junk_uuid(uuid)),
            serial: seen.serial.as_deref().and_then(junk::normal_serial),
            ..seen.clone()
        };
        self.enrollments.iter().filter(|rule| rule.takes(&seen)).find_map(|rule| {
            let name = render::render_name(&self.environment, &rule.name, &rule.spec.name, &seen).ok()?;
            let free = crate::content::names::is_subdomain(&name) && self.machine(&name).is_none();
            free.then_some((rule, name))
        })
    }

    /// Whether a box that is no machine so far may turn out to be one once it says what it has not said: a declared machine is
    /// selected by that, or a rule that takes the box in makes its name of that. A DHCP request has no serial number, and what
    /// asks with one is the loader.
    pub fn may_know_later(&self, seen: &Seen) -> bool {
        let Some(mac) = junk::normal_mac(&seen.mac) else { return false };
        let seen = Seen { mac, ..seen.clone() };
        let unsaid = |name: &str| match name {
            "serial" => seen.serial.is_none(),
            "uuid" => seen.uuid.is_none(),
            _ => false,
        };
        let named_by_it = |rule: &Enrollment| {
            let template = self.environment.template_from_str(&rule.spec.name);
            let variables = template.map(|template| template.undeclared_variables(false)).unwrap_or_default();
            variables.iter().any(|name| unsaid(name))
        };
        unsaid("serial") && !self.selectors.serials.is_empty()
            || unsaid("uuid") && !self.selectors.uuids.is_empty()
            || self.enrollments.iter().any(|rule| rule.takes(&seen) && named_by_it(rule))
    }

    /// All enrollment rules in the order they are tried.
    pub fn enrollments(&self) -> impl Iterator<Item = &Enrollment> {
        self.enrollments.iter()
    }

    /// A machine that a rule took in, as this revision sees it. `None` when the rule is gone.
    pub fn enrolled_view(
        &self,
        name: &str,
        rule: &str,
        mac: &str,
        uuid: Option<&str>,
        serial: Option<&str>,
    ) -> Option<MachineView> {
        let rule = self.enrollments.iter().find(|known| *known.name == *rule)?;
        Some(rule.view(name, mac, uuid, serial))
    }

    /// The workflow of that (qualified) name.
    pub fn workflow(&self, name: &str) -> Option<&Arc<Workflow>> {
        self.workflows.get(name)
    }

    /// All workflows, by name.
    pub fn workflows(&self) -> impl Iterator<Item = &Arc<Workflow>> {
        self.workflows.values()
    }

    /// The stage of that name.
    pub fn stage(&self, name: &str) -> Option<&Arc<Stage>> {
        self.stages.get(name)
    }

    /// The task of that name.
    pub fn task(&self, name: &str) -> Option<&Arc<Task>> {
        self.tasks.get(name)
    }

    /// The boot environment of that name; [`LOCAL`] is always there.
    pub fn boot_env(&self, name: &str) -> Option<&Arc<BootEnv>> {
        self.boot_envs.get(name)
    }

    /// All boot environments, by name.
    pub fn boot_envs(&self) -> impl Iterator<Item = &Arc<BootEnv>> {
        self.boot_envs.values()
    }

    /// The profile of that name.
    pub fn profile(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name).map(AsRef::as_ref)
    }

    /// The declaration of a param.
    pub fn param(&self, name: &str) -> Option<&Param> {
        self.params.get(name).map(AsRef::as_ref)
    }

    /// All declared params, by name.
    pub fn params(&self) -> impl Iterator<Item = &Param> {
        self.params.values().map(AsRef::as_ref)
    }

    /// The template of that name.
    pub fn template(&self, name: &str) -> Option<&Template> {
        self.templates.get(name)
    }

    /// The cluster profile of that name.
    pub fn cluster_profile(&self, name: &str) -> Option<&ClusterProfile> {
        self.cluster_profiles.get(name).map(AsRef::as_ref)
    }

    /// All cluster profiles, by name.
    pub fn cluster_profiles(&self) -> impl Iterator<Item = &ClusterProfile> {
        self.cluster_profiles.values().map(AsRef::as_ref)
    }

    /// The clusters that a machine is a member of, in the order it carries them.
    pub fn clusters_of(&self, view: &MachineView) -> Vec<&ClusterProfile> {
        view.profiles.iter().filter_map(|name| self.cluster_profile(name)).collect()
    }

    /// All subnets, by name.
    pub fn subnets(&self) -> impl Iterator<Item = &Subnet> {
        self.subnets.iter()
    }

    /// Machines that are declared here or in another revision and not the same in both, by name; and how many are declared in
    /// either.
    pub fn differing<'a>(&'a self, other: &'a Self) -> (Vec<&'a str>, usize) {
        let (mut own, mut their) = (self.machines.iter().peekable(), other.machines.iter().peekable());
        let (mut names, mut count) = (Vec::new(), 0);
        loop {
            let order = match (own.peek(), their.peek()) {
                (None, None) => return (names, count),
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(own), Some(their)) if Arc::ptr_eq(&own.object, &their.object) => std::cmp::Ordering::Equal,
                (Some(own), Some(their)) => own.view.name.cmp(&their.view.name),
            };
            count += 1;
            let here = if order.is_le() { own.next() } else { None };
            let there = if order.is_ge() { their.next() } else { None };
            match (here, there) {
                (Some(here), Some(there)) if here.is_same(there) => {}
                (Some(declared), _) | (None, Some(declared)) => names.push(declared.view.name.as_str()),
                (None, None) => {}
            }
        }
    }

    /// The subnet of that name.
    pub fn subnet(&self, name: &str) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| *subnet.name == *name)
    }

    /// Profiles that every machine has.
    pub fn global(&self) -> &[String] {
        &self.global
    }

    /// How many machines one commit may wipe without a word, by `site.yaml`.
    pub const fn wipe_guard(&self) -> WipeGuard {
        self.wipe_guard
    }

    /// How many machines may leave by one commit without a word, by `site.yaml`.
    pub const fn leave_guard(&self) -> LeaveGuard {
        self.leave_guard
    }

    /// Where the site's name stands.
    pub(crate) fn site_place(&self) -> Option<Place> {
        let path = [Step::Key("metadata"), Step::Key("name")];
        self.site_document.as_ref().map(|document| Report::default().place(document.value(&path)))
    }

    /// Packs in use, in the site's order, with the params they give.
    pub fn packs(&self) -> &[PackDefaults] {
        &self.packs
    }

    pub(crate) fn environment(&self) -> &minijinja::Environment<'static> {
        &self.environment
    }
}
