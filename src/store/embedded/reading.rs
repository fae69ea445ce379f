//! A store that is only read: the file is never written, so that one on a medium that cannot be written (a mounted backup, a disk
//! that became read-only, another user's folder) is read like any other.
//!
//! The engine writes as it opens and closes a file: that it is open, and, where it was not closed in order, what it found out
//! about free pages. Those few pages are kept here in memory, and forgotten. So all of it is verified as when a server opens it,
//! which the engine's own read-only way does not do; and a store whose server was killed needs no copy to be looked at.

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is kept together, bytes.
const BLOCK_BYTES: u64 = 4096;

/// A file that is read, and what would have been written into it.
#[derive(Debug)]
pub(super) struct Reading {
    file: FileBackend,
    over: Mutex<Over>,
}

/// What lies over the file.
#[derive(Debug)]
struct Over {
    /// How long it would be.
    length: u64,
    /// So much of the file still shows: what was cut off once reads as zeros if it grows again.
    shown: u64,
    /// Blocks that were written, by their number.
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Reading {
    /// Reads a file that was opened for reading.
    pub(super) fn new(file: FileBackend) -> Result<Self, io::Error> {
        let length = file.len()?;
        Ok(Self { file, over: Mutex::new(Over { length, shown: length, blocks: BTreeMap::new() }) })
    }

    fn over(&self) -> MutexGuard<'_, Over> {
        self.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the file shows from there on, and zeros after its end.
    fn shown(&self, shown: u64, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let there = size(shown.saturating_sub(offset)).min(out.len());
        let (from_file, after) = out.split_at_mut(there);
        after.fill(0);
        if from_file.is_empty() { Ok(()) } else { self.file.read(offset, from_file) }
    }
}

/// The parts of `length` bytes from `offset` on that lie in one block each: its number, where in it, and where in the whole.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0_usize;
    std::iter::from_fn(move || {
        let at = offset.saturating_add(u64::try_from(done).unwrap_or(u64::MAX));
        let inside = size(at % BLOCK_BYTES);
        let end = length.min(done.saturating_add(size(BLOCK_BYTES) - inside));
        let part = (done < end).then_some((at / BLOCK_BYTES, inside, done..end));
        done = end;
        part
    })
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

impl StorageBackend for Reading {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.over().length)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let over = self.over();
        let end = offset.saturating_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
        if end > over.length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.shown(over.shown, offset, out)?;
        for (number, inside, whole) in parts(offset, out.len()) {
            let Some(block) = over.blocks.get(&number) else { continue };
            let from = block.get(inside..inside + whole.len());
            if let (Some(from), Some(to)) = (from, out.get_mut(whole)) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut over = self.over();
        over.length = len;
        over.shown = over.shown.min(len);
        let (last, inside) = (len / BLOCK_BYTES, size(len % BLOCK_BYTES));
        over.blocks.retain(|number, _| *number <= last);
        if let Some(rest) = over.blocks.get_mut(&last).and_then(|block| block.get_mut(inside..)) {
            rest.fill(0);
        }
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut over = self.over();
        for (number, inside, whole) in parts(offset, data.len()) {
            let mut block = match over.blocks.remove(&number) {
                Some(block) => block,
                None => {
                    let mut block = vec![0; size(BLOCK_BYTES)];
                    self.shown(over.shown, number * BLOCK_BYTES, &mut block)?;
                    block
                }
            };
            let to = block.get_mut(inside..inside + whole.len());
            if let (Some(from), Some(to)) = (data.get(whole), to) {
                to.copy_from_slice(from);
            }
            over.blocks.insert(number, block);
        }
        over.length = over.length.max(offset.saturating_add(u64::try_from(data.len()).unwrap_or(u64::MAX)));
        Ok(())
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    // Whoever only reads shares the file with others who do; a server that has it open holds it alone, and is noticed. A file that
    // was opened for reading can be locked in no other way.

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_the_file_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let bytes: Vec<u8> = (0..10_000_u32).map(|byte| byte.to_le_bytes()[0]).collect();
        std::fs::write(&path, &bytes).unwrap();
        let reading = Reading::new(FileBackend::new(std::fs::File::open(&path).unwrap()).unwrap()).unwrap();
        let read = |offset: u64, length: usize| {
            let mut out = vec![9; length];
            reading.read(offset, &mut out).map(|()| out)
        };
        assert_eq!((reading.len().unwrap(), read(4090, 20).unwrap()), (10_000, bytes[4090..4110].to_vec()));
        reading.write(4094, &[200; 5000]).unwrap();
        let mut wanted = bytes.clone();
        wanted[4094..9094].fill(200);
        assert_eq!(read(0, 10_000).unwrap(), wanted);
        assert_eq!(read(9_999, 2).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        // What is cut off is gone, of the file and of what was written, and is zeros where it grows again.
        reading.set_len(5000).unwrap();
        reading.set_len(20_000).unwrap();
        wanted.truncate(5000);
        wanted.resize(20_000, 0);
        assert_eq!(read(0, 20_000).unwrap(), wanted);
        reading.write(19_990, &[1; 20]).unwrap();
        assert_eq!((reading.len().unwrap(), read(20_005, 5).unwrap()), (20_010, vec![1; 5]));
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "the file was written");
    }
}
