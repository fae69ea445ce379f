//! How large things may grow, and how they may be called.

use super::Refusal;

/// A value, as text or compact JSON, bytes.
pub const VALUE_MAX_BYTES: usize = 64 * 1024;
/// Keys in a document.
pub const KEYS_MAX: usize = 1_024;
/// Names and values of all keys together, bytes.
pub const DOCUMENT_MAX_BYTES: usize = 512 * 1024;
/// Members of a set.
pub const SET_MEMBERS_MAX: usize = 4_096;
/// Claims in a document, and sets.
pub(super) const NAMES_MAX: usize = 1_024;
/// Different counts that a set's barriers may wait for.
pub(super) const BARRIERS_MAX: usize = 32;
/// Replies kept for a caller that did not hear the first one: the oldest goes first.
pub(super) const REPLIES_MAX: usize = 2_048;
/// Deleted keys remembered, so that a stream of events can tell of them.
pub(super) const DELETED_MAX: usize = 1_024;
/// Operations of a patch.
pub(super) const PATCH_STEPS_MAX: usize = 256;
/// How deep a value may nest: with what is around it, far less than a JSON reader's own limit of 128.
pub(super) const VALUE_MAX_DEPTH: usize = 64;
/// A key, a claim's or a set's name, characters.
const NAME_MAX: usize = 128;
/// An `Idempotency-Key`, bytes.
pub(super) const IDEMPOTENCY_KEY_MAX: usize = 128;
/// A reason given in words, bytes.
const REASON_MAX: usize = 1_024;
/// The shortest time a claim can be held without renewal, milliseconds.
pub const CLAIM_TTL_MIN_MS: u64 = 1_000;
/// The longest, milliseconds: a day.
pub const CLAIM_TTL_MAX_MS: u64 = 86_400_000;

/// Whether `name` can be a claim's or a set's: one segment `[a-z0-9][a-z0-9._-]*`, at most 128 characters.
///
/// # Errors
/// [`Refusal::BadName`].
pub fn check_name(name: &str) -> Result<(), Refusal> {
    if name.len() <= NAME_MAX && segment(name) { Ok(()) } else { Err(Refusal::BadName { name: shown(name) }) }
}

/// Whether `key` can be a key's: such segments joined by `/`, at most 128 characters. The grammar leaves no room for `.` and
/// `..` segments, which HTTP clients would fold.
///
/// # Errors
/// [`Refusal::BadName`].
pub fn check_key(key: &str) -> Result<(), Refusal> {
    if key.len() <= NAME_MAX && key.split('/').all(segment) {
        Ok(())
    } else {
        Err(Refusal::BadName { name: shown(key) })
    }
}

fn segment(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(word) && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'_' | b'-'))
}

/// Cut to what fits an event.
pub(super) fn reason(text: &str) -> String {
    cut(text, REASON_MAX)
}

fn shown(name: &str) -> String {
    cut(name, NAME_MAX)
}

fn cut(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let mut end = max;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{check_key, check_name};

    #[test]
    fn keys_are_segments_that_no_client_folds() {
        for good in ["a", "0", "etcd/token", "join-command", "a.b_c-d/e", "node/machine-1.example"] {
            assert!(check_key(good).is_ok(), "{good}");
        }
        for wrong in ["", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "a/.b", "-a", "A", "a b", "ä", &"a".repeat(129)]
        {
            assert!(check_key(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn claims_and_sets_have_one_segment() {
        assert!(check_name("init").is_ok());
        assert!(check_name("a/b").is_err());
    }
}
