//! The state that a log comes to. Pure: a state and a segment give the next state, the same for whoever folds.
//!
//! Copies share everything that did not change, so a reader takes one and is not waited for.

use super::segment::{Digest, Effect, Segment, Snapshot};
use crate::cluster::{self, Document, Map};
use crate::journal::{Record, Stream};
use crate::store::effect::parts;
use crate::store::encoding::{decode, json_of, space_key, stream_key, stream_of};
use crate::store::plan::{Base, Group, Write};
use crate::store::{Lease, Space, StoreError};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

/// A stream's events.
#[derive(Debug, Clone, Default, PartialEq)]
struct Places {
    /// Count of events, the dropped ones too.
    head: u64,
    /// Index of the first that is kept.
    first: u64,
    /// The highest sequence that was dropped or folded.
    compacted: u64,
    /// Index -> sequence.
    sequences: Map<u64, u64>,
}

/// The state after a segment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct State {
    /// The last segment.
    pub(super) number: u64,
    /// Its digest.
    pub(super) digest: Digest,
    /// The last event.
    pub(super) sequence: u64,
    /// Bytes of events, leases and values.
    pub(super) bytes: u64,
    compacted: u64,
    events: Map<u64, Arc<[u8]>>,
    streams: Map<String, Places>,
    documents: Map<String, Arc<Document>>,
    leases: Map<String, Arc<[u8]>>,
    /// Address and key of each lease.
    addresses: Map<(Ipv4Addr, String), ()>,
    values: Map<(String, String), Arc<[u8]>>,
}

impl State {
    /// Before any segment.
    fn nothing() -> Self {
        Self {
            number: 0,
            digest: [0; 32],
            sequence: 0,
            bytes: 0,
            compacted: 0,
            events: Map::new_sync(),
            streams: Map::new_sync(),
            documents: Map::new_sync(),
            leases: Map::new_sync(),
            addresses: Map::new_sync(),
            values: Map::new_sync(),
        }
    }

