//! What a batch comes to, in every engine alike, decided without writing: against what is durable ([`Base`]) and what earlier batches of the
//! same group will have written ([`Group`]). A batch that is refused leaves the group as it was.

use super::encoding::{encode, space_key, stream_key};
use super::{Batch, Committed, Lease, Operation, Space, StoreError};
use crate::cluster::{self, Document};
use crate::journal::{Event, Record, Stream};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// Largest encoded event, bytes.
const EVENT_BYTES: usize = 256 << 10;
/// Largest small value, bytes.
const VALUE_BYTES: usize = 1 << 20;
/// Longest key and name, bytes.
const KEY_BYTES: usize = 512;
/// Most events, operations and expected heads of one batch, each.
const BATCH_PARTS: usize = 16_384;
/// Most bytes of one batch's events and values.
const BATCH_BYTES: usize = 32 << 20;

/// What is durable when a group begins.
pub(super) trait Base {
    /// Count of events of a stream.
    fn head(&self, stream: &Stream) -> Result<u64, StoreError>;
    /// A cluster's newest document.
    fn document(&self, name: &str) -> Option<Arc<Document>>;
    /// The index at which a stream begins.
    fn first(&self, stream: &Stream) -> Result<u64, StoreError>;
    /// An event in its place.
    fn record(&self, stream: &Stream, index: u64) -> Result<Option<Record>, StoreError>;
    /// The leases of an address, ended ones too.
    fn leases_of(&self, address: Ipv4Addr) -> Result<Vec<Lease>, StoreError>;
}

/// One thing to write.
#[derive(Debug)]
pub(super) enum Write {
    /// An event in its places.
    Record { sequence: u64, stream: String, index: u64, bytes: Vec<u8> },
    /// A lease, or none any more.
    Lease { mac: String, bytes: Option<Vec<u8>> },
    /// Events of a stream that go: those from `from` to below `below`. `folded` is put in the place of the last of them.
    Compact { stream: String, from: u64, below: u64, folded: Option<Vec<u8>>, compacted: u64 },
    /// A small value, or none any more.
    Value { space: &'static str, key: String, bytes: Option<Vec<u8>> },
}

/// What a group of batches comes to.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// The last sequence.
    pub(super) sequence: u64,
    /// Heads that moved.
    pub(super) heads: BTreeMap<Stream, u64>,
    /// Beginnings that moved.
    pub(super) firsts: BTreeMap<Stream, u64>,
    /// Documents that changed.
    pub(super) documents: BTreeMap<String, Arc<Document>>,
    /// Leases that changed, by MAC.
    leases: BTreeMap<String, Option<Lease>>,
    /// What else to write, in order.
    pub(super) writes: Vec<Write>,
    /// Bytes in `writes`.
    pub(super) bytes: usize,
}

impl Group {
    /// A group that begins after `sequence`.
    pub(super) fn after(sequence: u64) -> Self {
        Self { sequence, ..Self::default() }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.documents.is_empty()
    }

    /// Takes in what one more batch comes to.
    pub(super) fn absorb(&mut self, later: Self) {
        self.sequence = later.sequence;
        self.heads.extend(later.heads);
        self.firsts.extend(later.firsts);
        self.documents.extend(later.documents);
        self.leases.extend(later.leases);
        self.writes.extend(later.writes);
        self.bytes = self.bytes.saturating_add(later.bytes);
    }
}

/// Decides one batch. The first part of the answer is to be absorbed by `group` with the second.
pub(super) fn plan(
    base: &dyn Base,
    group: &Group,
    batch: Batch,
    now_unix_ms: i64,
) -> Result<(Group, Committed), StoreError> {
    if [batch.expected.len(), batch.events.len(), batch.operations.len()].iter().any(|parts| *parts > BATCH_PARTS) {
        return Err(StoreError::TooLarge(format!("a commit has at most {BATCH_PARTS} parts of a kind")));
    }
    let mut planning = Planning {
        base,
        group,
        own: Group::after(group.sequence),
        committed: Committed { records: Vec::new(), answers: Vec::new() },
        now_unix_ms,
    };
    for (stream, expected) in batch.expected {
        let actual = planning.head(&stream)?;
        if actual != expected {
            return Err(StoreError::Conflict { stream, expected, actual });
        }
    }
    for (stream, event) in batch.events {
        planning.append(stream, event)?;
    }
    for operation in batch.operations {
        planning.operate(operation)?;
    }
    Ok((planning.own, planning.committed))
}

