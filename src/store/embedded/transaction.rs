//! Writes one group in one transaction, durably.

use super::medium::{Medium, meaning};
use super::tables::{
    CLUSTERS, COMPACTED_KEY, DROPPED_KEY, ENGINE, EVENTS, FIRSTS, GROUPS_KEY, HEADS, LEASES, PARTS, SCHEMA, SCHEMA_KEY,
    STREAMS, VALUES,
};
use crate::cluster::{self, Document};
use crate::store::StoreError;
use crate::store::encoding::{encode, stream_key};
use crate::store::plan::{Group, Write, first_group};
use redb::{Database, ReadableTable, WriteTransaction};
use std::borrow::Cow;
use std::sync::Arc;

/// A part of a document that changed.
struct Part<'a> {
    cluster: &'a str,
    kind: &'static str,
    name: Cow<'a, str>,
    /// `None`: it is not there any more.
    bytes: Option<Vec<u8>>,
}

/// What of its documents a group changed, encoded once each however often it changed in it.
pub(super) struct Encoded<'a> {
    parts: Vec<Part<'a>>,
    /// Bytes of everything the group writes.
    pub(super) bytes: usize,
}

impl<'a> Encoded<'a> {
    /// Encodes what a group changed in `durable` documents: those that it was planned on, in the order of its own.
    pub(super) fn of(group: &'a Group, durable: &'a [Arc<Document>]) -> Result<Self, StoreError> {
        let mut all = Self { parts: Vec::new(), bytes: group.bytes };
        let mut failed = None;
        for ((cluster, document), before) in group.documents.iter().zip(durable) {
            cluster::changed_parts(before, document, |(kind, name), part| {
                match part.map(|part| encode(&part)).transpose() {
                    Ok(bytes) => {
                        let length = bytes.as_ref().map_or(0, Vec::len).saturating_add(name.len());
                        all.bytes = all.bytes.saturating_add(length);
                        all.parts.push(Part { cluster, kind, name, bytes });
                    }
                    Err(error) => failed = Some(error),
                }
            });
        }
        failed.map_or(Ok(all), Err)
    }
}

/// Commits a group as the `groups`-th; back after both fsyncs.
pub(super) fn commit(
    database: &Database,
    group: &Group,
    encoded: &Encoded<'_>,
    groups: u64,
) -> Result<(), redb::Error> {
    let mut transaction = database.begin_write()?;
    // Machines choose the bytes: without the second phase a torn commit could be made to look whole.
    transaction.set_two_phase_commit(true);
    write(&transaction, group, encoded, groups)?;
    transaction.commit()?;
    Ok(())
}

fn write(transaction: &WriteTransaction, group: &Group, encoded: &Encoded<'_>, groups: u64) -> Result<(), redb::Error> {
    let mut events = transaction.open_table(EVENTS)?;
    let mut streams = transaction.open_table(STREAMS)?;
    let mut leases = transaction.open_table(LEASES)?;
    let mut values = transaction.open_table(VALUES)?;
    let mut firsts = transaction.open_table(FIRSTS)?;
    let mut engine = transaction.open_table(ENGINE)?;
    for write in &group.writes {
        match write {
            Write::Record { sequence, stream, index, bytes } => {
                events.insert(sequence, bytes.as_slice())?;
                streams.insert((stream.as_str(), *index), sequence)?;
            }
            Write::Lease { mac, bytes: Some(bytes) } => {
                leases.insert(mac.as_str(), bytes.as_slice())?;
            }
            Write::Lease { mac, bytes: None } => {
                leases.remove(mac.as_str())?;
            }
            Write::Compact { stream, from, below, folded, compacted } => {
                for index in *from..*below {
                    let sequence = streams.remove((stream.as_str(), index))?.map(|sequence| sequence.value());
                    if let Some(sequence) = sequence {
                        events.remove(sequence)?;
                    }
                }
                let mut first = *below;
                if let Some(folded) = folded {
                    first = first.saturating_sub(1);
                    events.insert(compacted, folded.as_slice())?;
                    streams.insert((stream.as_str(), first), compacted)?;
                }
                firsts.insert(stream.as_str(), (first, *compacted))?;
                let number = |value: Option<redb::AccessGuard<'_, u64>>| value.map_or(0, |value| value.value());
                let dropped = number(engine.get(DROPPED_KEY)?).saturating_add(first.saturating_sub(*from));
                engine.insert(DROPPED_KEY, dropped)?;
                let highest = number(engine.get(COMPACTED_KEY)?).max(*compacted);
                engine.insert(COMPACTED_KEY, highest)?;
            }
            Write::Value { space, key, bytes: Some(bytes) } => {
                values.insert((*space, key.as_str()), bytes.as_slice())?;
            }
            Write::Value { space, key, bytes: None } => {
                values.remove((*space, key.as_str()))?;
            }
        }
    }
    let mut heads = transaction.open_table(HEADS)?;
    for (stream, head) in &group.heads {
        heads.insert(stream_key(stream).as_str(), head)?;
    }
    write_parts(transaction, &encoded.parts)?;
    engine.insert(GROUPS_KEY, groups)?;
    Ok(())
}

fn write_parts(transaction: &WriteTransaction, parts: &[Part<'_>]) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(PARTS)?;
    for Part { cluster, kind, name, bytes } in parts {
        let place = (*cluster, *kind, name.as_ref());
        match bytes {
            Some(bytes) => table.insert(place, bytes.as_slice())?,
            None => table.remove(place)?,
        };
    }
    Ok(())
}

/// Brings documents that were one value each into parts, where the store is of a layout before 3.
pub(super) fn into_parts(transaction: &WriteTransaction, documents: &[(String, Document)]) -> Result<(), redb::Error> {
    let nothing = Document::default();
    for (cluster, document) in documents {
        let mut parts = Vec::new();
        cluster::changed_parts(&nothing, document, |(kind, name), part| {
            // What was read from JSON has a JSON text.
            let bytes = part.and_then(|part| encode(&part).ok());
            parts.push(Part { cluster, kind, name, bytes });
        });
        write_parts(transaction, &parts)?;
    }
    transaction.delete_table(CLUSTERS)?;
    Ok(())
}

/// Writes what a new store begins with on an empty medium: its tables, the site's name, the first event.
pub(super) fn initialise(
    database: &Database,
    medium: &dyn Medium,
    site: &str,
    fresh: bool,
    now_unix_ms: i64,
) -> Result<(), StoreError> {
    let schema = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        transaction.set_two_phase_commit(true);
        transaction.open_table(ENGINE)?.insert(SCHEMA_KEY, SCHEMA)?;
        transaction.commit()?;
        Ok(())
    };
    schema().map_err(|error| meaning(medium, error))?;
    let group = first_group(site, fresh, now_unix_ms)?;
    commit(database, &group, &Encoded::of(&group, &[])?, 1).map_err(|error| meaning(medium, error))
}
