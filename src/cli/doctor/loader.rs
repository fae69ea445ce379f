//! Whether a file is a loader that firmware starts. What is cut off or of another kind is fetched all the same, and the machine
//! stands with a black screen.

use crate::cli::sentence::count;

/// So much of a file is looked at, bytes.
pub(super) const HEAD_BYTES: u64 = 4096;
/// No loader is smaller: iPXE's smallest has some 70 KiB.
const LEAST_BYTES: u64 = 16 * 1024;
/// Where a PE file says where its header is (Microsoft's PE format, 2).
const HEADER_AT: usize = 0x3c;
/// Jumps of x86: what firmware of the BIOS kind loads has no other mark than that it runs from its first byte (PXE 2.1, 4.4.5).
const JUMPS: [u8; 3] = [0xe9, 0xea, 0xeb];

/// What is wrong with a loader of this name, by its first bytes and its length. Pure.
pub(super) fn wrong(name: &str, head: &[u8], length: u64) -> Option<String> {
    if length == 0 {
        return Some("it is empty".to_owned());
    }
    let kind = match name.ends_with(".efi") {
        true => efi(head),
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
fn efi(head: &[u8]) -> Option<String> {
    let number = |at: usize| Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?));
    let header = number(HEADER_AT)
        .map(usize::from)
        .filter(|at| head.starts_with(b"MZ") && head.get(*at..at + 4) == Some(b"PE\0\0"));
    match header.map(|at| number(at + 4)) {
        None => Some("it is no EFI program: it has no PE header".to_owned()),
        Some(Some(0x8664)) => None,
        Some(Some(0x014c)) => Some("it is an EFI program for 32-bit x86".to_owned()),
        Some(Some(0xaa64)) => Some("it is an EFI program for 64-bit Arm".to_owned()),
        Some(_) => Some("it is an EFI program for another processor than x86-64".to_owned()),
    }
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
