//! Puts a backup in the place of a store, so that nothing that was given out since can be used again, and nothing that was done
//! since is undone: an older store in front of installed machines wipes nothing.
//!
//! * every machine is held until a person says how it stands ([`Event::StoreRestored`]), and unknown ones as on a new store
//! * generations jump, so that tokens given before or since are dead and their numbers never come again
//! * each cluster's versions jump, so that a fence is never given twice; what was held falls; the document is frozen
//! * scripts of open jobs, which may hold secrets and belong to tokens that are dead, go

use super::check::{Report, check_file_watched};
use super::files::{self, FileMedium, Lock};
use super::medium::{self, Medium};
use super::tables::VALUES;
use super::{EmbeddedStore, Options};
use crate::cluster;
use crate::journal::{Event, MachineState, Stream};
use crate::store::encoding::space_key;
use crate::store::{Batch, Committed, Operation, Space, Store, StoreError, Watch};
use redb::ReadableDatabase;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// More exchanges than any machine makes between a backup and its return.
const GENERATIONS: u64 = 1_000_000;
/// Streams written in one commit.
const AT_ONCE: usize = 1_000;
/// Events read at a time.
const PAGE: usize = 1_000;

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
    let (backup_unix_ms, machines) = hold(&store, now_unix_ms, watch)?;
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

/// The site of the store that is there already; not known where there is none or it cannot be read, which is why it is replaced.
fn site_in(dir: &Path) -> Option<String> {
    let medium = FileMedium::existing(dir).ok()?;
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

/// Writes down that this store is an old one.
fn hold(store: &EmbeddedStore, now_unix_ms: i64, watch: &dyn Watch) -> Result<(i64, usize), StoreError> {
    let commit = |batch: Batch| -> Result<Committed, StoreError> {
        store.send(batch, now_unix_ms)?.blocking_recv().map_err(|_| super::writer::ended())?
    };
    let last = store.watch_events().borrow().saturating_sub(1);
    let backup_unix_ms = store.events_after(last, 1)?.first().map_or(0, |record| record.at_unix_ms);
    let restored = || Event::StoreRestored { backup_unix_ms };
    commit(Batch { events: vec![(Stream::Site, restored())], ..Batch::default() })?;
    let streams = store.streams()?;
    let machines: Vec<&Stream> = streams.iter().filter(|stream| matches!(stream, Stream::Machine(_))).collect();
    watch.begins("holding machines", u64::try_from(machines.len()).unwrap_or(0));
    for some in machines.chunks(AT_ONCE) {
        let mut batch = Batch::default();
        for stream in some {
            let generation = state(store, stream)?.generation.saturating_add(GENERATIONS);
            let reason = "the store came back from a backup".to_owned();
            batch.events.push(((*stream).clone(), restored()));
            batch.events.push(((*stream).clone(), Event::GenerationRaised { generation, reason }));
            if let Stream::Machine(name) = stream {
                batch.operations.push(Operation::Put { space: Space::Grant, key: name.clone(), value: None });
            }
        }
        commit(batch)?;
        watch.more(u64::try_from(some.len()).unwrap_or(0));
    }
    for name in store.clusters()? {
        let Some(document) = store.cluster(&name)? else { continue };
        let reason =
            "its document came back from a backup and may be older than its machines; look at it, then thaw it";
        let request = cluster::Request {
            cluster: name,
            operation: cluster::Operation::Restored { reason: reason.to_owned() },
            context: cluster::Context {
                now_ms: 0,
                now_unix_ms,
                caller: cluster::Caller::Server,
                epoch: None,
                members: Vec::new().into(),
                size: 0,
                run: document.epoch,
                keys: Vec::new().into(),
                idempotency_key: None,
                fence: None,
            },
        };
        commit(Batch { operations: vec![Operation::Cluster(Box::new(request))], ..Batch::default() })?;
    }
    Ok((backup_unix_ms, machines.len()))
}

fn state(store: &EmbeddedStore, stream: &Stream) -> Result<MachineState, StoreError> {
    let mut state = MachineState::default();
    loop {
        let page = store.events_of(stream, state.head, PAGE)?;
        if page.is_empty() {
            return Ok(state);
        }
        page.iter().for_each(|record| state.apply(record));
    }
}

fn now_unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
