//! DHCP options that a subnet may give, by name (RFC 2132, 3397, 3442, 4833), and their bytes.

use serde_json::Value;
use std::net::Ipv4Addr;

/// An encoded option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// Its code.
    pub code: u8,
    /// Its bytes; longer than 255 are split when sent (RFC 3396).
    pub value: Vec<u8>,
}

/// Why an option cannot be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// No such name.
    #[error(
        "`{0}` is no DHCP option that a subnet can give; see the names in RFC 2132, or write `option-NUMBER: \"hex digits\"`"
    )]
    Name(String),
    /// The protocol's own: the server sets it.
    #[error("option `{0}` is set by the server itself")]
    Ours(String),
    /// A value of the wrong shape.
    #[error("option `{name}` wants {wanted}")]
    Value {
        /// The option.
        name: String,
        /// What it wants.
        wanted: &'static str,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Address,
    Addresses,
    Text,
    Domains,
    Flag,
    U8,
    U16,
    U32,
    I32,
    Routes,
    Hex,
}

impl Shape {
    const fn wanted(self) -> &'static str {
        match self {
            Self::Address => "an IPv4 address",
            Self::Addresses => "a list of IPv4 addresses",
            Self::Text => "a text of 1 to 255 bytes",
            Self::Domains => "a list of domain names",
            Self::Flag => "true or false",
            Self::U8 => "a number from 0 to 255",
            Self::U16 => "a number from 0 to 65535",
            Self::U32 => "a number from 0 to 4294967295",
            Self::I32 => "a number of 32 bits with a sign",
            Self::Routes => "a list of {to: NETWORK/LENGTH, via: ADDRESS}",
            Self::Hex => "hexadecimal digits, two a byte",
        }
    }
}

/// Names as dhcpd, Kea and systemd write IANA's.
const NAMES: &[(&str, u8, Shape)] = &[
    ("time-offset", 2, Shape::I32),
    ("routers", 3, Shape::Addresses),
    ("time-servers", 4, Shape::Addresses),
    ("name-servers", 5, Shape::Addresses),
    ("domain-name-servers", 6, Shape::Addresses),
    ("log-servers", 7, Shape::Addresses),
    ("cookie-servers", 8, Shape::Addresses),
    ("lpr-servers", 9, Shape::Addresses),
    ("domain-name", 15, Shape::Text),
    ("swap-server", 16, Shape::Address),
    ("root-path", 17, Shape::Text),
    ("ip-forwarding", 19, Shape::Flag),
    ("default-ip-ttl", 23, Shape::U8),
    ("interface-mtu", 26, Shape::U16),
    ("broadcast-address", 28, Shape::Address),
    ("arp-cache-timeout", 35, Shape::U32),
    ("nis-domain", 40, Shape::Text),
    ("nis-servers", 41, Shape::Addresses),
    ("ntp-servers", 42, Shape::Addresses),
    ("netbios-name-servers", 44, Shape::Addresses),
    ("netbios-node-type", 46, Shape::U8),
    ("smtp-server", 69, Shape::Addresses),
    ("pop-server", 70, Shape::Addresses),
    ("www-server", 72, Shape::Addresses),
    ("tz-posix", 100, Shape::Text),
    ("tz-name", 101, Shape::Text),
    ("domain-search", 119, Shape::Domains),
    ("classless-static-routes", 121, Shape::Routes),
    ("captive-portal", 114, Shape::Text),
    ("tftp-server-address", 150, Shape::Addresses),
];

/// Codes that belong to the exchange itself, to the boot answer or to the lease.
const OURS: &[u8] =
    &[0, 1, 43, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 66, 67, 77, 81, 82, 90, 93, 94, 97, 118, 175, 255];

/// Encodes an option by its name, or by number as `option-NUMBER` with hexadecimal bytes.
///
/// # Errors
/// An unknown name, one that the server sets itself, or a value of the wrong shape.
pub fn encode(name: &str, value: &Value) -> Result<Encoded, OptionError> {
    let (code, shape) = match NAMES.iter().find(|(known, ..)| *known == name) {
        Some((_, code, shape)) => (*code, *shape),
        None => {
            let number = name.strip_prefix("option-").and_then(|n| n.parse::<u8>().ok());
            (number.ok_or_else(|| OptionError::Name(name.to_owned()))?, Shape::Hex)
        }
    };
    if OURS.contains(&code) {
        return Err(OptionError::Ours(name.to_owned()));
    }
    let value = bytes(shape, value)
        .filter(|bytes| !bytes.is_empty() && bytes.len() <= 1024)
        .ok_or_else(|| OptionError::Value { name: name.to_owned(), wanted: shape.wanted() })?;
    Ok(Encoded { code, value })
}

/// The names that there are, for one that there is not.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().filter(|(_, code, _)| !OURS.contains(code)).map(|(name, ..)| *name)
}

