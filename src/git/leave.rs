//! Which machines a person lets leave Git at once: a number, names, or all. Pure.

use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The key of a trailer of a commit's message that says so.
pub const LEAVE_TRAILER: &str = "Formwork-Allow-Leave:";

/// What was said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MayLeave {
    /// Every machine may.
    pub all: bool,
    /// So many may, whichever they are.
    pub most: usize,
    /// These may, by name.
    pub names: BTreeSet<String>,
}

impl MayLeave {
    /// What a commit's message says.
    pub fn of_message(message: &str) -> Self {
        let mut may = Self::default();
        let lines = message.lines().filter_map(|line| line.trim().strip_prefix(LEAVE_TRAILER));
        lines.flat_map(|words| words.split([',', ' '])).for_each(|word| may.hear(word.trim()));
        may
    }

    /// Takes one word in: `all`, a number, or a machine's name.
    pub fn hear(&mut self, word: &str) {
        match word.parse() {
            _ if word.is_empty() => {}
            _ if word == "all" => self.all = true,
            Ok(most) => self.most = self.most.max(most),
            Err(_) => {
                self.names.insert(word.to_owned());
            }
        }
    }

    /// Whether it says anything.
    pub fn is_some(&self) -> bool {
        self.all || self.most > 0 || !self.names.is_empty()
    }

    /// What two people said, taken together: numbers are not added up.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            all: self.all || other.all,
            most: self.most.max(other.most),
            names: self.names.union(&other.names).cloned().collect(),
        }
    }

    /// Those that leave without having been allowed to. A number allows them as long as no more leave than that, the ones that are
    /// named counted in.
    pub fn beyond<'a, T>(&self, leaving: &'a [T], name: impl Fn(&T) -> &str) -> Vec<&'a T> {
        if self.all || leaving.len() <= self.most {
            return Vec::new();
        }
        leaving.iter().filter(|one| !self.names.contains(name(one))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_a_number_names_or_all() {
        let leaving = ["n1", "n2", "n3"];
        for (message, beyond) in [
            ("", 3),
            ("Formwork-Allow-Leave: 2", 3),
            ("Formwork-Allow-Leave: 3", 0),
            ("Gone\n\n  Formwork-Allow-Leave: all\n", 0),
            ("Formwork-Allow-Leave: n1, n3", 1),
            ("Formwork-Allow-Leave: n1\nFormwork-Allow-Leave: n2 n3", 0),
            ("Formwork-Allow-Leave: 2, n1", 2),
            ("Formwork-Allow-Leave: -3", 3),
            ("not Formwork-Allow-Leave: all", 3),
            ("Formwork-Allow-Leave: 99999999999999999999999999", 3),
        ] {
            let may = MayLeave::of_message(message);
            assert_eq!(may.beyond(&leaving, |name| name).len(), beyond, "{message:?}: {may:?}");
            assert_eq!(may.is_some(), message.trim_start().starts_with("Formwork") || beyond == 0, "{message:?}");
        }
        let both = MayLeave::of_message("Formwork-Allow-Leave: 2, n1")
            .and(&MayLeave::of_message("Formwork-Allow-Leave: n2, n3"));
        assert!(both.beyond(&leaving, |name| name).is_empty() && both.most == 2);
    }
}
