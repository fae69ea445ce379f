//! Places: so many for all, and so many for one address. Who takes many keeps others from none but their own.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Who is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// Everybody's places are taken.
    All,
    /// This address has its share.
    Address,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<IpAddr, usize>,
}

/// The places.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    all: usize,
    each: usize,
    taken: Arc<Mutex<Taken>>,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Arc<Mutex<Taken>>,
    peer: Option<IpAddr>,
}

impl Places {
    /// So many in all, and so many for each address.
    pub(crate) fn new(all: usize, each: usize) -> Self {
        Self { all, each, taken: Arc::default() }
    }

    /// A place for this address; for `None` one that counts among all alone.
    ///
    /// # Errors
    /// Whose places are all taken.
    pub(crate) fn take(&self, peer: Option<IpAddr>) -> Result<Place, Full> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.all {
            return Err(Full::All);
        }
        if let Some(peer) = peer {
            let count = taken.of.entry(peer).or_default();
            if *count >= self.each {
                return Err(Full::Address);
            }
            *count += 1;
        }
        taken.all += 1;
        Ok(Place { taken: Arc::clone(&self.taken), peer })
    }

    /// How many are taken, and by how many addresses.
    #[cfg(test)]
    pub(crate) fn taken(&self) -> (usize, usize) {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        (taken.all, taken.of.len())
    }
}

impl Place {
    /// Whose share it is of.
    #[cfg(test)]
    pub(crate) fn peer(&self) -> Option<IpAddr> {
        self.peer
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        let Some(peer) = self.peer else { return };
        if let Some(count) = taken.of.get_mut(&peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.of.remove(&peer);
            }
        }
    }
}
