//! Whether a disk is blank: the signatures of partition tables and filesystems, where each format puts them.

/// How much of the beginning must be read.
pub const HEAD_BYTES: usize = 256 * 1024;
/// How much of the end must be read.
pub const TAIL_BYTES: usize = 192 * 1024;

/// Name, offset from the beginning, bytes.
const AT_HEAD: [(&str, usize, &[u8]); 29] = [
    ("gpt", 512, b"EFI PART"),
    ("gpt", 4096, b"EFI PART"),
    ("mbr", 510, &[0x55, 0xaa]),
    ("ext", 0x438, &[0x53, 0xef]),
    ("xfs", 0, b"XFSB"),
    ("btrfs", 0x10040, b"_BHRfS_M"),
    ("bcachefs", 4096 + 24, &[0xc6, 0x85, 0x73, 0xf6, 0x66, 0xce, 0x90, 0xa9]),
    ("ntfs", 3, b"NTFS    "),
    ("exfat", 3, b"EXFAT   "),
    ("vfat", 54, b"FAT12   "),
    ("vfat", 54, b"FAT16   "),
    ("vfat", 82, b"FAT32   "),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("luks", 0x4000, b"SKUL\xba\xbe"),
    ("bitlocker", 3, b"-FVE-FS-"),
    ("lvm2", 24, b"LVM2 001"),
    ("lvm2", 512 + 24, b"LVM2 001"),
    ("lvm2", 1024 + 24, b"LVM2 001"),
    ("lvm2", 1536 + 24, b"LVM2 001"),
    ("md", 0, &[0xfc, 0x4e, 0x2b, 0xa9]),
    ("md", 4096, &[0xfc, 0x4e, 0x2b, 0xa9]),
    ("bcache", 4096 + 24, &[0xc6, 0x85, 0x73, 0xf6, 0x4e, 0x1a, 0x45, 0xca]),
    ("f2fs", 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    ("jfs", 32_768, b"JFS1"),
    ("iso9660", 32_769, b"CD001"),
    ("udf", 32_769, b"BEA01"),
    ("squashfs", 0, b"hsqs"),
    ("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    ("ceph", 0, b"bluestore block device"),
];

/// ZFS: an uberblock every KiB in the second half of each 256 KiB label, either byte order.
const ZFS_UBERBLOCKS: [[u8; 8]; 2] = [[0x0c, 0xb1, 0xba, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0xba, 0xb1, 0x0c]];

/// What is found on a disk of so many bytes, by the bytes it begins with and those it ends with; each name once, in order.
pub fn find(head: &[u8], tail: &[u8], disk_bytes: u64) -> Vec<String> {
    let at = |bytes: &[u8], offset: usize, wanted: &[u8]| {
        offset.checked_add(wanted.len()).and_then(|end| bytes.get(offset..end)).is_some_and(|found| found == wanted)
    };
    // Offset in `tail` of an absolute position.
    let in_tail = |position: Option<u64>| -> Option<usize> {
        let start = disk_bytes.saturating_sub(tail.len() as u64);
        usize::try_from(position?.checked_sub(start)?).ok()
    };
    let at_tail =
        |position: Option<u64>, wanted: &[u8]| in_tail(position).is_some_and(|offset| at(tail, offset, wanted));
    let mut found: Vec<&str> =
        AT_HEAD.iter().filter(|(_, offset, wanted)| at(head, *offset, wanted)).map(|(name, ..)| *name).collect();
    for page in [4096, 8192, 16_384, 65_536] {
        if at(head, page - 10, b"SWAPSPACE2") || at(head, page - 10, b"SWAP-SPACE") || at(head, page - 10, b"S1SUSPEND")
        {
            found.push("swap");
        }
    }
    if (128 * 1024..256 * 1024).step_by(1024).any(|o| ZFS_UBERBLOCKS.iter().any(|magic| at(head, o, magic))) {
        found.push("zfs");
    }
    // The backup table alone: what is left when only the beginning was overwritten.
    for sector in [512, 4096] {
        if at_tail(disk_bytes.checked_sub(sector), b"EFI PART") {
            found.push("gpt-backup");
        }
    }
    let md: &[u8] = &[0xfc, 0x4e, 0x2b, 0xa9];
    let md_1_0 = disk_bytes.checked_sub(8192).map(|offset| offset / 4096 * 4096);
    let md_0_90 = (disk_bytes / 65_536 * 65_536).checked_sub(65_536);
    if at_tail(md_1_0, md) || at_tail(md_0_90, md) {
        found.push("md");
    }
    if at_tail(disk_bytes.checked_sub(1024), b"Intel Raid ISM Cfg Sig. ") {
        found.push("intel-raid");
    }
    if at_tail(disk_bytes.checked_sub(512), &[0xde, 0x11, 0xde, 0x11]) {
        found.push("ddf");
    }
    let mut names: Vec<String> = Vec::new();
    for name in found {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_blank_and_each_signature_is_not() {
        let disk = 64 << 20;
        let (head, tail) = (vec![0; HEAD_BYTES], vec![0; TAIL_BYTES]);
        assert_eq!(find(&head, &tail, disk), Vec::<String>::new());
        for (name, offset, bytes) in AT_HEAD {
            let mut head = head.clone();
            head[offset..offset + bytes.len()].copy_from_slice(bytes);
            assert_eq!(find(&head, &tail, disk), [name], "{name} at {offset}");
        }
        let mut head = head.clone();
        head[160 * 1024..160 * 1024 + 8].copy_from_slice(&ZFS_UBERBLOCKS[0]);
        assert_eq!(find(&head, &tail, disk), ["zfs"]);
    }

    #[test]
    fn what_lies_at_the_end_is_found_too() {
        let disk: usize = 64 << 20;
        let head = vec![0; HEAD_BYTES];
        let table: [(&str, usize, &[u8]); 5] = [
            ("gpt-backup", disk - 512, b"EFI PART"),
            ("gpt-backup", disk - 4096, b"EFI PART"),
            ("md", disk - 8192, &[0xfc, 0x4e, 0x2b, 0xa9]),
            ("md", disk - 65_536, &[0xfc, 0x4e, 0x2b, 0xa9]),
            ("intel-raid", disk - 1024, b"Intel Raid ISM Cfg Sig. "),
        ];
        for (name, position, bytes) in table {
            let mut tail = vec![0; TAIL_BYTES];
            let offset = position - (disk - TAIL_BYTES);
            tail[offset..offset + bytes.len()].copy_from_slice(bytes);
            assert_eq!(find(&head, &tail, disk as u64), [name], "{name} at {position}");
        }
    }

    #[test]
    fn a_disk_shorter_than_its_signatures_is_read_without_a_panic() {
        for size in [0_usize, 1, 511, 512, 4095, 8191] {
            let bytes = vec![0xaa; size];
            let _ = find(&bytes, &bytes, size as u64);
        }
    }
}
