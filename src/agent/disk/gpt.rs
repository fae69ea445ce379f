//! Fits the partition table of an image to the disk it was written to: the backup goes to the disk's end, and the last usable
//! sector comes to lie before the marker (UEFI specification 2.10, section 5.3.2).

use super::DiskError;
use super::device::Device;

const SIGNATURE: &[u8] = b"EFI PART";
/// Entries take this much at most; more would reach into the marker.
const ENTRIES_LIMIT_BYTES: u64 = 16_384;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fitted {
    /// The backup table is at the disk's end.
    Moved,
    /// The image has no GPT.
    NoTable,
}

/// A header, as far as it matters here; the rest is kept as it is.
struct Header {
    bytes: Vec<u8>,
}

impl Header {
    fn number(&self, offset: usize) -> u64 {
        self.bytes.get(offset..offset + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
    }

    fn short(&self, offset: usize) -> u32 {
        self.bytes.get(offset..offset + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
    }

    fn set(&mut self, offset: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(offset..offset + value.len()) {
            place.copy_from_slice(value);
        }
    }

    fn size(&self) -> usize {
        usize::try_from(self.short(12)).unwrap_or(0)
    }

    /// The checksum over the header with its own field as zero.
    fn checksum(&self) -> u32 {
        let mut bytes = self.bytes.get(..self.size()).unwrap_or_default().to_vec();
        if let Some(own) = bytes.get_mut(16..20) {
            own.fill(0);
        }
        crc32(&bytes)
    }

    fn seal(&mut self) {
        let checksum = self.checksum();
        self.set(16, &checksum.to_le_bytes());
    }
}

/// Moves the backup of the table at the disk's beginning to its end. Everything is checked before the first byte is written;
/// the backup is written before the primary, so that at each moment one of them is whole.
pub fn fit(device: &Device) -> Result<Fitted, DiskError> {
    let sector = device.sector_bytes;
    let wrong = |reason: &str| DiskError::Gpt(reason.to_owned());
    let mut primary = Header { bytes: device.read_at(sector, usize::try_from(sector).unwrap_or(512))? };
    if !primary.bytes.starts_with(SIGNATURE) {
        if sector != 512 && device.read_at(512, SIGNATURE.len())? == SIGNATURE {
            return Err(wrong("it is made for sectors of 512 bytes, this disk has larger ones"));
        }
        return Ok(Fitted::NoTable);
    }
    if !(92..=primary.bytes.len()).contains(&primary.size()) || primary.checksum() != primary.short(16) {
        return Err(wrong("its header is damaged"));
    }
    let entries_bytes = u64::from(primary.short(80)) * u64::from(primary.short(84));
    let entry_size = usize::try_from(primary.short(84)).unwrap_or(0);
    if entry_size < 128 || entries_bytes == 0 || entries_bytes > ENTRIES_LIMIT_BYTES {
        return Err(wrong("it has more entries than the end of a disk holds"));
    }
    let entries_offset = primary.number(72).checked_mul(sector).filter(|offset| *offset < device.marker_offset);
    let entries_offset = entries_offset.ok_or_else(|| wrong("its entries lie outside of the disk"))?;
    let entries = device.read_at(entries_offset, usize::try_from(entries_bytes).unwrap_or(0))?;
    if crc32(&entries) != primary.short(88) {
        return Err(wrong("its entries are damaged"));
    }
    let marker_sector = device.marker_offset / sector;
    for entry in entries.chunks_exact(entry_size) {
        let used = entry.iter().take(16).any(|byte| *byte != 0);
        let last = entry.get(40..48).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes);
        if used && last >= marker_sector {
            return Err(wrong("a partition reaches over the end of this disk, where its marker is"));
        }
    }
    let last_sector = device.bytes / sector - 1;
    let entries_sectors = entries_bytes.div_ceil(sector);
    primary.set(24, &1_u64.to_le_bytes()); // my own sector
    primary.set(32, &last_sector.to_le_bytes()); // the other's
    primary.set(48, &(marker_sector - 1).to_le_bytes()); // last usable
    primary.seal();
    let mut backup = Header { bytes: primary.bytes.clone() };
    backup.set(24, &last_sector.to_le_bytes());
    backup.set(32, &1_u64.to_le_bytes());
    backup.set(72, &(last_sector - entries_sectors).to_le_bytes());
    backup.seal();
    device.write_at((last_sector - entries_sectors) * sector, &entries)?;
    device.write_at(last_sector * sector, &backup.bytes)?;
    device.sync()?;
    device.write_at(sector, &primary.bytes)?;
    widen_protective_mbr(device, last_sector)?;
    device.sync()?;
    Ok(Fitted::Moved)
}

/// The protective entry (type `EE`) spans the whole disk, or as much as it can say.
fn widen_protective_mbr(device: &Device, last_sector: u64) -> Result<(), DiskError> {
    let mut mbr = device.read_at(0, 512)?;
    let Some(entry) = (0..4).map(|index| 446 + index * 16).find(|at| mbr.get(at + 4) == Some(&0xee)) else {
        return Ok(());
    };
    let size = u32::try_from(last_sector).unwrap_or(u32::MAX);
    if let Some(place) = mbr.get_mut(entry + 12..entry + 16) {
        place.copy_from_slice(&size.to_le_bytes());
    }
    // A whole sector, whatever its size.
    let mut whole = device.read_at(0, usize::try_from(device.sector_bytes).unwrap_or(512))?;
    if let Some(beginning) = whole.get_mut(..512) {
        beginning.copy_from_slice(&mbr);
    }
    device.write_at(0, &whole)
}

/// CRC-32 as GPT has it (ISO 3309, reflected, polynomial `EDB88320`). Tables are small: no lookup table is worth its bytes.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_known_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
