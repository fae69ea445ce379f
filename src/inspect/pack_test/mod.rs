//! Runs a pack's tests: a site is made around the pack, compiled as a revision is, and rendered as for a machine
//! ([`super::render`]); what comes of it is compared with what the test expects. Pure.

mod compare;
mod site;

use crate::boot::client::Firmware;
use crate::catalog::{Catalog, ServerInfo, from_tree};
use crate::content::kinds::{ExpectedBoot, ExpectedFinding, ExpectedJob, TestFirmware};
use crate::content::{Finding, Findings, PackTest, Tree};
use crate::inspect::{Lacks, RenderQuestion, Rendered, RenderedBoot, RenderedJob, Subject, Values, What, render};
use crate::journal::MachineState;
use crate::params::ClusterKeys;
use crate::wire::{StepAction, param_variables};
use crate::workflow::{Question, Running, Trust};
use compare::Texts;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A pack with what it may need of others.
#[derive(Debug, Clone, Copy)]
pub struct PackUnderTest<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its files, from its own root.
    pub files: &'a Tree,
    /// Other packs of its site by name, from their own roots.
    pub others: &'a BTreeMap<String, Tree>,
    /// The packs that come with the program.
    pub builtin: &'a BTreeMap<String, Tree>,
}

/// What came of a test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// Its name.
    pub name: String,
    /// Its file.
    pub file: String,
    /// The line it begins on.
    pub line: usize,
    /// What is not as expected; none: it passed.
    pub failures: Vec<TestFailure>,
}

/// One thing that is not as expected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TestFailure {
    /// What was looked at: `job etcd.join: file /etc/default/etcd`.
    pub what: String,
    /// What is wrong with it.
    pub message: String,
    /// How it differs from what was expected, as a unified diff.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<String>,
}

/// Runs one test.
pub fn run_pack_test(pack: &PackUnderTest<'_>, test: &PackTest) -> TestResult {
    let mut texts = Texts::of(pack);
    match site::tree(pack, test) {
        Err(message) => texts.fail("the test", message),
        Ok(site) => {
            let answer = from_tree(&site, pack.builtin, "test");
            match (&answer, &test.spec.expect.finding) {
                (Ok(catalog), Some(expected)) => finding(&mut texts, expected, &catalog.warnings.0),
                (Err(findings), Some(expected)) => finding(&mut texts, expected, &findings.0),
                (Err(findings), None) => refused(&mut texts, findings),
                (Ok(_), None) => {}
            }
            if let Ok(catalog) = &answer {
                rendered(&mut texts, catalog, pack, test);
            } else if test.spec.expect.finding.is_some()
                && (test.spec.expect.boot.is_some() || !test.spec.expect.jobs.is_empty())
            {
                texts.fail("the test", "content that is refused comes to no boot and no job".to_owned());
            }
        }
    }
    TestResult {
        name: test.name.clone(),
        file: test.place.file.to_string(),
        line: test.place.line,
        failures: texts.into_failures(),
    }
}

fn refused(texts: &mut Texts<'_>, findings: &Findings) {
    for found in findings.0.iter().take(10) {
        texts.fail("the content", format!("is refused: {found}"));
    }
}

fn finding(texts: &mut Texts<'_>, expected: &ExpectedFinding, findings: &[Finding]) {
    let mut same = findings.iter().filter(|finding| finding.code == expected.code).peekable();
    if same.peek().is_none() {
        let others: Vec<String> =
            findings.iter().map(|finding| format!("{} ({})", finding.code, finding.message)).collect();
        let others = if others.is_empty() { "none at all".to_owned() } else { others.join("; ") };
        texts.fail("the content", format!("gives no finding `{}`, but {others}", expected.code));
        return;
    }
    // Several findings may have one code: the message of one of them must be the one.
    let any = same.clone().any(|finding| texts.holds(&finding.message, &expected.message));
    if let (false, Some(finding)) = (any, same.next()) {
        texts.text(&format!("finding {}", expected.code), &finding.message, &expected.message);
    }
}

fn rendered(texts: &mut Texts<'_>, catalog: &Catalog, pack: &PackUnderTest<'_>, test: &PackTest) {
    let spec = &test.spec;
    let Some(view) = catalog.machine(&spec.machine.name) else {
        texts.fail("the machine", format!("`{}` is not in the content", spec.machine.name));
        return;
    };
    let state = MachineState {
        facts: Arc::new(spec.facts.iter().map(|(name, value)| (name.clone(), value.clone())).collect()),
        ..MachineState::default()
    };
    let server = ServerInfo {
        http: "http://SERVER:8080".to_owned(),
        https: "https://SERVER:8443".to_owned(),
        site: catalog.site.clone(),
    };
    let question = RenderQuestion {
        what: spec.task.as_ref().map_or(What::All, |task| What::Task(site::qualified(pack.name, test, task))),
        values: Values::Masked,
        server: &server,
        firmware: Some(match spec.firmware {
            TestFirmware::Bios => Firmware::Bios,
            TestFirmware::Uefi => Firmware::Uefi,
        }),
        architecture: spec.architecture,
    };
    let clusters = ClusterKeys::default();
    let subject = Subject {
        question: Question {
            machine: &spec.machine.name,
            current: Some(catalog),
            view: Some(view),
            pinned: None,
            state: &state,
            running: Running::Firmware,
            trust: Trust::New,
            now_unix_ms: 0,
        },
        records: &[],
        clusters: &clusters,
        lacks: Lacks::NOTHING,
    };
    match render(&subject, &question) {
        Err(error) => texts.fail("the machine", error.to_string()),
        Ok(made) => judge(texts, &made, pack.name, test),
    }
}

