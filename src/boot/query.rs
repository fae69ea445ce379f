//! What a box says of itself in a URL. iPXE percent-encodes; a plus sign is a plus sign there, not a space.

use super::Mac;
use super::client::Firmware;
use crate::content::kinds::Architecture;

/// The longest query that is looked at, bytes.
pub const LONGEST_QUERY_BYTES: usize = 2048;

/// Why a query is not understood. The text goes back to the box.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Longer than [`LONGEST_QUERY_BYTES`].
    #[error("the query is longer than {LONGEST_QUERY_BYTES} bytes")]
    TooLong,
    /// No `mac`, or none that is a network card's.
    #[error("`mac` is missing or no network card's address")]
    Mac,
}

/// What a box says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The MAC it booted from.
    pub mac: Mac,
    /// SMBIOS UUID, lower case; left out where it is no UUID.
    pub uuid: Option<String>,
    /// SMBIOS serial number: printable, at most 128 characters.
    pub serial: Option<String>,
    /// Its architecture.
    pub architecture: Option<Architecture>,
    /// The firmware's kind; BIOS where it does not say.
    pub firmware: Firmware,
}

/// Reads `mac=…&uuid=…&serial=…&arch=…&platform=…`: iPXE's `${netX/mac}`, `${uuid}`, `${serial}`, `${buildarch}`, `${platform}`.
///
/// # Errors
/// A query too long, or without a MAC. Anything else unknown or malformed is left out: it only helps to select.
pub fn parse(query: &str) -> Result<Said, QueryError> {
    if query.len() > LONGEST_QUERY_BYTES {
        return Err(QueryError::TooLong);
    }
    let value = |name: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| percent_decode(value))
            .filter(|value| !value.is_empty())
    };
    let mac: Mac = value("mac").and_then(|v| v.parse().ok()).filter(|m: &Mac| m.is_unicast()).ok_or(QueryError::Mac)?;
    let firmware = match value("platform").as_deref() {
        Some("efi" | "uefi") => Firmware::Uefi,
        _ => Firmware::Bios,
    };
    // iPXE's BIOS builds say i386 on 64-bit machines too; a machine that Formwork boots is 64-bit.
    let architecture = match value("arch").as_deref() {
        Some("x86_64" | "i386") => Some(Architecture::X86_64),
        Some("arm64" | "aarch64") => Some(Architecture::Aarch64),
        _ => None,
    };
    let uuid = value("uuid").map(|u| u.to_ascii_lowercase()).filter(|u| is_uuid(u));
    let serial = value("serial")
        .map(|s| s.trim().to_owned())
        .filter(|s| !s.is_empty() && s.chars().count() <= 128 && !s.chars().any(char::is_control));
    Ok(Said { mac, uuid, serial, architecture, firmware })
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(place, byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Decodes `%41`; what is no such triple stays as it is, bytes that are no UTF-8 become replacement characters.
fn percent_decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = |after: &[u8]| {
            let [high, low, ..] = after else { return None };
            let value = char::from(*high).to_digit(16)? * 16 + char::from(*low).to_digit(16)?;
            u8::try_from(value).ok()
        };
        match (*first == b'%').then(|| digits(after)).flatten() {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_ipxe_sends_is_understood() {
        let said = parse(
            "mac=52%3A54%3a00%3A00%3A00%3A01&uuid=4C4C4544-0001-2000-8000-B04F4D4C4931&serial=AB%20C%2B1&arch=x86_64&platform=efi",
        );
        assert_eq!(
            said,
            Ok(Said {
                mac: Mac([0x52, 0x54, 0, 0, 0, 1]),
                uuid: Some("4c4c4544-0001-2000-8000-b04f4d4c4931".into()),
                serial: Some("AB C+1".into()),
                architecture: Some(Architecture::X86_64),
                firmware: Firmware::Uefi,
            })
        );
        let bios = parse("mac=52-54-00-00-00-01&uuid=&serial=&arch=i386&platform=pcbios").expect("understood");
        assert_eq!((bios.firmware, bios.architecture, bios.serial), (Firmware::Bios, Some(Architecture::X86_64), None));
    }

    #[test]
    fn a_query_without_a_cards_mac_is_refused_and_odd_values_are_left_out() {
        for query in ["", "mac=", "mac=ff:ff:ff:ff:ff:ff", "mac=${netX/mac}", "uuid=1"] {
            assert_eq!(parse(query), Err(QueryError::Mac), "{query}");
        }
        let said = parse("mac=525400000001&uuid=x&serial=a%0aboot&arch=mips").expect("understood");
        assert_eq!((said.uuid, said.serial, said.architecture), (None, None, None));
        assert_eq!(parse(&"a".repeat(LONGEST_QUERY_BYTES + 1)), Err(QueryError::TooLong));
    }

    proptest! {
        #[test]
        fn no_query_makes_it_panic_or_lets_a_control_character_through(query in "\\PC{0,300}") {
            if let Ok(said) = parse(&format!("mac=525400000001&serial={query}")) {
                prop_assert!(!said.serial.unwrap_or_default().chars().any(char::is_control));
            }
        }
    }
}
