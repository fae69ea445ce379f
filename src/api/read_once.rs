//! Files that the server was started with: whoever changes one is told that nothing came of it yet, and what makes it take effect.

use super::private_files::OTHERS;
use super::views::ChangedFile;
use crate::git::regular::open_regular;
use crate::git::remote::{SourceSettings, SourceStatus};
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The largest part of a file that is compared, bytes.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

/// A file that is read at the start and not again, or a folder that is opened then, as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadOnce {
    path: PathBuf,
    /// Whether others can read or write it counts as well.
    is_private: bool,
    /// None: it could not be read.
    seen: Option<Seen>,
}

/// What tells one from another.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// A file: what is in it, and of a private one whether it is open to others.
    File(Vec<u8>, bool),
    /// A folder: which one it is.
    Folder(u64, u64),
}

impl ReadOnce {
    /// As it is now. To be asked before the file is read for good: what is changed between the two is told of.
    pub fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), is_private: false, seen: seen(path, false) }
    }

    /// The same of a file that nobody else may read: it is another one where it was opened to others.
    pub fn private(path: &Path) -> Self {
        Self { path: path.to_owned(), is_private: true, seen: seen(path, true) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The same file or folder, as it is now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { seen: seen(&self.path, self.is_private), ..self.clone() }
    }

    /// That it is another one now. Reads the file.
    pub fn changed(&self) -> Option<ChangedFile> {
        let now = seen(&self.path, self.is_private);
        let what = match (&self.seen, &now) {
            (before, now) if before == now => return None,
            (_, None) => "cannot be read any more",
            (Some(Seen::Folder(..)), _) => "is another folder",
            (Some(Seen::File(before, false)), Some(Seen::File(now, true))) if before == now => "was opened to others",
            _ => "was changed",
        };
        let path = self.path.display();
        Some(ChangedFile {
            path: path.to_string(),
            since_unix_ms: changed_unix_ms(&self.path),
            takes_effect: "restart".to_owned(),
            message: format!("{path} {what} since the server read it at its start; restart the server"),
        })
    }
}

/// The files of policies that are not what is in force: written by who reads them again, told to who asks for the status.
#[derive(Debug, Clone, Default)]
pub struct PolicyFiles(Arc<Mutex<Vec<ChangedFile>>>);

impl PolicyFiles {
    /// These are.
    pub fn set(&self, changed: Vec<ChangedFile>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = changed;
    }

    /// They are.
    pub(super) fn changed(&self) -> Vec<ChangedFile> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn seen(path: &Path, is_private: bool) -> Option<Seen> {
    let about = std::fs::metadata(path).ok()?;
    if about.is_dir() {
        return Some(Seen::Folder(about.dev(), about.ino()));
    }
    let (mut file, about) = open_regular(path).ok()?;
    let is_open = is_private && about.permissions().mode() & OTHERS != 0;
    let mut bytes = Vec::new();
    file.by_ref().take(BYTES_MAX).read_to_end(&mut bytes).ok()?;
    Some(Seen::File(ring::digest::digest(&ring::digest::SHA256, &bytes).as_ref().to_vec(), is_open))
}

/// Since when a file is what it is at this path: also of one that was moved here with the time that it was written at.
fn changed_unix_ms(path: &Path) -> Option<i64> {
    let about = std::fs::metadata(path).ok()?;
    Some(about.ctime().saturating_mul(1_000).saturating_add(about.ctime_nsec() / 1_000_000))
}

/// Files of a source that each fetch reads anew and that were changed since the last one.
pub(super) fn unread(settings: &SourceSettings, status: &SourceStatus) -> Vec<ChangedFile> {
    let Some(looked) = status.last_success_unix_ms.max(status.last_failure_unix_ms) else { return Vec::new() };
    let changed = settings.read_at_each_fetch().into_iter().filter_map(|path| {
        let since = changed_unix_ms(path).filter(|since| *since > looked)?;
        let (path, name) = (path.display(), &settings.name);
        Some(ChangedFile {
            path: path.to_string(),
            since_unix_ms: Some(since),
            takes_effect: "next-fetch".to_owned(),
            message: format!(
                "{path} was changed since the last fetch of source {name}; the next one reads it: formwork reconcile"
            ),
        })
    });
    changed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::remote::{Credentials, Follow, Location};

    #[test]
    fn a_file_that_was_changed_since_the_start_is_told_of_until_it_is_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sources.yaml");
        std::fs::write(&path, "one").unwrap();
        let file = ReadOnce::of(&path);
        assert_eq!(file.changed(), None);
        std::fs::write(&path, "two").unwrap();
        let changed = file.changed().expect("changed");
        assert!(changed.message.contains("sources.yaml was changed since"), "{changed:?}");
        assert!(changed.since_unix_ms.is_some() && changed.takes_effect == "restart", "{changed:?}");
        std::fs::remove_file(&path).unwrap();
        let gone = file.changed().expect("gone");
        assert!(gone.message.contains("cannot be read any more") && gone.since_unix_ms.is_none(), "{gone:?}");
        std::fs::write(&path, "one").unwrap();
        assert_eq!(file.changed(), None);
    }

