//! From a box that shows itself to a machine: declared, enrolled, taken in by a rule now, or nothing.

use super::bucket::{Enrolling, Enrolment};
use super::entry::Entry;
use super::machines::{BoxRow, Fleet, Identity, Told};
use crate::catalog::{Catalog, Enrollment, MachineView, Seen, Selection};
use crate::content::kinds::Architecture;
use crate::journal::{Event, MachineState, Record, Stream};
use crate::store::{Batch, StoreError};
use crate::wire::HardwareIdentity;
use crate::workflow::Trust;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

/// All there are.
const ARCHITECTURES: [Architecture; 2] = [Architecture::X86_64, Architecture::Aarch64];
/// At most one `Seen` event a minute a box.
const SEEN_EVERY_MS: i64 = 60_000;
/// Boxes that are remembered: a flood of made-up MACs must not fill the journal.
const BOXES_MAX: usize = 10_000;
/// Events about them in one minute.
const BOX_EVENTS_A_MINUTE: u32 = 600;

/// What is said of a box before there is anything to know it by.
const NOT_LOADED: &str = "no good revision has been loaded yet";
/// What is said of a box that nothing in Git is about.
const UNMATCHED: &str = "no machine declares it and no enrollment rule matches";

/// What a box came to.
pub enum Resolved {
    /// This machine.
    Machine(Arc<Entry>),
    /// It gets nothing to boot.
    Nothing {
        /// Why.
        reason: String,
    },
    /// It gets nothing now, and the screen says why.
    Hold {
        /// Why.
        reason: String,
    },
}

/// It has walked nothing and nobody took it over: an enrolled machine's past may still become its own.
pub(super) fn is_untouched(state: &MachineState) -> bool {
    state.run.is_none() && state.adopted.is_none() && state.enrolled.is_none()
}

/// The rule that would take in a machine's box as new, and give it a workflow, if the machine were forgotten. On which subnet
/// the box shows itself next is not known, nor always its architecture: a rule for any of them counts.
pub fn would_take_in<'a>(catalog: &'a Catalog, state: &MachineState) -> Option<&'a Enrollment> {
    let enrolled = state.enrolled.as_ref();
    let said = state.boot.as_ref().map(|boot| &boot.said.hardware);
    let uuid = enrolled.and_then(|by| by.uuid.clone()).or_else(|| said.and_then(|said| said.uuid.clone()));
    let serial = enrolled.and_then(|by| by.serial.clone()).or_else(|| said.and_then(|said| said.serial.clone()));
    let subnets: Vec<Option<String>> =
        std::iter::once(None).chain(catalog.subnets().map(|subnet| Some(subnet.name.to_string()))).collect();
    // A card that is declared is no unknown box.
    let declared = |mac: &String| catalog.machines().any(|view| view.macs.contains(mac));
    let macs = state.macs.iter().chain(enrolled.map(|by| &by.mac)).filter(|mac| !declared(mac));
    let ways = macs.flat_map(|mac| subnets.iter().flat_map(move |subnet| ARCHITECTURES.map(|it| (mac, subnet, it))));
    ways.filter_map(|(mac, subnet, architecture)| {
        let seen = Seen {
            mac: mac.clone(),
            uuid: uuid.clone(),
            serial: serial.clone(),
            architecture: Some(architecture),
            subnet: subnet.clone(),
        };
        catalog.enrollment_for(&seen).map(|(rule, _)| rule)
    })
    .find(|rule| rule.workflow.is_some())
}

/// Why a store that does not know all its machines takes in no box.
fn held_unknown(rule: &Enrollment) -> String {
    format!(
        "rule {} matches, but this store was not made for new machines: the box may be installed already. \
         `formwork adopt --all --new` lets unknown machines in",
        rule.name
    )
}

/// Why a rule gives a box no name that another box has.
fn name_taken(rule: &Enrollment, name: &str, other: &str) -> String {
    format!("rule {} would name it {name}, as it did {other}", rule.name)
}

/// Why a box has to wait for what it would become.
fn enrols_later(rule: &Enrollment, name: &str) -> String {
    format!("rule {} takes it in as {name} a little later: {ENROLS}. It asks again by itself", rule.name)
}

/// How many are taken in, in words.
const ENROLS: &str = "rules take in 12,000 boxes at once, then 600 a minute";

/// A declared machine that is another until its next word.
#[derive(Debug, Clone)]
pub struct ToAdopt {
    /// How it will stand: what will be written down then, on what is known of it now.
    pub state: Arc<MachineState>,
    /// The name that its box has until then.
    pub former: String,
}

