//! The embedded store moves out and in ([`crate::store::moving`]).

use super::files::{self, FileMedium, Lock};
use super::medium::{self, meaning};
use super::shared::ReadError;
use super::tables::{
    self, COMPACTED_KEY, DROPPED_KEY, ENGINE, EVENTS, FIRSTS, GROUPS_KEY, HEADS, LEASES, PARTS, SCHEMA, SCHEMA_KEY,
    STREAMS, VALUES,
};
use super::{EmbeddedStore, Options, check, writer};
use crate::cluster::Document;
use crate::store::effect::{Effect, parts};
use crate::store::encoding::space_key;
use crate::store::moving::{self, Exported, Imported, MOVED, Movable, MoveFile, Moved, Whose};
use crate::store::{Batch, Operation, Space, Store, StoreError, Watch};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, Table, WriteTransaction};
use std::path::Path;
use std::sync::Arc;

/// Memory for pages of a store that is made.
const CACHE_BYTES: usize = 32 << 20;

/// Marks the closed store in `dir` as moved, and writes it to the new file `to`.
///
/// # Errors
/// [`StoreError::Open`] where the store is open, there is none, or the file cannot be written.
pub fn export(dir: &Path, whose: Whose<'_>, to: &Path, watch: &dyn Watch) -> Result<Exported, StoreError> {
    let store = closed(dir, Lock::take(dir, false)?)?;
    moving::export(&store, whose, to, watch)
}

/// Makes the store of a file in `dir`; or takes the mark from the one that is there, where the file is of its move.
///
/// # Errors
/// [`StoreError::Open`] where there is a store of another move, or what the file holds is no whole store.
pub fn import(file: &MoveFile, dir: &Path, watch: &dyn Watch) -> Result<Imported, StoreError> {
    let lock = Lock::take(dir, true)?;
    if files::exists(dir) {
        return moving::put_back(&closed(dir, lock)?, file, watch);
    }
    let medium = files::begin_new(dir)?;
    let made = make(file, &medium, watch);
    if made.is_err() {
        files::forget_new(dir);
    }
    made?;
    files::finish_new(dir)?;
    Ok(Imported::Made)
}

/// Whether the closed store in `dir` was moved out.
///
/// # Errors
/// [`StoreError`] where it is open or cannot be read.
pub fn moved(dir: &Path) -> Result<Option<Moved>, StoreError> {
    Moved::of(closed(dir, Lock::take(dir, false)?)?.meta(MOVED)?.as_deref())
}

/// The store in `dir`, whether it was moved or not. What fails here fails the move, not the process.
fn closed(dir: &Path, lock: Lock) -> Result<EmbeddedStore, StoreError> {
    let options = Options { on_fatal: Arc::new(|_| ()), ..Options::default() };
    EmbeddedStore::start(Arc::new(FileMedium::existing(dir)?), options, Some(lock))
}

impl EmbeddedStore {
    /// A store that was moved out is not opened.
    pub(super) fn refuse_moved(&self) -> Result<(), StoreError> {
        match Moved::of(self.meta(MOVED)?.as_deref())? {
            Some(moved) => Err(moved.refusal(&self.place())),
            None => Ok(()),
        }
    }
}

impl Movable for EmbeddedStore {
    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(Space::Meta, key)
    }

    fn mark(&self, moved: Option<&Moved>) -> Result<(), StoreError> {
        let value = moved.map(Moved::value).transpose()?;
        let put = Operation::Put { space: Space::Meta, key: MOVED.to_owned(), value };
        // Without events: the clock is not asked.
        let answer = self.send(Batch { operations: vec![put], ..Batch::default() }, 0)?;
        answer.blocking_recv().map_err(|_| writer::ended())?.map(drop)
    }

    fn effects(&self, put: &mut dyn FnMut(Effect)) -> Result<(), StoreError> {
        self.shared.with_database(|database| pour(&database.begin_read()?, put))?
    }

    fn place(&self) -> String {
        self.shared.medium().name()
    }
}

/// Everything of a snapshot, in the order of every engine.
fn pour(snapshot: &ReadTransaction, put: &mut dyn FnMut(Effect)) -> Result<Result<(), StoreError>, ReadError> {
    let events = snapshot.open_table(EVENTS)?;
    let places = snapshot.open_table(STREAMS)?;
    let firsts = tables::firsts(snapshot)?;
    for entry in snapshot.open_table(HEADS)?.iter()? {
        let (stream, head) = entry?;
        let stream = stream.value();
        let (first, compacted) = firsts.get(stream).copied().unwrap_or_default();
        put(Effect::Stream { stream: stream.to_owned(), head: head.value(), first, compacted });
        for entry in places.range((stream, 0)..=(stream, u64::MAX))? {
            let (place, sequence) = entry?;
            let (index, sequence) = (place.value().1, sequence.value());
            let Some(bytes) = events.get(sequence)? else {
                return Err(ReadError::Damaged(format!("event {sequence} of {stream} is missing")));
            };
            put(Effect::Event { sequence, stream: stream.to_owned(), index, bytes: bytes.value().to_vec() });
        }
    }
    for (cluster, document) in tables::documents_of(snapshot)? {
        let mut effects = Vec::new();
        if let Err(error) = parts(&cluster, &Document::default(), &document, &mut effects) {
            return Ok(Err(error));
        }
        effects.into_iter().for_each(&mut *put);
    }
    for entry in snapshot.open_table(LEASES)?.iter()? {
        let (mac, bytes) = entry?;
        put(Effect::Lease { mac: mac.value().to_owned(), bytes: Some(bytes.value().to_vec()) });
    }
    for entry in snapshot.open_table(VALUES)?.iter()? {
        let (place, bytes) = entry?;
        let (space, key) = place.value();
        if (space, key) != (space_key(Space::Meta), MOVED) {
            let (space, key) = (space.to_owned(), key.to_owned());
            put(Effect::Value { space, key, bytes: Some(bytes.value().to_vec()) });
        }
    }
    let sequence = events.last()?.map_or(0, |(sequence, _)| sequence.value());
    put(Effect::Totals { sequence, compacted: tables::compacted(snapshot, None)? });
    Ok(Ok(()))
}

