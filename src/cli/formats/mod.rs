//! Findings and results for other programs: SARIF for code scanning, annotations for a forge's runner, JUnit for a list of
//! tests. Text in, text out; what content says (names of files, messages) can end no line, element or field of theirs.

pub mod github;
pub mod junit;
pub mod sarif;

use std::path::{Component, Path};

/// A file of a directory, seen from where the command was started: `site/machines/a.yaml`. An absolute directory (or one above) is
/// left out: a forge knows only the repository.
pub fn path_from_here(directory: &Path, file: &str) -> String {
    let named = directory.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let parts = directory.components().filter_map(|part| match part {
        Component::Normal(part) if named => Some(part.to_string_lossy().into_owned()),
        _ => None,
    });
    // Of a pack that comes with the program there is no file in the repository.
    if file.starts_with("builtin:") {
        return file.to_owned();
    }
    parts.chain([file.to_owned()]).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
pub(super) mod testing {
    use crate::content::{Finding, Severity};

    /// Findings that mean no good, of the directory `site`.
    pub fn hostile() -> Vec<Finding> {
        let mut findings = findings();
        for finding in &mut findings {
            finding.file = super::path_from_here(std::path::Path::new("site"), &finding.file);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_named_as_the_repository_knows_them() {
        for (directory, expected) in [
            (".", "packs/etcd/pack.yaml"),
            ("", "packs/etcd/pack.yaml"),
            ("site", "site/packs/etcd/pack.yaml"),
            ("./a/b/", "a/b/packs/etcd/pack.yaml"),
            ("/srv/site", "packs/etcd/pack.yaml"),
            ("../site", "packs/etcd/pack.yaml"),
        ] {
            assert_eq!(path_from_here(Path::new(directory), "packs/etcd/pack.yaml"), expected, "{directory}");
        }
        let builtin = "builtin:discovery/pack.yaml";
        assert_eq!(path_from_here(Path::new("site"), builtin), builtin);
    }
}
