//! The marker: whose disk this is, in one sector right before the backup GPT (UEFI specification, section 5.3).

use super::DiskError;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

/// The bytes a marker takes; the rest of a larger sector is zero.
pub const MARKER_BYTES: usize = 512;
const MAGIC: &str = "FORMWORK-MARKER-1";

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    magic: String,
    /// The site.
    pub site: String,
    /// The machine.
    pub machine: String,
    /// The run.
    pub run: u64,
    /// When the run began, Unix milliseconds by the server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun: Option<i64>,
    checksum: String,
}

/// What is in a marker's place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// No marker.
    Nothing,
    /// Something that begins like a marker and is none.
    Damaged,
    /// A marker.
    Marker(Marker),
}

/// Where the marker is: one sector before the backup GPT, which is one sector of header and 16 KiB of entries at the disk's end.
/// Bytes; with sectors of 512 bytes it is the 34th sector from the end. `None` on a disk too small to hold one.
pub fn offset(disk_bytes: u64, sector_bytes: u64) -> Option<u64> {
    let sectors = 2 + 16_384_u64.div_ceil(sector_bytes.max(512));
    (disk_bytes / sector_bytes.max(512)).checked_sub(sectors).map(|sector| sector * sector_bytes.max(512))
}

impl Marker {
    /// A marker of this run.
    pub fn new(site: &str, machine: &str, run: u64, begun: Option<i64>) -> Self {
        let checksum = checksum(site, machine, run, begun);
        Self { magic: MAGIC.to_owned(), site: site.to_owned(), machine: machine.to_owned(), run, begun, checksum }
    }

    /// The bytes on the disk.
    pub fn to_bytes(&self) -> Result<[u8; MARKER_BYTES], DiskError> {
        let text = serde_json::to_vec(self).map_err(|_| DiskError::MarkerTooLong)?;
        let mut bytes = [0; MARKER_BYTES];
        bytes.get_mut(..text.len()).ok_or(DiskError::MarkerTooLong)?.copy_from_slice(&text);
        Ok(bytes)
    }

    /// Reads the bytes of a disk.
    pub fn read(bytes: &[u8]) -> Found {
        let beginning = format!("{{\"magic\":\"{MAGIC}\"");
        if !bytes.starts_with(beginning.as_bytes()) {
            return Found::Nothing;
        }
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        match serde_json::from_slice::<Self>(bytes.get(..end).unwrap_or_default()) {
            Ok(marker) if marker.checksum == checksum(&marker.site, &marker.machine, marker.run, marker.begun) => {
                Found::Marker(marker)
            }
            _ => Found::Damaged,
        }
    }
}

fn checksum(site: &str, machine: &str, run: u64, begun: Option<i64>) -> String {
    let begun = begun.map(|begun| format!("\n{begun}")).unwrap_or_default();
    let digest = digest(&SHA256, format!("{MAGIC}\n{site}\n{machine}\n{run}{begun}").as_bytes());
    crate::agent::transport::hex(digest.as_ref().get(..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_marker_lies_right_before_the_backup_table() {
        assert_eq!(offset(1 << 30, 512), Some((1 << 30) - 34 * 512));
        assert_eq!(offset(1 << 30, 4096), Some((1 << 30) - 6 * 4096));
        assert_eq!(offset((1 << 30) + 511, 512), Some((1 << 30) - 34 * 512));
        assert_eq!(offset(1024, 512), None);
        assert_eq!(offset(0, 0), None);
    }

    #[test]
    fn a_changed_marker_is_a_damaged_one() {
        let marker = Marker::new("lab", "node-1", 3, Some(70));
        let bytes = marker.to_bytes().unwrap();
        assert_eq!(Marker::read(&bytes), Found::Marker(marker));
        for (place, digit) in [(b'3', b'4'), (b'7', b'8')] {
            let mut bytes = bytes;
            let at = bytes.iter().position(|b| *b == place).unwrap();
            bytes[at] = digit;
            assert_eq!(Marker::read(&bytes), Found::Damaged);
        }
        assert_eq!(Marker::read(&[0; 512]), Found::Nothing);
        assert!(Marker::new(&"s".repeat(400), &"m".repeat(100), 1, None).to_bytes().is_err());
    }

    proptest! {
        #[test]
        fn any_names_come_back(site in ".{0,40}", machine in ".{0,40}", run: u64, begun: Option<i64>) {
            let marker = Marker::new(&site, &machine, run, begun);
            if let Ok(bytes) = marker.to_bytes() {
                prop_assert_eq!(Marker::read(&bytes), Found::Marker(marker));
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), cut in 0usize..40) {
            let good = Marker::new("lab", "node-1", 3, None).to_bytes().unwrap();
            let _ = Marker::read(&bytes);
            bytes.splice(0..0, good.iter().copied().take(cut));
            let _ = Marker::read(&bytes);
        }
    }
}