struct Planning<'a> {
    base: &'a dyn Base,
    group: &'a Group,
    own: Group,
    committed: Committed,
    now_unix_ms: i64,
}

impl Planning<'_> {
    fn head(&self, stream: &Stream) -> Result<u64, StoreError> {
        match self.own.heads.get(stream).or_else(|| self.group.heads.get(stream)) {
            Some(head) => Ok(*head),
            None => self.base.head(stream),
        }
    }

    fn document(&self, name: &str) -> Arc<Document> {
        let planned = self.own.documents.get(name).or_else(|| self.group.documents.get(name)).cloned();
        planned.or_else(|| self.base.document(name)).unwrap_or_default()
    }

    fn append(&mut self, stream: Stream, event: Event) -> Result<(), StoreError> {
        let key = bounded_key(stream_key(&stream))?;
        let index = self.head(&stream)?;
        let sequence = self.own.sequence.saturating_add(1);
        let record = Record { sequence, stream: stream.clone(), index, at_unix_ms: self.now_unix_ms, event };
        let bytes = encode(&record)?;
        if bytes.len() > EVENT_BYTES {
            return Err(StoreError::TooLarge(format!(
                "an event of {stream} has {} bytes, at most {EVENT_BYTES} are kept",
                bytes.len()
            )));
        }
        self.write(bytes.len(), Write::Record { sequence, stream: key, index, bytes })?;
        self.own.sequence = sequence;
        self.own.heads.insert(stream, index.saturating_add(1));
        self.committed.records.push(record);
        Ok(())
    }

    fn operate(&mut self, operation: Operation) -> Result<(), StoreError> {
        match operation {
            Operation::Cluster(request) => {
                let name = bounded_key(request.cluster.clone())?;
                let outcome = cluster::apply(&self.document(&name), &request);
                if let Some(document) = outcome.document {
                    self.own.documents.insert(name.clone(), Arc::new(document));
                }
                self.committed.answers.push(outcome.answer);
                for event in outcome.events {
                    self.append(Stream::Cluster(name.clone()), event)?;
                }
                Ok(())
            }
            Operation::PutLease(lease) => self.put_lease(lease),
            Operation::TakeLease(lease) => {
                let others = self.other_holders(&lease)?;
                let stands = |lease: &Lease| {
                    let ends = lease.at_unix_ms.saturating_add(i64::from(lease.seconds).saturating_mul(1000));
                    ends > self.now_unix_ms
                };
                if let Some(other) = others.iter().find(|other| stands(other)) {
                    return Err(StoreError::Leased(Box::new(other.clone())));
                }
                for Lease { mac, .. } in others {
                    self.operate(Operation::DeleteLease { mac })?;
                }
                self.put_lease(lease)
            }
            Operation::DeleteLease { mac } => {
                let mac = bounded_key(mac)?;
                self.own.leases.insert(mac.clone(), None);
                self.write(0, Write::Lease { mac, bytes: None })
            }
            Operation::Compact { stream, below, folded } => self.compact(stream, below, folded),
            Operation::Put { space, key, value } => {
                let key = bounded_key(key)?;
                let length = value.as_ref().map_or(0, Vec::len);
                if length > VALUE_BYTES {
                    return Err(StoreError::TooLarge(format!(
                        "the value of {key} has {length} bytes, at most {VALUE_BYTES} are kept"
                    )));
                }
                self.write(length, Write::Value { space: space_key(space), key, bytes: value })
            }
        }
    }

    fn put_lease(&mut self, lease: Lease) -> Result<(), StoreError> {
        let bytes = encode(&lease)?;
        let mac = bounded_key(lease.mac.clone())?;
        self.own.leases.insert(mac.clone(), Some(lease));
        self.write(bytes.len(), Write::Lease { mac, bytes: Some(bytes) })
    }

    /// Who else has or had the address of a lease.
    fn other_holders(&self, wanted: &Lease) -> Result<Vec<Lease>, StoreError> {
        let planned = |mac: &str| self.own.leases.get(mac).or_else(|| self.group.leases.get(mac));
        let durable = self.base.leases_of(wanted.address)?;
        let durable = durable.into_iter().filter(|lease| planned(&lease.mac).is_none());
        let group = self.group.leases.iter().filter(|(mac, _)| !self.own.leases.contains_key(*mac));
        let newer = group.chain(&self.own.leases).filter_map(|(_, lease)| lease.clone());
        let other = |lease: &Lease| lease.mac != wanted.mac && lease.address == wanted.address;
        Ok(newer.chain(durable).filter(other).collect())
    }

    fn compact(&mut self, stream: Stream, below: u64, folded: Option<Box<Event>>) -> Result<(), StoreError> {
        let planned = self.own.firsts.get(&stream).or_else(|| self.group.firsts.get(&stream)).copied();
        let from = planned.map_or_else(|| self.base.first(&stream), Ok)?;
        let kept = if folded.is_some() { below.saturating_sub(1) } else { below };
        if kept <= from {
            return Ok(());
        }
        // Only what is durable goes, and never the newest.
        let head = self.base.head(&stream)?;
        let last = self.base.record(&stream, below.saturating_sub(1))?;
        let Some(last) = last.filter(|_| kept < head) else {
            return Err(StoreError::Conflict { stream, expected: below, actual: head });
        };
        let compacted = last.sequence;
        let folded = folded.map(|event| encode(&Record { event: *event, ..last })).transpose()?;
        let bytes = folded.as_ref().map_or(0, Vec::len);
        if bytes > VALUE_BYTES {
            return Err(StoreError::TooLarge(format!(
                "what is folded of {stream} has {bytes} bytes, at most {VALUE_BYTES} are kept"
            )));
        }
        let key = bounded_key(stream_key(&stream))?;
        self.write(bytes, Write::Compact { stream: key, from, below, folded, compacted })?;
        self.own.firsts.insert(stream, kept);
        Ok(())
    }

    fn write(&mut self, bytes: usize, write: Write) -> Result<(), StoreError> {
        self.own.bytes = self.own.bytes.saturating_add(bytes);
        if self.own.bytes > BATCH_BYTES {
            return Err(StoreError::TooLarge(format!("a commit has at most {BATCH_BYTES} bytes")));
        }
        self.own.writes.push(write);
        Ok(())
    }
}

