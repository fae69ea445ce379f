//! The one thread that writes. What waits becomes one group, one transaction, two fsyncs; then everybody is answered.

use super::medium::meaning;
use super::shared::{ReadError, Shared};
use super::tables::{self, ENGINE, GROUPS_KEY, Start};
use super::transaction;
use crate::cluster::Document;
use crate::journal::{Record, Stream};
use crate::store::plan::{Base, Group, plan};
use crate::store::{Batch, Committed, Lease, StoreError};
use redb::{Database, ReadTransaction, ReadableDatabase};
use std::net::Ipv4Addr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Most batches of one group: more would make the first of them wait longer and save little.
const GROUP_BATCHES: usize = 512;
/// A group takes no further batch once it has so many bytes.
const GROUP_BYTES: usize = 16 << 20;
/// With less room than this (bytes) beside what the group needs nothing is written: the engine then never meets the end
/// of the disk by itself, which would close it, and there is room to open it again.
pub(super) const RESERVE_BYTES: u64 = 16 << 20;
/// Copy-on-write needs this many times the group's bytes, with what it frees only afterwards.
const WRITE_FACTOR: u64 = 4;
/// How long a full disk is not asked again.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// Why nothing is written while so many bytes are left.
pub(super) fn little_room(room: u64) -> String {
    format!("{room} bytes are left, {RESERVE_BYTES} are kept in reserve")
}

/// With less room than this (bytes) people are told, before nothing is written any more.
const LITTLE_BYTES: u64 = 512 << 20;

/// That so many bytes will soon be too few; none where they are enough.
pub(super) fn soon_full(room: u64) -> Option<String> {
    let mib = |bytes: u64| bytes >> 20;
    (room < LITTLE_BYTES).then(|| {
        format!(
            "{} MiB are left on its disk, and below {} MiB nothing is written: make room",
            mib(room),
            mib(RESERVE_BYTES)
        )
    })
}

/// Where an answer goes.
type Reply = oneshot::Sender<Result<Committed, StoreError>>;

/// A commit that waits for the writer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) batch: Batch,
    pub(super) now_unix_ms: i64,
    pub(super) reply: Reply,
}

/// The answer where there is no writer any more.
pub(super) fn ended() -> StoreError {
    StoreError::Io("the store is closed".into())
}

/// The disk was full.
#[derive(Debug)]
struct DiskFull {
    since: Instant,
    text: String,
    /// A write failed, so the engine must be opened anew; otherwise it was not even asked.
    reopen: bool,
}

