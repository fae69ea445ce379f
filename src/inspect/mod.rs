//! What people are shown of a decision, before and after it is made: why a machine is where it is, who gives a param, what it
//! would get now, what is still to come. Pure, and by the one function ([`crate::workflow::next`]) and the one resolver
//! ([`crate::params`]) that decide for machines, so that what is shown is what happens.
//!
//! Nothing here holds a secret: values that are secret are left out where they are gathered, not where they are drawn.

pub mod change;
mod hindrance;
mod imagine;
mod pack_test;
mod param;
mod plan;
mod planned;
mod render;
mod rendered;
mod standing;
mod trace;
mod tree;
mod why;

pub use hindrance::{Lacks, hindrances};
pub use imagine::Imagined;
pub use pack_test::{PackUnderTest, TestFailure, TestResult, run_pack_test};
pub use param::{Asked, Commit, Elsewhere, ParamError, ParamWhy, param_why};
pub use plan::{foresee, plan};
pub use planned::{Obstacle, Plan, PlannedBoot, PlannedStage, PlannedTask};
pub use render::render;
pub use rendered::{RenderQuestion, Rendered, RenderedBoot, RenderedFile, RenderedJob, Values, What, WhatError};
pub use standing::{Lag, MachineStanding, Standing, standing};
pub use trace::{OfRepository, Origin, Trace, TraceError, is_built_in, trace};
pub use tree::{SiteTree, StageNode, WorkflowNode, tree};
pub use why::{Because, Evidence, Why, why};

use crate::catalog::{Catalog, ClusterProfile, MachineView};
use crate::content::kinds::Assurance;
use crate::content::{Document, Place, Step, place_of};
use crate::journal::{MachineState, Record};
use crate::params::ClusterKeys;
use crate::workflow::{Question, Running};

/// A machine that is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// What a decision about it is made on.
    pub question: Question<'a>,
    /// Its events, oldest first; what is not among them cannot be shown as evidence.
    pub records: &'a [Record],
    /// What its clusters supply as params now.
    pub clusters: &'a ClusterKeys,
    /// What the server itself lacks.
    pub lacks: Lacks<'a>,
}

impl<'a> Subject<'a> {
    /// The revision that decides its tasks, and the machine on it: that of the open run, else the newest.
    pub(crate) fn deciding(&self) -> Option<(&'a Catalog, std::borrow::Cow<'a, MachineView>)> {
        let question = &self.question;
        let open = question.state.run.as_ref().is_some_and(|run| run.is_open());
        match (open, question.pinned) {
            (true, Some(pinned)) => {
                view_on(pinned, question.machine, question.state).map(|view| (pinned, view)).or_else(|| self.newest())
            }
            _ => self.newest(),
        }
    }

    fn newest(&self) -> Option<(&'a Catalog, std::borrow::Cow<'a, MachineView>)> {
        Some((self.question.current?, std::borrow::Cow::Borrowed(self.question.view?)))
    }
}

/// The machine on a revision: declared there, or enrolled by a rule that is still there.
pub fn view_on<'a>(
    catalog: &'a Catalog,
    name: &str,
    state: &MachineState,
) -> Option<std::borrow::Cow<'a, MachineView>> {
    if let Some(view) = catalog.machine(name) {
        return Some(std::borrow::Cow::Borrowed(view));
    }
    let by = state.enrolled.as_ref().filter(|_| !state.left)?;
    catalog
        .enrolled_view(name, &by.rule, &by.mac, by.uuid.as_deref(), by.serial.as_deref())
        .map(std::borrow::Cow::Owned)
}

/// The cluster that lets a machine do nothing before a person approved it, where nobody has.
fn wants_approval<'a>(question: &Question<'a>) -> Option<&'a ClusterProfile> {
    if question.state.vouched {
        return None;
    }
    let clusters = question.current?.clusters_of(question.view?);
    clusters.into_iter().find(|cluster| cluster.spec.assurance >= Assurance::A2)
}

/// What a machine runs, as far as its last words say: its agent's boot, or firmware that was offered something since.
pub fn last_said(state: &MachineState) -> Running<'_> {
    match &state.boot {
        Some(boot) if state.offer.as_ref().is_none_or(|offer| offer.at_unix_ms <= boot.at_unix_ms) => {
            let boot_id = &boot.said.boot_id;
            // What it was given in this boot and has not ended, it works on.
            let run = state.run.as_ref().filter(|run| run.is_open());
            let job = run.and_then(|run| run.job.as_ref()).filter(|job| job.boot_id == *boot_id);
            Running::Agent { boot_id, environment: &boot.said.environment, job: job.map(|job| job.id.as_str()) }
        }
        _ => Running::Firmware,
    }
}

/// The place of a value of a document.
fn place_at(document: &Document, path: &[&str]) -> Place {
    let steps: Vec<Step<'_>> = path.iter().map(|key| Step::Key(key)).collect();
    place_of(document.value(&steps))
}
