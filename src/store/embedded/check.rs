//! Reads a whole store once and compares what must agree.

use super::files::{FileMedium, Lock};
use super::medium::{self, Medium};
use super::shared::ReadError;
use super::tables::{self, EVENTS, HEADS, STREAMS, decode};
use crate::journal::Record;
use crate::store::encoding::stream_key;
use crate::store::{StoreError, Watch};
use redb::{Database, ReadableDatabase, ReadableTable, ReadableTableMetadata};
use std::collections::BTreeMap;
use std::path::Path;

/// What a checked store holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Events.
    pub events: u64,
    /// Streams with events.
    pub streams: u64,
    /// Cluster documents.
    pub clusters: u64,
    /// Leases.
    pub leases: u64,
}

/// Verifies every page of the closed store in `dir`, decodes every value, and compares sequences, streams and heads.
///
/// # Errors
/// [`StoreError::Damaged`] names the first thing that does not agree; [`StoreError::Open`] as for opening.
pub fn check(dir: &Path) -> Result<Report, StoreError> {
    check_watched(dir, &())
}

/// The same, and somebody is told how far it is.
///
/// # Errors
/// As [`check`].
pub fn check_watched(dir: &Path, watch: &dyn Watch) -> Result<Report, StoreError> {
    let _lock = Lock::take_to_read(dir)?;
    whole(&FileMedium::existing(dir)?.only_read(), watch)
}

/// The same for a copy of a store, which nobody has open.
///
/// # Errors
/// As [`check`].
pub fn check_file(path: &Path) -> Result<Report, StoreError> {
    check_file_watched(path, &())
}

/// The same, and somebody is told how far it is.
///
/// # Errors
/// As [`check`].
pub fn check_file_watched(path: &Path, watch: &dyn Watch) -> Result<Report, StoreError> {
    whole(&FileMedium::of(path)?.only_read(), watch)
}

fn whole(medium: &FileMedium, watch: &dyn Watch) -> Result<Report, StoreError> {
    watch.begins("reading the store's pages", 0);
    let database = medium::open(medium, 64 << 20, true)?;
    tables::load(&database, 0)?;
    report(&database, medium, watch)
}

/// Decodes and compares everything in an open database.
pub(super) fn report(database: &Database, medium: &dyn Medium, watch: &dyn Watch) -> Result<Report, StoreError> {
    examine(database, watch).map_err(|error| match error {
        ReadError::Engine(error) => medium::meaning(medium, *error),
        ReadError::Damaged(text) => StoreError::Damaged(text),
    })
}

fn examine(database: &Database, watch: &dyn Watch) -> Result<Report, ReadError> {
    let snapshot = database.begin_read()?;
    let firsts = tables::firsts(&snapshot)?;
    let mut heads = BTreeMap::<String, u64>::new();
    let (mut events, mut last) = (0_u64, 0_u64);
    let places = snapshot.open_table(STREAMS)?;
    let table = snapshot.open_table(EVENTS)?;
    watch.begins("comparing events", table.len()?);
    for entry in table.iter()? {
        let (sequence, bytes) = entry?;
        let sequence = sequence.value();
        events = events.saturating_add(1);
        let record: Record = decode(|| format!("event {sequence}"), bytes.value())?;
        let stream = stream_key(&record.stream);
        let place = places.get((stream.as_str(), record.index))?.map(|place| place.value());
        let first = firsts.get(&stream).map_or(0, |(first, _)| *first);
        let head = heads.entry(stream).or_insert(first);
        if sequence <= last || record.sequence != sequence || record.index != *head || place != Some(sequence) {
            return Err(ReadError::Damaged(format!(
                "event {sequence} (after {last}) of {} has index {} (expected {head}), its stream leads to {place:?}",
                record.stream, record.index
            )));
        }
        *head = head.saturating_add(1);
        last = sequence;
        watch.more(1);
    }
    let mut stored = BTreeMap::new();
    for entry in snapshot.open_table(HEADS)?.iter()? {
        let (stream, head) = entry?;
        stored.insert(stream.value().to_owned(), head.value());
    }
    if stored != heads {
        return Err(ReadError::Damaged("the counts of the streams are not those of their events".into()));
    }
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    Ok(Report {
        events,
        streams: count(heads.len()),
        clusters: count(tables::documents_of(&snapshot)?.len()),
        leases: count(tables::leases(&snapshot)?.len()),
    })
}
