//! How far a log was seen, kept in a file beside the keys: a server that starts on a log that is shorter by then does not serve it.
//!
//! A running server finds by itself that etcd came back from an older backup. One that starts has no memory but this.

use super::objects::segment_name;
use super::shared::{RESTORED, Shared};
use super::state::State;
pub(super) use crate::store::moving::LogEnd as Seen;
use crate::store::{Space, StoreError};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// It is written so often at most, and when the store ends.
const EVERY: Duration = Duration::from_secs(1);
/// One at a time writes it, and never an older word after a newer.
static WRITES: Mutex<()> = Mutex::new(());

/// When a person said of this state last that it came back from a backup.
pub(super) fn restored(state: &State) -> u64 {
    let said = state.value(Space::Meta, RESTORED).unwrap_or_default();
    std::str::from_utf8(&said).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

impl Seen {
    /// Refuses a log that is not the one that was seen, or a part of it only. `uid_of`: the objects that are there.
    pub(super) fn judge(&self, now: &Self, uid_of: impl Fn(u64) -> Option<String>) -> Result<(), String> {
        // Another store, or one that a person said of to have come back since.
        if self.store != now.store || now.restored_unix_ms > self.restored_unix_ms {
            return Ok(());
        }
        let there = uid_of(self.segment).filter(|uid| !uid.is_empty() && !self.uid.is_empty());
        if now.restored_unix_ms == self.restored_unix_ms && now.segment >= self.segment {
            return match there {
                Some(uid) if uid != self.uid => {
                    Err(format!("segment {} of the log is not the one that this server saw before", self.segment))
                }
                _ => Ok(()),
            };
        }
        Err(format!("the log ends at segment {}, and this server saw segment {} before", now.segment, self.segment))
    }

    /// What the file holds; `None`: there is none.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let bytes = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::Open(format!("{}: {error}", path.display()))),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            StoreError::Open(format!(
                "{}: it does not say how far the store was seen: {error}; remove it where etcd surely did not come back from a backup",
                path.display()
            ))
        })
    }

    /// A new file, on the disk, in its place.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut new = path.to_owned();
        new.as_mut_os_string().push(".new");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        match path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            Some(folder) => std::fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    }
}

/// Refuses a store whose log is shorter than it was seen here, before anything is written; or one that came back shorter and went on beyond
/// that since, by somebody who had seen nothing.
///
/// # Errors
/// [`StoreError::Open`] says what was seen and what to do.
pub(super) async fn is_not_older(shared: &Shared) -> Result<(), StoreError> {
    let Some(path) = &shared.options.seen else { return Ok(()) };
    let Some(before) = Seen::read(path)? else { return Ok(()) };
    // What is before the snapshot that was read is not folded here, and lies there for a while.
    let uid = match shared.place(before.segment) {
        Some(place) => Some(place.uid),
        None => shared.objects.uid(&segment_name(before.segment)).await?,
    };
    before.judge(&shared.seen(), |_| uid.clone()).map_err(|what| {
        StoreError::Open(format!(
            "the store in {} is older than it was: {what}. Etcd came back from a backup, and what happened since is not known: \
             an installed machine would run its workflow again. Nothing was written. Stop every server on it, then say so: formwork \
             store restored --store kubernetes --store-namespace NAMESPACE; machines are then held until adopted",
            shared.objects.place()
        ))
    })
}

/// Writes down how far the log was seen. That it cannot be is no reason to stop serving.
pub(super) fn remember(shared: &Shared) {
    let Some(path) = &shared.options.seen else { return };
    let _alone = WRITES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = shared.seen().write(path) {
        let path = path.display();
        tracing::warn!(%path, %error, "how far the store was seen could not be written down");
    }
}

/// Does so while the store is open, when there is something new.
pub(super) async fn keep(shared: Arc<Shared>) {
    if shared.options.seen.is_none() {
        return;
    }
    let mut written = Seen::default();
    loop {
        let now = shared.seen();
        if now != written {
            let told = Arc::clone(&shared);
            // A disk may be slow, and the store's own thread does not wait for it.
            let _ = tokio::task::spawn_blocking(move || remember(&told)).await;
            written = now;
        }
        tokio::time::sleep(EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_served_that_goes_on_from_where_it_was_seen() {
        let seen = |store: &str, restored_unix_ms, segment, uid: &str| Seen {
            store: store.into(),
            restored_unix_ms,
            segment,
            uid: uid.into(),
        };
        let before = seen("s", 7, 627, "u");
        let none = |_| None;
        for (now, wrong) in [
            (seen("s", 7, 627, "u"), None),
            (seen("s", 7, 700, "v"), None),
            (seen("s", 7, 560, "w"), Some("the log ends at segment 560, and this server saw segment 627 before")),
            // Of a backup from before an earlier return.
            (seen("s", 0, 900, "w"), Some("the log ends at segment 900, and this server saw segment 627 before")),
            (seen("s", 8, 560, "w"), None),
            (seen("another", 0, 1, "w"), None),
        ] {
            assert_eq!(before.judge(&now, none).err().as_deref(), wrong, "{now:?}");
        }
        let now = seen("s", 7, 700, "v");
        assert!(before.judge(&now, |_| Some("u".into())).is_ok());
        assert!(before.judge(&now, |_| Some(String::new())).is_ok(), "of a snapshot it is not known");
        assert!(before.judge(&now, |_| Some("x".into())).unwrap_err().contains("is not the one"));
    }

    #[test]
    fn what_is_in_the_file_is_read_again_and_garbage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store-seen");
        assert_eq!(Seen::read(&path).unwrap(), None);
        let seen = Seen { store: "s".into(), restored_unix_ms: 1, segment: 2, uid: "u".into() };
        seen.write(&path).unwrap();
        assert_eq!(Seen::read(&path).unwrap(), Some(seen));
        std::fs::write(&path, "{").unwrap();
        assert!(Seen::read(&path).unwrap_err().to_string().contains("does not say how far"));
    }
}
