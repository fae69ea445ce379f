//! Where events and cluster documents are kept: commit, read, watch. The one write is conditional and atomic.
//!
//! Engines: [`embedded`] (redb, a file of this machine), and with the feature `kubernetes` the Kubernetes API. What an engine must
//! keep is this trait's documentation; one conformance suite tests each. What a batch comes to is decided once for all ([`plan`]).

#[cfg(test)]
pub(crate) mod conformance;
mod effect;
pub mod embedded;
mod encoding;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod logs;
mod measured;
pub mod moving;
mod plan;
mod progress;
mod restored;
mod watches;

pub use progress::Watch;

use crate::cluster;
use crate::journal::{Event, Record, Stream};
use crate::metrics::LogLength;
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::Pin;

/// A boxed future, so that a store can be a trait object.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A lease of an address. It is state of its own and no projection: a new one is an event, for people to read, but a renewal, an
/// address that was declined and a lease that ended are none, since thousands of machines renew all day; and retention drops the event
/// of a lease that may still stand. So leases are written in the transaction that answers for them, and copied with the store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Lease {
    /// The key: lower-case MAC with colons.
    pub mac: String,
    /// The address.
    pub address: Ipv4Addr,
    /// The subnet's name.
    pub subnet: String,
    /// Given at, Unix milliseconds.
    pub at_unix_ms: i64,
    /// For so many seconds from then.
    pub seconds: u32,
    /// The address was declined (in use by something else): kept from everybody until it ends.
    #[serde(default)]
    pub declined: bool,
}

/// Small values beside the events, by key. Each is either a projection that can be rebuilt or the memory of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Space {
    /// The open job's grant of a machine, byte for byte, so that a lost reply is given again the same. Key: machine.
    Grant,
    /// Site-wide settings of the store (site name, schema). Key: name.
    Meta,
    /// The log of a job that just ended, until its file is on the disk ([`logs`]). Key: job.
    Log,
    /// When machines were last heard of by one of several servers on the store, for the others. Key: the server's name.
    Heard,
}

/// One change to something that is not an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// An operation on a cluster's document; made by [`cluster::apply`] under the writer, in order.
    Cluster(Box<cluster::Request>),
    /// Add or renew a lease.
    PutLease(Lease),
    /// The same, where no other card has the address by a lease that has not ended by the wall clock, nor has it been declined;
    /// those whose lease of it has ended have it no more. Otherwise the whole batch is [`StoreError::Leased`]. For servers that share a store: each decides on what it knows.
    TakeLease(Lease),
    /// Drop a lease.
    DeleteLease {
        /// Its MAC.
        mac: String,
    },
    /// Drop a stream's events below an index (retention). With `folded`, that event takes the place of the last of them and
    /// says what they came to. What was dropped already is dropped; the newest event of a stream always stays.
    Compact {
        /// The stream.
        stream: Stream,
        /// Events below this index go.
        below: u64,
        /// What stands for them.
        folded: Option<Box<Event>>,
    },
    /// Put (`Some`) or delete (`None`) a small value of at most 1 MiB.
    Put {
        /// Which space.
        space: Space,
        /// Its key.
        key: String,
        /// The value.
        value: Option<Vec<u8>>,
    },
}

/// One atomic write: all of it or nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// The heads (count of events) this was decided on. One that moved refuses the whole batch with [`StoreError::Conflict`].
    pub expected: Vec<(Stream, u64)>,
    /// Events to append, in order.
    pub events: Vec<(Stream, Event)>,
    /// Operations to apply, in order. A cluster operation that is refused is an answer, not an error: the rest still commits.
    pub operations: Vec<Operation>,
}

/// What a commit did.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// The appended events in their places.
    pub records: Vec<Record>,
    /// One answer for each [`Operation::Cluster`], in order.
    pub answers: Vec<cluster::Answer>,
}

