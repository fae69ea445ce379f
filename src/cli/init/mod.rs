//! `formwork init`: a repository that is ready to push.

use super::CliError;
use super::output::say;
use crate::content::names::{as_label, is_label};
use crate::content::schema;
use crate::git::work_tree_around;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// What stands for the site's name in the files.
const SITE_NAME: &str = "SITE-NAME";

/// Makes a directory into a site's repository: content that validates, settings for editors, a check for CI, a hook.
///
/// A file that is there is never written over. Nothing is asked of a server and nothing is committed.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  formwork init lab                       a new directory
  formwork init lab --ci gitlab
  formwork init . --force --no-git        what is missing, into a directory that has files already
  formwork init sites/lab --no-git        a folder of a repository that is there

Exit codes:
  0  it is there
  1  a file cannot be written
  4  the directory is not empty, or lies in another repository")]
pub struct Arguments {
    /// The directory; made where it is not there.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The site's name; that of the directory where it is not given.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Which CI gets a file that validates.
    #[arg(long, value_enum, default_value_t = Ci::Github)]
    ci: Ci,
    /// Makes no Git repository. In a folder of another one, the hook and the files of CI are left out: nobody looks for them there.
    #[arg(long)]
    no_git: bool,
    /// Writes what is missing into a directory that is not empty.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Ci {
    /// GitHub Actions, which Gitea and Forgejo run too.
    Github,
    /// GitLab CI.
    Gitlab,
    /// Both.
    Both,
    /// None.
    None,
}

/// A file to write: its path, whether it is a program, its text.
struct Piece {
    path: &'static str,
    program: bool,
    text: String,
}

/// The files, in the order in which they are told of. Pure.
fn pieces(name: &str, ci: Ci) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut add = |path, text: &str| {
        pieces.push(Piece { path, program: path == PRE_COMMIT, text: text.replace(SITE_NAME, name) });
    };
    add("site.yaml", include_str!("files/site.yaml"));
    add("machines/node-1.yaml", include_str!("files/machine.yaml"));
    add("networks/boot.yaml", include_str!("files/network.yaml"));
    add("README.md", include_str!("files/README.md"));
    let schema = serde_json::to_string_pretty(&schema::of_all()).unwrap_or_default() + "\n";
    add(".formwork/schema.json", &schema);
    add(".vscode/settings.json", include_str!("files/vscode-settings.json"));
    add(".vscode/extensions.json", include_str!("files/vscode-extensions.json"));
    add(".editorconfig", include_str!("files/editorconfig"));
    add(".gitattributes", include_str!("files/gitattributes"));
    add(".gitignore", include_str!("files/gitignore"));
    add(PRE_COMMIT, include_str!("files/pre-commit"));
    if matches!(ci, Ci::Github | Ci::Both) {
        add(".github/workflows/content.yml", include_str!("files/github.yml"));
    }
    if matches!(ci, Ci::Gitlab | Ci::Both) {
        add(".gitlab-ci.yml", include_str!("files/gitlab.yml"));
    }
    pieces
}

