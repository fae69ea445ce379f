//! In place of [the object store](index.html) where this program was built without the feature `object-storage`: there is none, and whoever asks for
//! one is told so.

mod standing;

pub use standing::{Of, Uploads};

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;

/// Why a URL names no object store.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlaceError {
    /// There is none in this program.
    #[error("this program was built without object stores (cargo feature object-storage)")]
    Without,
}

/// Why a log cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It never is.
    #[error("a log is damaged")]
    Damaged {
        /// The object.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

/// No place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place(Infallible);

impl Place {
    /// Says that there is none.
    ///
    /// # Errors
    /// [`PlaceError::Without`].
    pub fn parse(_: &str) -> Result<Self, PlaceError> {
        Err(PlaceError::Without)
    }
}

/// No archive.
#[derive(Debug)]
pub struct Archive(Infallible);

#[allow(
    clippy::unused_async,
    missing_docs,
    clippy::missing_errors_doc,
    reason = "there is no value that they could be called on"
)]
impl Archive {
    pub fn open(place: &Place, _: Of) -> Result<Self, PlaceError> {
        match place.0 {}
    }

    pub fn ended(&self, _: &str) {
        match self.0 {}
    }

    pub fn uploads(&self) -> Uploads {
        match self.0 {}
    }

    pub async fn run(self: Arc<Self>, _: impl Fn() -> HashSet<String>) {
        match self.0 {}
    }

    pub async fn read(&self, _: &str) -> Result<Option<Arc<Vec<u8>>>, ReadError> {
        match self.0 {}
    }

    pub async fn remove(&self, _: &str) -> Result<bool, ReadError> {
        match self.0 {}
    }

    pub async fn sweep(&self, _: impl Fn(&str) -> bool, _: i64) -> Result<usize, ReadError> {
        match self.0 {}
    }
}
