//! `formwork validate`: what the server would say to a directory, before it is pushed.

use super::CliError;
use super::formats::{self, Base};
use super::output::Output;
use super::progress::{Progress, Unit};
use crate::catalog::{Catalog, builtin_packs, from_tree_with};
use crate::content::sops::Keys;
use crate::content::{File, FileKind, Finding, Findings, Place, Report, Severity, Tree, visible};
use crate::git::regular::open_regular;
use crate::git::{DEPTH, ENTRIES, TOTAL_BYTES, submodules};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest file that is read whole; of larger ones the beginning is enough to refuse them.
const FILE_BYTES_MAX: u64 = 17 * 1024 * 1024;

const EXAMPLES: &str = "\
Examples:
  formwork validate                  the directory you are in
  formwork validate site/            another one
  formwork validate --age-identities age.txt site/   encrypted values too
  formwork validate -o json site/    for programs and editors; text is the default in a pipe too
  formwork validate -o sarif > findings.sarif   for code scanning (SARIF 2.1.0)
  formwork validate -o github        annotations beside the lines of a pull request
  formwork validate -o junit > findings.xml     for a list of tests

Exit codes:
  0  nothing is wrong (there may be warnings)
  1  it would be refused
  2  it cannot be read";

/// Checks a directory of content as the server would: all findings at once, each with its place.
///
/// Reads the files as they lie there, committed or not; `.git` is left out. Nothing is asked of a server. Paths are told from
/// the root of the Git work tree that the directory lies in, in every format; where it lies in none, from where the command is
/// started.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The directory with site.yaml.
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Open what SOPS encrypted with these identities (mode 0600); without them encrypted values stay unknown.
    #[arg(long, value_name = "FILE")]
    age_identities: Option<PathBuf>,
    /// How to print the findings.
    #[arg(short, long, visible_alias = "format", value_enum, default_value_t = Format::Text)]
    output: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// `file:line:column: error: message`, a hint below, and the counts.
    Text,
    /// One JSON object.
    Json,
    /// The same as YAML.
    Yaml,
    /// SARIF 2.1.0, for code scanning.
    Sarif,
    /// Annotations of GitHub's, Gitea's and Forgejo's runners.
    Github,
    /// JUnit's XML: each error is a test that failed.
    Junit,
}

/// Runs the command.
///
/// # Errors
/// A directory that cannot be read, or one that would be refused.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let identities = arguments.age_identities.as_deref().map(super::age_identities::read).transpose()?;
    let keys = identities.map_or(Keys::Unknown, |identities| Keys::Known(Arc::new(identities)));
    let (mut tree, unnamed) = match without_site(&arguments.path) {
        Some(near) => (near, Vec::new()),
        None => read_all(&arguments.path).map_err(|(path, error)| CliError::Usage {
            message: format!("cannot read {}: {error}", path.display()),
            hint: Some("name the directory that has the site's site.yaml in it".to_owned()),
        })?,
    };
    super::pack::lay_in_fetched(&mut tree);
    let progress = Progress::new("checking", Unit::Files, 0);
    let mut answer = with_unnamed(from_tree_with(&tree, &builtin_packs(), "work tree", &keys), &unnamed);
    drop(progress);
    let (Ok(Catalog { warnings: findings, .. }) | Err(findings)) = &mut answer;
    site_above(findings, &arguments.path);
    let base = Base::of(&arguments.path);
    base.name(&mut findings.0, &tree);
    let text = match arguments.output {
        Format::Text => visible::lines(&text(&answer, &base)).into_owned(),
        Format::Json => json(&answer, &base),
        Format::Yaml => serde_json::from_str::<serde_json::Value>(&json(&answer, &base))
            .ok()
            .and_then(|value| visible::yaml(&value).ok())
            .unwrap_or_default(),
        Format::Sarif => formats::sarif::draw(shown(&answer)),
        Format::Github => formats::github::draw(shown(&answer)),
        Format::Junit => formats::junit::draw(&[formats::junit::of_findings(shown(&answer))]),
    };
    match Output::of_process(None).bytes(text.as_bytes()) {
        // Whoever has read enough changes nothing of what is so.
        Err(CliError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
        written => written?,
    }
    match answer {
        Ok(_) => Ok(()),
        Err(findings) => Err(CliError::NotSo(format!(
            "{} would be refused: {}",
            arguments.path.display(),
            count(findings.errors(), "error")
        ))),
    }
}