/// What is written down for a machine declared with these MACs, standing as in `state`, that was the machine `before`, standing
/// as in `old`.
pub(super) fn adoption(state: &MachineState, macs: &[String], old: &MachineState, before: &str) -> Vec<Event> {
    let adopted_before = || old.adopted.as_ref().and_then(|(_, workflow)| workflow.clone());
    let mut events = vec![Event::Adopted {
        by: format!("declaration in Git, was {}", before),
        run: old.highest_run,
        workflow: old.run.as_ref().map(|run| run.workflow.clone()).or_else(adopted_before),
        macs: macs.to_vec(),
        reason: String::new(),
    }];
    // What an old backup says it walked is not what it walked: under its new name too, a person says how it stands.
    if let Some(backup_unix_ms) = old.restored {
        events.push(Event::StoreRestored { backup_unix_ms });
    }
    if let Some((ticket, run)) = old.disk_tickets.last() {
        events.push(Event::DiskTicketPlanted { ticket: ticket.clone(), job: String::new(), run: *run });
        if let Some(used) = old.tickets.iter().find(|used| used.ticket == *ticket) {
            events.push(Event::Exchanged {
                ticket: ticket.clone(),
                key: used.key.clone(),
                boot_id: used.boot_id.clone(),
                generation: state.generation.saturating_add(1),
            });
        }
    }
    events
}

impl Fleet {
    /// Whose box this is; takes it in where a rule says so.
    ///
    /// # Errors
    /// What the store says when an enrolment cannot be written down.
    pub async fn resolve(
        &self,
        hardware: &HardwareIdentity,
        architecture: Option<Architecture>,
        subnet: Option<&str>,
        by: &str,
    ) -> Result<Resolved, StoreError> {
        match self.identify(hardware) {
            Identity::Machine(name) => Ok(Resolved::Machine(self.entry(&name))),
            Identity::Conflict(names) => Ok(Resolved::Hold {
                reason: format!("its MAC, UUID and serial point to {}; mend `match:` in Git", names.join(" and ")),
            }),
            Identity::Claimed(name) => Ok(Resolved::Hold {
                reason: format!(
                    "{name} says that it has a card with this MAC; declare the MAC in Git, or `formwork forget` the one that is not"
                ),
            }),
            Identity::Unknown => self.take_in(hardware, architecture, subnet, by).await,
        }
    }

    async fn take_in(
        &self,
        hardware: &HardwareIdentity,
        architecture: Option<Architecture>,
        subnet: Option<&str>,
        by: &str,
    ) -> Result<Resolved, StoreError> {
        let Some(mac) = hardware.macs.first() else {
            return Ok(Resolved::Nothing { reason: "it did not say its MAC".into() });
        };
        self.seen(mac, architecture, subnet, by).await?;
        self.remember_shown(mac, hardware);
        let Some(catalog) = self.current() else {
            return Ok(Resolved::Hold { reason: NOT_LOADED.into() });
        };
        let seen = Seen {
            mac: mac.clone(),
            uuid: hardware.uuid.clone(),
            serial: hardware.serial.clone(),
            architecture,
            subnet: subnet.map(str::to_owned),
        };
        let Some((rule, name)) = catalog.enrollment_for(&seen) else {
            return Ok(Resolved::Nothing { reason: UNMATCHED.into() });
        };
        if self.trust() == Trust::HoldUnknown {
            return Ok(Resolved::Hold { reason: held_unknown(rule) });
        }
        if catalog.machine(&name).is_some() {
            let reason = format!("rule {} would name it {name}, which is declared for another box", rule.name);
            return Ok(Resolved::Hold { reason });
        }
        // Before anything is remembered of the name: names are made up as easily as cards.
        let is_new = self.known(&name).is_none();
        if is_new && !self.may_enrol() {
            return Ok(Resolved::Hold { reason: enrols_later(rule, &name) });
        }
        let entry = self.entry(&name);
        let _turn = entry.turn.lock().await;
        let state = entry.state();
        if let Some(other) = state.enrolled.as_ref().filter(|other| other.mac != *mac) {
            return Ok(Resolved::Hold { reason: name_taken(rule, &name, &other.mac) });
        }
        if state.enrolled.is_none() {
            if !is_new && !self.may_enrol() {
                return Ok(Resolved::Hold { reason: enrols_later(rule, &name) });
            }
            let event = Event::Enrolled {
                rule: rule.name.to_string(),
                mac: mac.clone(),
                uuid: hardware.uuid.clone(),
                serial: hardware.serial.clone(),
                architecture: architecture.map(|architecture| architecture.as_str().to_owned()),
            };
            self.commit_for(&entry, state.head, vec![event], Vec::new()).await?;
            tracing::info!(machine = name, mac, rule = %rule.name, "enrolled");
        }
        drop(_turn);
        Ok(Resolved::Machine(entry))
    }