fn bytes(shape: Shape, value: &Value) -> Option<Vec<u8>> {
    let number = |max: u64| value.as_u64().filter(|n| *n <= max);
    Some(match shape {
        Shape::Address => address(value)?.octets().to_vec(),
        Shape::Addresses => match value {
            Value::Array(list) => list.iter().map(address).collect::<Option<Vec<_>>>()?,
            one => vec![address(one)?],
        }
        .iter()
        .flat_map(Ipv4Addr::octets)
        .collect(),
        Shape::Text => value.as_str().filter(|t| t.len() <= 255 && !t.contains('\0'))?.as_bytes().to_vec(),
        Shape::Domains => {
            let mut encoded = Vec::new();
            for domain in value.as_array()? {
                encoded.extend(domain_bytes(domain.as_str()?)?);
            }
            encoded
        }
        Shape::Flag => vec![u8::from(value.as_bool()?)],
        Shape::U8 => vec![u8::try_from(number(0xff)?).ok()?],
        Shape::U16 => u16::try_from(number(0xffff)?).ok()?.to_be_bytes().to_vec(),
        Shape::U32 => u32::try_from(number(0xffff_ffff)?).ok()?.to_be_bytes().to_vec(),
        Shape::I32 => i32::try_from(value.as_i64()?).ok()?.to_be_bytes().to_vec(),
        Shape::Routes => {
            let mut encoded = Vec::new();
            for route in value.as_array()? {
                let (base, length) = route.get("to")?.as_str()?.split_once('/')?;
                let length: u8 = length.parse().ok().filter(|length| *length <= 32)?;
                let base: Ipv4Addr = base.parse().ok()?;
                if u32::from(base).checked_shl(length.into()).unwrap_or(0) != 0 {
                    return None; // bits beyond the length: a host, not a network
                }
                let via = address(route.get("via")?)?;
                // RFC 3442: the length, then only as many bytes of the network as matter.
                encoded.push(length);
                encoded.extend(base.octets().iter().take(usize::from(length).div_ceil(8)));
                encoded.extend(via.octets());
            }
            encoded
        }
        Shape::Hex => hex(value.as_str()?)?,
    })
}

fn address(value: &Value) -> Option<Ipv4Addr> {
    value.as_str()?.parse().ok()
}

/// A name in DNS wire form, uncompressed (RFC 3397 allows it).
fn domain_bytes(name: &str) -> Option<Vec<u8>> {
    let mut encoded = Vec::with_capacity(name.len() + 2);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len()).ok().filter(|l| (1..=63).contains(l))?;
        encoded.push(length);
        encoded.extend(label.bytes());
    }
    encoded.push(0);
    Some(encoded).filter(|e| e.len() <= 255)
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .filter(|c| !matches!(c, ':' | ' '))
        .map(|c| c.to_digit(16).and_then(|d| u8::try_from(d).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    rest.is_empty().then(|| pairs.iter().map(|[high, low]| (high << 4) | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn options_are_encoded_as_their_rfcs_say() {
        for (name, value, code, bytes) in [
            ("domain-name-servers", json!(["10.0.0.1", "10.0.0.2"]), 6, vec![10, 0, 0, 1, 10, 0, 0, 2]),
            ("ntp-servers", json!("10.0.0.1"), 42, vec![10, 0, 0, 1]),
            ("domain-name", json!("lab"), 15, b"lab".to_vec()),
            ("interface-mtu", json!(9000), 26, vec![0x23, 0x28]),
            ("time-offset", json!(-3600), 2, vec![0xff, 0xff, 0xf1, 0xf0]),
            ("domain-search", json!(["a.lab", "lab"]), 119, b"\x01a\x03lab\0\x03lab\0".to_vec()),
            (
                "classless-static-routes",
                json!([{"to": "10.1.0.0/16", "via": "10.0.0.1"}, {"to": "0.0.0.0/0", "via": "10.0.0.1"}]),
                121,
                vec![16, 10, 1, 10, 0, 0, 1, 0, 10, 0, 0, 1],
            ),
            ("option-224", json!("de:ad be ef"), 224, vec![0xde, 0xad, 0xbe, 0xef]),
        ] {
            assert_eq!(encode(name, &value), Ok(Encoded { code, value: bytes }), "{name}");
        }
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_the_shape_that_is_wanted() {
        for (name, value) in [
            ("domain-name-servers", json!(["lab"])),
            ("domain-name-servers", json!([])),
            ("interface-mtu", json!(65536)),
            ("interface-mtu", json!("1500")),
            ("domain-name", json!("")),
            ("option-224", json!("abc")),
            ("classless-static-routes", json!([{"to": "10.1.0.0", "via": "10.0.0.1"}])),
        ] {
            assert!(matches!(encode(name, &value), Err(OptionError::Value { .. })), "{name} {value}");
        }
        assert!(matches!(encode("dns", &json!("10.0.0.1")), Err(OptionError::Name(_))));
        for ours in ["option-53", "option-82", "option-67"] {
            assert!(matches!(encode(ours, &json!("00")), Err(OptionError::Ours(_))), "{ours}");
        }
    }
}
