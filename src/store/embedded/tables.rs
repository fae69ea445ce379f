//! The layout: nine tables, their keys, and the encoding of values (one version byte, then JSON).
//!
//! An event lies under its sequence; `streams` maps a place in a stream to that sequence, so that reading a stream costs
//! what it returns.

use super::shared::ReadError;
use crate::cluster::{self, Document};
use crate::journal::{Record, Stream};
use crate::store::encoding::{self, space_key, stream_key};
use crate::store::{Lease, Space, StoreError};
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Sequence -> record.
pub(super) const EVENTS: TableDefinition<u64, &[u8]> = TableDefinition::new("events");
/// (stream, index) -> sequence.
pub(super) const STREAMS: TableDefinition<(&str, u64), u64> = TableDefinition::new("streams");
/// Stream -> count of its events.
pub(super) const HEADS: TableDefinition<&str, u64> = TableDefinition::new("heads");
/// Stream -> (index of its first event that is kept, highest sequence of it that was dropped or folded). Not there: all of
/// it is kept.
pub(super) const FIRSTS: TableDefinition<&str, (u64, u64)> = TableDefinition::new("firsts");
/// Name -> document, as a store before layout 3 has it.
pub(super) const CLUSTERS: TableDefinition<&str, &[u8]> = TableDefinition::new("clusters");
/// (cluster, kind, name) -> part of its document.
pub(super) const PARTS: TableDefinition<(&str, &str, &str), &[u8]> = TableDefinition::new("cluster-parts");
/// MAC -> lease.
pub(super) const LEASES: TableDefinition<&str, &[u8]> = TableDefinition::new("leases");
/// (space, key) -> bytes as they were given.
pub(super) const VALUES: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("values");
/// The engine's own numbers.
pub(super) const ENGINE: TableDefinition<&str, u64> = TableDefinition::new("engine");

/// Layout and encoding of this version; a higher one is refused.
pub(super) const SCHEMA: u64 = 3;
/// Key of the schema in [`ENGINE`].
pub(super) const SCHEMA_KEY: &str = "schema";
/// Key of the count of committed groups in [`ENGINE`].
pub(super) const GROUPS_KEY: &str = "groups";
/// Key of the count of dropped events in [`ENGINE`].
pub(super) const DROPPED_KEY: &str = "dropped";
/// Key of the highest sequence that was dropped or folded in [`ENGINE`].
pub(super) const COMPACTED_KEY: &str = "compacted";

/// The stream of a key.
pub(super) fn stream_of(key: &str) -> Result<Stream, ReadError> {
    encoding::stream_of(key).map_err(ReadError::Damaged)
}

/// Decodes a value; `what` names it where it is damaged.
pub(super) fn decode<T: DeserializeOwned>(what: impl Fn() -> String, bytes: &[u8]) -> Result<T, ReadError> {
    encoding::decode(what, bytes).map_err(ReadError::Damaged)
}

fn json_of(what: impl Fn() -> String, bytes: &[u8]) -> Result<&[u8], ReadError> {
    encoding::json_of(what, bytes).map_err(ReadError::Damaged)
}

/// What an opened store starts with.
#[derive(Debug)]
pub(super) struct Start {
    /// The last sequence.
    pub(super) sequence: u64,
    /// Count of committed groups.
    pub(super) groups: u64,
    /// All documents, claims with their lifetime anew.
    pub(super) documents: BTreeMap<String, Arc<Document>>,
}