    /// Why a box that is no machine has got nothing, on what serves now.
    pub(super) fn why_nothing(&self, current: Option<&Catalog>, row: &BoxRow) -> String {
        let Some(catalog) = current else { return NOT_LOADED.into() };
        let said = row.architecture.as_deref();
        let seen = Seen {
            mac: row.mac.clone(),
            uuid: row.uuid.clone(),
            serial: row.serial.clone(),
            architecture: ARCHITECTURES.into_iter().find(|it| Some(it.as_str()) == said),
            subnet: row.subnet.clone(),
        };
        let Some((rule, name)) = catalog.enrollment_for(&seen) else { return UNMATCHED.into() };
        if self.trust() == Trust::HoldUnknown {
            return held_unknown(rule);
        }
        let state = self.known(&name).map(|entry| entry.state());
        match state.as_ref().and_then(|state| state.enrolled.as_ref()).filter(|other| other.mac != row.mac) {
            Some(other) => name_taken(rule, &name, &other.mac),
            None => format!("rule {} takes it in as {name} when it asks what to boot", rule.name),
        }
    }

    /// The machine that a declared one with these MACs was before: enrolled by one of them, or under another name in Git, which
    /// is gone from there. A new name is no wish to be installed anew.
    pub(super) fn formerly(&self, name: &str, macs: &[String]) -> Option<String> {
        self.formerly_on(self.current()?.as_ref(), name, macs)
    }

    /// The same on a revision that may be served.
    pub(super) fn formerly_on(&self, catalog: &Catalog, name: &str, macs: &[String]) -> Option<String> {
        let index = self.index();
        let enrolled = index.enrolled_by(macs).map(str::to_owned);
        let claimed = index.claimed_by(macs).map(str::to_owned);
        drop(index);
        let gone = |former: &String| {
            let state = self.known(former).map(|entry| entry.state());
            state.is_some_and(|state| {
                (state.run.is_some() || state.adopted.is_some()) && Self::view_on(catalog, former, &state).is_none()
            })
        };
        enrolled.or_else(|| claimed.filter(gone)).filter(|former| former != name)
    }

    /// Whether a machine declared on this revision is another until its next word. Nothing is written down.
    pub fn adopting(&self, catalog: &Catalog, view: &MachineView, state: &MachineState) -> Option<ToAdopt> {
        if !is_untouched(state) {
            return None;
        }
        let former = self.formerly_on(catalog, &view.name, &view.macs)?;
        let old = self.known(&former)?.state();
        if is_untouched(&old) {
            return None;
        }
        let mut adopted = MachineState::clone(state);
        for event in adoption(state, &view.macs, &old, &former) {
            let stream = Stream::Machine(view.name.clone());
            let (index, at_unix_ms) = (adopted.head, self.clock.now_unix_ms());
            adopted.apply(&Record { sequence: 0, stream, index, at_unix_ms, event });
        }
        // It says nothing by being imagined: what was heard last was heard under its other name.
        adopted.heard_unix_ms = state.heard_unix_ms.max(old.heard_unix_ms);
        adopted.last_event_unix_ms = state.last_event_unix_ms.max(old.last_event_unix_ms);
        Some(ToAdopt { state: Arc::new(adopted), former })
    }

    /// The declared machine that one of another name is from its next word on.
    pub fn becomes(&self, catalog: &Catalog, name: &str) -> Option<String> {
        let state = self.known(name)?.state();
        let macs = state.macs.iter().chain(state.enrolled.as_ref().map(|by| &by.mac));
        macs.into_iter().find_map(|mac| {
            let hardware = HardwareIdentity { macs: vec![mac.clone()], ..HardwareIdentity::default() };
            let Selection::One(view) = catalog.select(&hardware) else { return None };
            let declared = self.known(&view.name).map(|entry| entry.state()).unwrap_or_default();
            let found = self.adopting(catalog, view, &declared)?;
            (found.former == name).then(|| view.name.clone())
        })
    }

    /// All such machines of a revision, by name.
    pub fn to_adopt(&self, catalog: &Catalog) -> BTreeMap<String, ToAdopt> {
        let states = |name: &str| self.known(name).map(|entry| entry.state()).unwrap_or_default();
        let adopting = |view: &MachineView| {
            let found = self.adopting(catalog, view, &states(&view.name))?;
            Some((view.name.clone(), found))
        };
        catalog.machines().filter_map(adopting).collect()
    }

