//! The tests of a pack, read from its `tests` folder. Strictly: what cannot be read is a finding, not a test that passes.

use super::finding::{Findings, Place, Report};
use super::kinds::PackTestSpec;
use super::{Kind, Tree, decode, document};
use std::collections::HashSet;

/// One test, as written.
#[derive(Debug, Clone)]
pub struct PackTest {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub place: Place,
    /// What it says.
    pub spec: PackTestSpec,
}

/// The tests of the pack in a folder of a tree (empty: its root): the documents of `tests/*.yaml`. Folders below `tests` are
/// data for them.
///
/// # Errors
/// All findings, where one of them is an error.
pub fn pack_tests(tree: &Tree, folder: &str) -> Result<Vec<PackTest>, Findings> {
    let mut report = Report::default();
    let mut tests = Vec::new();
    let mut names = HashSet::new();
    let prefix = if folder.is_empty() { "tests/".to_owned() } else { format!("{folder}/tests/") };
    let files = tree.files.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
    for (path, file) in files {
        let inside = path.get(prefix.len()..).unwrap_or_default();
        if inside.contains('/') || inside.starts_with('.') || !(inside.ends_with(".yaml") || inside.ends_with(".yml")) {
            continue;
        }
        for (document, mut value) in document::read(path, file, &mut report) {
            let Some(envelope) = decode::envelope(&document, &mut value, &mut report) else { continue };
            if envelope.kind != Kind::PackTest {
                report
                    .error("kind", document.value(&["kind".into()]), format!("a {} among a pack's tests", envelope.kind))
                    .hint("what a test needs around the pack stands in its own `spec.site`; data goes into a folder below");
                continue;
            }
            if !envelope.name.is_empty() && !names.insert(envelope.name.clone()) {
                let path = ["metadata".into(), "name".into()];
                report.error("twin", document.value(&path), format!("a second test `{}`", envelope.name));
            }
            let Some(spec) = decode::spec::<PackTestSpec>(&document, &mut value, &mut report) else { continue };
            let chosen = [&spec.stage, &spec.task, &spec.workflow].into_iter().flatten().count();
            if chosen != 1 {
                report.error(
                    "pack-test",
                    document.value(&["spec".into()]),
                    "a test looks at exactly one of `stage`, `task` and `workflow`",
                );
            }
            let expect = &spec.expect;
            if expect.finding.is_none() && expect.boot.is_none() && expect.jobs.is_empty() {
                report
                    .error(
                        "pack-test",
                        document.value(&["spec".into(), "expect".into()]),
                        "a test that expects nothing",
                    )
                    .hint("say what must come of it: `finding`, `boot` or `jobs`");
            }
            tests.push(PackTest { name: envelope.name, place: document.place(), spec });
        }
    }
    if report.refuses() { Err(report.into_findings()) } else { Ok(tests) }
}
