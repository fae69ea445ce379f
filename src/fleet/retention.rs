//! Drops what happened long ago: of each machine what [`Retention`] does not keep is folded into one event, and the logs of
//! those jobs go with it.

use super::entry::Entry;
use super::machines::Fleet;
use crate::archive::Archive;
use crate::journal::{Cut, Event, MachineState, Retention, Stream, fold_below};
use crate::store::logs::LogStore;
use crate::store::{Batch, Operation, StoreError};
use std::collections::HashMap;

/// A stream is looked at again when it has grown by so many events, or after a day.
const GROWN: u64 = 50;
const DAY_MS: u64 = 24 * 3600 * 1000;
/// Events of a stream that go in one commit.
const AT_ONCE: u64 = 5_000;
/// Events of it that are in memory at a time: one may hold a machine's 256 KiB of facts, and be many times that once it is read.
const READ_AT_ONCE: usize = 32;

/// Which streams were looked at: their head then, and when.
#[derive(Debug, Default)]
pub struct Looked(HashMap<Stream, (u64, u64)>);

impl Looked {
    fn is_due(&mut self, stream: &Stream, head: u64, now_ms: u64) -> bool {
        let due = self
            .0
            .get(stream)
            .is_none_or(|(then, at)| head.saturating_sub(*then) >= GROWN || now_ms.saturating_sub(*at) >= DAY_MS);
        if due {
            self.0.insert(stream.clone(), (head, now_ms));
        }
        due
    }
}

/// Where logs of jobs are.
#[derive(Debug, Clone, Copy)]
pub struct Logs<'a> {
    /// The files here.
    pub here: &'a LogStore,
    /// The object store, where there is one.
    pub archive: Option<&'a Archive>,
}

impl Logs<'_> {
    async fn remove(&self, job: &str) {
        if let Err(error) = self.here.remove(job) {
            tracing::warn!(%error, "the log of a job that was dropped stays");
        }
        let Some(archive) = self.archive else { return };
        // What stays is swept when it is as old as what is kept of machines: an object store that is away keeps no events.
        if let Err(error) = archive.remove(job).await {
            tracing::warn!(job, %error, "logs of jobs that were dropped stay in the object store until they are swept");
        }
    }
}

impl Fleet {
    /// Looks at every stream that grew, and drops what is not kept. Gives the count of dropped events.
    ///
    /// # Errors
    /// What the store says; what is not dropped now is the next time.
    pub async fn retain(&self, logs: Logs<'_>, policy: &Retention, looked: &mut Looked) -> Result<u64, StoreError> {
        // Before anything is dropped that was not taken in here: what other parts of this server write about clusters, say.
        self.take_in_all()?;
        let mut dropped = 0_u64;
        for stream in self.store.streams()? {
            let head = self.store.head(&stream)?;
            if !looked.is_due(&stream, head, self.clock.now_ms()) {
                continue;
            }
            let count = match &stream {
                Stream::Machine(name) => self.retain_machine(&self.entry(name), logs, policy).await?,
                Stream::Box(_) | Stream::Cluster(_) => self.retain_plain(&stream, policy).await?,
                // A revision is an event of its own, and the site's own events say whether it is trusted.
                Stream::Site => 0,
            };
            dropped = dropped.saturating_add(count);
            tokio::task::yield_now().await;
        }
        Ok(dropped)
    }

    async fn retain_machine(&self, entry: &Entry, logs: Logs<'_>, policy: &Retention) -> Result<u64, StoreError> {
        let stream = Stream::Machine(entry.name.clone());
        let (first, cut) = self.look_through(&stream, policy).await?;
        let Some(end) = cut.machine() else { return Ok(0) };
        let (mut state, mut next, mut folded_to) = (MachineState::default(), first, first);
        // The stream as it stands after each part is whole: an end in between costs nothing but the rest.
        while next < end {
            let records = self.store.events_of(&stream, next, READ_AT_ONCE)?;
            let Some(last) = records.last() else { break };
            next = end.min(last.index.saturating_add(1));
            let (folded, jobs) = fold_below(state, &records, next, &entry.state());
            state = folded;
            // Logs first: after a power cut in between, the same events go again, and no log is left that nothing names.
            for job in jobs {
                logs.remove(&job).await;
            }
            if next < end && next.saturating_sub(folded_to) < AT_ONCE {
                continue;
            }
            let made_at = *self.store.watch_events().borrow();
            // Two machines may have shown one MAC: whose it is follows from the order of their events, which a fold hides.
            let macs = self.owned(&entry.name, &state);
            let folded = Some(Box::new(Event::Folded { made_at, macs, state: Box::new(state.clone()) }));
            self.compact(stream.clone(), next, folded).await?;
            folded_to = next;
        }
        Ok(folded_to.saturating_sub(first))
    }

    async fn retain_plain(&self, stream: &Stream, policy: &Retention) -> Result<u64, StoreError> {
        let (first, cut) = self.look_through(stream, policy).await?;
        let Some(end) = cut.plain() else { return Ok(0) };
        let mut below = first;
        while below < end {
            below = end.min(below.saturating_add(AT_ONCE));
            self.compact(stream.clone(), below, None).await?;
        }
        Ok(end.saturating_sub(first))
    }

    /// Reads all of a stream, and keeps nothing of it but its first index and where it is cut.
    async fn look_through(&self, stream: &Stream, policy: &Retention) -> Result<(u64, Cut), StoreError> {
        let mut cut = policy.cut(self.clock.now_unix_ms());
        let (mut first, mut next) = (None, 0);
        loop {
            let records = self.store.events_of(stream, next, READ_AT_ONCE)?;
            let Some(last) = records.last() else { return Ok((first.unwrap_or(0), cut)) };
            next = last.index.saturating_add(1);
            first = first.or_else(|| records.first().map(|record| record.index));
            records.iter().for_each(|record| cut.take(record));
            // Machines are answered meanwhile.
            tokio::task::yield_now().await;
        }
    }

    async fn compact(&self, stream: Stream, below: u64, folded: Option<Box<Event>>) -> Result<(), StoreError> {
        let operations = vec![Operation::Compact { stream, below, folded }];
        self.commit(Batch { operations, ..Batch::default() }).await.map(|_| ())
    }
}
