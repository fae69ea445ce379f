//! DHCP on the wire: one socket an interface and port, bounded work, each packet counted. What is answered is decided by
//! [`crate::boot::dhcp::decide`].
//!
//! Sockets are bound to their interface, so that the interface a packet came in by is known and a broadcast leaves by it.

use super::interfaces::address_toward;
use super::probe;
use crate::boot::client::{Platform, classify};
use crate::boot::desk::{BootDesk, BootPermit, SeenBox};
use crate::boot::dhcp::{Decision, LeaseChange, Port, Silence, Situation, decide, pool_usage, speaks_from};
use crate::boot::leases::{LeaseTable, Probed};
use crate::boot::network::Network;
use crate::boot::packet::Request;
use crate::boot::reply::{Destination, Reply};
use crate::boot::share::{Heard, Named, Unanswered, renews};
use crate::metrics::Dhcp;
use crate::replicas::Replicas;
use crate::store::StoreError;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};
use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tracing::{debug, info, warn};

mod sockets;

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
    /// The servers that hear the same clients and share them with this one.
    pub replicas: Replicas,
    /// What the clock of the lease table showed when the service's time began, milliseconds.
    pub began_ms: u64,
}

impl Default for DhcpConfig {
    fn default() -> Self {
        Self {
            interfaces: Vec::new(),
            port: 67,
            proxy_port: 4011,
            http_port: 8080,
            probe: true,
            advertised: None,
            replicas: Replicas::alone(),
            began_ms: 0,
        }
    }
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
    metrics: Dhcp,
    in_flight: Arc<Semaphore>,
    probes: Semaphore,
    started: Instant,
    warned: Mutex<HashMap<String, Instant>>,
    counted: Mutex<Option<Instant>>,
    addresses: Mutex<HashMap<Way, (Option<Ipv4Addr>, Instant)>>,
    unanswered: Mutex<Unanswered>,
}

impl<D: BootDesk> DhcpService<D> {
    /// Binds all sockets. `started` is the moment from which the lease table counts its milliseconds; `metrics` counts.
    ///
    /// # Errors
    /// A socket that cannot be had, or no interface.
    pub fn bind(desk: Arc<D>, config: DhcpConfig, started: Instant, metrics: Dhcp) -> Result<Self, DhcpError> {
        let sockets = sockets::open(&config)?;
        let inner = Inner {
            desk,
            config,
            metrics,
            in_flight: Arc::new(Semaphore::new(IN_FLIGHT)),
            probes: Semaphore::new(PROBES),
            started,
            warned: Mutex::default(),
            counted: Mutex::default(),
            addresses: Mutex::default(),
            unanswered: Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner), sockets })
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
    sockets::open(config).map(drop)
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
        let request = match Request::decode(buffer.get(..length).unwrap_or_default()) {
            Ok(request) => request,
            Err(error) => {
                inner.metrics.packet("unknown", "malformed");
                debug!(%interface, %source, %error, "no DHCP request");
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&inner.in_flight).try_acquire_owned() else {
            inner.metrics.packet(request.kind.as_str(), "busy");
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
        let elapsed = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.config.began_ms.saturating_add(elapsed)
    }

    async fn handle(&self, request: &Request, arrival: &Arrival, socket: &UdpSocket) {
        let network = self.desk.network();
        // Our address in a declared subnet on this interface; without one only relays can be served here. Which of its addresses has
        // a route through the interface depends on how that is set up.
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
        let leases = self.desk.leases();
        let standing = self.config.replicas.standing();
        let heard = Heard {
            in_share: standing.answers_for(request.mac),
            // By a relay to an address that all replicas have a load balancer has chosen this one; on port 4011 the client has.
            only_here: arrival.port == Port::Proxy
                || (beyond.is_some() && self.config.advertised.is_some())
                || renews(request, leases.lock().of(request.mac), self.now_ms()),
            named: Named::of(request, &[server, interface]),
        };
        let takes = {
            let mut unanswered = self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
            unanswered.takes(request, heard, self.now_ms())
        };
        if !takes {
            self.silence(request, arrival, Silence::OtherReplica);
            return;
        }

        let who = classify(request);
        let permit = if who.boots() {
            let place = request.link_selection().or(beyond).unwrap_or(interface);
            let seen = SeenBox {
                mac: request.mac,
                uuid: request.machine_uuid(),
                architecture: who.platform.and_then(Platform::architecture),
                firmware: who.platform.map(Platform::firmware),
                subnet: network.subnet_of(place).map(|subnet| subnet.name.clone()),
                only_asks: request.only_asks(),
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
                    place: standing.place(),
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
                        self.metrics.packet(request.kind.as_str(), "all-taken");
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
            if reply.is_some() {
                self.metrics.packet(request.kind.as_str(), "failed");
            }
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
                self.metrics.packet(request.kind.as_str(), "answered");
                debug!(mac = %request.mac, asked = ?request.kind, kind = ?reply.kind, address = %reply.yiaddr, %to,
                    file = ?reply.file, "answered");
            }
            Err(error) => {
                self.metrics.packet(request.kind.as_str(), "failed");
                self.warn_now_and_then("send", || {
                    format!("DHCP on {} cannot send to {to}: {error}", arrival.interface)
                });
            }
        }
    }

    fn silence(&self, request: &Request, arrival: &Arrival, silence: Silence) {
        self.metrics.packet(request.kind.as_str(), silence.as_str());
        if silence == Silence::PoolEmpty {
            self.warn_now_and_then("pool", || {
                format!("a DHCP pool on {} has no free address left; {} goes without", arrival.interface, request.mac)
            });
        }
        debug!(mac = %request.mac, interface = %arrival.interface, asked = ?request.kind, reason = %silence, "not answered");
    }

    async fn probe(&self, arrival: &Arrival, address: Ipv4Addr) -> Probed {
        // More waiting probes than there is room for would only delay every client past its patience.
        let Ok(_room) = self.probes.try_acquire() else {
            self.metrics.unprobed.inc();
            return Probed::Free;
        };
        let interface = Arc::clone(&arrival.interface);
        let [_, _, high, low] = address.octets();
        let identifier = u16::from_be_bytes([high, low]);
        let answer = tokio::task::spawn_blocking(move || probe::answers(&interface, address, identifier)).await;
        match answer {
            Ok(Ok(true)) => {
                self.metrics.conflicts.inc();
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
