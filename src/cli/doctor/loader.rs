//! Whether a file is a loader that firmware starts. What is cut off or of another kind is fetched all the same, and the machine
//! stands with a black screen.

use crate::cli::sentence::count;

/// So much of a file is looked at, bytes.
pub(super) const HEAD_BYTES: u64 = 4096;
/// No loader is smaller: iPXE's smallest has some 70 KiB.
const LEAST_BYTES: u64 = 16 * 1024;
/// Where a PE file says where its header is (Microsoft's PE format, 2).
const HEADER_AT: usize = 0x3c;
/// The mark of that header and the processor it is for, bytes: so many are looked at.
const HEADER_LEAST_BYTES: u64 = 6;
/// Jumps of x86: what firmware of the BIOS kind loads has no other mark than that it runs from its first byte (PXE 2.1, 4.4.5).
const JUMPS: [u8; 3] = [0xe9, 0xea, 0xeb];

/// What is wrong with a loader of this name, by its first bytes and its length. Pure.
pub(super) fn wrong(name: &str, head: &[u8], length: u64) -> Option<String> {
    if length == 0 {
        return Some("it is empty".to_owned());
    }
    let kind = match name.ends_with(".efi") {
        true => efi(head, length),
        false if head.first().is_some_and(|first| JUMPS.contains(first)) => None,
        false => Some("it is no boot program: it does not begin with a jump".to_owned()),
    };
    let small = || {
        (length < LEAST_BYTES).then(|| {
            let bytes = count(usize::try_from(length).unwrap_or(usize::MAX), "byte");
            format!("it has {bytes}, and no loader has under 16 KiB")
        })
    };
    kind.or_else(small)
}

/// What is wrong with a program for 64-bit UEFI.
fn efi(head: &[u8], length: u64) -> Option<String> {
    const NONE: &str = "it is no EFI program: it has no PE header";
    let Some(at) = header_at(head) else { return Some(NONE.to_owned()) };
    if u64::from(at).saturating_add(HEADER_LEAST_BYTES) > length {
        return Some(format!("{NONE} at byte {at}, where it says that one is"));
    }
    let header = usize::try_from(at).ok().and_then(|at| head.get(at..)?.first_chunk::<6>());
    match header {
        // Linkers put it into the first page; no more of the file is read.
        None => Some(format!("its PE header is said to be at byte {at}, further in than any loader has it")),
        Some([b'P', b'E', 0, 0, machine @ ..]) => match u16::from_le_bytes(*machine) {
            0x8664 => None,
            0x014c => Some("it is an EFI program for 32-bit x86".to_owned()),
            0xaa64 => Some("it is an EFI program for 64-bit Arm".to_owned()),
            _ => Some("it is an EFI program for another processor than x86-64".to_owned()),
        },
        Some(_) => Some(NONE.to_owned()),
    }
}

/// Where a program says that its PE header is: four bytes, so that it may be anywhere in a file.
fn header_at(head: &[u8]) -> Option<u32> {
    let at = head.get(HEADER_AT..)?.first_chunk::<4>()?;
    head.starts_with(b"MZ").then(|| u32::from_le_bytes(*at))
}

/// The first bytes of a loader of this name, for tests.
#[cfg(test)]
pub(super) fn sound(name: &str) -> Vec<u8> {
    let mut bytes = vec![0; 64 * 1024];
    if name.ends_with(".efi") {
        bytes[..2].copy_from_slice(b"MZ");
        bytes[HEADER_AT] = 0xc0;
        bytes[0xc0..0xc6].copy_from_slice(b"PE\0\0\x64\x86");
    } else {
        bytes[..5].copy_from_slice(&[0xea, 0x05, 0x00, 0xc0, 0x07]);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_is_of_its_kind_and_not_too_small() {
        let whole = 70 * 1024;
        let (bios, efi) = (sound("undionly.kpxe"), sound("snponly.efi"));
        let mut arm = efi.clone();
        arm[0xc4..0xc6].copy_from_slice(&[0x64, 0xaa]);
        // Each with a sound header at the lower half of the number, which alone is not where it is.
        let [mut far, mut outside, mut last] = [&efi, &efi, &efi].map(Clone::clone);
        far[HEADER_AT + 2] = 1;
        outside[HEADER_AT + 2..HEADER_AT + 4].copy_from_slice(&[0xff, 0xff]);
        last[HEADER_AT..HEADER_AT + 4].copy_from_slice(&[0xfb, 0x0f, 0, 0]);
        for (name, head, length, says) in [
            ("undionly.kpxe", &bios[..], whole, None),
            ("snponly.efi", &efi[..], whole, None),
            ("snponly.efi", &efi[..4096], whole, None),
            ("snponly.efi", &efi[..], 4000, Some("4000 bytes")),
            ("undionly.kpxe", &[0xea][..], 1, Some("it has 1 byte,")),
            ("undionly.kpxe", b"<html>", whole, Some("no boot program")),
            ("undionly.kpxe", &efi[..], whole, Some("no boot program")),
            ("undionly.kpxe", b"", 0, Some("empty")),
            ("snponly.efi", &bios[..], whole, Some("no PE header")),
            ("snponly.efi", b"MZ", whole, Some("no PE header")),
            ("snponly.efi", &arm[..], whole, Some("64-bit Arm")),
            ("snponly.efi", &far[..4096], 200_000, Some("said to be at byte 65728, further in")),
            ("snponly.efi", &far[..4096], 65_733, Some("no PE header at byte 65728")),
            ("snponly.efi", &outside[..4096], whole, Some("no PE header at byte 4294901952")),
            ("snponly.efi", &last[..4096], whole, Some("further in")),
            ("snponly.efi", &efi[..HEADER_AT + 3], whole, Some("no PE header")),
        ] {
            let found = wrong(name, head, length);
            let good = match says {
                None => found.is_none(),
                Some(says) => found.as_deref().is_some_and(|found| found.contains(says)),
            };
            assert!(good, "{name} {length}: {found:?}, not {says:?}");
        }
    }

    #[test]
    fn loaders_of_this_system_are_taken() {
        for name in ["undionly.kpxe", "snponly.efi"] {
            let Ok(bytes) = std::fs::read(format!("/usr/lib/ipxe/{name}")) else { continue };
            let length = u64::try_from(bytes.len()).unwrap();
            assert_eq!(wrong(name, &bytes[..4096.min(bytes.len())], length), None, "{name}");
        }
    }
}
