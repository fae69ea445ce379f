//! What is wrong with content, where, and what to do about it.

use super::{slips, visible};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;

/// How many findings are kept; a file of noise must not become a report without end.
pub const FINDINGS_MAX: usize = 1_000;

/// A place in a file of content.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Place {
    /// Path from the site's root; `builtin:PACK/…` for packs that come with the program.
    pub file: Arc<str>,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}", visible::line(&self.file), self.line, self.column)
    }
}

/// Whether a finding refuses the revision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// The revision is refused.
    Error,
    /// The revision is served all the same.
    Warning,
}

impl Severity {
    /// The word in text.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Error or warning.
    pub severity: Severity,
    /// A short, stable word in kebab-case for programs, such as `unknown-field`.
    pub code: &'static str,
    /// Path from the site's root.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Each is one line of its own, whatever is in it: no file and no value can look like another finding.
        let (file, message) = (visible::line(&self.file), visible::line(&self.message));
        write!(f, "{file}:{}:{}: {}: {message}", self.line, self.column, self.severity.as_str())?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {}", visible::line(hint)),
            None => Ok(()),
        }
    }
}

/// All findings of one look at content, sorted by place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Findings(pub Vec<Finding>, #[serde(skip)] LeftOut);

/// How many findings there were beyond those that are kept; the last of these then tells of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    errors: usize,
    warnings: usize,
}

impl LeftOut {
    fn add(&mut self, severity: Severity) {
        match severity {
            Severity::Error => self.errors += 1,
            Severity::Warning => self.warnings += 1,
        }
    }
}

/// A number that stands for a value.
fn hash(value: impl std::hash::Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The code of the finding that tells of those that are not kept.
const MORE: &str = "more-findings";

/// What the finding says that tells of those that are not kept.
fn more_text(all: usize, kept: usize) -> String {
    format!("{all} findings in all; the first {kept} are shown")
}

/// How many findings there were, of texts as [`Finding`] writes them: those that are not kept count, the one that tells of them
/// does not.
pub fn count_of(texts: &[String]) -> usize {
    let more = texts.iter().find_map(|text| {
        let (_, said) = text.rsplit_once(": ")?;
        let (all, kept) = said.strip_suffix(" are shown")?.split_once(" findings in all; the first ")?;
        let (all, kept) = (all.parse::<usize>().ok()?, kept.parse::<usize>().ok()?);
        (all > kept && kept < texts.len()).then_some(all - kept - 1)
    });
    texts.len() + more.unwrap_or_default()
}

impl Findings {
    /// The number of errors, with those that are not kept.
    pub fn errors(&self) -> usize {
        self.1.errors + self.kept(Severity::Error)
    }

    /// The number of warnings, with those that are not kept.
    pub fn warnings(&self) -> usize {
        self.1.warnings + self.kept(Severity::Warning)
    }

    fn kept(&self, severity: Severity) -> usize {
        self.0.iter().filter(|finding| finding.severity == severity && finding.code != MORE).count()
    }

    /// As many more there were: told at the last place.
    fn left_out(&mut self, left_out: LeftOut) {
        let (more, Some(last)) = (left_out.errors + left_out.warnings, self.0.last()) else { return };
        if more > 0 {
            let severity = if left_out.errors > 0 { Severity::Error } else { Severity::Warning };
            let message = more_text(self.0.len() + more, self.0.len());
            self.0.push(Finding { severity, code: MORE, message, hint: None, ..last.clone() });
            self.1 = left_out;
        }
    }

    /// Whether there is an error among them.
    pub fn refuse(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Error)
    }

    /// Adds others and sorts by place; what is said twice at one place is kept once.
    pub(crate) fn merge(&mut self, more: impl IntoIterator<Item = Finding>) {
        self.0.extend(more);
        self.0.sort_by(|a, b| {
            (&a.file, a.line, a.column, a.severity, &a.message)
                .cmp(&(&b.file, b.line, b.column, b.severity, &b.message))
        });
        self.0.dedup();
    }
}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, finding) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{finding}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Findings {}

/// The code of a number that cannot be kept.
pub(super) const NUMBER: &str = "number";

/// Where findings are gathered while content is read and compiled.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    errors: usize,
    left_out: LeftOut,
    /// What was said, as numbers: the same at the same place is one finding, also among those that are not kept.
    seen: HashSet<u64>,
    /// The values that are numbers which cannot be kept.
    numbers: HashSet<u64>,
    said: usize,
    spans: super::spans::SpanCache,
    /// What opens encrypted files; here, since every file that is read has a report.
    pub(crate) keys: super::sops::Keys,
    /// Where something was guessed, what is said elsewhere is known already, and what is said of the guess means nothing.
    guesses: Option<Vec<super::Guess>>,
    /// Whether what is read is still wanted.
    pub(crate) stop: super::Stop,
}

