//! Sockets of the boot network: DHCP, TFTP, HTTP files. Thin: what is answered is decided in [`crate::boot`].

pub mod dhcp;
pub mod discover;
pub mod files;
pub mod http;
mod interfaces;
mod probe;
pub mod routes;
pub mod tftp;

pub use interfaces::interfaces;

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn add(&self) {
        self.by(1);
    }

    /// So many more.
    pub fn by(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// The number.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
