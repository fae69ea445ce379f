//! Where the paths of findings are told from, in every format: the root of the work tree that the site lies in, as forges name
//! files; where it lies in none, the folder where the command was started, or the site's own where that is not above it.

use crate::content::{Finding, Tree};
use std::path::Path;

/// The folder that paths begin at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// Where the site lies in it: empty, or a path that ends with `/`.
    prefix: String,
    /// How it is named from where the command was started; none: that is where it is.
    shown: Option<String>,
}

impl Base {
    /// Of a site's directory. One that cannot be found is its own base.
    pub fn of(directory: &Path) -> Self {
        let Ok(directory) = directory.canonicalize() else { return Self::default() };
        let here = std::env::current_dir().and_then(|here| here.canonicalize()).unwrap_or_default();
        // As git does: a folder, or in a submodule and in a second work tree a file.
        let root = directory.ancestors().find(|folder| folder.join(".git").exists());
        Self::decide(&here, &directory, root)
    }

    /// Of a site's folder in a revision of a repository.
    pub fn of_folder(folder: Option<&str>) -> Self {
        let folder = folder.map(|folder| folder.trim_matches('/')).filter(|folder| !folder.is_empty());
        Self { prefix: folder.map(|folder| format!("{folder}/")).unwrap_or_default(), shown: None }
    }

    fn decide(here: &Path, directory: &Path, root: Option<&Path>) -> Self {
        let base = root.unwrap_or(if directory.starts_with(here) { here } else { directory });
        let prefix =
            directory.strip_prefix(base).map(|inside| inside.to_string_lossy().into_owned()).unwrap_or_default();
        let prefix = if prefix.is_empty() { prefix } else { prefix + "/" };
        let shown = match here.strip_prefix(base) {
            Ok(below) if below.as_os_str().is_empty() => None,
            Ok(below) => Some(vec![".."; below.components().count()].join("/")),
            Err(_) => Some(base.display().to_string()),
        };
        Self { prefix, shown }
    }

    /// The base from where the command was started; none: that is where it is.
    pub fn shown(&self) -> Option<&str> {
        self.shown.as_deref()
    }

    /// Names files of the site from the base: where findings are, and in what they say.
    pub fn name<'a>(&self, findings: impl IntoIterator<Item = &'a mut Finding>, tree: &Tree) {
        if self.prefix.is_empty() {
            return;
        }
        for finding in findings {
            // Of a pack that comes with the program there is no file in the repository.
            if !finding.file.starts_with("builtin:") {
                finding.file.insert_str(0, &self.prefix);
            }
            finding.message = self.name_in(&finding.message, tree);
            finding.hint = finding.hint.as_deref().map(|hint| self.name_in(hint, tree));
        }
    }

    /// What stands between backticks is what somebody wrote or is to write, from wherever that is read.
    fn name_in(&self, text: &str, tree: &Tree) -> String {
        let parts = text.split('`').enumerate().map(|(number, part)| {
            if number % 2 == 1 {
                return part.to_owned();
            }
            let words = part.split_inclusive(char::is_whitespace);
            words
                .map(|word| if is_file(word, tree) { format!("{}{word}", self.prefix) } else { word.to_owned() })
                .collect()
        });
        parts.collect::<Vec<String>>().join("`")
    }
}

/// A file of the site, or one that could be in one of its folders, with a line and column or without.
fn is_file(word: &str, tree: &Tree) -> bool {
    let path = word.trim_end().trim_end_matches([',', ';', '.', ')']);
    let numbers = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let path = match path.rsplitn(3, ':').collect::<Vec<_>>()[..] {
        [column, line, path] if numbers(line) && numbers(column) => path,
        _ => path.trim_end_matches(':'),
    };
    let inside = || {
        let (first, _) = path.split_once('/')?;
        let folder = format!("{first}/");
        tree.files.range(folder.clone()..).next().filter(|(file, _)| file.starts_with(&folder))
    };
    tree.files.contains_key(path) || inside().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Severity;

    #[test]
    fn the_base_is_the_work_tree_wherever_the_command_is_started() {
        for (here, directory, root, prefix, shown) in [
            // A site that is a folder of a work tree: from above, at it, below it, from elsewhere.
            ("/srv", "/srv/repo/lab", Some("/srv/repo"), "lab/", Some("/srv/repo")),
            ("/srv/repo", "/srv/repo/lab", Some("/srv/repo"), "lab/", None),
            ("/srv/repo/lab", "/srv/repo/lab", Some("/srv/repo"), "lab/", Some("..")),
            ("/srv/repo/lab/machines", "/srv/repo/lab", Some("/srv/repo"), "lab/", Some("../..")),
            ("/srv/repo/other", "/srv/repo/lab", Some("/srv/repo"), "lab/", Some("..")),
            // One that is the work tree.
            ("/srv/repo", "/srv/repo", Some("/srv/repo"), "", None),
            ("/srv/repo/machines", "/srv/repo", Some("/srv/repo"), "", Some("..")),
            // In none.
            ("/srv", "/srv/a/lab", None, "a/lab/", None),
            ("/srv/lab", "/srv/lab", None, "", None),
            ("/srv/lab/machines", "/srv/lab", None, "", Some("..")),
            ("/home", "/srv/lab", None, "", Some("/srv/lab")),
        ] {
            let base = Base::decide(Path::new(here), Path::new(directory), root.map(Path::new));
            assert_eq!((base.prefix.as_str(), base.shown()), (prefix, shown), "{here} {directory}");
        }
    }

    #[test]
    fn what_findings_say_names_files_as_their_places_do() {
        let tree = Tree::from_texts([("site.yaml", ""), ("machines/a.yaml", ""), ("packs/web/x.sh", "")]);
        let base = Base::of_folder(Some("lab"));
        for (said, expected) in [
            ("the first is at machines/a.yaml:3:1; params", "the first is at lab/machines/a.yaml:3:1; params"),
            ("there is no file packs/web/y.sh", "there is no file lab/packs/web/y.sh"),
            ("did you mean `packs/web`? see site.yaml.", "did you mean `packs/web`? see lab/site.yaml."),
            ("write `../machines/a.yaml`", "write `../machines/a.yaml`"),
            ("either/or, machine/a or builtin:web/pack.yaml:1:1", "either/or, machine/a or builtin:web/pack.yaml:1:1"),
        ] {
            assert_eq!(base.name_in(said, &tree), expected);
        }
        let mut finding = Finding {
            severity: Severity::Error,
            code: "x",
            file: "machines/b.yaml".to_owned(),
            line: 1,
            column: 1,
            message: "as in machines/a.yaml:1:1".to_owned(),
            hint: Some("look at site.yaml".to_owned()),
        };
        base.name([&mut finding], &tree);
        assert_eq!(
            finding.to_string(),
            "lab/machines/b.yaml:1:1: error: as in lab/machines/a.yaml:1:1\n  hint: look at lab/site.yaml"
        );
        let mut builtin = Finding { file: "builtin:web/pack.yaml".to_owned(), ..finding };
        base.name([&mut builtin], &tree);
        assert_eq!(builtin.file, "builtin:web/pack.yaml");
    }
}