impl Report {
    /// For content with encrypted files.
    pub(crate) fn with_keys(keys: super::sops::Keys) -> Self {
        Self { keys, ..Self::default() }
    }

    /// From here on only what is wrong in these documents beside what was guessed in them.
    pub(crate) fn look_at(&mut self, guesses: Vec<super::Guess>) {
        self.guesses = Some(guesses);
    }

    /// Everything counts again.
    pub(crate) fn look_at_all(&mut self) {
        self.guesses = None;
    }

    /// Looking at content is left off when that is asked for.
    pub(crate) fn until(self, stop: &super::Stop) -> Self {
        Self { stop: stop.clone(), ..self }
    }

    /// A finding at a place that is known. The answer takes a hint.
    pub(crate) fn at(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
    ) -> Hinted<'_> {
        if self.guesses.is_some() {
            return Hinted(None);
        }
        let message = message.into();
        let key = hash((&place, severity, code, &message));
        self.put(
            Finding {
                severity,
                code,
                file: place.file.to_string(),
                line: place.line,
                column: place.column,
                message,
                hint: None,
            },
            key,
        )
    }

    fn put(&mut self, finding: Finding, key: u64) -> Hinted<'_> {
        let severity = finding.severity;
        self.said += 1;
        let new = self.seen.insert(key);
        if severity == Severity::Error && new {
            self.errors += 1;
        }
        if !new {
            return Hinted(None);
        }
        if self.findings.len() >= FINDINGS_MAX {
            // An error is never left out for the sake of warnings.
            let warning = self.findings.iter().rposition(|finding| finding.severity == Severity::Warning);
            let Some(warning) = warning.filter(|_| severity == Severity::Error) else {
                self.left_out.add(severity);
                return Hinted(None);
            };
            self.findings.remove(warning);
            self.left_out.add(Severity::Warning);
        }
        self.findings.push(finding);
        Hinted(self.findings.last_mut())
    }

    /// An error at a value (or key) of a document.
    pub(crate) fn error(
        &mut self,
        code: &'static str,
        spot: super::Spot<'_>,
        message: impl Into<String>,
    ) -> Hinted<'_> {
        self.spot(Severity::Error, code, spot, message)
    }

    /// A warning at a value (or key) of a document.
    pub(crate) fn warning(
        &mut self,
        code: &'static str,
        spot: super::Spot<'_>,
        message: impl Into<String>,
    ) -> Hinted<'_> {
        self.spot(Severity::Warning, code, spot, message)
    }

    fn spot(
        &mut self,
        severity: Severity,
        code: &'static str,
        spot: super::Spot<'_>,
        message: impl Into<String>,
    ) -> Hinted<'_> {
        if self.guesses.as_ref().is_some_and(|guesses| !guesses.iter().any(|guess| guess.lets_through(&spot))) {
            return Hinted(None);
        }
        let message = message.into();
        let value = hash((spot.document.place(), spot.path));
        if code == NUMBER {
            self.numbers.insert(value);
        }
        let key = hash((value, spot.target, severity, code, &message));
        let finding = |Place { file, line, column }, message| Finding {
            severity,
            code,
            file: file.to_string(),
            line,
            column,
            message,
            hint: None,
        };
        // Finding a place takes time: not for what is not shown.
        if self.findings.len() >= FINDINGS_MAX && self.errors >= FINDINGS_MAX {
            if code != NUMBER && self.numbers.contains(&value) {
                return Hinted(None);
            }
            return self.put(finding(spot.document.place(), message), key);
        }
        let place = self.place(spot);
        // What cannot be seen explains more than anything that is said of what can be.
        let unseen = slips::in_line(spot.document.text(), (place.line + 1).saturating_sub(spot.document.first_line()));
        let Hinted(finding) = self.put(finding(place, message), key);
        match (finding, unseen) {
            (Some(finding), Some(unseen)) => {
                finding.hint = Some(unseen);
                // Whoever wants to say more, says it to nobody.
                Hinted(None)
            }
            (finding, _) => Hinted(finding),
        }
    }

    /// Says the same of all that is wrong with a file, whoever found it.
    pub(crate) fn hint_of_file(&mut self, file: &str, hint: &str) {
        for finding in self.findings.iter_mut().filter(|finding| finding.file == file) {
            finding.hint = Some(hint.to_owned());
        }
    }

    /// The place of a spot; documents are indexed once.
    pub(crate) fn place(&mut self, spot: super::Spot<'_>) -> Place {
        self.spans.place(spot)
    }

    /// Whether there was an error so far.
    pub(crate) fn refuses(&self) -> bool {
        self.errors > 0
    }

    /// How many findings there were so far, kept or not: what says nothing new was without one.
    pub(crate) fn said(&self) -> usize {
        self.said
    }

    /// All of them, sorted.
    pub(crate) fn into_findings(mut self) -> Findings {
        // A number that cannot be kept is read as nothing: what is said of nothing there is not the author's.
        let place = |finding: &Finding| (finding.file.clone(), finding.line, finding.column);
        let numbers = self.findings.iter().filter(|finding| finding.code == NUMBER);
        let numbers: HashSet<_> = numbers.map(place).collect();
        if !numbers.is_empty() {
            self.findings.retain(|finding| finding.code == NUMBER || !numbers.contains(&place(finding)));
        }
        let mut findings = Findings::default();
        findings.merge(self.findings);
        findings.left_out(self.left_out);
        findings
    }
}

