//! A DHCPv4 request, read from raw bytes (RFC 2131, 2132, 3396). Never panics, whatever comes.
//!
//! The fixed header is dhcproto's. The options are walked here, because what a boot server needs of them is their very
//! bytes: a wrong magic cookie must be refused, options that are cut off must not vanish, overloaded `file` and `sname`
//! (option 52) hold options too, option 82 must go back byte for byte, and option 93 is a list.

use super::Mac;
use dhcproto::v4::Message;
use dhcproto::{Decodable, Decoder};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Option codes that the boot server reads or writes by number (RFC 2132 and the ones named).
pub mod code {
    #![allow(missing_docs, reason = "each constant's name is its IANA name")]
    pub const SUBNET_MASK: u8 = 1;
    pub const ROUTERS: u8 = 3;
    pub const HOST_NAME: u8 = 12;
    pub const BROADCAST_ADDRESS: u8 = 28;
    pub const VENDOR_INFORMATION: u8 = 43;
    pub const REQUESTED_ADDRESS: u8 = 50;
    pub const LEASE_TIME: u8 = 51;
    pub const OVERLOAD: u8 = 52;
    pub const MESSAGE_TYPE: u8 = 53;
    pub const SERVER_IDENTIFIER: u8 = 54;
    pub const PARAMETER_LIST: u8 = 55;
    pub const MESSAGE: u8 = 56;
    pub const MAXIMUM_SIZE: u8 = 57;
    pub const RENEWAL_TIME: u8 = 58;
    pub const REBINDING_TIME: u8 = 59;
    pub const VENDOR_CLASS: u8 = 60;
    pub const CLIENT_IDENTIFIER: u8 = 61;
    pub const TFTP_SERVER_NAME: u8 = 66;
    pub const BOOT_FILE: u8 = 67;
    /// RFC 3004.
    pub const USER_CLASS: u8 = 77;
    /// RFC 3046.
    pub const RELAY_AGENT: u8 = 82;
    /// RFC 4578.
    pub const CLIENT_ARCHITECTURE: u8 = 93;
    /// RFC 4578.
    pub const CLIENT_MACHINE: u8 = 97;
    /// RFC 3011.
    pub const SUBNET_SELECTION: u8 = 118;
    /// RFC 5859.
    pub const TFTP_SERVER_ADDRESS: u8 = 150;
    /// Used by Etherboot and iPXE.
    pub const ETHERBOOT: u8 = 175;
    pub const PAD: u8 = 0;
    pub const END: u8 = 255;
}

/// What a client asks (option 53, RFC 2132 9.6), only what clients send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// DHCPDISCOVER.
    Discover,
    /// DHCPREQUEST.
    Request,
    /// DHCPDECLINE.
    Decline,
    /// DHCPRELEASE.
    Release,
    /// DHCPINFORM.
    Inform,
}

impl MessageKind {
    /// The word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Discover => "discover",
            Self::Request => "request",
            Self::Decline => "decline",
            Self::Release => "release",
            Self::Inform => "inform",
        }
    }
}

/// Why bytes are no request that this server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Shorter than the fixed header and the cookie, or longer than any datagram of a boot network.
    #[error("a packet of {0} bytes is no DHCP message")]
    Length(usize),
    /// `op` is not BOOTREQUEST.
    #[error("not a request from a client (op is not 1)")]
    NotRequest,
    /// The options do not begin with 99.130.83.99 (RFC 1497).
    #[error("wrong magic cookie")]
    Cookie,
    /// Hardware that is no Ethernet, or an address that cannot be one card's.
    #[error("hardware type {htype} with an address of {hlen} bytes is not an Ethernet card's")]
    Hardware {
        /// Hardware type (IANA).
        htype: u8,
        /// Length of the address, bytes.
        hlen: u8,
    },
    /// An option says it is longer than what is left.
    #[error("option {0} is cut off")]
    Truncated(u8),
    /// An option has a length that its RFC does not allow.
    #[error("option {0} has a wrong length")]
    OptionLength(u8),
    /// No option 53, or a message that only servers send: plain BOOTP is not served.
    #[error("no message type that a client sends (option 53)")]
    MessageType,
}

/// A request from a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What it asks.
    pub kind: MessageKind,
    /// Transaction id, echoed.
    pub xid: u32,
    /// Seconds since it began, as it says.
    pub secs: u16,
    /// Relay hops so far.
    pub hops: u8,
    /// The flags word, echoed.
    pub flags: u16,
    /// The address it already uses; unspecified: none.
    pub ciaddr: Ipv4Addr,
    /// The relay that forwarded it; unspecified: none.
    pub giaddr: Ipv4Addr,
    /// Its hardware address: the key of its lease.
    pub mac: Mac,
    /// Hardware type, echoed.
    pub htype: u8,
    /// Options by code, each joined from its parts (RFC 3396), overload resolved.
    options: BTreeMap<u8, Vec<u8>>,
}

