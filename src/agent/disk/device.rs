//! A disk, or a file that stands for one: opened for one purpose, its size and sectors known.

use super::marker::{self, Found, MARKER_BYTES, Marker};
use super::signatures::{self, HEAD_BYTES, TAIL_BYTES};
use super::{DiskError, decide};
use crate::wire::{DestructiveGrant, DiskState};
use rustix::fs::{FallocateFlags, OFlags};
use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// A disk that is open.
pub struct Device {
    /// How it is called.
    pub path: String,
    /// The open file.
    pub file: File,
    /// Its size, bytes.
    pub bytes: u64,
    /// Its logical sectors, bytes.
    pub sector_bytes: u64,
    /// Where the marker lies, bytes.
    pub marker_offset: u64,
}

impl Device {
    /// Opens it to look.
    pub fn open_to_read(path: &str) -> Result<Self, DiskError> {
        Self::open(path, false)
    }

    /// Opens it to change it: a whole disk that nothing uses.
    pub fn open_to_write(path: &str) -> Result<Self, DiskError> {
        Self::open(path, true)
    }

    fn open(path: &str, write: bool) -> Result<Self, DiskError> {
        let failed = |source| DiskError::Io { path: path.to_owned(), source };
        // Disks appear late and by many names: what counts is where the name leads now.
        let resolved = std::fs::canonicalize(path).map_err(failed)?;
        let metadata = std::fs::metadata(&resolved).map_err(failed)?;
        let block = metadata.file_type().is_block_device();
        if !block && !metadata.is_file() {
            return Err(failed(io::Error::other("it is neither a disk nor a file")));
        }
        let sys =
            format!("/sys/dev/block/{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
        if write && block && Path::new(&sys).join("partition").exists() {
            return Err(DiskError::Partition(path.to_owned()));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        if write && block {
            // Exclusive on a block device: the kernel refuses while it is mounted or used (open(2)).
            options.custom_flags(i32::try_from(OFlags::EXCL.bits()).unwrap_or(0));
        }
        let mut file = options.open(&resolved).map_err(|error| match error.raw_os_error() {
            Some(code) if code == rustix::io::Errno::BUSY.raw_os_error() => DiskError::InUse(path.to_owned()),
            _ => failed(error),
        })?;
        let bytes = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let sector_bytes = match block {
            true => u64::from(rustix::fs::ioctl_blksszget(&file).map_err(|error| failed(error.into()))?),
            false => 512,
        };
        let marker_offset = marker::offset(bytes, sector_bytes)
            .filter(|_| bytes >= 1024 * 1024)
            .ok_or_else(|| DiskError::TooSmall(path.to_owned()))?;
        Ok(Self { path: path.to_owned(), file, bytes, sector_bytes, marker_offset })
    }

    /// An error of reading or writing, with the disk's name.
    pub fn failed(&self, source: impl Into<io::Error>) -> DiskError {
        DiskError::Io { path: self.path.clone(), source: source.into() }
    }

    /// Reads exactly this many bytes.
    pub fn read_at(&self, offset: u64, size: usize) -> Result<Vec<u8>, DiskError> {
        let mut bytes = vec![0; size];
        self.file.read_exact_at(&mut bytes, offset).map_err(|error| self.failed(error))?;
        Ok(bytes)
    }

    /// Writes all of these bytes.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(error))
    }

    /// Returns when the disk says that it has everything.
    pub fn sync(&self) -> Result<(), DiskError> {
        self.file.sync_all().map_err(|error| self.failed(error))
    }

    /// What is on it.
    pub fn state(&self) -> Result<DiskState, DiskError> {
        let size = |most: usize| usize::try_from(self.bytes).unwrap_or(most).min(most);
        let head = self.read_at(0, size(HEAD_BYTES))?;
        let tail_size = size(TAIL_BYTES);
        let tail = self.read_at(self.bytes - tail_size as u64, tail_size)?;
        let mut found = signatures::find(&head, &tail, self.bytes);
        match Marker::read(&self.read_at(self.marker_offset, MARKER_BYTES)?) {
            Found::Marker(Marker { site, machine, run, begun, .. }) => {
                return Ok(DiskState::Marked { site, machine, run, begun_unix_ms: begun });
            }
            Found::Damaged => found.push("damaged-marker".to_owned()),
            Found::Nothing => {}
        }
        Ok(if found.is_empty() { DiskState::Blank } else { DiskState::Unknown { found } })
    }

    /// Marks it as this run's, where that may be; returns when the marker is on the disk.
    pub fn claim(&self, grant: &DestructiveGrant) -> Result<(), DiskError> {
        decide::may_wipe(&self.state()?, grant)
            .map_err(|refusal| DiskError::Refused { path: self.path.clone(), refusal })?;
        let mut sector = Marker::new(&grant.site, &grant.machine, grant.run, grant.begun_unix_ms).to_bytes()?.to_vec();
        sector.resize(usize::try_from(self.sector_bytes).unwrap_or(MARKER_BYTES).max(MARKER_BYTES), 0);
        self.write_at(self.marker_offset, &sector)?;
        self.sync()
    }

    /// Refuses unless this run's marker is on it.
    pub fn require_claim(&self, grant: &DestructiveGrant) -> Result<(), DiskError> {
        if decide::is_claimed(&self.state()?, grant) { Ok(()) } else { Err(DiskError::NotClaimed(self.path.clone())) }
    }

    /// Makes a range read as zeros: the kernel's way (fallocate(2) on a block device: the disk's own write-zeroes where it has
    /// them), else by writing.
    pub fn zero(&self, offset: u64, size: u64) -> Result<(), DiskError> {
        let flags = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        if rustix::fs::fallocate(&self.file, flags, offset, size).is_ok() {
            return Ok(());
        }
        let zeros = vec![0; usize::try_from(size.min(4 * 1024 * 1024)).unwrap_or(4096)];
        let mut done = 0;
        while done < size {
            let step = zeros.len().min(usize::try_from(size - done).unwrap_or(zeros.len()));
            self.write_at(offset + done, zeros.get(..step).unwrap_or_default())?;
            done += step as u64;
        }
        Ok(())
    }

    /// The same disk opened again to read past the page cache, or with the cache dropped where that cannot be.
    pub fn open_uncached(&self) -> Result<File, DiskError> {
        let direct = OpenOptions::new()
            .read(true)
            .custom_flags(i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0))
            .open(&self.path);
        if let Ok(file) = direct {
            return Ok(file);
        }
        let file = File::open(&self.path).map_err(|error| self.failed(error))?;
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).map_err(|error| self.failed(error))?;
        Ok(file)
    }
}

/// A buffer whose beginning is aligned as direct reads want it.
pub struct AlignedBuffer {
    bytes: Vec<u8>,
    start: usize,
    size: usize,
}

impl AlignedBuffer {
    const ALIGNMENT: usize = 4096;

    /// A zeroed buffer.
    pub fn new(size: usize) -> Self {
        let bytes = vec![0; size + Self::ALIGNMENT];
        let start = (Self::ALIGNMENT - (bytes.as_ptr() as usize % Self::ALIGNMENT)) % Self::ALIGNMENT;
        Self { bytes, start, size }
    }

    /// The bytes.
    pub fn slice(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.start + self.size).unwrap_or_default()
    }
}
