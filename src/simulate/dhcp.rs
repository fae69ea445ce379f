//! DHCP for thousands of machines from one process: it speaks as a relay would (RFC 1542, RFC 3046 without option 82). Messages
//! go from a relay's address and port 67 to the server's port 67 with `giaddr` set, and come back there, told apart by
//! their transaction id. What is real: the server's every decision, its leases and their writes. What is not: broadcasts on
//! the machines' own segment.

use super::acts::Asker;
use super::count::Count;
use crate::boot::packet::code;
use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::sync::oneshot;

/// How long one message waits for its answer, and how often it is sent; as PXE firmware, which doubles from four seconds.
const PATIENCE: [Duration; 3] = [Duration::from_secs(4), Duration::from_secs(8), Duration::from_secs(16)];
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const HEADER: usize = 236;

/// What a machine learnt from DHCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its address; unspecified by a proxy.
    pub address: Ipv4Addr,
    /// The boot file's name or URL.
    pub file: String,
    /// The server's identifier.
    server: Ipv4Addr,
    kind: u8,
}

/// The socket that all machines share.
pub struct Relay {
    socket: UdpSocket,
    address: Ipv4Addr,
    server: Ipv4Addr,
    proxy: bool,
    waiting: Mutex<HashMap<u32, oneshot::Sender<Vec<u8>>>>,
}