/// The client identifier (option 61) of a question that only asks who answers, of `formwork doctor`. Type 0: it is no address
/// (RFC 2132 9.14).
pub const QUESTION: &[u8] = b"\0formwork doctor";

const HEADER_BYTES: usize = 236;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// More than any client sends over Ethernet; a bound on work.
const LARGEST_BYTES: usize = 4096;

impl Request {
    /// Reads a datagram's payload.
    ///
    /// # Errors
    /// What is wrong with it; such a packet is counted and dropped.
    pub fn decode(bytes: &[u8]) -> Result<Self, PacketError> {
        if bytes.len() < HEADER_BYTES + COOKIE.len() || bytes.len() > LARGEST_BYTES {
            return Err(PacketError::Length(bytes.len()));
        }
        let (header, rest) = bytes.split_at_checked(HEADER_BYTES).ok_or(PacketError::Length(bytes.len()))?;
        let (cookie, area) = rest.split_at_checked(COOKIE.len()).ok_or(PacketError::Length(bytes.len()))?;
        if cookie != COOKIE {
            return Err(PacketError::Cookie);
        }
        let [op, htype, hlen, ..] = *header else { return Err(PacketError::Length(bytes.len())) };
        if op != 1 {
            return Err(PacketError::NotRequest);
        }
        // Checked before dhcproto sees it: it slices `chaddr` by `hlen`. Hardware type 6 is IEEE 802 (token ring NICs
        // and some virtual ones say so); its addresses are the same six bytes.
        if !matches!(htype, 1 | 6) || hlen != 6 {
            return Err(PacketError::Hardware { htype, hlen });
        }
        // Only the header and the cookie: the options are walked below.
        let fixed = bytes.get(..HEADER_BYTES + COOKIE.len()).ok_or(PacketError::Length(bytes.len()))?;
        let message = Message::decode(&mut Decoder::new(fixed)).map_err(|_| PacketError::Length(bytes.len()))?;
        let mac = Mac(message.chaddr().try_into().map_err(|_| PacketError::Hardware { htype, hlen })?);
        if !mac.is_unicast() {
            return Err(PacketError::Hardware { htype, hlen });
        }

        let mut options = BTreeMap::new();
        walk(area, &mut options)?;
        if let Some(overload) = options.get(&code::OVERLOAD).and_then(|v| v.first().copied()) {
            // RFC 2131 4.1: `file` before `sname`, after the options field.
            let file = header.get(108..236).unwrap_or_default();
            let sname = header.get(44..108).unwrap_or_default();
            if overload & 1 != 0 {
                walk(file, &mut options)?;
            }
            if overload & 2 != 0 {
                walk(sname, &mut options)?;
            }
        }
        let kind = match options.get(&code::MESSAGE_TYPE).map(Vec::as_slice) {
            Some([1]) => MessageKind::Discover,
            Some([3]) => MessageKind::Request,
            Some([4]) => MessageKind::Decline,
            Some([7]) => MessageKind::Release,
            Some([8]) => MessageKind::Inform,
            _ => return Err(PacketError::MessageType),
        };
        for single in [code::REQUESTED_ADDRESS, code::SERVER_IDENTIFIER] {
            if options.get(&single).is_some_and(|v| v.len() != 4) {
                return Err(PacketError::OptionLength(single));
            }
        }
        Ok(Self {
            kind,
            xid: message.xid(),
            secs: message.secs(),
            hops: message.hops(),
            flags: message.flags().into(),
            ciaddr: message.ciaddr(),
            giaddr: message.giaddr(),
            mac,
            htype,
            options,
        })
    }

    /// An option's bytes as they came; parts joined.
    pub fn option(&self, code: u8) -> Option<&[u8]> {
        self.options.get(&code).map(Vec::as_slice)
    }

