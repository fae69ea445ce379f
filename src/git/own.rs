//! A repository that this program commits into itself, for content that comes from elsewhere than Git.

use super::GitError;
use git2::{ObjectType, Oid, Repository, RepositoryInitOptions, Signature};
use std::collections::BTreeMap;
use std::path::Path;

/// The branch of its commits.
pub const BRANCH: &str = "main";
const REFERENCE: &str = "refs/heads/main";
const MODE_FILE: i32 = 0o100_644;
const MODE_FOLDER: i32 = 0o040_000;

/// Commits these files, by path (`site.yaml`, `FOLDER/FILE`), where they are others than those of the last commit. `message`: of
/// the files before; asked only where there is something to commit. Gives the id of the commit that has them.
///
/// # Errors
/// [`GitError::Unreadable`]: the repository cannot be used.
pub fn commit(
    path: &Path,
    files: &BTreeMap<String, String>,
    message: impl FnOnce(&BTreeMap<String, String>) -> String,
) -> Result<String, GitError> {
    let fails = |message: String| GitError::Unreadable { path: path.to_owned(), message };
    let mut message = Some(message);
    let mut say =
        |before: &BTreeMap<String, String>| message.take().map_or_else(String::new, |message| message(before));
    let first = match commit_in(path, files, &mut say) {
        Ok(id) => return Ok(id.to_string()),
        Err(error) => error.message().to_owned(),
    };
    // A power cut, most likely. What it held comes from elsewhere, and is all here; the old one stays beside it, for people to look at.
    let mut aside = path.to_owned();
    aside.as_mut_os_string().push(".damaged");
    if !path.is_dir() || (aside.exists() && std::fs::remove_dir_all(&aside).is_err()) {
        return Err(fails(first));
    }
    std::fs::rename(path, &aside).map_err(|error| fails(format!("{first}; and it cannot be put aside: {error}")))?;
    tracing::warn!(repository = %path.display(), why = first, "a repository of the server's own is damaged, and is made anew");
    commit_in(path, files, &mut say).map(|id| id.to_string()).map_err(|error| fails(error.message().to_owned()))
}

fn commit_in(
    path: &Path,
    files: &BTreeMap<String, String>,
    message: &mut dyn FnMut(&BTreeMap<String, String>) -> String,
) -> Result<Oid, git2::Error> {
    let mut options = RepositoryInitOptions::new();
    options.bare(true).initial_head(BRANCH).external_template(false);
    let repository = Repository::init_opts(path, &options)?;
    // A commit that is told is on the disk.
    repository.config()?.set_bool("core.fsyncObjectFiles", true)?;
    let parent = match repository.find_reference(REFERENCE) {
        Ok(reference) => Some(reference.peel_to_commit()?),
        Err(error) if error.code() == git2::ErrorCode::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut folders: BTreeMap<&str, git2::TreeBuilder<'_>> = BTreeMap::new();
    let mut root = repository.treebuilder(None)?;
    for (path, text) in files {
        let blob = repository.blob(text.as_bytes())?;
        match path.split_once('/') {
            None => drop(root.insert(path, blob, MODE_FILE)?),
            Some((folder, name)) => {
                let builder = match folders.entry(folder) {
                    std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                    std::collections::btree_map::Entry::Vacant(entry) => entry.insert(repository.treebuilder(None)?),
                };
                builder.insert(name, blob, MODE_FILE)?;
            }
        }
    }
    for (name, builder) in folders {
        root.insert(name, builder.write()?, MODE_FOLDER)?;
    }
    let tree = repository.find_tree(root.write()?)?;
    if let Some(parent) = parent.as_ref().filter(|parent| parent.tree_id() == tree.id()) {
        return Ok(parent.id());
    }
    let before = parent.as_ref().map(|parent| texts(&repository, &parent.tree()?)).transpose()?.unwrap_or_default();
    let us = Signature::now("formwork", "formwork@localhost")?;
    let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
    repository.commit(Some(REFERENCE), &us, &us, &message(&before), &tree, &parents)
}

/// The files of a tree that was written here.
fn texts(repository: &Repository, tree: &git2::Tree<'_>) -> Result<BTreeMap<String, String>, git2::Error> {
    let mut files = BTreeMap::new();
    let mut failed = Ok(());
    tree.walk(git2::TreeWalkMode::PreOrder, |folder, entry| {
        if entry.kind() == Some(ObjectType::Blob) {
            match repository.find_blob(entry.id()) {
                Ok(blob) => {
                    let path = format!("{folder}{}", String::from_utf8_lossy(entry.name_bytes()));
                    files.insert(path, String::from_utf8_lossy(blob.content()).into_owned());
                }
                Err(error) => failed = Err(error),
            }
        }
        git2::TreeWalkResult::Ok
    })?;
    failed.map(|()| files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_same_is_committed_once_and_what_differs_follows_the_commit_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("content.git");
        let files = |of: &[(&str, &str)]| of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let first = files(&[("site.yaml", "one"), ("machines/a.yaml", "a")]);
        let one = commit(&path, &first, |before| format!("{} before", before.len())).unwrap();
        assert_eq!(commit(&path, &first, |_| unreachable!("nothing is committed")).unwrap(), one);
        let two = commit(&path, &files(&[("site.yaml", "one")]), |before| {
            assert_eq!(before, &first);
            "the machine is gone".to_owned()
        });
        let repository = Repository::open_bare(&path).unwrap();
        let commit = repository.find_reference(REFERENCE).unwrap().peel_to_commit().unwrap();
        assert_eq!((commit.id().to_string(), commit.parent_id(0).unwrap().to_string()), (two.unwrap(), one));
        assert_eq!((commit.message().ok(), commit.tree().unwrap().len()), (Some("the machine is gone"), 1));
        // What a power cut leaves of a reference.
        std::fs::write(path.join(REFERENCE), "").unwrap();
        let anew = super::commit(&path, &first, |before| format!("{} before", before.len())).unwrap();
        let repository = Repository::open_bare(&path).unwrap();
        let commit = repository.find_reference(REFERENCE).unwrap().peel_to_commit().unwrap();
        assert_eq!(
            (commit.id().to_string(), commit.parent_count(), commit.message().ok()),
            (anew, 0, Some("0 before"))
        );
        assert!(folder.path().join("content.git.damaged").is_dir());
        let broken = folder.path().join("file");
        std::fs::write(&broken, "").unwrap();
        assert!(super::commit(&broken, &first, |_| String::new()).is_err());
    }
}
