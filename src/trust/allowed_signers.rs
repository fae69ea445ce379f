//! OpenSSH's files: allowed signers and revoked keys (ssh-keygen(1), ALLOWED SIGNERS and `-r`).

use super::pattern::matches_list;
use jiff::tz::TimeZone;
use ssh_key::PublicKey;
use ssh_key::public::KeyData;

/// The most bytes of such a file.
const FILE_BYTES_MAX: usize = 1024 * 1024;

/// One line of an allowed-signers file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedSigner {
    /// Counted from 1.
    pub line: usize,
    /// The principals: names, or patterns for those of certificates.
    pub principals: String,
    /// The key signs certificates, not commits.
    pub authority: bool,
    /// The namespaces it may sign in; none: all.
    pub namespaces: Option<String>,
    /// Good from then on, Unix seconds.
    pub valid_after: Option<i64>,
    /// Good until then, Unix seconds.
    pub valid_before: Option<i64>,
    /// The key.
    pub key: KeyData,
}

impl AllowedSigner {
    /// Why the line allows nothing in this namespace at this time; `None`: it does.
    pub(super) fn objection(&self, namespace: &str, now_unix_s: i64) -> Option<String> {
        if let Some(list) = self.namespaces.as_ref().filter(|list| !matches_list(namespace, list)) {
            return Some(format!("which may sign in the namespaces `{list}` only, not in `{namespace}`"));
        }
        if self.valid_after.is_some_and(|after| now_unix_s < after) {
            return Some("which is not valid yet (valid-after)".to_owned());
        }
        if self.valid_before.is_some_and(|before| now_unix_s >= before) {
            return Some("which has expired (valid-before)".to_owned());
        }
        None
    }
}

/// Who may sign by SSH, and which keys may not any more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AllowedSigners {
    /// The lines.
    pub lines: Vec<AllowedSigner>,
    /// Keys that were revoked, authorities too.
    pub revoked: Vec<KeyData>,
}

/// Reads an allowed-signers file. `zone`: of times without a `Z`. Errors are of a line, counted from 1.
///
/// # Errors
/// All lines that cannot be understood, each with what is wrong.
pub fn parse(text: &str, zone: &TimeZone) -> Result<Vec<AllowedSigner>, Vec<(usize, String)>> {
    let (mut lines, mut errors) = (Vec::new(), Vec::new());
    if text.len() > FILE_BYTES_MAX {
        return Err(vec![(1, format!("larger than {} MiB", FILE_BYTES_MAX >> 20))]);
    }
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match parse_line(number, line, zone) {
            Ok(signer) => lines.push(signer),
            Err(message) => errors.push((number, message)),
        }
    }
    if errors.is_empty() { Ok(lines) } else { Err(errors) }
}

/// Reads a list of revoked public keys, one a line.
///
/// # Errors
/// All lines that are no key. A binary list (KRL) is not read.
pub fn parse_revoked(bytes: &[u8]) -> Result<Vec<KeyData>, Vec<(usize, String)>> {
    if bytes.starts_with(b"SSHKRL\n\0") {
        let message = "a binary revocation list (KRL), which is not read; list the revoked public keys, one a line";
        return Err(vec![(1, message.to_owned())]);
    }
    let text = std::str::from_utf8(bytes).map_err(|_| vec![(1, "not UTF-8 text".to_owned())])?;
    let (mut keys, mut errors) = (Vec::new(), Vec::new());
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match key(line) {
            Ok(key) => keys.push(key),
            Err(message) => errors.push((number, message)),
        }
    }
    if errors.is_empty() { Ok(keys) } else { Err(errors) }
}

fn parse_line(number: usize, line: &str, zone: &TimeZone) -> Result<AllowedSigner, String> {
    let (principals, rest) = field(line)?;
    let mut signer = AllowedSigner {
        line: number,
        principals: principals.replace('"', ""),
        authority: false,
        namespaces: None,
        valid_after: None,
        valid_before: None,
        key: match key(rest) {
            Ok(key) => {
                return Ok(AllowedSigner {
                    line: number,
                    principals: principals.replace('"', ""),
                    authority: false,
                    namespaces: None,
                    valid_after: None,
                    valid_before: None,
                    key,
                });
            }
            // Not a key: options come first.
            Err(_) => {
                let (_, after) = field(rest)?;
                key(after)?
            }
        },
    };
    let (written, _) = field(rest)?;
    for option in split_options(written)? {
        let (name, value) = match option.split_once('=') {
            Some((name, value)) => (name, Some(unquote(value)?)),
            None => (option, None),
        };
        match (name.to_ascii_lowercase().as_str(), value) {
            ("cert-authority", None) => signer.authority = true,
            ("namespaces", Some(list)) => signer.namespaces = Some(list.to_owned()),
            ("valid-after", Some(time)) => signer.valid_after = Some(timestamp(time, zone)?),
            ("valid-before", Some(time)) => signer.valid_before = Some(timestamp(time, zone)?),
            _ => return Err(format!("`{option}` is not an option of an allowed signer")),
        }
    }
    if let (Some(after), Some(before)) = (signer.valid_after, signer.valid_before)
        && after >= before
    {
        return Err("valid-after is not before valid-before".to_owned());
    }
    Ok(signer)
}