/// What a new store begins with: its first event, and the site's name.
pub(super) fn first_group(site: &str, fresh: bool, now_unix_ms: i64) -> Result<Group, StoreError> {
    let first = Batch {
        events: vec![(Stream::Site, Event::SiteCreated { site: site.to_owned(), fresh })],
        operations: vec![Operation::Put { space: Space::Meta, key: "site".into(), value: Some(site.into()) }],
        ..Batch::default()
    };
    plan(&Nothing, &Group::after(0), first, now_unix_ms).map(|(group, _)| group)
}

/// What a new store is decided on.
struct Nothing;

impl Base for Nothing {
    fn head(&self, _: &Stream) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn document(&self, _: &str) -> Option<Arc<Document>> {
        None
    }

    fn first(&self, _: &Stream) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn record(&self, _: &Stream, _: u64) -> Result<Option<Record>, StoreError> {
        Ok(None)
    }

    fn leases_of(&self, _: Ipv4Addr) -> Result<Vec<Lease>, StoreError> {
        Ok(Vec::new())
    }
}

fn bounded_key(key: String) -> Result<String, StoreError> {
    if key.len() > KEY_BYTES {
        return Err(StoreError::TooLarge(format!("a key has {} bytes, at most {KEY_BYTES} are kept", key.len())));
    }
    Ok(key)
}
