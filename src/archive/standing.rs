//! Whose logs an archive has, and how its uploads stand: the same with an object store and [without one](super).

use crate::metrics;
use crate::store::logs::LogStore;
use std::sync::Arc;

/// Whose logs they are, and what of them stays in the state directory.
pub struct Of {
    /// The site's name.
    pub site: String,
    /// SHA-256 of its authority's certificate, hexadecimal.
    pub authority: String,
    /// The logs here.
    pub logs: Arc<LogStore>,
    /// Of those that are uploaded so many bytes stay here.
    pub kept_here: u64,
    /// What counts.
    pub metrics: metrics::Archive,
}

/// How uploads stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uploads {
    /// Where logs go, without credentials.
    pub place: String,
    /// Logs that wait for their upload.
    pub waiting: usize,
    /// Why none can be uploaded, where that has been so for a while.
    pub failure: Option<String>,
}
