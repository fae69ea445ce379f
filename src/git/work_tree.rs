//! What Git knows of a work tree that is read as it lies there.

use git2::Repository;
use std::collections::BTreeSet;
use std::path::Path;

/// What an entry of the index is that stands for a commit of another repository.
const MODE_SUBMODULE: u32 = 0o160_000;

/// Folders below this one that the index has as submodules, by their paths from it, whether or not they are checked out: a commit
/// has them as nothing else. None where it lies in no work tree, or in one that cannot be read.
pub fn submodules(folder: &Path) -> BTreeSet<String> {
    read(folder).unwrap_or_default()
}

fn read(folder: &Path) -> Option<BTreeSet<String>> {
    let folder = folder.canonicalize().ok()?;
    let repository = Repository::discover(&folder).ok()?;
    let root = repository.workdir()?.canonicalize().ok()?;
    let below = folder.strip_prefix(&root).ok()?.to_str()?.to_owned();
    let prefix = if below.is_empty() { below } else { below + "/" };
    let index = repository.index().ok()?;
    let submodules = index.iter().filter(|entry| entry.mode == MODE_SUBMODULE);
    let paths = submodules.filter_map(|entry| String::from_utf8(entry.path).ok());
    Some(paths.filter_map(|path| Some(path.strip_prefix(&prefix)?.to_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn submodules_are_told_by_the_index_from_the_folder_that_is_asked_about() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(submodules(folder.path()), BTreeSet::new());
        let git = |words: &[&str]| {
            let done = Command::new("git").args(words).current_dir(folder.path()).status().unwrap();
            assert!(done.success(), "git {words:?}");
        };
        git(&["init", "-q"]);
        let id = "1".repeat(40);
        for (mode, path) in [("160000", "site/vendor/a"), ("160000", "b"), ("100644", "site/x.yaml")] {
            git(&["update-index", "--add", "--cacheinfo", &format!("{mode},{id},{path}")]);
        }
        std::fs::create_dir_all(folder.path().join("site/vendor/a")).unwrap();
        let of = |path: &str| submodules(&folder.path().join(path)).into_iter().collect::<Vec<_>>();
        assert_eq!(of(""), ["b", "site/vendor/a"]);
        assert_eq!(of("site"), ["vendor/a"]);
    }
}
