//! The engine in Kubernetes: a log of sealed segments, each an object that is made once and never changed.
//!
//! ```text
//!  commit ─► queue ─► writer: decide on the state ─► create segment N+1 ─► fold ─► answer
//!                                  ▲                       │ the name is taken: fold that one, decide again
//!                                  └───────────────────────┘
//!  other replicas' segments ─► follower (list, watch) ─► fold ─► whoever waits wakes
//! ```
//!
//! Seams: [`objects`] is what is asked of the API server, [`client`] asks it; [`segment`] is the bytes, [`state`] the fold, [`log`]
//! what a list of objects means (all three pure); [`shared`] what readers see, [`mod@read`] reads the log, [`writer`] and [`follower`]
//! are the two tasks, [`snapshots`] keeps the log short, [`moving`] is how a store moves out and in. What a batch comes to is decided by [`super::plan`], as in every engine.
//!
//! What is promised: names are unique in etcd, so of all replicas that decided on segment N one writes N+1, and the others decide
//! again; nothing is answered before its segment is there, an answer that changes nothing not before it is known that no later
//! segment is; the log holds what was decided, not what was asked, so that every replica folds the same state. Reads are of this
//! replica's memory: they see what it answered, and what others wrote a moment later.
//!
//! While the API server is away there are reads, and commits wait for a bounded time and fail. A log that is not whole, that is
//! shorter than what was folded (etcd came back from an older backup), or that has another segment in a known place, ends the process.

pub mod client;
mod follower;
pub mod kept;
mod lifetimes;
mod log;
pub mod moving;
pub mod objects;
mod read;
mod restored;
mod room;
mod seen;
mod segment;
mod shared;
mod snapshots;
mod state;
#[cfg(test)]
mod tests;
mod writer;

use super::encoding::space_key;
use super::measured::measured;
use super::plan::{Write, first_group};
use super::{Batch, BoxFuture, Committed, Health, Lease, Operation, Space, Store, StoreError};
use crate::cluster;
use crate::journal::{Record, Stream};
use crate::metrics;
use objects::{Fault, Kind, Objects, STORE, pack};
pub use restored::Restored;
use segment::{Effect, Segment};
use shared::{AUTHORITY, Shared};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use writer::{Waiting, Writer};

/// What is called when the store must not go on: its log is not whole, or not the one that was read. It is expected not to
/// return; where it does, every later commit is refused with the same error.
pub type OnFatal = Arc<dyn Fn(&StoreError) + Send + Sync>;

/// Makes the connection, in the store's own runtime.
pub type Connect = Box<dyn FnOnce() -> Result<Arc<dyn Objects>, StoreError> + Send>;

/// Who may write beside one that opens the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody: opening takes the store over from whoever had it; they can write nothing any more, and fail. For a server that
    /// knows of no others.
    Alone,
    /// Others that were opened so. Opening takes the store over from one that had it alone.
    Together,
    /// Whoever does; nothing is said about it in the store.
    Unsaid,
}

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// So many commits may wait for the writer; one more is [`StoreError::Busy`].
    pub queue: usize,
    /// The lifetime clock at this opening, milliseconds, the same for all replicas (wall clock): every held claim gets its full
    /// lifetime again from here, unless [`Options::served_meanwhile`].
    pub now_ms: u64,
    /// How long a commit waits while the API server does not answer.
    pub patience: Duration,
    /// A snapshot is made after so many segments, where they have half the bytes of the one before; after eight times as many in
    /// any case.
    pub snapshot_segments: u64,
    /// And after so many bytes of segments.
    pub snapshot_log_bytes: u64,
    /// So many segments before a snapshot stay, for replicas that are late.
    pub kept_segments: u64,
    /// With more bytes of events, leases and small values than this the store takes only what makes it smaller, and within an eighth
    /// more leases, renewals of claims and when machines were heard of.
    pub state_bytes: u64,
    /// Once the API server said that there is no room, it is tried again so often while nobody writes.
    pub room_every: Duration,
    /// Who may write beside this one.
    pub sharing: Sharing,
    /// The authority of the site that this is for, by the SHA-256 of its certificate: a store that says that it is another's is
    /// refused before anything is written. `None`: not asked.
    pub authority: Option<String>,
    /// The file that keeps how far the log was seen: one that is shorter is refused before anything is written.
    pub seen: Option<PathBuf>,
    /// What counts commits.
    pub metrics: metrics::Store,
    /// A store that was moved out is opened, too: for who moves it.
    pub moved: bool,
    /// Written with the word of who has the store, in one segment.
    pub opening: Vec<Operation>,
    /// Others served on until this moment: claims that are held count on, since their holders could renew them.
    pub served_meanwhile: bool,
    /// What ends the process.
    pub on_fatal: OnFatal,
}

