//! What changes in a store, in every engine alike, and its bytes. Pure.
//!
//! The segments and snapshots of the engine in Kubernetes are made of these, and the file of a store that moves.

use super::StoreError;
use super::encoding::encode;
use crate::cluster::{self, Document};

/// SHA-256.
pub(super) type Digest = [u8; 32];

/// One thing that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// An event in its places.
    Event { sequence: u64, stream: String, index: u64, bytes: Vec<u8> },
    /// A lease, or none any more.
    Lease { mac: String, bytes: Option<Vec<u8>> },
    /// Events of a stream that go: those from `from` to below `below`. `folded` takes the place of the last of them.
    Compact { stream: String, from: u64, below: u64, folded: Option<Vec<u8>>, compacted: u64 },
    /// A small value, or none any more.
    Value { space: String, key: String, bytes: Option<Vec<u8>> },
    /// A part of a cluster's document, or none any more.
    Part { cluster: String, kind: String, name: String, bytes: Option<Vec<u8>> },
    /// How a stream stands, before its events. In snapshots only.
    Stream { stream: String, head: u64, first: u64, compacted: u64 },
    /// The last sequence, and the highest one that was dropped. In snapshots only, and there last.
    Totals { sequence: u64, compacted: u64 },
}

/// What of a cluster's document is another in `new` than in `old`.
///
/// # Errors
/// [`StoreError::Io`] for what cannot be encoded.
pub(super) fn parts(
    cluster: &str,
    old: &Document,
    new: &Document,
    effects: &mut Vec<Effect>,
) -> Result<(), StoreError> {
    let mut failed = None;
    cluster::changed_parts(old, new, |(kind, name), part| match part.map(|part| encode(&part)).transpose() {
        Ok(bytes) => {
            let (cluster, kind, name) = (cluster.to_owned(), kind.to_owned(), name.into_owned());
            effects.push(Effect::Part { cluster, kind, name, bytes });
        }
        Err(error) => failed = Some(error),
    });
    failed.map_or(Ok(()), Err)
}

/// Writes a body: numbers as LEB128, texts and bytes with their length before them.
#[derive(Debug, Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.0.push(number.to_le_bytes()[0]);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.raw(bytes);
    }

    pub(super) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn maybe(&mut self, bytes: Option<&Vec<u8>>) {
        match bytes {
            None => self.number(0),
            Some(bytes) => {
                self.number(1);
                self.bytes(bytes);
            }
        }
    }

    pub(super) fn effects(&mut self, effects: &[Effect]) {
        self.number(u64::try_from(effects.len()).unwrap_or(u64::MAX));
        for effect in effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Event { sequence, stream, index, bytes } => {
                self.number(1);
                self.number(*sequence);
                self.text(stream);
                self.number(*index);
                self.bytes(bytes);
            }
            Effect::Lease { mac, bytes } => {
                self.number(2);
                self.text(mac);
                self.maybe(bytes.as_ref());
            }
            Effect::Compact { stream, from, below, folded, compacted } => {
                self.number(3);
                self.text(stream);
                self.number(*from);
                self.number(*below);
                self.maybe(folded.as_ref());
                self.number(*compacted);
            }
            Effect::Value { space, key, bytes } => {
                self.number(4);
                self.text(space);
                self.text(key);
                self.maybe(bytes.as_ref());
            }
            Effect::Part { cluster, kind, name, bytes } => {
                self.number(5);
                self.text(cluster);
                self.text(kind);
                self.text(name);
                self.maybe(bytes.as_ref());
            }
            Effect::Stream { stream, head, first, compacted } => {
                self.number(6);
                self.text(stream);
                self.number(*head);
                self.number(*first);
                self.number(*compacted);
            }
            Effect::Totals { sequence, compacted } => {
                self.number(7);
                self.number(*sequence);
                self.number(*compacted);
            }
        }
    }

    /// What was written so far.
    pub(super) fn body(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a body; never beyond its end.
#[derive(Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A body without such a word.
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// A body that has to begin with this word of its format.
    pub(super) fn new(body: &'a [u8], word: &[u8; 8]) -> Result<Self, String> {
        match body.split_first_chunk::<8>() {
            Some((found, rest)) if found == word => Ok(Self(rest)),
            Some((found, _)) if found[..7] == word[..7] => {
                Err(format!("it is of format {}, this program knows {}; use a newer formwork", found[7], word[7]))
            }
            _ => Err("it is not what its name says".into()),
        }
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let length = usize::try_from(length).map_err(|_| "a length that cannot be".to_owned())?;
        let (taken, rest) = self.0.split_at_checked(length).ok_or("it ends in the middle")?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or("it ends in the middle")?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn number(&mut self) -> Result<u64, String> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if bits.checked_shl(shift).is_none_or(|shifted| shifted >> shift != bits) {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err("a number that cannot be".into())
    }

    fn bytes(&mut self) -> Result<Vec<u8>, String> {
        let length = self.number()?;
        self.take(length).map(<[u8]>::to_vec)
    }

    pub(super) fn text(&mut self) -> Result<String, String> {
        String::from_utf8(self.bytes()?).map_err(|_| "a text that is not UTF-8".into())
    }

    fn maybe(&mut self) -> Result<Option<Vec<u8>>, String> {
        match self.number()? {
            0 => Ok(None),
            1 => self.bytes().map(Some),
            other => Err(format!("{other} is neither nothing nor something")),
        }
    }

    pub(super) fn effects(&mut self) -> Result<Vec<Effect>, String> {
        let count = self.number()?;
        let mut effects = Vec::new();
        for at in 0..count {
            effects.push(self.effect().map_err(|error| format!("effect {at} of {count}: {error}"))?);
        }
        Ok(effects)
    }

    fn effect(&mut self) -> Result<Effect, String> {
        Ok(match self.number()? {
            1 => Effect::Event {
                sequence: self.number()?,
                stream: self.text()?,
                index: self.number()?,
                bytes: self.bytes()?,
            },
            2 => Effect::Lease { mac: self.text()?, bytes: self.maybe()? },
            3 => Effect::Compact {
                stream: self.text()?,
                from: self.number()?,
                below: self.number()?,
                folded: self.maybe()?,
                compacted: self.number()?,
            },
            4 => Effect::Value { space: self.text()?, key: self.text()?, bytes: self.maybe()? },
            5 => Effect::Part { cluster: self.text()?, kind: self.text()?, name: self.text()?, bytes: self.maybe()? },
            6 => Effect::Stream {
                stream: self.text()?,
                head: self.number()?,
                first: self.number()?,
                compacted: self.number()?,
            },
            7 => Effect::Totals { sequence: self.number()?, compacted: self.number()? },
            other => return Err(format!("there is no kind {other}")),
        })
    }

    pub(super) fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("{} bytes too many", self.0.len())) }
    }
}