/// Reads what a store starts with, and refuses one whose counts do not agree.
pub(super) fn load(database: &Database, now_ms: u64) -> Result<Start, StoreError> {
    let read = || -> Result<Result<Start, StoreError>, ReadError> {
        let snapshot = database.begin_read()?;
        let engine = match snapshot.open_table(ENGINE) {
            Ok(engine) => engine,
            Err(redb::TableError::TableDoesNotExist(_)) => {
                return Ok(Err(StoreError::Open("this database is not a store of ours".into())));
            }
            Err(error) => return Err(error.into()),
        };
        let schema = engine.get(SCHEMA_KEY)?.map_or(0, |value| value.value());
        if !(1..=SCHEMA).contains(&schema) {
            return Ok(Err(StoreError::Open(format!(
                "the store has layout {schema}, this program knows 1 to {SCHEMA}; use the formwork that wrote it, or a newer one"
            ))));
        }
        let groups = engine.get(GROUPS_KEY)?.map_or(0, |value| value.value());
        let sequence = last_sequence(&snapshot)?;
        agree(&snapshot, sequence)?;
        let mut documents = BTreeMap::new();
        for (name, mut document) in documents_of(&snapshot)? {
            cluster::after_restart(&mut document, now_ms);
            documents.insert(name, Arc::new(document));
        }
        Ok(Ok(Start { sequence, groups, documents }))
    };
    match read() {
        Ok(start) => start,
        Err(ReadError::Damaged(text)) => Err(StoreError::Damaged(text)),
        Err(ReadError::Engine(error)) => Err(match *error {
            redb::Error::Corrupted(text) => StoreError::Damaged(text),
            other => StoreError::Io(other.to_string()),
        }),
    }
}

fn last_sequence(snapshot: &ReadTransaction) -> Result<u64, ReadError> {
    Ok(snapshot.open_table(EVENTS)?.last()?.map_or(0, |(sequence, _)| sequence.value()))
}

/// Sequences, places and heads count the same events.
fn agree(snapshot: &ReadTransaction, sequence: u64) -> Result<(), ReadError> {
    let events = snapshot.open_table(EVENTS)?.len()?;
    let places = snapshot.open_table(STREAMS)?.len()?;
    let mut heads = 0_u64;
    for head in snapshot.open_table(HEADS)?.iter()? {
        heads = heads.saturating_add(head?.1.value());
    }
    let dropped = snapshot.open_table(ENGINE)?.get(DROPPED_KEY)?.map_or(0, |value| value.value());
    let before = firsts(snapshot)?.values().fold(0, |sum: u64, (first, _)| sum.saturating_add(*first));
    let all = events.saturating_add(dropped);
    if all == sequence && places == events && heads == sequence && before == dropped {
        return Ok(());
    }
    Err(ReadError::Damaged(format!(
        "the last event is {sequence}, but there are {events} events and {dropped} dropped ones ({before} before the first of \
         their streams), {places} places in streams, heads of {heads}"
    )))
}

/// Where streams begin that do not begin with their first event. A store of layout 1 has no such table.
pub(super) fn firsts(snapshot: &ReadTransaction) -> Result<BTreeMap<String, (u64, u64)>, ReadError> {
    let table = match snapshot.open_table(FIRSTS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(BTreeMap::new()),
        Err(error) => return Err(error.into()),
    };
    let mut firsts = BTreeMap::new();
    for entry in table.iter()? {
        let (stream, first) = entry?;
        firsts.insert(stream.value().to_owned(), first.value());
    }
    Ok(firsts)
}

/// Where a stream begins, and the highest sequence of it that is gone.
pub(super) fn first(snapshot: &ReadTransaction, stream: &Stream) -> Result<(u64, u64), ReadError> {
    let first = snapshot.open_table(FIRSTS)?.get(stream_key(stream).as_str())?.map(|value| value.value());
    Ok(first.unwrap_or((0, 0)))
}

/// The highest sequence that is gone, of a stream or of all.
pub(super) fn compacted(snapshot: &ReadTransaction, stream: Option<&Stream>) -> Result<u64, ReadError> {
    match stream {
        Some(stream) => Ok(first(snapshot, stream)?.1),
        None => Ok(snapshot.open_table(ENGINE)?.get(COMPACTED_KEY)?.map_or(0, |value| value.value())),
    }
}

/// All documents, as they lie there.
pub(super) fn documents_of(snapshot: &ReadTransaction) -> Result<Vec<(String, Document)>, ReadError> {
    let table = match snapshot.open_table(PARTS) {
        Ok(table) => table,
        Err(redb::TableError::TableDoesNotExist(_)) => return whole_documents_of(snapshot),
        Err(error) => return Err(error.into()),
    };
    let mut documents: Vec<(String, Document)> = Vec::new();
    for entry in table.iter()? {
        let (place, bytes) = entry?;
        let (cluster, kind, name) = place.value();
        if documents.last().is_none_or(|(last, _)| last != cluster) {
            documents.push((cluster.to_owned(), Document::default()));
        }
        let what = || format!("{kind} `{name}` in the document of cluster {cluster}");
        if let Some((_, document)) = documents.last_mut() {
            document
                .take_part(kind, name, json_of(what, bytes.value())?)
                .map_err(|error| ReadError::Damaged(format!("{}: {error}", what())))?;
        }
    }
    Ok(documents)
}