impl Default for Options {
    /// A queue of 4,096 commits, the clock at 0, ten seconds of patience, a snapshot every 512 segments or 32 MiB, 64 segments
    /// kept, 512 MiB of state, half a minute between looks whether there is room again, and a fatal failure aborts the process.
    fn default() -> Self {
        Self {
            queue: 4096,
            now_ms: 0,
            patience: Duration::from_secs(10),
            snapshot_segments: 512,
            snapshot_log_bytes: 32 << 20,
            kept_segments: 64,
            state_bytes: 512 << 20,
            room_every: Duration::from_secs(30),
            sharing: Sharing::Unsaid,
            authority: None,
            seen: None,
            metrics: metrics::Store::default(),
            moved: false,
            opening: Vec::new(),
            served_meanwhile: false,
            on_fatal: Arc::new(|_| std::process::abort()),
        }
    }
}

/// What a store holds, for one who only looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance {
    /// The site's name.
    pub site: String,
    /// How many events there were so far.
    pub events: u64,
    /// Bytes of events, leases and small values.
    pub bytes: u64,
    /// The bound of these.
    pub bytes_max: u64,
}

/// Whose a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    /// The site's name.
    pub site: String,
    /// The SHA-256 of the certificate of its authority, where the store says it.
    pub authority: Option<String>,
    /// Where it lies.
    pub place: String,
}

/// The store in Kubernetes. Dropping it waits for the commits that are queued.
pub struct KubernetesStore {
    queue: Option<mpsc::Sender<Waiting>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
    metrics: metrics::Store,
}

impl std::fmt::Debug for KubernetesStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KubernetesStore").field("shared", &self.shared).finish_non_exhaustive()
    }
}

impl KubernetesStore {
    /// Makes a new store for the site of that name. It holds its first event (`SiteCreated` with `fresh`: whether a person said
    /// that no machine of this site was ever installed) and the site's name under [`Space::Meta`] `site`.
    ///
    /// # Errors
    /// [`StoreError::Exists`] where there is a store already: it is never written over.
    pub fn create(connect: Connect, site: &str, fresh: bool) -> Result<(), StoreError> {
        Self::create_for(connect, site, fresh, None)
    }

