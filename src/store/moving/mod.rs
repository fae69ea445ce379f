//! A store that moves: from one place, or engine, to another, through a file. Not a backup: what was given out goes on.
//!
//! ```text
//!  export: begin FILE ─► mark the store ─► write what it holds ─► FILE has its name
//!  import: read FILE whole ─► make the store under no name ─► it has its name
//! ```
//!
//! The mark comes first: from then on nothing serves from the store, so what is written is its last state, and writing it again writes
//! the same. A store is opened again only by taking the mark away, which the file of this very move does, while the store is still what
//! the file says ([`put_back`]). What an engine does for it is [`Movable`]; [`file`] is the bytes.

mod file;
#[cfg(test)]
mod tests;

pub use file::MoveFile;

use super::effect::Effect;
use super::{StoreError, Watch};
use file::{NewFile, Sink};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Under which key of [`super::Space::Meta`] a store says that it was moved out.
pub(super) const MOVED: &str = "moved";

/// A store's mark, and what tells one move from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Moved {
    /// A random word: this move.
    pub move_id: String,
    /// When the store was marked, Unix milliseconds.
    pub moved_unix_ms: i64,
}

/// What a file says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// The site.
    pub site: String,
    /// Its authority, by the SHA-256 of the certificate.
    pub authority: String,
    /// Where the store lay, where that was no state directory.
    pub from: Option<String>,
    /// Where its log ended, where it had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<LogEnd>,
    /// Which move.
    #[serde(flatten)]
    pub moved: Moved,
}

/// The end of a log that several may read, and that a backup of what keeps it brings back shorter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogEnd {
    /// The uid of the store itself.
    pub store: String,
    /// When a person said last that it came back from a backup; 0: never.
    pub restored_unix_ms: u64,
    /// The last segment.
    pub segment: u64,
    /// Its object's uid, where it is known.
    pub uid: String,
}

/// What a file holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Events that are kept.
    pub events: u64,
    /// Streams with events.
    pub streams: u64,
    /// Cluster documents.
    pub clusters: u64,
    /// Leases.
    pub leases: u64,
    /// Small values.
    pub values: u64,
}

/// Whose store is exported, and where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Whose<'a> {
    /// The authority of the keys in the state directory.
    pub authority: &'a str,
    /// Where the store lies, where that is not the state directory.
    pub from: Option<&'a str>,
}

/// A store that was written to a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exported {
    /// What the file says of itself.
    #[serde(flatten)]
    pub header: Header,
    /// What it holds.
    #[serde(flatten)]
    pub counts: Counts,
    /// The store was marked before, and what was written then was written again.
    pub again: bool,
}

/// What an import came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Imported {
    /// The store was made.
    Made,
    /// It is the store that the file was written of: its mark was taken away.
    PutBack,
    /// It was there already, as the file has it.
    ThereAlready,
}

impl Moved {
    fn now() -> Result<Self, StoreError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let moved_unix_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let move_id = crate::identity::new_id().map_err(|error| StoreError::Io(error.to_string()))?;
        Ok(Self { move_id, moved_unix_ms })
    }

    /// The mark of a store, as it keeps it under [`MOVED`].
    ///
    /// # Errors
    /// [`StoreError::Open`] for a mark of a newer program: the store was moved all the same.
    pub(super) fn of(value: Option<&[u8]>) -> Result<Option<Self>, StoreError> {
        let read = value.map(serde_json::from_slice).transpose();
        read.map_err(|error| {
            StoreError::Open(format!(
                "the store was moved out by another formwork, whose word for it is unknown: {error}"
            ))
        })
    }

    /// As a store keeps it.
    ///
    /// # Errors
    /// [`StoreError::Io`] where it cannot be encoded.
    pub(super) fn value(&self) -> Result<Vec<u8>, StoreError> {
        serde_json::to_vec(self).map_err(|error| StoreError::Io(error.to_string()))
    }

    /// Why nothing opens the store in this place.
    pub fn refusal(&self, place: &str) -> StoreError {
        StoreError::Open(format!(
            "the store in {place} was moved out at {} by `formwork export`, and nothing serves from it any more. Serve where its \
             file was imported; if that was nowhere, `formwork import FILE` puts it back, and `formwork export` writes the file again",
            self.at()
        ))
    }

    fn at(&self) -> String {
        jiff::Timestamp::from_millisecond(self.moved_unix_ms)
            .map_or_else(|_| "some time".to_owned(), |at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
    }
}

