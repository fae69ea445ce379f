//! Machines of revisions compiled before: one whose document and basis are the same is not compiled and not checked again.
//!
//! Only machines of which nothing had to be said are remembered (but for params that nothing declares, which are told once a
//! revision and so are looked at each time). Everything else goes the long way, in the order it always had: what is said of a
//! revision is the same, word for word, whatever is remembered. A property test holds that.

use super::ground::{Basis, Ground};
use super::model::MachineView;
use super::references::References;
use crate::content;
use crate::content::Object;
use crate::content::kinds::MachineSpec;
use std::collections::HashMap;
use std::sync::Arc;

/// How much was done for a revision, and how much there was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Work {
    /// Files that were parsed.
    pub files_parsed: usize,
    /// Machines that were compiled and checked.
    pub machines_compiled: usize,
    /// Files there are.
    pub files: usize,
    /// Machines there are.
    pub machines: usize,
}

/// What is remembered of revisions.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) content: content::Memory,
    pub(super) machines: Machines,
}

impl Memory {
    pub(super) fn begin(&mut self) {
        self.content.begin();
        self.machines.round += 1;
        self.machines.compiled = 0;
    }

    /// A revision was judged: what neither it nor the last good one uses is forgotten.
    pub(super) fn end(&mut self, good: bool) {
        self.content.end(good);
        let machines = &mut self.machines;
        if good {
            machines.good = machines.round;
        }
        let (round, last_good) = (machines.round, machines.good);
        machines.known.retain(|_, known| {
            if good && known.used == round {
                known.good = round;
            }
            known.used == round || known.good == last_good
        });
    }
}

/// Machines by name.
#[derive(Debug, Default)]
pub(super) struct Machines {
    known: HashMap<Arc<str>, Known>,
    round: u64,
    good: u64,
    compiled: usize,
}

#[derive(Debug)]
struct Known {
    object: Arc<Object<MachineSpec>>,
    clean: Clean,
    /// The whole ground that the basis was found the same on last.
    ground: Basis,
    used: u64,
    good: u64,
}

/// A machine of which nothing had to be said.
#[derive(Debug, Clone)]
pub(super) struct Clean {
    pub(super) view: Arc<MachineView>,
    /// Its own params that nothing declares and no task uses.
    pub(super) undeclared: Arc<[String]>,
    pub(super) basis: Basis,
}

impl Machines {
    /// The machine as it was made before, if nothing that it is made of has changed.
    pub(super) fn recall(
        &mut self,
        object: &Arc<Object<MachineSpec>>,
        ground: &Ground,
        references: &References,
    ) -> Option<Clean> {
        let known = self.known.get_mut(&object.name)?;
        if !Arc::ptr_eq(&known.object, object) {
            return None;
        }
        if known.ground != ground.all {
            if ground.basis(object, references) != Some(known.clean.basis) {
                return None;
            }
            known.ground = ground.all;
        }
        known.used = self.round;
        Some(known.clean.clone())
    }

    /// Remembers a machine of which nothing had to be said.
    pub(super) fn keep(&mut self, object: &Arc<Object<MachineSpec>>, clean: Clean, ground: &Ground) {
        let known = Known { object: Arc::clone(object), clean, ground: ground.all, used: self.round, good: 0 };
        self.known.insert(Arc::clone(&object.name), known);
    }

    /// A machine is compiled.
    pub(super) fn count_compiled(&mut self) {
        self.compiled += 1;
    }

    pub(super) fn compiled(&self) -> usize {
        self.compiled
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }
}