    #[test]
    fn a_private_file_is_another_one_where_it_was_opened_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("age.txt");
        std::fs::write(&path, "one").unwrap();
        let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        mode(0o600);
        let (private, plain) = (ReadOnce::private(&path), ReadOnce::of(&path));
        for (now, open) in [(0o400, false), (0o644, true), (0o620, true), (0o600, false)] {
            mode(now);
            let said = private.changed().map(|changed| changed.message).unwrap_or_default();
            assert_eq!(said.contains("age.txt was opened to others"), open, "{now:o}: {said}");
            assert_eq!((private.again() == private, plain.changed()), (!open, None), "{now:o}");
        }
    }

    #[test]
    fn a_folder_is_another_one_where_another_took_its_place_and_not_by_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("images");
        std::fs::create_dir(&path).unwrap();
        let opened = ReadOnce::of(&path);
        std::fs::write(path.join("kernel"), "x").unwrap();
        assert_eq!(opened.changed(), None);
        std::fs::rename(&path, folder.path().join("images.old")).unwrap();
        std::fs::create_dir(&path).unwrap();
        let changed = opened.changed().expect("another");
        assert!(changed.message.contains("images is another folder"), "{changed:?}");
    }

    #[test]
    fn what_a_fetch_reads_is_told_of_until_the_next_one() {
        let folder = tempfile::tempdir().unwrap();
        let [token, authority] = ["token", "ca.pem"].map(|name| folder.path().join(name));
        std::fs::write(&token, "x").unwrap();
        let location = Location::parse("https://git.example.org/site.git").unwrap();
        let mut settings = SourceSettings::new("platform", location, Follow::Default);
        settings.credentials = Credentials::Basic { user: "x".to_owned(), password_file: token.clone() };
        // One that is not there is told of by the fetch itself.
        settings.authority_file = Some(authority);
        let written = changed_unix_ms(&token).unwrap();
        let at = |success: Option<i64>, failure: Option<i64>| {
            let status = SourceStatus {
                last_success_unix_ms: success,
                last_failure_unix_ms: failure,
                ..SourceStatus::default()
            };
            unread(&settings, &status)
        };
        assert_eq!(at(None, None), []);
        assert_eq!(at(Some(written + 1), Some(written - 1)), []);
        assert_eq!(at(None, Some(written)), []);
        let said = at(Some(written - 2), Some(written - 1));
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!((said[0].takes_effect.as_str(), said[0].since_unix_ms), ("next-fetch", Some(written)));
        assert!(said[0].message.contains("token was changed since the last fetch of source platform"), "{said:?}");
    }
}
