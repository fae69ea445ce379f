//! The one task that writes. What waits becomes one group, one segment, one create; then everybody is answered.
//!
//! A write that got no reply stays in flight: it is sent again under the same name until it is known what became of that
//! number. Who waited too long is told so; their batch may be there all the same, as with any reply that is lost.

use super::objects::{Fault, Kind, Packed, pack, segment_name};
use super::read::{self, Unread, catch_up};
use super::room::has_room;
use super::segment::Segment;
use super::shared::{AUTHORITY, HOLDER, ROOM, Shared};
use super::snapshots;
use super::state::State;
use crate::store::plan::{Group, plan};
use crate::store::restored::now_unix_ms;
use crate::store::{Batch, Committed, Operation, Space, StoreError};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Most batches of one group.
const GROUP_BATCHES: usize = 512;
/// A group takes no further batch once it has so many bytes.
const GROUP_BYTES: usize = 512 << 10;
/// The pause after a first failure, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a snapshot that could not be made.
const SNAPSHOT_PAUSE: Duration = Duration::from_secs(30);

/// Where an answer goes.
type Answer = Result<Committed, StoreError>;

/// A commit that waits for the writer.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) batch: Batch,
    pub(super) now_unix_ms: i64,
    pub(super) since: Instant,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// The answer where there is no writer any more.
pub(super) fn ended() -> StoreError {
    StoreError::Io("the store is closed".into())
}

/// A group that was decided.
#[derive(Debug)]
struct Decided {
    /// On the state after this segment.
    on: u64,
    /// What each batch is answered once the group is durable.
    answers: Vec<Answer>,
    /// What is written; `None` where nothing changes.
    written: Option<Written>,
}

#[derive(Debug)]
struct Written {
    batch: String,
    sealed: Vec<u8>,
    packed: Packed,
    lifetimes: bool,
}

/// What came of one try.
enum Tried {
    /// The group stands in its place, and nothing of it changes any more.
    Stands,
    /// The log went on: look again.
    Moved,
}

