//! Gathers what a repository shows of a revision's signatures, for `trust` to decide on.

use super::GitError;
use super::gpg::Keyring;
use super::mirror::revision_of;
use super::walk::Walk;
use crate::content::Finding;
use crate::trust::{Base, Check, CommitEvidence, Evidence, Policy, Seal, Signed, TagEvidence, decide, openpgp, ssh};
use arc_swap::ArcSwap;
use git2::{Commit, DiffOptions, ObjectType, Oid, Repository, Tree};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// So many commits between two revisions are checked; more need an anchor.
const COMMITS_MAX: usize = 20_000;
/// So many annotated tags of one commit are looked at.
const TAGS_MAX: usize = 32;

/// By what policy signatures are judged. Another may take its place while it is asked: a question that began goes on by the one
/// before.
#[derive(Debug)]
pub struct Verifier {
    in_force: ArcSwap<InForce>,
    /// Where keys are imported to.
    keys: PathBuf,
}

/// The policy, with the keys that `gpg` needs.
#[derive(Debug)]
struct InForce {
    policy: Policy,
    keyring: Option<Mutex<Keyring>>,
    /// Rises with each policy.
    generation: u64,
}

impl Verifier {
    /// Imports the policy's OpenPGP keys, where there are any, into the folder `keys`, which is made anew.
    ///
    /// # Errors
    /// `gpg` is not there, or a file holds no key.
    pub fn new(policy: Policy, keys: &Path) -> Result<Self, String> {
        let in_force = ArcSwap::from_pointee(InForce::new(policy, keys, 0)?);
        Ok(Self { in_force, keys: keys.to_owned() })
    }

    /// Judges by another policy from now on. What was revoked stays so until the program is started anew: a list that is only half
    /// written brings no key back.
    ///
    /// # Errors
    /// As [`Verifier::new`]; the one before is then still in force.
    pub fn replace(&self, mut policy: Policy) -> Result<(), String> {
        let before = self.in_force.load_full();
        let lost = before.policy.ssh.revoked.iter().filter(|key| !policy.ssh.revoked.contains(key)).cloned();
        let lost: Vec<_> = lost.collect();
        policy.ssh.revoked.extend(lost);
        let generation = before.generation.wrapping_add(1);
        // The keys of the one before may be asked for at this moment.
        let keys = if generation.is_multiple_of(2) { self.keys.clone() } else { self.keys.with_extension("next") };
        self.in_force.store(Arc::new(InForce::new(policy, &keys, generation)?));
        Ok(())
    }

    /// Rises whenever another policy takes the place of the one before: what was found by that is to be asked again.
    pub fn generation(&self) -> u64 {
        self.in_force.load().generation
    }

    /// Decides whether `tip` may follow `last`, the revision trusted last, by what the repository shows. `subpath`: only paths
    /// in this folder count.
    ///
    /// # Errors
    /// The repository cannot be read. Inside: why the revision is not trusted.
    pub fn verify(
        &self,
        repository: &Repository,
        subpath: Option<&str>,
        last: Option<&str>,
        tip: &str,
    ) -> Result<Result<Signed, Vec<Finding>>, GitError> {
        self.verify_with(repository, subpath, last, tip, &[])
    }

    /// As [`Verifier::verify`], with tags that the repository does not show so (yet): those of a push.
    ///
    /// # Errors
    /// The repository cannot be read. Inside: why the revision is not trusted.
    pub fn verify_with(
        &self,
        repository: &Repository,
        subpath: Option<&str>,
        last: Option<&str>,
        tip: &str,
        tags: &[MovedTag],
    ) -> Result<Result<Signed, Vec<Finding>>, GitError> {
        let damaged = |e: git2::Error| GitError::Damaged {
            revision: tip.to_owned(),
            path: repository.path().to_owned(),
            message: e.message().to_owned(),
        };
        let tip = Oid::from_str(tip).map_err(damaged)?;
        let subpath = subpath.filter(|path| !path.is_empty());
        let in_force = self.in_force.load_full();
        let gatherer = Gatherer { repository, walk: Walk::of(repository), subpath, in_force: &in_force, tags };
        let evidence = gatherer.gather(last, tip).map_err(damaged)?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Ok(decide(&in_force.policy, &evidence, i64::try_from(now.as_secs()).unwrap_or(i64::MAX)))
    }

    /// The commit that a person trusts as it is.
    pub fn anchor(&self) -> Option<String> {
        self.in_force.load().policy.anchor.clone()
    }

    /// Whether it is tags that have to be signed.
    pub fn asks_for_tags(&self) -> bool {
        self.in_force.load().policy.check == Check::Tag
    }
}