    /// A declaration with the MAC of an enrolled machine, or of one that had another name in Git, adopts it: what that one has
    /// walked, the declared one has, and its installed system is known by its ticket and key. Only before the declared one has
    /// walked anything: events such as a lease may come first. The caller holds the turn of `entry`; the other machine is on no
    /// revision or enrolled, and never waits for the turn of a declared one. `more` is written down with it. `false`: there was
    /// nothing to adopt, and nothing was written.
    ///
    /// # Errors
    /// What the store says.
    pub(super) async fn adopt_former(
        &self,
        entry: &Entry,
        before: &str,
        macs: &[String],
        more: Vec<Event>,
    ) -> Result<bool, StoreError> {
        if before == entry.name || !is_untouched(&entry.state()) {
            return Ok(false);
        }
        let before = self.entry(before);
        let _other_turn = before.turn.lock().await;
        let (state, old) = (entry.state(), before.state());
        if is_untouched(&old) {
            return Ok(false);
        }
        let (new_stream, old_stream) = (Stream::Machine(entry.name.clone()), Stream::Machine(before.name.clone()));
        let adopted = adoption(&state, macs, &old, &before.name);
        let forgotten = Event::Forgotten { by: format!("declaration in Git as {}", entry.name), reason: String::new() };
        // First: a MAC that is still the old one's would not become the new one's.
        let mut events = vec![(old_stream.clone(), forgotten)];
        events.extend(adopted.into_iter().chain(more).map(|event| (new_stream.clone(), event)));
        let expected = vec![(new_stream, state.head), (old_stream, old.head)];
        self.commit(Batch { expected, events, operations: Vec::new() }).await.map(|_| true)
    }

    /// Whether one more event about a box that is no machine may be written in this minute: anybody on the boot network can
    /// make up cards.
    pub fn may_write_of_boxes(&self) -> bool {
        let now = self.clock.now_ms();
        let mut told = self.told_of_boxes.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_sub(told.since_ms) >= 60_000 {
            *told = Told { since_ms: now, count: 0 };
        }
        told.count = told.count.saturating_add(1);
        if told.count == BOX_EVENTS_A_MINUTE + 1 {
            tracing::warn!("boxes that are no machines are not written down for a minute: there are too many");
        }
        told.count <= BOX_EVENTS_A_MINUTE
    }

    /// Whether a rule may make a machine of one more box now: anybody on the boot network can make up cards, and a machine stays.
    fn may_enrol(&self) -> bool {
        let mut enrolling = self.enrolling.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, came_to) = enrolling.ask(self.clock.now_ms());
        *enrolling = next;
        if let Enrolment::Waits(Some(count)) = came_to {
            tracing::warn!(asked = count, "boxes that a rule would take in have to wait: {ENROLS}");
        }
        came_to == Enrolment::Taken
    }

    /// How often a box that a rule would take in had to wait, and why some do at this time.
    pub fn enrolments_waited(&self) -> (u64, Option<String>) {
        let enrolling: Enrolling = *self.enrolling.lock().unwrap_or_else(PoisonError::into_inner);
        let why = format!(
            "boxes that a rule would take in have to wait: {ENROLS}. Where nobody switched on so many, somebody on the boot \
             network makes up cards"
        );
        (enrolling.waited, enrolling.is_behind(self.clock.now_ms()).then_some(why))
    }

    /// Writes down that a box showed itself, at most once a minute.
    ///
    /// # Errors
    /// What the store says.
    pub async fn seen(
        &self,
        mac: &str,
        architecture: Option<Architecture>,
        subnet: Option<&str>,
        by: &str,
    ) -> Result<(), StoreError> {
        let now = self.clock.now_unix_ms();
        match self.box_seen(mac) {
            Some(row) if now.saturating_sub(row.last_seen_unix_ms) < SEEN_EVERY_MS => return Ok(()),
            None if self.boxes_seen() >= BOXES_MAX => {
                tracing::warn!(mac, "over ten thousand unknown boxes; this one is not written down");
                return Ok(());
            }
            _ => {}
        }
        if !self.may_write_of_boxes() {
            return Ok(());
        }
        let event = Event::Seen {
            mac: mac.to_owned(),
            subnet: subnet.map(str::to_owned),
            by: by.to_owned(),
            architecture: architecture.map(|architecture| architecture.as_str().to_owned()),
        };
        let events = vec![(Stream::Box(mac.to_owned()), event)];
        self.commit(Batch { expected: Vec::new(), events, operations: Vec::new() }).await.map(|_| ())
    }
}
