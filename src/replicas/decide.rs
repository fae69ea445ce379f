//! Who is there, who leads, and who answers whom: decided from the Leases as one replica saw them, by its own clock alone.
//!
//! Times are since the caller's own beginning, and no time of another machine is compared with them: a Lease is alive while it is
//! *seen to change*.

use crate::boot::Mac;
use std::collections::BTreeMap;
use std::time::Duration;

/// A replica is gone when its Lease did not change for so long.
pub const LEASE: Duration = Duration::from_secs(15);
/// A replica counts on itself for so long after it began the last round in which it renewed its Lease and saw the others'. Shorter than
/// [`LEASE`], so that it has stopped to lead before another begins. Whoever comes among others waits as long before it leads: by
/// then they have seen it, or do not count on themselves.
pub const CONFIRMED: Duration = Duration::from_secs(10);

/// How one replica stands among the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its own name.
    pub own: String,
    /// The replicas that are there, sorted. This one is among them while it could renew its Lease.
    pub live: Vec<String>,
    /// The one that leads, where there is one and this one can tell.
    pub leader: Option<String>,
}

impl Standing {
    /// Whether this one leads.
    pub fn leads(&self) -> bool {
        self.leader.as_ref() == Some(&self.own)
    }

    /// Whether this client is in this one's share of all clients: rendezvous hashing (highest random weight) with SHA-256, so that it is
    /// the same on every replica and in every release, and a replica that goes leaves all clients but its own where they are.
    pub fn answers_for(&self, mac: Mac) -> bool {
        let weight = |name: &String| {
            let text = [name.as_bytes(), &[0], &mac.0].concat();
            let digest = ring::digest::digest(&ring::digest::SHA256, &text);
            digest.as_ref().first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
        };
        match self.live.as_slice() {
            [only] => *only == self.own,
            live => live.iter().max_by_key(|name| (weight(name), *name)) == Some(&self.own),
        }
    }

    /// Which this one is of how many, to split what has no owner.
    pub fn place(&self) -> (u32, u32) {
        let count = |number: usize| u32::try_from(number).ok();
        let place = self.live.iter().position(|name| *name == self.own).and_then(count);
        place.zip(count(self.live.len())).unwrap_or((0, 1))
    }
}

/// A replica's Lease in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Whose it is.
    pub name: String,
    /// When it was made, Unix seconds: the API server's word, only compared with that of others.
    pub created: i64,
    /// Another after each renewal.
    pub version: String,
}

/// A replica's Lease as it was seen so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed {
    created: i64,
    version: String,
    changed: Duration,
}

/// The Leases of all replicas, as one saw them.
#[derive(Debug, Default)]
pub struct Observations(BTreeMap<String, Observed>);

impl Observations {
    /// Takes in a list that came at that time. What is seen for the first time has changed.
    pub fn see(&mut self, listed: impl IntoIterator<Item = Listed>, now: Duration) {
        let mut before = std::mem::take(&mut self.0);
        for Listed { name, created, version } in listed {
            let unchanged = before.remove(&name).filter(|before| before.version == version);
            let observed = unchanged.unwrap_or(Observed { created, version, changed: now });
            self.0.insert(name, observed);
        }
    }
}

/// What a replica knows of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// Its name.
    pub name: String,
    /// When it began the last round in which it renewed its Lease and saw the others'.
    pub confirmed: Duration,
    /// It does not lead before.
    pub leads_from: Duration,
}

impl Own {
    /// Whether it may count on what it knows.
    pub fn is_confirmed(&self, now: Duration) -> bool {
        now.saturating_sub(self.confirmed) < CONFIRMED
    }
}

/// How a replica stands. The oldest Lease leads, by name where two were made in one second.
pub fn decide(observations: &Observations, own: &Own, now: Duration) -> Standing {
    let confirmed = own.is_confirmed(now);
    let is_live = |name: &String, lease: &Observed| match *name == own.name {
        true => confirmed,
        false => now.saturating_sub(lease.changed) < LEASE,
    };
    let live: Vec<_> = observations.0.iter().filter(|(name, lease)| is_live(name, lease)).collect();
    let first = live.iter().min_by_key(|(name, lease)| (lease.created, *name));
    let leader = first.filter(|(name, _)| confirmed && (**name != own.name || now >= own.leads_from));
    Standing {
        own: own.name.clone(),
        leader: leader.map(|(name, _)| (*name).clone()),
        live: live.into_iter().map(|(name, _)| name.clone()).collect(),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
