//! Drives [`workflow::next`]: gathers what it decides on, writes down what it wants written, asks again until it answers.

use super::entry::Entry;
use super::identify::{ToAdopt, is_untouched};
use super::machines::Fleet;
use crate::catalog::{Catalog, MachineView};
use crate::cluster;
use crate::journal::{Event, MachineState};
use crate::store::{Operation, Space, StoreError};
use crate::wire::JobOutcome;
use crate::workflow::{self, Action, Next, Question, Running};
use std::sync::Arc;

/// How often one question may lead to something to be written down first. Each rule writes at most once; more is a defect
/// that must not spin.
const ROUNDS: usize = 12;

/// An answer with what it was made on.
pub struct Decision {
    /// The answer; never [`Action::Record`].
    pub next: Next,
    /// The state it was made on.
    pub state: Arc<MachineState>,
    /// The newest good revision.
    pub current: Option<Arc<Catalog>>,
    /// The machine on it.
    pub view: Option<MachineView>,
    /// The revision of the open run.
    pub pinned: Option<Arc<Catalog>>,
}

/// What an ask of a person is judged on.
pub struct ToAsk {
    /// What the machine would do next, made on how it stands, or would stand under its declared name.
    pub decision: Decision,
    /// How it stands now.
    state: Arc<MachineState>,
    /// What its box is called until its next word, where it is declared under another name now.
    former: Option<String>,
}

impl Decision {
    /// The revision that says what is booted: the open run's, else the newest.
    pub fn catalog(&self) -> Option<&Catalog> {
        let run = self.state.run.as_ref().filter(|run| run.is_open());
        run.and(self.pinned.as_deref()).or(self.current.as_deref())
    }
}