    /// The same; the store says from its beginning whose it is, by the SHA-256 of the certificate of the site's authority
    /// ([`Options::authority`]).
    ///
    /// # Errors
    /// As [`KubernetesStore::create`].
    pub fn create_for(connect: Connect, site: &str, fresh: bool, authority: Option<&str>) -> Result<(), StoreError> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let at_unix_ms = i64::try_from(now.as_millis()).unwrap_or(i64::MAX);
        let own = authority.map(|own| Write::Value {
            space: space_key(Space::Meta),
            key: AUTHORITY.to_owned(),
            bytes: Some(own.as_bytes().to_vec()),
        });
        let effects = first_group(site, fresh, at_unix_ms)?.writes.into_iter().chain(own).map(Effect::from).collect();
        let id = random()?;
        let first =
            Segment { number: 0, previous: [0; 32], writer: id.clone(), batch: id.clone(), at_unix_ms, effects };
        let packed = pack(0, &id, &first.seal()?);
        on_own_thread(move || {
            runtime()?.block_on(async {
                let objects = connect()?;
                // What a store left behind that somebody deleted by half must not be taken for a part of this one.
                let there = objects.list().await?.heads;
                if !there.is_empty() {
                    let place = objects.place();
                    if let Ok((state, _)) = moving::look(Arc::clone(&objects), Options::default()).await {
                        shared::is_not_moved(&state, &place)?;
                    }
                    let message =
                        format!("{place} holds a store already ({} objects); a site is made once", there.len());
                    return Err(StoreError::Exists(message));
                }
                match objects.create(Kind::Store, STORE, packed.bytes).await {
                    Ok(_) => Ok(()),
                    Err(Fault::Exists) => Err(StoreError::Exists(format!(
                        "{} holds a store already; a site is made once",
                        objects.place()
                    ))),
                    Err(fault) => Err(fault.into()),
                }
            })
        })
    }

    /// Opens the store: reads all of it, and gives held claims their lifetime again, unless others served meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Open`] where there is none, [`StoreError::Damaged`] where it is not whole, [`StoreError::Unreachable`] where the
    /// API server does not answer.
    pub fn open(connect: Connect, options: Options) -> Result<Self, StoreError> {
        let name = random()?;
        let metrics = options.metrics.clone();
        let (ready, opened) = std::sync::mpsc::channel();
        let (queue, waiting) = mpsc::channel(options.queue.max(1));
        let thread = std::thread::Builder::new()
            .name("store-kubernetes".into())
            .spawn(move || run(connect, options, name, waiting, &ready))
            .map_err(|error| StoreError::Io(format!("the store's thread did not start: {error}")))?;
        let shared = opened.recv().map_err(|_| writer::ended())??;
        Ok(Self { queue: Some(queue), thread: Some(thread), shared, metrics })
    }

    /// Reads a store whole, as a server does that opens it, and leaves it as it is. `authority` and `seen`: as in [`Options`].
    ///
    /// # Errors
    /// Those of [`KubernetesStore::open`].
    pub fn look(connect: Connect, authority: Option<&str>, seen: Option<&Path>) -> Result<Glance, StoreError> {
        let (authority, seen) = (authority.map(str::to_owned), seen.map(Path::to_owned));
        let options = Options { authority, seen, ..Options::default() };
        let bytes_max = options.state_bytes;
        on_own_thread(move || {
            runtime()?.block_on(async {
                let (state, place) = moving::look(connect()?, options).await?;
                shared::is_not_moved(&state, &place)?;
                let site = state.value(Space::Meta, "site").unwrap_or_default();
                let site = String::from_utf8_lossy(&site).into_owned();
                Ok(Glance { site, events: state.sequence, bytes: state.bytes, bytes_max })
            })
        })
    }

    /// Whose store lies there; `None`: there is none.
    ///
    /// # Errors
    /// Those of [`KubernetesStore::open`].
    pub fn whose(connect: Connect) -> Result<Option<Whose>, StoreError> {
        on_own_thread(move || {
            runtime()?.block_on(async {
                let objects = connect()?;
                if !objects.list().await?.heads.iter().any(|head| head.kind == Kind::Store) {
                    return Ok(None);
                }
                let (state, place) = moving::look(objects, Options::default()).await?;
                shared::is_not_moved(&state, &place)?;
                let text =
                    |key: &str| state.value(Space::Meta, key).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                Ok(Some(Whose { site: text("site").unwrap_or_default(), authority: text(AUTHORITY), place }))
            })
        })
    }

    fn send(
        &self,
        batch: Batch,
        now_unix_ms: i64,
    ) -> Result<oneshot::Receiver<Result<Committed, StoreError>>, StoreError> {
        self.shared.refuse_if_failed()?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(writer::ended)?;
        let waiting = Waiting { batch, now_unix_ms, since: tokio::time::Instant::now(), reply };
        match queue.try_send(waiting) {
            Ok(()) => Ok(answer),
            Err(mpsc::error::TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(writer::ended()),
        }
    }

    /// The last segment of the log that is folded here, and the newest complete snapshot (0: none).
    pub fn position(&self) -> (u64, u64) {
        (self.shared.state().number, self.shared.snapshot())
    }
}

fn random() -> Result<String, StoreError> {
    crate::identity::new_id().map_err(|error| StoreError::Io(error.to_string()))
}

fn runtime() -> Result<tokio::runtime::Runtime, StoreError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    built.map_err(|error| StoreError::Io(format!("the store's runtime did not start: {error}")))
}

/// So that it does not matter whether the caller is in a runtime of its own.
fn on_own_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    std::thread::spawn(work).join().map_err(|_| StoreError::Io("an error of this program".into()))?
}

