//! Writes an image to a disk, reads it back, and fits its partition table to the disk.

use super::DiskError;
use super::device::{AlignedBuffer, Device};
use std::hash::{DefaultHasher, Hasher};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// One block; a multiple of every sector size.
const BLOCK_BYTES: usize = 1024 * 1024;
/// Zero blocks are gathered up to this before the disk is told.
const ZERO_RUN_BYTES: u64 = 256 * 1024 * 1024;

/// What was written, so that it can be compared with what the disk gives back.
pub struct Written {
    /// Bytes of the image that are on the disk.
    pub bytes: u64,
    /// One sum a block.
    sums: Vec<u64>,
}

/// Writes every block of the image, but for what would lie on the marker or behind it: there an image that is as large as the
/// disk has its own backup table, which is made anew. Returns when the disk has everything.
pub fn write(device: &Device, image: &mut dyn Read, say: &dyn Fn(&str)) -> Result<Written, DiskError> {
    let mut block = vec![0; BLOCK_BYTES];
    let zeros = vec![0; BLOCK_BYTES];
    let mut written = Written { bytes: 0, sums: Vec::new() };
    let (mut zero_from, mut offset) = (None, 0_u64);
    let (begun, mut told) = (Instant::now(), Instant::now());
    loop {
        let size = fill(image, &mut block).map_err(|error| DiskError::Image(error.to_string()))?;
        if size == 0 {
            break;
        }
        if offset + size as u64 > device.bytes {
            return Err(DiskError::TooLarge { path: device.path.clone(), room: device.marker_offset });
        }
        let kept = usize::try_from(device.marker_offset.saturating_sub(offset)).unwrap_or(size).min(size);
        let content = block.get(..kept).unwrap_or_default();
        if content == zeros.get(..kept).unwrap_or_default() {
            zero_from.get_or_insert(offset);
        } else {
            flush_zeros(device, &mut zero_from, offset)?;
            device.write_at(offset, content)?;
        }
        if kept > 0 {
            written.sums.push(sum(content));
            written.bytes += kept as u64;
        }
        offset += size as u64;
        if zero_from.is_some_and(|from| offset - from >= ZERO_RUN_BYTES) {
            flush_zeros(device, &mut zero_from, written.bytes)?;
        }
        if told.elapsed() >= Duration::from_secs(1) {
            say(&format!("{} MiB written, {:.0} MiB/s", offset >> 20, rate(offset, begun)));
            told = Instant::now();
        }
    }
    flush_zeros(device, &mut zero_from, written.bytes)?;
    device.sync()?;
    say(&format!("{} MiB written in {:.1} s", offset >> 20, begun.elapsed().as_secs_f64()));
    Ok(written)
}

/// Reads all of it past the page cache and compares.
pub fn verify(device: &Device, written: &Written, say: &dyn Fn(&str)) -> Result<(), DiskError> {
    let file = device.open_uncached()?;
    let mut buffer = AlignedBuffer::new(BLOCK_BYTES);
    let (begun, mut told) = (Instant::now(), Instant::now());
    let mut offset = 0_u64;
    for wanted in &written.sums {
        let size = usize::try_from(written.bytes - offset).unwrap_or(BLOCK_BYTES).min(BLOCK_BYTES);
        // A direct read takes whole sectors: the last block is read as far as the disk has it, and compared as far as it counts.
        let reach = size.next_multiple_of(4096).min(BLOCK_BYTES);
        let place = buffer.slice().get_mut(..reach).unwrap_or_default();
        let mut got = 0;
        while got < size {
            let rest = place.get_mut(got..).unwrap_or_default();
            match file.read_at(rest, offset + got as u64) {
                Ok(0) => break,
                Ok(more) => got += more,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(device.failed(error)),
            }
        }
        if got < size || sum(place.get(..size).unwrap_or_default()) != *wanted {
            return Err(DiskError::ReadBack { path: device.path.clone(), offset });
        }
        offset += size as u64;
        if told.elapsed() >= Duration::from_secs(1) {
            say(&format!("{} MiB read back, {:.0} MiB/s", offset >> 20, rate(offset, begun)));
            told = Instant::now();
        }
    }
    say(&format!("{} MiB read back and equal, in {:.1} s", offset >> 20, begun.elapsed().as_secs_f64()));
    Ok(())
}

fn flush_zeros(device: &Device, from: &mut Option<u64>, to: u64) -> Result<(), DiskError> {
    match from.take() {
        Some(start) if start < to => device.zero(start, to - start),
        _ => Ok(()),
    }
}

/// Reads until the buffer is full or the image ends.
fn fill(image: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match image.read(rest) {
            Ok(0) => break,
            Ok(size) => filled += size,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Compares what was written with what is read, in one process, against bad disks and not against people: SipHash is enough and
/// cheap where the processor is emulated.
fn sum(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn rate(bytes: u64, begun: Instant) -> f64 {
    (bytes >> 20) as f64 / begun.elapsed().as_secs_f64().max(0.001)
}
