//! The bytes of an object: a log, compressed by Zstandard (RFC 8878). Pure.

use super::name::Name;
use crate::store::logs::CAP_BYTES;
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Read as _;

/// No log is longer than its cap and the note that it was cut.
const LOG_MAX: u64 = CAP_BYTES + 1024;
/// No object is larger: a log that does not get smaller has a few bytes more a block.
pub(super) const OBJECT_MAX: u64 = LOG_MAX + (64 << 10);

/// The object of a log.
pub(super) fn seal(log: &[u8]) -> Vec<u8> {
    compress_to_vec(log, CompressionLevel::Fastest)
}

/// The log of an object, when it is the one that the name says.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn open(name: &Name, object: &[u8]) -> Result<Vec<u8>, String> {
    let broken = |error: &dyn std::fmt::Display| format!("it cannot be unpacked: {error}");
    let decoder = StreamingDecoder::new(object).map_err(|error| broken(&error))?;
    let mut log = Vec::new();
    decoder.take(LOG_MAX + 1).read_to_end(&mut log).map_err(|error| broken(&error))?;
    if log.len() as u64 > LOG_MAX {
        return Err(format!("it unpacks to more than {LOG_MAX} bytes, which no log has"));
    }
    let is = Name::of(&name.job, &log);
    if is != *name {
        return Err(format!(
            "{} bytes with the SHA-256 {} are in it, and by its name it has {} bytes with {}",
            is.length, is.hash, name.length, name.hash
        ));
    }
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_log_comes_back_and_gets_smaller() {
        let log = b"the disk is written: 12345 of 99999 blocks\n".repeat(1000);
        let object = seal(&log);
        assert!(object.len() < log.len() / 5, "{} of {}", object.len(), log.len());
        assert_eq!(open(&Name::of("j", &log), &object), Ok(log));
        assert_eq!(open(&Name::of("j", b""), &seal(b"")), Ok(Vec::new()));
    }

    #[test]
    fn what_is_not_what_its_name_says_is_told() {
        let name = Name::of("j", b"what it printed");
        let why = |object: &[u8]| open(&name, object).unwrap_err();
        assert!(why(b"").contains("unpacked"));
        assert!(why(b"what it printed").contains("unpacked"));
        assert!(why(&seal(b"what it pr1nted")).contains("by its name it has 15 bytes"));
        let whole = seal(b"what it printed");
        assert!(open(&name, &whole[..whole.len() - 4]).is_err(), "cut off");
        // Zeros that are small as an object and are more than any log.
        let bomb = seal(&vec![0; usize::try_from(LOG_MAX).unwrap() + 2]);
        assert!(why(&bomb).contains("more than"), "{}", why(&bomb));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_log_comes_back_and_no_changed_byte_passes(
            log in proptest::collection::vec(any::<u8>(), 1..4000), at in any::<usize>(), bit in 0_u8..8,
        ) {
            let name = Name::of("j", &log);
            let mut object = seal(&log);
            prop_assert_eq!(open(&name, &object), Ok(log.clone()));
            let at = at % object.len();
            object[at] ^= 1 << bit;
            // A bit that means nothing may change; what comes out is the log, or an error.
            if let Ok(out) = open(&name, &object) {
                prop_assert_eq!(out, log);
            }
        }
    }
}
