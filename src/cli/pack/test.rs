//! `formwork pack test`: the tests of packs.

use super::super::CliError;
use super::super::formats::junit::{self, Case, Failure, Suite};
use super::super::output::{Output, printable};
use super::super::validate::read_directory;
use super::Place;
use super::add::known_as;
use super::site::{SiteFiles, name_in};
use crate::catalog::builtin_packs;
use crate::content::elsewhere::{below, vendor_folder};
use crate::content::{Tree, pack_tests, visible};
use crate::inspect::{PackUnderTest, TestResult, run_pack_test};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Runs the tests of packs: documents of kind PackTest in their folders `tests`.
///
/// A test says: given this machine, these params and facts, a stage or task of the pack comes to these files, variables, steps
/// and kernel arguments, or to this finding. It is made by the functions that serve machines. Nothing is asked of a server.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  formwork pack test                    all packs of the site you are in
  formwork pack test etcd               one of them, or one that comes with the program
  formwork pack test ../packs/web       a folder with a pack.yaml
  formwork pack test -o junit > tests.xml

Exit codes:
  0  every test passed
  1  a test failed, or cannot be read
  3  there is no such pack")]
pub struct Arguments {
    /// A pack of the site or of the program, or a folder with a pack.yaml; all packs of the site where it is not given.
    #[arg(value_name = "NAME|DIR")]
    pack: Option<String>,
    /// How the results are written.
    #[arg(short, long, visible_alias = "format", value_enum, default_value_t = Form::Text)]
    output: Form,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// A line a test, and below it what is not as expected.
    // As other commands call what is for people.
    #[value(alias = "table")]
    Text,
    /// One JSON document.
    Json,
    /// JUnit's XML.
    Junit,
}

/// The results of one pack.
#[derive(Debug, Serialize)]
struct Results {
    pack: String,
    tests: Vec<TestResult>,
}

/// A pack whose tests are to be run: its name, where its files are shown to be, the files.
struct Chosen {
    name: String,
    shown: String,
    files: Tree,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let builtin = builtin_packs();
    let (chosen, others) = choose(arguments, &builtin)?;
    let mut all = Vec::new();
    for pack in chosen {
        let tests = pack_tests(&pack.files, "").map_err(|mut findings| {
            for finding in &mut findings.0 {
                finding.file = shown(&pack.shown, &finding.file);
            }
            CliError::NotSo(format!("the tests of pack {} cannot be read:\n{findings}", pack.name))
        })?;
        let under = PackUnderTest { name: &pack.name, files: &pack.files, others: &others, builtin: &builtin };
        let run = |test| {
            let mut result = run_pack_test(&under, test);
            result.file = shown(&pack.shown, &result.file);
            result
        };
        all.push(Results { pack: pack.name.clone(), tests: tests.iter().map(run).collect() });
    }
    let out = Output::of_process(None);
    let printed = match arguments.output {
        Form::Text => out.text(&draw(&all)),
        Form::Json => {
            let text = serde_json::to_string_pretty(&all).unwrap_or_default() + "\n";
            out.bytes(visible::json(&text).as_bytes())
        }
        Form::Junit => out.bytes(junit::draw(&all.iter().map(suite).collect::<Vec<_>>()).as_bytes()),
    };
    printed?;
    match failed(&all) {
        0 => Ok(()),
        1 => Err(CliError::NotSo("1 test failed".to_owned())),
        more => Err(CliError::NotSo(format!("{more} tests failed"))),
    }
}

fn failed(all: &[Results]) -> usize {
    all.iter().flat_map(|results| &results.tests).filter(|test| !test.failures.is_empty()).count()
}

fn shown(folder: &str, file: &str) -> String {
    if folder.ends_with(':') || folder.is_empty() { format!("{folder}{file}") } else { format!("{folder}/{file}") }
}