/// Makes the store of a file on an empty medium, and reads it whole.
fn make(file: &MoveFile, medium: &FileMedium, watch: &dyn Watch) -> Result<(), StoreError> {
    let database = medium::open(medium, CACHE_BYTES, false)?;
    watch.begins("writing the store", 0);
    let written = || -> Result<Result<(), StoreError>, redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_two_phase_commit(true);
        let mut making = Making::begin(&transaction)?;
        let mut failed = None;
        let taken = file.effects(&mut |effect| {
            watch.more(1);
            making.take(effect).map_err(|error| failed.insert(redb::Error::from(error)).to_string())
        });
        if let Some(error) = failed {
            return Err(error);
        }
        making.end(&transaction)?;
        transaction.commit()?;
        Ok(taken)
    };
    written().map_err(|error| meaning(medium, error))??;
    whole(&database, medium, file, watch)
}

fn whole(database: &Database, medium: &FileMedium, file: &MoveFile, watch: &dyn Watch) -> Result<(), StoreError> {
    let not = |text: String| StoreError::Open(format!("what the file holds is no whole store: {text}"));
    let read = tables::load(database, 0).and_then(|_| check::report(database, medium, watch));
    let report = read.map_err(|error| match error {
        StoreError::Damaged(text) => not(text),
        other => other,
    })?;
    let counts = file.counts;
    if (report.events, report.streams, report.clusters, report.leases)
        == (counts.events, counts.streams, counts.clusters, counts.leases)
    {
        return Ok(());
    }
    Err(not(format!("{report:?} were made of {counts:?}")))
}

/// The tables of a store that is made, and what is added up.
struct Making<'t> {
    events: Table<'t, u64, &'static [u8]>,
    streams: Table<'t, (&'static str, u64), u64>,
    heads: Table<'t, &'static str, u64>,
    firsts: Table<'t, &'static str, (u64, u64)>,
    parts: Table<'t, (&'static str, &'static str, &'static str), &'static [u8]>,
    leases: Table<'t, &'static str, &'static [u8]>,
    values: Table<'t, (&'static str, &'static str), &'static [u8]>,
    dropped: u64,
    compacted: u64,
}

impl<'t> Making<'t> {
    fn begin(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            events: transaction.open_table(EVENTS)?,
            streams: transaction.open_table(STREAMS)?,
            heads: transaction.open_table(HEADS)?,
            firsts: transaction.open_table(FIRSTS)?,
            parts: transaction.open_table(PARTS)?,
            leases: transaction.open_table(LEASES)?,
            values: transaction.open_table(VALUES)?,
            dropped: 0,
            compacted: 0,
        })
    }

    fn take(&mut self, effect: Effect) -> Result<(), redb::StorageError> {
        match effect {
            Effect::Stream { stream, head, first, compacted } => {
                self.heads.insert(stream.as_str(), head)?;
                if (first, compacted) != (0, 0) {
                    self.firsts.insert(stream.as_str(), (first, compacted))?;
                    self.dropped = self.dropped.saturating_add(first);
                }
            }
            Effect::Event { sequence, stream, index, bytes } => {
                self.events.insert(sequence, bytes.as_slice())?;
                self.streams.insert((stream.as_str(), index), sequence)?;
            }
            Effect::Part { cluster, kind, name, bytes: Some(bytes) } => {
                self.parts.insert((cluster.as_str(), kind.as_str(), name.as_str()), bytes.as_slice())?;
            }
            Effect::Lease { mac, bytes: Some(bytes) } => drop(self.leases.insert(mac.as_str(), bytes.as_slice())?),
            Effect::Value { space, key, bytes: Some(bytes) } => {
                self.values.insert((space.as_str(), key.as_str()), bytes.as_slice())?;
            }
            Effect::Totals { compacted, .. } => self.compacted = compacted,
            // A file with one of these was refused when it was read.
            Effect::Compact { .. } | Effect::Part { .. } | Effect::Lease { .. } | Effect::Value { .. } => {}
        }
        Ok(())
    }

    /// Writes the engine's own numbers.
    fn end(self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        let mut engine = transaction.open_table(ENGINE)?;
        engine.insert(SCHEMA_KEY, SCHEMA)?;
        engine.insert(GROUPS_KEY, 1)?;
        engine.insert(DROPPED_KEY, self.dropped)?;
        engine.insert(COMPACTED_KEY, self.compacted)?;
        Ok(())
    }
}
