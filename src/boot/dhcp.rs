//! The DHCP answer: one pure function over a request and what is known. RFC 2131, and PXE 2.1 where it says more.

use super::client::{Classified, classify};
use super::desk::BootPermit;
use super::leases::{Binding, Leases, Probed};
use super::network::{Network, Subnet};
use super::packet::{MessageKind, Request, code};
use super::reply::{Destination, Reply};
use crate::content::kinds::SubnetMode;
use crate::store::Lease;
use dhcproto::v4::MessageType;
use std::net::{Ipv4Addr, SocketAddrV4};

mod boot_file;
mod pool;
mod silence;

pub use boot_file::boot_file;
pub use pool::pool_usage;
pub use silence::Silence;

/// Which of our ports a request came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// UDP 67: DHCP.
    Server,
    /// UDP 4011: PXE boot server discovery of UEFI clients that were told `PXEClient`.
    Proxy,
}

/// What is known when a request is judged.
#[derive(Debug)]
pub struct Situation<'a> {
    /// Subnets and reservations.
    pub network: &'a Network,
    /// Leases, offers, probes.
    pub leases: &'a Leases,
    /// Whether this box may boot; only asked for boot clients.
    pub permit: &'a BootPermit,
    /// Our address that this client reaches: option 54, the boot server, the host of URLs.
    pub server: Ipv4Addr,
    /// Our address on the interface it came in by: the subnet of clients that no relay speaks for.
    pub interface: Ipv4Addr,
    /// Where the datagram came from.
    pub source: SocketAddrV4,
    /// Our port it came to.
    pub port: Port,
    /// The port of plain HTTP.
    pub http_port: u16,
    /// Whether a pool address is probed before it is offered.
    pub probe: bool,
    /// Which of how many replicas this is: each offers addresses of its own part of the pools first, since none knows what the
    /// others have offered and nobody has asked for yet.
    pub place: (u32, u32),
    /// Monotonic milliseconds.
    pub now_ms: u64,
    /// Wall clock, Unix milliseconds, for the lease's stamp.
    pub now_unix_ms: i64,
}

/// What to do with the lease table, in the same breath as the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeaseChange {
    /// Nothing.
    None,
    /// Keep the address for this client until it asks.
    Offer(Ipv4Addr),
    /// Store it, durably, before the answer leaves.
    Commit {
        /// The lease.
        lease: Lease,
        /// No renewal of what it had.
        new: bool,
    },
    /// The client chose another server.
    Withdraw,
    /// The client let go.
    Release {
        /// The ended lease, to be stored with no time left.
        lease: Lease,
    },
    /// The client found the address in use.
    Decline {
        /// To be stored under a key of its own.
        lease: Lease,
    },
}

/// What is done about a request.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Change the table, then answer.
    Answer {
        /// The answer.
        reply: Box<Reply>,
        /// What to do with the table.
        change: LeaseChange,
    },
    /// Find out whether anybody answers at this address, then decide again.
    Probe(Ipv4Addr),
    /// Change the table, say nothing.
    Silent {
        /// Why.
        silence: Silence,
        /// What to do with the table.
        change: LeaseChange,
    },
}

const fn silent(silence: Silence) -> Decision {
    Decision::Silent { silence, change: LeaseChange::None }
}

/// Judges a request.
pub fn decide(request: &Request, situation: &Situation<'_>) -> Decision {
    let who = classify(request);
    if situation.port == Port::Proxy {
        return proxy_port(request, &who, situation);
    }
    // RFC 3527 and 3011 before giaddr, giaddr before the interface; a client that unicasts from its own address through
    // a router is of that address's subnet.
    let local = if request.giaddr.is_unspecified() { situation.interface } else { request.giaddr };
    let place = request.link_selection().unwrap_or(local);
    let by_ciaddr = speaks_from(request, situation.source).and_then(|ciaddr| situation.network.subnet_of(ciaddr));
    let Some(subnet) = by_ciaddr.or_else(|| situation.network.subnet_of(place)) else {
        return silent(Silence::NoSubnet);
    };
    match subnet.mode {
        SubnetMode::Off => silent(Silence::Off),
        SubnetMode::Proxy => proxy(request, &who, situation, subnet),
        SubnetMode::Server => {
            let exchange = Exchange { request, who: &who, situation, subnet };
            match request.kind {
                MessageKind::Discover => exchange.discover(),
                MessageKind::Request => exchange.request(),
                MessageKind::Decline => exchange.decline(),
                MessageKind::Release => exchange.release(),
                MessageKind::Inform => exchange.inform(),
            }
        }
    }
}

