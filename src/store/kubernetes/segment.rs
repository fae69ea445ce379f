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
pub(super) use crate::store::effect::{Digest, Effect};
use crate::store::effect::{Reader, Writer};
use ring::digest::{SHA256, digest};

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

impl Segment {
    /// Its sealed bytes.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`].
    pub(super) fn seal(&self) -> Result<Vec<u8>, StoreError> {
        let mut body = Writer::default();
        body.raw(SEGMENT);
        body.number(self.number);
        body.raw(&self.previous);
        body.text(&self.writer);
        body.text(&self.batch);
        body.raw(&self.at_unix_ms.to_le_bytes());
        body.effects(&self.effects);
        sealed(body.body(), SEGMENT_EFFORT, SEGMENT_BYTES)
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
        let mut body = Writer::default();
        body.raw(SNAPSHOT);
        body.number(self.number);
        body.raw(&self.digest);
        body.effects(&self.effects);
        sealed(body.body(), SNAPSHOT_EFFORT, SNAPSHOT_BYTES)
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

/// The digest of bytes.
pub(super) fn digest_of(of: &[u8]) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, of).as_ref());
    bytes
}

fn unseal(sealed: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let (pressed, sum) = sealed.split_last_chunk::<32>().ok_or("it is cut off")?;
    if digest_of(pressed) != *sum {
        return Err("its bytes are not those that were written".into());
    }
    miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(pressed, most).map_err(|error| error.to_string())
}

fn sealed(body: &[u8], effort: u8, most: usize) -> Result<Vec<u8>, StoreError> {
    if body.len() > most {
        let text = format!("{} bytes at once are too many for the store in Kubernetes, which takes {most}", body.len());
        return Err(StoreError::TooLarge(text));
    }
    let mut sealed = miniz_oxide::deflate::compress_to_vec_zlib(body, effort);
    let sum = digest_of(&sealed);
    sealed.extend_from_slice(&sum);
    Ok(sealed)
}
