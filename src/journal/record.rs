//! An event's place: whose it is, and where among all.

use super::event::Event;
use serde::{Deserialize, Serialize};

/// Whose events a stream holds. A stream's events have contiguous indexes from 0; its head is their count.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Stream {
    /// The site: revisions, adoption.
    Site,
    /// One machine, by name.
    Machine(String),
    /// One box that is no machine (yet), by the MAC it was seen with.
    Box(String),
    /// One cluster, by name.
    Cluster(String),
}

impl std::fmt::Display for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Site => f.write_str("site"),
            Self::Machine(name) => write!(f, "machine/{name}"),
            Self::Box(mac) => write!(f, "box/{mac}"),
            Self::Cluster(name) => write!(f, "cluster/{name}"),
        }
    }
}

/// An event in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Its place among all events of the site, from 1, contiguous.
    pub sequence: u64,
    /// Whose it is.
    pub stream: Stream,
    /// Its place in the stream, from 0, contiguous.
    pub index: u64,
    /// When the server wrote it, Unix milliseconds (wall clock, for people; never for lifetimes).
    pub at_unix_ms: i64,
    /// What happened.
    pub event: Event,
}
