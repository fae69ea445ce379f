//! Findings and results for other programs: SARIF for code scanning, annotations for a forge's runner, JUnit for a list of
//! tests. Text in, text out; what content says (names of files, messages) can end no line, element or field of theirs.

mod base;
pub mod github;
pub mod junit;
pub mod sarif;

pub use base::Base;

#[cfg(test)]
pub(super) mod testing {
    use crate::content::{Finding, Severity};

    /// Findings that mean no good, of the directory `site`.
    pub fn hostile() -> Vec<Finding> {
        let mut findings = findings();
        for finding in &mut findings {
            if !finding.file.starts_with("builtin:") {
                finding.file = format!("site/{}", finding.file);
            }
        }
        findings
    }

    fn findings() -> Vec<Finding> {
        vec![
            Finding {
                severity: Severity::Error,
                code: "unknown-field",
                file: "machines/a, b:c%\n::error::é<&\"'>.yaml".to_owned(),
                line: 3,
                column: 7,
                message: "unknown field `x\r\n::set-output name=a::b%25`, ]]> \u{1b}[31m \u{fffe} <script>".to_owned(),
                hint: Some("did you mean `y`?\n100 % & more".to_owned()),
            },
            Finding {
                severity: Severity::Warning,
                code: "unused-pack",
                file: "packs/etcd/pack.yaml".to_owned(),
                line: 1,
                column: 1,
                message: "this pack is not used by the site".to_owned(),
                hint: None,
            },
            Finding {
                severity: Severity::Error,
                code: "unknown-field",
                file: "builtin:discovery/pack.yaml".to_owned(),
                line: 2,
                column: 1,
                message: "unknown field `z`".to_owned(),
                hint: None,
            },
        ]
    }
}