impl InForce {
    fn new(mut policy: Policy, keys: &Path, generation: u64) -> Result<Self, String> {
        if policy.openpgp_files.is_empty() {
            return Ok(Self { policy, keyring: None, generation });
        }
        let (keyring, principals) = Keyring::import(keys, &policy.openpgp_files)?;
        policy.openpgp = principals;
        Ok(Self { policy, keyring: Some(Mutex::new(keyring)), generation })
    }

    fn seal(&self, signature: &[u8], signed: &[u8]) -> Seal {
        if ssh::is_ssh(signature) {
            return Seal::Ssh { signature: signature.to_vec(), signed: signed.to_vec() };
        }
        if !openpgp::is_openpgp(signature) {
            return Seal::Unknown;
        }
        let unknown = || crate::trust::Refusal {
            key: None,
            reason: "is by OpenPGP, and the policy names no OpenPGP keys".to_owned(),
        };
        Seal::OpenPgp(match self.keyring.as_ref().map(|keyring| keyring.lock()) {
            Some(Ok(keyring)) => keyring.verify(signature, signed),
            _ => Err(unknown()),
        })
    }
}

/// A tag that leads elsewhere than the repository's own reference says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MovedTag {
    /// Its name, without `refs/tags/`.
    pub name: String,
    /// The object; none: the tag is taken away.
    pub id: Option<String>,
}

struct Gatherer<'a> {
    repository: &'a Repository,
    walk: Walk<'a>,
    subpath: Option<&'a str>,
    in_force: &'a InForce,
    tags: &'a [MovedTag],
}