/// The server identifier that this client is given (RFC 5107 lets a relay put itself there).
fn identifier(request: &Request, situation: &Situation<'_>) -> Ipv4Addr {
    request.server_identifier_override().unwrap_or(situation.server)
}

/// The address that a client uses and speaks from with no relay between (RFC 2131 4.3.2, renewing): on this link, or beyond a
/// router, where a relay spoke for it when it had none. What it says of itself and what the packet comes from must agree.
pub fn speaks_from(request: &Request, source: SocketAddrV4) -> Option<Ipv4Addr> {
    let direct = request.giaddr.is_unspecified() && !request.ciaddr.is_unspecified();
    (direct && *source.ip() == request.ciaddr).then_some(request.ciaddr)
}

/// Where OFFER and ACK go (RFC 2131 4.1). A client without an address that did not ask for broadcast would want a unicast
/// that no ARP can resolve; broadcast reaches it as well. One that speaks from its address is reached there, and beyond a
/// router nowhere else.
fn destination(request: &Request, situation: &Situation<'_>) -> Destination {
    if !request.giaddr.is_unspecified() {
        Destination::To(SocketAddrV4::new(request.giaddr, 67))
    } else if let Some(ciaddr) = speaks_from(request, situation.source) {
        Destination::To(SocketAddrV4::new(ciaddr, 68))
    } else if !request.ciaddr.is_unspecified() && !request.wants_broadcast() {
        Destination::To(SocketAddrV4::new(request.ciaddr, 68))
    } else {
        Destination::Broadcast
    }
}

/// A DISCOVER on a subnet where another server gives addresses: we add what to boot and nothing else.
fn proxy(request: &Request, who: &Classified, situation: &Situation<'_>, _subnet: &Subnet) -> Decision {
    if request.kind != MessageKind::Discover || !who.boots() {
        return silent(Silence::NotProxied);
    }
    let mut reply = Reply::new(MessageType::Offer, destination(request, situation));
    boot_file::answer(&mut reply, request, who, situation, boot_file::Role::Proxy)
}

/// A REQUEST (or INFORM) on port 4011: the ACK goes to the very address and port it came from.
fn proxy_port(request: &Request, who: &Classified, situation: &Situation<'_>) -> Decision {
    if !matches!(request.kind, MessageKind::Request | MessageKind::Inform) || !who.boots() {
        return silent(Silence::NotProxied);
    }
    let served = situation
        .network
        .subnet_of(if request.ciaddr.is_unspecified() { situation.interface } else { request.ciaddr })
        .is_some_and(|subnet| subnet.mode != SubnetMode::Off);
    if !served {
        return silent(Silence::NoSubnet);
    }
    if request.server_identifier().is_some_and(|id| id != situation.server && id != situation.interface) {
        return silent(Silence::OtherServer);
    }
    let mut reply = Reply::new(MessageType::Ack, Destination::To(situation.source));
    reply.ciaddr = request.ciaddr;
    boot_file::answer(&mut reply, request, who, situation, boot_file::Role::ProxyPort)
}

/// One request on a subnet whose addresses are ours to give.
struct Exchange<'a> {
    request: &'a Request,
    who: &'a Classified,
    situation: &'a Situation<'a>,
    subnet: &'a Subnet,
}