    /// The state of a new store: its segment 0.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn first(segment: &Segment, digest: Digest) -> Result<Self, String> {
        if segment.number != 0 {
            return Err(format!("it says that it is segment {}", segment.number));
        }
        if segment.effects.iter().any(|effect| matches!(effect, Effect::Totals { .. })) {
            return Err("the store moved in here, and the snapshot that it began with is gone".into());
        }
        let mut state = Self::nothing();
        state.take_all(&segment.effects)?;
        state.digest = digest;
        Ok(state)
    }

    /// The state that a snapshot holds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn of(snapshot: &Snapshot) -> Result<Self, String> {
        let mut state = Self::nothing();
        for (at, effect) in snapshot.effects.iter().enumerate() {
            state.take_whole(effect).map_err(|error| format!("effect {at}: {error}"))?;
        }
        let counted: u64 = state.streams.values().fold(0, |sum, places| sum.saturating_add(places.head));
        let kept: u64 = state.streams.values().fold(0, |sum, places| sum.saturating_add(places.head - places.first));
        let there = state.events.size() as u64;
        if counted != state.sequence || kept != there {
            return Err(format!(
                "the last event is {}, but there are {there} events, and streams have {counted} and keep {kept}",
                state.sequence
            ));
        }
        (state.number, state.digest) = (snapshot.number, snapshot.digest);
        Ok(state)
    }

    /// The state after one more segment; this one is left as it is.
    ///
    /// # Errors
    /// What is wrong with the segment.
    pub(super) fn after(&self, segment: &Segment, digest: Digest) -> Result<Self, String> {
        if segment.number != self.number.saturating_add(1) {
            return Err(format!("it says that it is segment {}", segment.number));
        }
        if segment.previous != self.digest {
            return Err("it was written after another segment than the one before it".into());
        }
        let mut next = self.clone();
        next.take_all(&segment.effects)?;
        (next.number, next.digest) = (segment.number, digest);
        Ok(next)
    }

    fn take_all(&mut self, effects: &[Effect]) -> Result<(), String> {
        for (at, effect) in effects.iter().enumerate() {
            self.take(effect).map_err(|error| format!("effect {at}: {error}"))?;
        }
        Ok(())
    }

    fn take(&mut self, effect: &Effect) -> Result<(), String> {
        match effect {
            Effect::Event { sequence, stream, index, bytes } => {
                stream_of(stream)?;
                if *sequence != self.sequence.saturating_add(1) {
                    return Err(format!("event {sequence} comes after event {}", self.sequence));
                }
                let mut places = self.streams.get(stream).cloned().unwrap_or_default();
                if *index != places.head {
                    return Err(format!("event {index} of {stream} comes where it has {}", places.head));
                }
                places.head = index.saturating_add(1);
                places.sequences.insert_mut(*index, *sequence);
                self.streams.insert_mut(stream.clone(), places);
                self.sequence = *sequence;
                self.put_event(*sequence, Some(bytes));
            }
            Effect::Compact { stream, from, below, folded, compacted } => {
                let mut places = self.streams.get(stream).cloned().unwrap_or_default();
                let kept = if folded.is_some() { below.saturating_sub(1) } else { *below };
                if *from != places.first || kept <= *from || *below > places.head || kept >= places.head {
                    return Err(format!(
                        "of {stream}, which has {} to {}, {from} to {below} go",
                        places.first, places.head
                    ));
                }
                for index in *from..*below {
                    let sequence = places.sequences.get(&index).copied().ok_or("an event that goes is not there")?;
                    if folded.is_none() || sequence != *compacted {
                        self.put_event(sequence, None);
                    }
                    places.sequences.remove_mut(&index);
                }
                if let Some(folded) = folded {
                    places.sequences.insert_mut(kept, *compacted);
                    self.put_event(*compacted, Some(folded));
                }
                (places.first, places.compacted) = (kept, *compacted);
                self.streams.insert_mut(stream.clone(), places);
                self.compacted = self.compacted.max(*compacted);
            }
            Effect::Lease { mac, bytes } => {
                let old = self.leases.get(mac).map_or(0, |old| old.len());
                self.count(old, bytes.as_ref().map_or(0, Vec::len));
                if let Some(before) = self.lease(mac)? {
                    self.addresses.remove_mut(&(before.address, mac.clone()));
                }
                match bytes {
                    Some(bytes) => {
                        self.leases.insert_mut(mac.clone(), bytes.as_slice().into());
                        if let Some(lease) = self.lease(mac)? {
                            self.addresses.insert_mut((lease.address, mac.clone()), ());
                        }
                    }
                    None => drop(self.leases.remove_mut(mac)),
                }
            }
            Effect::Value { space, key, bytes } => {
                let place = (space.clone(), key.clone());
                let old = self.values.get(&place).map_or(0, |old| old.len());
                self.count(old, bytes.as_ref().map_or(0, Vec::len));
                match bytes {
                    Some(bytes) => self.values.insert_mut(place, bytes.as_slice().into()),
                    None => drop(self.values.remove_mut(&place)),
                }
            }
            Effect::Part { cluster, kind, name, bytes } => {
                let what = || format!("{kind} `{name}` in the document of cluster {cluster}");
                let mut document =
                    self.documents.get(cluster).map_or_else(Document::default, |now| Document::clone(now));
                let taken = match bytes {
                    Some(bytes) => document.take_part(kind, name, json_of(what, bytes)?),
                    None => document.drop_part(kind, name),
                };
                taken.map_err(|error| format!("{}: {error}", what()))?;
                self.documents.insert_mut(cluster.clone(), Arc::new(document));
            }
            Effect::Stream { .. } | Effect::Totals { .. } => return Err("that belongs into a snapshot".into()),
        }
        Ok(())
    }

    /// As [`State::take`], for a snapshot: events stand in the places that are left.
    fn take_whole(&mut self, effect: &Effect) -> Result<(), String> {
        match effect {
            Effect::Stream { stream, head, first, compacted } => {
                stream_of(stream)?;
                if first >= head {
                    return Err(format!("{stream} has {head} events and begins with {first}"));
                }
                let places = Places { head: *head, first: *first, compacted: *compacted, sequences: Map::new_sync() };
                self.streams.insert_mut(stream.clone(), places);
            }
            Effect::Totals { sequence, compacted } => (self.sequence, self.compacted) = (*sequence, *compacted),
            Effect::Event { sequence, stream, index, bytes } => {
                let mut places = self.streams.get(stream).cloned().ok_or("an event of a stream that is not there")?;
                if !(places.first..places.head).contains(index) || self.events.get(sequence).is_some() {
                    return Err(format!("event {sequence}, {index} of {stream}, has no place"));
                }
                places.sequences.insert_mut(*index, *sequence);
                self.streams.insert_mut(stream.clone(), places);
                self.put_event(*sequence, Some(bytes));
            }
            Effect::Compact { .. } => return Err("that belongs into a segment".into()),
            other => self.take(other)?,
        }
        Ok(())
    }

    fn put_event(&mut self, sequence: u64, bytes: Option<&Vec<u8>>) {
        let old = self.events.get(&sequence).map_or(0, |old| old.len());
        self.count(old, bytes.map_or(0, Vec::len));
        match bytes {
            Some(bytes) => self.events.insert_mut(sequence, bytes.as_slice().into()),
            None => drop(self.events.remove_mut(&sequence)),
        }
    }

    fn count(&mut self, old: usize, new: usize) {
        self.bytes = self.bytes.saturating_add(new as u64).saturating_sub(old as u64);
    }

    /// The snapshot of this state.
    ///
    /// # Errors
    /// [`StoreError::Io`] for what cannot be encoded.
    pub(super) fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let mut effects = Vec::new();
        for (stream, places) in &self.streams {
            let (stream, head, first, compacted) = (stream.clone(), places.head, places.first, places.compacted);
            effects.push(Effect::Stream { stream: stream.clone(), head, first, compacted });
            for (index, sequence) in &places.sequences {
                let bytes = self.events.get(sequence).map_or_else(Vec::new, |bytes| bytes.to_vec());
                effects.push(Effect::Event { sequence: *sequence, stream: stream.clone(), index: *index, bytes });
            }
        }
        for (name, document) in &self.documents {
            parts(name, &Document::default(), document, &mut effects)?;
        }
        for (mac, bytes) in &self.leases {
            effects.push(Effect::Lease { mac: mac.clone(), bytes: Some(bytes.to_vec()) });
        }
        for ((space, key), bytes) in &self.values {
            effects.push(Effect::Value { space: space.clone(), key: key.clone(), bytes: Some(bytes.to_vec()) });
        }
        effects.push(Effect::Totals { sequence: self.sequence, compacted: self.compacted });
        Ok(Snapshot { number: self.number, digest: self.digest, effects })
    }

    /// What a group that was planned on this state writes.
    ///
    /// # Errors
    /// [`StoreError::Io`] for what cannot be encoded.
    pub(super) fn effects(&self, group: Group) -> Result<Vec<Effect>, StoreError> {
        let mut effects: Vec<Effect> = group.writes.into_iter().map(Effect::from).collect();
        for (name, document) in &group.documents {
            let before = Base::document(self, name).unwrap_or_default();
            parts(name, &before, document, &mut effects)?;
        }
        Ok(effects)
    }

    /// The documents in which a claim is held, with its lifetime from `now_ms` on.
    pub(super) fn lifetimes_anew(&self, now_ms: u64) -> Vec<(String, Arc<Document>)> {
        let held = self.documents.iter().filter(|(_, document)| cluster::next_expiry_ms(document).is_some());
        held.map(|(name, document)| {
            let mut document = Document::clone(document);
            cluster::after_restart(&mut document, now_ms);
            (name.clone(), Arc::new(document))
        })
        .collect()
    }
}

