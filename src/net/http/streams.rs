//! Places for files that are sent: so many at once, and so many for one address, so that nobody's slow reading keeps the rest of a
//! rack from its images.

use crate::net::places::{Full, Place, Places};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Files sent at once, to all.
pub(super) const STREAMS: usize = 1024;
/// Files sent at once to one address: an eighth. A machine takes one or two; machines behind one router that hides them share these.
pub(super) const OF_ONE_ADDRESS: usize = STREAMS / 8;
/// That clients are told to come again is logged so often at most.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// The places.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    /// The server's own address: who is on this host, `formwork simulate` as a thousand machines, has no share.
    own: IpAddr,
    places: Places,
    /// When somebody who was turned away was last told of in the log.
    told: Arc<Mutex<Option<Instant>>>,
}

impl Streams {
    pub(super) fn new(own: IpAddr) -> Self {
        Self { own, places: Places::new(STREAMS, OF_ONE_ADDRESS), told: Arc::default() }
    }

    /// A place for a file to `peer`.
    ///
    /// # Errors
    /// Whose places are all taken.
    pub(super) fn place(&self, peer: IpAddr) -> Result<Place, Full> {
        self.places.take(Some(peer).filter(|peer| *peer != self.own && *peer != IpAddr::from([127, 0, 0, 1])))
    }

    /// Whether it is time to say in the log that somebody was turned away.
    pub(super) fn tell(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let due = told.is_none_or(|told| now.saturating_duration_since(told) >= TOLD_EVERY);
        if due {
            *told = Some(now);
        }
        due
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
        assert_eq!(streams.places.taken(), (0, 0));
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
