//! A hardware address, as one type with one spelling.

use serde::{Deserialize, Serialize};

/// A 48-bit hardware address. Shown and stored as lower-case hexadecimal with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Mac(pub [u8; 6]);

/// The text is no 48-bit hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a MAC address: write six pairs of hexadecimal digits, such as 52:54:00:00:00:01")]
pub struct WrongMac;

impl Mac {
    /// Whether it can belong to one network card: neither all zeros nor a group address (IEEE 802 group bit).
    pub const fn is_unicast(self) -> bool {
        let [first, rest @ ..] = self.0;
        let zero = first == 0 && rest[0] == 0 && rest[1] == 0 && rest[2] == 0 && rest[3] == 0 && rest[4] == 0;
        !zero && first & 1 == 0
    }
}

impl std::fmt::Display for Mac {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl std::str::FromStr for Mac {
    type Err = WrongMac;

    /// Reads colons, dashes, dots (`5254.0000.0001`) or nothing between the digits, any case.
    fn from_str(text: &str) -> Result<Self, WrongMac> {
        if text.len() > 17 {
            return Err(WrongMac);
        }
        let mut bytes = [0u8; 6];
        let mut digits = 0usize;
        for character in text.chars() {
            if matches!(character, ':' | '-' | '.') {
                if !digits.is_multiple_of(2) {
                    return Err(WrongMac);
                }
                continue;
            }
            let value = character.to_digit(16).and_then(|v| u8::try_from(v).ok()).ok_or(WrongMac)?;
            let byte = bytes.get_mut(digits / 2).ok_or(WrongMac)?;
            *byte = (*byte << 4) | value;
            digits += 1;
        }
        if digits == 12 { Ok(Self(bytes)) } else { Err(WrongMac) }
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl TryFrom<String> for Mac {
    type Error = WrongMac;

    fn try_from(text: String) -> Result<Self, WrongMac> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_usual_spelling_is_read_and_one_is_written() {
        for text in ["52:54:00:AB:cd:01", "52-54-00-ab-cd-01", "525400abcd01", "5254.00ab.cd01"] {
            assert_eq!(text.parse::<Mac>().map(|m| m.to_string()), Ok("52:54:00:ab:cd:01".to_owned()), "{text}");
        }
        for text in ["", "52:54:00:ab:cd", "52:54:00:ab:cd:01:02", "5:2540:0ab:cd01", "gg:54:00:ab:cd:01"] {
            assert_eq!(text.parse::<Mac>(), Err(WrongMac), "{text}");
        }
    }

    #[test]
    fn zeros_and_group_addresses_belong_to_no_card() {
        for (text, unicast) in [
            ("00:00:00:00:00:00", false),
            ("ff:ff:ff:ff:ff:ff", false),
            ("01:00:5e:00:00:01", false),
            ("02:00:00:00:00:00", true),
        ] {
            assert_eq!(text.parse::<Mac>().map(Mac::is_unicast), Ok(unicast), "{text}");
        }
    }
}