    fn address(&self, code: u8) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.option(code)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes))
    }

    /// It only asks who answers, and is no box that boots. A box that says so hides nothing: what it boots next, it asks for with
    /// its own name, and is recorded then.
    pub fn only_asks(&self) -> bool {
        self.kind == MessageKind::Discover && self.option(code::CLIENT_IDENTIFIER) == Some(QUESTION)
    }

    /// The address it wants (option 50).
    pub fn requested_address(&self) -> Option<Ipv4Addr> {
        self.address(code::REQUESTED_ADDRESS)
    }

    /// The server it speaks to (option 54).
    pub fn server_identifier(&self) -> Option<Ipv4Addr> {
        self.address(code::SERVER_IDENTIFIER)
    }

    /// The architectures it says it is, in its order (option 93, RFC 4578 2.1). An odd byte at the end is no architecture.
    pub fn architectures(&self) -> Vec<u16> {
        let bytes = self.option(code::CLIENT_ARCHITECTURE).unwrap_or_default();
        bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
    }

    /// Its UUID (option 97, RFC 4578 2.3): 17 bytes of which the first is 0. Lower case.
    ///
    /// The RFC does not say in which byte order. Firmware and iPXE send the SMBIOS structure as it is stored, its first
    /// three fields little-endian; this is the text that the kernel and iPXE's `${uuid}` show for it.
    pub fn machine_uuid(&self) -> Option<String> {
        let bytes: &[u8; 17] = self.option(code::CLIENT_MACHINE)?.try_into().ok()?;
        let [0, a, b, c, d, e, f, g, h, tail @ ..] = *bytes else { return None };
        let mut text = String::with_capacity(36);
        for (index, byte) in [d, c, b, a, f, e, h, g].iter().chain(&tail).enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        Some(text)
    }

    /// Its user classes (option 77). RFC 3004 wants each with a length before it; iPXE and others send bare text.
    pub fn user_classes(&self) -> Vec<&[u8]> {
        let Some(bytes) = self.option(code::USER_CLASS).filter(|v| !v.is_empty()) else { return Vec::new() };
        let mut listed = Vec::new();
        let mut rest = bytes;
        while let Some((length, after)) = rest.split_first() {
            match after.split_at_checked(usize::from(*length)) {
                Some((class, after)) if !class.is_empty() => {
                    listed.push(class);
                    rest = after;
                }
                _ => return vec![bytes],
            }
        }
        listed
    }

    /// Its vendor class (option 60).
    pub fn vendor_class(&self) -> &[u8] {
        self.option(code::VENDOR_CLASS).unwrap_or_default()
    }

    /// A sub-option of the relay's option 82 (RFC 3046), where the option is well-formed so far.
    fn relay_suboption(&self, wanted: u8) -> Option<&[u8]> {
        suboption(self.option(code::RELAY_AGENT)?, wanted)
    }

    /// The subnet that the relay (82.5, RFC 3527) or the client (118, RFC 3011) says the address must be of.
    pub fn link_selection(&self) -> Option<Ipv4Addr> {
        let relay: Option<[u8; 4]> = self.relay_suboption(5).and_then(|v| v.try_into().ok());
        relay.map(Ipv4Addr::from).or_else(|| self.address(code::SUBNET_SELECTION))
    }

    /// The server identifier that a relay wants us to give, so that renewals come through it (82.11, RFC 5107).
    pub fn server_identifier_override(&self) -> Option<Ipv4Addr> {
        let bytes: [u8; 4] = self.relay_suboption(11)?.try_into().ok()?;
        Some(Ipv4Addr::from(bytes)).filter(|a| !a.is_unspecified())
    }

    /// Whether iPXE says it has a feature (option 175, one byte each).
    pub fn ipxe_feature(&self, feature: u8) -> Option<bool> {
        let encapsulated = self.option(code::ETHERBOOT)?;
        Some(suboption(encapsulated, feature).is_some_and(|v| v.first().is_some_and(|b| *b != 0)))
    }

    /// The largest message it takes, in bytes of payload (option 57 less IP and UDP headers), never below the 548 that
    /// every client must take (RFC 2131 section 2) nor above what fits Ethernet.
    pub fn largest_reply_bytes(&self) -> usize {
        let bytes: Option<[u8; 2]> = self.option(code::MAXIMUM_SIZE).and_then(|v| v.try_into().ok());
        let said = bytes.map_or(576, u16::from_be_bytes);
        usize::from(said.clamp(576, 1500)) - 28
    }

    /// Whether it asked for an option (55), or asked for none in particular.
    pub fn wants(&self, wanted: u8) -> bool {
        self.option(code::PARAMETER_LIST).is_none_or(|list| list.contains(&wanted))
    }

    /// The broadcast flag.
    pub fn wants_broadcast(&self) -> bool {
        self.flags & 0x8000 != 0
    }
}

/// Finds a sub-option in an encapsulated option. A cut-off one ends the search.
fn suboption(bytes: &[u8], wanted: u8) -> Option<&[u8]> {
    let mut rest = bytes;
    while let [code, length, after @ ..] = rest {
        let (value, after) = after.split_at_checked(usize::from(*length))?;
        if *code == wanted {
            return Some(value);
        }
        rest = after;
    }
    None
}

/// Walks one option area, appending to what is there (RFC 3396). An area may end without END when it is used up.
///
/// # Errors
/// [`PacketError::Truncated`] names the option that ends behind the area.
pub(crate) fn walk(area: &[u8], options: &mut BTreeMap<u8, Vec<u8>>) -> Result<(), PacketError> {
    let mut rest = area;
    while let Some((option, after)) = rest.split_first() {
        match *option {
            code::PAD => rest = after,
            code::END => break,
            option => {
                let (length, after) = after.split_first().ok_or(PacketError::Truncated(option))?;
                let (value, after) =
                    after.split_at_checked(usize::from(*length)).ok_or(PacketError::Truncated(option))?;
                options.entry(option).or_default().extend_from_slice(value);
                rest = after;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "packet_tests.rs"]
mod tests;
