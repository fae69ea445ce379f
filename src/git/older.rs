//! Whether a repository on this disk still holds its history: nobody looks at what is older than the newest commit, until somebody
//! clones it.

use super::GitError;
use super::loose::Loose;
use super::owner::open;
use super::sound::read_object;
use super::walk::edge_of;
use git2::{ErrorCode, ObjectType, Odb, Oid, Repository};
use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::time::{Duration, Instant};

/// What was looked at of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Looked {
    /// Commits that are whole, with all that they are made of.
    pub commits: usize,
    /// These are all that branches and tags lead to; else the time was over.
    pub all: bool,
}

/// Reads all that branches and tags lead to, the newest first, for so long at most.
///
/// # Errors
/// [`GitError`]: it cannot be read, or something of it is damaged or gone.
pub fn read_history(path: &Path, most: Duration) -> Result<Looked, GitError> {
    let repository = open(path)?;
    let unreadable =
        |error: git2::Error| GitError::Unreadable { path: path.to_owned(), message: error.message().to_owned() };
    let reader = Reader {
        loose: Loose::of(&repository),
        odb: repository.odb().map_err(unreadable)?,
        repository: &repository,
        until: Instant::now() + most,
    };
    let mut waiting = VecDeque::new();
    for reference in repository.references().map_err(unreadable)? {
        waiting.extend(reference.map_err(unreadable)?.target());
    }
    let (edge, mut seen) = (edge_of(&repository), HashSet::new());
    let mut looked = Looked { commits: 0, all: true };
    while let Some(id) = waiting.pop_front() {
        if !seen.insert(id) {
            continue;
        }
        let found = reader.all_of(id, &mut seen).map_err(|error| GitError::Damaged {
            revision: id.to_string(),
            path: path.to_owned(),
            message: error.message().to_owned(),
        })?;
        match found {
            Found::Late => return Ok(Looked { all: false, ..looked }),
            Found::Tag(of) => waiting.push_back(of),
            Found::Commit(parents) => {
                looked.commits += 1;
                waiting.extend(parents.into_iter().filter(|_| !edge.contains(&id)));
            }
            Found::Other => {}
        }
    }
    Ok(looked)
}

enum Found {
    Commit(Vec<Oid>),
    Tag(Oid),
    Other,
    /// The time is over.
    Late,
}

struct Reader<'a> {
    repository: &'a Repository,
    loose: Loose,
    odb: Odb<'a>,
    until: Instant,
}

impl Reader<'_> {
    fn all_of(&self, id: Oid, seen: &mut HashSet<Oid>) -> Result<Found, git2::Error> {
        self.read(id)?;
        let object = self.repository.find_object(id, None)?;
        let commit = match (object.kind(), object.as_tag()) {
            (Some(ObjectType::Commit), _) => self.repository.find_commit(id)?,
            (_, Some(tag)) => return Ok(Found::Tag(tag.target_id())),
            _ => return Ok(Found::Other),
        };
        let mut folders = vec![commit.tree_id()];
        while let Some(folder) = folders.pop() {
            if !seen.insert(folder) {
                continue;
            }
            if Instant::now() >= self.until {
                return Ok(Found::Late);
            }
            self.read(folder)?;
            for entry in &self.repository.find_tree(folder)? {
                match entry.kind() {
                    Some(ObjectType::Tree) => folders.push(entry.id()),
                    Some(ObjectType::Blob) if seen.insert(entry.id()) => self.read(entry.id())?,
                    _ => {}
                }
            }
        }
        Ok(Found::Commit(commit.parent_ids().collect()))
    }

    fn read(&self, id: Oid) -> Result<(), git2::Error> {
        read_object(&self.loose, &self.odb, id).map_err(|error| {
            let what = if error.code() == ErrorCode::NotFound { "is gone" } else { error.message() };
            git2::Error::new(error.code(), error.class(), format!("object {id} {what}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;

    #[test]
    fn what_was_lost_of_an_older_commit_is_found_and_the_time_is_kept() {
        let repository = TestRepository::new();
        repository.push("one", &[("a/b", "the first text")]);
        let old = repository.git(&["rev-parse", "HEAD:a/b"]);
        repository.git(&["tag", "-a", "v1", "-m", "the first"]);
        let second = repository.push("two", &[("a/b", "the second text")]);
        repository.git(&["push", "-q", "origin", "v1"]);
        let look = || read_history(&repository.bare(), Duration::from_secs(60));
        assert_eq!(look(), Ok(Looked { commits: 2, all: true }));
        assert_eq!(read_history(&repository.bare(), Duration::ZERO), Ok(Looked { commits: 0, all: false }));
        let (first, rest) = old.split_at(2);
        let file = repository.bare().join("objects").join(first).join(rest);
        let whole = std::fs::read(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let error = look().expect_err("gone").to_string();
        assert!(error.contains(&format!("object {old}")) && !error.contains(&second), "{error}");
        assert!(crate::git::read_through(&repository.bare(), None).is_ok(), "the newest is whole");
        std::fs::write(&file, &whole[..whole.len() / 2]).unwrap();
        assert!(look().is_err(), "cut off");
        std::fs::write(&file, whole).unwrap();
        assert_eq!(look(), Ok(Looked { commits: 2, all: true }));
    }
}
