//! People who read from and push to the hosted repository: what recognises their token, and what they may do. Pure.

use super::{IdentityError, random, sha256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The administrator's name where users are named; nobody else has it.
pub const ADMINISTRATOR: &str = "administrator";
/// The longest name.
const NAME_MAX: usize = 63;
/// The longest pattern of a branch.
const PATTERN_MAX: usize = 200;

/// A word that somebody may say when pushing, beyond what guards allow by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum May {
    /// `-o allow-wipe=…`
    Wipe,
    /// `-o allow-empty`
    Empty,
    /// `-o allow-rewrite`
    Rewrite,
    /// `-o allow-leave=…`
    Leave,
    /// `-o allow-site-rename=…`
    Rename,
}

impl May {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Wipe, Self::Empty, Self::Rewrite, Self::Leave, Self::Rename];

    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Wipe => "wipe",
            Self::Empty => "empty",
            Self::Rewrite => "rewrite",
            Self::Leave => "leave",
            Self::Rename => "rename",
        }
    }
}

/// What somebody may do with the repository.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Rights {
    /// They may clone and fetch.
    pub read: bool,
    /// Branches they may push to: names or patterns with `*`; tags are `tags/NAME`.
    pub push: Vec<String>,
    /// What they may allow.
    pub may: BTreeSet<May>,
}

impl Rights {
    /// Everything.
    pub fn all() -> Self {
        Self { read: true, push: vec!["*".to_owned()], may: May::ALL.into_iter().collect() }
    }

    /// As `formwork user add` and `formwork user change` are told them.
    pub fn as_options(&self) -> String {
        let mut words = Vec::new();
        if self.read {
            words.push("--read".to_owned());
        }
        if !self.push.is_empty() {
            words.push(format!("--push '{}'", self.push.join(",")));
        }
        if !self.may.is_empty() {
            words.push(format!("--may {}", self.may.iter().map(|may| may.as_str()).collect::<Vec<_>>().join(",")));
        }
        words.join(" ")
    }

    /// Whether they may push to this branch (`main`) or tag (`tags/v1`).
    pub fn may_push(&self, name: &str) -> bool {
        self.push.iter().any(|pattern| matches(pattern, name))
    }
}

/// A user: what recognises their token, not the token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    /// Their name, for the journal.
    pub name: String,
    /// SHA-256 of the token, lower-case hexadecimal. The token is 256 random bits: there is nothing to guess from it.
    pub sha256: String,
    /// What they may do.
    pub rights: Rights,
    /// When the token was made, Unix milliseconds.
    pub token_since_unix_ms: i64,
}

impl User {
    /// A new user with a token (secret, shown once).
    ///
    /// # Errors
    /// [`IdentityError::Random`].
    pub fn new(name: &str, rights: Rights, now_unix_ms: i64) -> Result<(String, Self), IdentityError> {
        let mut user = Self { name: name.to_owned(), sha256: String::new(), rights, token_since_unix_ms: now_unix_ms };
        let token = user.renew(now_unix_ms)?;
        Ok((token, user))
    }

    /// Another token in place of the one before, which is good for nothing from now on.
    ///
    /// # Errors
    /// [`IdentityError::Random`].
    pub fn renew(&mut self, now_unix_ms: i64) -> Result<String, IdentityError> {
        let token = format!("fwu_{}", URL_SAFE_NO_PAD.encode(random::<32>()?));
        self.sha256 = sha256(token.as_bytes());
        self.token_since_unix_ms = now_unix_ms;
        Ok(token)
    }
}

/// Whose token it is. Every user's is compared, so that the time taken does not tell whose was nearly right.
pub fn whose<'a>(users: &'a [User], presented: &str) -> Option<&'a User> {
    // Comparing MACs of both under one key is comparing them in constant time; the key need not be secret for that.
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"formwork-user-v1");
    let given = hmac::sign(&key, sha256(presented.as_bytes()).as_bytes());
    let mut found = None;
    for user in users {
        if hmac::verify(&key, user.sha256.as_bytes(), given.as_ref()).is_ok() {
            found = Some(user);
        }
    }
    found.filter(|_| !presented.is_empty())
}

/// Whether this can be a user's name; else why not.
///
/// # Errors
/// A sentence for people.
pub fn check_name(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
    if name == ADMINISTRATOR {
        return Err(format!("`{ADMINISTRATOR}` is the name of who has the site's own token; choose another"));
    }
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(plain) || name.starts_with(['-', '.']) {
        return Err(format!(
            "`{name}` is no name for a user; lower-case letters, digits, `-`, `.`, `_`, at most {NAME_MAX}"
        ));
    }
    Ok(())
}

/// Whether this can be a pattern of branches; else why not.
///
/// # Errors
/// A sentence for people.
pub fn check_pattern(pattern: &str) -> Result<(), String> {
    let plain = |c: char| !c.is_control() && !c.is_whitespace() && !"~^:?[\\".contains(c);
    if pattern.is_empty() || pattern.len() > PATTERN_MAX || !pattern.chars().all(plain) {
        return Err(format!(
            "`{pattern}` is no pattern of branches; write a name such as main, or one with `*`, such as feature/*"
        ));
    }
    if let Some(name) = pattern.strip_prefix("refs/heads/") {
        return Err(format!("`{pattern}`: write the branch without refs/heads/, as {name}"));
    }
    Ok(())
}

/// `*` stands for any characters, `/` too.
fn matches(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else { return rest.is_empty() };
    for piece in pieces {
        let Some(at) = rest.find(piece) else { return false };
        rest = rest.get(at + piece.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_whole_names_and_its_star_anything() {
        for (pattern, name, expected) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("main", "a/main", false),
            ("feature/*", "feature/a", true),
            ("feature/*", "feature/a/b", true),
            ("feature/*", "feature", false),
            ("*", "anything/at/all", true),
            ("*-ci", "ada-ci", true),
            ("*-ci", "ada-cix", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c", false),
            ("ab*ba", "aba", false),
            ("tags/v*", "tags/v1", true),
            ("", "main", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_token_tells_whose_it_is_until_there_is_another() {
        let (ada_token, ada) = User::new("ada", Rights::all(), 1).expect("random");
        let (bob_token, bob) = User::new("bob", Rights::default(), 1).expect("random");
        let mut users = vec![ada, bob];
        assert_eq!(whose(&users, &ada_token).map(|user| user.name.as_str()), Some("ada"));
        assert_eq!(whose(&users, &bob_token).map(|user| user.name.as_str()), Some("bob"));
        let kept = serde_json::to_string(&users).expect("text");
        assert!(!kept.contains(&ada_token), "the token is not kept");
        for wrong in ["", "fwu_", &users[0].sha256, &ada_token[1..]] {
            assert!(whose(&users, wrong).is_none(), "{wrong}");
        }
        let new = users[0].renew(2).expect("random");
        assert!(whose(&users, &ada_token).is_none() && whose(&users, &new).is_some());
    }

    #[test]
    fn names_and_patterns_that_cannot_be_are_refused() {
        for name in ["ada", "ci-1", "a.b_c"] {
            assert_eq!(check_name(name), Ok(()));
        }
        for name in ["", "Ada", "a b", "-a", ".a", "administrator", "a/b", "ä", &"a".repeat(64)] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for pattern in ["main", "feature/*", "*", "tags/v*"] {
            assert_eq!(check_pattern(pattern), Ok(()));
        }
        for pattern in ["", "a b", "refs/heads/main", "a~1", "a\n"] {
            assert!(check_pattern(pattern).is_err(), "{pattern}");
        }
    }
}
