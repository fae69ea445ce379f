//! What a revision would take from machines, as far as the guards ask: the reconciler itself knows no machine.

use crate::catalog::Catalog;
use crate::content::Place;
use crate::content::kinds::{LeaveGuard, WipeGuard};
use crate::inspect::change::{Change, Follows, MachineChange};
use crate::store::BoxFuture;
use std::sync::Arc;

/// A machine that would lose what it runs, or leave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The machine.
    pub machine: String,
    /// Where it is declared, where that is known.
    pub place: Option<Place>,
    /// Why, in a few words.
    pub why: String,
}

/// What would be lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// Machines that would be wiped, by name.
    pub losses: Vec<Loss>,
    /// Machines that have something to lose: they have walked before.
    pub machines: usize,
    /// How many may, without a word: of the revision that serves.
    pub guard: WipeGuard,
    /// Machines that would be gone from Git, and go on under no other name; by name.
    pub leaving: Vec<Loss>,
    /// Machines that the revision which serves has.
    pub machines_before: usize,
    /// How many may leave without a word: of the revision that serves.
    pub leave_guard: LeaveGuard,
}

impl Foreseen {
    /// What a change takes, under the guards of the revision that serves.
    pub fn of(change: &Change, serving: &Catalog) -> Self {
        let number = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
        let leaves = |machine: &&MachineChange| machine.follows == Follows::Leaves && machine.renamed_to.is_none();
        let left = |machine: &MachineChange| Loss {
            machine: machine.name.clone(),
            place: machine.place.clone(),
            why: "it is gone from Git".to_owned(),
        };
        Self {
            losses: change.wiped().map(Loss::of).collect(),
            machines: number(change.machines_walked),
            leaving: change.machines.iter().filter(leaves).map(left).collect(),
            machines_before: number(change.machines_before),
            ..Self::under(serving)
        }
    }

    /// Nothing, under the guards of the revision that serves.
    pub fn under(serving: &Catalog) -> Self {
        Self { guard: serving.wipe_guard(), leave_guard: serving.leave_guard(), ..Self::default() }
    }
}

impl Loss {
    fn of(machine: &MachineChange) -> Self {
        let why = machine.run.as_ref().map(|run| run.reason.clone()).or_else(|| machine.resumes.clone());
        Self {
            machine: machine.name.clone(),
            place: machine.place.clone(),
            why: why.unwrap_or_else(|| "what held its disks back is gone".to_owned()),
        }
    }
}

/// Who can tell.
pub trait Foresee<C = Catalog>: Send + Sync + 'static {
    /// What would be lost by serving `next` in place of `serving`. It may wait until the machines are known.
    fn foresee(&self, serving: Arc<C>, next: Arc<C>) -> BoxFuture<'_, Foreseen>;
}

/// Knows no machine, and so foresees nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blind;

impl<C: Send + Sync + 'static> Foresee<C> for Blind {
    fn foresee(&self, _: Arc<C>, _: Arc<C>) -> BoxFuture<'_, Foreseen> {
        Box::pin(async { Foreseen::default() })
    }
}