impl From<Write> for Effect {
    fn from(write: Write) -> Self {
        match write {
            Write::Record { sequence, stream, index, bytes } => Self::Event { sequence, stream, index, bytes },
            Write::Lease { mac, bytes } => Self::Lease { mac, bytes },
            Write::Compact { stream, from, below, folded, compacted } => {
                Self::Compact { stream, from, below, folded, compacted }
            }
            Write::Value { space, key, bytes } => Self::Value { space: space.to_owned(), key, bytes },
        }
    }
}

/// Reading.
impl State {
    pub(super) fn events_after(&self, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
        self.events.range(first..).take(limit).map(|(sequence, bytes)| record(*sequence, bytes)).collect()
    }

    pub(super) fn events_of(&self, stream: &Stream, index: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        let Some(places) = self.streams.get(&stream_key(stream)) else { return Ok(Vec::new()) };
        let sequences = places.sequences.range(index..).take(limit);
        let found = sequences.map(|(_, sequence)| match self.events.get(sequence) {
            Some(bytes) => record(*sequence, bytes),
            None => Err(StoreError::Damaged(format!("event {sequence} of {stream} is missing"))),
        });
        found.collect()
    }

    pub(super) fn compacted(&self, stream: Option<&Stream>) -> u64 {
        match stream {
            Some(stream) => self.streams.get(&stream_key(stream)).map_or(0, |places| places.compacted),
            None => self.compacted,
        }
    }

