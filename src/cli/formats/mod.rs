//! Findings and results for other programs: SARIF for code scanning, annotations for a forge's runner, JUnit for a list of
//! tests. Text in, text out; what content says (names of files, messages) can end no line, element or field of theirs.

pub mod github;
pub mod junit;
pub mod sarif;

use crate::content::Finding;

/// Findings of a directory, with where that directory lies in the repository that the reader looks at.
#[derive(Debug, Clone, Copy)]
pub struct Findings<'a> {
    /// The findings, sorted.
    pub findings: &'a [Finding],
    /// The directory that was looked at, as it was named; its files are shown below it.
    pub directory: &'a std::path::Path,
}

impl Findings<'_> {
    /// The path of a finding's file from where the command was started: `site/machines/a.yaml`. An absolute directory is left
    /// out: a forge knows only the repository.
    fn path(&self, finding: &Finding) -> String {
        use std::path::Component;
        let named = self.directory.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        let parts = self.directory.components().filter_map(|part| match part {
            Component::Normal(part) if named => Some(part.to_string_lossy().into_owned()),
            _ => None,
        });
        // Of a pack that comes with the program there is no file in the repository.
        if finding.file.starts_with("builtin:") {
            return finding.file.clone();
        }
        parts.chain([finding.file.clone()]).collect::<Vec<_>>().join("/")
    }
}

#[cfg(test)]
pub(super) mod testing {
    use crate::content::{Finding, Severity};

    /// Findings that mean no good.
    pub fn hostile() -> Vec<Finding> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn files_are_named_as_the_repository_knows_them() {
        let findings = testing::hostile();
        for (directory, expected) in [
            (".", "packs/etcd/pack.yaml"),
            ("", "packs/etcd/pack.yaml"),
            ("site", "site/packs/etcd/pack.yaml"),
            ("./a/b/", "a/b/packs/etcd/pack.yaml"),
            ("/srv/site", "packs/etcd/pack.yaml"),
            ("../site", "packs/etcd/pack.yaml"),
        ] {
            let shown = Findings { findings: &findings, directory: Path::new(directory) };
            assert_eq!(shown.path(&findings[1]), expected, "{directory}");
            assert_eq!(shown.path(&findings[2]), "builtin:discovery/pack.yaml", "{directory}");
        }
    }
}
