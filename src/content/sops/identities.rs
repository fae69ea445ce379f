//! The server's age identities.

use age::x25519::Identity;
use std::str::FromStr as _;

/// The most identities of a file.
const IDENTITIES_MAX: usize = 64;

/// Why a file of identities is not one. Never says what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentitiesError {
    /// A line is none.
    #[error("line {0} is no age identity; age-keygen writes one, `AGE-SECRET-KEY-1…`")]
    Line(usize),
    /// There is none.
    #[error("there is no age identity in it; age-keygen writes one")]
    Empty,
    /// There are too many.
    #[error("more than {IDENTITIES_MAX} age identities are in it")]
    TooMany,
}

/// Secret keys. Cannot be printed; the age crate wipes them when they go.
pub struct Identities(Vec<Identity>);

impl Identities {
    /// Reads what `age-keygen` writes: one identity a line, `#` before comments.
    ///
    /// # Errors
    /// [`IdentitiesError`].
    pub fn parse(text: &str) -> Result<Self, IdentitiesError> {
        let mut identities = Vec::new();
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            identities.push(Identity::from_str(line).map_err(|_| IdentitiesError::Line(number))?);
        }
        match identities.len() {
            0 => Err(IdentitiesError::Empty),
            1..=IDENTITIES_MAX => Ok(Self(identities)),
            _ => Err(IdentitiesError::TooMany),
        }
    }

    /// None at all: every encrypted file is refused.
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Their recipients (public keys), for people.
    pub fn recipients(&self) -> Vec<String> {
        self.0.iter().map(|identity| identity.to_public().to_string()).collect()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &dyn age::Identity> {
        self.0.iter().map(|identity| identity as &dyn age::Identity)
    }
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identities({})", self.0.len())
    }
}
