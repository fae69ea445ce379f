//! What the server knows: every machine's folded state, who is who, and the one way to write events down.
//!
//! States are projections: made from the store's events at start, moved on by each commit's records. All commits to one
//! machine's stream go through its entry's lock, so a state is never folded out of order.

use super::clock::Clock;
use super::secrets::Secrets;
use crate::catalog::{Catalog, MachineView, Selection};
use crate::cluster;
use crate::identity::SiteKeys;
use crate::journal::{Event, MachineState, Record, Stream};
use crate::reconcile::Reconciler;
use crate::store::{Batch, Committed, Operation, Store, StoreError};
use crate::wire::HardwareIdentity;
use crate::workflow::Trust;
use arc_swap::{ArcSwap, ArcSwapOption};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::watch;

/// How many records are read at a time when the fleet is made from the store.
const PAGE: usize = 4096;

/// One machine in memory.
pub struct Entry {
    /// Its name.
    pub name: String,
    state: ArcSwap<MachineState>,
    /// Held while deciding and committing.
    pub(super) turn: tokio::sync::Mutex<()>,
    changed: watch::Sender<u64>,
    live: Mutex<Live>,
}

/// What is known of a machine only while this process lives.
#[derive(Debug, Clone, Default)]
pub struct Live {
    /// When its agent last asked or its firmware last showed, lifetime clock.
    pub contact_ms: Option<u64>,
    /// The same by the wall clock.
    pub contact_unix_ms: Option<i64>,
    /// The reason given at the last word with it.
    pub waits_for: Option<String>,
}

impl Entry {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            state: ArcSwap::from_pointee(MachineState::default()),
            turn: tokio::sync::Mutex::new(()),
            changed: watch::Sender::new(0),
            live: Mutex::new(Live::default()),
        }
    }

    /// Its state as of the last commit.
    pub fn state(&self) -> Arc<MachineState> {
        self.state.load_full()
    }

    /// Waits for the turn to decide and to write about this machine.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Rises with each event.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What this process knows beyond the events.
    pub fn live(&self) -> Live {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a word with it.
    pub fn touch(&self, clock: &Clock, waits_for: Option<String>) {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.contact_ms = Some(clock.now_ms());
        live.contact_unix_ms = Some(clock.now_unix_ms());
        if waits_for.is_some() {
            live.waits_for = waits_for;
        }
    }

    fn apply(&self, record: &Record) {
        let mut state = MachineState::clone(&self.state.load());
        state.apply(record);
        self.state.store(Arc::new(state));
        self.changed.send_modify(|count| *count = record.index.saturating_add(1));
    }
}

/// A box that is no machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BoxRow {
    /// Its MAC.
    pub mac: String,
    /// The subnet it was last seen on.
    pub subnet: Option<String>,
    /// Its architecture.
    pub architecture: Option<String>,
    /// When, Unix milliseconds.
    pub last_seen_unix_ms: i64,
    /// Why it gets nothing.
    pub reason: String,
}

/// Who a box is.
#[derive(Debug, Clone, PartialEq)]
pub enum Identity {
    /// This machine.
    Machine(String),
    /// A box that no declaration names and no enrolment knows.
    Unknown,
    /// Its selectors point to several machines: hold it, wipe nothing.
    Conflict(Vec<String>),
}

/// The server's knowledge.
pub struct Fleet {
    /// The engine.
    pub store: Arc<dyn Store>,
    /// The applied revision.
    pub catalog: Arc<ArcSwapOption<Catalog>>,
    /// Where pinned revisions come from.
    pub reconciler: Reconciler,
    /// The site's keys.
    pub keys: Arc<SiteKeys>,
    /// The clocks.
    pub clock: Clock,
    /// The site's name.
    pub site: String,
    /// SHA-256 of the authority's certificate, to compare by eye.
    pub fingerprint: String,
    pub(super) secrets: Secrets,
    entries: RwLock<BTreeMap<String, Arc<Entry>>>,
    /// MACs of machines that are not (or not only) declared: enrolled ones, and those that left.
    by_mac: RwLock<HashMap<String, String>>,
    boxes: RwLock<BTreeMap<String, BoxRow>>,
    members: ArcSwap<HashMap<String, Arc<[String]>>>,
    trusted: AtomicBool,
}

