//! Puts a backup in the place of a store, so that an older store in front of installed machines wipes nothing ([`crate::store::restored`]).

use super::check::{Report, check_file_watched};
use super::files::{self, FileMedium, Lock};
use super::medium::{self, Medium};
use super::tables::VALUES;
use super::{EmbeddedStore, Options};
use crate::store::encoding::space_key;
use crate::store::restored::{hold, now_unix_ms};
use crate::store::{Batch, Committed, Space, Store, StoreError, Watch};
use redb::ReadableDatabase;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What was put in place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Restored {
    /// What the store holds now.
    #[serde(flatten)]
    pub report: Report,
    /// When the backup's last event was written, Unix milliseconds.
    pub backup_unix_ms: i64,
    /// Machines that are held until adopted.
    pub machines: usize,
    /// Where the store went that was there before.
    pub replaced: Option<PathBuf>,
}

/// Restores the backup `from` into `dir`, whose server is stopped. A store that is there is only replaced with `replace`, and
/// put aside, not removed.
///
/// # Errors
/// [`StoreError::Open`] where there is a store and `replace` is not said, where it is open or of another site, or where `from` is
/// no store or not whole.
pub fn restore(from: &Path, dir: &Path, replace: bool) -> Result<Restored, StoreError> {
    restore_watched(from, dir, replace, None, &())
}

/// The same, and somebody is told how far it is. `of_keys` is the site whose keys are in `dir`, where that is known: they tell
/// another site's backup also where the store is lost.
///
/// # Errors
/// As [`restore`]; [`StoreError::Open`] where the keys are another site's.
pub fn restore_watched(
    from: &Path,
    dir: &Path,
    replace: bool,
    of_keys: Option<&str>,
    watch: &dyn Watch,
) -> Result<Restored, StoreError> {
    let _lock = Lock::take(dir, true)?;
    if files::exists(dir) && !replace {
        return Err(StoreError::Open(format!(
            "there is a store in {} already; --replace puts it aside and the backup in its place",
            dir.display()
        )));
    }
    if let Some(aside) = files::put_aside(dir).filter(|_| !replace) {
        return Err(StoreError::Open(format!(
            "a restore put the store of {} aside as {}, and none in its place: --replace puts the backup there and leaves that aside; \
             `mv` it to {} to have it again as it was",
            dir.display(),
            aside.display(),
            files::file(dir).display()
        )));
    }
    watch.begins("copying the backup", 0);
    let now_unix_ms = now_unix_ms();
    let ready =
        files::copy_in(from, dir).and_then(|medium| make_ready(Arc::new(medium), dir, of_keys, now_unix_ms, watch));
    let (report, backup_unix_ms, machines) = ready.map_err(|error| {
        files::forget_restored(dir);
        of_the_backup(error, from, dir)
    })?;
    let replaced = files::finish_restore(dir, now_unix_ms)?;
    Ok(Restored { report, backup_unix_ms, machines, replaced })
}

/// Writes into the copied backup what makes it one that came back, and looks whether it is whole.
fn make_ready(
    medium: Arc<FileMedium>,
    dir: &Path,
    of_keys: Option<&str>,
    now_unix_ms: i64,
    watch: &dyn Watch,
) -> Result<(Report, i64, usize), StoreError> {
    // A failure here fails the restore, not the process.
    let options = Options { on_fatal: Arc::new(|_| ()), ..Options::default() };
    let store = EmbeddedStore::start(Arc::clone(&medium) as Arc<dyn Medium>, options, None)?;
    store.refuse_moved()?;
    let of_store = site_in(dir);
    refuse_foreign(site_of(&store).as_deref(), of_keys, of_store.as_deref(), dir)?;
    let commit = |batch: Batch| -> Result<Committed, StoreError> {
        store.send(batch, now_unix_ms)?.blocking_recv().map_err(|_| super::writer::ended())?
    };
    let (backup_unix_ms, machines) = hold(&store, &commit, now_unix_ms, watch)?;
    drop(store);
    Ok((check_file_watched(&medium.path(), watch)?, backup_unix_ms, machines))
}

/// Refuses the backup of another site than the one that the keys, or the store that is there, are of.
fn refuse_foreign(
    backup: Option<&str>,
    of_keys: Option<&str>,
    of_store: Option<&str>,
    dir: &Path,
) -> Result<(), StoreError> {
    let Some(backup) = backup else { return Ok(()) };
    for (what, ours) in [("keys", of_keys), ("store", of_store)] {
        if let Some(ours) = ours.filter(|ours| *ours != backup) {
            return Err(StoreError::Open(format!(
                "the backup is of site {backup}, and the {what} in {} of site {ours}: restore it into the state directory of its own site",
                dir.display()
            )));
        }
    }
    Ok(())
}

fn site_of(store: &EmbeddedStore) -> Option<String> {
    String::from_utf8(store.get(Space::Meta, "site").ok()??).ok()
}

/// The site of the store that is there already, or was put aside; not known where there is none or it cannot be read, which is why it
/// is replaced. Nothing is written to it: the restore may be refused yet.
fn site_in(dir: &Path) -> Option<String> {
    let medium = FileMedium::latest(dir).ok()?.only_read();
    let database = medium::open(&medium, 64 << 20, false).ok()?;
    let values = database.begin_read().ok()?.open_table(VALUES).ok()?;
    let site = values.get((space_key(Space::Meta), "site")).ok()??;
    std::str::from_utf8(site.value()).ok().map(str::to_owned)
}

/// What is wrong is said of the file that the person named, not of its copy.
fn of_the_backup(error: StoreError, from: &Path, dir: &Path) -> StoreError {
    let (from, copy) = (from.display().to_string(), files::restored(dir).display().to_string());
    match error {
        StoreError::Damaged(text) => StoreError::Open(format!(
            "the backup {from} is damaged: {}; what is in {} is untouched: restore another backup",
            text.replace(&copy, &from),
            dir.display()
        )),
        StoreError::Open(text) => StoreError::Open(text.replace(&copy, &from)),
        StoreError::Path(text) => StoreError::Path(text.replace(&copy, &from)),
        other => other,
    }
}