fn shown(answer: &Result<Catalog, Findings>) -> &[Finding] {
    let (Ok(Catalog { warnings: findings, .. }) | Err(findings)) = answer;
    &findings.0
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Where the site begins in a folder above: that is what was meant.
fn site_above(findings: &mut Findings, path: &Path) {
    let Some(finding) = findings.0.iter_mut().find(|finding| finding.code == "no-site") else { return };
    let Ok(whole) = path.canonicalize() else { return };
    let above = whole.ancestors().skip(1).position(|folder| folder.join("site.yaml").is_file());
    if let Some(above) = above {
        let above = path.join(vec![".."; above + 1].join("/"));
        let above = above.strip_prefix(".").unwrap_or(&above);
        finding.hint = Some(format!("a site begins above: formwork validate {}", above.display()));
    }
}

/// The findings as people read them.
fn text(answer: &Result<Catalog, Findings>, base: &Base) -> String {
    // Nothing is named where nothing is wrong.
    let from = match base.shown() {
        Some(base) if !shown(answer).is_empty() => format!("; paths are from {base}"),
        _ => String::new(),
    };
    match answer {
        Ok(catalog) => {
            let warnings = &catalog.warnings;
            let mut text = warnings.0.iter().map(|finding| format!("{finding}\n")).collect::<String>();
            let site = format!(
                "site {}: {}, {}, {}",
                catalog.site,
                count(catalog.machines().count(), "machine"),
                count(catalog.enrollments().count(), "enrollment rule"),
                count(catalog.workflows().count(), "workflow"),
            );
            let verdict = match warnings.warnings() {
                0 => "nothing is wrong".to_owned(),
                more => count(more, "warning"),
            };
            text.push_str(&format!("{site}; {verdict}{from}\n"));
            text
        }
        Err(findings) => {
            let counts = format!("{}, {}", count(findings.errors(), "error"), count(findings.warnings(), "warning"));
            format!("{findings}\n{counts}{from}\n")
        }
    }
}

/// The findings for programs.
fn json(answer: &Result<Catalog, Findings>, base: &Base) -> String {
    #[derive(Serialize)]
    struct Answer<'a> {
        good: bool,
        errors: usize,
        warnings: usize,
        /// What paths are told from, seen from where the command was started.
        base: &'a str,
        findings: &'a Findings,
    }
    let (good, findings) = match answer {
        Ok(catalog) => (true, &catalog.warnings),
        Err(findings) => (false, findings),
    };
    let (errors, warnings, base) = (findings.errors(), findings.warnings(), base.shown().unwrap_or("."));
    let answer = Answer { good, errors, warnings, base, findings };
    let text = serde_json::to_string_pretty(&answer).unwrap_or_default() + "\n";
    visible::json(&text).into_owned()
}

/// The same with an error for each name that is not UTF-8: a revision of a repository with it would be refused, too.
fn with_unnamed(answer: Result<Catalog, Findings>, unnamed: &[String]) -> Result<Catalog, Findings> {
    if unnamed.is_empty() {
        return answer;
    }
    let mut report = Report::default();
    for path in unnamed {
        let place = Place { file: Arc::from(path.as_str()), line: 1, column: 1 };
        report
            .at(Severity::Error, "file-name", place, "the name is not UTF-8 text: what is there is not read")
            .hint("rename it; letters, digits, `-`, `_` and `.` are read everywhere");
    }
    let mut findings = match answer {
        Ok(catalog) => catalog.warnings.clone(),
        Err(findings) => findings,
    };
    findings.merge(report.into_findings().0);
    Err(findings)
}

/// The files of a work tree as the server would see them once committed.
///
/// # Errors
/// The first that cannot be read, or has a name that is not UTF-8.
pub(super) fn read_directory(root: &Path) -> Result<Tree, (PathBuf, io::Error)> {
    let (tree, unnamed) = read_all(root)?;
    match unnamed.first() {
        Some(path) => {
            Err((root.join(path), io::Error::new(io::ErrorKind::InvalidData, "its name is not UTF-8; rename it")))
        }
        None => Ok(tree),
    }
}

/// The same; what has a name that is not UTF-8 is left out and told by its path, as it can be shown.
fn read_all(root: &Path) -> Result<(Tree, Vec<String>), (PathBuf, io::Error)> {
    // As much as a revision may hold: more would be refused, and a wrong folder is not read to its end.
    read_within(root, &submodules(root), ENTRIES, TOTAL_BYTES, DEPTH)
}

