//! Who holds which address, in memory. The store keeps it; this decides nothing about the network.
//!
//! Keyed by MAC, since the client identifier changes between firmware, iPXE and the operating system. Lifetimes count
//! the caller's monotonic milliseconds; after a restart each lease gets its full length again.

use super::Mac;
use crate::store::Lease;
use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How long an offer keeps its address from others, milliseconds: time enough for a slow client's REQUEST.
pub const OFFER_MS: u64 = 60_000;
/// How long a declined address is kept from everybody, seconds.
pub const DECLINED_SECONDS: u32 = 600;
/// How long a probe's answer is believed, milliseconds.
pub const PROBE_BELIEVED_MS: u64 = 30_000;
/// Offers and probes remembered at most: beyond it the oldest go first.
const REMEMBERED: usize = 65_536;

/// One MAC's hold on an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// As the store has it.
    pub lease: Lease,
    /// Ends at, monotonic milliseconds.
    pub expires_ms: u64,
}

impl Binding {
    /// Whether it still counts.
    pub const fn is_active(&self, now_ms: u64) -> bool {
        self.expires_ms > now_ms
    }
}

/// What is known about an address on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed {
    /// Nobody answered.
    Free,
    /// Something that is not ours answered.
    Taken,
}

#[derive(Debug, Clone, Copy)]
struct Offer {
    mac: Mac,
    until_ms: u64,
}

/// All leases, offers and probe answers.
#[derive(Debug, Default)]
pub struct Leases {
    by_mac: HashMap<Mac, Binding>,
    by_address: BTreeMap<Ipv4Addr, Mac>,
    offers: HashMap<Ipv4Addr, Offer>,
    declined: HashMap<Ipv4Addr, u64>,
    probes: HashMap<Ipv4Addr, (Probed, u64)>,
    displaced: Vec<Mac>,
}

/// What is before the address in such a key.
const DECLINED: &str = "declined/";

/// The key under which the store keeps an address that was declined: it is nobody's lease, so no MAC can be its key.
pub fn declined_key(address: Ipv4Addr) -> String {
    format!("{DECLINED}{address}")
}

impl Leases {
    /// Leases as the store has them; each gets its full length from now. Entries that are no lease of ours are left out.
    pub fn load(leases: impl IntoIterator<Item = Lease>, now_ms: u64) -> Self {
        let mut table = Self::default();
        // Of two cards that had one address, the later has it.
        let mut leases: Vec<Lease> = leases.into_iter().collect();
        leases.sort_by_key(|lease| lease.at_unix_ms);
        for lease in leases {
            let until = now_ms.saturating_add(u64::from(lease.seconds) * 1000);
            if lease.declined {
                table.declined.insert(lease.address, until);
            } else {
                table.put(lease, now_ms);
            }
        }
        table
    }

    /// Adds or renews a lease. An address that another MAC held goes to the new holder.
    pub fn put(&mut self, lease: Lease, now_ms: u64) {
        let Ok(mac) = lease.mac.parse::<Mac>() else { return };
        let expires_ms = now_ms.saturating_add(u64::from(lease.seconds) * 1000);
        if let Some(previous) = self.insert(mac, lease, expires_ms)
            && self.displaced.len() < REMEMBERED
        {
            self.displaced.push(previous);
        }
    }

    /// The card that had the address before, if another did.
    fn insert(&mut self, mac: Mac, lease: Lease, expires_ms: u64) -> Option<Mac> {
        if let Some(old) = self.by_mac.get(&mac)
            && old.lease.address != lease.address
        {
            self.by_address.remove(&old.lease.address);
        }
        let previous = self.by_address.insert(lease.address, mac).filter(|previous| *previous != mac);
        if let Some(previous) = &previous {
            self.by_mac.remove(previous);
        }
        self.displaced.retain(|displaced| *displaced != mac);
        self.offers.remove(&lease.address);
        self.by_mac.insert(mac, Binding { lease, expires_ms });
        previous
    }

    /// Takes in what the store has now under a key, written by this server or by another on the same store. It ends by the wall
    /// clock; none: it was dropped.
    pub fn learn(&mut self, key: &str, lease: Option<Lease>, now_ms: u64, now_unix_ms: i64) {
        let mac = key.parse::<Mac>().ok();
        let declined = key.strip_prefix(DECLINED).and_then(|address| address.parse::<Ipv4Addr>().ok());
        let Some(lease) = lease else {
            if let Some(binding) = mac.and_then(|mac| self.by_mac.remove(&mac))
                && self.by_address.get(&binding.lease.address).copied() == mac
            {
                self.by_address.remove(&binding.lease.address);
            }
            if let Some(address) = declined {
                self.declined.remove(&address);
            }
            return;
        };
        let ends = lease.at_unix_ms.saturating_add(i64::from(lease.seconds).saturating_mul(1000));
        let expires_ms = now_ms.saturating_add(u64::try_from(ends.saturating_sub(now_unix_ms)).unwrap_or(0));
        if lease.declined {
            self.declined.insert(lease.address, expires_ms);
        } else if let Some(mac) = mac.filter(|mac| self.by_mac.get(mac).is_none_or(|known| known.lease != lease)) {
            self.insert(mac, lease, expires_ms);
        }
    }

