//! What the controller keeps in the state directory: credentials out of the Secret, since fetches read them from files, and
//! which source was followed last, so that what was mirrored is read as it was after a restart without an API server.
//!
//! ```text
//! STATE/kubernetes/source.json              the spec that is followed; no credential is in it
//! STATE/kubernetes/before.json              the same, once it is followed no longer: how to read what was mirrored of it
//! STATE/kubernetes/content.git               where resources are content: a commit of each state of them
//! STATE/kubernetes/credentials/SOURCE/KEY   keys of its Secret (0600)
//! ```
//!
//! Each URL with its Secret has a folder of credentials of its own: whoever still fetches from the one before never finds there
//! what is meant for another host, and neither does a server that was killed between two writes.

use super::resources::ContentSourceSpec;
use super::source::{KEYS, Keys};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// What is followed, and what was followed before it was taken away.
const SOURCE: &str = "source.json";
const BEFORE: &str = "before.json";

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

    /// The repository into which resources are committed.
    pub fn content(&self) -> PathBuf {
        self.0.join("content.git")
    }

    fn credentials(&self) -> PathBuf {
        self.0.join("credentials")
    }

    /// Where each key of its Secret is a file: of this URL with this Secret, and of no other.
    pub fn credentials_of(&self, spec: &ContentSourceSpec) -> PathBuf {
        let secret = spec.secret_ref.as_ref().map_or("", |secret| secret.name.as_str());
        let digest = ring::digest::digest(
            &ring::digest::SHA256,
            format!("{}\n{secret}", spec.url.as_deref().unwrap_or_default()).as_bytes(),
        );
        let name: String = digest.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        self.credentials().join(name)
    }

    /// The spec that is followed; none: none is, or it cannot be read.
    pub fn remembered(&self) -> Option<ContentSourceSpec> {
        self.read(SOURCE)
    }

    /// The spec that is followed, or else that was followed last: what was mirrored is read as it says.
    pub fn mirrored(&self) -> Option<ContentSourceSpec> {
        self.remembered().or_else(|| self.read(BEFORE))
    }

    fn read(&self, name: &str) -> Option<ContentSourceSpec> {
        serde_json::from_slice(&std::fs::read(self.0.join(name)).ok()?).ok()
    }

    /// Remembers what is followed, and removes the credentials of all else.
    ///
    /// # Errors
    /// What the system said.
    pub fn remember(&self, spec: &ContentSourceSpec) -> std::io::Result<()> {
        if self.remembered().as_ref() != Some(spec) {
            put(&self.0.join(SOURCE), &serde_json::to_vec_pretty(spec)?)?;
        }
        self.keep_only(Some(self.credentials_of(spec).as_path()))
    }

    /// Nothing is followed any more, and nothing will be after a restart: all credentials are removed.
    ///
    /// # Errors
    /// What the system said.
    pub fn forget(&self) -> std::io::Result<()> {
        if let Err(error) = std::fs::rename(self.0.join(SOURCE), self.0.join(BEFORE))
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error);
        }
        self.keep_only(None)
    }

    /// Removes all credentials but those in this folder.
    fn keep_only(&self, kept: Option<&Path>) -> std::io::Result<()> {
        for entry in std::fs::read_dir(self.credentials())? {
            let entry = entry?;
            let path = entry.path();
            if kept == Some(path.as_path()) {
                continue;
            }
            match entry.file_type()?.is_dir() {
                true => std::fs::remove_dir_all(&path)?,
                false => std::fs::remove_file(&path)?,
            }
        }
        Ok(())
    }

    /// The keys on the disk for that source.
    pub fn keys(&self, spec: &ContentSourceSpec) -> Keys {
        let folder = self.credentials_of(spec);
        let read = |name: &str| std::fs::read(folder.join(name)).ok().map(Zeroizing::new);
        KEYS.iter().filter_map(|name| Some(((*name).to_owned(), read(name)?))).collect()
    }

    /// Makes the files of that source what its Secret says: the next fetch reads them. True: something changed.
    ///
    /// # Errors
    /// What the system said.
    pub fn write_keys(&self, spec: &ContentSourceSpec, keys: &Keys) -> std::io::Result<bool> {
        let (folder, before) = (self.credentials_of(spec), self.keys(spec));
        if before.is_empty() && keys.is_empty() {
            return Ok(false);
        }
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut changed = false;
        for name in KEYS {
            let path = folder.join(name);
            match keys.get(name) {
                Some(value) if before.get(name) == Some(value) => continue,
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

    fn keys(pairs: &[(&str, &str)]) -> Keys {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), Zeroizing::new(value.as_bytes().to_vec()))).collect()
    }

    fn spec(url: &str, secret: &str) -> ContentSourceSpec {
        serde_json::from_value(serde_json::json!({"url": url, "secretRef": {"name": secret}})).unwrap()
    }

    #[test]
    fn keys_become_files_that_nobody_else_reads_and_go_with_their_secret() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        let site = spec("https://h/x", "s");
        let first = keys(&[("password", "one"), ("../escape", "x"), ("identity.pub", "x")]);
        assert!(folder.write_keys(&site, &first).unwrap());
        assert!(!folder.write_keys(&site, &first).unwrap(), "nothing changed");
        assert_eq!(folder.keys(&site), keys(&[("password", "one")]), "others are not written");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        let of_site = folder.credentials_of(&site);
        assert_eq!((mode(&of_site), mode(&of_site.join("password"))), (0o700, 0o600));
        assert!(folder.write_keys(&site, &keys(&[("password", "two"), ("ca.crt", "pem")])).unwrap());
        assert_eq!(folder.keys(&site), keys(&[("password", "two"), ("ca.crt", "pem")]));
        assert!(folder.write_keys(&site, &keys(&[])).unwrap());
        assert!(folder.keys(&site).is_empty() && !folder.write_keys(&site, &keys(&[])).unwrap());
    }

    #[test]
    fn what_is_meant_for_another_host_is_never_where_the_one_before_reads() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        let [old, new, other] = [("https://old/x", "s"), ("https://new/x", "s"), ("https://old/x", "t")]
            .map(|(url, secret)| spec(url, secret));
        folder.write_keys(&old, &keys(&[("password", "for old")])).unwrap();
        folder.remember(&old).unwrap();
        // As if it were killed here: what is followed again finds its own.
        for moved in [&new, &other] {
            folder.write_keys(moved, &keys(&[("password", "for another")])).unwrap();
            assert_eq!(folder.keys(&old), keys(&[("password", "for old")]));
            assert_eq!(folder.remembered().as_ref(), Some(&old));
        }
        folder.remember(&new).unwrap();
        assert_eq!(folder.keys(&new), keys(&[("password", "for another")]));
        assert!(folder.keys(&old).is_empty() && folder.keys(&other).is_empty(), "those of all else are removed");
    }

    #[test]
    fn what_was_taken_away_is_not_followed_again_and_what_was_mirrored_is_read_as_it_was() {
        let state = tempfile::tempdir().unwrap();
        let folder = Folder::open(state.path()).unwrap();
        folder.forget().unwrap();
        assert!(folder.mirrored().is_none(), "nothing was ever followed");
        let site = spec("https://h/x", "s");
        folder.write_keys(&site, &keys(&[("password", "one")])).unwrap();
        // As an earlier version had it.
        std::fs::write(folder.credentials().join("password"), "one").unwrap();
        folder.remember(&site).unwrap();
        folder.forget().unwrap();
        folder.forget().unwrap();
        assert!(folder.remembered().is_none() && folder.mirrored().as_ref() == Some(&site));
        assert_eq!(std::fs::read_dir(folder.credentials()).unwrap().count(), 0, "no credential is left");
        folder.remember(&site).unwrap();
        assert_eq!(folder.remembered().as_ref(), Some(&site));
    }
}
