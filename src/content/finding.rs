//! What is wrong with content, where, and what to do about it.

use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// How many findings are kept; a file of noise must not become a report without end.
const FINDINGS_MAX: usize = 1_000;

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
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
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
        write!(f, "{}:{}:{}: {}: {}", self.file, self.line, self.column, self.severity.as_str(), self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// All findings of one look at content, sorted by place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|finding| finding.severity == Severity::Error).count()
    }

    /// The number of warnings.
    pub fn warnings(&self) -> usize {
        self.0.len() - self.errors()
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

/// Where findings are gathered while content is read and compiled.
#[derive(Debug, Default)]
pub(crate) struct Report {
    findings: Vec<Finding>,
    errors: usize,
    left_out: usize,
    said: usize,
    spans: super::spans::SpanCache,
    /// What opens encrypted files; here, since every file that is read has a report.
    pub(crate) keys: super::sops::Keys,
}

impl Report {
    /// For content with encrypted files.
    pub(crate) fn with_keys(keys: super::sops::Keys) -> Self {
        Self { keys, ..Self::default() }
    }

    /// A finding at a place that is known. The answer takes a hint.
    pub(crate) fn at(
        &mut self,
        severity: Severity,
        code: &'static str,
        place: Place,
        message: impl Into<String>,
    ) -> Hinted<'_> {
        self.said += 1;
        if severity == Severity::Error {
            self.errors += 1;
        }
        if self.findings.len() >= FINDINGS_MAX {
            self.left_out += 1;
            // An error is never left out for the sake of warnings.
            let warning = self.findings.iter().rposition(|finding| finding.severity == Severity::Warning);
            let Some(warning) = warning.filter(|_| severity == Severity::Error) else { return Hinted(None) };
            self.findings.remove(warning);
        }
        self.findings.push(Finding {
            severity,
            code,
            file: place.file.to_string(),
            line: place.line,
            column: place.column,
            message: message.into(),
            hint: None,
        });
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
        // Finding a place takes time: not for what is not shown.
        let full = self.findings.len() >= FINDINGS_MAX && self.errors >= FINDINGS_MAX;
        let place = if full { spot.document.place() } else { self.place(spot) };
        self.at(severity, code, place, message)
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
        if self.left_out > 0
            && let Some(last) = self.findings.last_mut()
        {
            last.hint = Some(format!("{} more findings are not shown", self.left_out));
        }
        let mut findings = Findings::default();
        findings.merge(self.findings);
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

    /// Says what to do, where there is something to say.
    pub(crate) fn hint_if(self, hint: Option<String>) {
        if let Some(hint) = hint {
            self.hint(hint);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FINDINGS_MAX, Place, Report, Severity};
    use std::sync::Arc;

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
        assert_eq!((findings.0.len(), findings.errors()), (FINDINGS_MAX, 1));
    }
}