/// A finding just made, to which a hint can be given.
pub(crate) struct Hinted<'a>(Option<&'a mut Finding>);

impl Hinted<'_> {
    /// Says what to do.
    pub(crate) fn hint(self, hint: impl Into<String>) {
        if let Some(finding) = self.0 {
            finding.hint = Some(hint.into());
        }
    }

    /// Says what takes some time to find, and is found for what is shown only.
    pub(crate) fn hint_by(self, find: impl FnOnce() -> Option<String>) {
        if let Some(finding) = self.0 {
            finding.hint = find();
        }
    }

    /// Says what to do, where there is something to say.
    pub(crate) fn hint_if(self, hint: Option<String>) {
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FINDINGS_MAX, Finding, Place, Report, Severity};
    use std::sync::Arc;

    #[test]
    fn a_finding_is_one_line_and_steers_no_terminal() {
        let finding = Finding {
            severity: Severity::Error,
            code: "unknown-kind",
            file: "a\n.yaml".to_owned(),
            line: 2,
            column: 7,
            message: "there is no kind `Mach\u{1b}[2Jine\nerror: fake`".to_owned(),
            hint: Some("did you mean\nb.yaml:1:1: error: x".to_owned()),
        };
        let said = finding.to_string();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "a\\n.yaml:2:7: error: there is no kind `Mach\\u{1b}[2Jine\\nerror: fake`");
        assert_eq!(lines[1..], ["  hint: did you mean\\nb.yaml:1:1: error: x"]);
        let place = Place { file: Arc::from("a\r.yaml"), line: 1, column: 1 };
        assert_eq!(place.to_string(), "a\\r.yaml:1:1");
    }

    #[test]
    fn an_error_refuses_however_many_warnings_came_before_it() {
        let mut report = Report::default();
        let place = |line| Place { file: Arc::from("a.yaml"), line, column: 1 };
        for line in 0..FINDINGS_MAX + 10 {
            report.at(Severity::Warning, "w", place(line), "a warning").hint("a hint");
        }
        assert!(!report.refuses());
        report.at(Severity::Error, "e", place(5_000), "an error");
        assert!(report.refuses());
        let findings = report.into_findings();
        assert_eq!((findings.errors(), findings.warnings()), (1, FINDINGS_MAX + 10));
        assert_eq!(findings.0.len(), FINDINGS_MAX + 1);
    }

    #[test]
    fn findings_that_are_not_kept_are_counted_and_told_of_in_the_last_line() {
        let mut report = Report::default();
        for line in 1..=FINDINGS_MAX + 234 {
            let place = Place { file: Arc::from("a.yaml"), line, column: 1 };
            report.at(Severity::Error, "e", place, "an error").hint("its own hint");
        }
        let findings = report.into_findings();
        assert_eq!((findings.errors(), findings.warnings()), (FINDINGS_MAX + 234, 0));
        let last: Vec<String> = findings.0.iter().rev().take(2).map(ToString::to_string).collect();
        assert_eq!(last[0], "a.yaml:1000:1: error: 1234 findings in all; the first 1000 are shown");
        assert!(last[1].ends_with("hint: its own hint"), "{}", last[1]);
        let texts: Vec<String> = findings.0.iter().map(ToString::to_string).collect();
        assert_eq!(super::count_of(&texts), FINDINGS_MAX + 234);
        assert_eq!(super::count_of(&[texts.as_slice(), &["a guard's word".to_owned()]].concat()), FINDINGS_MAX + 235);
        let other = "a.yaml:1:1: error: 9 findings in all; the first 7 are shown".to_owned();
        assert_eq!(super::count_of(&[other]), 1, "what content says is no count");
        // None of it where all are kept.
        let mut report = Report::default();
        report.at(Severity::Error, "e", Place { file: Arc::from("a.yaml"), line: 1, column: 1 }, "an error");
        assert_eq!(report.into_findings().0.len(), 1);
    }

    #[test]
    fn what_is_said_twice_is_counted_once_kept_or_not() {
        let mut report = Report::default();
        for line in (1..=FINDINGS_MAX + 5).flat_map(|line| [line, line]) {
            let place = Place { file: Arc::from("a.yaml"), line, column: 1 };
            report.at(Severity::Error, "e", place, "an error").hint("a hint");
        }
        assert_eq!(report.into_findings().errors(), FINDINGS_MAX + 5);
    }
}