impl Relay {
    /// Binds the relay's port.
    ///
    /// # Errors
    /// Where the address is not of this host, or port 67 may not be had.
    pub async fn bind(address: Ipv4Addr, server: Ipv4Addr, proxy: bool) -> io::Result<Arc<Self>> {
        let socket = UdpSocket::bind((address, 67)).await?;
        let relay = Arc::new(Self { socket, address, server, proxy, waiting: Mutex::default() });
        let listening = Arc::downgrade(&relay);
        tokio::spawn(async move {
            let mut buffer = [0; 2048];
            while let Some(relay) = listening.upgrade() {
                let Ok((length, _)) = relay.socket.recv_from(&mut buffer).await else { continue };
                let Some(bytes) = buffer.get(..length) else { continue };
                let Some(xid) = bytes.get(4..8).and_then(|xid| xid.try_into().ok()).map(u32::from_be_bytes) else {
                    continue;
                };
                if let Some(waits) = relay.waiting().remove(&xid) {
                    let _ = waits.send(bytes.to_vec());
                }
            }
        });
        Ok(relay)
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<u32, oneshot::Sender<Vec<u8>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The whole exchange of a machine. `xid` must be nobody else's now.
    ///
    /// # Errors
    /// What did not come, for people.
    pub async fn exchange(
        &self,
        asker: Asker,
        mac: [u8; 6],
        uuid: [u8; 16],
        xid: u32,
        count: &Count,
    ) -> Result<Told, String> {
        let message =
            |kind, more: &[(u8, Vec<u8>)], ciaddr| encode(asker, kind, mac, uuid, xid, self.address, ciaddr, more);
        let discover = message(1, &[], Ipv4Addr::UNSPECIFIED);
        let offer = self.ask(xid, &discover, 2, count).await.ok_or("no DHCP offer")?;
        if self.proxy {
            // iPXE takes what the proxy's offer says; UEFI firmware asks again, at port 4011.
            if asker == Asker::Ipxe {
                return Ok(offer);
            }
            return self.ask_proxy(&message(3, &[], self.address), count).await;
        }
        let chosen = [
            (code::REQUESTED_ADDRESS, offer.address.octets().to_vec()),
            (code::SERVER_IDENTIFIER, offer.server.octets().to_vec()),
        ];
        let request = message(3, &chosen, Ipv4Addr::UNSPECIFIED);
        self.ask(xid, &request, 5, count).await.ok_or_else(|| "no DHCP acknowledgement".to_owned())
    }

    async fn ask(&self, xid: u32, message: &[u8], wanted: u8, count: &Count) -> Option<Told> {
        for patience in PATIENCE {
            let (sender, receiver) = oneshot::channel();
            self.waiting().insert(xid, sender);
            let sent = self.socket.send_to(message, SocketAddrV4::new(self.server, 67)).await;
            let answer = tokio::time::timeout(patience, receiver).await;
            self.waiting().remove(&xid);
            count.bytes(
                sent.as_ref().copied().unwrap_or_default(),
                answer.as_ref().map_or(0, |got| got.as_ref().map_or(0, Vec::len)),
            );
            if let (Ok(_), Ok(Ok(bytes))) = (sent, answer)
                && let Some(told) = decode(&bytes).filter(|told| told.kind == wanted)
            {
                return Some(told);
            }
        }
        None
    }

    async fn ask_proxy(&self, message: &[u8], count: &Count) -> Result<Told, String> {
        let wrong = |error: io::Error| error.to_string();
        let socket = UdpSocket::bind((self.address, 0)).await.map_err(wrong)?;
        let mut buffer = [0; 2048];
        for patience in PATIENCE {
            let sent = socket.send_to(message, SocketAddrV4::new(self.server, 4011)).await.map_err(wrong)?;
            let answer = tokio::time::timeout(patience, socket.recv_from(&mut buffer)).await;
            count.bytes(sent, answer.as_ref().map_or(0, |got| got.as_ref().map_or(0, |(length, _)| *length)));
            if let Ok(Ok((length, _))) = answer
                && let Some(told) = buffer.get(..length).and_then(decode).filter(|told| told.kind == 5)
            {
                return Ok(told);
            }
        }
        Err("no answer of the proxy at port 4011".to_owned())
    }
}

#[expect(clippy::too_many_arguments, reason = "a packet's fields")]
fn encode(
    asker: Asker,
    kind: u8,
    mac: [u8; 6],
    uuid: [u8; 16],
    xid: u32,
    giaddr: Ipv4Addr,
    ciaddr: Ipv4Addr,
    more: &[(u8, Vec<u8>)],
) -> Vec<u8> {
    let mut packet = vec![1, 1, 6, 1];
    packet.extend(xid.to_be_bytes());
    packet.extend([0; 4]); // secs, flags
    packet.extend(ciaddr.octets());
    packet.extend([0; 8]); // yiaddr, siaddr
    packet.extend(giaddr.octets());
    packet.extend(mac);
    packet.resize(HEADER, 0);
    packet.extend(COOKIE);
    let mut put = |code: u8, value: &[u8]| {
        packet.push(code);
        packet.push(u8::try_from(value.len()).unwrap_or(0));
        packet.extend(value);
    };
    put(code::MESSAGE_TYPE, &[kind]);
    put(code::VENDOR_CLASS, b"PXEClient:Arch:00007:UNDI:003016");
    put(code::CLIENT_ARCHITECTURE, &[0, 7]);
    put(94, &[1, 3, 16]); // RFC 4578: UNDI 3.16
    let mut machine = vec![0];
    machine.extend(uuid);
    put(code::CLIENT_MACHINE, &machine);
    put(code::PARAMETER_LIST, &[1, 3, 6, 12, 15, 43, 51, 54, 60, 66, 67, 175]);
    if asker == Asker::Ipxe {
        put(code::USER_CLASS, b"iPXE");
        put(code::ETHERBOOT, &[0x13, 1, 1]); // it has HTTP
    }
    more.iter().for_each(|(code, value)| put(*code, value));
    packet.push(code::END);
    packet
}

/// Reads an answer; `None`: it is none.
fn decode(bytes: &[u8]) -> Option<Told> {
    let address = |at: usize| {
        let octets: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
        Some(Ipv4Addr::from(octets))
    };
    if bytes.first() != Some(&2) || bytes.get(HEADER..HEADER + 4) != Some(&COOKIE) {
        return None;
    }
    let text = |bytes: &[u8]| {
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
    };
    let mut told = Told { address: address(16)?, file: text(bytes.get(108..HEADER)?), server: address(20)?, kind: 0 };
    let mut rest = bytes.get(HEADER + 4..)?;
    while let Some((option, after)) = rest.split_first() {
        match *option {
            code::PAD => rest = after,
            code::END => break,
            option => {
                let (length, after) = after.split_first()?;
                let (value, after) = after.split_at_checked(usize::from(*length))?;
                match option {
                    code::MESSAGE_TYPE => told.kind = *value.first()?,
                    code::SERVER_IDENTIFIER => told.server = <[u8; 4]>::try_from(value).ok()?.into(),
                    code::BOOT_FILE if told.file.is_empty() => told.file = text(value),
                    _ => {}
                }
                rest = after;
            }
        }
    }
    Some(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::client::{Client, Platform, classify};
    use crate::boot::packet::{MessageKind, Request};
    use proptest::prelude::*;

    #[test]
    fn what_a_simulated_machine_sends_is_what_firmware_and_ipxe_send_by_a_relay() {
        let relay = Ipv4Addr::new(10, 77, 0, 2);
        for (asker, client) in [(Asker::Firmware, Client::Pxe), (Asker::Ipxe, Client::Ipxe { http: true })] {
            let bytes = encode(asker, 1, [2, 0, 0, 0, 0, 1], [7; 16], 42, relay, Ipv4Addr::UNSPECIFIED, &[]);
            let request = Request::decode(&bytes).unwrap();
            assert_eq!((request.kind, request.xid, request.giaddr), (MessageKind::Discover, 42, relay));
            let who = classify(&request);
            assert_eq!((who.client, who.platform), (client, Some(Platform::UefiX64)));
        }
    }

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(bytes: Vec<u8>) {
            let _ = decode(&bytes);
            let mut packet = vec![2; HEADER];
            packet.extend(COOKIE);
            packet.extend(bytes);
            let _ = decode(&packet);
        }
    }
}