fn judge(texts: &mut Texts<'_>, made: &Rendered, pack: &str, test: &PackTest) {
    if let Some(expected) = &test.spec.expect.boot {
        match made.boots.first() {
            Some(found) => boot(texts, found, (pack, test), expected),
            None => texts.fail("the boot", "there is none: a task alone boots nothing; test its stage".to_owned()),
        }
    }
    for (name, expected) in &test.spec.expect.jobs {
        let full = site::qualified(pack, test, name);
        match made.jobs.iter().find(|job| job.task == full) {
            Some(found) => job(texts, found, (pack, test), expected),
            None => {
                let known: Vec<&str> = made.jobs.iter().map(|job| job.task.as_str()).collect();
                texts.fail(&format!("job {full}"), format!("there is none; there are: {}", known.join(", ")));
            }
        }
    }
    // What nobody said may fail must not.
    for found in &made.jobs {
        let expected = test.spec.expect.jobs.iter().find(|(name, _)| site::qualified(pack, test, name) == found.task);
        if let (Some(error), true) = (&found.error, expected.is_none_or(|(_, expected)| expected.error.is_none())) {
            texts.fail(&format!("job {}", found.task), format!("cannot be made: {error}"));
        }
    }
    let may_fail = test.spec.expect.boot.as_ref().is_some_and(|boot| boot.error.is_some());
    for found in made.boots.iter().skip(usize::from(may_fail)) {
        if let Some(error) = &found.error {
            let name = found.environment.as_deref().unwrap_or("held");
            texts.fail(&format!("boot {name}"), format!("cannot be made: {error}"));
        }
    }
}

fn boot(texts: &mut Texts<'_>, found: &RenderedBoot, (pack, test): (&str, &PackTest), expected: &ExpectedBoot) {
    let what = format!("boot {}", found.environment.as_deref().unwrap_or("held"));
    if let Some(name) = &expected.environment {
        let full = site::qualified(pack, test, name);
        texts.same(&format!("{what}: environment"), found.environment.as_deref().unwrap_or_default(), &full);
    }
    texts.text(&format!("{what}: kernel"), found.kernel.as_deref().unwrap_or_default(), &expected.kernel);
    texts.text(&format!("{what}: arguments"), found.arguments.as_deref().unwrap_or_default(), &expected.arguments);
    texts.text(&format!("{what}: script"), found.script.as_deref().unwrap_or_default(), &expected.script);
    for (name, rules) in &expected.files {
        let what = format!("{what}: file {name}");
        match found.files.iter().find(|file| file.name == *name) {
            Some(file) => match (&file.text, &file.error) {
                (Some(text), _) => texts.text(&what, text, rules),
                (None, error) => texts.fail(&what, format!("cannot be made: {}", error.as_deref().unwrap_or_default())),
            },
            None => texts.fail(&what, "there is none".to_owned()),
        }
    }
    if let Some(rules) = &expected.error {
        texts.error(&what, found.error.as_deref(), rules);
    }
}

fn job(texts: &mut Texts<'_>, found: &RenderedJob, (pack, test): (&str, &PackTest), expected: &ExpectedJob) {
    let what = format!("job {}", found.task);
    if let Some(name) = &expected.environment {
        let full = site::qualified(pack, test, name);
        texts.same(&format!("{what}: environment"), found.environment.as_deref().unwrap_or_default(), &full);
    }
    if let Some(wanted) = expected.destructive {
        texts.same(&format!("{what}: destructive"), &found.destructive.to_string(), &wanted.to_string());
    }
    if let Some(wanted) = expected.timeout {
        let found = crate::content::kinds::Span::from_secs(found.timeout_seconds);
        texts.same(&format!("{what}: timeout"), &found.to_string(), &wanted.to_string());
    }
    if let Some(rules) = &expected.error {
        texts.error(&what, found.error.as_deref(), rules);
    }
    if found.error.is_some() {
        return;
    }
    if let Some(wanted) = &expected.steps {
        let names: Vec<&str> = found.steps.iter().map(|step| step.name.as_str()).collect();
        texts.same(&format!("{what}: steps"), &lines(&names), &lines(wanted));
    }
    if let Some(wanted) = &expected.left_out {
        texts.same(&format!("{what}: steps left out"), &lines(&found.left_out), &lines(wanted));
    }
    let variables = param_variables(&found.params);
    for (name, rules) in &expected.variables {
        let what = format!("{what}: variable {name}");
        match (variables.get(name), rules) {
            (Some(value), Some(rules)) => texts.text(&what, value, rules),
            (None, Some(_)) => texts.fail(&what, "is not set".to_owned()),
            (Some(value), None) => texts.fail(&what, format!("is set, to `{value}`")),
            (None, None) => {}
        }
    }
    for (path, rules) in &expected.files {
        let what = format!("{what}: file {path}");
        let written = found.steps.iter().find_map(|step| match &step.action {
            StepAction::File { to, content, mode } if to == path => Some((content, mode)),
            _ => None,
        });
        match written {
            Some((content, mode)) => {
                texts.text(&what, content, rules);
                if let Some(wanted) = &rules.mode {
                    texts.same(&format!("{what}: mode"), mode, wanted);
                }
            }
            None => texts.fail(&what, "is not written".to_owned()),
        }
    }
    for (name, rules) in &expected.scripts {
        let what = format!("{what}: script {name}");
        let script = found.steps.iter().find_map(|step| match &step.action {
            StepAction::Script { text } if step.name == *name => Some(text),
            _ => None,
        });
        match script {
            Some(text) => texts.text(&what, text, rules),
            None => texts.fail(&what, "there is no such script".to_owned()),
        }
    }
}

fn lines(words: &[impl AsRef<str>]) -> String {
    words.iter().map(|word| format!("{}\n", word.as_ref())).collect()
}

#[cfg(test)]
mod tests;
