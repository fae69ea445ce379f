//! `formwork diff`: what a commit will do, before it does it.

use super::error::CliError;
use super::formats::Base;
use super::offline;
use super::output::{Format, Output};
use super::session::{Options, Session};
use super::validate::read_directory;
use crate::catalog::{Catalog, builtin_packs, from_tree};
use crate::content::{Findings, Severity, Tree};
use crate::git::{GitError, Revision, read_once, work_tree_of};
use crate::inspect::change::{Change, Drawing, Knowledge, Question, change, draw};
use clap::Args;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// So many commits are gone back to find one that would be served.
const LOOKED_BACK: usize = 20;
/// So many findings of a commit that would not are shown.
const FINDINGS_SHOWN: usize = 20;

/// Shows what a commit will do: the objects that differ, and what follows for each machine.
///
/// A.. B: from revision A to B. REVISION alone: from what serves now (in a repository: from its branch) to that revision. Nothing:
/// from what serves to what the source shows; with --repository, the last commit; with --dir, from the last commit to the files
/// as they lie there. Where that last commit (or the one before) would be refused, this says so, and compares with the newest
/// before it that would not be.
///
/// A server is asked with its machines as they are now. Without one, machines are taken as having done what the old revision says.
/// No value of a secret is ever shown.
#[derive(Debug, Args)]
#[command(mut_arg("output", |output| output.help("How the answer is printed (default: table, in a pipe too)")), after_help = "Examples:
  formwork diff                                  what would the newest revision do that does not serve yet?
  formwork diff 4f2a9c1                          what would that commit do in place of what serves?
  formwork diff v1.2..main                       what happens between the two
  formwork diff --dir site/                      what would these files do, once committed? (asks no server)
  formwork diff --repository site.git main..fix  the same for two revisions of a repository
  formwork diff -o json | jq '.machines[] | select(.wiped) | .name'

Exit codes:
  0  nothing differs
  1  something does
  2 and up  it cannot be told (see `formwork --help`)")]
pub struct Arguments {
    /// Two revisions as A..B, or one.
    #[arg(value_name = "A..B")]
    range: Option<String>,
    /// Compare with this directory as it lies there, in place of asking the server.
    // With all that asks for a repository: clap lets a `requires` go where what it wants conflicts with what is given.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["repository", "branch", "path"],
        help_heading = "Without a server"
    )]
    dir: Option<PathBuf>,
    /// Compare revisions of this Git repository, in place of asking the server.
    #[arg(long, value_name = "PATH", help_heading = "Without a server")]
    repository: Option<PathBuf>,
    /// The branch that counts as what serves; the repository's HEAD where not given.
    #[arg(long, requires = "repository", help_heading = "Without a server")]
    branch: Option<String>,
    /// The site's folder inside the repository.
    #[arg(long, value_name = "FOLDER", requires = "repository", help_heading = "Without a server")]
    path: Option<String>,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let (change, output) = compare(arguments).map_err(at_least_two)?;
    show(&change, output).map_err(at_least_two)?;
    if change.is_empty() { Ok(()) } else { Err(CliError::Differs) }
}

/// One is for differences: what went wrong is two or more.
fn at_least_two(error: CliError) -> CliError {
    match error {
        CliError::NotSo(message) => CliError::Usage { message, hint: None },
        other => other,
    }
}

/// The two ends that are asked for; empty is none.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ends<'a> {
    from: Option<&'a str>,
    to: Option<&'a str>,
}

impl<'a> Ends<'a> {
    fn of(range: Option<&'a str>) -> Result<Self, CliError> {
        let Some(range) = range else { return Ok(Self::default()) };
        let wrong = |what: &str| CliError::Usage {
            message: format!("{range} is no pair of revisions: {what}"),
            hint: Some("write A..B, or one revision".to_owned()),
        };
        if range.contains("...") {
            return Err(wrong("three dots ask for where two branches parted, which nothing here knows"));
        }
        let some = |name: &'a str| Some(name).filter(|name| !name.is_empty());
        match range.split_once("..") {
            Some((from, to)) if from.is_empty() && to.is_empty() => Err(wrong("it names none")),
            Some((from, to)) => Ok(Self { from: some(from), to: some(to) }),
            None => Ok(Self { from: None, to: some(range) }),
        }
    }
}

fn compare(arguments: &Arguments) -> Result<(Change, Output), CliError> {
    let Arguments { range, dir, repository, branch, path, session } = arguments;
    let ends = Ends::of(range.as_deref())?;
    if let Some(dir) = dir {
        let old = before_directory(dir, range.as_deref())?;
        let mut tree = read_directory(dir).map_err(|(path, error)| CliError::Usage {
            message: format!("cannot read {}: {error}", path.display()),
            hint: Some("name the directory that has the site's site.yaml in it".to_owned()),
        })?;
        super::pack::lay_in_fetched(&mut tree);
        let new = offline::compile(&tree, "work tree", &dir.display().to_string(), &Base::of(dir))?;
        return Ok((between(old.as_ref(), &new), session.output()));
    }
    if let Some(repository) = repository {
        let read = |name: Option<&str>| read(repository, branch.as_deref(), path.as_deref(), name);
        let (old, new) = match (ends.from, ends.to) {
            (None, None) => {
                let before = format!("{}^", branch.as_deref().unwrap_or("HEAD"));
                let new = read(None)?;
                (Before::newest_good(repository, &before, path.as_deref())?.tell(), new)
            }
            (from, to) => (Some(read(from)?), read(to)?),
        };
        return Ok((between(old.as_ref(), &new), session.output()));
    }
    let session = Session::open(session)?;
    let change = session.client.changes(ends.from, ends.to)?;
    Ok((change, session.output))
}

