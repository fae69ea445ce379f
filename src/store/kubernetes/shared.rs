//! What readers, the writer and the follower share: the folded state, which objects it was folded of, and whether to go on.

use super::lifetimes::{Due, OUTAGE};
use super::log::{Place, Places};
use super::objects::Objects;
use super::segment::{Effect, Segment, digest_of};
use super::state::State;
use super::{OnFatal, Options, Sharing};
use crate::cluster::Document;
use crate::metrics::LogLength;
use crate::store::moving::{MOVED, Moved};
use crate::store::watches::Watches;
use crate::store::{Health, Lease, Space, StoreError};
use arc_swap::ArcSwap;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Under which key of [`Space::Meta`] a store says who has it for itself alone.
pub(super) const HOLDER: &str = "server";

/// What it says where several have it together.
const TOGETHER: &[u8] = b"together";

/// And of which authority, by the SHA-256 of its certificate, the site is whose store it is.
pub(super) const AUTHORITY: &str = "authority";

/// And when it was last looked whether there is room, after there was none.
pub(super) const ROOM: &str = "room";

/// And when a person said last that it came back from a backup, Unix milliseconds.
pub(super) const RESTORED: &str = "restored";

/// Why nothing can be written, and since when.
#[derive(Debug)]
struct Away {
    since: Instant,
    since_unix_ms: i64,
    why: String,
    /// It answers, and says that there is no room.
    full: bool,
}

/// What became of a segment that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It was the next one.
    Folded,
    /// It was folded before.
    Known,
    /// Segments before it are missing here.
    TooFar,
}

/// What a store begins with.
#[derive(Debug)]
pub(super) struct Start {
    /// The state.
    pub(super) state: State,
    /// What it was folded of.
    pub(super) places: Places,
    /// The uid of the store itself.
    pub(super) store: String,
    /// The newest snapshot, 0: none; and its bytes.
    pub(super) snapshot: (u64, u64),
}

/// Shared.
pub(super) struct Shared {
    pub(super) objects: Arc<dyn Objects>,
    pub(super) options: Options,
    /// This replica, a random word.
    pub(super) name: String,
    /// The uid of the store itself.
    pub(super) store: String,
    /// Whoever folds holds this; readers do not.
    places: Mutex<Places>,
    state: ArcSwap<State>,
    events: watch::Sender<u64>,
    clusters: Watches,
    /// Rises with each segment that changes a lease.
    leases: watch::Sender<u64>,
    /// The keys of leases that changed since somebody asked, where somebody does.
    changed_leases: Mutex<BTreeSet<String>>,
    failed: Mutex<Option<StoreError>>,
    away: Mutex<Option<Away>>,
    /// Whether claims that are held get their lifetime anew with the next write.
    lifetimes: Mutex<Due>,
    /// When the youngest segment of another was written, by its own word.
    others_wrote_unix_ms: AtomicI64,
    /// The newest complete snapshot; 0: none.
    snapshot: AtomicU64,
    snapshot_bytes: AtomicU64,
    /// Bytes of the segments since.
    log_bytes: AtomicU64,
    opened: Instant,
    /// Somebody has the store: a failure is not an answer to who opens it any more.
    open: AtomicBool,
    on_fatal: OnFatal,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("number", &self.state.load().number).finish_non_exhaustive()
    }
}

/// Refuses a state that says that it was moved out.
pub(super) fn is_not_moved(state: &State, place: &str) -> Result<(), StoreError> {
    match Moved::of(state.value(Space::Meta, MOVED).as_deref())? {
        Some(moved) => Err(moved.refusal(place)),
        None => Ok(()),
    }
}

fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Shared {
    pub(super) fn new(objects: Arc<dyn Objects>, options: Options, name: String, start: Start) -> Self {
        Self {
            objects,
            on_fatal: Arc::clone(&options.on_fatal),
            lifetimes: Mutex::new(if options.served_meanwhile { Due::No } else { Due::Opened }),
            others_wrote_unix_ms: AtomicI64::new(i64::MIN),
            options,
            name,
            store: start.store,
            places: Mutex::new(start.places),
            events: watch::Sender::new(start.state.sequence),
            state: ArcSwap::from_pointee(start.state),
            clusters: Watches::default(),
            leases: watch::Sender::new(0),
            changed_leases: Mutex::default(),
            failed: Mutex::default(),
            away: Mutex::default(),
            snapshot: AtomicU64::new(start.snapshot.0),
            snapshot_bytes: AtomicU64::new(start.snapshot.1),
            log_bytes: AtomicU64::new(0),
            opened: Instant::now(),
            open: AtomicBool::new(false),
        }
    }

    /// The newest state.
    pub(super) fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// What the state was folded of.
    pub(super) fn places(&self) -> Places {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How far the log was read.
    pub(super) fn seen(&self) -> super::seen::Seen {
        let state = self.state();
        super::seen::Seen {
            store: self.store.clone(),
            restored_unix_ms: super::seen::restored(&state),
            segment: state.number,
            uid: self.place(state.number).map(|place| place.uid).unwrap_or_default(),
        }
    }

    /// The object that a segment was folded of.
    pub(super) fn place(&self, number: u64) -> Option<Place> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Folds a segment that is there, where it is the next one, and tells who waits.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], which is remembered.
    pub(super) fn take(&self, number: u64, uid: &str, sealed: &[u8]) -> Result<Taken, StoreError> {
        let taken = self
            .fold(number, uid, sealed)
            .map_err(|text| self.fail(StoreError::Damaged(format!("segment {number} of the log: {text}"))))?;
        self.has_it_still()?;
        Ok(taken)
    }

    /// What the store says of who has it, where it says that this one has.
    pub(super) fn holder(&self) -> Option<&[u8]> {
        match self.options.sharing {
            Sharing::Alone => Some(self.name.as_bytes()),
            Sharing::Together => Some(TOGETHER),
            Sharing::Unsaid => None,
        }
    }

    /// A store that was opened for itself alone writes nothing once another was opened, and those that were opened to be together
    /// write nothing once another has it alone: no write of theirs can be folded before the other's word.
    fn has_it_still(&self) -> Result<(), StoreError> {
        if !self.open.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.is_not_moved(&self.state.load())?;
        let Some(own) = self.holder() else { return Ok(()) };
        if self.state.load().value(Space::Meta, HOLDER).as_deref() == Some(own) {
            return Ok(());
        }
        let why = match self.options.sharing {
            Sharing::Together => "a server that is to serve alone took over",
            Sharing::Alone | Sharing::Unsaid => "another server took over",
        };
        let place = self.objects.place();
        Err(self.fail(StoreError::Open(format!(
            "{why} the store in {place}; one at a time serves a site, or several that are all started with --replica"
        ))))
    }

    /// Nothing is decided on a state that says that it was moved out, so the mark is the last that is written.
    ///
    /// # Errors
    /// [`StoreError::Open`], which is remembered.
    pub(super) fn is_not_moved(&self, state: &State) -> Result<(), StoreError> {
        if self.options.moved {
            return Ok(());
        }
        is_not_moved(state, &self.objects.place()).map_err(|error| self.fail(error))
    }

    fn fold(&self, number: u64, uid: &str, sealed: &[u8]) -> Result<Taken, String> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.state.load();
        if number <= state.number {
            return match places.get(&number) {
                Some(place) if place.uid != uid => Err(
                    "it is not the one that was read: etcd came back from an older backup, or somebody made it anew"
                        .into(),
                ),
                _ => Ok(Taken::Known),
            };
        }
        if number != state.number.saturating_add(1) {
            return Ok(Taken::TooFar);
        }
        let segment = Segment::open(sealed)?;
        let next = Arc::new(state.after(&segment, digest_of(sealed))?);
        let first = self.snapshot.load(Ordering::Relaxed).saturating_sub(self.options.kept_segments).min(state.number);
        *places = places.split_off(&first);
        if segment.writer != self.name {
            self.others_wrote_unix_ms.fetch_max(segment.at_unix_ms, Ordering::Relaxed);
        }
        places.insert(number, Place { uid: uid.to_owned(), batch: segment.batch });
        self.log_bytes.fetch_add(sealed.len() as u64, Ordering::Relaxed);
        self.state.store(Arc::clone(&next));
        drop(places);
        for name in State::changed(&segment.effects) {
            self.clusters.rise(name, next.document_of(name).map_or(0, |document| document.version));
        }
        self.events.send_if_modified(|last| std::mem::replace(last, next.sequence) != next.sequence);
        self.leases_changed(segment.effects.iter().filter_map(|effect| match effect {
            Effect::Lease { mac, .. } => Some(mac.clone()),
            _ => None,
        }));
        Ok(Taken::Folded)
    }

    /// Remembers whose leases changed, for the one who asks.
    fn leases_changed(&self, keys: impl Iterator<Item = String>) {
        if self.options.sharing != Sharing::Together {
            return;
        }
        let mut keys = keys.peekable();
        if keys.peek().is_some() {
            self.changed_leases.lock().unwrap_or_else(PoisonError::into_inner).extend(keys);
            self.leases.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    pub(super) fn watch_leases(&self) -> watch::Receiver<u64> {
        self.leases.subscribe()
    }

    pub(super) fn take_changed_leases(&self) -> Result<Vec<(String, Option<Lease>)>, StoreError> {
        let keys = std::mem::take(&mut *self.changed_leases.lock().unwrap_or_else(PoisonError::into_inner));
        let state = self.state.load();
        let now = keys.into_iter().map(|key| state.lease(&key).map(|lease| (key, lease)));
        now.collect::<Result<_, _>>().map_err(|text| self.fail(StoreError::Damaged(text)))
    }

    /// Goes on with a later state, where segments that are missing here were folded into a snapshot.
    pub(super) fn jump(&self, state: State, uid: String) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.state.load_full();
        if state.number <= before.number {
            return;
        }
        let next = Arc::new(state);
        *places = Places::from([(next.number, Place { uid, batch: String::new() })]);
        self.state.store(Arc::clone(&next));
        drop(places);
        // Who writes after this is told; nobody can be told here.
        let _ = self.has_it_still();
        for (name, document) in next.documents() {
            self.clusters.rise(name, document.version);
        }
        self.leases_changed(before.lease_keys().chain(next.lease_keys()));
        self.events.send_if_modified(|last| std::mem::replace(last, next.sequence) != next.sequence);
    }

    /// Remembers a failure after which nothing may go on, and says so; gives it back for those who wait.
    pub(super) fn fail(&self, error: StoreError) -> StoreError {
        let first = {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            let first = failed.is_none();
            failed.get_or_insert(error.clone());
            first
        };
        if first && self.open.load(Ordering::Relaxed) {
            tracing::error!(%error, store = %self.objects.place(), "the store cannot go on; the process ends");
            // For the next start: nobody else knows what was read and is gone.
            super::seen::remember(self);
            (self.on_fatal)(&error);
        }
        error
    }

    /// From now on a failure ends the process.
    ///
    /// # Errors
    /// Another took the store over meanwhile.
    pub(super) fn is_open(&self) -> Result<(), StoreError> {
        self.open.store(true, Ordering::Relaxed);
        self.has_it_still()
    }

    pub(super) fn refuse_if_failed(&self) -> Result<(), StoreError> {
        match &*self.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    /// A store that was made for one authority is not taken over with the keys of another: their servers would end each other.
    ///
    /// # Errors
    /// [`StoreError::Open`] where it is another's.
    pub(super) fn is_of_own_authority(&self) -> Result<(), StoreError> {
        let state = self.state.load();
        let (Some(own), Some(kept)) = (&self.options.authority, state.value(Space::Meta, AUTHORITY)) else {
            return Ok(());
        };
        if kept == own.as_bytes() {
            return Ok(());
        }
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let site = state.value(Space::Meta, "site").unwrap_or_default();
        Err(StoreError::Open(format!(
            "the store in {} is that of site {} with the authority SHA-256 {}, and the keys here are those of another, \
             {own}; it was left as it is. Give --state-dir the directory that was made with this store, or \
             --store-namespace the namespace of the store that was made with these keys",
            self.objects.place(),
            text(&site),
            text(&kept),
        )))
    }

    /// The API server did not answer.
    pub(super) fn is_away(&self, why: &str) {
        self.cannot_write(why, false);
    }

    /// Nothing was written, for this reason.
    pub(super) fn refused(&self, error: &StoreError) {
        match error {
            StoreError::Full(why) => self.cannot_write(why, true),
            StoreError::Unreachable(why) => self.cannot_write(why, false),
            other => self.cannot_write(&other.to_string(), false),
        }
    }

    fn cannot_write(&self, why: &str, full: bool) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, since_unix_ms) =
            away.as_ref().map_or_else(|| (Instant::now(), now_unix_ms()), |away| (away.since, away.since_unix_ms));
        if away.is_none() {
            let until = if full { "there is room" } else { "the API server answers" };
            tracing::warn!(store = %self.objects.place(), "the store only reads until {until}: {why}");
        }
        *away = Some(Away { since, since_unix_ms, why: why.to_owned(), full });
        if since.elapsed() >= OUTAGE {
            self.was_away_since(since_unix_ms);
        }
    }

    /// It answered a question. That says nothing of room to write: the next write does.
    pub(super) fn answers(&self) {
        if !self.is_full() {
            self.is_back();
        }
    }

    /// It took a write.
    pub(super) fn is_back(&self) {
        let mut away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Away { since, since_unix_ms, full, .. }) = away.take() {
            if since.elapsed() >= OUTAGE {
                self.was_away_since(since_unix_ms);
            }
            // All that others wrote meanwhile is folded by now.
            if self.lifetimes_due().is_none() {
                self.lifetimes_given();
            }
            let what = if full { "there is room in the store again" } else { "the API server answers again" };
            tracing::info!(store = %self.objects.place(), "{what}");
        }
    }

    /// Whether it did not answer the last time, and why.
    pub(super) fn away(&self) -> Option<String> {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|away| away.why.clone())
    }

    /// Whether claims that are held get their lifetime anew now, and the lifetime clock.
    pub(super) fn lifetimes_due(&self) -> Option<u64> {
        let elapsed = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let now_ms = self.options.now_ms.saturating_add(elapsed);
        let due = *self.lifetimes.lock().unwrap_or_else(PoisonError::into_inner);
        due.is_now(self.others_wrote_unix_ms.load(Ordering::Relaxed), now_unix_ms()).then_some(now_ms)
    }

    fn was_away_since(&self, since_unix_ms: i64) {
        let mut due = self.lifetimes.lock().unwrap_or_else(PoisonError::into_inner);
        if *due == Due::No {
            *due = Due::Away { since_unix_ms };
        }
    }

    /// The documents that get it with the next write.
    pub(super) fn lifetimes_now(&self) -> Vec<(String, Arc<Document>)> {
        self.lifetimes_due().map(|now_ms| self.state.load().lifetimes_anew(now_ms)).unwrap_or_default()
    }

    /// They got it.
    pub(super) fn lifetimes_given(&self) {
        *self.lifetimes.lock().unwrap_or_else(PoisonError::into_inner) = Due::No;
    }

    /// The newest complete snapshot; 0: none.
    pub(super) fn snapshot(&self) -> u64 {
        self.snapshot.load(Ordering::Relaxed)
    }

    /// A complete snapshot was seen.
    pub(super) fn saw_snapshot(&self, number: u64) {
        if self.snapshot.fetch_max(number, Ordering::Relaxed) < number {
            self.log_bytes.store(0, Ordering::Relaxed);
        }
    }

    /// A snapshot of so many bytes was made.
    pub(super) fn made_snapshot(&self, number: u64, bytes: u64) {
        self.saw_snapshot(number);
        self.snapshot_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Whether it is time for a snapshot: so many segments were written since the last one and it will not cost more than they did,
    /// or the log is long.
    pub(super) fn snapshot_due(&self) -> bool {
        let segments = self.state.load().number.saturating_sub(self.snapshot());
        let log = self.log_bytes.load(Ordering::Relaxed);
        let every = self.options.snapshot_segments.max(1);
        let worth = log >= self.snapshot_bytes.load(Ordering::Relaxed) / 2;
        (segments >= every && worth) || segments >= every.saturating_mul(8) || log >= self.options.snapshot_log_bytes
    }

    pub(super) fn health(&self) -> Health {
        let log_bytes = self.log_bytes.load(Ordering::Relaxed);
        let bytes = log_bytes.saturating_add(self.snapshot_bytes.load(Ordering::Relaxed));
        let segment = self.state.load().number;
        let since_snapshot = segment.saturating_sub(self.snapshot());
        let log = LogLength { segment, since_snapshot, bytes: log_bytes };
        let away = self.away.lock().unwrap_or_else(PoisonError::into_inner);
        let why = |full: bool| away.as_ref().filter(|away| away.full == full);
        let full = why(true).map(|away| {
            let since = jiff::Timestamp::from_second(away.since_unix_ms.div_euclid(1_000)).unwrap_or_default();
            let every = self.options.room_every.as_secs();
            format!(
                "{}; so it is since {since}, and it is tried again by each write, and every {every} s without one",
                away.why
            )
        });
        Health { full, unreachable: why(false).map(|away| away.why.clone()), little_room: None, bytes, log }
    }

    /// Whether it said last that there is no room.
    pub(super) fn is_full(&self) -> bool {
        self.away.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|away| away.full)
    }

    pub(super) fn watch_events(&self) -> watch::Receiver<u64> {
        self.events.subscribe()
    }

    pub(super) fn watch_cluster(&self, name: &str) -> watch::Receiver<u64> {
        self.clusters.subscribe(name, || self.state.load().document_of(name).map_or(0, |document| document.version))
    }
}
