//! DHCP on the wire: one socket an interface and port, bounded work, counted drops. What is answered is decided by
//! [`crate::boot::dhcp::decide`].
//!
//! Sockets are bound to their interface, so that the interface a packet came in by is known and a broadcast leaves by it.

use super::Counter;
use super::interfaces::address_toward;
use super::probe;
use crate::boot::client::{Platform, classify};
use crate::boot::desk::{BootDesk, BootPermit, SeenBox};
use crate::boot::dhcp::{Decision, LeaseChange, Port, Silence, Situation, decide, pool_usage, speaks_from};
use crate::boot::leases::{LeaseTable, Probed};
use crate::boot::network::Network;
use crate::boot::packet::Request;
use crate::boot::reply::{Destination, Reply};
use crate::store::StoreError;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

/// Packets worked on at once: beyond it they are dropped and counted; clients ask again.
const IN_FLIGHT: usize = 512;
/// Probes at once. Each takes a thread for at most [`probe::WAIT`].
const PROBES: usize = 32;
/// Probes for one packet: with every probed address taken the client asks again and goes on from there.
const PROBES_A_PACKET: usize = 3;
/// A warning of one kind is said at most so often.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// What can go wrong at the start.
#[derive(Debug, thiserror::Error)]
pub enum DhcpError {
    /// A socket that cannot be had.
    #[error(
        "DHCP cannot listen on {interface}, UDP port {port}: {error}; is another DHCP server running, and may this process bind it (CAP_NET_BIND_SERVICE, CAP_NET_RAW)?"
    )]
    Listen {
        /// The interface.
        interface: String,
        /// The port.
        port: u16,
        /// What the system said.
        error: io::Error,
    },
    /// No interface to serve.
    #[error("no network interface to serve DHCP on")]
    NoInterface,
}

/// How DHCP is served.
#[derive(Debug, Clone)]
pub struct DhcpConfig {
    /// Interfaces by name.
    pub interfaces: Vec<String>,
    /// The server's port: 67 but for tests.
    pub port: u16,
    /// The proxy's port: 4011 but for tests.
    pub proxy_port: u16,
    /// The port of plain HTTP, for URLs.
    pub http_port: u16,
    /// Whether pool addresses are probed before they are offered.
    pub probe: bool,
    /// What clients behind relays are told to be our address, where the one that their packets arrive at is not reached by
    /// them: behind a load balancer.
    pub advertised: Option<Ipv4Addr>,
}

impl Default for DhcpConfig {
    fn default() -> Self {
        Self { interfaces: Vec::new(), port: 67, proxy_port: 4011, http_port: 8080, probe: true, advertised: None }
    }
}

/// What was done, in numbers since the start.
#[derive(Debug, Default)]
pub struct DhcpCounters {
    /// Datagrams received.
    pub received: Counter,
    /// Answers sent.
    pub answered: Counter,
    /// Datagrams that are no request.
    pub malformed: Counter,
    /// Requests that got no answer, for a reason.
    pub silent: Counter,
    /// Requests dropped since too many were in flight.
    pub dropped_busy: Counter,
    /// Answers lost since the store or the socket failed.
    pub failed: Counter,
    /// Requests that found the pool without a free address.
    pub pool_empty: Counter,
    /// Pool addresses offered without a probe, since too many were under way.
    pub unprobed: Counter,
    /// Addresses that a probe found taken.
    pub conflicts: Counter,
}

/// The DHCP service: bound, ready to run.
pub struct DhcpService<D> {
    inner: Arc<Inner<D>>,
    sockets: Vec<(Arc<str>, Port, UdpSocket)>,
}

/// An interface and a peer on it.
type Way = (Arc<str>, Ipv4Addr);

struct Inner<D> {
    desk: Arc<D>,
    config: DhcpConfig,
    counters: Arc<DhcpCounters>,
    in_flight: Arc<Semaphore>,
    probes: Semaphore,
    started: Instant,
    warned: Mutex<HashMap<String, Instant>>,
    counted: Mutex<Option<Instant>>,
    addresses: Mutex<HashMap<Way, (Option<Ipv4Addr>, Instant)>>,
}

