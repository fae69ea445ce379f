//! Overwrites a disk, all but the marker's sector.

use super::DiskError;
use super::device::Device;
use std::time::{Duration, Instant};

/// One piece between two looks at the clock.
const PIECE_BYTES: u64 = 64 * 1024 * 1024;
/// Places that are read back at the end.
const PROBES: u64 = 64;

/// Overwrites everything but the marker; returns when the disk has it and gives zeros back where it is asked.
pub fn zero(device: &Device, say: &dyn Fn(&str)) -> Result<(), DiskError> {
    let after = device.marker_offset + device.sector_bytes;
    let (mut told, begun) = (Instant::now(), Instant::now());
    for (start, end) in [(0, device.marker_offset), (after, device.bytes)] {
        let mut offset = start;
        while offset < end {
            let size = PIECE_BYTES.min(end - offset);
            device.zero(offset, size)?;
            offset += size;
            if told.elapsed() >= Duration::from_secs(1) {
                say(&format!("{} of {} MiB zeroed", offset >> 20, device.bytes >> 20));
                told = Instant::now();
            }
        }
    }
    device.sync()?;
    let last = device.marker_offset.saturating_sub(4096);
    for probe in 0..=PROBES {
        let offset = last / PROBES * probe / 4096 * 4096;
        if device.read_at(offset, 4096)?.iter().any(|byte| *byte != 0) {
            return Err(DiskError::ReadBack { path: device.path.clone(), offset });
        }
    }
    say(&format!("{} MiB zeroed in {:.1} s", device.bytes >> 20, begun.elapsed().as_secs_f64()));
    Ok(())
}
