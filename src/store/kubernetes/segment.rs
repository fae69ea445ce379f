//! What one segment of the log is, and its bytes. Pure.
//!
//! A segment holds what a group of batches *came to*, not what was asked: whoever folds it needs neither the clock nor the
//! members nor the code that decided. So replicas of two versions of the program make the same state of the same log.
//!
//! ```text
//! sealed bytes = zlib(body) ++ SHA-256 of what stands before
//! body         = word of format, number, digest of the segment before, writer, batch, wall clock, effects
//! ```
//!
//! Each segment holds the digest of the one before it: a log that was cut, mended or mixed from two does not fit together.

use crate::store::StoreError;
use ring::digest::{SHA256, digest};

/// SHA-256 of sealed bytes.
pub(super) type Digest = [u8; 32];

/// First bytes of a segment's body; the last one is the version of the format.
const SEGMENT: &[u8; 8] = b"fw-seg\0\x01";
/// First bytes of a snapshot's body.
const SNAPSHOT: &[u8; 8] = b"fw-snap\x01";
/// Most bytes of a segment's body: one batch's, with what its documents add.
const SEGMENT_BYTES: usize = 80 << 20;
/// Most bytes of a snapshot's body.
const SNAPSHOT_BYTES: usize = 1 << 30;
/// How hard is compressed (0 to 10): segments are small, snapshots are large.
const SEGMENT_EFFORT: u8 = 6;
const SNAPSHOT_EFFORT: u8 = 2;

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

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Segment {
    /// Its place in the log; the store itself is 0.
    pub(super) number: u64,
    /// The digest of the one before.
    pub(super) previous: Digest,
    /// Which replica wrote it, a random word.
    pub(super) writer: String,
    /// Which write it is, a random word: how a writer that lost the reply knows its own.
    pub(super) batch: String,
    /// When, Unix milliseconds, for people.
    pub(super) at_unix_ms: i64,
    /// What it changes, in order.
    pub(super) effects: Vec<Effect>,
}

/// The state after a segment, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Snapshot {
    /// The segment it is the state after.
    pub(super) number: u64,
    /// That segment's digest.
    pub(super) digest: Digest,
    /// What makes the state from nothing.
    pub(super) effects: Vec<Effect>,
}

/// The digest of sealed bytes.
pub(super) fn digest_of(sealed: &[u8]) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, sealed).as_ref());
    bytes
}

impl Segment {
    /// Its sealed bytes.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub(super) fn seal(&self) -> Result<Vec<u8>, StoreError> {
        let mut body = Writer::new(SEGMENT);
        body.number(self.number);
        body.raw(&self.previous);
        body.text(&self.writer);
        body.text(&self.batch);
        body.raw(&self.at_unix_ms.to_le_bytes());
        body.effects(&self.effects);
        body.seal(SEGMENT_EFFORT, SEGMENT_BYTES)
    }

    /// The segment of sealed bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn open(sealed: &[u8]) -> Result<Self, String> {
        let body = unseal(sealed, SEGMENT_BYTES)?;
        let mut reader = Reader::new(&body, SEGMENT)?;
        let segment = Self {
            number: reader.number()?,
            previous: reader.array()?,
            writer: reader.text()?,
            batch: reader.text()?,
            at_unix_ms: i64::from_le_bytes(reader.array()?),
            effects: reader.effects()?,
        };
        reader.end()?;
        Ok(segment)
    }
}

impl Snapshot {
    /// Its sealed bytes.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub(super) fn seal(&self) -> Result<Vec<u8>, StoreError> {
        let mut body = Writer::new(SNAPSHOT);
        body.number(self.number);
        body.raw(&self.digest);
        body.effects(&self.effects);
        body.seal(SNAPSHOT_EFFORT, SNAPSHOT_BYTES)
    }

    /// The snapshot of sealed bytes.
    ///
    /// # Errors
    /// What is wrong with them.
    pub(super) fn open(sealed: &[u8]) -> Result<Self, String> {
        let body = unseal(sealed, SNAPSHOT_BYTES)?;
        let mut reader = Reader::new(&body, SNAPSHOT)?;
        let snapshot = Self { number: reader.number()?, digest: reader.array()?, effects: reader.effects()? };
        reader.end()?;
        Ok(snapshot)
    }
}

fn unseal(sealed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let (pressed, sum) = sealed.split_last_chunk::<32>().ok_or("it is cut off")?;
    if digest_of(pressed) != *sum {
        return Err("its bytes are not those that were written".into());
    }
    miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(pressed, most).map_err(|error| error.to_string())
}

/// Writes a body: numbers as LEB128, texts and bytes with their length before them.
struct Writer(Vec<u8>);

impl Writer {
    fn new(word: &[u8; 8]) -> Self {
        Self(word.to_vec())
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, mut number: u64) {
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

    fn text(&mut self, text: &str) {
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

    fn effects(&mut self, effects: &[Effect]) {
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

    fn seal(self, effort: u8, most: usize) -> Result<Vec<u8>, StoreError> {
        if self.0.len() > most {
            let text =
                format!("{} bytes at once are too many for the store in Kubernetes, which takes {most}", self.0.len());
            return Err(StoreError::TooLarge(text));
        }
        let mut sealed = miniz_oxide::deflate::compress_to_vec_zlib(&self.0, effort);
        let sum = digest_of(&sealed);
        sealed.extend_from_slice(&sum);
        Ok(sealed)
    }
}

/// Reads a body; never beyond its end.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(body: &'a [u8], word: &[u8; 8]) -> Result<Self, String> {
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

    fn array<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or("it ends in the middle")?;
        self.0 = rest;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, String> {
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

    fn text(&mut self) -> Result<String, String> {
        String::from_utf8(self.bytes()?).map_err(|_| "a text that is not UTF-8".into())
    }

    fn maybe(&mut self) -> Result<Option<Vec<u8>>, String> {
        match self.number()? {
            0 => Ok(None),
            1 => self.bytes().map(Some),
            other => Err(format!("{other} is neither nothing nor something")),
        }
    }

    fn effects(&mut self) -> Result<Vec<Effect>, String> {
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

    fn end(&self) -> Result<(), String> {
        if self.0.is_empty() { Ok(()) } else { Err(format!("{} bytes too many", self.0.len())) }
    }
}
