//! The key of one file, as age encrypted it for its recipients.

use super::identities::Identities;
use std::io::Read as _;
use zeroize::Zeroizing;

/// Bytes of a data key: AES-256.
pub(super) const KEY_BYTES: usize = 32;

/// A data key; wiped when it goes.
pub(super) type DataKey = Zeroizing<[u8; KEY_BYTES]>;

/// Opens an armored age file that holds a data key. `None`: none of the identities does.
pub(super) fn open(armored: &str, identities: &Identities) -> Option<DataKey> {
    let input = age::armor::ArmoredReader::new(armored.trim().as_bytes());
    let decryptor = age::Decryptor::new(input).ok()?;
    let mut plain = decryptor.decrypt(identities.iter()).ok()?;
    let mut key = DataKey::default();
    plain.read_exact(key.as_mut_slice()).ok()?;
    // Exactly so many bytes, and the end of the file is authentic.
    let mut more = [0_u8; 1];
    matches!(plain.read(&mut more), Ok(0)).then_some(key)
}
