//! A disk in memory that fails as it is told to: full, with a failing fsync, or cut from power.
//!
//! A write goes to what the kernel would hold; a sync makes it durable. At a power cut each write since the last sync is
//! kept, lost, or torn at a sector, as a seed decides.

use super::super::medium::{FaultCell, Medium};
use crate::store::StoreError;
use crate::store::conformance::program::Dice;
use redb::StorageBackend;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

const SECTOR: usize = 512;

/// The disk. Its clones are the same disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Disk {
    state: Arc<Mutex<State>>,
    fault: Arc<FaultCell>,
    released: Arc<Condvar>,
}

#[derive(Default)]
struct State {
    /// What reads see.
    seen: Vec<u8>,
    /// What a power cut leaves for certain.
    durable: Vec<u8>,
    /// What happened since the last sync, in order.
    unsynced: Vec<Change>,
    /// Bytes ever written to; the rest of the file is a hole and takes no room.
    written: usize,
    /// The room it says it has; by default as if somebody else filled it at the worst moment.
    room: Option<u64>,
    /// More than so many bytes written to do not fit.
    capacity: Option<usize>,
    /// Fsyncs fail from now on.
    broken_sync: bool,
    /// Reads fail from now on.
    broken_read: bool,
    sync: Sync,
    /// So many of `unsynced` were there at the last sync of a disk that is late.
    settled: usize,
    /// While set, calls that change the disk wait.
    held: bool,
    /// So many calls that change the disk are done before power is cut; then every call fails.
    calls_until_cut: Option<u64>,
    /// Calls that changed the disk.
    calls: u64,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("length", &self.seen.len()).field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// What an fsync does. The last two must be found out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Sync {
    /// What it says.
    #[default]
    True,
    /// Nothing, as if nobody had asked for it.
    Never,
    /// It makes durable what was there at the fsync before, and says that it did all: a disk with a cache that lies.
    Late,
}

enum Change {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
}

impl State {
    fn change(&mut self) -> io::Result<()> {
        match &mut self.calls_until_cut {
            Some(0) => return Err(io::Error::other("power is cut")),
            Some(calls) => *calls -= 1,
            None => {}
        }
        self.calls += 1;
        Ok(())
    }
}

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// More than so many bytes do not fit any more; `None`: they do.
    pub(super) fn set_capacity(&self, bytes: Option<usize>) {
        self.state().capacity = bytes;
    }

    /// The room it says it has from now on.
    pub(super) fn set_room(&self, bytes: Option<u64>) {
        self.state().room = bytes;
    }

    /// Bytes that are taken.
    pub(super) fn taken(&self) -> usize {
        self.state().written
    }

    /// Fsyncs fail from now on.
    pub(super) fn break_sync(&self) {
        self.state().broken_sync = true;
    }

    /// Reads fail from now on.
    pub(super) fn break_read(&self) {
        self.state().broken_read = true;
    }

    /// What fsyncs do from now on.
    pub(super) fn set_sync(&self, sync: Sync) {
        self.state().sync = sync;
    }

    /// Calls that change the disk wait from now on, or go on.
    pub(super) fn hold(&self, held: bool) {
        self.state().held = held;
        self.released.notify_all();
    }

    /// For a call that changes the disk.
    fn changing(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.released.wait_while(self.state(), |state| state.held).unwrap();
        state.change()?;
        Ok(state)
    }

    /// Calls that changed the disk so far.
    pub(super) fn calls(&self) -> u64 {
        self.state().calls
    }

    /// Cuts power after so many more calls that change the disk.
    pub(super) fn cut_after(&self, calls: u64) {
        self.state().calls_until_cut = Some(calls);
    }

    /// The disk when power is back: what was synced, and of the rest what the dice leave.
    pub(super) fn after_power_cut(&self, dice: &mut Dice) -> Self {
        let state = self.state();
        let mut image = state.durable.clone();
        for change in &state.unsynced {
            match (change, dice.below(3)) {
                (_, 0) => {}
                (Change::Length(length), _) => image.resize(*length, 0),
                (Change::Write { offset, data }, 1) => put(&mut image, *offset, data),
                (Change::Write { offset, data }, _) => {
                    // Torn: each sector of it for itself.
                    for (number, sector) in data.chunks(SECTOR).enumerate() {
                        if dice.below(2) == 0 {
                            put(&mut image, offset + number * SECTOR, sector);
                        }
                    }
                }
            }
        }
        let written = image.len();
        let fresh = State { seen: image.clone(), durable: image, written, sync: state.sync, ..State::default() };
        Self { state: Arc::new(Mutex::new(fresh)), ..Self::default() }
    }
}

fn put(image: &mut Vec<u8>, offset: usize, data: &[u8]) {
    let end = offset + data.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image[offset..end].copy_from_slice(data);
}

impl Medium for Disk {
    fn backend(&self) -> Result<Box<dyn StorageBackend>, StoreError> {
        Ok(Box::new(self.clone()))
    }

    fn room_bytes(&self) -> io::Result<u64> {
        Ok(self.state().room.unwrap_or(u64::MAX))
    }

    fn taken_bytes(&self) -> io::Result<u64> {
        Ok(self.taken() as u64)
    }

    fn fault(&self) -> &Arc<FaultCell> {
        &self.fault
    }

    fn name(&self) -> String {
        "a disk in memory".into()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.state().seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let state = self.state();
        if state.broken_read {
            return Err(io::Error::other("the disk does not answer"));
        }
        let there = state.seen.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(there);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let len = usize::try_from(len).map_err(io::Error::other)?;
        let mut state = self.changing()?;
        state.seen.resize(len, 0);
        state.written = state.written.min(len);
        state.unsynced.push(Change::Length(len));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        let mut state = self.changing()?;
        if state.broken_sync {
            return Err(io::Error::other("the disk does not answer"));
        }
        let State { durable, unsynced, sync, settled, .. } = &mut *state;
        let now = match sync {
            Sync::True => unsynced.len(),
            Sync::Never => 0,
            Sync::Late => *settled,
        };
        for change in unsynced.drain(..now) {
            match change {
                Change::Length(length) => durable.resize(length, 0),
                Change::Write { offset, data } => put(durable, offset, &data),
            }
        }
        *settled = unsynced.len();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let mut state = self.changing()?;
        let end = offset + data.len();
        if state.capacity.is_some_and(|capacity| end > state.written.max(capacity)) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.written = state.written.max(end);
        put(&mut state.seen, offset, data);
        state.unsynced.push(Change::Write { offset, data: data.to_vec() });
        Ok(())
    }
}