impl<D: BootDesk> DhcpService<D> {
    /// Binds all sockets. `started` is the moment from which the lease table counts its milliseconds.
    ///
    /// # Errors
    /// A socket that cannot be had, or no interface.
    pub fn bind(desk: Arc<D>, config: DhcpConfig, started: Instant) -> Result<Self, DhcpError> {
        let sockets = sockets(&config)?;
        let inner = Inner {
            desk,
            config,
            counters: Arc::default(),
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            probes: Semaphore::new(PROBES),
            started,
            warned: Mutex::default(),
            counted: Mutex::default(),
            addresses: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), sockets })
    }

    /// What was done, in numbers.
    pub fn counters(&self) -> Arc<DhcpCounters> {
        Arc::clone(&self.inner.counters)
    }

    /// Serves until the future is dropped.
    pub async fn serve(self) {
        let mut tasks = tokio::task::JoinSet::new();
        for (interface, port, socket) in self.sockets {
            info!(%interface, ?port, "DHCP listens");
            tasks.spawn(receive(Arc::clone(&self.inner), interface, port, Arc::new(socket)));
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// Whether all sockets can be had: they are opened, and closed again at once.
///
/// # Errors
/// As [`DhcpService::bind`].
pub fn can_bind(config: &DhcpConfig) -> Result<(), DhcpError> {
    sockets(config).map(drop)
}

fn sockets(config: &DhcpConfig) -> Result<Vec<(Arc<str>, Port, UdpSocket)>, DhcpError> {
    if config.interfaces.is_empty() {
        return Err(DhcpError::NoInterface);
    }
    let mut sockets = Vec::new();
    for interface in &config.interfaces {
        let name: Arc<str> = Arc::from(interface.as_str());
        for (role, port) in [(Port::Server, config.port), (Port::Proxy, config.proxy_port)] {
            let socket = listen(interface, port).map_err(|error| DhcpError::Listen {
                interface: interface.clone(),
                port,
                error,
            })?;
            sockets.push((Arc::clone(&name), role, socket));
        }
    }
    Ok(sockets)
}

fn listen(interface: &str, port: u16) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking().cloexec(), Some(Protocol::UDP))?;
    // One socket an interface, all on the same port.
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.set_broadcast(true)?;
    // Room for a rack that powers on at once; the kernel may give less.
    let _ = socket.set_recv_buffer_size(4 << 20);
    socket.bind(&SockAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)))?;
    UdpSocket::from_std(socket.into())
}