impl Gatherer<'_> {
    fn gather(&self, last: Option<&str>, tip: Oid) -> Result<Evidence, git2::Error> {
        let check = self.in_force.policy.check;
        let base = self.base(last, tip)?;
        let commit = self.repository.find_commit(tip)?;
        let from = match &base {
            Base::Itself => Some(tip),
            Base::Ancestor(id) | Base::Rewritten(id) => Some(Oid::from_str(id)?),
            Base::Nothing | Base::Gone(_) | Base::NoAnchor(_) => None,
        };
        let difference = {
            let old = from.map(|from| self.repository.find_commit(from)?.tree()).transpose()?;
            self.changed(old.as_ref(), &commit.tree()?)?.into_keys().collect()
        };
        let (mut commits, mut too_many) = (Vec::new(), false);
        let walked = matches!(base, Base::Ancestor(_) | Base::Rewritten(_));
        if check == Check::Range && walked {
            let ids = self.walk.between(from, tip, COMMITS_MAX)?;
            too_many = ids.len() > COMMITS_MAX;
            for id in ids.into_iter().take(COMMITS_MAX) {
                commits.push(self.commit(&self.repository.find_commit(id)?)?);
            }
        }
        let tip_evidence = self.commit(&commit)?;
        let tags = if check == Check::Tag { self.tags(tip)? } else { Vec::new() };
        Ok(Evidence { tip: tip_evidence, base, commits, too_many, difference, tags })
    }

    fn base(&self, last: Option<&str>, tip: Oid) -> Result<Base, git2::Error> {
        let descends = |from: Oid| self.walk.descends(tip, from);
        if let Some(last) = last {
            let id = Oid::from_str(last)?;
            if id == tip {
                return Ok(Base::Itself);
            }
            // The object alone may lie in a repository that has not its history.
            return Ok(match self.repository.find_commit(id).and_then(|_| descends(id)) {
                Ok(true) => Base::Ancestor(last.to_owned()),
                Ok(false) => Base::Rewritten(last.to_owned()),
                Err(_) => Base::Gone(last.to_owned()),
            });
        }
        let Some(anchor) = &self.in_force.policy.anchor else { return Ok(Base::Nothing) };
        let id = Oid::from_str(anchor)?;
        let found = id == tip || self.repository.find_commit(id).is_ok() && descends(id).unwrap_or(false);
        Ok(if id == tip {
            Base::Itself
        } else if found {
            Base::Ancestor(anchor.clone())
        } else {
            Base::NoAnchor(anchor.clone())
        })
    }

    fn commit(&self, commit: &Commit<'_>) -> Result<CommitEvidence, git2::Error> {
        let seal = match self.repository.extract_signature(&commit.id(), None) {
            Ok((signature, signed)) => self.in_force.seal(&signature, &signed),
            Err(error) if error.code() == git2::ErrorCode::NotFound => Seal::None,
            Err(error) => return Err(error),
        };
        let summary = revision_of(commit).summary;
        Ok(CommitEvidence { id: commit.id().to_string(), summary, paths: self.touched(commit)?, seal })
    }

    /// The paths that a commit touches by itself. Of a merge of two: those whose content is not what a merge of whole files
    /// gives, so that a merge that quietly takes back the other side's change has touched it.
    fn touched(&self, commit: &Commit<'_>) -> Result<Vec<String>, git2::Error> {
        let tree = commit.tree()?;
        let mut parents = Vec::new();
        for parent in commit.parents() {
            parents.push((parent.id(), parent.tree()?));
        }
        let paths: Vec<String> = match parents.as_slice() {
            [] => self.changed(None, &tree)?.into_keys().collect(),
            [(_, parent)] => self.changed(Some(parent), &tree)?.into_keys().collect(),
            [(one, first), (two, second)] => {
                let base = match self.walk.parted(*one, *two) {
                    Some(base) => Some(self.repository.find_commit(base)?.tree()?),
                    None => None,
                };
                let from_first = self.changed(Some(first), &tree)?;
                let from_second = self.changed(Some(second), &tree)?;
                let all: BTreeSet<&String> = from_first.keys().chain(from_second.keys()).collect();
                let Some(base) = base else { return Ok(all.into_iter().cloned().collect()) };
                // Not changed on a side since the base: the merge must have the other side's.
                let changed_first = self.changed(Some(&base), first)?;
                let changed_second = self.changed(Some(&base), second)?;
                let clean = |path: &String| {
                    let (as_first, as_second) = (!from_first.contains_key(path), !from_second.contains_key(path));
                    let both = (as_first, as_second) == (true, true);
                    both || as_second && !changed_first.contains_key(path)
                        || as_first && !changed_second.contains_key(path)
                };
                all.into_iter().filter(|path| !clean(path)).cloned().collect()
            }
            several => {
                let mut all = BTreeSet::new();
                for (_, parent) in several {
                    all.extend(self.changed(Some(parent), &tree)?.into_keys());
                }
                all.into_iter().collect()
            }
        };
        Ok(paths)
    }

    /// What differs between two trees, by path from the root; only in the site's folder, where it is one.
    fn changed(&self, old: Option<&Tree<'_>>, new: &Tree<'_>) -> Result<BTreeMap<String, ()>, git2::Error> {
        let mut options = DiffOptions::new();
        options.include_typechange(true).ignore_submodules(false).skip_binary_check(true);
        if let Some(subpath) = self.subpath {
            options.disable_pathspec_match(true).pathspec(subpath);
        }
        let diff = self.repository.diff_tree_to_tree(old, Some(new), Some(&mut options))?;
        let mut paths = BTreeMap::new();
        for delta in diff.deltas() {
            for file in [delta.old_file(), delta.new_file()] {
                if let Some(path) = file.path_bytes() {
                    paths.insert(String::from_utf8_lossy(path).into_owned(), ());
                }
            }
        }
        Ok(paths)
    }

    fn tags(&self, tip: Oid) -> Result<Vec<TagEvidence>, git2::Error> {
        let mut tags = Vec::new();
        let objects = self.repository.odb()?;
        let mut names: BTreeMap<String, Oid> = BTreeMap::new();
        for reference in self.repository.references_glob("refs/tags/*")? {
            let reference = reference?;
            if let (Some(id), Ok(name)) = (reference.target(), reference.name()) {
                names.insert(name.strip_prefix("refs/tags/").unwrap_or(name).to_owned(), id);
            }
        }
        for tag in self.tags {
            match &tag.id {
                Some(id) => names.insert(tag.name.clone(), Oid::from_str(id)?),
                None => names.remove(&tag.name),
            };
        }
        for (name, id) in names {
            let object = objects.read(id)?;
            if object.kind() != ObjectType::Tag || tags.len() >= TAGS_MAX {
                continue;
            }
            let tag = self.repository.find_tag(id)?;
            if tag.target_id() != tip || tag.target_type() != Some(ObjectType::Commit) {
                continue;
            }
            let seal = match split_tag(object.data()) {
                Some((signed, signature)) => self.in_force.seal(signature, signed),
                None => Seal::None,
            };
            tags.push(TagEvidence {
                reference: name,
                name: String::from_utf8_lossy(tag.name_bytes()).into_owned(),
                seal,
            });
        }
        Ok(tags)
    }
}

/// A tag's text and the signature at its end, at the last line that begins one (as git itself looks for it).
fn split_tag(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    let mut found = None;
    for line in data.split_inclusive(|byte| *byte == b'\n') {
        if ssh::is_ssh(line) || openpgp::is_openpgp(line) {
            found = Some(at);
        }
        at += line.len();
    }
    Some(data.split_at(found?))
}