/// The store's thread: one runtime with the writer and the follower, until the queue is closed.
fn run(
    connect: Connect,
    options: Options,
    name: String,
    waiting: mpsc::Receiver<Waiting>,
    ready: &std::sync::mpsc::Sender<Result<Arc<Shared>, StoreError>>,
) {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => return drop(ready.send(Err(error))),
    };
    runtime.block_on(async {
        match start(connect, options, name).await {
            Ok((shared, version, writer)) => {
                tokio::spawn(follower::follow(Arc::clone(&shared), version));
                tokio::spawn(seen::keep(Arc::clone(&shared)));
                if ready.send(Ok(Arc::clone(&shared))).is_ok() {
                    writer.run(waiting).await;
                }
                seen::remember(&shared);
            }
            Err(error) => drop(ready.send(Err(error))),
        }
    });
    // What a snapshot still encodes is not waited for.
    runtime.shutdown_background();
}

async fn start(connect: Connect, options: Options, name: String) -> Result<(Arc<Shared>, String, Writer), StoreError> {
    let objects = connect()?;
    let start = read::load(&*objects).await?;
    let shared = Arc::new(Shared::new(objects, options, name, start));
    let version = read::catch_up(&shared).await?;
    shared.is_of_own_authority()?;
    shared.is_not_moved(&shared.state())?;
    seen::is_not_older(&shared).await?;
    let mut writer = Writer::new(Arc::clone(&shared));
    writer.begin().await?;
    shared.is_open()?;
    seen::remember(&shared);
    Ok((shared, version, writer))
}

impl Drop for KubernetesStore {
    fn drop(&mut self) {
        self.queue.take();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to wait for.
            let _ = thread.join();
        }
    }
}

impl Store for KubernetesStore {
    fn commit(&self, batch: Batch, now_unix_ms: i64) -> BoxFuture<'_, Result<Committed, StoreError>> {
        let sent = self.send(batch, now_unix_ms);
        Box::pin(measured(&self.metrics, async move { sent?.await.map_err(|_| writer::ended())? }))
    }

    fn events_after(&self, sequence: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.shared.state().events_after(sequence, limit)
    }

    fn events_of(&self, stream: &Stream, index: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
        self.shared.state().events_of(stream, index, limit)
    }

    fn compacted(&self, stream: Option<&Stream>) -> Result<u64, StoreError> {
        Ok(self.shared.state().compacted(stream))
    }

    fn head(&self, stream: &Stream) -> Result<u64, StoreError> {
        Ok(self.shared.state().head_of(stream))
    }

    fn streams(&self) -> Result<Vec<Stream>, StoreError> {
        self.shared.state().streams()
    }

    fn cluster(&self, name: &str) -> Result<Option<Arc<cluster::Document>>, StoreError> {
        Ok(self.shared.state().document_of(name))
    }

    fn clusters(&self) -> Result<Vec<String>, StoreError> {
        Ok(self.shared.state().documents().map(|(name, _)| name.clone()).collect())
    }

    fn leases(&self) -> Result<Vec<Lease>, StoreError> {
        self.shared.state().leases()
    }

    fn get(&self, space: Space, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.shared.state().value(space, key))
    }

    fn keys(&self, space: Space) -> Result<Vec<String>, StoreError> {
        Ok(self.shared.state().keys(space))
    }

    fn watch_events(&self) -> watch::Receiver<u64> {
        self.shared.watch_events()
    }

    fn watch_cluster(&self, name: &str) -> watch::Receiver<u64> {
        self.shared.watch_cluster(name)
    }

    fn watch_leases(&self) -> watch::Receiver<u64> {
        self.shared.watch_leases()
    }

    fn take_changed_leases(&self) -> Result<Vec<(String, Option<Lease>)>, StoreError> {
        self.shared.take_changed_leases()
    }

    fn backup(&self, _: &Path) -> Result<(), StoreError> {
        let place = self.shared.objects.place();
        Err(StoreError::Open(format!("the store lies in {place} of Kubernetes; it is backed up with etcd")))
    }

    fn health(&self) -> Health {
        self.shared.health()
    }
}
