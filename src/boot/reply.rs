//! An answer to a client, and its bytes.
//!
//! The fixed header is dhcproto's. Options are laid out here: the message type first, since some boot ROMs look no
//! further for it; option 82 last and byte for byte (RFC 3046 2.2); long ones split (RFC 3396); padded to the 300 bytes
//! of a BOOTP packet, below which some relays and ROMs drop it (RFC 1542 2.1).

use super::packet::{Request, code};
use dhcproto::v4::{Message, MessageType, Opcode};
use dhcproto::{Encodable, Encoder};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The least bytes of an answer.
pub const LEAST_BYTES: usize = 300;

/// Where an answer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Destination {
    /// A relay or a client that has the address.
    To(SocketAddrV4),
    /// Broadcast to port 68 on the interface that the request came in by.
    Broadcast,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// OFFER, ACK or NAK.
    pub kind: MessageType,
    /// The address given; unspecified in a NAK, to an INFORM, and by a proxy.
    pub yiaddr: Ipv4Addr,
    /// The address that the client says it has, echoed where RFC 2131 table 3 wants it.
    pub ciaddr: Ipv4Addr,
    /// The boot server's address; unspecified where nothing is to boot.
    pub siaddr: Ipv4Addr,
    /// The boot server's name in the header: its address as text.
    pub sname: Option<String>,
    /// The boot file in the header, where it fits in 127 bytes.
    pub file: Option<String>,
    /// Options that must be sent, in the order in which they matter.
    pub options: Vec<(u8, Vec<u8>)>,
    /// Options that are left out, last first, when the client cannot take so much.
    pub extras: Vec<(u8, Vec<u8>)>,
    /// Where it goes.
    pub to: Destination,
}

impl Reply {
    /// An answer of a kind with nothing in it yet.
    pub fn new(kind: MessageType, to: Destination) -> Self {
        Self {
            kind,
            yiaddr: Ipv4Addr::UNSPECIFIED,
            ciaddr: Ipv4Addr::UNSPECIFIED,
            siaddr: Ipv4Addr::UNSPECIFIED,
            sname: None,
            file: None,
            options: Vec::new(),
            extras: Vec::new(),
            to,
        }
    }

    /// An option of this answer.
    pub fn option(&self, wanted: u8) -> Option<&[u8]> {
        self.options.iter().chain(&self.extras).find(|(code, _)| *code == wanted).map(|(_, value)| value.as_slice())
    }

    /// Sets the boot file in the header and in options 66 and 67: some clients read only the one, some only the other.
    pub fn set_boot(&mut self, server: Ipv4Addr, file: &str) {
        self.siaddr = server;
        self.sname = Some(server.to_string());
        self.options.push((code::TFTP_SERVER_NAME, server.to_string().into_bytes()));
        self.options.push((code::BOOT_FILE, file.as_bytes().to_vec()));
        // 128 bytes with the terminating zero. A longer one is in option 67 alone rather than cut off.
        self.file = (file.len() < 128).then(|| file.to_owned());
    }

    /// The datagram's payload.
    ///
    /// # Errors
    /// Only when dhcproto cannot write the fixed header, which it always can.
    pub fn encode(&self, request: &Request) -> Result<Vec<u8>, dhcproto::error::EncodeError> {
        let mut message =
            Message::new_with_id(request.xid, self.ciaddr, self.yiaddr, self.siaddr, request.giaddr, &request.mac.0);
        message.set_opcode(Opcode::BootReply).set_htype(request.htype.into()).set_flags(request.flags.into());
        if let Some(sname) = &self.sname {
            message.set_sname_str(sname);
        }
        if let Some(file) = &self.file {
            message.set_fname_str(file);
        }
        let mut bytes = Vec::with_capacity(576);
        message.encode(&mut Encoder::new(&mut bytes))?;
        // Whatever dhcproto put after the cookie is replaced by our own option area.
        bytes.truncate(240);

        put(&mut bytes, code::MESSAGE_TYPE, &[u8::from(self.kind)]);
        for (code, value) in &self.options {
            put(&mut bytes, *code, value);
        }
        // One option's worth (RFC 3046, section 2.0). A relay's is never longer; an answer has to fit a packet.
        let relay = request.option(code::RELAY_AGENT).filter(|relay| relay.len() <= 255);
        let tail = relay.map_or(0, |v| encoded_length(v.len())) + 1;
        let room = request.largest_reply_bytes();
        for (code, value) in &self.extras {
            if bytes.len() + encoded_length(value.len()) + tail <= room {
                put(&mut bytes, *code, value);
            }
        }
        if let Some(relay) = relay {
            put(&mut bytes, code::RELAY_AGENT, relay);
        }
        bytes.push(code::END);
        if bytes.len() < LEAST_BYTES {
            bytes.resize(LEAST_BYTES, code::PAD);
        }
        Ok(bytes)
    }
}

const fn encoded_length(value: usize) -> usize {
    value + 2 * if value == 0 { 1 } else { value.div_ceil(255) }
}

fn put(bytes: &mut Vec<u8>, code: u8, value: &[u8]) {
    if value.is_empty() {
        bytes.extend([code, 0]);
    }
    for part in value.chunks(255) {
        bytes.push(code);
        bytes.push(u8::try_from(part.len()).unwrap_or(u8::MAX));
        bytes.extend_from_slice(part);
    }
}
