//! SARIF 2.1.0 (OASIS Static Analysis Results Interchange Format): what code scanning shows beside the lines of a change.

use crate::content::{Finding, Severity, visible};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The document.
pub fn draw(findings: &[Finding]) -> String {
    // One rule a code, with what to do about it where a finding says that.
    let mut rules: BTreeMap<&str, Option<&str>> = BTreeMap::new();
    for finding in findings {
        let hint = rules.entry(finding.code).or_default();
        *hint = hint.or(finding.hint.as_deref());
    }
    let index = |code: &str| rules.keys().position(|known| *known == code).unwrap_or_default();
    let results: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let hint = finding.hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
            json!({
                "ruleId": finding.code,
                "ruleIndex": index(finding.code),
                "level": match finding.severity {
                    Severity::Error => "error",
                    Severity::Warning => "warning",
                },
                "message": {"text": format!("{}{hint}", finding.message)},
                "locations": [{
                    "physicalLocation": {
                        "artifactLocation": {"uri": uri(&finding.file), "uriBaseId": "%SRCROOT%"},
                        "region": {"startLine": finding.line.max(1), "startColumn": finding.column.max(1)},
                    },
                }],
            })
        })
        .collect();
    let described: Vec<Value> = rules
        .iter()
        .map(|(code, hint)| {
            let help = hint.unwrap_or("The finding's own message says what is wrong and where.");
            json!({"id": code, "shortDescription": {"text": code.replace('-', " ")}, "help": {"text": help}})
        })
        .collect();
    let document = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {
                "driver": {
                    "name": "formwork",
                    "version": env!("CARGO_PKG_VERSION"),
                    "semanticVersion": env!("CARGO_PKG_VERSION"),
                    "rules": described,
                },
            },
            // Columns are counted in characters.
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    let text = serde_json::to_string_pretty(&document).unwrap_or_default() + "\n";
    visible::json(&text).into_owned()
}

/// A path as a relative reference (RFC 3986, 4.2): every byte that is not unreserved is percent-encoded, so that no `:` makes
/// a scheme of what stands before it.
fn uri(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => out.push(char::from(byte)),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::testing::hostile;
    use super::*;

    /// The published schema, as its standard gives it.
    const SCHEMA: &str = include_str!("../../../tests/command_line/sarif-schema-2.1.0.json");

    fn validator() -> jsonschema::Validator {
        // One pattern has a bracket that only some dialects of regular expressions take as it stands.
        let schema = SCHEMA.replace("{2}]?$", "{2}\\\\]?$");
        let schema: Value = serde_json::from_str(&schema).expect("JSON");
        jsonschema::validator_for(&schema).expect("a schema")
    }

    #[test]
    fn the_document_keeps_to_the_standards_schema_whatever_findings_say() {
        let validator = validator();
        let findings = hostile();
        for findings in [findings.as_slice(), &[]] {
            let text = draw(findings);
            let document: Value = serde_json::from_str(&text).expect("JSON");
            let wrong: Vec<String> = validator.iter_errors(&document).map(|error| error.to_string()).collect();
            assert!(wrong.is_empty(), "{wrong:?}\n{text}");
        }
        // The schema can refuse.
        assert!(!validator.is_valid(&json!({"version": "2.1.0", "runs": [{"tool": {}}]})));
    }

    #[test]
    fn a_code_is_one_rule_and_a_hint_its_help() {
        let findings = hostile();
        let text = draw(&findings);
        insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }
}