impl Exchange<'_> {
    fn discover(&self) -> Decision {
        let address = match pool::choose(self.request, self.situation, self.subnet) {
            pool::Choice::Address(address) => address,
            pool::Choice::Probe(address) => return Decision::Probe(address),
            pool::Choice::Empty => return silent(Silence::PoolEmpty),
        };
        let mut reply = Reply::new(MessageType::Offer, destination(self.request, self.situation));
        reply.yiaddr = address;
        // RFC 2131 table 3: an OFFER's ciaddr is 0; one that asks with an address in use is still answered there.
        self.fill(&mut reply, true);
        Decision::Answer { reply: Box::new(reply), change: LeaseChange::Offer(address) }
    }

    /// RFC 2131 4.3.2: which fields are set tells the client's state.
    fn request(&self) -> Decision {
        let request = self.request;
        let ours = identifier(request, self.situation);
        if let Some(named) = request.server_identifier()
            && named != ours
            && named != self.situation.server
            && named != self.situation.interface
        {
            return Decision::Silent { silence: Silence::OtherServer, change: LeaseChange::Withdraw };
        }
        match (request.server_identifier(), request.requested_address(), request.ciaddr) {
            (Some(_), Some(wanted), ciaddr) if ciaddr.is_unspecified() => self.selecting(wanted),
            (None, Some(wanted), ciaddr) if ciaddr.is_unspecified() => self.init_reboot(wanted),
            // Renewing and rebinding. Some clients put 50 or 54 there too; ciaddr is what they use.
            (_, _, ciaddr) if !ciaddr.is_unspecified() => self.extending(ciaddr),
            _ => silent(Silence::Contradiction),
        }
    }

    /// It took our offer. An offer that a restart of ours forgot still holds if the address is free for it.
    fn selecting(&self, wanted: Ipv4Addr) -> Decision {
        if self.may_have(wanted) {
            self.acknowledge(wanted)
        } else {
            self.refuse("the address offered is no longer free")
        }
    }

    /// It remembers an address from before and checks it.
    fn init_reboot(&self, wanted: Ipv4Addr) -> Decision {
        if !self.subnet.prefix.has_host(wanted) {
            return self.refuse("the address is of another network");
        }
        if self.has_record() {
            return if self.right_address(wanted) {
                self.acknowledge(wanted)
            } else {
                self.refuse("the address is not yours")
            };
        }
        silent(Silence::NoRecord)
    }

    /// It uses the address and wants it for longer.
    fn extending(&self, ciaddr: Ipv4Addr) -> Decision {
        if !self.subnet.prefix.has_host(ciaddr) {
            return self.refuse("the address is of another network");
        }
        if self.has_record() {
            return if self.right_address(ciaddr) {
                self.acknowledge(ciaddr)
            } else {
                self.refuse("the address is not yours")
            };
        }
        silent(Silence::NoRecord)
    }

    fn decline(&self) -> Decision {
        let Some(address) = self.request.requested_address() else { return silent(Silence::Contradiction) };
        if !self.names_us() || !self.subnet.prefix.contains(address) {
            return silent(Silence::OtherServer);
        }
        // Only the one it was given to may decline it; else any box could empty the pool.
        let leases = self.situation.leases;
        let its = self.binding().is_some_and(|b| b.lease.address == address)
            || leases.offered_to(self.request.mac, address, self.situation.now_ms);
        if !its {
            return silent(Silence::NoRecord);
        }
        let mut lease = self.lease(address, super::leases::DECLINED_SECONDS);
        lease.mac = super::leases::declined_key(address);
        lease.declined = true;
        Decision::Silent { silence: Silence::NoAnswer, change: LeaseChange::Decline { lease } }
    }

    fn release(&self) -> Decision {
        if !self.names_us() {
            return silent(Silence::OtherServer);
        }
        match self.binding() {
            Some(binding) if binding.lease.address == self.request.ciaddr => {
                let mut lease = binding.lease.clone();
                lease.seconds = 0;
                Decision::Silent { silence: Silence::NoAnswer, change: LeaseChange::Release { lease } }
            }
            _ => silent(Silence::NoRecord),
        }
    }

    /// RFC 2131 4.3.5: options only, no lease, unicast to the address it has.
    fn inform(&self) -> Decision {
        if self.request.ciaddr.is_unspecified() {
            return silent(Silence::Contradiction);
        }
        let to = if self.request.giaddr.is_unspecified() {
            Destination::To(SocketAddrV4::new(self.request.ciaddr, 68))
        } else {
            destination(self.request, self.situation)
        };
        let mut reply = Reply::new(MessageType::Ack, to);
        reply.ciaddr = self.request.ciaddr;
        self.fill(&mut reply, false);
        Decision::Answer { reply: Box::new(reply), change: LeaseChange::None }
    }

    fn names_us(&self) -> bool {
        self.request.server_identifier().is_none_or(|id| {
            id == self.situation.server
                || id == self.situation.interface
                || id == identifier(self.request, self.situation)
        })
    }

    fn binding(&self) -> Option<&Binding> {
        self.situation.leases.of(self.request.mac)
    }

    /// Whether anything is known about this client on this subnet: a reservation, or a lease, ended ones too.
    fn has_record(&self) -> bool {
        pool::reserved(self.request, self.situation, self.subnet).is_some()
            || self.binding().is_some_and(|b| b.lease.subnet == self.subnet.name)
    }

    /// Whether the address is the one that the record says.
    fn right_address(&self, address: Ipv4Addr) -> bool {
        match pool::reserved(self.request, self.situation, self.subnet) {
            Some(reserved) => reserved == address,
            None => self.binding().is_some_and(|b| b.lease.address == address) && self.may_have(address),
        }
    }

    /// Whether the address can be given to this client at all.
    fn may_have(&self, address: Ipv4Addr) -> bool {
        if pool::reserved(self.request, self.situation, self.subnet) == Some(address) {
            return true;
        }
        self.subnet.in_pool(address)
            && !self.situation.network.is_reserved(address)
            && address != self.situation.server
            && address != self.situation.interface
            && Some(address) != self.subnet.gateway
            && self.situation.leases.is_free_for(self.request.mac, address, self.situation.now_ms)
            && self.situation.leases.probed(address, self.situation.now_ms) != Some(Probed::Taken)
    }

    fn acknowledge(&self, address: Ipv4Addr) -> Decision {
        let mut reply = Reply::new(MessageType::Ack, destination(self.request, self.situation));
        reply.yiaddr = address;
        reply.ciaddr = self.request.ciaddr;
        self.fill(&mut reply, true);
        let new = !self.binding().is_some_and(|b| {
            b.lease.address == address && b.lease.subnet == self.subnet.name && b.is_active(self.situation.now_ms)
        });
        let lease = self.lease(address, self.subnet.lease_seconds);
        Decision::Answer { reply: Box::new(reply), change: LeaseChange::Commit { lease, new } }
    }

    fn lease(&self, address: Ipv4Addr, seconds: u32) -> Lease {
        Lease {
            mac: self.request.mac.to_string(),
            address,
            subnet: self.subnet.name.clone(),
            at_unix_ms: self.situation.now_unix_ms,
            seconds,
            declined: false,
        }
    }

    /// RFC 2131 4.3.2: a NAK that no relay forwards is always broadcast, since the client's address may be wrong; to a
    /// relay it goes with the broadcast bit set, so that the relay broadcasts it.
    fn refuse(&self, why: &str) -> Decision {
        let to = if self.request.giaddr.is_unspecified() {
            Destination::Broadcast
        } else {
            Destination::To(SocketAddrV4::new(self.request.giaddr, 67))
        };
        let mut reply = Reply::new(MessageType::Nak, to);
        reply.options.push((code::SERVER_IDENTIFIER, identifier(self.request, self.situation).octets().to_vec()));
        reply.options.push((code::MESSAGE, why.as_bytes().to_vec()));
        if let Some(id) = self.request.option(code::CLIENT_IDENTIFIER).filter(|id| id.len() <= 255) {
            reply.options.push((code::CLIENT_IDENTIFIER, id.to_vec())); // RFC 6842
        }
        Decision::Answer { reply: Box::new(reply), change: LeaseChange::None }
    }

    /// The subnet's options, the lease's times, and what to boot.
    fn fill(&self, reply: &mut Reply, with_lease: bool) {
        let subnet = self.subnet;
        let options = &mut reply.options;
        options.push((code::SERVER_IDENTIFIER, identifier(self.request, self.situation).octets().to_vec()));
        if with_lease {
            let seconds = subnet.lease_seconds;
            options.push((code::LEASE_TIME, seconds.to_be_bytes().to_vec()));
            options.push((code::RENEWAL_TIME, (seconds / 2).to_be_bytes().to_vec()));
            // Seven eighths, as RFC 2131 4.4.5 has it.
            let rebinding = u32::try_from(u64::from(seconds) * 7 / 8).unwrap_or(seconds);
            options.push((code::REBINDING_TIME, rebinding.to_be_bytes().to_vec()));
        }
        options.push((code::SUBNET_MASK, subnet.prefix.mask().octets().to_vec()));
        let given = |code: u8| subnet.options.iter().any(|o| o.code == code);
        if let Some(gateway) = subnet.gateway
            && !given(code::ROUTERS)
        {
            options.push((code::ROUTERS, gateway.octets().to_vec()));
        }
        if let Some(id) = self.request.option(code::CLIENT_IDENTIFIER).filter(|id| id.len() <= 255) {
            options.push((code::CLIENT_IDENTIFIER, id.to_vec())); // RFC 6842
        }
        // What it asked for comes first, so that what is left out in a small packet is what it did not ask for.
        let (wanted, others): (Vec<_>, Vec<_>) = subnet.options.iter().partition(|o| self.request.wants(o.code));
        let mut extras: Vec<(u8, Vec<u8>)> =
            wanted.into_iter().chain(others).map(|o| (o.code, o.value.clone())).collect();
        if self.request.wants(code::BROADCAST_ADDRESS) && !given(code::BROADCAST_ADDRESS) && subnet.prefix.length() < 31
        {
            extras.push((code::BROADCAST_ADDRESS, subnet.prefix.broadcast().octets().to_vec()));
        }
        if self.request.wants(code::HOST_NAME)
            && let Some(name) = self.situation.network.machine(self.request.mac)
        {
            extras.push((code::HOST_NAME, name.as_bytes().to_vec()));
        }
        reply.extras = extras;
        boot_file::add(reply, self.request, self.who, self.situation, boot_file::Role::Server);
    }
}

#[cfg(test)]
#[path = "dhcp_tests.rs"]
mod tests;
