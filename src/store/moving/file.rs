//! The file in which a store moves.
//!
//! ```text
//! file  = word of format, header, blocks of effects, an empty block, counts, SHA-256 of all before
//! block = length (32 bits, little-endian), bytes
//! ```
//!
//! Header and counts are JSON. Blocks are written and read one at a time, so a large store needs little memory; nothing is compressed, so
//! that the same store is the same file, whoever writes it.

use super::super::effect::{Digest, Effect, Reader, Writer};
use super::super::encoding::{decode, stream_key};
use super::{Counts, Header};
use crate::journal::Record;
use crate::store::embedded::{Partial, open_failed};
use crate::store::{Lease, StoreError, Watch};
use ring::digest::{Context, SHA256};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// First bytes of a file; the last one is the version of the format.
const WORD: &[u8; 8] = b"fw-move\x01";
/// A block of effects is written once it has so many bytes.
const BLOCK_BYTES: usize = 1 << 20;
/// Most bytes of a block: no effect has so many.
const LONGEST_BLOCK: usize = 16 << 20;
/// Bytes of a digest.
const SUM_BYTES: u64 = 32;

/// A file while it is written; gone where it is not finished.
#[derive(Debug)]
pub(super) struct NewFile {
    partial: Partial,
    out: BufWriter<File>,
}

impl NewFile {
    /// Begins it beside where it will be, readable by its owner alone.
    pub(super) fn begin(path: &Path) -> Result<Self, StoreError> {
        let (partial, file) = Partial::begin(path)?;
        Ok(Self { partial, out: BufWriter::new(file) })
    }

    pub(super) fn out(&mut self) -> &mut dyn Write {
        &mut self.out
    }

    /// Gives it its name, durably.
    pub(super) fn finish(mut self) -> Result<(), StoreError> {
        self.out.flush().map_err(|error| open_failed(self.partial.for_now(), &error))?;
        self.partial.finish()
    }
}

fn of_file(path: &Path, text: String) -> StoreError {
    StoreError::Open(format!("{}: {text}", path.display()))
}

/// Writes what a file holds. The first failure is kept until the end.
pub(super) struct Sink<'a> {
    out: &'a mut dyn Write,
    sum: Context,
    block: Vec<Effect>,
    block_bytes: usize,
    counting: Counting,
    failed: io::Result<()>,
}

impl<'a> Sink<'a> {
    pub(super) fn begin(out: &'a mut dyn Write, header: &Header) -> Result<Self, StoreError> {
        let (sum, counting) = (Context::new(&SHA256), Counting::default());
        let mut sink = Self { out, sum, block: Vec::new(), block_bytes: 0, counting, failed: Ok(()) };
        sink.raw(WORD);
        sink.write_block(&json(header)?);
        Ok(sink)
    }

    pub(super) fn put(&mut self, effect: Effect) {
        self.counting.count(&effect);
        self.block_bytes = self.block_bytes.saturating_add(size(&effect));
        self.block.push(effect);
        if self.block_bytes >= BLOCK_BYTES {
            self.write_effects();
        }
    }

    /// What was written, and its digest.
    pub(super) fn end(mut self) -> Result<(Counts, Digest), StoreError> {
        self.write_effects();
        self.write_block(&[]);
        let counts = self.counting.counts;
        self.write_block(&json(&counts)?);
        let digest = array(self.sum.clone());
        self.raw(&digest);
        self.failed.map_err(|error| open_failed(Path::new("the file"), &error))?;
        Ok((counts, digest))
    }

    fn write_effects(&mut self) {
        if !self.block.is_empty() {
            let mut body = Writer::default();
            body.effects(&self.block);
            self.write_block(body.body());
            self.block.clear();
            self.block_bytes = 0;
        }
    }

    fn write_block(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.raw(&length.to_le_bytes());
        self.raw(bytes);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        if self.failed.is_ok() {
            self.failed = self.out.write_all(bytes);
        }
    }
}

fn json(value: &impl serde::Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(|error| StoreError::Io(error.to_string()))
}

fn array(sum: Context) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(sum.finish().as_ref());
    bytes
}

/// About how many bytes an effect takes.
fn size(effect: &Effect) -> usize {
    const PLACE: usize = 100;
    let bytes = match effect {
        Effect::Event { bytes, .. } => Some(bytes),
        Effect::Lease { bytes, .. } | Effect::Value { bytes, .. } | Effect::Part { bytes, .. } => bytes.as_ref(),
        Effect::Compact { .. } | Effect::Stream { .. } | Effect::Totals { .. } => None,
    };
    bytes.map_or(PLACE, |bytes| bytes.len().saturating_add(PLACE))
}

/// Counts effects.
#[derive(Debug, Default)]
struct Counting {
    counts: Counts,
    clusters: BTreeSet<String>,
}

impl Counting {
    fn count(&mut self, effect: &Effect) {
        let counts = &mut self.counts;
        match effect {
            Effect::Event { .. } => counts.events += 1,
            Effect::Stream { .. } => counts.streams += 1,
            Effect::Lease { .. } => counts.leases += 1,
            Effect::Value { .. } => counts.values += 1,
            Effect::Part { cluster, .. } if !self.clusters.contains(cluster) => {
                self.clusters.insert(cluster.clone());
                counts.clusters += 1;
            }
            Effect::Part { .. } | Effect::Compact { .. } | Effect::Totals { .. } => {}
        }
    }
}