/// The packs to test, and all packs of the site by name.
fn choose(
    arguments: &Arguments,
    builtin: &BTreeMap<String, Tree>,
) -> Result<(Vec<Chosen>, BTreeMap<String, Tree>), CliError> {
    if let Some(word) = &arguments.pack
        && PathBuf::from(word).join("pack.yaml").is_file()
    {
        let files = read_directory(&PathBuf::from(word)).map_err(|(path, error)| CliError::Usage {
            message: format!("cannot read {}: {error}", path.display()),
            hint: None,
        })?;
        let name =
            name_in(&files).ok_or_else(|| CliError::NotSo(format!("{word}/pack.yaml has no Pack with a name")))?;
        // Its neighbours are what it may require: packs mostly lie side by side.
        let others = neighbours(&PathBuf::from(word));
        return Ok((vec![Chosen { name, shown: word.trim_end_matches('/').to_owned(), files }], others));
    }
    let site = match SiteFiles::open(&arguments.place) {
        Ok(site) => Some(site),
        // A pack of the program needs no site.
        Err(_) if arguments.pack.as_ref().is_some_and(|name| builtin.contains_key(name)) => None,
        Err(error) => return Err(error),
    };
    let mut chosen = Vec::new();
    let mut others = BTreeMap::new();
    for entry in site.iter().flat_map(|site| &site.entries) {
        let Some(site) = &site else { continue };
        let Some(name) = known_as(entry, site) else { continue };
        let folder = match (&entry.git, &entry.path) {
            (Some(_), _) => vendor_folder(&name),
            (None, Some(folder)) => folder.trim_end_matches('/').to_owned(),
            (None, None) => continue,
        };
        let files = below(&site.tree, &folder);
        let files = if files.files.is_empty() { locked(site, &name).unwrap_or_default() } else { files };
        if files.files.is_empty() {
            return Err(CliError::NotSo(format!(
                "the files of pack {name} are not here: `formwork pack vendor {name}`"
            )));
        }
        others.insert(name.clone(), files.clone());
        chosen.push(Chosen { name, shown: folder, files });
    }
    if let Some(word) = &arguments.pack {
        chosen.retain(|pack| pack.name == *word);
        if let (true, Some(files)) = (chosen.is_empty(), builtin.get(word)) {
            chosen.push(Chosen { name: word.clone(), shown: format!("builtin:{word}"), files: files.clone() });
        }
        if chosen.is_empty() {
            let names = others.keys().chain(builtin.keys()).map(String::as_str);
            return Err(CliError::NotFound {
                message: format!("there is no pack {word}"),
                hint: Some(super::super::suggest::hint(word, names, "formwork pack list")),
            });
        }
    }
    Ok((chosen, others))
}

/// The files of a pack that is pinned and not vendored, from this person's cache.
fn locked(site: &SiteFiles, name: &str) -> Option<Tree> {
    let locked = site.lock.get(name)?;
    let tree = super::site::cache().ok()?.tree(&locked.commit, locked.from.path.as_deref()).ok()?;
    crate::content::elsewhere::hash_of(&tree, "").is_ok_and(|hash| hash == locked.hash).then_some(tree)
}

/// Packs that lie beside a folder, by name.
fn neighbours(folder: &std::path::Path) -> BTreeMap<String, Tree> {
    let mut found = BTreeMap::new();
    let Some(above) = folder.canonicalize().ok().and_then(|folder| folder.parent().map(PathBuf::from)) else {
        return found;
    };
    let folders = std::fs::read_dir(above).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    for path in folders.filter(|path| path.join("pack.yaml").is_file()) {
        if let Ok(files) = read_directory(&path)
            && let Some(name) = name_in(&files)
        {
            found.insert(name, files);
        }
    }
    found
}

fn draw(all: &[Results]) -> String {
    let mut text = String::new();
    let mut tests = 0;
    for Results { pack, tests: results } in all {
        for test in results {
            tests += 1;
            let verdict = if test.failures.is_empty() { "ok" } else { "FAILED" };
            text.push_str(&format!("{verdict:<7}{pack}/{}\n", test.name));
            for failure in &test.failures {
                text.push_str(&format!("  {}:{}: {} {}\n", test.file, test.line, failure.what, failure.message));
                for line in failure.difference.iter().flat_map(|difference| difference.lines()) {
                    text.push_str(&format!("    {line}\n"));
                }
            }
        }
    }
    let failed = failed(all);
    text.push_str(&format!("{} passed, {failed} failed\n", tests - failed));
    printable(&text)
}

fn suite(results: &Results) -> Suite {
    let case = |test: &TestResult| {
        let texts: Vec<String> = test
            .failures
            .iter()
            .map(|failure| {
                let difference = failure.difference.as_ref().map(|text| format!("\n{text}")).unwrap_or_default();
                format!("{}:{}: {} {}{difference}", test.file, test.line, failure.what, failure.message)
            })
            .collect();
        let failure = test.failures.first().map(|first| Failure {
            kind: "not-as-expected".to_owned(),
            message: format!("{} {}", first.what, first.message),
            text: texts.join("\n"),
        });
        Case { class: test.file.clone(), name: test.name.clone(), failure, output: String::new() }
    };
    Suite { name: format!("pack {}", results.pack), cases: results.tests.iter().map(case).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::TestFailure;

    fn results() -> Vec<Results> {
        let test = |name: &str, failures| TestResult {
            name: name.to_owned(),
            file: "packs/web/tests/a.yaml".to_owned(),
            line: 7,
            failures,
        };
        let failure = TestFailure {
            what: "job web.serve: file /etc/web.conf".to_owned(),
            message: "is not what was expected".to_owned(),
            difference: Some(
                "--- expected\n+++ found\n@@ -1 +1 @@\n-port <80>\n+port \u{1b}[31m81 & more\n".to_owned(),
            ),
        };
        vec![Results { pack: "web".to_owned(), tests: vec![test("good", Vec::new()), test("bad", vec![failure])] }]
    }

    #[test]
    fn each_test_is_a_line_and_a_failure_shows_how_it_differs() {
        insta::assert_snapshot!(draw(&results()));
    }

    #[test]
    fn results_are_junit_too() {
        insta::assert_snapshot!(junit::draw(&results().iter().map(suite).collect::<Vec<_>>()));
    }
}