/// What a directory is compared with: a revision of the repository that it lies in; none where it lies in none.
fn before_directory(dir: &Path, revision: Option<&str>) -> Result<Option<Catalog>, CliError> {
    let usage = |message: String| CliError::Usage { message, hint: None };
    if revision.is_some_and(|revision| revision.contains("..")) {
        return Err(usage("--dir is compared with one revision: name it alone".to_owned()));
    }
    match work_tree_of(dir) {
        Some((repository, folder)) if revision.is_some() => {
            read(&repository, None, folder.as_deref(), revision).map(Some)
        }
        Some((repository, folder)) => Ok(Before::newest_good(&repository, "HEAD", folder.as_deref())?.tell()),
        None if revision.is_some() => Err(usage(format!("{} lies in no Git repository", dir.display()))),
        None => Ok(None),
    }
}

/// What is compared with where nobody names it: the newest commit that would be served.
#[derive(Debug)]
struct Before {
    catalog: Option<Catalog>,
    /// What is to be said of it.
    said: String,
}

impl Before {
    /// `name`, or the newest before it that is good. Where there is none, everything is new.
    fn newest_good(repository: &Path, name: &str, folder: Option<&str>) -> Result<Self, CliError> {
        let nothing = |said: String| Ok(Self { catalog: None, said: format!("note: {said}: everything shows as new") });
        let mut broken = String::new();
        for back in 0..=LOOKED_BACK {
            let named = format!("{name}~{back}");
            // Of HEAD itself it is told apart what is not there and what cannot be read.
            let revision = Some(named.as_str()).filter(|_| back > 0 || name != "HEAD");
            let (revision, tree) = match read_tree(repository, None, folder, revision) {
                Ok(read) => read,
                Err(_) if back > 0 => break,
                Err(GitError::NoCommit { .. }) => return nothing("nothing is committed yet".to_owned()),
                Err(GitError::UnknownRevision { .. }) => return nothing(format!("there is no commit {name}")),
                Err(GitError::NoSubpath { .. }) => {
                    return nothing(format!("commit {name} has no folder {}", folder.unwrap_or_default()));
                }
                Err(error) => return Err(CliError::Usage { message: error.to_string(), hint: None }),
            };
            match from_tree(&tree, &builtin_packs(), &revision.id) {
                Ok(catalog) if back == 0 => return Ok(Self { catalog: Some(catalog), said: String::new() }),
                Ok(catalog) => {
                    let with = format!("compared with {}, the newest before it that would not be", revision.id);
                    return Ok(Self { catalog: Some(catalog), said: format!("{broken}note: {with}") });
                }
                Err(mut findings) if back == 0 => {
                    Base::of_folder(folder).name(&mut findings.0, &tree);
                    broken = refused(name, &revision.id, &findings);
                }
                Err(_) => {}
            }
        }
        let with = "compared with nothing, since none of the commits before it would be served";
        Ok(Self { catalog: None, said: format!("{broken}note: {with}: everything shows as new") })
    }

    /// Says what there is to say beside the answer.
    fn tell(self) -> Option<Catalog> {
        if !self.said.is_empty() {
            super::output::note(&self.said);
        }
        self.catalog
    }
}

/// A commit that no server serves, and why.
fn refused(name: &str, id: &str, findings: &Findings) -> String {
    let errors = findings.errors();
    let mut text = format!("warning: {name} ({id}) would be refused: {}\n", super::sentence::count(errors, "error"));
    let wrong = || findings.0.iter().filter(|finding| finding.severity == Severity::Error);
    wrong().take(FINDINGS_SHOWN).for_each(|finding| text.push_str(&format!("{finding}\n")));
    if errors > FINDINGS_SHOWN {
        text.push_str(&format!("… and {} more\n", errors - FINDINGS_SHOWN));
    }
    text
}

fn read_tree(
    repository: &Path,
    branch: Option<&str>,
    folder: Option<&str>,
    revision: Option<&str>,
) -> Result<(Revision, Tree), GitError> {
    let (revision, mut tree) = read_once(repository, branch, folder, revision)?;
    super::pack::lay_in_fetched(&mut tree);
    Ok((revision, tree))
}

fn read(
    repository: &Path,
    branch: Option<&str>,
    folder: Option<&str>,
    revision: Option<&str>,
) -> Result<Catalog, CliError> {
    let (revision, tree) = read_tree(repository, branch, folder, revision)
        .map_err(|error| CliError::Usage { message: error.to_string(), hint: None })?;
    let shown = format!("{} of {}", revision.id, repository.display());
    offline::compile(&tree, &revision.id, &shown, &Base::of_folder(folder))
}

fn between(old: Option<&Catalog>, new: &Catalog) -> Change {
    let now_unix_ms = super::time::now_unix_ms();
    change(&Question { old, new, known: &Knowledge::Nothing, pinned: &BTreeMap::new(), now_unix_ms })
}

fn show(change: &Change, output: Output) -> Result<(), CliError> {
    let names = || change.machines.iter().map(|machine| machine.name.clone()).collect();
    // What is text for people is text in a pipe too, as git diff's is.
    let output = Output { chosen: output.chosen.or(Some(Format::Table)), ..output };
    output.answer(change, names, |style| {
        draw(change, Drawing { width: style.width, colour: style.colour, ..Drawing::default() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_revisions_or_one() {
        for (range, from, to) in [
            ("a..b", Some("a"), Some("b")),
            ("a..", Some("a"), None),
            ("..b", None, Some("b")),
            ("v1.2", None, Some("v1.2")),
        ] {
            assert_eq!(Ends::of(Some(range)).unwrap(), Ends { from, to }, "{range}");
        }
        assert_eq!(Ends::of(None).unwrap(), Ends::default());
        for wrong in ["..", "a...b"] {
            assert_eq!(Ends::of(Some(wrong)).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
