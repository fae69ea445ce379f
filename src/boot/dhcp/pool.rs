//! Which address a client is offered (RFC 2131 4.3.1): its own, the one it had, the one it wants, a fresh one, and when
//! all were used before the one that ended longest ago; of the last two, one of this replica's part before others. The same question gets
//! the same answer.

use super::super::leases::{Leases, Probed};
use super::super::network::{Network, Subnet};
use super::super::packet::Request;
use super::Situation;
use std::net::Ipv4Addr;

/// Places of a pool that are looked at for one packet: a bound on work. A pool of a /16 is seen whole.
const LOOKED_AT: u64 = 65_536;

pub(super) enum Choice {
    Address(Ipv4Addr),
    Probe(Ipv4Addr),
    Empty,
}

/// The client's reserved address on this subnet. A machine with two cards has one reservation: the card that holds the
/// lease keeps it, the other gets an address of the pool.
pub(super) fn reserved(request: &Request, situation: &Situation<'_>, subnet: &Subnet) -> Option<Ipv4Addr> {
    let reservation = situation.network.reservation(request.mac)?;
    let address = reservation.address;
    let free = situation.leases.is_free_for(request.mac, address, situation.now_ms);
    (subnet.prefix.has_host(address) && free).then_some(address)
}

pub(super) fn choose(request: &Request, situation: &Situation<'_>, subnet: &Subnet) -> Choice {
    if let Some(address) = reserved(request, situation, subnet) {
        return Choice::Address(address);
    }
    let now = situation.now_ms;
    let allowed = |address: Ipv4Addr| {
        subnet.in_pool(address)
            && !situation.network.is_reserved(address)
            && address != situation.server
            && address != situation.interface
            && Some(address) != subnet.gateway
            && situation.leases.is_free_for(request.mac, address, now)
            && situation.leases.probed(address, now) != Some(Probed::Taken)
    };
    // What it has, or had last, it gets again. While it is active nobody probes it: it would answer itself.
    if let Some(binding) = situation.leases.of(request.mac)
        && allowed(binding.lease.address)
    {
        return Choice::Address(binding.lease.address);
    }
    let verdict = |address: Ipv4Addr| {
        let known = situation.leases.probed(address, now).is_some();
        let offered = situation.leases.offered_to(request.mac, address, now);
        if situation.probe && !known && !offered { Choice::Probe(address) } else { Choice::Address(address) }
    };
    if let Some(wanted) = request.requested_address().filter(|wanted| allowed(*wanted)) {
        return verdict(wanted);
    }
    let size = subnet.pool_size();
    if size == 0 {
        return Choice::Empty;
    }
    let start = place(request.mac.0) % size;
    let (index, replicas) = situation.place;
    let others = |address: Ipv4Addr| replicas > 1 && u32::from(address) % replicas != index;
    let mut of_others = None;
    let mut oldest: Option<((bool, u64), Ipv4Addr)> = None;
    for step in 0..size.min(LOOKED_AT) {
        let Some(address) = subnet.pool_address((start + step) % size) else { continue };
        if !allowed(address) {
            continue;
        }
        match situation.leases.at(address) {
            None if others(address) => of_others = of_others.or(Some(address)),
            None => return verdict(address),
            Some((_, binding)) => {
                let ended = (others(address), binding.expires_ms);
                if oldest.is_none_or(|(before, _)| ended < before) {
                    oldest = Some((ended, address));
                }
            }
        }
    }
    of_others.or(oldest.map(|(_, address)| address)).map_or(Choice::Empty, verdict)
}

/// How many addresses of a subnet's pools are in use (leased, declined or reserved), and how many there are.
pub fn pool_usage(network: &Network, leases: &Leases, subnet: &Subnet, now_ms: u64) -> (u64, u64) {
    let size = subnet.pool_size();
    let in_use = |address: &Ipv4Addr| {
        network.is_reserved(*address)
            || leases.is_declined(*address, now_ms)
            || leases.at(*address).is_some_and(|(_, binding)| binding.is_active(now_ms))
    };
    let looked_at = size.min(LOOKED_AT);
    let used = (0..looked_at).filter_map(|place| subnet.pool_address(place)).filter(in_use).count();
    (used as u64, looked_at)
}

/// A place from a MAC, the same on every server and in every release: FNV-1a.
fn place(mac: [u8; 6]) -> u64 {
    mac.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