const PRE_COMMIT: &str = ".githooks/pre-commit";

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let dir = &arguments.dir;
    let name = site_name(arguments)?;
    let cannot = |path: &Path, error: &std::io::Error| {
        super::failure::not_written(path, error, || format!("{}: {error}", path.display()))
    };
    let before = match std::fs::read_dir(dir) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.file_name()).collect(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(cannot(dir, &error)),
    };
    // A repository that was just made is as good as an empty directory.
    if before.iter().any(|name| name != ".git") && !arguments.force {
        return Err(CliError::Refused {
            code: "not-empty".to_owned(),
            message: format!("{} is not empty", dir.display()),
            hint: Some("--force writes what is missing; a file that is there is never written over".to_owned()),
        });
    }
    let around = work_tree_around(dir);
    if let (Some((top, _)), false) = (&around, arguments.no_git) {
        return Err(inside(dir, top));
    }
    let wanted = |piece: &Piece| around.is_none() || !is_of_the_top(piece.path);
    for Piece { path, program, text } in pieces(&name, arguments.ci).into_iter().filter(wanted) {
        let whole = dir.join(path);
        let above = whole.parent().unwrap_or(dir);
        std::fs::create_dir_all(above).map_err(|error| cannot(above, &error))?;
        let mode = if program { 0o755 } else { 0o644 };
        match std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&whole) {
            Ok(mut file) => {
                file.write_all(text.as_bytes()).map_err(|error| cannot(&whole, &error))?;
                say(&format!("written  {path}"));
            }
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => say(&format!("kept     {path}")),
            Err(error) => return Err(cannot(&whole, &error)),
        }
    }
    if !arguments.no_git {
        let made = crate::git::init(dir).map_err(|error| CliError::NotSo(error.to_string()))?;
        say(if made { "made     .git, branch main" } else { "kept     the repository that is there" });
    }
    let steps = match &around {
        Some((top, folder)) => next_steps_inside(dir, top, folder),
        None => next_steps(dir, arguments.no_git),
    };
    say(steps.trim_end());
    Ok(())
}

/// Files that Git and forges look for at the top of a repository and nowhere else.
fn is_of_the_top(path: &str) -> bool {
    path == PRE_COMMIT || path.starts_with(".github/") || path == ".gitlab-ci.yml"
}

/// Git would never run the hook, and no forge the check: who is told nothing takes both for granted.
fn inside(dir: &Path, top: &Path) -> CliError {
    let shown = shell_word(dir);
    CliError::Refused {
        code: "inside-repository".to_owned(),
        message: format!(
            "{} lies in the repository {}: Git would look for the hook, and a forge for the check, at the top of that one",
            dir.display(),
            top.display()
        ),
        hint: Some(format!(
            "name a directory outside of it; or make it a repository of its own first: git init {shown}; or write the \
             content alone: formwork init {shown} --no-git"
        )),
    }
}

/// What a person does now.
fn next_steps(dir: &Path, no_git: bool) -> String {
    let shown = shell_word(dir);
    let commit = if no_git { "" } else { "\n  git add --all && git commit -m 'The first content'" };
    let source = if no_git { "--dir . …       " } else { "--repository . …" };
    format!(
        "\nnext:
  cd {shown}
  formwork validate                              nothing is wrong with it now; keep it so
  write the MAC address of a machine of yours into machines/node-1.yaml, and your network into networks/boot.yaml
  git config core.hooksPath .githooks            validates before each commit{commit}
  formwork serve {source}                or push it to where your server reads
"
    )
}

/// The same in a folder of a repository that was there before.
fn next_steps_inside(dir: &Path, top: &Path, folder: &Path) -> String {
    let (shown, top, folder) = (shell_word(dir), shell_word(top), shell_word(folder));
    format!(
        "\nnext:
  formwork validate {shown}
  write the MAC address of a machine of yours into machines/node-1.yaml, and your network into networks/boot.yaml
  put `formwork validate {folder}` into the pre-commit hook and into the CI of {top}
  formwork serve --repository {top} --path {folder} …
"
    )
}

/// A path as one word of a command line, whatever is in it.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let text = if text.starts_with('-') { format!("./{text}") } else { text };
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@,".contains(c);
    if !text.is_empty() && text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

fn site_name(arguments: &Arguments) -> Result<String, CliError> {
    if let Some(name) = &arguments.name {
        return if is_label(name) {
            Ok(name.clone())
        } else {
            Err(CliError::Usage {
                message: format!("`{name}` is not a name: lower-case letters, digits and `-`"),
                hint: as_label(name).map(|name| format!("`{name}` would be one")),
            })
        };
    }
    Ok(name_of(&arguments.dir))
}

