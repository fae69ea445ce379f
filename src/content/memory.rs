//! What was read of files before: a file that is the same as it was is neither parsed nor decoded again.
//!
//! Only files without a finding are remembered. A file with one is read again each time, so that what is said of it is said in
//! the same words, at the same moment, as if nothing had ever been remembered. Nothing here outlives its use: kept is what the
//! last good revision and the last attempted one hold, and no more.
//!
//! So too of what stands encrypted in Git: a file that is remembered keeps its decrypted values sealed in memory beside it
//! ([`super::sops`]), and they are wiped with it, at the latest when the next good revision no longer has that file.

use super::kinds;
use super::{File, FileKind, Loaded, Object};
use std::collections::HashMap;
use std::sync::Arc;

/// An object of any kind that stands in a file beside others.
#[derive(Debug, Clone)]
pub(super) enum AnyObject {
    Subnet(Arc<Object<kinds::SubnetSpec>>),
    Machine(Arc<Object<kinds::MachineSpec>>),
    Enrollment(Arc<Object<kinds::EnrollmentSpec>>),
    Profile(Arc<Object<kinds::ProfileSpec>>),
    Param(Arc<Object<kinds::ParamSpec>>),
    ClusterProfile(Arc<Object<kinds::ClusterProfileSpec>>),
    Task(Arc<Object<kinds::TaskSpec>>),
    Stage(Arc<Object<kinds::StageSpec>>),
    Workflow(Arc<Object<kinds::WorkflowSpec>>),
    BootEnv(Arc<Object<kinds::BootEnvSpec>>),
    Template(Arc<Object<kinds::TemplateSpec>>),
}

impl Loaded {
    /// Puts an object where its kind belongs.
    pub(super) fn take(&mut self, object: AnyObject) {
        match object {
            AnyObject::Subnet(object) => self.subnets.push(object),
            AnyObject::Machine(object) => self.machines.push(object),
            AnyObject::Enrollment(object) => self.enrollments.push(object),
            AnyObject::Profile(object) => self.profiles.push(object),
            AnyObject::Param(object) => self.params.push(object),
            AnyObject::ClusterProfile(object) => self.cluster_profiles.push(object),
            AnyObject::Task(object) => self.tasks.push(object),
            AnyObject::Stage(object) => self.stages.push(object),
            AnyObject::Workflow(object) => self.workflows.push(object),
            AnyObject::BootEnv(object) => self.boot_envs.push(object),
            AnyObject::Template(object) => self.templates.push(object),
        }
    }
}

/// What was read before.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    files: HashMap<Arc<str>, Known>,
    /// Counts revisions.
    round: u64,
    /// The round of the last good one.
    good: u64,
    /// Files that were parsed in this round.
    parsed: usize,
}

#[derive(Debug)]
struct Known {
    bytes: Arc<[u8]>,
    kind: FileKind,
    pack: Option<Arc<str>>,
    objects: Box<[AnyObject]>,
    /// The round that used it last.
    used: u64,
    /// The last good round that used it.
    good: u64,
}

impl Memory {
    /// A revision begins to be read.
    pub(crate) fn begin(&mut self) {
        self.round += 1;
        self.parsed = 0;
    }

    /// A revision was read and judged: what neither it nor the last good one uses is forgotten.
    pub(crate) fn end(&mut self, good: bool) {
        if good {
            self.good = self.round;
        }
        let (round, last_good) = (self.round, self.good);
        self.files.retain(|_, known| {
            if good && known.used == round {
                known.good = round;
            }
            known.used == round || known.good == last_good
        });
    }

    /// Files that were parsed for the last revision.
    pub(crate) fn parsed(&self) -> usize {
        self.parsed
    }

    /// Files that are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    /// What a file holds, if it is the one that was read before.
    pub(super) fn recall(&mut self, path: &str, file: &File, pack: Option<&Arc<str>>) -> Option<&[AnyObject]> {
        let known = self.files.get_mut(path)?;
        let same = known.kind == file.kind
            && known.pack.as_ref() == pack
            && (Arc::ptr_eq(&known.bytes, &file.bytes) || known.bytes == file.bytes);
        if !same {
            return None;
        }
        known.used = self.round;
        Some(&known.objects)
    }

    /// Remembers what a file holds. Only for a file without a finding.
    pub(super) fn keep(&mut self, path: &str, file: &File, pack: Option<&Arc<str>>, objects: Vec<AnyObject>) {
        let known = Known {
            bytes: Arc::clone(&file.bytes),
            kind: file.kind,
            pack: pack.cloned(),
            objects: objects.into_boxed_slice(),
            used: self.round,
            good: 0,
        };
        self.files.insert(Arc::from(path), known);
    }

    /// A file is parsed.
    pub(super) fn count_parsed(&mut self) {
        self.parsed += 1;
    }
}