    /// Cards whose address went to another since this was last asked: the store's rows of them are over.
    pub fn take_displaced(&mut self) -> Vec<Mac> {
        std::mem::take(&mut self.displaced)
    }

    /// Ends a lease now; the MAC is still remembered as the address's last holder, so that it gets it again.
    pub fn end(&mut self, mac: Mac, now_ms: u64) {
        if let Some(binding) = self.by_mac.get_mut(&mac) {
            binding.expires_ms = now_ms;
        }
    }

    /// A MAC's lease, ended ones too.
    pub fn of(&self, mac: Mac) -> Option<&Binding> {
        self.by_mac.get(&mac)
    }

    /// The last holder of an address and its lease.
    pub fn at(&self, address: Ipv4Addr) -> Option<(Mac, &Binding)> {
        let mac = self.by_address.get(&address)?;
        Some((*mac, self.by_mac.get(mac)?))
    }

    /// The address offered to a MAC and not yet requested.
    pub fn offered_to(&self, mac: Mac, address: Ipv4Addr, now_ms: u64) -> bool {
        self.offers.get(&address).is_some_and(|o| o.mac == mac && o.until_ms > now_ms)
    }

    /// Whether nobody but `mac` holds, was offered, or declined the address.
    pub fn is_free_for(&self, mac: Mac, address: Ipv4Addr, now_ms: u64) -> bool {
        let held = self.at(address).is_some_and(|(holder, binding)| holder != mac && binding.is_active(now_ms));
        let offered = self.offers.get(&address).is_some_and(|o| o.mac != mac && o.until_ms > now_ms);
        let declined = self.declined.get(&address).is_some_and(|until| *until > now_ms);
        !held && !offered && !declined
    }

    /// Whether the address was declined and is still kept from everybody.
    pub fn is_declined(&self, address: Ipv4Addr, now_ms: u64) -> bool {
        self.declined.get(&address).is_some_and(|until| *until > now_ms)
    }

    /// Keeps an address for a MAC until it is requested.
    pub fn offer(&mut self, mac: Mac, address: Ipv4Addr, now_ms: u64) {
        if self.offers.len() >= REMEMBERED {
            self.offers.retain(|_, o| o.until_ms > now_ms);
        }
        // Still full: an offer is a courtesy; the REQUEST is judged without it.
        if self.offers.len() < REMEMBERED {
            self.offers.insert(address, Offer { mac, until_ms: now_ms.saturating_add(OFFER_MS) });
        }
    }

    /// Drops what was offered to a MAC: it chose another server.
    pub fn withdraw(&mut self, mac: Mac) {
        self.offers.retain(|_, o| o.mac != mac);
    }

    /// Keeps an address from everybody, and ends the lease of the one who declined it.
    pub fn decline(&mut self, mac: Mac, address: Ipv4Addr, now_ms: u64) {
        self.offers.remove(&address);
        if self.by_address.get(&address) == Some(&mac) {
            self.by_address.remove(&address);
            self.by_mac.remove(&mac);
        }
        if self.declined.len() >= REMEMBERED {
            self.declined.retain(|_, until| *until > now_ms);
        }
        if self.declined.len() < REMEMBERED {
            self.declined.insert(address, now_ms.saturating_add(u64::from(DECLINED_SECONDS) * 1000));
        }
    }

    /// What a recent probe found.
    pub fn probed(&self, address: Ipv4Addr, now_ms: u64) -> Option<Probed> {
        self.probes.get(&address).filter(|(_, until)| *until > now_ms).map(|(probed, _)| *probed)
    }

    /// Remembers what a probe found.
    pub fn remember_probe(&mut self, address: Ipv4Addr, probed: Probed, now_ms: u64) {
        if self.probes.len() >= REMEMBERED {
            self.probes.retain(|_, (_, until)| *until > now_ms);
        }
        if self.probes.len() < REMEMBERED {
            self.probes.insert(address, (probed, now_ms.saturating_add(PROBE_BELIEVED_MS)));
        }
    }

    /// All bindings, by address.
    pub fn all(&self) -> impl Iterator<Item = &Binding> {
        self.by_address.values().filter_map(|mac| self.by_mac.get(mac))
    }
}

/// The one table of a server. A lock around [`Leases`] that is only ever held for memory work.
#[derive(Debug, Default)]
pub struct LeaseTable(Mutex<Leases>);

impl LeaseTable {
    /// A table of what the store has; see [`Leases::load`].
    pub fn load(leases: impl IntoIterator<Item = Lease>, now_ms: u64) -> Self {
        Self(Mutex::new(Leases::load(leases, now_ms)))
    }

