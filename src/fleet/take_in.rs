//! What is committed becomes what is known, event by event in the order that the store gave them, whoever committed them.
//!
//! Two servers on one store so know the same of every machine after the same event, and one that starts anew knows it too: whose a
//! card is follows from who showed it first.

use super::machines::Fleet;
use crate::catalog::Catalog;
use crate::journal::{Event, Record, Stream};
use crate::store::{Batch, StoreError};
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

/// How many events are read at a time: one may hold a machine's 256 KiB of facts.
const PAGE: usize = 128;

impl Fleet {
    /// Takes in what a commit of this server appended, and what others appended before it.
    pub(super) fn take_in_own(&self, own: &[Record]) -> Result<(), StoreError> {
        let (Some(first), Some(last)) = (own.first(), own.last()) else { return Ok(()) };
        let mut taken_in = self.taken_in.lock().unwrap_or_else(PoisonError::into_inner);
        if first.sequence == taken_in.saturating_add(1) {
            // Nothing lies between: it need not be read.
            own.iter().for_each(|record| self.take_in_next(record));
            *taken_in = last.sequence;
            return Ok(());
        }
        self.take_in_to(&mut taken_in, last.sequence, true, Self::take_in_next)
    }

    /// Takes in all that the store has, before anything is served.
    pub(super) fn take_in_first(&self) -> Result<(), StoreError> {
        let mut taken_in = self.taken_in.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_in_to(&mut taken_in, u64::MAX, false, Self::apply)
    }

    /// Takes in all that the store has.
    pub(super) fn take_in_all(&self) -> Result<(), StoreError> {
        let mut taken_in = self.taken_in.lock().unwrap_or_else(PoisonError::into_inner);
        self.take_in_to(&mut taken_in, u64::MAX, true, Self::take_in_next)
    }

    /// Others commit to the store, too: from now on nothing is said or decided on what may be over.
    pub fn is_among_others(&self) {
        self.others.store(true, Ordering::Relaxed);
    }

    /// What others wrote before now is known after this. Nothing is asked where there are no others.
    ///
    /// # Errors
    /// What the store says.
    pub async fn level(&self) -> Result<(), StoreError> {
        if !self.others.load(Ordering::Relaxed) {
            return Ok(());
        }
        // An answer that changes nothing has a place in the store's order, too.
        self.store.commit(Batch::default(), self.clock.now_unix_ms()).await?;
        self.take_in_all()
    }

    /// Whether what this server serves is what the journal says is applied: another server may have applied a revision that is not
    /// here yet, and what it wrote about machines follows from that one.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn serves_what_is_applied(&self, current: Option<&Catalog>) -> Result<bool, StoreError> {
        let serves = || {
            let applied = self.applied.load();
            applied.as_ref().is_none_or(|applied| current.is_some_and(|current| *current.revision == ***applied))
        };
        if !self.others.load(Ordering::Relaxed) || serves() {
            return Ok(true);
        }
        // That this server itself applied one may be written and not taken in yet.
        self.take_in_all()?;
        Ok(serves())
    }

    /// Takes in what others commit, until the store fails for good. For a server that is not the only one on its store.
    ///
    /// # Errors
    /// What the store says.
    pub async fn follow(&self) -> Result<(), StoreError> {
        let mut news = self.store.watch_events();
        loop {
            self.take_in_all()?;
            if news.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// `follows`: what was taken in before must not have missed anything since; at the first time there is nothing to miss.
    fn take_in_to(
        &self,
        taken_in: &mut u64,
        until: u64,
        follows: bool,
        each: impl Fn(&Self, &Record),
    ) -> Result<(), StoreError> {
        while *taken_in < until {
            // Retention takes what is long over; what was dropped before it was taken in here is not known here.
            let missed = follows && self.store.compacted(None)? > *taken_in;
            let page = self.store.events_after(*taken_in, PAGE)?;
            if missed {
                return Err(StoreError::Open(format!(
                    "events after {taken_in} were dropped before this server took them in; start it anew"
                )));
            }
            let Some(last) = page.last() else { return Ok(()) };
            let sequence = last.sequence;
            page.iter().for_each(|record| each(self, record));
            *taken_in = sequence;
        }
        Ok(())
    }

    fn take_in_next(&self, record: &Record) {
        self.apply(record);
        if let (Stream::Machine(name), Event::Enrolled { .. } | Event::Forgotten { .. }) =
            (&record.stream, &record.event)
        {
            self.refresh_member(name);
        }
    }
}