impl Fleet {
    /// What a machine does next. The caller holds `entry.turn`.
    ///
    /// # Errors
    /// What the store says when something had to be written down.
    pub async fn decide(&self, entry: &Entry, running: Running<'_>) -> Result<Decision, StoreError> {
        for _ in 0..ROUNDS {
            let decision = self.look(entry, running).await;
            let (state, view) = (&decision.state, decision.view.as_ref());
            // Before anything else may begin a run: what is declared now may be running as an enrolled machine.
            if is_untouched(state)
                && let Some(view) = view
                && let Some(before) = self.formerly(&entry.name, &view.macs)
            {
                self.adopt_former(entry, &before, &view.macs, Vec::new()).await?;
                continue;
            }
            let Action::Record(events) = &decision.next.action else { return Ok(decision) };
            if !self.serves_what_is_applied(decision.current.as_deref())? {
                return Err(StoreError::Busy);
            }
            let events = events.clone();
            let clusters = if ends_claims(&events) { self.clusters_of(view, state) } else { Vec::new() };
            self.pin_runs(entry, state, &events).await;
            let operations = consequences(self, entry, &clusters, &events);
            match self.commit_for(entry, state.head, events, operations).await {
                Ok(_) | Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        tracing::error!(machine = entry.name, "a decision wanted more written down than any rule does");
        Err(StoreError::Busy)
    }

    /// What an ask of a person is judged on. Nothing is written down: an ask that is refused leaves no trace, and one that is
    /// taken must not begin a run before it counts. The caller holds `entry.turn`.
    pub async fn look_to_ask(&self, entry: &Entry) -> ToAsk {
        let (state, current) = (entry.state(), self.current());
        let view = current.as_deref().and_then(|catalog| Some((catalog, catalog.machine(&entry.name)?)));
        let (stands, former) = match view.and_then(|(catalog, view)| self.adopting(catalog, view, &state)) {
            Some(ToAdopt { state, former }) => (state, Some(former)),
            None => (Arc::clone(&state), None),
        };
        let decision = self.look_as(current, entry, stands, Running::Firmware).await;
        ToAsk { decision, state, former }
    }

    /// Writes down what a person asked, as it was judged, and nothing else but that a declared machine is the one that it was
    /// judged as. The caller holds `entry.turn` since it looked.
    ///
    /// # Errors
    /// What the store says; [`StoreError::Busy`] where it has to be judged anew.
    pub async fn record_asked(&self, entry: &Entry, on: &ToAsk, events: Vec<Event>) -> Result<(), StoreError> {
        // Which run counts as done is what the applied revision says, not one before it.
        let adopts = events.iter().any(|event| matches!(event, Event::Adopted { .. }));
        if adopts && !self.serves_what_is_applied(on.decision.current.as_deref())? {
            return Err(StoreError::Busy);
        }
        let Some(former) = &on.former else { return self.record(entry, &on.state, events).await };
        let macs = on.decision.view.as_ref().map(|view| view.macs.clone()).unwrap_or_default();
        if self.adopt_former(entry, former, &macs, events).await? { Ok(()) } else { Err(StoreError::Busy) }
    }

    /// What a machine would do next, with nothing written down: for showing it. What has to be written down first is
    /// left to the machine's next word, and shown as a wait.
    pub async fn look(&self, entry: &Entry, running: Running<'_>) -> Decision {
        self.look_on(self.current(), entry, running).await
    }

    /// The same on a revision that the caller holds: what is said of many machines at once is said of one revision,
    /// though another begins to serve meanwhile.
    pub async fn look_on(&self, current: Option<Arc<Catalog>>, entry: &Entry, running: Running<'_>) -> Decision {
        self.look_as(current, entry, entry.state(), running).await
    }

    /// The same as if the machine stood so.
    pub async fn look_as(
        &self,
        current: Option<Arc<Catalog>>,
        entry: &Entry,
        state: Arc<MachineState>,
        running: Running<'_>,
    ) -> Decision {
        let view = current.as_deref().and_then(|catalog| Self::view_on(catalog, &entry.name, &state));
        let pinned = self.pinned(current.as_ref(), &state).await;
        let next = workflow::next(&Question {
            machine: &entry.name,
            current: current.as_deref(),
            view: view.as_deref(),
            pinned: pinned.as_deref(),
            state: &state,
            running,
            trust: self.trust(),
            now_unix_ms: self.clock.now_unix_ms(),
        });
        let view = view.map(std::borrow::Cow::into_owned);
        Decision { next, state, current, view, pinned }
    }

    /// How content stands, as administrators are shown it.
    pub fn content_status(&self) -> crate::reconcile::Status {
        crate::reconcile::Status::clone(&self.reconciler.status().borrow())
    }

    /// The machines for which something may follow from the revision that serves now, after that one. What a machine does next
    /// depends on its declaration and all that this refers to; where these are the same, it was written down when they came,
    /// or waits for the machine's next word. One that has walked nothing yet may be another that left, and is always asked.
    pub fn to_settle(&self, before: Option<&Catalog>) -> Vec<Arc<Entry>> {
        let current = self.current();
        let both = before.zip(current.as_deref());
        let same = |entry: &Entry| both.is_some_and(|(before, current)| current.has_same(before, &entry.name));
        let asked = |entry: &Arc<Entry>| {
            let state = entry.state();
            state.is_known() && (is_untouched(&state) || entry.is_owed() || !same(entry))
        };
        self.all().into_iter().filter(asked).collect()
    }

    /// Writes down what follows from a new revision or from time alone, for a machine that says nothing now.
    ///
    /// # Errors
    /// What the store says.
    pub async fn settle(&self, entry: &Entry) -> Result<Decision, StoreError> {
        let _turn = entry.turn.lock().await;
        let answer = self.decide(entry, Running::Firmware).await;
        entry.set_owed(answer.is_err());
        answer
    }

    /// Events that a person or an agent caused, with what follows from them. The caller holds `entry.turn`, and decided on `state`:
    /// where another server wrote something about the machine since, that is [`StoreError::Conflict`].
    ///
    /// # Errors
    /// What the store says.
    pub async fn record(&self, entry: &Entry, state: &MachineState, events: Vec<Event>) -> Result<(), StoreError> {
        self.record_with(entry, state, events, Vec::new()).await
    }

    /// The same, with operations of the caller's own in the same commit.
    ///
    /// # Errors
    /// What the store says.
    pub async fn record_with(
        &self,
        entry: &Entry,
        state: &MachineState,
        events: Vec<Event>,
        mut operations: Vec<Operation>,
    ) -> Result<(), StoreError> {
        let clusters = if ends_claims(&events) {
            let current = self.current();
            let view = current.as_deref().and_then(|catalog| Self::view_on(catalog, &entry.name, state));
            self.clusters_of(view.as_deref(), state)
        } else {
            Vec::new()
        };
        self.pin_runs(entry, state, &events).await;
        operations.extend(consequences(self, entry, &clusters, &events));
        self.commit_for(entry, state.head, events, operations).await.map(|_| ())
    }

    async fn pinned(&self, current: Option<&Arc<Catalog>>, state: &MachineState) -> Option<Arc<Catalog>> {
        let run = state.run.as_ref().filter(|run| run.is_open())?;
        if let Some(catalog) = current.filter(|catalog| *catalog.revision == *run.revision) {
            return Some(Arc::clone(catalog));
        }
        match self.reconciler.catalog_at(&run.revision).await {
            Ok(catalog) => Some(catalog),
            Err(error) => {
                tracing::warn!(revision = run.revision, %error, "the revision of an open run cannot be loaded");
                None
            }
        }
    }

    /// Keeps the commits of open runs alive, and lets go of those of ended ones.
    async fn pin_runs(&self, entry: &Entry, state: &MachineState, events: &[Event]) {
        for event in events {
            let result = match event {
                Event::RunStarted { run, revision, .. } | Event::RunResumed { run, revision, .. } => {
                    self.reconciler.pin(&entry.name, *run, revision).await
                }
                Event::RunFinished { run } | Event::RunCancelled { run, .. } => {
                    self.reconciler.unpin(&entry.name, *run).await
                }
                _ => continue,
            };
            if let Err(error) = result {
                tracing::warn!(machine = entry.name, run = ?state.run.as_ref().map(|run| run.number), %error,
                    "the commit of a run could not be pinned");
            }
        }
    }

    /// The clusters a machine is a member of, and those it may still hold claims in.
    fn clusters_of(&self, view: Option<&MachineView>, _state: &MachineState) -> Vec<String> {
        let Some(catalog) = self.current() else { return Vec::new() };
        view.map_or_else(
            // Gone from Git: whatever it held anywhere falls.
            || self.store.clusters().unwrap_or_default(),
            |view| catalog.clusters_of(view).iter().map(|profile| profile.name.to_string()).collect(),
        )
    }
}

/// What else changes in the same commit: claims that fall, the grant that is no longer needed.
fn consequences(fleet: &Fleet, entry: &Entry, clusters: &[String], events: &[Event]) -> Vec<Operation> {
    let mut operations = Vec::new();
    if events.iter().any(ends_grant) {
        operations.push(Operation::Put { space: Space::Grant, key: entry.name.clone(), value: None });
    }
    for why in events.iter().filter_map(why_claims_fall) {
        for cluster in clusters {
            let operation = cluster::Operation::MachineEnded { machine: entry.name.clone(), reason: why.clone() };
            if let Some(context) = fleet.cluster_context(cluster, cluster::Caller::Server) {
                let request = cluster::Request { cluster: cluster.clone(), operation, context };
                operations.push(Operation::Cluster(Box::new(request)));
            }
        }
    }
    operations
}

/// Whether the machine's claims fall with any of them.
fn ends_claims(events: &[Event]) -> bool {
    events.iter().any(|event| why_claims_fall(event).is_some())
}

/// Why a machine's claims fall with an event, where they do.
fn why_claims_fall(event: &Event) -> Option<String> {
    Some(match event {
        Event::RunStarted { run, .. } => format!("run {run} began"),
        Event::RunCancelled { run, .. } => format!("run {run} was cancelled"),
        Event::Left { .. } => "the machine is gone from Git".to_owned(),
        Event::Quarantined { .. } => "the machine is in quarantine".to_owned(),
        Event::Forgotten { .. } => "the machine was forgotten".to_owned(),
        Event::InstallerFinished { success: false, .. } => "its installer failed".to_owned(),
        Event::JobEnded { job, outcome, .. } => match outcome {
            JobOutcome::Done | JobOutcome::Abandoned => return None,
            JobOutcome::Failed => format!("job {job} failed"),
            JobOutcome::TimedOut => format!("job {job} timed out"),
            JobOutcome::Interrupted => format!("job {job} was interrupted"),
        },
        _ => return None,
    })
}

/// No job is open after it: the job's text, which may hold secrets, goes.
fn ends_grant(event: &Event) -> bool {
    matches!(
        event,
        Event::JobEnded { .. }
            | Event::TaskSkipped { .. }
            | Event::RunStarted { .. }
            | Event::RunCancelled { .. }
            | Event::Forgotten { .. }
    )
}
