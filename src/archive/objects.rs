//! What is asked of an object store.

use crate::store::BoxFuture;
use futures_util::stream::BoxStream;

/// An object in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its path.
    pub path: String,
    /// Its length, bytes.
    pub bytes: u64,
    /// When it was made, Unix milliseconds, by the clock of the object store.
    pub made_unix_ms: i64,
}

/// Why an object store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectsError {
    /// It says no, and will say so again.
    #[error("it refuses: {0}")]
    Refused(String),
    /// It cannot be reached, or is in trouble itself.
    #[error("{0}")]
    Away(String),
}

/// An object store. Each call ends within a bounded time.
pub trait Objects: Send + Sync + 'static {
    /// Makes an object, whole or not at all. One that is there is the same by its name, and is made again.
    fn put<'a>(&'a self, path: &'a str, bytes: Vec<u8>) -> BoxFuture<'a, Result<(), ObjectsError>>;
    /// Its bytes; `None` where there is no such object. One of more than `most` bytes is refused.
    fn get<'a>(&'a self, path: &'a str, most: u64) -> BoxFuture<'a, Result<Option<Vec<u8>>, ObjectsError>>;
    /// All objects of a folder and those below it, in no order.
    fn list(&self, folder: &str) -> BoxStream<'_, Result<Listed, ObjectsError>>;
    /// Removes one. One that is not there is gone already.
    fn remove<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<(), ObjectsError>>;
}