/// Where no site.yaml lies in a folder it is no site, whatever else is in it: nothing of that is read. What was probably meant is
/// looked for by its name, not far below.
fn without_site(root: &Path) -> Option<Tree> {
    const DEEPEST: usize = 3;
    const MOST: usize = 5_000;
    let site = root.join("site.yaml").symlink_metadata();
    if !site.is_err_and(|error| error.kind() == io::ErrorKind::NotFound) || !root.is_dir() {
        return None;
    }
    let mut near = BTreeMap::new();
    let mut folders = std::collections::VecDeque::from([(root.to_path_buf(), String::new(), 0)]);
    let mut seen = 0;
    while let Some((folder, prefix, depth)) = folders.pop_front() {
        // A folder that cannot be read has nothing to suggest; the root's own is told by who reads it next.
        let entries = std::fs::read_dir(&folder).ok().filter(|_| seen < MOST);
        let Some(entries) = entries else {
            if depth == 0 {
                return None;
            }
            continue;
        };
        for entry in entries.filter_map(Result::ok).take(MOST) {
            seen += 1;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let kind = entry.file_type();
            let path = format!("{prefix}{name}");
            if kind.as_ref().is_ok_and(std::fs::FileType::is_dir) && depth < DEEPEST && !name.starts_with('.') {
                folders.push_back((entry.path(), format!("{path}/"), depth + 1));
            } else if ["site.yaml", "site.yml"].iter().any(|site| name.eq_ignore_ascii_case(site)) {
                near.insert(path, file(Vec::new(), FileKind::Regular));
            }
        }
    }
    Some(Tree { files: near.into(), ..Tree::default() })
}

