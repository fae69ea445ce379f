//! What the server knows: every machine's folded state, who is who, and the one way to write events down.
//!
//! States are projections: made from the store's events at start, moved on by what is committed since, by this server and by
//! others on the same store, in the one order that the store gave all events ([`super::take_in`]).

use super::bucket::Enrolling;
use super::clock::Clock;
use super::entry::Entry;
use super::index::Index;
use super::secrets::Secrets;
use crate::catalog::{Catalog, MachineView, Selection};
use crate::content::junk::{is_junk_serial, is_junk_uuid};
use crate::identity::{SiteKeys, Verified};
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
    /// The UUID that its firmware showed. A rule may name it by that; the journal does not have it.
    #[serde(skip)]
    pub(super) uuid: Option<String>,
    /// The serial that its firmware showed, likewise.
    #[serde(skip)]
    pub(super) serial: Option<String>,
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
    /// No declaration and no enrolment has it, but this machine says that it has a card with its MAC: hold it likewise.
    Claimed(String),
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
    pub(super) verified: Verified,
    entries: RwLock<BTreeMap<String, Arc<Entry>>>,
    /// Machines by the MACs they were enrolled or seen with, and by their tickets.
    index: RwLock<Index>,
    boxes: RwLock<BTreeMap<String, BoxRow>>,
    pub(super) members: ArcSwap<HashMap<String, Arc<[String]>>>,
    trusted: AtomicBool,
    pub(super) told_of_boxes: Mutex<Told>,
    /// Boxes that rules made machines of lately.
    pub(super) enrolling: Mutex<Enrolling>,
    pub(super) file_troubles: ArcSwap<BTreeMap<String, String>>,
    /// The last event that was taken in. Whoever takes in holds it.
    pub(super) taken_in: Mutex<u64>,
    /// Others commit to the store, too.
    pub(super) others: AtomicBool,
    /// The revision that the journal says is applied.
    pub(super) applied: ArcSwapOption<String>,
}

