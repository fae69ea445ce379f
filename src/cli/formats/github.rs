//! Annotations of GitHub's runner ("workflow commands"), which Gitea's and Forgejo's read too: one line a finding.

use super::super::output::printable;
use crate::content::{Finding, Severity};

/// The annotations, one a line.
pub fn draw(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let command = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let hint = finding.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        text.push_str(&format!(
            "::{command} file={},line={},col={},title={}::{}\n",
            property(&finding.file),
            finding.line,
            finding.column,
            property(finding.code),
            data(&format!("{}{hint}", finding.message)),
        ));
    }
    text
}

/// What stands behind the second `::`, as the runner's own toolkit escapes it.
fn data(text: &str) -> String {
    printable(&text.replace('\r', "\n").replace("\n\n", "\n")).replace('%', "%25").replace('\n', "%0A")
}

/// The value of a property: no `:` and no `,` either.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::super::testing::hostile;
    use super::*;

    #[test]
    fn each_finding_is_one_annotation_whatever_it_says() {
        let findings = hostile();
        let text = draw(&findings);
        assert_eq!(text.lines().count(), findings.len());
        insta::assert_snapshot!(text);
    }
}
