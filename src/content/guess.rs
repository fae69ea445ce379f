//! Documents in which nothing but single values are wrong. Something else is put in the place of these, and what else is wrong is
//! looked for all the same: a length of time that is too long should not hide a MAC that is none. What is guessed is never used.

use super::decode::Way;
use super::{Place, Spot, Step};

/// What was guessed in one document.
#[derive(Debug, Clone)]
pub(crate) struct Guess {
    /// Where the document stands.
    pub(crate) document: Place,
    /// The ways to the values, each of which was told.
    pub(crate) told: Vec<Vec<Way>>,
}

impl Guess {
    /// Whether a finding is worth telling: it is of this document, and not about a value that was guessed or what is around it.
    pub(crate) fn lets_through(&self, spot: &Spot<'_>) -> bool {
        let about = |told: &Vec<Way>| {
            let whole = [Step::Key("spec")].into_iter().chain(told.iter().map(Way::step));
            whole.zip(spot.path).all(|(told, said)| told == *said)
        };
        spot.document.place() == self.document && !self.told.iter().any(about)
    }
}
