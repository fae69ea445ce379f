//! Logs of jobs that ended: the store holds the short ones until their files are on the disk.

use super::machines::Fleet;
use crate::journal::{Event, Stream, jobs_of};
use crate::store::logs::{LogError, LogStore};
use crate::store::{Batch, Operation, Space, Store, StoreError};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

/// So many are let go in one commit.
const AT_ONCE: usize = 4_096;
/// Events that are in memory at a time: one may hold a machine's 256 KiB of facts.
const READ_AT_ONCE: usize = 32;

/// Why logs are not on the disk yet.
#[derive(Debug, thiserror::Error)]
pub enum LateLogs {
    /// Their files.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The thread that waited for the disk.
    #[error("it stopped at an error of this program")]
    Stopped,
}

/// The jobs that were granted in what the journal keeps of each machine, as far as it was read: events are read once, and what
/// retention drops is forgotten.
#[derive(Debug, Default)]
pub struct Granted(HashMap<Stream, OfMachine>);

/// Those of one machine.
#[derive(Debug, Default)]
struct OfMachine {
    /// The index of the event to be read next.
    next: u64,
    /// With the sequences of the events that granted them.
    jobs: VecDeque<(u64, String)>,
}

impl OfMachine {
    fn read_on(&mut self, store: &dyn Store, stream: &Stream) -> Result<(), StoreError> {
        if store.head(stream)? > self.next {
            loop {
                let records = store.events_of(stream, self.next, READ_AT_ONCE)?;
                if records.is_empty() {
                    break;
                }
                for record in records {
                    self.next = record.index.saturating_add(1);
                    if let Event::JobGranted { job, .. } = record.event {
                        self.jobs.push_back((record.sequence, job));
                    }
                }
            }
        }
        let gone = store.compacted(Some(stream))?;
        while self.jobs.front().is_some_and(|(sequence, _)| *sequence <= gone) {
            self.jobs.pop_front();
        }
        Ok(())
    }
}

impl Fleet {
    /// At start: what the store holds of logs goes into their files, where a power cut took it. Before machines are answered.
    ///
    /// # Errors
    /// What the store says; a file that cannot be written is said in the log, and the store keeps what it holds.
    pub fn put_back_logs(&self, logs: &LogStore) -> Result<(), StoreError> {
        for job in self.store.keys(Space::Log)? {
            let Some(bytes) = self.store.get(Space::Log, &job)? else { continue };
            if let Err(error) = logs.put_back(&job, &bytes) {
                tracing::warn!(job, %error, "the log of a job that ended cannot be put back; the store keeps it");
            }
        }
        Ok(())
    }

    /// The jobs that have not ended.
    pub fn open_jobs(&self) -> HashSet<String> {
        let open = |entry: &Arc<super::Entry>| Some(entry.state().run.as_ref()?.job.as_ref()?.id.clone());
        self.all().iter().filter_map(open).collect()
    }

    /// All jobs that the journal names: all others have no log that anybody could ask for. Blocks for as long as reading takes those events
    /// that came since `granted` was read.
    ///
    /// # Errors
    /// What the store says.
    pub fn named_jobs(&self, granted: &mut Granted) -> Result<HashSet<String>, StoreError> {
        let mut named = self.open_jobs();
        let mut before = std::mem::take(&mut granted.0);
        for stream in self.store.streams()? {
            let Stream::Machine(name) = &stream else { continue };
            let now = self.known(name).map(|entry| entry.state()).unwrap_or_default();
            let mut known = before.remove(&stream).unwrap_or_default();
            known.read_on(self.store.as_ref(), &stream)?;
            named.extend(known.jobs.iter().map(|(_, job)| job.clone()));
            named.extend(jobs_of(&now).map(str::to_owned));
            granted.0.insert(stream, known);
        }
        Ok(named)
    }

    /// Brings the files to the disk, then lets the store forget what it held of them.
    ///
    /// # Errors
    /// [`LateLogs`]: nothing is lost, the next call tries again.
    pub async fn bring_logs(&self, logs: &Arc<LogStore>) -> Result<(), LateLogs> {
        let files = Arc::clone(logs);
        let jobs = tokio::task::spawn_blocking(move || files.bring_all()).await.map_err(|_| LateLogs::Stopped)??;
        for some in jobs.chunks(AT_ONCE) {
            let forget = |job: &String| Operation::Put { space: Space::Log, key: job.clone(), value: None };
            let operations = some.iter().map(forget).collect();
            if let Err(error) = self.commit(Batch { operations, ..Batch::default() }).await {
                jobs.iter().for_each(|job| logs.wrote_down(job));
                return Err(error.into());
            }
        }
        Ok(())
    }
}