/// The writer's own state.
pub(super) struct Writer {
    shared: Arc<Shared>,
    /// Taken from the queue, and did not fit into the group before.
    rest: VecDeque<Waiting>,
    /// So many of them are in the group that is being decided or written.
    group: usize,
    snapshot: Option<JoinHandle<Result<(), StoreError>>>,
    snapshot_failed: Option<Instant>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, rest: VecDeque::new(), group: 0, snapshot: None, snapshot_failed: None }
    }

    /// Serves until every sender is gone.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Waiting>) {
        loop {
            if self.rest.is_empty() {
                // A full store is said to be so until a write is taken: where nobody writes it is tried here.
                let first = match self.shared.is_full() {
                    false => queue.recv().await,
                    true => match timeout(self.shared.options.room_every, queue.recv()).await {
                        Ok(first) => first,
                        Err(_) => Some(self.look_for_room()),
                    },
                };
                let Some(first) = first else { break };
                self.rest.push_back(first);
            }
            while self.rest.len() < GROUP_BATCHES
                && let Ok(next) = queue.try_recv()
            {
                self.rest.push_back(next);
            }
            self.give_up_late_ones();
            if !self.rest.is_empty() {
                let closing = queue.is_closed();
                self.serve(closing).await;
                self.make_snapshot().await;
            }
        }
        if let Some(snapshot) = self.snapshot {
            snapshot.abort();
        }
    }

    /// Gives claims that are held their lifetime anew, before anybody asks; and takes the store over, where it is to be had alone.
    pub(super) async fn begin(&mut self) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        if let Some(holder) = self.shared.holder() {
            if self.shared.state().value(Space::Meta, HOLDER).as_deref() != Some(holder) {
                let value = Some(holder.to_vec());
                batch.operations.push(Operation::Put { space: Space::Meta, key: HOLDER.into(), value });
            }
            // A store that does not say yet whose it is says so from now on.
            let own = self.shared.options.authority.clone();
            if let Some(own) = own.filter(|_| self.shared.state().value(Space::Meta, AUTHORITY).is_none()) {
                let value = Some(own.into_bytes());
                batch.operations.push(Operation::Put { space: Space::Meta, key: AUTHORITY.into(), value });
            }
        }
        batch.operations.extend(self.shared.options.opening.clone());
        // What nobody waits for is not asked for either.
        if batch == Batch::default() && self.shared.holder().is_none() && self.shared.lifetimes_now().is_empty() {
            return Ok(());
        }
        let (reply, answer) = oneshot::channel();
        self.rest.push_back(Waiting { batch, now_unix_ms: now_unix_ms(), since: Instant::now(), reply });
        self.serve(false).await;
        answer.await.map_err(|_| ended())?.map(drop)
    }

    /// A small write that nobody waits for.
    fn look_for_room(&self) -> Waiting {
        let now_unix_ms = now_unix_ms();
        let value = Some(now_unix_ms.to_string().into_bytes());
        let batch = Batch {
            operations: vec![Operation::Put { space: Space::Meta, key: ROOM.into(), value }],
            ..Batch::default()
        };
        Waiting { batch, now_unix_ms, since: Instant::now(), reply: oneshot::channel().0 }
    }

    /// While the API server is away nobody waits for more than their own time, however many wait before them.
    fn give_up_late_ones(&mut self) {
        let Some(why) = self.shared.away() else { return };
        let patience = self.shared.options.patience;
        let late = |waiting: &Waiting| waiting.since.elapsed() > patience;
        while self.rest.front().is_some_and(late) {
            if let Some(waiting) = self.rest.pop_front() {
                let _ = waiting.reply.send(Err(StoreError::Unreachable(format!("{why}; nothing was written"))));
            }
        }
    }

    /// Commits the first of those who wait as one group, and answers them.
    async fn serve(&mut self, closing: bool) {
        let patience = if closing { Duration::ZERO } else { self.shared.options.patience };
        let until = self.rest.front().map_or_else(Instant::now, |first| first.since) + patience;
        let mut pause = FIRST_PAUSE;
        let mut decided: Option<Decided> = None;
        self.group = self.rest.len().min(GROUP_BATCHES);
        loop {
            let group = match self.decided(decided.take()) {
                Ok(group) => group,
                Err(error) => return self.answer_all(&error),
            };
            match self.attempt(&group).await {
                Ok(Tried::Stands) => {
                    match &group.written {
                        Some(_) => self.shared.is_back(),
                        None => self.shared.answers(),
                    }
                    if group.written.as_ref().is_some_and(|written| written.lifetimes) {
                        self.shared.lifetimes_given();
                    }
                    return self.answer(group.answers);
                }
                Ok(Tried::Moved) => decided = Some(group),
                Err(Unread::Fault(Fault::Away(why))) => {
                    self.shared.is_away(&why);
                    if Instant::now() >= until {
                        let known =
                            if group.written.is_some() { "; it is not known whether this was written" } else { "" };
                        return self.answer_all(&StoreError::Unreachable(format!("{why}{known}")));
                    }
                    sleep(pause.min(until.saturating_duration_since(Instant::now()))).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                    decided = Some(group);
                }
                Err(Unread::Fault(fault)) => {
                    let error = StoreError::from(fault);
                    self.shared.refused(&error);
                    return self.answer_all(&error);
                }
                // An object is listed or was there, and is gone: the list says what that means.
                Err(Unread::Missing(_)) => match catch_up(&self.shared).await {
                    Ok(_) => decided = Some(group),
                    Err(error) => return self.answer_all(&error),
                },
                Err(Unread::Wrong(text)) => {
                    let error = self.shared.fail(StoreError::Damaged(text));
                    return self.answer_all(&error);
                }
                Err(Unread::Failed(error)) => return self.answer_all(&error),
            }
        }
    }

    /// The group as it was decided, while that is good; else decided anew on the newest state.
    fn decided(&mut self, before: Option<Decided>) -> Result<Decided, StoreError> {
        self.shared.refuse_if_failed()?;
        let state = self.shared.state();
        let Some(group) = before else { return self.decide(&state) };
        if state.number == group.on {
            return Ok(group);
        }
        let Some(written) = &group.written else { return self.decide(&state) };
        match self.shared.place(group.on.saturating_add(1)) {
            Some(place) if place.batch == written.batch => Ok(group),
            Some(_) => self.decide(&state),
            None => Err(StoreError::Unreachable(
                "the log went on far beyond this write; it is not known whether it was written".into(),
            )),
        }
    }

    /// Decides those who wait, batch by batch, each against what the ones before it will have written.
    fn decide(&mut self, state: &State) -> Result<Decided, StoreError> {
        self.shared.is_not_moved(state)?;
        let mut group = Group::after(state.sequence);
        let lifetimes = self.shared.lifetimes_due();
        if let Some(now_ms) = lifetimes {
            group.documents.extend(state.lifetimes_anew(now_ms));
        }
        let mut answers = Vec::new();
        for waiting in &self.rest {
            if answers.len() >= GROUP_BATCHES || group.bytes >= GROUP_BYTES {
                break;
            }
            if !has_room(&waiting.batch, state.bytes, self.shared.options.state_bytes) {
                answers.push(Err(StoreError::Full(format!("its state has {} bytes", state.bytes))));
                continue;
            }
            // Planning changes nothing, so what an error of this program leaves behind is only this batch's refusal.
            let planned =
                catch_unwind(AssertUnwindSafe(|| plan(state, &group, waiting.batch.clone(), waiting.now_unix_ms)));
            answers.push(match planned {
                Ok(Ok((own, committed))) => {
                    group.absorb(own);
                    Ok(committed)
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Err(StoreError::Io("an error of this program; nothing of this commit was written".into())),
            });
        }
        self.group = answers.len();
        let effects = state.effects(group)?;
        let written = if effects.is_empty() {
            if lifetimes.is_some() {
                self.shared.lifetimes_given();
            }
            None
        } else {
            let batch = crate::identity::new_id().map_err(|error| StoreError::Io(error.to_string()))?;
            let number = state.number.saturating_add(1);
            let (previous, writer) = (state.digest, self.shared.name.clone());
            let at_unix_ms = self.rest.front().map_or(0, |first| first.now_unix_ms);
            let sealed = Segment { number, previous, writer, batch: batch.clone(), at_unix_ms, effects }.seal()?;
            let packed = pack(number, &batch, &sealed);
            Some(Written { batch, sealed, packed, lifetimes: lifetimes.is_some() })
        };
        Ok(Decided { on: state.number, answers, written })
    }

    async fn attempt(&self, group: &Decided) -> Result<Tried, Unread> {
        let number = group.on.saturating_add(1);
        let Some(written) = &group.written else {
            // An answer that changes nothing has a place in the order, too: after the last segment there is.
            if self.shared.objects.uid(&segment_name(number)).await?.is_some() {
                self.fold(number).await?;
                return Ok(Tried::Moved);
            }
            self.check(group.on).await?;
            return Ok(Tried::Stands);
        };
        if self.shared.state().number == group.on {
            for (name, bytes) in &written.packed.parts {
                match self.shared.objects.create(Kind::Part, name, Arc::clone(bytes)).await {
                    Ok(_) | Err(Fault::Exists) => {}
                    Err(fault) => return Err(fault.into()),
                }
            }
            let name = segment_name(number);
            match self.shared.objects.create(Kind::Segment, &name, Arc::clone(&written.packed.bytes)).await {
                Ok(uid) => drop(self.shared.take(number, &uid, &written.sealed)?),
                Err(Fault::Exists) => self.fold(number).await?,
                Err(fault) => return Err(fault.into()),
            }
        }
        match self.shared.place(number) {
            Some(place) if place.batch == written.batch => {
                // The segment that this was decided on must be there still: etcd may have come back from an older backup.
                self.check(group.on).await?;
                Ok(Tried::Stands)
            }
            _ => Ok(Tried::Moved),
        }
    }

    /// Folds a segment that another wrote, or this one without hearing of it.
    async fn fold(&self, number: u64) -> Result<(), Unread> {
        let name = segment_name(number);
        let objects = &*self.shared.objects;
        let Some(object) = objects.get(&name).await? else { return Err(Unread::Missing(name)) };
        let sealed = read::sealed(objects, &object).await?;
        self.shared.take(number, &object.head.uid, &sealed)?;
        Ok(())
    }

    /// Whether a segment that was folded is there, and the same.
    async fn check(&self, number: u64) -> Result<(), Unread> {
        let found = self.shared.objects.uid(&segment_name(number)).await?;
        match self.shared.place(number) {
            Some(place) if found.as_ref() == Some(&place.uid) => Ok(()),
            // The list knows what to say of it; a snapshot may have taken its place.
            _ => catch_up(&self.shared).await.map(drop).map_err(Unread::Failed),
        }
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        for answer in answers {
            if let Some(waiting) = self.rest.pop_front() {
                // Nobody waits where the asker went away; the commit stands.
                let _ = waiting.reply.send(answer);
            }
        }
    }

    /// Those of one group; who waits behind them is tried by itself.
    fn answer_all(&mut self, error: &StoreError) {
        let group = self.group.min(self.rest.len());
        for waiting in self.rest.drain(..group) {
            let _ = waiting.reply.send(Err(error.clone()));
        }
    }

    /// Begins a snapshot where it is time, one at a time.
    async fn make_snapshot(&mut self) {
        if let Some(running) = self.snapshot.take_if(|running| running.is_finished()) {
            self.snapshot_failed = match running.await {
                Ok(Ok(())) => None,
                Ok(Err(StoreError::Damaged(text))) => {
                    self.shared.fail(StoreError::Damaged(text));
                    None
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "a snapshot of the store could not be made; it is tried again");
                    Some(Instant::now())
                }
                Err(_) => Some(Instant::now()),
            };
        }
        let rests = self.snapshot_failed.is_some_and(|failed| failed.elapsed() < SNAPSHOT_PAUSE);
        if self.snapshot.is_none() && !rests && self.shared.snapshot_due() {
            let shared = Arc::clone(&self.shared);
            self.snapshot = Some(tokio::spawn(async move { snapshots::make(&shared).await }));
        }
    }
}
