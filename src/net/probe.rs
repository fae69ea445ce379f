//! Whether anybody answers at an address: one ICMP echo, a short wait (RFC 2131 3.1 wants a pool address probed).

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// How long an answer is waited for: a boot ROM's first DISCOVER waits one second for its OFFER.
pub(super) const WAIT: Duration = Duration::from_millis(400);

/// Asks and waits; blocks at most [`WAIT`]. `true`: somebody answered.
///
/// # Errors
/// When this process may open neither a raw socket (CAP_NET_RAW) nor one for pings alone (`net.ipv4.ping_group_range`).
pub(super) fn answers(interface: &str, address: Ipv4Addr, identifier: u16) -> io::Result<bool> {
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4));
    // The kernel gives such a socket the answers to its own pings only, with an identifier of its own: enough to know.
    let socket =
        raw.or_else(|error| Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::ICMPV4)).map_err(|_| error))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    let echo = echo_request(identifier);
    // No route or nobody at the link layer: nobody there.
    if socket.send_to(&echo, &SockAddr::from(SocketAddrV4::new(address, 0))).is_err() {
        return Ok(false);
    }
    let end = Instant::now() + WAIT;
    let mut buffer = [MaybeUninit::<u8>::uninit(); 256];
    // A raw socket sees the whole machine's ICMP: a bound on what is looked at, beside the time.
    for _ in 0..4096 {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let Ok((_, from)) = socket.recv_from(&mut buffer) else { break };
        // Anything that it sends (an answer, a refusal) says that it is there.
        if from.as_socket_ipv4().is_some_and(|from| *from.ip() == address) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// ICMP echo request (RFC 792) with no data.
fn echo_request(identifier: u16) -> [u8; 8] {
    let [high, low] = identifier.to_be_bytes();
    let mut packet = [8, 0, 0, 0, high, low, 0, 1];
    let (words, _) = packet.as_chunks::<2>();
    let mut sum: u32 = words.iter().map(|word| u32::from(u16::from_be_bytes(*word))).sum();
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    let [check_high, check_low] = (!u16::try_from(sum).unwrap_or(0)).to_be_bytes();
    packet[2] = check_high;
    packet[3] = check_low;
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echo_request_sums_to_all_ones() {
        let packet = echo_request(0xbeef);
        let sum: u32 = packet.as_chunks::<2>().0.iter().map(|w| u32::from(u16::from_be_bytes(*w))).sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff);
    }
}
