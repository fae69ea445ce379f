//! Selectors as machines show them: one spelling of each, and the values that vendors leave in place of one.

/// A MAC address as `52:54:00:00:00:01`; colons, dashes or dots, any case. `None` for what is not an EUI-48, is all zeros, or is a
/// group address (IEEE 802: a network card's own address has that bit clear).
pub fn normal_mac(written: &str) -> Option<String> {
    let digits = mac_digits(written)?;
    let first = u8::from_str_radix(digits.get(..2)?, 16).ok()?;
    let whole = digits.len() == 12;
    let zeros = digits.bytes().all(|digit| digit == b'0');
    (whole && !zeros && first & 1 == 0).then(|| with_colons(&digits))
}

/// The beginning of a MAC address, one to six bytes, as `52:54:00`.
pub fn normal_mac_prefix(written: &str) -> Option<String> {
    let digits = mac_digits(written)?;
    (!digits.is_empty() && digits.len().is_multiple_of(2) && digits.len() <= 12).then(|| with_colons(&digits))
}

fn mac_digits(written: &str) -> Option<String> {
    let separated = written.contains([':', '-']);
    let mut digits = String::with_capacity(12);
    for part in written.split([':', '-', '.']) {
        if separated && part.len() != 2 {
            return None;
        }
        digits.push_str(part);
    }
    digits.make_ascii_lowercase();
    (digits.len() <= 12 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())).then_some(digits)
}

fn with_colons(digits: &str) -> String {
    let mut mac = String::with_capacity(17);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && position.is_multiple_of(2) {
            mac.push(':');
        }
        mac.push(digit);
    }
    mac
}

/// A UUID in lower case with its dashes; `None` for what is not one.
pub fn normal_uuid(written: &str) -> Option<String> {
    let uuid = written.trim().to_ascii_lowercase();
    let shape = uuid.len() == 36
        && uuid.bytes().enumerate().all(|(position, byte)| match position {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
    shape.then_some(uuid)
}

/// Whether a UUID is one that vendors ship by the thousand.
pub fn is_junk_uuid(uuid: &str) -> bool {
    let digits: Vec<u8> = uuid.bytes().filter(|byte| *byte != b'-').map(|byte| byte.to_ascii_lowercase()).collect();
    let same = digits.iter().all(|digit| Some(digit) == digits.first());
    // Seen on boards of several makers whose firmware was never given a UUID.
    const KNOWN: [&str; 5] = [
        "03000200-0400-0500-0006-000700080009",
        "00020003-0004-0005-0006-000700080009",
        "12345678-1234-5678-90ab-cddeefaabbcc",
        "01234567-8910-1112-1314-151617181920",
        "fefefefe-fefe-fefe-fefe-fefefefefefe",
    ];
    same || KNOWN.iter().any(|known| uuid.eq_ignore_ascii_case(known))
}

/// Whether a serial number is a vendor's placeholder.
pub fn is_junk_serial(serial: &str) -> bool {
    let serial = serial.trim().to_ascii_lowercase();
    let known = [
        "to be filled by o.e.m.",
        "to be filled by o.e.m",
        "default string",
        "system serial number",
        "chassis serial number",
        "base board serial number",
        "not specified",
        "not applicable",
        "not available",
        "not settable",
        "none",
        "n/a",
        "na",
        "oem",
        "o.e.m.",
        "unknown",
        "invalid",
        "empty",
        "serial",
        "123456789",
        "0123456789",
        "1234567890",
        "12345678",
        "xxxxxxx",
    ];
    is_of_one_character(&serial) || known.contains(&serial.as_str())
}

/// `0`, `........`, `xxxxxxx`: nobody's serial number.
fn is_of_one_character(serial: &str) -> bool {
    let mut alphanumeric = serial.chars().filter(char::is_ascii_alphanumeric);
    let first = alphanumeric.next();
    alphanumeric.all(|c| Some(c) == first)
}

/// Why a placeholder is no serial number, as the end of a sentence about it, and what to do.
pub fn why_no_serial(serial: &str) -> (&'static str, &'static str) {
    if is_of_one_character(serial) {
        (
            "is no serial number: it is empty or one character over and over, as placeholders are",
            "write it as `dmidecode -s system-serial-number` shows it, or select the machine by its MAC address",
        )
    } else {
        ("is a vendor's placeholder; many boxes have it", "select the machine by its MAC address")
    }
}

/// A serial number as it is compared; `None` for a placeholder.
pub fn normal_serial(written: &str) -> Option<String> {
    let serial = written.trim();
    (!is_junk_serial(serial)).then(|| serial.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_mac_has_one_spelling() {
        for written in ["52:54:00:AB:cd:01", "52-54-00-ab-CD-01", "5254.00ab.cd01", "525400abcd01"] {
            assert_eq!(normal_mac(written).as_deref(), Some("52:54:00:ab:cd:01"), "{written}");
        }
        for wrong in [
            "",
            "52:54",
            "5:2:5:4:0:0",
            "52:54:00:ab:cd:0g",
            "00:00:00:00:00:00",
            "01:00:5e:00:00:01",
            "52:54:00:ab:cd:01:02",
        ] {
            assert_eq!(normal_mac(wrong), None, "{wrong}");
        }
        assert_eq!(normal_mac_prefix("52-54-00").as_deref(), Some("52:54:00"));
        assert_eq!(normal_mac_prefix("52:5"), None);
    }

    #[test]
    fn what_vendors_leave_in_place_of_an_identity_is_junk() {
        for junk in [
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
            "03000200-0400-0500-0006-000700080009",
        ] {
            assert!(is_junk_uuid(junk), "{junk}");
        }
        assert!(!is_junk_uuid("4c4c4544-0043-3010-8052-b4c04f4d3232"));
        for junk in ["", "  ", "0", "00000000", "To Be Filled By O.E.M.", "Default string", "................", "None"]
        {
            assert!(is_junk_serial(junk), "{junk}");
        }
        assert!(!is_junk_serial("CN7475151Q0123"));
        assert!(why_no_serial("To Be Filled By O.E.M.").0.contains("a vendor's placeholder"));
        assert!(why_no_serial("s").0.contains("one character over and over"));
    }
}
