//! A copy of a store in one file: one snapshot, every value written anew, verified before it has its name.

use super::check::{self, Report};
use super::files::{FileMedium, Lock, Partial, copy_private, open_failed};
use super::medium::{self, Medium, meaning};
use super::tables::{CLUSTERS, ENGINE, EVENTS, FIRSTS, HEADS, LEASES, PARTS, STREAMS, VALUES};
use crate::store::{StoreError, Watch};
use redb::{
    Key, ReadTransaction, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, Value,
    WriteTransaction,
};
use std::fs::File;
use std::path::Path;

/// Memory for pages while copying, bytes.
const CACHE_BYTES: usize = 32 << 20;

/// Copies the closed store in `dir` to the new file `to`; put in place as `store.redb` of an empty state directory, it is
/// that store again.
///
/// # Errors
/// [`StoreError::Open`] where `to` is there already or the store is open; [`StoreError::Full`] where the copy has no room.
pub fn backup(dir: &Path, to: &Path) -> Result<Report, StoreError> {
    backup_watched(dir, to, &())
}

/// The same, and somebody is told how far it is.
///
/// # Errors
/// As [`backup`].
pub fn backup_watched(dir: &Path, to: &Path, watch: &dyn Watch) -> Result<Report, StoreError> {
    let _lock = Lock::take_to_read(dir)?;
    let medium = FileMedium::existing(dir)?.only_read();
    let database = medium::open(&medium, CACHE_BYTES, true)?;
    let snapshot = database.begin_read().map_err(|error| meaning(&medium, error.into()))?;
    copy(&snapshot, to, watch)
}

/// Copies the file `from`, which is the copy that a running server made of its store, to the new file `to`. `each` is told of
/// bytes.
///
/// # Errors
/// As [`backup`].
pub fn backup_of_copy(from: &Path, to: &Path, each: &dyn Fn(u64), watch: &dyn Watch) -> Result<Report, StoreError> {
    whole_or_nothing(to, |medium, file| {
        copy_private(from, file, &medium.path(), each)?;
        check::check_file_watched(&medium.path(), watch)
    })
}

/// Makes a file beside `to` and gives it that name once it is whole. What cannot be made whole leaves nothing behind; what a
/// process that was killed left there is taken away by the next one.
fn whole_or_nothing(
    to: &Path,
    make: impl FnOnce(&FileMedium, &mut File) -> Result<Report, StoreError>,
) -> Result<Report, StoreError> {
    if let Some(folder) = to.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| open_failed(folder, &error))?;
    }
    let (partial, mut file) = Partial::begin(to)?;
    let report = make(&FileMedium::at(partial.for_now().to_owned()), &mut file)?;
    partial.finish().map(|()| report)
}

/// Copies a snapshot to the new file `to`.
pub(super) fn copy(snapshot: &ReadTransaction, to: &Path, watch: &dyn Watch) -> Result<Report, StoreError> {
    whole_or_nothing(to, |medium, _| write(snapshot, medium, watch))
}

/// Writes the copy, and reads it again.
fn write(snapshot: &ReadTransaction, medium: &FileMedium, watch: &dyn Watch) -> Result<Report, StoreError> {
    let mut database = medium::open(medium, CACHE_BYTES, false)?;
    let fill = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        table(snapshot, &transaction, EVENTS, watch)?;
        table(snapshot, &transaction, STREAMS, watch)?;
        table(snapshot, &transaction, HEADS, watch)?;
        table(snapshot, &transaction, FIRSTS, watch)?;
        table(snapshot, &transaction, CLUSTERS, watch)?;
        table(snapshot, &transaction, PARTS, watch)?;
        table(snapshot, &transaction, LEASES, watch)?;
        table(snapshot, &transaction, VALUES, watch)?;
        table(snapshot, &transaction, ENGINE, watch)?;
        transaction.commit()?;
        Ok(())
    };
    fill().map_err(|error| meaning(medium, error))?;
    watch.begins("reading the copy's pages", 0);
    let whole = database.check_integrity().map_err(|error| meaning(medium, error.into()))?;
    let report = check::report(&database, medium, watch)?;
    drop(database);
    if !whole {
        return Err(StoreError::Damaged(format!("the copy {} is not what was written", medium.name())));
    }
    Ok(report)
}

fn table<K: Key + 'static, V: Value + 'static>(
    snapshot: &ReadTransaction,
    transaction: &WriteTransaction,
    definition: TableDefinition<'_, K, V>,
    watch: &dyn Watch,
) -> Result<(), redb::Error> {
    let from = match snapshot.open_table(definition) {
        // A store of an older layout has fewer tables, and so has its copy.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        other => other?,
    };
    let mut to = transaction.open_table(definition)?;
    watch.begins("copying", from.len()?);
    for entry in from.iter()? {
        let (key, value) = entry?;
        to.insert(key.value(), value.value())?;
        watch.more(1);
    }
    Ok(())
}
