//! What a push brings, read where git keeps it until the push is taken: beside the repository's own objects.

use super::{Moved, Refusal, Update};
use crate::content::{Finding, Tree};
use crate::git::limits;
use crate::git::loose::{Checked, Loose};
use crate::git::mirror::{Known, Mirror, revision_of};
use crate::git::{GitError, MovedTag, Revision, Verifier};
use crate::trust::Signed;
use git2::{ErrorCode, Oid, Repository};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The files of a push that was not taken are kept for the next one to be read on top of, up to this much; bytes.
const KEPT_OF_REFUSED: usize = 16 << 20;

/// Reads pushes to one repository. What did not change since the last one is not read again.
#[derive(Debug)]
pub struct Received {
    /// The repository.
    pub path: PathBuf,
    branch: Option<String>,
    subpath: Option<String>,
    known: Mutex<Known>,
    checked: Mutex<Checked>,
}

impl Received {
    /// Pushes to this repository, of which this branch (none: the one that `HEAD` names) and folder are followed.
    pub fn new(path: PathBuf, branch: Option<String>, subpath: Option<String>) -> Self {
        Self { path, branch, subpath, known: Mutex::default(), checked: Mutex::default() }
    }

    fn unreadable(&self, error: &git2::Error) -> GitError {
        GitError::Unreadable { path: self.path.clone(), message: error.message().to_owned() }
    }

    /// What libgit2 goes through by itself is sound.
    fn sound(&self, repository: &Repository, quarantine: Option<&Path>) -> Result<(), GitError> {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let checked = Loose::of(repository).and(quarantine).check_all(&mut checked);
        checked.map_err(|error| self.unreadable(&error))
    }

    pub(super) fn open(&self, quarantine: Option<&Path>) -> Result<Repository, GitError> {
        let repository = crate::git::open(&self.path)?;
        if let Some(folder) = quarantine {
            let add = || repository.odb()?.add_disk_alternate(&folder.to_string_lossy());
            add().map_err(|error| self.unreadable(&error))?;
        }
        Ok(repository)
    }