/// A store that is moved: one that nobody else has open, or whose mark ends whoever has.
pub(super) trait Movable {
    /// A value of [`super::Space::Meta`].
    fn meta(&self, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Puts the mark, or takes it away.
    fn mark(&self, moved: Option<&Moved>) -> Result<(), StoreError>;
    /// All that it holds but what only its engine needs: each stream before its events, parts of documents, leases and values by their
    /// keys, the totals last. In every engine in the same order.
    fn effects(&self, put: &mut dyn FnMut(Effect)) -> Result<(), StoreError>;
    /// Where it is.
    fn place(&self) -> String;
    /// Where its log ends; none: it has none.
    fn end(&self) -> Option<LogEnd> {
        None
    }
}

fn moved(store: &dyn Movable) -> Result<Option<Moved>, StoreError> {
    Moved::of(store.meta(MOVED)?.as_deref())
}

/// Marks a store as moved, and writes it to the new file `to`.
pub(super) fn export(
    store: &dyn Movable,
    whose: Whose<'_>,
    to: &Path,
    watch: &dyn Watch,
) -> Result<Exported, StoreError> {
    let before = moved(store)?;
    let site = store.meta("site")?.and_then(|bytes| String::from_utf8(bytes).ok());
    let site = site.ok_or_else(|| StoreError::Open(format!("the store in {} does not say its site", store.place())))?;
    let mut file = NewFile::begin(to)?;
    let again = before.is_some();
    let marked = match before {
        Some(moved) => moved,
        None => {
            let moved = Moved::now()?;
            store.mark(Some(&moved))?;
            moved
        }
    };
    let (authority, from) = (whose.authority.to_owned(), whose.from.map(str::to_owned));
    let header = Header { site, authority, from, end: store.end(), moved: marked };
    let written = write(store, &header, file.out(), watch).and_then(|(counts, _)| file.finish().map(|()| counts));
    let marked = |text| format!("{text}; the store in {} is marked as moved: export it again", store.place());
    let counts = written.map_err(|error| match error {
        StoreError::Open(text) => StoreError::Open(marked(text)),
        StoreError::Full(text) => StoreError::Full(marked(text)),
        other => other,
    })?;
    Ok(Exported { header, counts, again })
}

fn write(
    store: &dyn Movable,
    header: &Header,
    out: &mut dyn std::io::Write,
    watch: &dyn Watch,
) -> Result<(Counts, super::effect::Digest), StoreError> {
    watch.begins("reading the store", 0);
    let mut sink = Sink::begin(out, header)?;
    store.effects(&mut |effect| {
        watch.more(1);
        sink.put(effect);
    })?;
    sink.end()
}

/// What importing comes to where there is a store already.
pub(super) fn put_back(store: &dyn Movable, file: &MoveFile, watch: &dyn Watch) -> Result<Imported, StoreError> {
    let mark = moved(store)?;
    let place = store.place();
    if let Some(other) = mark.as_ref().filter(|mark| **mark != file.header.moved) {
        return Err(StoreError::Open(format!(
            "there is a store in {place} that was moved out at {}, and this file is not of that move; put that store aside first, \
             or name another place",
            other.at()
        )));
    }
    let (_, digest) = write(store, &file.header, &mut std::io::sink(), watch)?;
    match (mark.is_some(), digest == file.digest) {
        (true, true) => {
            store.mark(None)?;
            Ok(Imported::PutBack)
        }
        (true, false) => Err(StoreError::Open(format!(
            "the store in {place} is the one that this file was written of, but not what the file says any more; export it again"
        ))),
        (false, true) => Ok(Imported::ThereAlready),
        (false, false) => Err(StoreError::Open(format!(
            "there is a store in {place} already, and nothing is imported over one; name another place"
        ))),
    }
}
