//! All objects of a revision in one list: what a comparison of two revisions, or a list of what there is, goes through.

use super::{Catalog, Declared};
use crate::content::{Document, Kind, Place};
use std::sync::Arc;

/// An object that a revision declares.
#[derive(Debug, Clone, Copy)]
pub struct Listed<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its name in the catalog.
    pub name: &'a str,
    /// What it takes from other files (scripts, templates), as a digest or as text; empty where it stands all in its document.
    pub files: &'a str,
    pub(crate) document: &'a Document,
}

impl Listed<'_> {
    /// Where it stands.
    pub fn place(&self) -> Place {
        self.document.place()
    }

    /// Both say the same, wherever they stand.
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.document.text().trim() == other.document.text().trim() && self.files == other.files
    }
}

impl Catalog {
    /// All objects, by kind and name. [`super::LOCAL`] is declared by nobody and not among them.
    pub fn objects(&self) -> Vec<Listed<'_>> {
        self.objects_beside(None)
    }

    /// The same, without machines that another revision has of the same unchanged file.
    pub(crate) fn objects_beside(&self, other: Option<&Self>) -> Vec<Listed<'_>> {
        let plain = |kind, name, document| Listed { kind, name, files: "", document };
        let mut all = Vec::with_capacity(self.machines.len() + self.tasks.len() * 4);
        all.extend(self.site_document.as_ref().map(|document| plain(Kind::Site, self.site.as_str(), document)));
        all.extend(self.packs.iter().map(|pack| plain(Kind::Pack, &pack.name, &pack.document)));
        all.extend(self.subnets.iter().map(|subnet| plain(Kind::Subnet, &subnet.name, &subnet.document)));
        let shared = |machine: &&Declared| {
            let their = other.and_then(|other| other.declared(&machine.view.name));
            their.is_some_and(|their| Arc::ptr_eq(&their.object, &machine.object))
        };
        let machines = self.machines.iter().filter(|machine| !shared(machine));
        all.extend(machines.map(|machine| plain(Kind::Machine, &machine.object.name, &machine.object.document)));
        all.extend(self.enrollments.iter().map(|rule| plain(Kind::Enrollment, &rule.name, &rule.document)));
        all.extend(self.profiles.values().map(|profile| plain(Kind::Profile, &profile.name, &profile.document)));
        all.extend(self.params.values().map(|param| plain(Kind::Param, &param.name, &param.document)));
        let clusters = self.cluster_profiles.values();
        all.extend(clusters.map(|cluster| plain(Kind::ClusterProfile, &cluster.name, &cluster.document)));
        all.extend(self.tasks.values().map(|task| Listed {
            kind: Kind::Task,
            name: &task.name,
            files: &task.digest,
            document: &task.document,
        }));
        all.extend(self.stages.values().map(|stage| plain(Kind::Stage, &stage.name, &stage.document)));
        all.extend(self.workflows.values().map(|workflow| plain(Kind::Workflow, &workflow.name, &workflow.document)));
        let environments = self.boot_envs.values();
        all.extend(environments.filter_map(|it| Some(plain(Kind::BootEnv, &it.name, it.document.as_ref()?))));
        all.extend(self.templates.values().map(|template| Listed {
            kind: Kind::Template,
            name: &template.name,
            files: &template.text,
            document: &template.document,
        }));
        all.sort_by(|a, b| (a.kind, a.name).cmp(&(b.kind, b.name)));
        all
    }
}
