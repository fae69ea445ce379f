//! What the mirror does for several sources: keeps their own commits and tags, and puts their folders together as one commit.

use super::mirror::{Mirror, Origin, revision_of};
use super::remote::{Part, message_of};
use super::{GitError, Revision};
use crate::content::Tree;
use git2::{ObjectType, Oid};

/// Above the references of the commits that were good last, one a source.
const SOURCES: &str = "refs/formwork/sources/";
/// Above the references of the commits that were looked at last, one a source.
const TAKEN: &str = "refs/formwork/taken/";
/// What is presented, until it is applied or another takes its place.
const PRESENTED: &str = "refs/formwork/presented";
/// Above the references of annotated tags, one a commit.
pub(super) const TAGS: &str = "refs/formwork/tags/";
/// Who commits what is put together here.
const COMMITTER: &str = "sources@formwork.localhost";

const MODE_FOLDER: i32 = 0o040_000;

impl Mirror {
    /// Whether a commit of ours is one that was put together here.
    pub(super) fn is_composite(&self, id: &str) -> bool {
        let commit = Oid::from_str(id).and_then(|oid| self.repository.find_commit(oid));
        commit.is_ok_and(|commit| commit.committer().email_bytes() == COMMITTER.as_bytes())
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

    /// Lets go of sources that are no longer followed.
    pub(super) fn keep_sources_only(&self, names: &[&str]) -> Result<(), git2::Error> {
        for above in [SOURCES, TAKEN] {
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
                Some(root) => self.repository.find_tree(root)?,
                None => self.repository.find_tree(self.repository.treebuilder(None)?.write()?)?,
            };
            let nobody = git2::Signature::new("sources", COMMITTER, &git2::Time::new(0, 0))?;
            self.repository.commit(None, &nobody, &nobody, &message_of(parts), &tree, &[])
        };
        let id = write().map_err(|e: git2::Error| self.fails(&e))?;
        written.push(id);
        self.wrote(written);
        self.set(PRESENTED, &id.to_string())?;
        let commit = self.repository.find_commit(id).map_err(|e| self.fails(&e))?;
        Ok(revision_of(&commit))
    }

    fn folder_of(&self, id: &str, subpath: Option<&str>) -> Result<Oid, GitError> {
        let unknown = || GitError::UnknownRevision { revision: id.to_owned() };
        let commit = Oid::from_str(id).and_then(|oid| self.repository.find_commit(oid)).map_err(|_| unknown())?;
        let mut folder = commit.tree_id();
        for segment in subpath.into_iter().flat_map(|path| path.split('/')) {
            let tree = self.repository.find_tree(folder).map_err(|e| self.fails(&e))?;
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
        let tree = into.map(|into| self.repository.find_tree(into)).transpose().map_err(fails)?;
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