async fn receive<D: BootDesk>(inner: Arc<Inner<D>>, interface: Arc<str>, port: Port, socket: Arc<UdpSocket>) {
    let mut buffer = vec![0u8; 4097];
    loop {
        let (length, source) = match socket.recv_from(&mut buffer).await {
            Ok((length, SocketAddr::V4(source))) => (length, source),
            Ok(_) => continue,
            Err(error) => {
                // The interface may be down for a while; it may come back.
                inner.warn_now_and_then("receive", || format!("DHCP on {interface} cannot receive: {error}"));
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        inner.counters.received.add();
        let request = match Request::decode(buffer.get(..length).unwrap_or_default()) {
            Ok(request) => request,
            Err(error) => {
                inner.counters.malformed.add();
                debug!(%interface, %source, %error, "no DHCP request");
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&inner.in_flight).try_acquire_owned() else {
            inner.counters.dropped_busy.add();
            continue;
        };
        let (inner, interface, socket) = (Arc::clone(&inner), Arc::clone(&interface), Arc::clone(&socket));
        tokio::spawn(async move {
            let arrival = Arrival { interface, port, source };
            inner.handle(&request, &arrival, &socket).await;
            drop(permit);
        });
    }
}

struct Arrival {
    interface: Arc<str>,
    port: Port,
    source: SocketAddrV4,
}

impl<D: BootDesk> Inner<D> {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn handle(&self, request: &Request, arrival: &Arrival, socket: &UdpSocket) {
        let network = self.desk.network();
        // Our address in a declared subnet on this interface; without one only relays can be served here. Which of a
        // subnet's addresses has a route through the interface depends on how the interface is set up.
        let local = network.subnets().iter().find_map(|subnet| {
            let pool = subnet.pools.first().map(|(_, last)| *last);
            [Some(subnet.prefix.broadcast()), pool, Some(subnet.prefix.base())].into_iter().flatten().find_map(
                |neighbour| self.toward(&arrival.interface, neighbour).filter(|ours| subnet.prefix.contains(*ours)),
            )
        });
        // Beyond a router: a relay, or a client that renews with none between, and to which a relay gave our address.
        let beyond = Some(request.giaddr).filter(|relay| !relay.is_unspecified()).or_else(|| {
            let client = speaks_from(request, arrival.source)?;
            let subnet = network.subnet_of(client)?;
            (!local.is_some_and(|ours| subnet.prefix.contains(ours))).then_some(client)
        });
        let server = match beyond {
            Some(beyond) => self.config.advertised.or_else(|| self.toward(&arrival.interface, beyond)),
            None => local,
        };
        let (Some(server), Some(interface)) = (server, local.or(server)) else {
            self.silence(request, arrival, Silence::NoSubnet);
            return;
        };

        let who = classify(request);
        let permit = if who.boots() {
            let place = request.link_selection().or(beyond).unwrap_or(interface);
            let seen = SeenBox {
                mac: request.mac,
                uuid: request.machine_uuid(),
                architecture: who.platform.and_then(Platform::architecture),
                firmware: who.platform.map(Platform::firmware),
                subnet: network.subnet_of(place).map(|subnet| subnet.name.clone()),
            };
            self.desk.boot_permitted(seen).await
        } else {
            BootPermit::Refused { reason: "it does not boot".to_owned() }
        };
        if let BootPermit::Refused { reason } = &permit
            && who.boots()
        {
            debug!(mac = %request.mac, %reason, "no boot file");
        }

        let leases = self.desk.leases();
        let mut probed = 0;
        let (reply, change) = loop {
            let decision = {
                let mut table = leases.lock();
                let now_ms = self.now_ms();
                let situation = Situation {
                    network: &network,
                    leases: &table,
                    permit: &permit,
                    server,
                    interface,
                    source: arrival.source,
                    port: arrival.port,
                    http_port: self.config.http_port,
                    probe: self.config.probe,
                    now_ms,
                    now_unix_ms: unix_ms(),
                };
                let decision = decide(request, &situation);
                // Under the same lock, so that two boxes are never offered one address.
                match &decision {
                    Decision::Answer { change: LeaseChange::Offer(address), .. } => {
                        table.offer(request.mac, *address, now_ms);
                    }
                    Decision::Silent { change: LeaseChange::Withdraw, .. } => table.withdraw(request.mac),
                    Decision::Answer { change: LeaseChange::Commit { lease, .. }, .. } => {
                        table.put(lease.clone(), now_ms);
                    }
                    Decision::Silent { change: LeaseChange::Release { .. }, .. } => table.end(request.mac, now_ms),
                    Decision::Silent { change: LeaseChange::Decline { lease }, .. } => {
                        table.decline(request.mac, lease.address, now_ms);
                    }
                    _ => {}
                }
                decision
            };
            match decision {
                Decision::Answer { reply, change } => break (Some(reply), change),
                Decision::Silent { silence, change } => {
                    self.silence(request, arrival, silence);
                    break (None, change);
                }
                Decision::Probe(address) => {
                    probed += 1;
                    if probed > PROBES_A_PACKET {
                        self.counters.silent.add();
                        return;
                    }
                    let found = self.probe(arrival, address).await;
                    leases.lock().remember_probe(address, found, self.now_ms());
                }
            }
        };
        // Durable before the answer leaves: an ACK is a promise.
        if let Err(error) = self.keep(&change).await {
            // What was not stored did not happen: the client's next try is a new lease again, with its event.
            if matches!(change, LeaseChange::Commit { new: true, .. }) {
                leases.lock().end(request.mac, self.now_ms());
            }
            self.counters.failed.add();
            self.warn_now_and_then("store", || format!("DHCP does not answer: a lease cannot be stored: {error}"));
            return;
        }
        if let LeaseChange::Commit { lease, new: true } = &change {
            info!(mac = %request.mac, address = %lease.address, subnet = %lease.subnet, seconds = lease.seconds, "leased");
            self.watch_pool(&network, &lease.subnet, &leases);
        }
        if let Some(reply) = reply {
            self.send(request, &reply, arrival, socket).await;
        }
    }

    /// Says loudly when a pool runs short, before somebody goes without.
    fn watch_pool(&self, network: &Network, subnet: &str, leases: &LeaseTable) {
        // Counting looks at the whole pool: not for each of a rack's machines that come at once.
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.is_some_and(|at| at.elapsed() < Duration::from_secs(5)) {
            return;
        }
        *counted = Some(Instant::now());
        drop(counted);
        let Some(subnet) = network.subnets().iter().find(|s| s.name == subnet) else { return };
        let (used, size) = pool_usage(network, &leases.lock(), subnet, self.now_ms());
        if size > 0 && used * 10 >= size * 9 {
            self.warn_now_and_then(&format!("short {}", subnet.name), || {
                format!("the DHCP pools of subnet {} run short: {used} of {size} addresses are in use", subnet.name)
            });
        }
    }

    async fn keep(&self, change: &LeaseChange) -> Result<(), StoreError> {
        match change {
            LeaseChange::Commit { lease, new } => self.desk.put_lease(lease.clone(), *new).await,
            LeaseChange::Release { lease } | LeaseChange::Decline { lease } => {
                self.desk.put_lease(lease.clone(), false).await
            }
            LeaseChange::None | LeaseChange::Offer(_) | LeaseChange::Withdraw => Ok(()),
        }
    }

    async fn send(&self, request: &Request, reply: &Reply, arrival: &Arrival, socket: &UdpSocket) {
        let to = match reply.to {
            Destination::To(address) => address,
            Destination::Broadcast => SocketAddrV4::new(Ipv4Addr::BROADCAST, 68),
        };
        let sent = match reply.encode(request) {
            Ok(bytes) => socket.send_to(&bytes, to).await.map(|_| ()),
            Err(error) => Err(io::Error::other(error)),
        };
        match sent {
            Ok(()) => {
                self.counters.answered.add();
                debug!(mac = %request.mac, asked = ?request.kind, kind = ?reply.kind, address = %reply.yiaddr, %to,
                    file = ?reply.file, "answered");
            }
            Err(error) => {
                self.counters.failed.add();
                self.warn_now_and_then("send", || {
                    format!("DHCP on {} cannot send to {to}: {error}", arrival.interface)
                });
            }
        }
    }

    fn silence(&self, request: &Request, arrival: &Arrival, silence: Silence) {
        self.counters.silent.add();
        if silence == Silence::PoolEmpty {
            self.counters.pool_empty.add();
            self.warn_now_and_then("pool", || {
                format!("a DHCP pool on {} has no free address left; {} goes without", arrival.interface, request.mac)
            });
        }
        debug!(mac = %request.mac, interface = %arrival.interface, asked = ?request.kind, reason = %silence, "not answered");
    }

    async fn probe(&self, arrival: &Arrival, address: Ipv4Addr) -> Probed {
        // More waiting probes than there is room for would only delay every client past its patience.
        let Ok(_room) = self.probes.try_acquire() else {
            self.counters.unprobed.add();
            return Probed::Free;
        };
        let interface = Arc::clone(&arrival.interface);
        let [_, _, high, low] = address.octets();
        let identifier = u16::from_be_bytes([high, low]);
        let answer = tokio::task::spawn_blocking(move || probe::answers(&interface, address, identifier)).await;
        match answer {
            Ok(Ok(true)) => {
                self.counters.conflicts.add();
                self.warn_now_and_then(&format!("conflict {address}"), || {
                    format!(
                        "{address} is in a DHCP pool, but something that has no lease answers there; it is left out"
                    )
                });
                Probed::Taken
            }
            Ok(Ok(false)) => Probed::Free,
            Ok(Err(error)) => {
                self.warn_now_and_then("probe", || {
                    format!("pool addresses are offered without a probe: {error} (CAP_NET_RAW is needed, or a group in net.ipv4.ping_group_range)")
                });
                Probed::Free
            }
            Err(_) => Probed::Free,
        }
    }

    /// Our address toward a peer through an interface; remembered for a few seconds.
    fn toward(&self, interface: &Arc<str>, peer: Ipv4Addr) -> Option<Ipv4Addr> {
        const BELIEVED: Duration = Duration::from_secs(5);
        let key = (Arc::clone(interface), peer);
        let now = Instant::now();
        let mut known = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((address, at)) = known.get(&key)
            && now.duration_since(*at) < BELIEVED
        {
            return *address;
        }
        // Relays' addresses come from the network: a bound on what is remembered.
        if known.len() > 4096 {
            known.clear();
        }
        let address = address_toward(Some(interface), peer).ok().filter(|a| !a.is_unspecified());
        known.insert(key, (address, now));
        address
    }

    fn warn_now_and_then(&self, kind: &str, text: impl FnOnce() -> String) {
        let now = Instant::now();
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.len() > 1024 {
            warned.clear();
        }
        if warned.get(kind).is_none_or(|at| now.duration_since(*at) >= WARN_EVERY) {
            warned.insert(kind.to_owned(), now);
            drop(warned);
            warn!("{}", text());
        }
    }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
