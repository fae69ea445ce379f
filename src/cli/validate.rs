//! `formwork validate`: what the server would say to a directory, before it is pushed.

use super::CliError;
use super::formats;
use super::progress::{Progress, Unit};
use crate::catalog::{Catalog, builtin_packs, from_tree_with};
use crate::content::sops::Keys;
use crate::content::{File, FileKind, Finding, Findings, Tree};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The largest file that is read whole; of larger ones the beginning is enough to refuse them.
const FILE_BYTES_MAX: u64 = 17 * 1024 * 1024;
/// The most files that a site's directory may have.
const FILES_MAX: usize = 500_000;
/// How deep folders may lie.
const DEPTH_MAX: usize = 64;

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
/// where the command is started, in every format; below an absolute directory, from that directory.
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
    let mut tree = read_directory(&arguments.path).map_err(|(path, error)| CliError::Usage {
        message: format!("cannot read {}: {error}", path.display()),
        hint: Some("name the directory that has the site's site.yaml in it".to_owned()),
    })?;
    super::pack::lay_in_fetched(&mut tree);
    let progress = Progress::new("checking", Unit::Files, 0);
    let mut answer = from_tree_with(&tree, &builtin_packs(), "work tree", &keys);
    drop(progress);
    let (Ok(Catalog { warnings: findings, .. }) | Err(findings)) = &mut answer;
    findings.0.iter_mut().for_each(|finding| finding.file = formats::path_from_here(&arguments.path, &finding.file));
    let text = match arguments.output {
        Format::Text => text(&answer),
        Format::Json => json(&answer),
        Format::Yaml => serde_json::from_str::<serde_json::Value>(&json(&answer))
            .ok()
            .and_then(|value| serde_yaml::to_string(&value).ok())
            .unwrap_or_default(),
        Format::Sarif => formats::sarif::draw(shown(&answer)),
        Format::Github => formats::github::draw(shown(&answer)),
        Format::Junit => formats::junit::draw(&[formats::junit::of_findings(shown(&answer))]),
    };
    io::stdout().lock().write_all(text.as_bytes())?;
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

/// The findings as people read them.
fn text(answer: &Result<Catalog, Findings>) -> String {
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
            let verdict = match warnings.0.len() {
                0 => "nothing is wrong".to_owned(),
                more => count(more, "warning"),
            };
            text.push_str(&format!("{site}; {verdict}\n"));
            text
        }
        Err(findings) => {
            let counts = format!("{}, {}", count(findings.errors(), "error"), count(findings.warnings(), "warning"));
            format!("{findings}\n{counts}\n")
        }
    }
}

/// The findings for programs.
fn json(answer: &Result<Catalog, Findings>) -> String {
    #[derive(Serialize)]
    struct Answer<'a> {
        good: bool,
        errors: usize,
        warnings: usize,
        findings: &'a Findings,
    }
    let (good, findings) = match answer {
        Ok(catalog) => (true, &catalog.warnings),
        Err(findings) => (false, findings),
    };
    let answer = Answer { good, errors: findings.errors(), warnings: findings.warnings(), findings };
    let mut text = serde_json::to_string_pretty(&answer).unwrap_or_default();
    text.push('\n');
    text
}

/// The files of a work tree as the server would see them once committed.
pub(super) fn read_directory(root: &Path) -> Result<Tree, (PathBuf, io::Error)> {
    let progress = Progress::new("reading", Unit::Files, 0);
    let mut files = BTreeMap::new();
    let mut folders = vec![(root.to_path_buf(), String::new(), 0_usize)];
    while let Some((folder, prefix, depth)) = folders.pop() {
        let fail = |error| (folder.clone(), error);
        for entry in std::fs::read_dir(&folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else {
                let error = io::Error::new(io::ErrorKind::InvalidData, "its name is not UTF-8");
                return Err((entry.path(), error));
            };
            if name == ".git" {
                // A `.git` file (not folder) below the root is what a submodule leaves in a work tree.
                if !prefix.is_empty() {
                    files.insert(prefix.trim_end_matches('/').to_owned(), file(Vec::new(), FileKind::Submodule));
                }
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(fail)?;
            if kind.is_dir() {
                if depth >= DEPTH_MAX {
                    return Err((entry.path(), io::Error::other("folders lie too deep")));
                }
                folders.push((entry.path(), format!("{path}/"), depth + 1));
            } else if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).map_err(|error| (entry.path(), error))?;
                files.insert(path, file(target.as_os_str().as_encoded_bytes().to_vec(), FileKind::Symlink));
            } else if kind.is_file() {
                let bytes = read_file(&entry.path()).map_err(|error| (entry.path(), error))?;
                files.insert(path, file(bytes, FileKind::Regular));
                progress.more(1);
            }
            if files.len() > FILES_MAX {
                return Err((root.to_path_buf(), io::Error::other(format!("more than {FILES_MAX} files"))));
            }
        }
    }
    Ok(Tree { files: files.into() })
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn file(bytes: Vec<u8>, kind: FileKind) -> File {
    File { bytes: Arc::from(bytes), kind, blob: None }
}