/// The site's name after its directory, made one where it is none.
fn name_of(dir: &Path) -> String {
    // Where it is there, as it is called: `..` and a link are not names.
    let whole = dir.canonicalize().or_else(|_| std::path::absolute(dir)).unwrap_or_else(|_| dir.to_owned());
    let last = whole.components().rev().find_map(|part| match part {
        std::path::Component::Normal(part) => Some(part.to_string_lossy().into_owned()),
        _ => None,
    });
    last.and_then(|last| if is_label(&last) { Some(last) } else { as_label(&last) })
        .unwrap_or_else(|| "site".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{builtin_packs, from_tree};
    use crate::content::Tree;

    #[test]
    fn what_is_made_validates_without_a_warning_whatever_the_ci() {
        for ci in [Ci::Github, Ci::Gitlab, Ci::Both, Ci::None] {
            let files = pieces("lab", ci).into_iter().map(|piece| (piece.path, piece.text));
            match from_tree(&Tree::from_texts(files), &builtin_packs(), "x") {
                Ok(catalog) => {
                    assert_eq!((catalog.warnings.to_string(), catalog.site.as_str()), (String::new(), "lab"));
                    assert_eq!(catalog.machines().count(), 1);
                }
                Err(findings) => panic!("{findings}"),
            }
        }
    }

    #[test]
    fn a_site_is_called_as_its_directory_is() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path().join("Rack 7");
        std::fs::create_dir_all(here.join("below")).unwrap();
        for (dir, name) in [
            (here.clone(), "rack-7"),
            (here.join("."), "rack-7"),
            (here.join("below/.."), "rack-7"),
            (here.join("not-yet"), "not-yet"),
            (PathBuf::from("/"), "site"),
        ] {
            assert_eq!(name_of(&dir), name, "{}", dir.display());
        }
    }

    #[test]
    fn what_is_to_be_typed_can_be_typed() {
        for (dir, word) in [
            ("lab", "lab"),
            ("/srv/site-1", "/srv/site-1"),
            ("Lab 1", "'Lab 1'"),
            ("it's $(here)", r"'it'\''s $(here)'"),
            ("-x", "./-x"),
        ] {
            assert_eq!(shell_word(Path::new(dir)), word);
            let steps = next_steps(Path::new(dir), false);
            assert!(steps.contains(&format!("\n  cd {word}\n")), "{steps}");
            // Said behind the `cd`, so it is where one is by then.
            assert!(steps.contains("serve --repository . "), "{steps}");
        }
    }

    #[test]
    fn in_a_folder_of_a_repository_nothing_is_written_that_only_its_top_has() {
        let left: Vec<&str> =
            pieces("lab", Ci::Both).iter().map(|piece| piece.path).filter(|path| is_of_the_top(path)).collect();
        assert_eq!(left, [PRE_COMMIT, ".github/workflows/content.yml", ".gitlab-ci.yml"]);
        let steps = next_steps_inside(Path::new("lab"), Path::new("/srv/it's all"), Path::new("sites/lab"));
        assert!(steps.contains(r"serve --repository '/srv/it'\''s all' --path sites/lab"), "{steps}");
        assert!(!steps.contains("hooksPath"), "{steps}");
        let refused = inside(Path::new("-lab"), Path::new("/srv/all"));
        assert_eq!(refused.exit_code(), 4);
        assert!(refused.hint().is_some_and(|hint| hint.contains("formwork init ./-lab --no-git")), "{refused:?}");
    }

    #[test]
    fn files_for_others_are_what_others_read() {
        for Piece { path, text, .. } in pieces("lab", Ci::Both) {
            if path.ends_with(".json") {
                let _: serde_json::Value = serde_json::from_str(&text).expect(path);
            } else if path.ends_with(".yml") {
                let document: serde_json::Value = serde_yaml::from_str(&text).expect(path);
                assert!(text.contains("formwork validate -o") && document.is_object(), "{path}");
            }
            assert!(!text.contains(SITE_NAME), "{path}");
        }
    }
}
