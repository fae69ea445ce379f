//! What the mirror lets go of: objects that no applied revision and no run keeps, so that it does not grow with every commit.

use super::composite::{COMPOSED, TAGS};
use super::loose::Loose;
use super::mirror::Mirror;
use git2::{ErrorClass, ErrorCode, ObjectType, Oid, Repository};
use std::collections::HashSet;
use std::path::Path;

impl Mirror {
    /// Removes what no reference keeps and is of none of these revisions, and says how many objects that were. What is marked is
    /// read first and in whole: when that fails, nothing is removed.
    ///
    /// Only this process writes here, and libgit2 writes loose objects only, so that what is on the disk is all there is.
    pub(super) fn prune<'a>(&mut self, more: impl IntoIterator<Item = &'a String>) -> Result<usize, git2::Error> {
        let (mut kept, beside) = reachable(&self.repository, &self.loose)?;
        for id in more {
            // One that was swept, or could not be read, is worked on no more.
            if let Ok(commit) = Oid::from_str(id).and_then(|id| self.loose.commit(&self.repository, id))
                && kept.insert(commit.id())
            {
                mark(&self.repository, &self.loose, commit.tree_id(), &mut kept)?;
            }
        }
        for (commit, id, mut reference) in beside {
            if kept.contains(&commit) {
                keep_tag(&self.repository, &self.loose, id, &mut kept);
            } else {
                reference.delete()?;
            }
        }
        let removed = sweep(&self.path.join("objects"), &kept).map_err(|e| {
            git2::Error::new(ErrorCode::GenericError, ErrorClass::Os, format!("the mirror cannot be swept: {e}"))
        })?;
        // What libgit2 remembers of objects that are gone is forgotten with the handle.
        if removed > 0 {
            self.repository = Repository::open_bare(&self.path)?;
        }
        Ok(removed)
    }
}

/// What goes with a commit: the commit, what the reference leads to, and itself.
type Beside<'a> = Vec<(Oid, Oid, git2::Reference<'a>)>;

fn reachable<'a>(repository: &'a Repository, loose: &Loose) -> Result<(HashSet<Oid>, Beside<'a>), git2::Error> {
    let mut kept = HashSet::new();
    let mut beside = Vec::new();
    for reference in repository.references()? {
        let reference = reference?;
        let Some(id) = reference.target() else { continue };
        let of = |name: &str| [TAGS, COMPOSED].iter().find_map(|above| name.strip_prefix(above).map(Oid::from_str));
        if let Some(commit) = reference.name().ok().and_then(of) {
            beside.push((commit?, id, reference));
            continue;
        }
        // History is not mirrored: a commit's parents are not looked for.
        if kept.insert(id) {
            match loose.commit(repository, id) {
                Ok(commit) => mark(repository, loose, commit.tree_id(), &mut kept)?,
                // It was damaged, and is copied again when somebody asks for it: nothing of it is here.
                Err(error) if error.code() == ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((kept, beside))
}

/// A tag is kept with its commit, and goes with it.
fn keep_tag(repository: &Repository, loose: &Loose, tag: Oid, kept: &mut HashSet<Oid>) {
    let mut next = Some(tag);
    while let Some(id) = next.filter(|id| kept.insert(*id)) {
        next = loose.check(id).and_then(|()| repository.find_tag(id)).ok().map(|tag| tag.target_id());
    }
}

fn mark(repository: &Repository, loose: &Loose, folder: Oid, kept: &mut HashSet<Oid>) -> Result<(), git2::Error> {
    if !kept.insert(folder) {
        return Ok(());
    }
    // Of a site that is a folder of a larger repository, only its own folders are here.
    let Ok(tree) = loose.tree(repository, folder) else { return Ok(()) };
    for entry in &tree {
        match entry.kind() {
            Some(ObjectType::Tree) => mark(repository, loose, entry.id(), kept)?,
            Some(ObjectType::Blob) => drop(kept.insert(entry.id())),
            _ => {}
        }
    }
    Ok(())
}

fn sweep(objects: &Path, kept: &HashSet<Oid>) -> std::io::Result<usize> {
    let mut removed = 0;
    for folder in std::fs::read_dir(objects)? {
        let folder = folder?;
        let first = folder.file_name().to_string_lossy().into_owned();
        // `pack` and `info` lie here too.
        if first.len() != 2 || !folder.file_type()?.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(folder.path())? {
            let file = file?;
            let id = format!("{first}{}", file.file_name().to_string_lossy());
            if Oid::from_str(&id).is_ok_and(|oid| id.len() == 40 && !kept.contains(&oid)) {
                std::fs::remove_file(file.path())?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}