    /// The branch that is followed.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn followed(&self) -> Result<String, GitError> {
        if let Some(branch) = &self.branch {
            return Ok(branch.clone());
        }
        let repository = self.open(None)?;
        let head = repository.find_reference("HEAD").map_err(|error| self.unreadable(&error))?;
        let target = head.symbolic_target().ok().flatten().and_then(|name| name.strip_prefix("refs/heads/"));
        target.map(str::to_owned).ok_or_else(|| GitError::NoCommit { path: self.path.clone() })
    }

    /// Whether a reference only names another one: git moves that one.
    pub fn is_alias(&self, name: &str) -> bool {
        let found = self.open(None).ok().and_then(|repository| repository.find_reference(name).ok()?.kind());
        found == Some(git2::ReferenceType::Symbolic)
    }

    /// How each reference moves. Blocks.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn moves(&self, quarantine: Option<&Path>, updates: Vec<Update>) -> Result<Vec<(Update, Moved)>, GitError> {
        let repository = self.open(quarantine)?;
        self.sound(&repository, quarantine)?;
        let id = |id: &str| Oid::from_str(id).map_err(|error| self.unreadable(&error));
        let moved = |update: &Update| match (&update.old, &update.new) {
            (_, None) => Ok(Moved::Deleted),
            (None, Some(_)) => Ok(Moved::Created),
            // What cannot be told is not taken for a step forward.
            (Some(old), Some(new)) => Ok(match repository.graph_descendant_of(id(new)?, id(old)?) {
                Ok(true) => Moved::Forward,
                _ if old == new => Moved::Forward,
                _ => Moved::Rewritten,
            }),
        };
        updates.into_iter().map(|update| Ok((update.clone(), moved(&update)?))).collect()
    }

    /// What a pushed revision says of itself. Blocks.
    ///
    /// # Errors
    /// [`GitError::is_fault_of_revision`] tells what is the push's own fault.
    pub fn revision(&self, quarantine: Option<&Path>, id: &str) -> Result<Revision, GitError> {
        let repository = self.open(quarantine)?;
        let loose = Loose::of(&repository).and(quarantine);
        self.revision_in(&repository, &loose, id)
    }

    fn revision_in(&self, repository: &Repository, loose: &Loose, id: &str) -> Result<Revision, GitError> {
        let oid = Oid::from_str(id).map_err(|error| self.unreadable(&error))?;
        let size = || -> Result<usize, git2::Error> {
            match loose.find(oid)? {
                Some(object) => Ok(object.size),
                None => Ok(repository.odb()?.read_header(oid)?.0),
            }
        };
        limits::object("a commit", size().unwrap_or_default())?;
        match loose.commit(repository, oid) {
            Ok(commit) => Ok(revision_of(&commit)),
            Err(error) if error.code() == ErrorCode::NotFound => {
                Err(GitError::UnknownRevision { revision: id.to_owned() })
            }
            Err(error) => Err(self.unreadable(&error)),
        }
    }

    /// Who signed a pushed revision, if it may follow `last`, the one trusted last; else why it may not. Tags count as the push
    /// leaves them. Blocks.
    ///
    /// # Errors
    /// The repository cannot be read.
    pub fn verify(
        &self,
        quarantine: Option<&Path>,
        verifier: &Verifier,
        last: Option<&str>,
        id: &str,
        updates: &[Update],
    ) -> Result<Result<Signed, Vec<Finding>>, GitError> {
        let repository = self.open(quarantine)?;
        let tags = updates.iter().filter_map(|update| {
            let name = update.reference.strip_prefix("refs/tags/")?.to_owned();
            Some(MovedTag { name, id: update.new.clone() })
        });
        verifier.verify_with(&repository, self.subpath.as_deref(), last, id, &tags.collect::<Vec<_>>())
    }

    /// A push was not taken: files of it that are many are let go of, since nobody knows when the next push comes.
    pub fn refused(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.as_ref().is_some_and(|known| known.bytes() > KEPT_OF_REFUSED) {
            *known = None;
        }
    }

    /// A pushed revision and its files. Blocks.
    ///
    /// # Errors
    /// [`GitError::is_fault_of_revision`] tells what is the push's own fault.
    pub fn tree(&self, quarantine: Option<&Path>, id: &str) -> Result<(Revision, Tree), GitError> {
        let repository = self.open(quarantine)?;
        let loose = Loose::of(&repository).and(quarantine);
        let revision = self.revision_in(&repository, &loose, id)?;
        let known = std::mem::take(&mut *self.known.lock().unwrap_or_else(PoisonError::into_inner));
        let mut reader = Mirror::borrowed_knowing(&self.path, repository, loose, known);
        let tree = reader.tree(id, self.subpath.as_deref());
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = reader.into_known();
        Ok((revision, tree?))
    }
}

