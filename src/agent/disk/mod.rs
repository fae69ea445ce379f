//! `formwork agent disk …`: the only commands of ours that change disks.
//!
//! Every disk that is written carries a marker ([`marker`]) in a place that partitions and images leave alone, written before the
//! first destructive byte. [`decide::may_wipe`] says whether a disk may be touched at all; everything else wants the marker of
//! this machine and this run on it. The commands run in the script's place, so that they end with the job.

mod commands;
mod decide;
mod device;
mod gpt;
mod image;
mod marker;
mod signatures;
#[cfg(test)]
mod tests;
mod write_image;
mod zero;

pub use commands::main;

use std::io;

/// What went wrong with a disk.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The disk could not be opened, read or written.
    #[error("{path}: {source}")]
    Io {
        /// The disk.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is mounted, or a part of something that runs.
    #[error("{0} is in use (mounted, swap, or a part of another device); stop that first")]
    InUse(String),
    /// A partition was named.
    #[error("{0} is a partition; name the whole disk, since that carries the marker")]
    Partition(String),
    /// Too small to hold a marker and a partition table.
    #[error("{0} is smaller than 1 MiB")]
    TooSmall(String),
    /// It may not be wiped.
    #[error("{path} may not be wiped: {refusal}")]
    Refused {
        /// The disk.
        path: String,
        /// Why.
        refusal: decide::Refusal,
    },
    /// Not this run's.
    #[error("{0} does not carry the marker of this machine and run: `formwork agent disk claim {0}` comes first")]
    NotClaimed(String),
    /// The names in the marker are too long for it.
    #[error("the names of site and machine are too long for a marker: keep them under 300 bytes together")]
    MarkerTooLong,
    /// The image could not be had, or is not what its checksum says.
    #[error("the image: {0}")]
    Image(String),
    /// The image does not fit the disk.
    #[error("{path} has room for an image of {room} bytes, this one is larger")]
    TooLarge {
        /// The disk.
        path: String,
        /// Bytes before the marker.
        room: u64,
    },
    /// What was read back is not what was written.
    #[error("{path} gives back something else than was written at byte {offset}: the disk is bad")]
    ReadBack {
        /// The disk.
        path: String,
        /// Where.
        offset: u64,
    },
    /// The image's partition table cannot be moved.
    #[error("the image's partition table: {0}")]
    Gpt(String),
}
