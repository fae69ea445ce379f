//! Places for files that are sent: so many at once, and so many for one address, so that nobody's slow reading keeps the rest of a
//! rack from its images.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Files sent at once, to all.
pub(super) const STREAMS: usize = 1024;
/// Files sent at once to one address: an eighth. A machine takes one or two; machines behind one router that hides them share these.
pub(super) const OF_ONE_ADDRESS: usize = STREAMS / 8;
/// That clients are told to come again is logged so often at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Who is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// Everybody's places are taken.
    All,
    /// This address has its share.
    Address,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    of: HashMap<IpAddr, usize>,
    told: Option<Instant>,
}

/// The places.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// The server's own address: who is on this host, `formwork simulate` as a thousand machines, has no share.
    own: IpAddr,
    taken: Arc<Mutex<Taken>>,
}

/// One place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    taken: Arc<Mutex<Taken>>,
    peer: Option<IpAddr>,
}

impl Streams {
    pub(super) fn new(own: IpAddr) -> Self {
        Self { own, taken: Arc::default() }
    }

    /// A place for a file to `peer`.
    ///
    /// # Errors
    /// Whose places are all taken.
    pub(super) fn place(&self, peer: IpAddr) -> Result<Place, Full> {
        let peer = Some(peer).filter(|peer| *peer != self.own && *peer != IpAddr::from([127, 0, 0, 1]));
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= STREAMS {
            return Err(Full::All);
        }
        if let Some(peer) = peer {
            let count = taken.of.entry(peer).or_default();
            if *count >= OF_ONE_ADDRESS {
                return Err(Full::Address);
            }
            *count += 1;
        }
        taken.all += 1;
        Ok(Place { taken: Arc::clone(&self.taken), peer })
    }

    /// Whether it is time to say in the log that somebody was turned away.
    pub(super) fn tell(&self, now: Instant) -> bool {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let due = taken.told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        if due {
            taken.told = Some(now);
        }
        due
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_its_share_and_leaves_the_rest_to_others() {
        let own: IpAddr = [10, 77, 0, 1].into();
        let address = |last: usize| IpAddr::from([10, 77, 1, u8::try_from(last).expect("small")]);
        let streams = Streams::new(own);
        let mut held: Vec<_> = (0..OF_ONE_ADDRESS).map(|_| streams.place(address(0)).expect("its share")).collect();
        assert_eq!(streams.place(address(0)).err(), Some(Full::Address));
        held.push(streams.place(address(1)).expect("another has its own"));
        held.extend((0..2 * OF_ONE_ADDRESS).map(|_| streams.place(own).expect("the server's own host has no share")));
        held.remove(0);
        held.push(streams.place(address(0)).expect("given back"));
        while let Ok(place) = streams.place(own) {
            held.push(place);
        }
        assert_eq!((held.len(), streams.place(address(2)).err()), (STREAMS, Some(Full::All)));
        drop(held);
        let taken = streams.taken.lock().expect("not poisoned");
        assert!(taken.all == 0 && taken.of.is_empty(), "{taken:?}");
    }

    #[test]
    fn who_is_turned_away_is_told_of_once_a_minute() {
        let streams = Streams::new([10, 77, 0, 1].into());
        let now = Instant::now();
        let told: Vec<bool> =
            [0, 1, 59, 60, 61, 120].map(|second| streams.tell(now + Duration::from_secs(second))).into();
        assert_eq!(told, [true, false, false, true, false, true]);
    }
}
