//! What the mirror does for several sources: keeps their own commits and tags, and puts their folders together as one commit.

use super::loose::Loose;
use super::mirror::{Mirror, Origin, revision_of};
use super::remote::{Part, message_of};
use super::{GitError, Revision};
use crate::content::Tree;
use git2::{ObjectType, Oid};

/// Above the references of the commits that were good last, one a source.
const SOURCES: &str = "refs/formwork/sources/";
/// Above the references of the commits that were looked at last, one a source.
const TAKEN: &str = "refs/formwork/taken/";
/// Above the references of commits that were signed as asked and used, one a source.
const TRUSTED: &str = "refs/formwork/trusted-sources/";
/// What is presented, until it is applied or another takes its place.
const PRESENTED: &str = "refs/formwork/presented";
/// Above the references of annotated tags, one a commit.
pub(super) const TAGS: &str = "refs/formwork/tags/";
/// Above the references of what was put together here, by its own id. A commit may say anything of itself; these only we make.
pub(super) const COMPOSED: &str = "refs/formwork/composed/";
/// Who commits what is put together here.
const COMMITTER: &str = "sources@formwork.localhost";

const MODE_FOLDER: i32 = 0o040_000;

impl Mirror {
    /// Whether a commit of ours is one that was put together here.
    pub(super) fn is_composite(&self, id: &str) -> bool {
        let marked = self.repository.refname_to_id(&format!("{COMPOSED}{id}"));
        marked.is_ok_and(|marked| marked.to_string() == id)
    }

    /// Keeps a commit as the one that was looked at last.
    pub(super) fn keep_taken(&mut self, source: &str, id: &str) -> Result<(), GitError> {
        self.set(&format!("{TAKEN}{source}"), id)
    }

    /// Keeps a commit as the last good one of its source.
    pub(super) fn keep_source(&mut self, source: &str, id: &str) -> Result<(), GitError> {
        self.set(&format!("{SOURCES}{source}"), id)
    }

    /// The last good commit of a source, and the files of its folder.
    pub(super) fn source(&mut self, source: &str, subpath: Option<&str>) -> Result<Option<(Revision, Tree)>, GitError> {
        let Ok(id) = self.repository.refname_to_id(&format!("{SOURCES}{source}")) else { return Ok(None) };
        let id = id.to_string();
        let Some(revision) = self.revision(&id)? else { return Ok(None) };
        Ok(Some((revision, self.tree(&id, subpath)?)))
    }

    /// Which commit of a source was good last, whatever became of it here.
    pub(super) fn kept_of(&self, source: &str) -> Option<String> {
        self.repository.refname_to_id(&format!("{SOURCES}{source}")).ok().map(|id| id.to_string())
    }

    /// Which commit of a source was looked at last.
    pub(super) fn taken_of(&self, source: &str) -> Option<String> {
        self.repository.refname_to_id(&format!("{TAKEN}{source}")).ok().map(|id| id.to_string())
    }

    /// Which commit of a source was trusted last.
    pub(super) fn trusted_of(&self, source: &str) -> Option<String> {
        self.repository.refname_to_id(&format!("{TRUSTED}{source}")).ok().map(|id| id.to_string())
    }

    /// Remembers which commit of a source the next one has to follow.
    pub(super) fn trust_source(&mut self, source: &str, id: &str) -> Result<(), GitError> {
        self.set(&format!("{TRUSTED}{source}"), id)
    }

    /// Lets go of sources that are no longer followed, and of good commits of those whose newest one counts, good or not: nobody
    /// is to come back to one of long ago.
    pub(super) fn keep_sources_only(&self, names: &[&str], kept: &[&str]) -> Result<(), git2::Error> {
        for (above, names) in [(SOURCES, kept), (TAKEN, names), (TRUSTED, names)] {
            for reference in self.repository.references_glob(&format!("{above}*"))? {
                let mut reference = reference?;
                let gone =
                    reference.name().is_ok_and(|name| !names.contains(&name.strip_prefix(above).unwrap_or(name)));
                if gone {
                    reference.delete()?;
                }
            }
        }
        Ok(())
    }

    /// Copies an annotated tag as it is, signature and all, and keeps it as long as the commit is kept.
    pub(super) fn copy_tag(&mut self, origin: &Origin<'_>, commit: &str, tag: &str) -> Result<(), GitError> {
        let damaged = |e: git2::Error| GitError::Damaged {
            revision: tag.to_owned(),
            path: origin.path.to_owned(),
            message: e.message().to_owned(),
        };
        let copy = |to: &git2::Repository, oid: Oid| -> Result<Option<Oid>, git2::Error> {
            Loose::of(origin.repository).check(oid)?;
            let odb = origin.repository.odb()?;
            let object = odb.read(oid)?;
            if object.kind() != ObjectType::Tag {
                return Ok(None);
            }
            to.odb()?.write(ObjectType::Tag, object.data())?;
            Ok(Some(origin.repository.find_tag(oid)?.target_id()))
        };
        let oid = Oid::from_str(tag).map_err(damaged)?;
        // A tag may be of a tag.
        let mut next = Some(oid);
        for _ in 0..8 {
            let Some(oid) = next else { break };
            next = copy(&self.repository, oid).map_err(damaged)?;
            self.wrote([oid]);
        }
        self.sync()?;
        self.repository
            .reference(&format!("{TAGS}{commit}"), oid, true, "formwork")
            .map(drop)
            .map_err(|e| self.fails(&e))
    }