/// Events about boxes that are no machines, in the minute that began then.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Lifetime clock.
    pub since_ms: u64,
    /// So many.
    pub count: u32,
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
            verified: Verified::default(),
            entries: RwLock::default(),
            index: RwLock::default(),
            boxes: RwLock::default(),
            members: ArcSwap::default(),
            trusted: AtomicBool::new(false),
            told_of_boxes: Mutex::default(),
            enrolling: Mutex::default(),
            file_troubles: ArcSwap::default(),
            taken_in: Mutex::default(),
            others: AtomicBool::new(false),
            applied: ArcSwapOption::empty(),
        };
        fleet.load_folded()?;
        fleet.take_in_first()?;
        fleet.refresh_members();
        Ok(fleet)
    }

    /// Takes in whose MACs were whose when machines were folded, before any event: the place of a fold among the events of
    /// others says nothing about who showed a MAC first. Of two folds with one MAC the later made is right.
    fn load_folded(&self) -> Result<(), StoreError> {
        let mut folds = Vec::new();
        for stream in self.store.streams()? {
            let Stream::Machine(name) = &stream else { continue };
            let first = self.store.events_of(&stream, 0, 1)?.into_iter().next();
            if let Some(Event::Folded { made_at, macs, state }) = first.map(|record| record.event) {
                folds.push((made_at, name.clone(), macs, state));
            }
        }
        folds.sort_by_key(|(made_at, ..)| *made_at);
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        for (_, name, macs, state) in folds {
            index.take_in_folded(&name, &macs, &state);
        }
        Ok(())
    }

    /// Of the MACs of a state, those that lead to this machine.
    pub(super) fn owned(&self, name: &str, state: &MachineState) -> Vec<String> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let own = |mac: &&String| index.claimed_by(std::slice::from_ref(*mac)) == Some(name);
        state.macs.iter().filter(own).cloned().collect()
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

    /// Boxes that are no machines, and why each gets nothing.
    pub fn boxes(&self) -> Vec<BoxRow> {
        let current = self.current();
        let mut rows: Vec<BoxRow> =
            self.boxes.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        for row in &mut rows {
            row.reason = self.why_nothing(current.as_deref(), row);
        }
        rows
    }

    /// What the firmware of a box that is no machine shows beside its card.
    pub(super) fn remember_shown(&self, mac: &str, hardware: &HardwareIdentity) {
        if let Some(row) = self.boxes.write().unwrap_or_else(PoisonError::into_inner).get_mut(mac) {
            row.uuid.clone_from(&hardware.uuid);
            row.serial.clone_from(&hardware.serial);
        }
    }

    /// How many boxes that are no machines are remembered.
    pub(super) fn boxes_seen(&self) -> usize {
        self.boxes.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// A box that is no machine, by its MAC, without why it gets nothing.
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
        crate::inspect::view_on(catalog, name, state)
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
        if let Some(name) = self.enrolled_as(&hardware.macs) {
            return Identity::Machine(name);
        }
        let index = self.index();
        let Some(name) = index.claimed_by(&hardware.macs).map(str::to_owned) else { return Identity::Unknown };
        drop(index);
        let Some(entry) = self.known(&name) else { return Identity::Unknown };
        // A machine that left boots its own disk by whichever card; another card of an enrolled box is known by what it was
        // enrolled with, never by what it reports since.
        let state = entry.state();
        let same_box = state.enrolled.as_ref().is_some_and(|by| {
            let uuid = hardware.uuid.as_deref().filter(|uuid| !is_junk_uuid(uuid));
            let serial = hardware.serial.as_deref().filter(|serial| !is_junk_serial(serial));
            (uuid.is_some() && uuid == by.uuid.as_deref()) || (serial.is_some() && serial == by.serial.as_deref())
        });
        if state.left || same_box { Identity::Machine(name) } else { Identity::Claimed(name) }
    }

    /// The name under which a box was enrolled (or known before it left), whatever Git declares now.
    pub(super) fn enrolled_as(&self, macs: &[String]) -> Option<String> {
        let index = self.index();
        index.enrolled_by(macs).map(str::to_owned)
    }

    /// Whose MACs and tickets are.
    pub(super) fn index(&self) -> std::sync::RwLockReadGuard<'_, Index> {
        self.index.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine that an offer or a disk ticket was made for, while it is remembered.
    pub(super) fn owner_of_ticket(&self, ticket: &str) -> Option<Arc<Entry>> {
        let index = self.index();
        let name = index.ticket_of(ticket)?.to_owned();
        drop(index);
        self.known(&name)
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
        let committed = self.commit(batch).await;
        if matches!(committed, Err(StoreError::Conflict { .. })) {
            self.take_in_all()?;
        }
        committed
    }

    /// Commits a batch and takes in what it appended.
    ///
    /// # Errors
    /// What the store says.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, StoreError> {
        let committed = self.store.commit(batch, self.clock.now_unix_ms()).await?;
        self.take_in_own(&committed.records)?;
        Ok(committed)
    }

    /// Moves on by one event, the next in the store's order.
    pub(super) fn apply(&self, record: &Record) {
        match &record.stream {
            Stream::Machine(name) => {
                let (before, after) = self.entry(name).apply(record);
                let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
                index.take_in(name, &record.event, &before, &after);
                drop(index);
                if let Event::Enrolled { mac, .. } = &record.event {
                    self.boxes.write().unwrap_or_else(PoisonError::into_inner).remove(mac);
                }
            }
            Stream::Box(mac) => {
                if let Event::Seen { subnet, architecture, .. } = &record.event {
                    let mut boxes = self.boxes.write().unwrap_or_else(PoisonError::into_inner);
                    let before = boxes.remove(mac);
                    let (uuid, serial) = before.map(|row| (row.uuid, row.serial)).unwrap_or_default();
                    let row = BoxRow {
                        mac: mac.clone(),
                        subnet: subnet.clone(),
                        architecture: architecture.clone(),
                        last_seen_unix_ms: record.at_unix_ms,
                        // Said when it is asked for: it follows from what serves then.
                        reason: String::new(),
                        uuid,
                        serial,
                    };
                    boxes.insert(mac.clone(), row);
                }
            }
            Stream::Site => match &record.event {
                Event::SiteCreated { fresh: true, .. } | Event::SiteAdopted { .. } => {
                    self.trusted.store(true, Ordering::Relaxed);
                }
                // What was enrolled and installed after the backup is not known here.
                Event::StoreRestored { .. } => self.trusted.store(false, Ordering::Relaxed),
                Event::RevisionApplied { revision, .. } => self.applied.store(Some(Arc::new(revision.clone()))),
                event => self.take_in_file(event),
            },
            Stream::Cluster(_) => {}
        }
    }
}
