//! A text and what is expected of it; what is wrong is gathered, with a unified diff where a whole text was expected.

use super::{PackUnderTest, TestFailure};
use crate::content::Tree;
use crate::content::kinds::TextRules;
use regex::RegexBuilder;

/// A regular expression that takes more memory than this is no rule for a text, bytes.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// So much of a text is shown where no diff is.
const SHOWN_CHARACTERS: usize = 400;

/// Compares, and keeps what is wrong.
pub(super) struct Texts<'a> {
    files: &'a Tree,
    failures: Vec<TestFailure>,
}

impl<'a> Texts<'a> {
    pub(super) fn of(pack: &PackUnderTest<'a>) -> Self {
        Self { files: pack.files, failures: Vec::new() }
    }

    pub(super) fn into_failures(self) -> Vec<TestFailure> {
        self.failures
    }

    pub(super) fn fail(&mut self, what: &str, message: String) {
        self.failures.push(TestFailure { what: what.to_owned(), message, difference: None });
    }

    /// Whether all rules hold; nothing is told.
    pub(super) fn holds(&self, found: &str, rules: &TextRules) -> bool {
        let mut quiet = Self { files: self.files, failures: Vec::new() };
        quiet.text("", found, rules);
        quiet.failures.is_empty()
    }

    /// All rules of a text.
    pub(super) fn text(&mut self, what: &str, found: &str, rules: &TextRules) {
        let TextRules { is, is_file, contains, lacks, matches, mode: _ } = rules;
        if let Some(wanted) = is {
            self.same(what, found, wanted);
        }
        if let Some(path) = is_file {
            match self.file(path) {
                Some(wanted) => self.same(what, found, &wanted),
                None => self.fail(what, format!("the test's folder has no file `{path}` that is text")),
            }
        }
        for wanted in contains.iter().filter(|wanted| !found.contains(wanted.as_str())) {
            self.fail(what, format!("does not contain `{wanted}`; it is:\n{}", shown(found)));
        }
        for unwanted in lacks.iter().filter(|unwanted| found.contains(unwanted.as_str())) {
            self.fail(what, format!("contains `{unwanted}`; it is:\n{}", shown(found)));
        }
        for pattern in matches {
            match RegexBuilder::new(pattern).multi_line(true).size_limit(PATTERN_BYTES_MAX).build() {
                Ok(regex) if regex.is_match(found) => {}
                Ok(_) => self.fail(what, format!("does not match `{pattern}`; it is:\n{}", shown(found))),
                Err(error) => self.fail(what, format!("`{pattern}` is no regular expression: {error}")),
            }
        }
    }

    /// Exactly this text.
    pub(super) fn same(&mut self, what: &str, found: &str, wanted: &str) {
        if found == wanted {
            return;
        }
        let message = if found.contains('\n') || wanted.contains('\n') {
            "is not what was expected".to_owned()
        } else {
            format!("is `{found}`, not `{wanted}`")
        };
        let difference =
            similar::TextDiff::from_lines(wanted, found).unified_diff().header("expected", "found").to_string();
        self.failures.push(TestFailure { what: what.to_owned(), message, difference: Some(difference) });
    }

    /// An error that must be there.
    pub(super) fn error(&mut self, what: &str, found: Option<&str>, rules: &TextRules) {
        match found {
            Some(error) => self.text(&format!("{what}: error"), error, rules),
            None => self.fail(what, "can be made, and was expected not to be".to_owned()),
        }
    }

    fn file(&self, path: &str) -> Option<String> {
        let plain = !path.split('/').any(|part| matches!(part, "" | "." | ".."));
        let file = self.files.files.get(&format!("tests/{path}")).filter(|_| plain)?;
        std::str::from_utf8(&file.bytes).ok().map(str::to_owned)
    }
}

fn shown(text: &str) -> String {
    let mut start: String = text.chars().take(SHOWN_CHARACTERS).collect();
    if start.len() < text.len() {
        start.push('…');
    }
    start
}
