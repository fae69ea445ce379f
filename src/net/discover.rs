//! Who answers DHCP on a wire: one DISCOVER (RFC 2131 4.4.1), and whoever offers within a short time. No address is taken.

use crate::boot::packet::{QUESTION, code, walk};
use dhcproto::v4::{DhcpOption, Flags, Message, MessageType, OptionCode};
use dhcproto::{Decodable, Decoder, Encodable, Encoder};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

/// So many packets are looked at while waiting; a wire can be noisy.
const PACKETS_MAX: usize = 4096;

/// Who asks where the system does not show the interface's own address: locally administered, and always the same, so that
/// asking again sets no second address of a pool aside. The answer is asked for as a broadcast.
const ASKER: [u8; 6] = [0x02, 0x66, 0x77, 0x64, 0x6f, 0x63];

/// A server that offered something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// What it calls itself (option 54), else where its packet came from.
    pub server: Ipv4Addr,
    /// The address it offered; `0.0.0.0` for a proxy.
    pub offered: Ipv4Addr,
    /// It says what to boot.
    pub boots: bool,
}

/// Asks on an interface and gives back who answered within `wait`, each once. Blocks.
///
/// # Errors
/// The interface is not there, or this process may not bind port 68 on it.
pub fn who_answers(interface: &str, wait: Duration) -> io::Result<Vec<Answer>> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    // Beside a client of the system that has the port.
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(interface.as_bytes())).map_err(|error| {
        let gone = error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error());
        if gone { io::Error::new(io::ErrorKind::NotFound, "no such interface") } else { error }
    })?;
    socket.set_broadcast(true)?;
    socket.bind(&SockAddr::from(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 68)))?;
    let mut random = [0; 4];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut random)
        .map_err(|_| io::Error::other("no random numbers"))?;
    let transaction = u32::from_be_bytes(random);
    let hardware = hardware_address(interface).unwrap_or(ASKER);
    let packet = discover(transaction, &hardware).map_err(|error| io::Error::other(error.to_string()))?;
    let socket = UdpSocket::from(socket);
    socket.send_to(&packet, SocketAddrV4::new(Ipv4Addr::BROADCAST, 67))?;
    let end = Instant::now() + wait;
    let mut answers: Vec<Answer> = Vec::new();
    let mut buffer = [0; 2048];
    for _ in 0..PACKETS_MAX {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        let (length, from) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            Err(error) => return Err(error),
        };
        let source = match from.ip() {
            IpAddr::V4(source) => source,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        };
        if let Some(answer) = offer(buffer.get(..length).unwrap_or_default(), transaction, source)
            && !answers.iter().any(|known| known.server == answer.server)
        {
            answers.push(answer);
        }
    }
    answers.sort_unstable_by_key(|answer| answer.server);
    Ok(answers)
}

/// The interface's own MAC; `None` where the system does not show it.
fn hardware_address(interface: &str) -> Option<[u8; 6]> {
    // A name is one segment of a path.
    if interface.is_empty() || interface.contains('/') || interface.starts_with('.') {
        return None;
    }
    let text = std::fs::read_to_string(format!("/sys/class/net/{interface}/address")).ok()?;
    let mut address = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut address {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    Some(address)
}

/// The packet that asks: as a network boot ROM does, so that whoever serves those answers, and with a name by which a server of
/// Formwork knows that no box stands behind it.
fn discover(transaction: u32, hardware: &[u8; 6]) -> Result<Vec<u8>, dhcproto::error::EncodeError> {
    let mut message = Message::default();
    message.set_xid(transaction).set_flags(Flags::default().set_broadcast()).set_chaddr(hardware);
    let options = message.opts_mut();
    options.insert(DhcpOption::MessageType(MessageType::Discover));
    options.insert(DhcpOption::ClassIdentifier(b"PXEClient:Arch:00007:UNDI:003016".to_vec()));
    options.insert(DhcpOption::ClientIdentifier(QUESTION.to_vec()));
    options.insert(DhcpOption::ParameterRequestList(vec![
        OptionCode::SubnetMask,
        OptionCode::Router,
        OptionCode::BootfileName,
        OptionCode::TFTPServerName,
    ]));
    let mut bytes = Vec::new();
    message.encode(&mut Encoder::new(&mut bytes))?;
    // The least that a BOOTP relay passes on (RFC 1542 2.1).
    bytes.resize(bytes.len().max(300), 0);
    Ok(bytes)
}

/// What a packet offers, if it is an answer to ours.
fn offer(bytes: &[u8], transaction: u32, source: Ipv4Addr) -> Option<Answer> {
    // dhcproto slices `chaddr` by `hlen`: at most 16 (RFC 2131, 2). Only the header is its to read: some options of a wrong
    // length end it by a panic.
    let (header, area) = bytes.split_at_checked(240)?;
    if header.get(2).is_none_or(|length| *length > 16) {
        return None;
    }
    let message = Message::decode(&mut Decoder::new(header)).ok()?;
    let mut options = BTreeMap::new();
    walk(area, &mut options).ok()?;
    let option = |wanted: u8| options.get(&wanted).map(Vec::as_slice);
    if message.xid() != transaction || option(code::MESSAGE_TYPE) != Some(&[u8::from(MessageType::Offer)][..]) {
        return None;
    }
    let server = option(code::SERVER_IDENTIFIER).and_then(|value| <[u8; 4]>::try_from(value).ok());
    let server = server.map_or(source, Ipv4Addr::from);
    let named = message.fname().is_some_and(|name| name.iter().any(|byte| *byte != 0));
    let boots = named || option(code::BOOT_FILE).is_some();
    Some(Answer { server, offered: message.yiaddr(), boots })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_asks_is_a_boot_rom_that_wants_its_answer_broadcast() {
        let bytes = discover(7, &[2, 0, 0, 0, 0, 1]).unwrap();
        let request = crate::boot::packet::Request::decode(&bytes).expect("our own server reads it");
        let message = Message::decode(&mut Decoder::new(&bytes)).unwrap();
        assert!(bytes.len() >= 300 && message.flags().broadcast() && message.xid() == 7);
        assert!(request.only_asks());
        assert!(request.option(60).is_some_and(|class| class.starts_with(b"PXEClient")));
    }

    #[test]
    fn an_offer_to_our_question_says_who_and_what() {
        let mut message = Message::default();
        message.set_xid(7).set_opcode(dhcproto::v4::Opcode::BootReply).set_yiaddr([10, 0, 0, 9]);
        message.opts_mut().insert(DhcpOption::MessageType(MessageType::Offer));
        let mut bytes = Vec::new();
        message.encode(&mut Encoder::new(&mut bytes)).unwrap();
        let source = Ipv4Addr::new(10, 0, 0, 1);
        let expected = Answer { server: source, offered: Ipv4Addr::new(10, 0, 0, 9), boots: false };
        assert_eq!((offer(&bytes, 7, source), offer(&bytes, 8, source)), (Some(expected), None));
    }

    proptest! {
        #[test]
        fn no_packet_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            let _ = offer(&bytes, 0, Ipv4Addr::UNSPECIFIED);
        }
    }
}