/// The folder that a hook names, where it can be a quarantine of this repository: git makes them among its objects. A process
/// that may ask the server's socket still gets no other folder read.
///
/// # Errors
/// A refusal.
pub fn in_quarantine(repository: &Path, folder: &Path) -> Result<PathBuf, Refusal> {
    let refused = |why: &str| {
        Refusal::new(
            format!("{} is no quarantine of {}: {why}", folder.display(), repository.display()),
            Some("the hook must run as git runs it; see docs/push.md".to_owned()),
        )
    };
    let objects =
        crate::git::open(repository).map_err(|error| refused(&error.to_string()))?.commondir().join("objects");
    let objects = objects.canonicalize().map_err(|error| refused(&error.to_string()))?;
    // One answer for all, so that nobody learns what else there is.
    let elsewhere = || refused("it does not lie where git makes them");
    let folder = folder.canonicalize().map_err(|_| elsewhere())?;
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if folder.parent() != Some(&objects) || !(name.starts_with("tmp_objdir-") || name.starts_with("incoming-")) {
        return Err(elsewhere());
    }
    // git says what a quarantine borrows from in another way; what lies in it would have any folder of objects read.
    if folder.join("info/alternates").symlink_metadata().is_ok() {
        return Err(refused("it borrows from elsewhere"));
    }
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;

    #[test]
    fn moves_are_told_apart() {
        let repository = TestRepository::new();
        let first = repository.push("one", &[("a", "1")]);
        let second = repository.push("two", &[("a", "2")]);
        repository.git(&["reset", "-q", "--hard", &first]);
        let aside = repository.commit("aside", &[("a", "3")]);
        repository.git(&["push", "-q", "origin", "HEAD:aside"]);
        let received = Received::new(repository.bare(), None, None);
        assert_eq!(received.followed().unwrap(), "main");
        let update = |old: Option<&str>, new: Option<&str>| Update {
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            reference: "refs/heads/main".into(),
        };
        for (old, new, expected) in [
            (None, Some(&first), Moved::Created),
            (Some(&first), Some(&second), Moved::Forward),
            (Some(&first), Some(&first), Moved::Forward),
            (Some(&second), Some(&first), Moved::Rewritten),
            (Some(&second), Some(&aside), Moved::Rewritten),
            (Some(&second), None, Moved::Deleted),
        ] {
            let update = update(old.map(String::as_str), new.map(String::as_str));
            assert_eq!(received.moves(None, vec![update]).unwrap()[0].1, expected, "{old:?} {new:?}");
        }
        let (revision, tree) = received.tree(None, &second).unwrap();
        assert_eq!((revision.summary.as_str(), &*tree.files["a"].bytes), ("two", b"2".as_slice()));
    }

    #[test]
    fn of_a_push_that_was_refused_no_great_files_stay_in_memory() {
        let repository = TestRepository::new();
        let small = repository.push("small", &[("a", "1")]);
        let piece = "x".repeat(10 << 20);
        let great = repository.push("great", &[("a", &piece), ("b", &format!("{piece}y"))]);
        let received = Received::new(repository.bare(), None, None);
        let kept = || received.known.lock().unwrap().as_ref().map(crate::git::changes::LastRead::bytes);
        received.tree(None, &small).unwrap();
        received.refused();
        assert_eq!(kept(), Some(1));
        received.tree(None, &great).unwrap();
        assert_eq!(kept(), Some((20 << 20) + 1));
        received.refused();
        assert_eq!(kept(), None);
        assert_eq!(received.tree(None, &small).unwrap().1.files.len(), 1);
    }

    #[test]
    fn another_name_of_a_branch_is_known_as_one() {
        let repository = TestRepository::new();
        repository.push("one", &[("a", "1")]);
        repository.git_bare(&["symbolic-ref", "refs/heads/alias", "refs/heads/main"]);
        let received = Received::new(repository.bare(), None, None);
        for (name, alias) in [("refs/heads/alias", true), ("refs/heads/main", false), ("refs/heads/new", false)] {
            assert_eq!(received.is_alias(name), alias, "{name}");
        }
    }

    #[test]
    fn only_a_folder_where_git_keeps_pushes_is_a_quarantine() {
        let repository = TestRepository::new();
        let bare = repository.bare();
        let good = bare.join("objects/tmp_objdir-incoming-abc");
        std::fs::create_dir(&good).unwrap();
        assert_eq!(in_quarantine(&bare, &good).unwrap(), good.canonicalize().unwrap());
        std::fs::create_dir(good.join("info")).unwrap();
        for name in ["info/alternates", "info/nothing"] {
            std::os::unix::fs::symlink("/nowhere", good.join(name)).unwrap();
            assert_eq!(in_quarantine(&bare, &good).is_err(), name == "info/alternates");
            std::fs::remove_file(good.join(name)).unwrap();
        }
        let elsewhere = repository.beside("tmp_objdir-incoming-abc");
        std::fs::create_dir(&elsewhere).unwrap();
        let link = bare.join("objects/tmp_objdir-incoming-link");
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        let up = bare.join("objects/tmp_objdir-incoming-abc/../../..");
        for wrong in [elsewhere, link, up, bare.join("objects/info"), bare.join("nope")] {
            assert!(in_quarantine(&bare, &wrong).is_err(), "{}", wrong.display());
        }
    }
}