/// The writer's own state.
#[derive(Debug)]
pub(super) struct Writer {
    shared: Arc<Shared>,
    sequence: u64,
    groups: u64,
    full: Option<DiskFull>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, start: &Start) -> Self {
        Self { shared, sequence: start.sequence, groups: start.groups, full: None }
    }

    /// Serves until every sender is gone.
    pub(super) fn run(mut self, queue: &Receiver<Waiting>) {
        while let Ok(first) = queue.recv() {
            let shared = Arc::clone(&self.shared);
            if catch_unwind(AssertUnwindSafe(|| self.serve(first, queue))).is_err() {
                shared.fail(StoreError::Io("the writer stopped at an error of this program".into()));
            }
        }
    }

    fn serve(&mut self, first: Waiting, queue: &Receiver<Waiting>) {
        if let Err(error) = self.ready() {
            // Whoever else waits is answered by the next rounds, at the same small cost.
            let _ = first.reply.send(Err(error));
            return;
        }
        let mut replies = Vec::new();
        let shared = Arc::clone(&self.shared);
        let done = shared.with_database(|database| {
            let group = self.gather(database, first, queue, &mut replies)?;
            Ok(shared.refuse_if_failed().and_then(|()| self.write(database, &group)).map(|()| group))
        });
        match done.and_then(|written| written) {
            Ok(group) => {
                self.sequence = group.sequence;
                self.shared.publish(group.sequence, group.documents);
                for (reply, answer) in replies {
                    // Nobody waits where the asker went away; the commit stands.
                    let _ = reply.send(answer);
                }
            }
            Err(error) => {
                let error = self.failed(error);
                for (reply, _) in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    /// Plans what waits, batch by batch, each against what the ones before it will have written.
    fn gather(
        &self,
        database: &Database,
        first: Waiting,
        queue: &Receiver<Waiting>,
        replies: &mut Vec<(Reply, Result<Committed, StoreError>)>,
    ) -> Result<Group, ReadError> {
        let durable = Durable { snapshot: database.begin_read()?, shared: &self.shared };
        let mut group = Group::after(self.sequence);
        let mut next = Some(first);
        while let Some(Waiting { batch, now_unix_ms, reply }) = next {
            // Planning changes nothing, so what an error of this program leaves behind is only this batch's refusal.
            let planned = catch_unwind(AssertUnwindSafe(|| plan(&durable, &group, batch, now_unix_ms)));
            let answer = match planned {
                Ok(Ok((own, committed))) => {
                    group.absorb(own);
                    Ok(committed)
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(StoreError::Io("an error of this program; nothing of this commit was written".into())),
            };
            replies.push((reply, answer));
            let more = replies.len() < GROUP_BATCHES && group.bytes < GROUP_BYTES;
            next = if more { queue.try_recv().ok() } else { None };
        }
        Ok(group)
    }

    /// Writes a group, durably.
    fn write(&mut self, database: &Database, group: &Group) -> Result<(), StoreError> {
        if group.is_empty() {
            return Ok(());
        }
        let durable: Vec<Arc<Document>> =
            group.documents.keys().map(|name| self.shared.document(name).unwrap_or_default()).collect();
        let encoded = transaction::Encoded::of(group, &durable)?;
        self.room_for(encoded.bytes)?;
        let groups = self.groups.saturating_add(1);
        match transaction::commit(database, group, &encoded, groups) {
            Ok(()) => {
                self.groups = groups;
                if self.full.take().is_some() {
                    self.shared.set_full(None);
                }
                Ok(())
            }
            Err(error) => {
                let error = meaning(self.shared.medium(), error);
                if let StoreError::Full(text) = &error {
                    self.is_full(text, true);
                }
                Err(error)
            }
        }
    }

    fn room_for(&mut self, bytes: usize) -> Result<(), StoreError> {
        let needed = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(WRITE_FACTOR);
        // Where the room cannot be asked, the write itself will tell.
        let room = self.shared.medium().room_bytes().unwrap_or(u64::MAX);
        if room >= needed.saturating_add(RESERVE_BYTES) {
            return Ok(());
        }
        let text = little_room(room);
        self.is_full(&text, false);
        Err(StoreError::Full(text))
    }

    fn is_full(&mut self, text: &str, reopen: bool) {
        if self.full.is_none() {
            tracing::error!(store = %self.shared.medium().name(), "the disk is full, the store only reads: {text}");
        }
        self.shared.set_full(Some(text.to_owned()));
        self.full = Some(DiskFull { since: Instant::now(), text: text.to_owned(), reopen });
    }

    /// Whether a group may be tried: not after a failure, and after a full disk only now and then.
    fn ready(&mut self) -> Result<(), StoreError> {
        self.shared.refuse_if_failed()?;
        let Some(full) = &self.full else { return Ok(()) };
        if full.since.elapsed() < FULL_PAUSE {
            return Err(StoreError::Full(full.text.clone()));
        }
        if full.reopen { self.reopen() } else { Ok(()) }
    }

    /// What a failed group means for the next ones.
    fn failed(&mut self, error: StoreError) -> StoreError {
        match &error {
            // Reads of pages that are not cached fail too until the engine is opened again: do it at once.
            StoreError::Full(_) if self.full.as_ref().is_some_and(|full| full.reopen) => match self.reopen() {
                Ok(()) | Err(StoreError::Full(_)) => error,
                Err(worse) => worse,
            },
            StoreError::Full(_) => error,
            // Only this one is too much; nothing of it was written.
            StoreError::TooLarge(_) => error,
            _ => self.shared.fail(error),
        }
    }

    /// Opens the engine anew after a full disk. The group that failed must not be there: what is in memory would then be
    /// older than the disk.
    fn reopen(&mut self) -> Result<(), StoreError> {
        let opened = self.shared.reopen().and_then(|()| {
            self.shared.read(|snapshot| Ok(snapshot.open_table(ENGINE)?.get(GROUPS_KEY)?.map_or(0, |n| n.value())))
        });
        let since = Instant::now();
        match opened {
            Ok(groups) if groups == self.groups => {
                if let Some(full) = &mut self.full {
                    full.reopen = false;
                    full.since = since;
                }
                Ok(())
            }
            Ok(groups) => Err(self.shared.fail(StoreError::Io(format!(
                "after a full disk the store has {groups} groups where {} were answered",
                self.groups
            )))),
            Err(StoreError::Full(text)) => {
                self.is_full(&text, true);
                Err(StoreError::Full(text))
            }
            Err(error) => Err(self.shared.fail(error)),
        }
    }
}

/// What is durable, as a group sees it.
struct Durable<'a> {
    snapshot: ReadTransaction,
    shared: &'a Shared,
}

impl Base for Durable<'_> {
    fn head(&self, stream: &Stream) -> Result<u64, StoreError> {
        tables::head(&self.snapshot, stream).map_err(|error| self.shared.judge(error))
    }

    fn document(&self, name: &str) -> Option<Arc<Document>> {
        self.shared.document(name)
    }

    fn first(&self, stream: &Stream) -> Result<u64, StoreError> {
        tables::first(&self.snapshot, stream).map(|(first, _)| first).map_err(|error| self.shared.judge(error))
    }

    fn record(&self, stream: &Stream, index: u64) -> Result<Option<Record>, StoreError> {
        let found = tables::events_of(&self.snapshot, stream, index, 1).map_err(|error| self.shared.judge(error))?;
        Ok(found.into_iter().next().filter(|record| record.index == index))
    }

    /// Looks at all of them: a server that has a store for itself knows whose an address is, and does not ask.
    fn leases_of(&self, address: Ipv4Addr) -> Result<Vec<Lease>, StoreError> {
        let leases = tables::leases(&self.snapshot).map_err(|error| self.shared.judge(error))?;
        Ok(leases.into_iter().filter(|lease| lease.address == address).collect())
    }
}
