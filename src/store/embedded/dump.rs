//! A store as lines of JSON for people: every event, every lease, and of documents and small values what is there, but
//! never what they hold (they can hold secrets).

use super::files::{FileMedium, Lock};
use super::medium::{self, meaning};
use super::shared::ReadError;
use super::tables::{self, VALUES};
use crate::journal::Record;
use crate::store::{Lease, StoreError};
use redb::{ReadTransaction, ReadableDatabase, ReadableTable};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// Events read at a time.
const EVENTS_AT_ONCE: usize = 1_000;

/// Why a dump ended early.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The store could not be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output takes no more.
    #[error("the output takes no more: {0}")]
    Output(#[from] io::Error),
}

/// One line.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Line<'a> {
    Event(&'a Record),
    Cluster { name: &'a str, epoch: u64, version: u64, keys: Vec<KeyLine<'a>> },
    Lease(&'a Lease),
    Value { space: &'a str, key: &'a str, bytes: usize },
}

/// One key of a document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct KeyLine<'a> {
    key: &'a str,
    version: u64,
    bytes: usize,
    secret: bool,
}

/// Writes the closed store in `dir` to `out`, one JSON object a line.
///
/// # Errors
/// Those of opening, and those of `out`.
pub fn dump(dir: &Path, out: &mut dyn Write) -> Result<(), DumpError> {
    let _lock = Lock::take_to_read(dir)?;
    show(&FileMedium::existing(dir)?.only_read(), out)
}

/// The same for a copy of a store, which nobody has open.
///
/// # Errors
/// As [`dump`].
pub fn dump_file(path: &Path, out: &mut dyn Write) -> Result<(), DumpError> {
    show(&FileMedium::of(path)?.only_read(), out)
}

fn show(medium: &FileMedium, out: &mut dyn Write) -> Result<(), DumpError> {
    let database = medium::open(medium, 32 << 20, true)?;
    let snapshot = database.begin_read().map_err(|error| meaning(medium, error.into()))?;
    match write(&snapshot, out) {
        Ok(written) => Ok(written?),
        Err(ReadError::Damaged(text)) => Err(StoreError::Damaged(text).into()),
        Err(ReadError::Engine(error)) => Err(meaning(medium, *error).into()),
    }
}

fn write(snapshot: &ReadTransaction, out: &mut dyn Write) -> Result<io::Result<()>, ReadError> {
    let mut put = |line: &Line<'_>| -> io::Result<()> {
        serde_json::to_writer(&mut *out, line)?;
        out.write_all(b"\n")
    };
    macro_rules! put {
        ($line:expr) => {
            if let Err(error) = put(&$line) {
                return Ok(Err(error));
            }
        };
    }
    let mut after = 0;
    loop {
        let records = tables::events_after(snapshot, after, EVENTS_AT_ONCE)?;
        let Some(last) = records.last() else { break };
        after = last.sequence;
        for record in &records {
            put!(Line::Event(record));
        }
    }
    for (name, document) in &tables::documents_of(snapshot)? {
        let keys = document.keys.iter().map(|(key, entry)| KeyLine {
            key,
            version: entry.version,
            bytes: entry.bytes,
            secret: entry.secret,
        });
        let (epoch, version) = (document.epoch, document.version);
        put!(Line::Cluster { name, epoch, version, keys: keys.collect() });
    }
    for lease in &tables::leases(snapshot)? {
        put!(Line::Lease(lease));
    }
    for entry in snapshot.open_table(VALUES)?.iter()? {
        let (key, value) = entry?;
        let (space, key) = key.value();
        put!(Line::Value { space, key, bytes: value.value().len() });
    }
    Ok(Ok(()))
}
