//! What follows for one machine: the one function is asked on both revisions, and what only the new one leads to is told.

use super::sameness::{self, Sameness};
use super::{Destruction, Follows, Knowledge, MachineChange, Question, RunChange};
use crate::catalog::{Catalog, MachineView, Source};
use crate::content::Place;
use crate::inspect::{Imagined, Obstacle, Plan, foresee, last_said, view_on};
use crate::journal::{Event, MachineState};
use crate::workflow::{self, Running, Trust};
use std::borrow::Cow;

/// What one revision leads to.
struct Outlook {
    /// Written down at once.
    written: Vec<Event>,
    /// Where work is to be done: the way through it.
    plan: Option<Plan>,
}

impl Outlook {
    fn of(
        question: &Question<'_>,
        catalog: &Catalog,
        name: &str,
        view: Option<&MachineView>,
        state: &MachineState,
    ) -> Self {
        let pinned = state.run.as_ref().filter(|run| run.is_open()).and_then(|run| question.catalog_at(&run.revision));
        let mut asked = workflow::Question {
            machine: name,
            current: Some(catalog),
            view,
            pinned,
            state,
            running: Running::Firmware,
            trust: question.known.trust(),
            now_unix_ms: question.now_unix_ms,
        };
        // A revision that was just applied is settled as for firmware; what runs is asked for the way from there.
        let mut imagined = Imagined::of(&asked);
        let (written, _) = imagined.firmware();
        let open = imagined.state.run.as_ref().is_some_and(|run| run.is_open());
        let held = view.is_some_and(|view| view.workflow.is_some())
            && asked.trust == Trust::HoldUnknown
            && state.run.is_none();
        asked.running = last_said(state);
        let plan = (open || held).then(|| foresee(&asked));
        Self { written, plan }
    }

    fn started(&self) -> Option<(u64, &str, &str)> {
        self.written.iter().find_map(|event| match event {
            Event::RunStarted { run, workflow, reason, .. } => Some((*run, workflow.as_str(), reason.as_str())),
            _ => None,
        })
    }

