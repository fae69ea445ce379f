//! SARIF 2.1.0 (OASIS Static Analysis Results Interchange Format): what code scanning shows beside the lines of a change.

use crate::content::{Finding, Severity, visible};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What paths begin at.
const BASE: &str = "The root of the Git work tree; where there is none, the folder where the command was started.";

/// The document.
pub fn draw(findings: &[Finding]) -> String {
    // One rule a code. What to do about a finding is the finding's own, and stands with it.
    let rules: BTreeSet<&str> = findings.iter().map(|finding| finding.code).collect();
    let index = |code: &str| rules.iter().position(|known| *known == code).unwrap_or_default();
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
        .map(|code| {
            let words = code.replace('-', " ");
            let help = format!(
                "{words}: the message of each result says what is wrong there and what to do about it. `formwork explain` \
                 shows every kind and field of content."
            );
            json!({"id": code, "shortDescription": {"text": words}, "help": {"text": help}})
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
            // Its own place is not written down: the same content gives the same document everywhere.
            "originalUriBaseIds": {"%SRCROOT%": {"description": {"text": BASE}}},
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
    fn a_code_is_one_rule_and_a_hint_is_of_its_result_alone() {
        let findings = hostile();
        let of = |findings: &[Finding]| serde_json::from_str::<Value>(&draw(findings)).expect("JSON");
        let without = findings.iter().map(|finding| Finding { hint: None, ..finding.clone() }).collect::<Vec<_>>();
        let rules = |document: &Value| document["runs"][0]["tool"]["driver"]["rules"].clone();
        assert_eq!(rules(&of(&findings)), rules(&of(&without)), "a rule is the same whatever was found");
        let text = draw(&findings);
        insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }
}
