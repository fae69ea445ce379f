//! Which interfaces there are, and which of our addresses somebody reaches through one.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Names of all interfaces but loopback, in order: those of this thread's network namespace, which `/sys` does not follow.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn interfaces() -> io::Result<Vec<String>> {
    let table = std::fs::read_to_string("/proc/thread-self/net/dev")?;
    // Two lines of heads, then `  eth0: 0 0 …`.
    let names = table.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim().to_owned());
    let mut names: Vec<String> = names.filter(|name| name != "lo").collect();
    names.sort();
    Ok(names)
}

/// Our address that packets to `peer` leave with, through `interface` alone where one is named. Sends nothing: a UDP
/// socket that is connected knows its source.
pub(super) fn address_toward(interface: Option<&str>, peer: Ipv4Addr) -> io::Result<Ipv4Addr> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(interface.map(str::as_bytes))?;
    socket.set_broadcast(true)?;
    socket.connect(&SockAddr::from(SocketAddrV4::new(peer, 9)))?;
    let local = socket.local_addr()?.as_socket_ipv4().ok_or_else(|| io::Error::other("no IPv4 address"))?;
    Ok(*local.ip())
}