    fn resumed(&self) -> Option<&str> {
        self.written.iter().find_map(|event| match event {
            Event::RunResumed { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
    }

    fn diverged(&self) -> Option<&str> {
        self.written.iter().find_map(|event| match event {
            Event::RunDiverged { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
    }

    fn cancelled(&self) -> Option<(u64, &str)> {
        self.written.iter().find_map(|event| match event {
            Event::RunCancelled { run, reason, .. } => Some((*run, reason.as_str())),
            _ => None,
        })
    }

    fn leaves(&self) -> bool {
        self.written.iter().any(|event| matches!(event, Event::Left { .. }))
    }

    /// Boots that are still to come.
    fn boots(&self) -> u32 {
        let boots = self.plan.iter().flat_map(|plan| &plan.boots).filter(|boot| !boot.running).count();
        u32::try_from(boots).unwrap_or(u32::MAX)
    }

    fn obstacles(&self) -> &[Obstacle] {
        self.plan.as_ref().map_or(&[], |plan| &plan.obstacles)
    }

    /// Stages to come that change disks: run, name, whether they may, whether whatever is on the disks may go.
    fn destroys(&self) -> Vec<(Option<u64>, &str, bool, bool)> {
        let stages = self.plan.iter().flat_map(|plan| plan.boots.iter().map(move |boot| (plan.run, boot)));
        let stages = stages.flat_map(|(run, boot)| boot.stages.iter().map(move |stage| (run, stage)));
        let mut all: Vec<_> = stages
            .filter(|(_, stage)| stage.destructive)
            .map(|(run, stage)| (run, stage.name.as_str(), stage.granted, stage.wipes_foreign_disks))
            .collect();
        all.dedup();
        all
    }
}

/// The state to decide on: what is known, or where nothing is, that of a machine which has done what the old revision says.
fn state_of<'a>(question: &Question<'a>, name: &str, view: Option<&MachineView>) -> Cow<'a, MachineState> {
    match &question.known {
        Knowledge::Journal { states, .. } => {
            states.get(name).map_or_else(|| Cow::Owned(MachineState::default()), |state| Cow::Borrowed(&**state))
        }
        Knowledge::Nothing => {
            let Some(old) = question.old.filter(|_| view.is_some()) else {
                return Cow::Owned(MachineState::default());
            };
            let unseen = MachineState::default();
            let mut imagined = Imagined::of(&workflow::Question {
                machine: name,
                current: Some(old),
                view,
                pinned: None,
                state: &unseen,
                running: Running::Firmware,
                trust: Trust::New,
                now_unix_ms: question.now_unix_ms,
            });
            imagined.firmware();
            if let Some(run) = imagined.state.run.as_ref().map(|run| run.number) {
                imagined.happens(Event::RunFinished { run });
            }
            Cow::Owned(imagined.state)
        }
    }
}

/// A machine that the new revision touches.
struct Touched<'a> {
    state: Cow<'a, MachineState>,
    old: Option<MachineView>,
    new: Option<MachineView>,
}

/// The machine of that name as far as the new revision touches it; `None`: it is the same on both.
fn touched<'a>(question: &Question<'a>, mut sameness: Option<&mut Sameness<'a>>, name: &str) -> Option<Touched<'a>> {
    let (declared_old, declared_new) = (question.old.and_then(|old| old.machine(name)), question.new.machine(name));
    // What is declared and the same on both needs no state at all.
    if let (Some(old), Some(new), Some(same)) = (declared_old, declared_new, sameness.as_deref_mut())
        && same.machine(old, new)
    {
        return None;
    }
    let state = state_of(question, name, declared_old);
    let view = |catalog: &Catalog| view_on(catalog, name, &state).map(Cow::into_owned);
    let (old, new) = (question.old.and_then(view), view(question.new));
    match (&old, &new) {
        (None, None) => return None,
        (Some(old), Some(new)) if sameness.is_some_and(|same| same.enrolled(old, new)) => return None,
        _ => {}
    }
    Some(Touched { state, old, new })
}

/// The revision that the machine's open run is pinned to, where the new revision touches it.
pub(super) fn pinned<'a>(question: &Question<'a>, sameness: Option<&mut Sameness<'a>>, name: &str) -> Option<String> {
    let Touched { state, .. } = touched(question, sameness, name)?;
    state.run.as_ref().filter(|run| run.is_open()).map(|run| run.revision.clone())
}

/// What follows for the machine of that name; `None`: nothing.
pub(super) fn machine<'a>(
    question: &Question<'a>,
    mut sameness: Option<&mut Sameness<'a>>,
    name: &str,
) -> Option<MachineChange> {
    let Touched { state, old, new } = touched(question, sameness.as_deref_mut(), name)?;
    let after = Outlook::of(question, question.new, name, new.as_ref(), &state);
    let before = question.old.map(|catalog| Outlook::of(question, catalog, name, old.as_ref(), &state));
    let compared = Compared { question, name, state: &state, before, after };
    compared.told(old.as_ref(), new.as_ref(), sameness)
}

struct Compared<'q, 'a> {
    question: &'q Question<'a>,
    name: &'q str,
    state: &'q MachineState,
    before: Option<Outlook>,
    after: Outlook,
}

impl Compared<'_, '_> {
    fn told(
        &self,
        old: Option<&MachineView>,
        new: Option<&MachineView>,
        sameness: Option<&mut Sameness<'_>>,
    ) -> Option<MachineChange> {
        let mut told = MachineChange::of(self.name, new.or(old).and_then(place_of));
        let walked = self.state.has_walked();
        let Some(new) = new else {
            return self.leaves(told, old);
        };
        if let (Some(old), Some(sameness)) = (old, sameness) {
            told.fields = sameness::fields(old, new);
            told.values = sameness.values(old, new);
            told.parts = sameness.workflow_of(new).to_vec();
        }
        let clusters = |catalog: Option<&Catalog>, view: Option<&MachineView>| -> Vec<String> {
            let of = catalog.zip(view).map(|(catalog, view)| catalog.clusters_of(view)).unwrap_or_default();
            of.iter().map(|cluster| cluster.name.to_string()).collect()
        };
        let (was, is) = (clusters(self.question.old, old), clusters(Some(self.question.new), Some(new)));
        told.joins = is.iter().filter(|name| !was.contains(name)).cloned().collect();
        told.leaves = was.into_iter().filter(|name| !is.contains(name)).collect();
        told.renamed_from = self.question.known.renamed_from(self.name).map(str::to_owned);
        self.works(&mut told, new, walked);
        told.follows = self.follows(&told, old.is_none(), walked)?;
        Some(told)
    }

