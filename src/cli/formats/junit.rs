//! JUnit's XML, as continuous integration reads results of tests: suites, cases, failures.

use crate::content::{Finding, Severity, visible};

/// A list of tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Suite {
    /// Its name.
    pub name: String,
    /// Its tests, in order.
    pub cases: Vec<Case>,
}

/// One test.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Case {
    /// What it belongs to: a file.
    pub class: String,
    /// Its name.
    pub name: String,
    /// Why it failed; none: it passed.
    pub failure: Option<Failure>,
    /// What is to be said of one that passed.
    pub output: String,
}

/// Why a test failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failure {
    /// A short word.
    pub kind: String,
    /// In a sentence.
    pub message: String,
    /// At length.
    pub text: String,
}

/// Findings as tests: an error is a failed one, a warning one that passed and says something.
pub fn of_findings(findings: &[Finding]) -> Suite {
    let mut suite = Suite { name: "formwork validate".to_owned(), cases: Vec::new() };
    for finding in findings {
        let file = &finding.file;
        let mut case = Case {
            name: format!("{}:{} {}", finding.line, finding.column, finding.code),
            class: file.to_owned(),
            ..Case::default()
        };
        let mut text = format!("{file}:{}:{}: {}", finding.line, finding.column, finding.message);
        if let Some(hint) = &finding.hint {
            text.push_str(&format!("\nhint: {hint}"));
        }
        match finding.severity {
            Severity::Error => {
                case.failure = Some(Failure { kind: finding.code.to_owned(), message: finding.message.clone(), text });
            }
            Severity::Warning => case.output = text,
        }
        suite.cases.push(case);
    }
    if suite.cases.is_empty() {
        suite.cases.push(Case { class: "site".to_owned(), name: "nothing is wrong".to_owned(), ..Case::default() });
    }
    suite
}

/// The document.
pub fn draw(suites: &[Suite]) -> String {
    let failures = |suite: &Suite| suite.cases.iter().filter(|case| case.failure.is_some()).count();
    let all: usize = suites.iter().map(|suite| suite.cases.len()).sum();
    let failed: usize = suites.iter().map(failures).sum();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites tests=\"{all}\" failures=\"{failed}\" errors=\"0\">\n"
    );
    for suite in suites {
        let (tests, failed) = (suite.cases.len(), failures(suite));
        text.push_str(&format!(
            "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">\n",
            escaped(&suite.name)
        ));
        for case in &suite.cases {
            let head = format!("<testcase classname=\"{}\" name=\"{}\"", escaped(&case.class), escaped(&case.name));
            let inside = match (&case.failure, case.output.as_str()) {
                (None, "") => {
                    text.push_str(&format!("    {head}/>\n"));
                    continue;
                }
                (None, output) => format!("<system-out>{}</system-out>", escaped(output)),
                (Some(Failure { kind, message, text }), _) => format!(
                    "<failure type=\"{}\" message=\"{}\">{}</failure>",
                    escaped(kind),
                    escaped(message),
                    escaped(text)
                ),
            };
            text.push_str(&format!("    {head}>\n      {inside}\n    </testcase>\n"));
        }
        text.push_str("  </testsuite>\n");
    }
    text.push_str("</testsuites>\n");
    text
}

/// Text for an attribute or an element: markup escaped, line ends kept from being folded, and what XML 1.0 (2.2) has no
/// place for replaced.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            '\n' => out.push_str("&#10;"),
            '\r' => out.push_str("&#13;"),
            '\t' => out.push_str("&#9;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c if c.is_control() => out.push('\u{fffd}'),
            c if visible::steers(c) => out.push_str(&format!("&#{};", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::hostile;
    use super::*;

    #[test]
    fn findings_are_tests_and_what_they_say_stays_inside() {
        let findings = hostile();
        let suite = of_findings(&findings);
        insta::assert_snapshot!(draw(&[suite]));
    }

    #[test]
    fn nothing_wrong_is_a_test_that_passed() {
        let suite = of_findings(&[]);
        let text = draw(&[suite]);
        assert!(text.contains("<testsuites tests=\"1\" failures=\"0\""), "{text}");
    }
}
