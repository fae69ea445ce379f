//! What a file says of its own encryption: the map `sops`.

use regex::Regex;
use serde_json::{Map, Value};

/// The longest pattern that is compiled.
const PATTERN_BYTES_MAX: usize = 1024;
/// The most recipients that are tried.
const RECIPIENTS_MAX: usize = 256;

/// A field of the stanza, and why it cannot be understood.
pub(super) type Misread = (&'static str, String);

/// The stanza, understood.
#[derive(Debug)]
pub(super) struct Stanza {
    /// Recipient and armored data key of each age recipient.
    pub recipients: Vec<(String, String)>,
    /// The MAC, encrypted.
    pub mac: String,
    /// When it was encrypted; authentic with the MAC.
    pub last_modified: String,
    /// Only encrypted values count for the MAC.
    pub mac_only_encrypted: bool,
    which: Which,
}

/// Which values are encrypted; as SOPS applies them, the last that is there decides.
#[derive(Debug, Default)]
struct Which {
    unencrypted_suffix: Option<String>,
    encrypted_suffix: Option<String>,
    unencrypted_regex: Option<Regex>,
    encrypted_regex: Option<Regex>,
}

impl Stanza {
    /// Reads it.
    ///
    /// # Errors
    /// The field, and why it cannot be understood.
    pub(super) fn read(map: &Map<String, Value>) -> Result<Self, Misread> {
        let text = |field: &'static str| -> Result<Option<String>, Misread> {
            match map.get(field) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) if text.is_empty() => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(_) => Err((field, format!("sops.{field} must be text"))),
            }
        };
        let pattern = |field: &'static str| -> Result<Option<Regex>, Misread> {
            let Some(text) = text(field)? else { return Ok(None) };
            if text.len() > PATTERN_BYTES_MAX {
                return Err((field, format!("sops.{field} is longer than {PATTERN_BYTES_MAX} bytes")));
            }
            Regex::new(&text)
                .map(Some)
                .map_err(|_| (field, format!("sops.{field} is not a pattern that is known here")))
        };
        for field in ["unencrypted_comment_regex", "encrypted_comment_regex"] {
            if text(field)?.is_some() {
                let message = format!("sops.{field}: what is encrypted cannot be chosen by comments here");
                return Err((field, message));
            }
        }
        let groups = map.get("key_groups").and_then(Value::as_array).map_or(0, Vec::len);
        let threshold = map.get("shamir_threshold").and_then(Value::as_u64).unwrap_or(0);
        if groups > 1 || threshold > 1 {
            let message = "a data key shared between key groups cannot be put together here: encrypt it for one group";
            return Err(("key_groups", message.to_owned()));
        }
        let of_group = map.get("key_groups").and_then(|groups| groups.get(0)).and_then(|group| group.get("age"));
        let age = map.get("age").into_iter().chain(of_group).filter_map(Value::as_array).flatten();
        let word = |entry: &Value, field: &str| entry.get(field).and_then(Value::as_str).map(str::to_owned);
        let recipients: Vec<(String, String)> =
            age.filter_map(|entry| Some((word(entry, "recipient")?, word(entry, "enc")?))).collect();
        if recipients.is_empty() {
            return Err(("age", "the file is not encrypted for any age recipient".to_owned()));
        }
        if recipients.len() > RECIPIENTS_MAX {
            return Err(("age", format!("more than {RECIPIENTS_MAX} age recipients")));
        }
        Ok(Self {
            recipients,
            mac: text("mac")?.ok_or(("mac", "sops.mac is missing".to_owned()))?,
            last_modified: text("lastmodified")?.ok_or(("lastmodified", "sops.lastmodified is missing".to_owned()))?,
            mac_only_encrypted: map.get("mac_only_encrypted").and_then(Value::as_bool).unwrap_or(false),
            which: Which {
                unencrypted_suffix: text("unencrypted_suffix")?,
                encrypted_suffix: text("encrypted_suffix")?,
                unencrypted_regex: pattern("unencrypted_regex")?,
                encrypted_regex: pattern("encrypted_regex")?,
            },
        })
    }

    /// Whether the value at this way of keys is encrypted.
    pub(super) fn encrypts(&self, keys: &[String]) -> bool {
        let Which { unencrypted_suffix, encrypted_suffix, unencrypted_regex, encrypted_regex } = &self.which;
        let ends = |suffix: &String| keys.iter().any(|key| key.ends_with(suffix.as_str()));
        let matches = |pattern: &Regex| keys.iter().any(|key| pattern.is_match(key));
        let mut encrypted = !unencrypted_suffix.as_ref().is_some_and(ends);
        if let Some(suffix) = encrypted_suffix {
            encrypted = ends(suffix);
        }
        if unencrypted_regex.as_ref().is_some_and(matches) {
            encrypted = false;
        }
        if let Some(pattern) = encrypted_regex {
            encrypted = matches(pattern);
        }
        encrypted
    }
}
