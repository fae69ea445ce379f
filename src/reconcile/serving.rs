//! What serves, as decisions are made on it: what is in it, and what the journal says of it.

use super::Census;
use crate::journal::{Event, Hold, Record};

/// What is decided on, and changes with what serves.
#[derive(Default)]
pub(super) struct Standing {
    /// What people said.
    pub hold: Hold,
    /// What is in the revision that serves.
    pub serving: Option<Census>,
    /// What the site is called by what was applied last; none where nothing was.
    pub site: Option<String>,
    /// What was followed when it was put in place: another folder of the same commit is something else.
    pub source: String,
    /// The journal's last word on a revision.
    pub last_event: Option<Event>,
    /// Its last refusal.
    pub last_refused: Option<Event>,
    /// Which revision was trusted last, by the journal.
    pub trusted: Option<String>,
    /// Which was applied last, by the journal: here, or by another server on the same store.
    pub applied: Option<String>,
    /// How much of the site's stream is taken in.
    pub head: u64,
}

impl Standing {
    /// Takes in what the journal says next.
    pub(super) fn take(&mut self, record: &Record) {
        self.head = record.index.saturating_add(1);
        self.hold.apply(record);
        match &record.event {
            Event::RevisionApplied { revision, site, signed_by, .. } => {
                if !site.is_empty() {
                    self.site = Some(site.clone());
                }
                if self.hold.pinned.is_none() && !signed_by.is_empty() {
                    self.trusted = Some(revision.clone());
                }
                self.applied = Some(revision.clone());
            }
            Event::RevisionRefused { .. } => self.last_refused = Some(record.event.clone()),
            _ => return,
        }
        self.last_event = Some(record.event.clone());
    }
}