/// `submodules`: folders that are in the index as that, whatever lies in them.
fn read_within(
    root: &Path,
    submodules: &BTreeSet<String>,
    entries_max: usize,
    bytes_max: usize,
    depth_max: usize,
) -> Result<(Tree, Vec<String>), (PathBuf, io::Error)> {
    let progress = Progress::new("reading", Unit::Files, 0);
    let mut files = BTreeMap::new();
    let mut unnamed = Vec::new();
    let mut folders = vec![(root.to_path_buf(), String::new(), 0_usize)];
    let (mut entries, mut total) = (0, 0);
    let over = |what: String| {
        let more = format!("{what}, and no revision may have more; is it the site's own folder?");
        (root.to_path_buf(), io::Error::other(more))
    };
    while let Some((folder, prefix, depth)) = folders.pop() {
        let fail = |error| (folder.clone(), error);
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                unnamed.push(format!("{prefix}{}", visible::name(name.as_encoded_bytes())));
                continue;
            };
            if name == ".git" {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(fail)?;
            // A submodule may be empty here, as a clone leaves it; another repository becomes one once it is added. Neither's files
            // are in the commit.
            if kind.is_dir() && (submodules.contains(&path) || entry.path().join(".git").symlink_metadata().is_ok()) {
                files.insert(path, file(Vec::new(), FileKind::Submodule));
            } else if kind.is_dir() {
                if depth >= depth_max {
                    return Err((entry.path(), io::Error::other(format!("it lies deeper than {depth_max} folders"))));
                }
                folders.push((entry.path(), format!("{path}/"), depth + 1));
            } else if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).map_err(|error| (entry.path(), error))?;
                files.insert(path, file(target.as_os_str().as_encoded_bytes().to_vec(), FileKind::Symlink));
            } else if kind.is_file() {
                let bytes = read_file(&entry.path()).map_err(|error| (entry.path(), error))?;
                total += bytes.len();
                files.insert(path, file(bytes, FileKind::Regular));
                progress.more(1);
            } else {
                files.insert(path, file(Vec::new(), FileKind::Special));
            }
            entries += 1;
            if entries > entries_max {
                return Err(over(format!("it has more than {entries_max} files and folders")));
            }
            if total > bytes_max {
                return Err(over(format!("it has more than {} MiB", bytes_max >> 20)));
            }
        }
    }
    Ok((Tree { files: files.into(), ..Tree::default() }, unnamed))
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    open_regular(path)?.0.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn file(bytes: Vec<u8>, kind: FileKind) -> File {
    File { bytes: Arc::from(bytes), kind, blob: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn a_folder_without_a_site_is_not_read_and_what_was_meant_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::create_dir_all(root.join("a/b")).unwrap();
        std::fs::write(root.join("a/b/site.yaml"), "kind: Site").unwrap();
        std::fs::write(root.join("large"), "not looked at").unwrap();
        let near = without_site(root).unwrap();
        let found: Vec<_> = near.files.iter().map(|(path, file)| (path.as_str(), file.bytes.len())).collect();
        assert_eq!(found, [("a/b/site.yaml", 0)], "by its name alone");
        for (site, name) in [(None, "Site.YAML"), (Some(()), "site.yaml")] {
            std::fs::write(root.join(name), "kind: Site").unwrap();
            assert_eq!(without_site(root).is_none(), site.is_some(), "{name}");
        }
        assert!(without_site(&root.join("nowhere")).is_none(), "that is told otherwise");
    }

    #[test]
    fn no_more_is_read_than_a_revision_may_hold() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |entries, bytes, depth| {
            read_within(folder.path(), &BTreeSet::new(), entries, bytes, depth)
                .map(|_| ())
                .map_err(|(_, error)| error.to_string())
        };
        let most = 1 << 20;
        std::fs::create_dir_all(folder.path().join("a/b")).unwrap();
        std::fs::write(folder.path().join("a/b/c"), vec![b'x'; most]).unwrap();
        std::fs::write(folder.path().join("d"), "x").unwrap();
        assert_eq!(refused(4, most + 1, 2), Ok(()));
        assert!(
            refused(3, most + 1, 2).is_err_and(|why| why.starts_with("it has more than 3 files and folders, and no"))
        );
        assert!(refused(4, most, 2).is_err_and(|why| why.starts_with("it has more than 1 MiB, and no revision")));
        assert_eq!(refused(4, most + 1, 1), Err("it lies deeper than 1 folders".to_owned()));
    }

    #[test]
    fn a_submodule_is_one_whether_or_not_it_is_checked_out_and_what_is_in_it_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        for path in ["empty", "full", "nested/.git", "plain"] {
            std::fs::create_dir_all(folder.path().join(path)).unwrap();
        }
        for path in ["full/.git", "full/x.yaml", "nested/x.yaml", "plain/x.yaml"] {
            std::fs::write(folder.path().join(path), "kind: Sight\n").unwrap();
        }
        let submodules = ["empty".to_owned(), "full".to_owned(), "gone".to_owned()].into();
        let (tree, _) = read_within(folder.path(), &submodules, 100, 1 << 20, 9).unwrap();
        let read: Vec<(&str, FileKind)> = tree.files.iter().map(|(path, file)| (path.as_str(), file.kind)).collect();
        let (submodule, regular) = (FileKind::Submodule, FileKind::Regular);
        let expected = [("empty", submodule), ("full", submodule), ("nested", submodule), ("plain/x.yaml", regular)];
        assert_eq!(read, expected);
    }

    #[test]
    fn a_name_that_is_not_utf_8_is_a_finding_and_the_rest_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let machines = folder.path().join("machines");
        std::fs::create_dir(&machines).unwrap();
        std::fs::create_dir(folder.path().join(std::ffi::OsStr::from_bytes(b"r\xe4ck"))).unwrap();
        std::fs::write(folder.path().join("site.yaml"), "kind: Sight\n").unwrap();
        std::fs::write(machines.join(std::ffi::OsStr::from_bytes(b"caf\xe9.yaml")), "").unwrap();
        let (tree, mut unnamed) = read_all(folder.path()).unwrap();
        unnamed.sort();
        assert_eq!(unnamed, ["machines/caf\\xe9.yaml", "r\\xe4ck"]);
        let answer = from_tree_with(&tree, &builtin_packs(), "work tree", &Keys::Unknown);
        let before = answer.as_ref().err().map(Findings::errors).unwrap_or_default();
        assert!(before > 0, "the rest is read and judged");
        let answer = with_unnamed(answer, &unnamed);
        assert_eq!(answer.as_ref().err().map(Findings::errors), Some(before + 2));
        for drawn in [
            text(&answer, &Base::default()),
            json(&answer, &Base::default()),
            formats::sarif::draw(shown(&answer)),
            formats::github::draw(shown(&answer)),
            formats::junit::draw(&[formats::junit::of_findings(shown(&answer))]),
        ] {
            assert!(drawn.contains("is not UTF-8") && drawn.contains("rename it"), "{drawn}");
            assert!(drawn.contains("xe9.yaml"), "{drawn}");
        }
        let (path, error) = read_directory(folder.path()).err().unwrap();
        assert!(path.starts_with(folder.path()) && error.to_string().contains("rename it"), "{error}");
    }
}
