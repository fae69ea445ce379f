//! What is still taken where the state has reached its bound. Pure.
//!
//! What makes it smaller is taken always, and so is what the store says of itself: without that it could not be opened, and what is in it
//! not be dropped. What machines cannot wait for is taken within a reserve beyond the bound: addresses, claims that are held, and when
//! machines were heard of.

use crate::cluster;
use crate::journal::Event;
use crate::store::{Batch, Operation, Space};

/// The reserve is this part of the bound.
const RESERVE: u64 = 8;

/// What a batch does to a state that has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Growth {
    /// It drops, or writes over a few words.
    None,
    /// It is small, and needed at once.
    Needed,
    /// It can wait until there is room.
    More,
}

/// Whether a batch is taken on a state of so many bytes.
pub(super) fn has_room(batch: &Batch, bytes: u64, bound: u64) -> bool {
    match growth(batch) {
        Growth::None => true,
        Growth::Needed => bytes < bound.saturating_add(bound / RESERVE),
        Growth::More => bytes < bound,
    }
}

fn growth(batch: &Batch) -> Growth {
    let events = batch.events.iter().map(|(_, event)| match event {
        // It is told with the lease, in one commit.
        Event::Leased { .. } => Growth::Needed,
        _ => Growth::More,
    });
    let operations = batch.operations.iter().map(|operation| match operation {
        Operation::Compact { .. }
        | Operation::DeleteLease { .. }
        | Operation::Put { value: None, .. }
        | Operation::Put { space: Space::Meta, .. } => Growth::None,
        Operation::PutLease(_) | Operation::TakeLease(_) | Operation::Put { space: Space::Heard, .. } => Growth::Needed,
        Operation::Cluster(request) => match request.operation {
            cluster::Operation::Renew { .. } => Growth::Needed,
            _ => Growth::More,
        },
        Operation::Put { .. } => Growth::More,
    });
    events.chain(operations).max().unwrap_or(Growth::None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Stream;
    use crate::store::Lease;
    use crate::store::conformance::clusters::{asks_at, member};
    use std::net::Ipv4Addr;

    #[test]
    fn what_drops_is_taken_always_and_what_machines_need_within_the_reserve() {
        let put = |space, value: Option<&str>| Operation::Put {
            space,
            key: "k".into(),
            value: value.map(|value| value.as_bytes().to_vec()),
        };
        let lease = Lease {
            mac: "52:54:00:00:00:01".into(),
            address: Ipv4Addr::LOCALHOST,
            subnet: "lab".into(),
            at_unix_ms: 0,
            seconds: 60,
            declined: false,
        };
        let leased = Event::Leased {
            mac: lease.mac.clone(),
            address: lease.address,
            seconds: lease.seconds,
            subnet: lease.subnet.clone(),
        };
        let renew = cluster::Operation::Renew { claim: "init".into(), fence: 1, ttl_ms: None };
        let claim = cluster::Operation::Claim { claim: "init".into(), ttl_ms: 1_000 };
        let compact = Operation::Compact { stream: Stream::Site, below: 1, folded: None };
        let of = |operations: Vec<Operation>, events: Vec<Event>| Batch {
            operations,
            events: events.into_iter().map(|event| (Stream::Box("52:54:00:00:00:01".into()), event)).collect(),
            ..Batch::default()
        };
        let take = || Operation::TakeLease(lease.clone());
        for (batch, expected) in [
            (Batch::default(), Growth::None),
            (of(vec![compact.clone(), Operation::DeleteLease { mac: "m".into() }], vec![]), Growth::None),
            (of(vec![put(Space::Log, None), put(Space::Meta, Some("server"))], vec![]), Growth::None),
            (of(vec![put(Space::Heard, Some("{}"))], vec![]), Growth::Needed),
            (of(vec![take(), Operation::DeleteLease { mac: "m".into() }], vec![leased.clone()]), Growth::Needed),
            (of(vec![Operation::PutLease(lease.clone())], vec![]), Growth::Needed),
            (of(vec![asks_at(0, "etcd", &member(1), renew)], vec![]), Growth::Needed),
            (of(vec![asks_at(0, "etcd", &member(1), claim)], vec![]), Growth::More),
            (of(vec![put(Space::Grant, Some("job"))], vec![]), Growth::More),
            (of(vec![take()], vec![leased, Event::Held { reason: "x".into() }]), Growth::More),
            (of(vec![compact], vec![Event::Held { reason: "x".into() }]), Growth::More),
        ] {
            assert_eq!(growth(&batch), expected, "{batch:?}");
            let taken = [799, 800, 899, 900].map(|bytes| has_room(&batch, bytes, 800));
            let most = match expected {
                Growth::None => [true, true, true, true],
                Growth::Needed => [true, true, true, false],
                Growth::More => [true, false, false, false],
            };
            assert_eq!(taken, most, "{batch:?}");
        }
    }
}