/// The documents of a store before layout 3, where each was one value.
fn whole_documents_of(snapshot: &ReadTransaction) -> Result<Vec<(String, Document)>, ReadError> {
    let mut documents = Vec::new();
    for entry in snapshot.open_table(CLUSTERS)?.iter()? {
        let (name, bytes) = entry?;
        let document = decode(|| format!("the document of cluster {}", name.value()), bytes.value())?;
        documents.push((name.value().to_owned(), document));
    }
    Ok(documents)
}

fn record(sequence: u64, bytes: &[u8]) -> Result<Record, ReadError> {
    let record: Record = decode(|| format!("event {sequence}"), bytes)?;
    if record.sequence == sequence {
        return Ok(record);
    }
    Err(ReadError::Damaged(format!("event {sequence} says that it is event {}", record.sequence)))
}

/// Events after a sequence.
pub(super) fn events_after(snapshot: &ReadTransaction, after: u64, limit: usize) -> Result<Vec<Record>, ReadError> {
    let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
    let mut records = Vec::new();
    for entry in snapshot.open_table(EVENTS)?.range(first..)?.take(limit) {
        let (sequence, bytes) = entry?;
        records.push(record(sequence.value(), bytes.value())?);
    }
    Ok(records)
}

/// Events of one stream.
pub(super) fn events_of(
    snapshot: &ReadTransaction,
    stream: &Stream,
    index: u64,
    limit: usize,
) -> Result<Vec<Record>, ReadError> {
    let key = stream_key(stream);
    let events = snapshot.open_table(EVENTS)?;
    let mut records = Vec::new();
    for entry in snapshot.open_table(STREAMS)?.range((key.as_str(), index)..=(key.as_str(), u64::MAX))?.take(limit) {
        let sequence = entry?.1.value();
        let Some(bytes) = events.get(sequence)? else {
            return Err(ReadError::Damaged(format!("event {sequence} of {key} is missing")));
        };
        records.push(record(sequence, bytes.value())?);
    }
    Ok(records)
}

/// Count of events of a stream.
pub(super) fn head(snapshot: &ReadTransaction, stream: &Stream) -> Result<u64, ReadError> {
    let heads = snapshot.open_table(HEADS)?;
    let head = heads.get(stream_key(stream).as_str())?;
    Ok(head.map_or(0, |value| value.value()))
}

/// All streams that have events.
pub(super) fn streams(snapshot: &ReadTransaction) -> Result<Vec<Stream>, ReadError> {
    let mut streams = Vec::new();
    for entry in snapshot.open_table(HEADS)?.iter()? {
        streams.push(stream_of(entry?.0.value())?);
    }
    Ok(streams)
}

/// All leases.
pub(super) fn leases(snapshot: &ReadTransaction) -> Result<Vec<Lease>, ReadError> {
    let mut leases = Vec::new();
    for entry in snapshot.open_table(LEASES)?.iter()? {
        let (mac, bytes) = entry?;
        leases.push(decode(|| format!("the lease of {}", mac.value()), bytes.value())?);
    }
    Ok(leases)
}

/// A small value.
pub(super) fn value(snapshot: &ReadTransaction, space: Space, key: &str) -> Result<Option<Vec<u8>>, ReadError> {
    let values = snapshot.open_table(VALUES)?;
    let value = values.get((space_key(space), key))?;
    Ok(value.map(|bytes| bytes.value().to_vec()))
}

/// The keys of a space.
pub(super) fn keys(snapshot: &ReadTransaction, space: Space) -> Result<Vec<String>, ReadError> {
    let space = space_key(space);
    let mut keys = Vec::new();
    for entry in snapshot.open_table(VALUES)?.range((space, "")..)? {
        let (place, _) = entry?;
        let (of, key) = place.value();
        if of != space {
            break;
        }
        keys.push(key.to_owned());
    }
    Ok(keys)
}
