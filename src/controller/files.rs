//! What the controller keeps in the state directory: credentials out of the Secret, since fetches read them from files, and
//! which source was followed last, so that what was mirrored is read as it was after a restart without an API server.
//!
//! ```text
//! STATE/kubernetes/source.json         the last spec; no credential is in it
//! STATE/kubernetes/credentials/KEY     keys of its Secret (0600)
//! ```

use super::resources::ContentSourceSpec;
use super::source::{KEYS, Keys};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// The largest key of a Secret that is used, bytes: bundles of authorities are the largest.
const KEY_BYTES_MAX: usize = 512 * 1024;

/// The folder.
#[derive(Debug, Clone)]
pub(super) struct Folder(PathBuf);

impl Folder {
    /// Opens or makes it in a state directory.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(state: &Path) -> std::io::Result<Self> {
        let folder = Self(state.join("kubernetes"));
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.credentials())?;
        Ok(folder)
    }

    /// Where each key of the Secret is a file.
    pub fn credentials(&self) -> PathBuf {
        self.0.join("credentials")
    }

    /// The spec that was followed last; none: none was, or it cannot be read.
    pub fn remembered(&self) -> Option<ContentSourceSpec> {
        serde_json::from_slice(&std::fs::read(self.0.join("source.json")).ok()?).ok()
    }

    /// Remembers what is followed.
    ///
    /// # Errors
    /// What the system said.
    pub fn remember(&self, spec: &ContentSourceSpec) -> std::io::Result<()> {
        put(&self.0.join("source.json"), &serde_json::to_vec_pretty(spec)?)
    }

    /// The keys on the disk.
    pub fn keys(&self) -> Keys {
        let read = |name: &str| std::fs::read(self.credentials().join(name)).ok().map(Zeroizing::new);
        KEYS.iter().filter_map(|name| Some(((*name).to_owned(), read(name)?))).collect()
    }

    /// Makes the files what the Secret says: the next fetch reads them. True: something changed.
    ///
    /// # Errors
    /// What the system said.
    pub fn write_keys(&self, keys: &Keys) -> std::io::Result<bool> {
        let before = self.keys();
        let mut changed = false;
        for name in KEYS {
            let path = self.credentials().join(name);
            match keys.get(name) {
                Some(value) if before.get(name) == Some(value) => continue,
                Some(value) if value.len() > KEY_BYTES_MAX => {
                    return Err(std::io::Error::new(ErrorKind::InvalidData, format!("`{name}` is too long")));
                }
                Some(value) => put(&path, value)?,
                None => match std::fs::remove_file(&path) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    removed => removed?,
                },
            }
            changed = true;
        }
        Ok(changed)
    }
}

/// Writes a file of mode 0600 beside its place and moves it there.
fn put(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut new = path.to_owned();
    new.as_mut_os_string().push(".new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt as _;

    #[test]
    fn keys_become_files_that_nobody_else_reads_and_go_with_their_secret() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        let keys = |pairs: &[(&str, &str)]| -> Keys {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), Zeroizing::new(value.as_bytes().to_vec()))).collect()
        };
        let first = keys(&[("password", "one"), ("../escape", "x"), ("identity.pub", "x")]);
        assert!(folder.write_keys(&first).unwrap());
        assert!(!folder.write_keys(&first).unwrap(), "nothing changed");
        assert_eq!(folder.keys(), keys(&[("password", "one")]), "others are not written");
        let mode = std::fs::metadata(folder.credentials().join("password")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(folder.write_keys(&keys(&[("password", "two"), ("ca.crt", "pem")])).unwrap());
        assert_eq!(folder.keys(), keys(&[("password", "two"), ("ca.crt", "pem")]));
        assert!(folder.write_keys(&keys(&[])).unwrap());
        assert!(folder.keys().is_empty() && !folder.write_keys(&keys(&[])).unwrap());
    }
}