    pub(super) fn head_of(&self, stream: &Stream) -> u64 {
        self.streams.get(&stream_key(stream)).map_or(0, |places| places.head)
    }

    pub(super) fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.streams.keys().map(|key| stream_of(key).map_err(StoreError::Damaged)).collect()
    }

    pub(super) fn document_of(&self, name: &str) -> Option<Arc<Document>> {
        self.documents.get(name).cloned()
    }

    pub(super) fn documents(&self) -> impl Iterator<Item = (&String, &Arc<Document>)> {
        self.documents.iter()
    }

    pub(super) fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        let leases = self.leases.iter().map(|(mac, bytes)| decode(|| format!("the lease of {mac}"), bytes));
        leases.map(|lease| lease.map_err(StoreError::Damaged)).collect()
    }

    /// The keys of all leases.
    pub(super) fn lease_keys(&self) -> impl Iterator<Item = String> + '_ {
        self.leases.keys().cloned()
    }

    /// The lease with this key.
    pub(super) fn lease(&self, mac: &str) -> Result<Option<Lease>, String> {
        self.leases.get(mac).map(|bytes| decode(|| format!("the lease of {mac}"), bytes)).transpose()
    }

    pub(super) fn value(&self, space: Space, key: &str) -> Option<Vec<u8>> {
        self.values.get(&(space_key(space).to_owned(), key.to_owned())).map(|bytes| bytes.to_vec())
    }

    pub(super) fn keys(&self, space: Space) -> Vec<String> {
        let space = space_key(space);
        let from = (space.to_owned(), String::new());
        self.values.range(from..).take_while(|((of, _), _)| of == space).map(|((_, key), _)| key.clone()).collect()
    }

    /// The clusters that these effects change.
    pub(super) fn changed(effects: &[Effect]) -> BTreeSet<&str> {
        let clusters = effects.iter().filter_map(|effect| match effect {
            Effect::Part { cluster, .. } => Some(cluster.as_str()),
            _ => None,
        });
        clusters.collect()
    }
}

fn record(sequence: u64, bytes: &[u8]) -> Result<Record, StoreError> {
    let record: Record = decode(|| format!("event {sequence}"), bytes).map_err(StoreError::Damaged)?;
    if record.sequence == sequence {
        return Ok(record);
    }
    Err(StoreError::Damaged(format!("event {sequence} says that it is event {}", record.sequence)))
}

impl Base for State {
    fn head(&self, stream: &Stream) -> Result<u64, StoreError> {
        Ok(self.head_of(stream))
    }

    fn document(&self, name: &str) -> Option<Arc<Document>> {
        self.document_of(name)
    }

    fn first(&self, stream: &Stream) -> Result<u64, StoreError> {
        Ok(self.streams.get(&stream_key(stream)).map_or(0, |places| places.first))
    }

    fn record(&self, stream: &Stream, index: u64) -> Result<Option<Record>, StoreError> {
        let found = self.events_of(stream, index, 1)?;
        Ok(found.into_iter().next().filter(|record| record.index == index))
    }

    fn leases_of(&self, address: Ipv4Addr) -> Result<Vec<Lease>, StoreError> {
        let from = (address, String::new());
        let keys = self.addresses.range(from..).map(|((of, mac), ())| (of, mac)).take_while(|(of, _)| **of == address);
        let leases = keys.filter_map(|(_, mac)| self.lease(mac).transpose());
        leases.map(|lease| lease.map_err(StoreError::Damaged)).collect()
    }
}