    /// Puts mirrored commits together: the main one's files at the root, the others' under their folders. The same parts always
    /// give the same commit.
    pub(super) fn compose(&mut self, parts: &[Part]) -> Result<Revision, GitError> {
        let (mut root, mut written) = (None, Vec::new());
        for part in parts {
            let folder = self.folder_of(&part.revision.id, part.subpath.as_deref())?;
            root = Some(match (&part.mount, root) {
                (Some(mount), root) => {
                    let way: Vec<&str> = mount.split('/').collect();
                    self.graft(root, &way, folder, mount, &mut written)?
                }
                (None, _) => folder,
            });
        }
        let write = || {
            let tree = match root {
                Some(root) => self.loose.tree(&self.repository, root)?,
                None => self.repository.find_tree(self.repository.treebuilder(None)?.write()?)?,
            };
            let nobody = git2::Signature::new("sources", COMMITTER, &git2::Time::new(0, 0))?;
            self.repository.commit(None, &nobody, &nobody, &message_of(parts), &tree, &[])
        };
        let id = write().map_err(|e: git2::Error| self.fails(&e))?;
        written.push(id);
        self.wrote(written);
        self.set(&format!("{COMPOSED}{id}"), &id.to_string())?;
        self.set(PRESENTED, &id.to_string())?;
        let commit = self.repository.find_commit(id).map_err(|e| self.fails(&e))?;
        Ok(revision_of(&commit))
    }

    fn folder_of(&self, id: &str, subpath: Option<&str>) -> Result<Oid, GitError> {
        let unknown = || GitError::UnknownRevision { revision: id.to_owned() };
        let commit = Oid::from_str(id).and_then(|oid| self.loose.commit(&self.repository, oid));
        let commit = commit.map_err(|_| unknown())?;
        let mut folder = commit.tree_id();
        for segment in subpath.into_iter().flat_map(|path| path.split('/')) {
            let tree = self.loose.tree(&self.repository, folder).map_err(|e| self.fails(&e))?;
            folder = tree.get_name(segment).map(|entry| entry.id()).ok_or_else(|| GitError::NoSubpath {
                revision: id.to_owned(),
                subpath: subpath.unwrap_or_default().to_owned(),
            })?;
        }
        Ok(folder)
    }

    /// A folder with another one put into it at the end of a way.
    fn graft(
        &self,
        into: Option<Oid>,
        way: &[&str],
        folder: Oid,
        mount: &str,
        written: &mut Vec<Oid>,
    ) -> Result<Oid, GitError> {
        let Some((first, rest)) = way.split_first() else { return Ok(folder) };
        let fails = |e: git2::Error| self.fails(&e);
        let tree = into.map(|into| self.loose.tree(&self.repository, into)).transpose().map_err(fails)?;
        let there = tree.as_ref().and_then(|tree| tree.get_name(first)).map(|entry| (entry.id(), entry.kind()));
        let below = match (there, rest.is_empty()) {
            (None, _) => self.graft(None, rest, folder, mount, written)?,
            (Some((below, Some(ObjectType::Tree))), false) => self.graft(Some(below), rest, folder, mount, written)?,
            (Some(_), _) => return Err(GitError::MountTaken { mount: mount.to_owned() }),
        };
        let mut builder = self.repository.treebuilder(tree.as_ref()).map_err(fails)?;
        builder.insert(first, below, MODE_FOLDER).map_err(fails)?;
        let id = builder.write().map_err(fails)?;
        written.push(id);
        Ok(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::directory;

    #[test]
    fn what_was_put_together_here_is_known_by_what_only_we_write() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("site")).unwrap();
        std::fs::write(folder.path().join("site/site.yaml"), "kind: Site\n").unwrap();
        let mut mirror = Mirror::open(&folder.path().join("mirror.git")).unwrap();
        let revision = mirror.commit_listing(&directory::read(&folder.path().join("site")).unwrap()).unwrap();
        let part = |name: &str, mount: Option<&str>| Part {
            name: name.to_owned(),
            mount: mount.map(str::to_owned),
            subpath: None,
            revision: revision.clone(),
        };
        let composed = mirror.compose(&[part("main", None), part("team", Some("tenants/team"))]).unwrap();
        assert!(mirror.is_composite(&composed.id));
        assert!(!mirror.is_composite(&revision.id));
        // Whoever commits to a source writes what they like.
        let forged = {
            let repository = &mirror.repository;
            let commit = repository.find_commit(Oid::from_str(&composed.id).unwrap()).unwrap();
            let (somebody, tree) = (commit.committer(), commit.tree().unwrap());
            let id = repository.commit(None, &somebody, &somebody, "Formwork-Source: x\n", &tree, &[]).unwrap();
            id.to_string()
        };
        assert!(!mirror.is_composite(&forged));
        // It is known for as long as it is there: also while nothing but its work keeps it.
        let other = mirror.compose(&[part("main", None)]).unwrap();
        mirror.prune([&composed.id]).unwrap();
        assert!(mirror.is_composite(&composed.id) && mirror.tree(&composed.id, None).is_ok());
        mirror.prune([]).unwrap();
        assert!(!mirror.is_composite(&composed.id) && mirror.is_composite(&other.id));
    }
}