/// Why a store refused or failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A head moved since the batch was decided: read again, decide again.
    #[error("stream {stream} has {actual} events, the decision was made on {expected}")]
    Conflict {
        /// The stream.
        stream: Stream,
        /// What the batch expected.
        expected: u64,
        /// What it is.
        actual: u64,
    },
    /// The address of a [`Operation::TakeLease`] is another's: take that in, decide again.
    #[error("{} is leased to {}", .0.address, .0.mac)]
    Leased(Box<Lease>),
    /// The disk is full: the store only reads until there is room (HTTP 503).
    #[error("the disk of the store is full; it is read-only until there is room: {0}")]
    Full(String),
    /// What keeps the data does not answer; whether this batch was written may not be known. Read again, ask again (HTTP 503).
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// The queue of writes is full: drop, count, ask again (HTTP 503).
    #[error("too many writes wait for the store; ask again")]
    Busy,
    /// The store does not hold what it should: end the process, look with `formwork store check`.
    #[error("the store is damaged: {0}; stop the server, keep a copy of the state directory")]
    Damaged(String),
    /// A value over its limit.
    #[error("{0}")]
    TooLarge(String),
    /// There is a store already: it is never written over.
    #[error("{0}")]
    Exists(String),
    /// It is not a store, or not one of ours, or a newer one.
    #[error("{0}")]
    Open(String),
    /// A file or folder that somebody named is not there, or may not be used.
    #[error("{0}")]
    Path(String),
    /// Any other failure of the disk.
    #[error("the store cannot be read or written: {0}")]
    Io(String),
}

/// How a store is, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Health {
    /// Why there is no room to write anything now; `None`: there is.
    pub full: Option<String>,
    /// Why what keeps the data cannot be asked now, so that nothing can be written either; `None`: it answers.
    pub unreachable: Option<String>,
    /// That there is little room left, before there is none; `None`: there is enough, or it is not known.
    pub little_room: Option<String>,
    /// What it takes on the disk, bytes.
    pub bytes: u64,
    /// How long its log is, where it is one; else all are 0.
    pub log: LogLength,
}

/// An engine. Reads never wait for the writer; a read after a commit's answer sees that commit.
pub trait Store: Send + Sync + 'static {
    /// Commits one batch: answers after it is durable. `now_unix_ms` stamps the events.
    fn commit(&self, batch: Batch, now_unix_ms: i64) -> BoxFuture<'_, Result<Committed, StoreError>>;
    /// Events after `sequence` (0: all), at most `limit`, in order.
    fn events_after(&self, sequence: u64, limit: usize) -> Result<Vec<Record>, StoreError>;
    /// Events of one stream from `index` on, at most `limit`, in order.
    fn events_of(&self, stream: &Stream, index: u64, limit: usize) -> Result<Vec<Record>, StoreError>;
    /// The highest sequence of a stream (`None`: of all) that [`Operation::Compact`] dropped or folded; 0: everything is there.
    /// Who stopped reading before it has missed something.
    fn compacted(&self, stream: Option<&Stream>) -> Result<u64, StoreError>;
    /// Count of events of a stream, the dropped ones too.
    fn head(&self, stream: &Stream) -> Result<u64, StoreError>;
    /// All streams that have events.
    fn streams(&self) -> Result<Vec<Stream>, StoreError>;
    /// A cluster's document as of the last commit; `None` where nothing was ever written.
    fn cluster(&self, name: &str) -> Result<Option<std::sync::Arc<cluster::Document>>, StoreError>;
    /// Names of all clusters with a document.
    fn clusters(&self) -> Result<Vec<String>, StoreError>;
    /// All leases.
    fn leases(&self) -> Result<Vec<Lease>, StoreError>;
    /// A small value.
    fn get(&self, space: Space, key: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// The keys of all small values of a space, sorted.
    fn keys(&self, space: Space) -> Result<Vec<String>, StoreError>;
    /// Rises (the value is the last sequence) after every commit that appended events.
    fn watch_events(&self) -> tokio::sync::watch::Receiver<u64>;
    /// Rises after every commit that changed this cluster's document (the value is its version counter).
    fn watch_cluster(&self, name: &str) -> tokio::sync::watch::Receiver<u64>;
    /// Rises after commits that changed leases, of this server and of others on the same store; an engine of one server alone
    /// never says so, and its receiver is closed.
    fn watch_leases(&self) -> tokio::sync::watch::Receiver<u64> {
        tokio::sync::watch::channel(0).1
    }
    /// The keys of leases that changed since this was asked last, each with what it is now; for the one who keeps a table of them.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for one that cannot be read.
    fn take_changed_leases(&self) -> Result<Vec<(String, Option<Lease>)>, StoreError> {
        Ok(Vec::new())
    }
    /// Copies what is committed now to a new file of this machine, while commits go on; verified before it has its name.
    ///
    /// # Errors
    /// [`StoreError::Open`] where the file is there already, or the engine keeps its data elsewhere.
    fn backup(&self, to: &std::path::Path) -> Result<(), StoreError>;
    /// How it is.
    fn health(&self) -> Health;
}