fn key(text: &str) -> Result<KeyData, String> {
    let key = PublicKey::from_openssh(text.trim()).map_err(|error| format!("not an SSH public key: {error}"))?;
    if matches!(key.key_data(), KeyData::Dsa(_)) {
        return Err("a DSA key, which nobody should trust any more".to_owned());
    }
    Ok(key.key_data().clone())
}

/// The text up to a space outside quotes, and the rest.
fn field(line: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, c) in line.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => {
                let (field, rest) = line.split_at(at);
                return Ok((field, rest.trim_start()));
            }
            _ => {}
        }
    }
    let what = if quoted { "a quote is not closed" } else { "a line is: principals, options, key type, key" };
    Err(what.to_owned())
}

/// Options by their commas outside quotes.
fn split_options(text: &str) -> Result<Vec<&str>, String> {
    let (mut options, mut start, mut quoted) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                options.push(text.get(start..at).unwrap_or(""));
                start = at + 1;
            }
            _ => {}
        }
    }
    if quoted {
        return Err("a quote is not closed".to_owned());
    }
    options.push(text.get(start..).unwrap_or(""));
    Ok(options)
}

fn unquote(value: &str) -> Result<&str, String> {
    let inner = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    inner.ok_or_else(|| format!("`{value}` needs quotes"))
}

/// `YYYYMMDD[Z]` or `YYYYMMDDHHMM[SS][Z]` as Unix seconds.
fn timestamp(text: &str, zone: &TimeZone) -> Result<i64, String> {
    let bad = || format!("`{text}` is not a time (YYYYMMDD[HHMM[SS]][Z])");
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, &TimeZone::UTC),
        None => (text, zone),
    };
    if !matches!(digits.len(), 8 | 12 | 14) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    let number =
        |from: usize, to: usize| -> Option<i8> { digits.get(from..to).map_or(Some(0), |part| part.parse::<i8>().ok()) };
    let read = || -> Option<i64> {
        let year = digits.get(0..4)?.parse::<i16>().ok()?;
        let date = jiff::civil::Date::new(year, number(4, 6)?, number(6, 8)?).ok()?;
        let time = jiff::civil::Time::new(number(8, 10)?, number(10, 12)?, number(12, 14)?, 0).ok()?;
        Some(date.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp().as_second())
    };
    read().ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFEMKQ8HhJAKpvXYTDuSGwQKGn4wGA7oHz7XkjKpKaWi comment";

    #[test]
    fn lines_are_read_as_openssh_writes_them() {
        let text = format!(
            "# people\n\nalice@example.com {KEY}\n\
             *@ops.example.com,!eve@* cert-authority,namespaces=\"git,file\",valid-after=\"20240101Z\",valid-before=\"202501011230Z\" {KEY}\n\
             \"bob\" NAMESPACES=\"git\" {KEY}\n"
        );
        let lines = parse(&text, &TimeZone::UTC).unwrap();
        let [alice, ops, bob] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((alice.line, alice.principals.as_str(), alice.authority), (3, "alice@example.com", false));
        assert_eq!((ops.line, ops.principals.as_str(), ops.authority), (4, "*@ops.example.com,!eve@*", true));
        assert_eq!((ops.valid_after, ops.valid_before), (Some(1_704_067_200), Some(1_735_734_600)));
        assert_eq!((bob.principals.as_str(), bob.namespaces.as_deref()), ("bob", Some("git")));
        assert!(ops.objection("git", 1_704_067_199).unwrap().contains("not valid yet"));
        assert_eq!(ops.objection("git", 1_704_067_200), None);
        assert!(ops.objection("git", 1_735_734_600).unwrap().contains("expired"));
        assert!(ops.objection("mail", 1_704_067_200).unwrap().contains("git,file"));
    }

    #[test]
    fn what_is_no_line_is_told_with_its_number() {
        for (line, part) in [
            ("alice", "a line is"),
            ("alice ssh-ed25519 nonsense", "not an SSH public key"),
            (&format!("alice namespaces=git {KEY}"), "needs quotes"),
            (&format!("alice namespaces=\"git {KEY}"), "quote"),
            (&format!("alice no-touch-required {KEY}"), "not an option"),
            (&format!("alice valid-after=\"2024\" {KEY}"), "not a time"),
            (&format!("alice valid-after=\"20241301\" {KEY}"), "not a time"),
            (&format!("alice valid-after=\"20250101\",valid-before=\"20240101\" {KEY}"), "is not before"),
        ] {
            let errors = parse(&format!("\n{line}\n"), &TimeZone::UTC).unwrap_err();
            assert!(errors.len() == 1 && errors[0].0 == 2 && errors[0].1.contains(part), "{line}: {errors:?}");
        }
        assert!(parse_revoked(b"SSHKRL\n\0\x00").unwrap_err()[0].1.contains("KRL"));
        assert_eq!(parse_revoked(format!("# gone\n{KEY}\n").as_bytes()).unwrap().len(), 1);
        assert_eq!(parse_revoked(b"x\n").unwrap_err()[0].0, 1);
    }

    proptest::proptest! {
        #[test]
        fn no_file_makes_it_panic(text in "[ -~\n]{0,200}", bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..100)) {
            let _ = parse(&text, &TimeZone::UTC);
            let _ = parse(&format!("a {text} {KEY}"), &TimeZone::UTC);
            let _ = parse_revoked(&bytes);
        }
    }
}
