//! The sockets of DHCP: one an interface and port.

use super::{DhcpConfig, DhcpError};
use crate::boot::dhcp::Port;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use tokio::net::UdpSocket;

pub(super) fn open(config: &DhcpConfig) -> Result<Vec<(Arc<str>, Port, UdpSocket)>, DhcpError> {
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