    /// The leases. A panic elsewhere while it was held left no half-made change worth refusing service for.
    pub fn lock(&self) -> MutexGuard<'_, Leases> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn lease(last: u8, address: [u8; 4], seconds: u32) -> Lease {
        Lease {
            mac: mac(last).to_string(),
            address: address.into(),
            subnet: "rack".into(),
            at_unix_ms: 0,
            seconds,
            declined: false,
        }
    }

    #[test]
    fn a_restart_gives_every_lease_its_full_length() {
        let table = Leases::load([lease(1, [10, 0, 0, 1], 60)], 5_000);
        assert!(table.of(mac(1)).is_some_and(|b| b.is_active(64_999) && !b.is_active(65_000)));
    }

    #[test]
    fn the_later_of_two_that_had_one_address_has_it_after_a_restart() {
        for (first, second) in [(1, 2), (2, 1)] {
            let (mut old, mut new) = (lease(first, [10, 0, 0, 1], 60), lease(second, [10, 0, 0, 1], 60));
            (old.at_unix_ms, new.at_unix_ms) = (1_000, 2_000);
            let mut rows = [old, new];
            rows.sort_by(|one, other| one.mac.cmp(&other.mac)); // as the store gives them
            let mut table = Leases::load(rows, 0);
            assert_eq!(table.at([10, 0, 0, 1].into()).map(|(holder, _)| holder), Some(mac(second)));
            assert_eq!(table.take_displaced(), [mac(first)]);
        }
    }

    #[test]
    fn an_address_has_one_holder_and_a_holder_one_address() {
        let mut table = Leases::default();
        table.put(lease(1, [10, 0, 0, 1], 60), 0);
        table.put(lease(1, [10, 0, 0, 2], 60), 0);
        assert!(table.at([10, 0, 0, 1].into()).is_none());
        table.put(lease(2, [10, 0, 0, 2], 60), 0);
        assert!(table.of(mac(1)).is_none());
        assert_eq!(table.all().count(), 1);
    }

    #[test]
    fn what_another_server_leased_renewed_and_dropped_is_known_and_ends_by_the_wall_clock() {
        let mut table = Leases::default();
        let address = Ipv4Addr::new(10, 0, 0, 1);
        let by_another = |last, at_unix_ms| Lease { at_unix_ms, ..lease(last, [10, 0, 0, 1], 60) };
        // Given 20 s before this server heard of it.
        table.learn(&mac(1).to_string(), Some(by_another(1, 1_000)), 500, 21_000);
        let ends = |table: &Leases, last| table.of(mac(last)).map(|binding| binding.expires_ms);
        assert_eq!(ends(&table, 1), Some(40_500));
        assert!(!table.is_free_for(mac(2), address, 40_499) && table.is_free_for(mac(2), address, 40_500));
        // The same again, as of a write of this server's own, changes nothing; a renewal does.
        table.learn(&mac(1).to_string(), Some(by_another(1, 1_000)), 600, 30_000);
        assert_eq!(ends(&table, 1), Some(40_500));
        table.learn(&mac(1).to_string(), Some(by_another(1, 31_000)), 700, 31_000);
        assert_eq!(ends(&table, 1), Some(60_700));
        // It goes to another card; what is dropped of the one before is not the other's.
        table.learn(&mac(2).to_string(), Some(by_another(2, 95_000)), 900, 95_000);
        table.learn(&mac(1).to_string(), None, 900, 95_000);
        assert_eq!(table.at(address).map(|(holder, _)| holder), Some(mac(2)));
        assert!(table.take_displaced().is_empty(), "who wrote it dropped the row");
        table.learn(&mac(2).to_string(), None, 900, 95_000);
        assert!(table.at(address).is_none() && table.of(mac(2)).is_none());
        // One that has ended long ago, by a clock that is ahead.
        table.learn(&mac(1).to_string(), Some(by_another(1, 0)), 900, 95_000);
        assert!(table.is_free_for(mac(2), address, 900));
        let declined = Lease { mac: declined_key(address), declined: true, ..by_another(1, 95_000) };
        table.learn(&declined_key(address), Some(declined), 900, 95_000);
        assert!(table.is_declined(address, 60_899) && !table.is_declined(address, 60_900));
        table.learn(&declined_key(address), None, 1_000, 95_100);
        assert!(!table.is_declined(address, 1_000));
    }

    #[test]
    fn a_declined_address_survives_a_restart_and_is_nobodys() {
        let mut kept = lease(1, [10, 0, 0, 9], DECLINED_SECONDS);
        kept.mac = declined_key(kept.address);
        kept.declined = true;
        let table = Leases::load([kept], 0);
        assert!(table.is_declined([10, 0, 0, 9].into(), 1));
        assert!(!table.is_free_for(mac(1), [10, 0, 0, 9].into(), 1));
    }
}
