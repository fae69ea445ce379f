//! The file of age identities that `serve` and `validate` take.

use super::CliError;
use crate::content::sops::Identities;
use crate::git::regular::open_regular;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use zeroize::Zeroizing;

/// The largest file of identities, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Reads it. Others must not be able to.
pub(super) fn read(path: &Path) -> Result<Identities, CliError> {
    let shown = path.display();
    let usage = |message: String, hint: &str| CliError::Usage { message, hint: Some(hint.to_owned()) };
    let unreadable = |error: std::io::Error| {
        usage(format!("the age identities {shown} cannot be read: {error}"), "make them with: age-keygen -o FILE")
    };
    let (file, about) = open_regular(path).map_err(unreadable)?;
    if about.permissions().mode() & 0o077 != 0 {
        return Err(usage(format!("others can read the age identities {shown}"), "chmod 0600 FILE"));
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(usage(
            format!("{shown} is over {} KiB", FILE_BYTES_MAX >> 10),
            "make one with: age-keygen -o FILE",
        ));
    }
    // One buffer that never grows: growing would leave copies behind.
    let mut text = Zeroizing::new(String::with_capacity(usize::try_from(FILE_BYTES_MAX).unwrap_or(0) + 1));
    file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(unreadable)?;
    Identities::parse(&text).map_err(|error| usage(format!("{shown}: {error}"), "make one with: age-keygen -o FILE"))
}