/// A file that was read whole, and is whole.
#[derive(Debug)]
pub struct MoveFile {
    path: PathBuf,
    file: File,
    /// What it says of itself.
    pub header: Header,
    /// What it holds.
    pub counts: Counts,
    /// Its SHA-256, which is its end.
    pub(in crate::store) digest: Digest,
}

impl MoveFile {
    /// Reads and checks all of it.
    ///
    /// # Errors
    /// [`StoreError::Open`] where it is no such file, one of a newer version, or not what was written.
    pub fn open(path: &Path, watch: &dyn Watch) -> Result<Self, StoreError> {
        let file = File::open(path).map_err(|error| open_failed(path, &error))?;
        watch.begins("reading the file", 0);
        let digest = checked_sum(&file).map_err(|text| of_file(path, text))?;
        let mut counting = Counting::default();
        let mut check = |effect: Effect| {
            watch.more(1);
            counting.count(&effect);
            check(&effect)
        };
        let (header, counts) = read(&file, &mut check).map_err(|text| of_file(path, text))?;
        if counts != counting.counts {
            let text = format!("it says that it holds {counts:?}, and holds {:?}", counting.counts);
            return Err(of_file(path, text));
        }
        Ok(Self { path: path.to_owned(), file, header, counts, digest })
    }

    /// Gives all effects, in order.
    pub(in crate::store) fn effects(
        &self,
        take: &mut dyn FnMut(Effect) -> Result<(), String>,
    ) -> Result<(), StoreError> {
        read(&self.file, take).map(drop).map_err(|text| of_file(&self.path, text))
    }
}

/// The digest that a file ends with, where it is that of what stands before.
fn checked_sum(mut file: &File) -> Result<Digest, String> {
    let io = |error: io::Error| error.to_string();
    let length = file.metadata().map_err(io)?.len();
    let mut word = [0; WORD.len()];
    file.read_exact(&mut word).map_err(|_| "it is no file of `formwork export`".to_owned())?;
    Reader::new(&word, WORD).map_err(|text| match word[..7] == WORD[..7] {
        true => text,
        false => "it is no file of `formwork export`".to_owned(),
    })?;
    let before = length.checked_sub(SUM_BYTES).ok_or("it is cut off")?;
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut sum = Context::new(&SHA256);
    let mut summed = reader.by_ref().take(before);
    let mut part = vec![0; 1 << 16];
    loop {
        match summed.read(&mut part).map_err(io)? {
            0 => break,
            read => sum.update(part.get(..read).unwrap_or_default()),
        }
    }
    let mut said = [0; 32];
    reader.read_exact(&mut said).map_err(|_| "it is cut off".to_owned())?;
    if array(sum) == said {
        Ok(said)
    } else {
        Err("its bytes are not those that were written: it was cut off or changed".into())
    }
}

/// Reads what stands between the word and the digest.
fn read(mut file: &File, take: &mut dyn FnMut(Effect) -> Result<(), String>) -> Result<(Header, Counts), String> {
    let wrong = |what: &str, error: serde_json::Error| format!("its {what} cannot be read: {error}");
    let start = u64::try_from(WORD.len()).unwrap_or_default();
    file.seek(SeekFrom::Start(start)).map_err(|error| error.to_string())?;
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let header = serde_json::from_slice(&block(&mut reader)?).map_err(|error| wrong("header", error))?;
    let mut ended = false;
    loop {
        let body = block(&mut reader)?;
        if body.is_empty() {
            break;
        }
        let mut body = Reader::of(&body);
        for effect in body.effects()? {
            if ended {
                return Err("something comes after its totals".into());
            }
            ended = matches!(effect, Effect::Totals { .. });
            take(effect)?;
        }
        body.end()?;
    }
    if !ended {
        return Err("its totals are missing".into());
    }
    let counts = serde_json::from_slice(&block(&mut reader)?).map_err(|error| wrong("counts", error))?;
    let mut rest = Vec::new();
    reader.take(SUM_BYTES + 1).read_to_end(&mut rest).map_err(|error| error.to_string())?;
    if rest.len() == 32 { Ok((header, counts)) } else { Err("something comes after its counts".into()) }
}

fn block(reader: &mut impl Read) -> Result<Vec<u8>, String> {
    let cut = |_| "it ends in the middle".to_owned();
    let mut length = [0; 4];
    reader.read_exact(&mut length).map_err(cut)?;
    let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
    if length > LONGEST_BLOCK {
        return Err(format!("a block of it has {length} bytes"));
    }
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).map_err(cut)?;
    Ok(bytes)
}

/// Whether this program understands an effect, before anything is made of it.
fn check(effect: &Effect) -> Result<(), String> {
    match effect {
        Effect::Event { sequence, stream, index, bytes } => {
            let record: Record = decode(|| format!("event {sequence}"), bytes)?;
            if record.sequence == *sequence && stream_key(&record.stream) == *stream && record.index == *index {
                return Ok(());
            }
            Err(format!("event {sequence}, {index} of {stream}, says that it is another"))
        }
        Effect::Lease { mac, bytes: Some(bytes) } => decode::<Lease>(|| format!("the lease of {mac}"), bytes).map(drop),
        // What these hold is looked at where documents are made of them.
        Effect::Part { bytes: Some(_), .. }
        | Effect::Value { bytes: Some(_), .. }
        | Effect::Stream { .. }
        | Effect::Totals { .. } => Ok(()),
        Effect::Compact { .. } | Effect::Lease { .. } | Effect::Part { .. } | Effect::Value { .. } => {
            Err("a change of a store stands where what it holds should".into())
        }
    }
}
