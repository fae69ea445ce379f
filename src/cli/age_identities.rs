//! The file of age identities that `serve` and `validate` take.

use super::CliError;
use crate::api::ReadOnce;
use crate::content::sops::{Apart, Identities, Keys};
use crate::git::regular::open_regular;
use crate::git::remote::SourceSettings;
use crate::serve::KeyFiles;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
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

/// What opens encrypted files: the site's own identities its own, and those of a mounted source what lies where that is mounted. A
/// server can read them again.
pub(super) fn files(site: Option<&Path>, sources: &[SourceSettings]) -> Result<KeyFiles, CliError> {
    let site = site.map(Path::to_owned);
    let mounted = sources.iter().filter_map(|source| Some((source.mount.clone()?, source.age_identities.clone())));
    let mounted: Vec<(String, Option<PathBuf>)> = mounted.collect();
    let (keys, files) = all(site.as_deref(), &mounted)?;
    let read = move || all(site.as_deref(), &mounted).map_err(|error| error.to_string());
    Ok(KeyFiles { keys, files, read: Arc::new(read) })
}

fn all(site: Option<&Path>, mounted: &[(String, Option<PathBuf>)]) -> Result<(Keys, Vec<ReadOnce>), CliError> {
    let mut files = Vec::new();
    let mut opened = |path: Option<&Path>| {
        files.extend(path.map(ReadOnce::private));
        path.map(read).transpose().map(|own| own.unwrap_or_else(Identities::none))
    };
    let site = opened(site)?;
    let folders = mounted.iter().map(|(mount, path)| Ok((mount.clone(), opened(path.as_deref())?)));
    let folders = folders.collect::<Result<Vec<_>, CliError>>()?;
    let keys = match folders.is_empty() {
        true => Keys::Known(Arc::new(site)),
        false => Keys::Apart(Arc::new(Apart { site, folders })),
    };
    Ok((keys, files))
}