    /// Gone from Git.
    fn leaves(&self, mut told: MachineChange, old: Option<&MachineView>) -> Option<MachineChange> {
        let left = |outlook: &Outlook| outlook.leaves();
        if self.before.as_ref().is_some_and(left) || (old.is_none() && !self.after.leaves()) {
            return None;
        }
        told.follows = Follows::Leaves;
        told.ends_run = self.after.cancelled().map(|(run, _)| run);
        told.renamed_to = self.question.known.renamed_to(self.name).map(str::to_owned);
        told.never_seen = !self.state.is_known() && told.renamed_to.is_none();
        Some(told)
    }

    /// Runs, boots, what changes disks, what waits.
    fn works(&self, told: &mut MachineChange, view: &MachineView, walked: bool) {
        let (before, after) = (self.before.as_ref(), &self.after);
        let new = |mine: bool, theirs: bool| mine && !theirs;
        if let Some((number, workflow, reason)) = after.started()
            && before.and_then(Outlook::started) != after.started()
        {
            let (workflow, reason) = (workflow.to_owned(), reason.to_owned());
            told.run = Some(RunChange { number, workflow, reason });
        }
        told.ends_run = after.cancelled().filter(|_| before.and_then(Outlook::cancelled).is_none()).map(|(run, _)| run);
        if new(after.resumed().is_some(), before.is_some_and(|before| before.resumed().is_some())) {
            told.resumes = after.resumed().map(str::to_owned);
        }
        if new(after.diverged().is_some(), before.is_some_and(|before| before.diverged() == after.diverged()))
            && self.state.run.as_ref().and_then(|run| run.diverged.as_deref()) != after.diverged()
        {
            told.diverges = after.diverged().map(str::to_owned);
        }
        if told.run.is_some() || told.resumes.is_some() {
            told.boots = after.boots();
        }
        let had = before.map(Outlook::destroys).unwrap_or_default();
        // Where no run is open and none begins, the way was only looked at for what holds it.
        let goes_on = after.started().is_some() || self.state.run.as_ref().is_some_and(|run| run.is_open());
        for stage in after.destroys().into_iter().filter(|stage| goes_on && !had.contains(stage)) {
            let (_, name, granted, foreign) = stage;
            let refused = || {
                let at = after.obstacles().iter().find(|it| it.stage.as_deref() == Some(name));
                at.or_else(|| after.obstacles().first()).map(|it| it.reason.clone()).unwrap_or_default()
            };
            let reason = if granted { disks(view, foreign).to_owned() } else { refused() };
            told.destroys.push(Destruction { stage: name.to_owned(), allowed: granted, reason });
        }
        let known = before.map(Outlook::obstacles).unwrap_or_default();
        told.waits = after.obstacles().iter().filter(|it| !known.contains(it)).cloned().collect();
        told.wiped = walked && told.destroys.iter().any(|stage| stage.allowed);
    }

    /// The weightiest of it in a word; `None`: nothing follows.
    fn follows(&self, told: &MachineChange, appears: bool, walked: bool) -> Option<Follows> {
        let allowed = told.destroys.iter().any(|stage| stage.allowed);
        let first = |obstacle: &Obstacle| obstacle.stage.is_none();
        let held = told.waits.iter().any(first);
        let works = told.run.is_some() || told.resumes.is_some() || !told.destroys.is_empty();
        Some(match () {
            () if works && held => Follows::Waits,
            () if told.run.is_some() && allowed && walked => Follows::Reinstalled,
            () if told.run.is_some() && allowed => Follows::Installed,
            () if told.wiped => Follows::Reinstalled,
            () if !told.destroys.is_empty() => Follows::Waits,
            () if told.run.is_some() => Follows::Runs,
            () if told.resumes.is_some() => Follows::Resumes,
            () if told.diverges.is_some() => Follows::Diverges,
            () if told.ends_run.is_some() => Follows::Cancelled,
            () if held => Follows::Waits,
            () if appears => Follows::Joins,
            () if told.has_values() => Follows::Values,
            () => return None,
        })
    }
}

/// By which rule of the disks' markers a granted stage goes.
fn disks(view: &MachineView, foreign: bool) -> &'static str {
    match (foreign, &view.source) {
        (true, Source::Git(_)) => "its disks, whatever is on them: spec.wipe is true",
        (true, Source::Enrollment { .. }) => "its disks, whatever is on them: its rule says mayWipe",
        (false, _) => "disks that are blank or carry its own marker, no other",
    }
}

fn place_of(view: &MachineView) -> Option<Place> {
    match &view.source {
        Source::Git(place) => Some(place.clone()),
        Source::Enrollment { .. } => Some(view.document.place()),
    }
}
