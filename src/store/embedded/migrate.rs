//! Brings a store of an older layout to this one, in one transaction, when a server opens it.
//!
//! * 1 → 2: streams may begin later than with their first event; the table that says where is made, empty.
//! * 2 → 3: a cluster's document is kept in parts, so that a write costs what it changed.

use super::medium::{Medium, meaning};
use super::shared::ReadError;
use super::tables::{self, ENGINE, FIRSTS, SCHEMA, SCHEMA_KEY};
use super::transaction;
use crate::store::StoreError;
use redb::{Database, ReadableDatabase};

/// Migrates where it must. The layout was found to be one that this program knows.
pub(super) fn migrate(database: &Database, medium: &dyn Medium) -> Result<(), StoreError> {
    let migrated = || -> Result<Option<u64>, ReadError> {
        let snapshot = database.begin_read()?;
        let from = snapshot.open_table(ENGINE)?.get(SCHEMA_KEY)?.map_or(0, |value| value.value());
        if from >= SCHEMA {
            return Ok(None);
        }
        let mut transaction = database.begin_write()?;
        transaction.set_two_phase_commit(true);
        transaction.open_table(FIRSTS)?;
        transaction::into_parts(&transaction, &tables::documents_of(&snapshot)?)?;
        transaction.open_table(ENGINE)?.insert(SCHEMA_KEY, SCHEMA)?;
        transaction.commit()?;
        Ok(Some(from))
    };
    let migrated = migrated().map_err(|error| match error {
        ReadError::Engine(error) => meaning(medium, *error),
        ReadError::Damaged(text) => StoreError::Damaged(text),
    });
    if let Some(from) = migrated? {
        tracing::info!(from, to = SCHEMA, store = medium.name(), "the store has a newer layout now");
    }
    Ok(())
}
