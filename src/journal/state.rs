//! A machine's state, folded from its events: a projection that can be thrown away and made again. All of it can be written
//! down ([`Event::Folded`](super::Event::Folded)) where retention drops the events it was made of.

use super::event::Event;
use super::parts::Ask;
use super::record::Record;
use super::run::Run;
use crate::wire::CheckInRequest;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// How many boots and tickets a state remembers: enough for a long run, bounded for a machine that never rests.
const REMEMBERED: usize = 32;
/// How many MACs a state remembers: more cards than a machine has.
const MACS_REMEMBERED: usize = 64;

/// How an unknown box became a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnrolledBy {
    /// The rule.
    pub rule: String,
    /// The MAC it was taken in with.
    pub mac: String,
    /// Its UUID, unless junk.
    pub uuid: Option<String>,
    /// Its serial, unless junk.
    pub serial: Option<String>,
    /// Its architecture.
    pub architecture: Option<String>,
}

/// A script that was served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// Its id, which is also its ticket's.
    pub id: String,
    /// The environment.
    pub environment: String,
    /// To which address.
    pub address: Option<Ipv4Addr>,
    /// To which MAC.
    pub mac: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// The run it serves, where one was open.
    pub run: Option<u64>,
    /// Another ticket was exchanged since (the machine came up from something else), or its installer called back.
    pub ended: bool,
}

/// One start of a kernel, by its check-in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Boot {
    /// What the agent said.
    #[serde(flatten)]
    pub said: CheckInRequest,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
}

/// How a ticket was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TicketUse {
    /// The ticket.
    pub ticket: String,
    /// SHA-256 of the key it was exchanged for.
    pub key: String,
    /// In which boot.
    pub boot_id: String,
}

/// An exchange that waits for an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Awaiting {
    /// The ticket's id.
    pub ticket: String,
    /// SHA-256 of the key, hexadecimal.
    pub key: String,
}

/// What is known of a machine.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MachineState {
    /// Count of its events: what a decision is made on.
    pub head: u64,
    /// How it came in, where by a rule.
    pub enrolled: Option<EnrolledBy>,
    /// What a person took over: highest run and workflow taken as done.
    pub adopted: Option<(u64, Option<String>)>,
    /// It is gone from Git.
    pub left: bool,
    /// All tokens of lower generations are dead.
    pub generation: u64,
    /// Why its identity is in doubt.
    pub quarantined: Option<String>,
    /// A person trusts its next exchange.
    pub approved: bool,
    /// An administrator approved the identity (assurance A2).
    pub vouched: bool,
    /// The exchange that waits for an approval.
    pub awaiting: Option<Awaiting>,
    /// The key that an administrator approved and that has not been exchanged yet.
    pub approved_key: Option<String>,
    /// Why it is held at boot.
    pub held: Option<String>,
    /// Tickets used, newest last.
    pub tickets: Vec<TicketUse>,
    /// Disk tickets planted, newest last: (ticket, run).
    pub disk_tickets: Vec<(String, u64)>,
    /// The last script served.
    pub offer: Option<Offer>,
    /// The last few scripts served, newest last: a firmware that asked twice may boot the earlier.
    pub offers: Vec<Offer>,
    /// The last offer whose installer called back.
    pub installer_ended: Option<String>,
    /// Scripts served since the last check-in that expect one.
    pub offers_unanswered: u32,
    /// The last boot.
    pub boot: Option<Arc<Boot>>,
    /// MAC addresses it was seen with, or declared with when it was adopted.
    pub macs: std::collections::BTreeSet<String>,
    /// The highest run ever started (or adopted).
    pub highest_run: u64,
    /// The last run.
    pub run: Option<Run>,
    /// Facts.
    pub facts: Arc<serde_json::Map<String, serde_json::Value>>,
    /// A person asked for a reboot in this boot.
    pub reboot_asked_in: Option<String>,
    /// The store came back from a backup of that moment (Unix milliseconds), and nobody has said yet how the machine stands.
    pub restored: Option<i64>,
    /// Why somebody has to look at it: it should have said something long ago. Until it is heard of again.
    pub overdue: Option<String>,
    /// When the machine itself last said something that is an event, Unix milliseconds.
    pub heard_unix_ms: Option<i64>,
    /// When anything was last written down of it, Unix milliseconds.
    pub last_event_unix_ms: i64,
}

impl MachineState {
    /// It began a run, or was taken over as one that had: it has something to lose.
    pub const fn has_walked(&self) -> bool {
        self.run.is_some() || self.adopted.is_some()
    }

    /// Anything happened to it (since it was last forgotten).
    pub fn is_known(&self) -> bool {
        self.enrolled.is_some() || self.run.is_some() || self.adopted.is_some() || self.left || !self.macs.is_empty()
    }