impl Fleet {
    /// Folds all events of the store.
    ///
    /// # Errors
    /// What the store says when it cannot be read.
    pub fn load(
        store: Arc<dyn Store>,
        reconciler: Reconciler,
        keys: Arc<SiteKeys>,
        site: String,
        fingerprint: String,
        secrets: Secrets,
        clock: Clock,
    ) -> Result<Self, StoreError> {
        let fleet = Self {
            store,
            catalog: reconciler.catalog(),
            reconciler,
            keys,
            clock,
            site,
            fingerprint,
            secrets,
            entries: RwLock::default(),
            by_mac: RwLock::default(),
            boxes: RwLock::default(),
            members: ArcSwap::default(),
            trusted: AtomicBool::new(false),
        };
        let mut sequence = 0;
        loop {
            let page = fleet.store.events_after(sequence, PAGE)?;
            let Some(last) = page.last() else { break };
            sequence = last.sequence;
            page.iter().for_each(|record| fleet.apply(record));
        }
        Ok(fleet)
    }

    /// The applied revision.
    pub fn current(&self) -> Option<Arc<Catalog>> {
        self.catalog.load_full()
    }

    /// A machine's entry, made on first use.
    pub fn entry(&self, name: &str) -> Arc<Entry> {
        if let Some(entry) = self.known(name) {
            return entry;
        }
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(entries.entry(name.to_owned()).or_insert_with(|| Arc::new(Entry::new(name))))
    }

    /// A machine's entry, if there is one.
    pub fn known(&self, name: &str) -> Option<Arc<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// All entries, by name.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// Boxes that are no machines.
    pub fn boxes(&self) -> Vec<BoxRow> {
        self.boxes.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// A box that is no machine, by its MAC.
    pub fn box_seen(&self, mac: &str) -> Option<BoxRow> {
        self.boxes.read().unwrap_or_else(PoisonError::into_inner).get(mac).cloned()
    }

    /// Whether machines without a journal may start by themselves.
    pub fn trust(&self) -> Trust {
        if self.trusted.load(Ordering::Relaxed) { Trust::New } else { Trust::HoldUnknown }
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

    /// Who a box is, by what it shows. A declaration with its MAC wins over an enrolment; one that only has its UUID or
    /// serial does not: those are words of the box, and may not move it to another identity once it has enrolled.
    pub fn identify(&self, hardware: &HardwareIdentity) -> Identity {
        if let Some(catalog) = self.current() {
            match catalog.select(hardware) {
                Selection::One(view) => {
                    let by_mac = hardware.macs.iter().any(|mac| view.macs.contains(mac));
                    return match self.enrolled_as(&hardware.macs).filter(|name| !by_mac && *name != view.name) {
                        Some(enrolled) => Identity::Conflict(vec![view.name.to_string(), enrolled]),
                        None => Identity::Machine(view.name.to_string()),
                    };
                }
                Selection::Conflict(views) => {
                    return Identity::Conflict(views.iter().map(|view| view.name.to_string()).collect());
                }
                Selection::None => {}
            }
        }
        let by_mac = self.by_mac.read().unwrap_or_else(PoisonError::into_inner);
        hardware
            .macs
            .iter()
            .find_map(|mac| by_mac.get(mac))
            .map_or(Identity::Unknown, |name| Identity::Machine(name.clone()))
    }

    /// The name under which a box was enrolled (or known before it left), whatever Git declares now.
    pub(super) fn enrolled_as(&self, macs: &[String]) -> Option<String> {
        let by_mac = self.by_mac.read().unwrap_or_else(PoisonError::into_inner);
        let name = macs.iter().find_map(|mac| by_mac.get(mac)).cloned()?;
        drop(by_mac);
        self.known(&name).filter(|entry| entry.state().enrolled.is_some()).map(|_| name)
    }

    /// Commits events and operations that touch one machine. The caller holds the entry's turn and has decided on
    /// `head`; a head that moved is [`StoreError::Conflict`].
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn commit_for(
        &self,
        entry: &Entry,
        head: u64,
        events: Vec<Event>,
        operations: Vec<Operation>,
    ) -> Result<Committed, StoreError> {
        let stream = Stream::Machine(entry.name.clone());
        let batch = Batch {
            expected: vec![(stream.clone(), head)],
            events: events.into_iter().map(|event| (stream.clone(), event)).collect(),
            operations,
        };
        self.commit(batch).await
    }

    /// Commits a batch and folds what it appended.
    ///
    /// # Errors
    /// What the store says.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let committed = self.store.commit(batch, self.clock.now_unix_ms()).await?;
        committed.records.iter().for_each(|record| self.apply(record));
        Ok(committed)
    }

    fn apply(&self, record: &Record) {
        match &record.stream {
            Stream::Machine(name) => {
                let entry = self.entry(name);
                entry.apply(record);
                self.index(&entry, record);
            }
            Stream::Box(mac) => {
                if let Event::Seen { subnet, architecture, .. } = &record.event {
                    let row = BoxRow {
                        mac: mac.clone(),
                        subnet: subnet.clone(),
                        architecture: architecture.clone(),
                        last_seen_unix_ms: record.at_unix_ms,
                        reason: "no machine declares it and no enrollment rule matches".into(),
                    };
                    self.boxes.write().unwrap_or_else(PoisonError::into_inner).insert(mac.clone(), row);
                }
            }
            Stream::Site => match &record.event {
                Event::SiteCreated { fresh: true, .. } | Event::SiteAdopted { .. } => {
                    self.trusted.store(true, Ordering::Relaxed);
                }
                _ => {}
            },
            Stream::Cluster(_) => {}
        }
    }

    fn index(&self, entry: &Entry, record: &Record) {
        match &record.event {
            Event::Forgotten { .. } => {
                let mut by_mac = self.by_mac.write().unwrap_or_else(PoisonError::into_inner);
                by_mac.retain(|_, name| *name != entry.name);
                drop(by_mac);
                self.refresh_members();
            }
            Event::Enrolled { .. } | Event::Offered { .. } | Event::Leased { .. } | Event::CheckedIn { .. } => {
                let state = entry.state();
                let mut by_mac = self.by_mac.write().unwrap_or_else(PoisonError::into_inner);
                for mac in &state.macs {
                    by_mac.entry(mac.clone()).or_insert_with(|| entry.name.clone());
                }
                if matches!(record.event, Event::Enrolled { .. }) {
                    let mut boxes = self.boxes.write().unwrap_or_else(PoisonError::into_inner);
                    for mac in &state.macs {
                        boxes.remove(mac);
                    }
                    drop(boxes);
                    drop(by_mac);
                    self.refresh_members();
                }
            }
            _ => {}
        }
    }

    /// Members of a cluster on the applied revision, sorted by name.
    pub fn members(&self, cluster: &str) -> Arc<[String]> {
        self.members.load().get(cluster).cloned().unwrap_or_default()
    }

    /// Makes the lists of members anew: after a revision was applied and after an enrolment.
    pub fn refresh_members(&self) {
        let Some(catalog) = self.current() else { return };
        let mut members: HashMap<String, Vec<String>> = HashMap::new();
        let mut add = |view: &MachineView| {
            for profile in catalog.clusters_of(view) {
                members.entry(profile.name.to_string()).or_default().push(view.name.to_string());
            }
        };
        catalog.machines().for_each(&mut add);
        for entry in self.all() {
            if catalog.machine(&entry.name).is_none()
                && let Some(view) = Self::view_on(&catalog, &entry.name, &entry.state())
            {
                add(&view);
            }
        }
        let members = members
            .into_iter()
            .map(|(cluster, mut names)| {
                names.sort_unstable();
                (cluster, Arc::from(names))
            })
            .collect();
        self.members.store(Arc::new(members));
    }

    /// Writes down, for every cluster, what a new revision changes by itself: an epoch that rose with `spec.run`.
    ///
    /// # Errors
    /// What the store says.
    pub async fn settle_clusters(&self) -> Result<(), StoreError> {
        for cluster in self.store.clusters()? {
            let Some(context) = self.cluster_context(&cluster, cluster::Caller::Server) else { continue };
            let request = cluster::Request { cluster, operation: cluster::Operation::Settle, context };
            let operations = vec![Operation::Cluster(Box::new(request))];
            self.commit(Batch { expected: Vec::new(), events: Vec::new(), operations }).await?;
        }
        Ok(())
    }

    /// What a cluster operation needs to know around it; `None`: the applied revision has no such cluster.
    pub fn cluster_context(&self, cluster: &str, caller: cluster::Caller) -> Option<cluster::Context> {
        let catalog = self.current()?;
        let profile = catalog.cluster_profile(cluster)?;
        Some(cluster::Context {
            now_ms: self.clock.now_ms(),
            now_unix_ms: self.clock.now_unix_ms(),
            caller,
            epoch: None,
            members: self.members(cluster),
            size: profile.spec.size,
            run: profile.spec.run,
            keys: Arc::from(profile.spec.keys.as_slice()),
            idempotency_key: None,
            fence: None,
        })
    }
}