    /// Folds all of a stream's records.
    pub fn fold<'a>(records: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut state = Self::default();
        for record in records {
            state.apply(record);
        }
        state
    }

    /// Takes in one more event.
    pub fn apply(&mut self, record: &Record) {
        self.head = record.index.saturating_add(1);
        let at = record.at_unix_ms;
        self.last_event_unix_ms = at;
        if is_its_own_word(&record.event) {
            self.heard_unix_ms = Some(at);
            self.overdue = None;
        }
        match &record.event {
            Event::Enrolled { rule, mac, uuid, serial, architecture } => {
                self.macs.insert(mac.clone()); // whatever was seen before: it is the one that counts
                self.left = false;
                self.enrolled = Some(EnrolledBy {
                    rule: rule.clone(),
                    mac: mac.clone(),
                    uuid: uuid.clone(),
                    serial: serial.clone(),
                    architecture: architecture.clone(),
                });
            }
            Event::Adopted { run, workflow, macs, .. } => {
                macs.iter().for_each(|mac| self.saw(mac));
                if self.restored.take().is_some() {
                    // What the backup's last run did is not the last that the machine did.
                    self.run = None;
                }
                self.highest_run = self.highest_run.max(*run);
                self.adopted = Some((*run, workflow.clone()));
            }
            Event::Forgotten { .. } => {
                // Only the head and the generation outlive it, and that one raised: the name's old tokens stay dead.
                let (head, generation) = (self.head, self.generation.saturating_add(1));
                *self = Self { head, generation, last_event_unix_ms: at, ..Self::default() };
            }
            Event::Left { .. } => {
                self.left = true;
                self.doubt();
            }
            Event::Returned { .. } => self.left = false,
            Event::Leased { mac, .. } => self.saw(mac),
            Event::Offered { offer, environment, address, mac, run, .. } => {
                self.saw(mac);
                if run.is_some() || environment != LOCAL {
                    self.offers_unanswered = self.offers_unanswered.saturating_add(1);
                }
                let offer = Offer {
                    id: offer.clone(),
                    environment: environment.clone(),
                    address: *address,
                    mac: mac.clone(),
                    at_unix_ms: at,
                    run: *run,
                    ended: false,
                };
                self.remember_offer(offer.clone());
                self.offer = Some(offer);
            }
            Event::Held { reason } => self.held = Some(reason.clone()),
            Event::Overdue { reason } => self.overdue = Some(reason.clone()),
            Event::Quarantined { reason } => {
                self.quarantined = Some(reason.clone());
                self.approved = false;
                self.doubt();
            }
            Event::Exchanged { ticket, key, boot_id, generation } => {
                self.generation = *generation;
                if self.approved {
                    self.quarantined = None;
                    self.approved = false;
                    self.vouched = true;
                }
                self.vouched |= self.approved_key.take_if(|approved| approved == key).is_some();
                self.awaiting = None;
                self.exchanged(TicketUse { ticket: ticket.clone(), key: key.clone(), boot_id: boot_id.clone() });
            }
            Event::ApprovalAwaited { ticket, key, .. } => {
                self.awaiting = Some(Awaiting { ticket: ticket.clone(), key: key.clone() });
            }
            Event::DiskTicketPlanted { ticket, run, .. } => {
                push_bounded(&mut self.disk_tickets, (ticket.clone(), *run));
            }
            Event::GenerationRaised { generation, .. } => self.generation = *generation,
            Event::CheckedIn { check_in, .. } => self.checked_in(check_in, at),
            Event::FactsReported { facts, .. } => {
                let known = Arc::make_mut(&mut self.facts);
                for (name, value) in facts {
                    if value.is_null() {
                        known.shift_remove(name);
                    } else {
                        known.insert(name.clone(), value.clone());
                    }
                }
            }
            Event::Asked { what, .. } => self.asked(what),
            Event::InstallerFinished { offer, .. } => {
                self.installer_finished(offer);
                self.apply_to_run(&record.event, at);
            }
            Event::Folded { state, .. } => *self = Self { head: self.head, ..MachineState::clone(state) },
            Event::StoreRestored { backup_unix_ms } => {
                self.restored = Some(*backup_unix_ms);
                // An approval was for an exchange of then.
                self.approved = false;
                self.awaiting = None;
                self.approved_key = None;
            }
            _ => self.apply_to_run(&record.event, at),
        }
    }

    /// Each ticket is remembered once, with its last use; that of the installed system is never pushed out by later boots,
    /// or any key could use it. Scripts served before this exchange are over: the machine came up from one of them.
    fn exchanged(&mut self, now: TicketUse) {
        self.tickets.retain(|used| used.ticket != now.ticket);
        if self.tickets.len() >= REMEMBERED {
            let planted = self.disk_tickets.last().map(|(planted, _)| planted.as_str());
            if let Some(oldest) = self.tickets.iter().position(|used| Some(used.ticket.as_str()) != planted) {
                self.tickets.remove(oldest);
            }
        }
        for offer in &mut self.offers {
            offer.ended |= offer.id != now.ticket;
        }
        self.tickets.push(now);
        if let Some(offer) = &mut self.offer {
            offer.ended |= self.tickets.last().is_some_and(|last| last.ticket != offer.id);
        }
    }

    /// The boot of that offer is over, and was no silent one.
    fn installer_finished(&mut self, offer: &str) {
        self.offers_unanswered = 0;
        self.held = None;
        self.installer_ended = Some(offer.to_owned());
        for known in self.offers.iter_mut().chain(self.offer.as_mut()) {
            known.ended |= known.id == offer;
        }
    }

    fn checked_in(&mut self, said: &CheckInRequest, at: i64) {
        self.offers_unanswered = 0;
        self.held = None;
        said.hardware.macs.iter().for_each(|mac| self.saw(mac));
        let new_boot = self.boot.as_ref().is_none_or(|boot| boot.said.boot_id != said.boot_id);
        if new_boot && let Some(run) = self.run.as_mut().filter(|run| run.is_open()) {
            run.booted(&said.boot_id);
        }
        self.boot = Some(Arc::new(Boot { said: said.clone(), at_unix_ms: at }));
    }

    fn asked(&mut self, what: &Ask) {
        match what {
            Ask::Retry => {
                self.held = None;
                self.offers_unanswered = 0;
                // What an ended run did stays as it was.
                if let Some(run) = self.run.as_mut().filter(|run| run.is_open()) {
                    run.try_again();
                }
            }
            Ask::Approve => self.approve(),
            Ask::Reboot => self.reboot_asked_in = self.boot.as_ref().map(|boot| boot.said.boot_id.clone()),
        }
    }

    /// In quarantine it is the next exchange that is trusted; else the one that waits; else the identity as it stands.
    fn approve(&mut self) {
        if self.quarantined.is_some() {
            self.approved = true;
        } else if let Some(awaiting) = &self.awaiting {
            self.approved_key = Some(awaiting.key.clone());
        } else {
            self.vouched = true;
        }
    }

    /// Nobody stands for the identity any more.
    fn doubt(&mut self) {
        self.vouched = false;
        self.awaiting = None;
        self.approved_key = None;
    }

    fn apply_to_run(&mut self, event: &Event, at: i64) {
        if let Event::RunStarted { run, workflow, revision, destructive_allowed, .. } = event {
            self.highest_run = self.highest_run.max(*run);
            self.offers_unanswered = 0;
            self.held = None;
            self.run = Some(Run::started(*run, workflow, revision, *destructive_allowed, at));
            return;
        }
        if let Event::RunResumed { .. } = event {
            self.offers_unanswered = 0;
            self.held = None;
        }
        if let Some(run) = self.run.as_mut() {
            run.apply(event, at);
        }
    }

    /// Remembers an offer, up to a bound. The one that the machine came up from stays: whoever asks for scripts without booting
    /// them must not take its ticket from a boot that runs.
    fn remember_offer(&mut self, offer: Offer) {
        if self.offers.len() >= REMEMBERED {
            let runs = self.tickets.last().map(|used| used.ticket.as_str());
            if let Some(oldest) = self.offers.iter().position(|offer| Some(offer.id.as_str()) != runs) {
                self.offers.remove(oldest);
            }
        }
        self.offers.push(offer);
    }

    /// Remembers a MAC, up to a bound: a box can name as many as it likes.
    fn saw(&mut self, mac: &str) {
        if self.macs.len() < MACS_REMEMBERED && !self.macs.contains(mac) {
            self.macs.insert(mac.to_owned());
        }
    }
}

/// The machine said something: its firmware, a loader or its agent.
const fn is_its_own_word(event: &Event) -> bool {
    matches!(
        event,
        Event::Leased { .. }
            | Event::Offered { .. }
            | Event::Exchanged { .. }
            | Event::DiskTicketPlanted { .. }
            | Event::CheckedIn { .. }
            | Event::FactsReported { .. }
            | Event::JobGranted { .. }
            | Event::JobEnded { .. }
            | Event::InstallerFinished { .. }
    )
}

/// The name of the environment that boots the machine's own disk.
pub const LOCAL: &str = "local";

pub(super) fn push_bounded<T>(list: &mut Vec<T>, item: T) {
    if list.len() >= REMEMBERED {
        list.remove(0);
    }
    list.push(item);
}
