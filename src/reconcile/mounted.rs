//! What a person allowed to a commit of a mounted source, in the revision that it is new in: there it counts for that source's own
//! machines, and for nobody else's.

use super::guards::spoken;
use super::reconciler::{Failure, Reconciler, Shared};
use super::{Allowance, Foreseen, HoldError, Loss, ReconcileError};
use crate::content::Tree;
use crate::git::{GitError, Revision, Source};
use std::sync::Arc;

/// What more than the guards can be allowed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The mounted source whose commit it is; none: what is seen of the whole.
    pub source: Option<String>,
    /// The revision, or the commit.
    pub revision: Revision,
}

/// What was allowed to a mounted source's commit that is new.
pub(super) struct Mounted {
    /// Where the source is mounted.
    pub mount: String,
    /// What was.
    pub allowed: Allowance,
}

/// What a revision is allowed with what its new parts are: machines by their names, each in its own source's folder.
pub(super) fn with_parts(allowed: &Allowance, foreseen: &Foreseen, parts: &[Mounted]) -> Allowance {
    let mut all = allowed.clone();
    for part in parts {
        let inside = |loss: &&Loss| {
            let file = loss.place.as_ref().and_then(|place| place.file.strip_prefix(part.mount.as_str()));
            file.is_some_and(|rest| rest.starts_with('/'))
        };
        let leaving: Vec<&Loss> = foreseen.leaving.iter().filter(inside).collect();
        let beyond = part.allowed.leave.beyond(&leaving, |loss| &loss.machine);
        let may = leaving.iter().filter(|loss| !beyond.iter().any(|other| other.machine == loss.machine));
        all.leave.names.extend(may.map(|loss| loss.machine.clone()));
        let wiped = foreseen.losses.iter().filter(inside).filter(|loss| part.allowed.allows_wipe(&loss.machine));
        all.wipe.extend(wiped.map(|loss| loss.machine.clone()));
    }
    all
}

impl<C: Send + Sync + 'static> Shared<C> {
    /// What was allowed to the commits of mounted sources that are new in a revision: by a person's word, and by their own messages.
    pub(super) async fn mounted(&self, before: Option<&Revision>, revision: &Revision) -> Vec<Mounted> {
        let follower = &self.parts.follower;
        let used = before.map(|before| follower.parts(before)).unwrap_or_default();
        let new: Vec<_> = follower.parts(revision).into_iter().filter(|part| !used.contains(part)).collect();
        let mut mounted = Vec::new();
        for source in follower.sources() {
            let Some((mount, (_, commit))) = source.mount.zip(new.iter().find(|(name, _)| *name == source.name)) else {
                continue;
            };
            let said = Allowance::of(self.parts.store.as_ref(), commit);
            let said = said.inspect_err(|error| tracing::warn!(%error, commit, "what it is allowed is not known"));
            let written = follower.revision(commit).await.map(|commit| spoken(&commit.message)).unwrap_or_default();
            mounted.push(Mounted { mount, allowed: said.unwrap_or_default().and(&written) });
        }
        mounted
    }
}

impl<C: Send + Sync + 'static> Shared<C> {
    /// Each mounted source's commit was judged on top of the main one's before it came here: where the two want the same now, it is
    /// the main one that came later.
    pub(super) fn main_is_told(&self, mut tree: Tree) -> Tree {
        tree.mounts = self.parts.follower.sources().into_iter().filter_map(|source| source.mount).collect();
        if !tree.mounts.is_empty() {
            tree.mounts.push(String::new());
        }
        tree
    }
}

impl<C: Send + Sync + 'static> Reconciler<C> {
    /// What more than the guards can be allowed to now: what is seen of the whole, where that does not serve already, and the
    /// commits of mounted sources that are held for the machines that would leave by them.
    ///
    /// # Errors
    /// Nothing is seen, it cannot be read, or nothing of it waits.
    pub async fn held(&self) -> Result<Vec<Held>, HoldError> {
        let seen = self.seen()?;
        let serves = self.shared.status.borrow().applied.as_ref().is_some_and(|applied| applied.revision == seen.id);
        let mut held = Vec::new();
        if !serves {
            held.push(Held { source: None, revision: seen.clone() });
        }
        for source in self.follower().sources() {
            let Some(id) = source.guarded else { continue };
            let unread = Revision { id: id.clone(), summary: String::new(), message: String::new() };
            let revision = self.follower().revision(&id).await.unwrap_or(unread);
            held.push(Held { source: Some(source.name), revision });
        }
        if held.is_empty() {
            return Err(HoldError::NothingWaits { revision: seen.short().to_owned(), summary: seen.summary });
        }
        Ok(held)
    }

    /// What would serve with these commits of mounted sources that are held in place of what serves of them.
    ///
    /// # Errors
    /// Nothing serves, one of them cannot be read, or they do not compile.
    pub async fn with_held(&self, held: &[Held]) -> Result<Arc<C>, ReconcileError> {
        let serves = self.shared.status.borrow().applied.as_ref().map(|applied| applied.revision.clone());
        let parts: Vec<(&str, &str)> =
            held.iter().filter_map(|held| Some((held.source.as_deref()?, held.revision.id.as_str()))).collect();
        let called = parts.iter().map(|(_, commit)| *commit).collect::<Vec<_>>().join("+");
        let Some(serves) = serves else {
            return Err(ReconcileError::Git(GitError::UnknownRevision { revision: called }));
        };
        let source = self.follower().source();
        let settings = match &*source {
            Source::Sources(sources) => sources.0.as_slice(),
            Source::Bare { .. } | Source::Directory { .. } => &[],
        };
        let mut tree = self.follower().tree(&serves).await?;
        tree.mounts = settings.iter().filter_map(|settings| settings.mount.clone()).collect();
        for (name, commit) in parts {
            let settings = settings.iter().find(|settings| settings.name == name);
            let Some((settings, mount)) = settings.and_then(|settings| Some((settings, settings.mount.as_ref()?)))
            else {
                return Err(ReconcileError::Git(GitError::UnknownRevision { revision: commit.to_owned() }));
            };
            let part = self.follower().tree(commit).await?;
            tree.replace(mount, &part, settings.subpath.as_deref());
        }
        let built = self.shared.compile(&self.shared.parts.build, Arc::new(tree), &called).await;
        Ok(built.map_err(|findings| Failure::Refused(findings).into_error(&called))?.catalog)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::Place;
    use crate::git::MayLeave;

    #[test]
    fn what_a_mounted_sources_commit_is_allowed_counts_for_its_own_machines() {
        let loss = |machine: &str, file: &str| Loss {
            machine: machine.to_owned(),
            place: Some(Place { file: file.into(), line: 1, column: 1 }),
            why: String::new(),
        };
        let all = vec![
            loss("a-1", "tenants/a/one.yaml"),
            loss("a-2", "tenants/a/two.yaml"),
            loss("ab-1", "tenants/ab/one.yaml"),
            loss("m-1", "machines/one.yaml"),
        ];
        let foreseen = Foreseen { losses: all.clone(), leaving: all, ..Foreseen::default() };
        let of = |allowed: Allowance| {
            let with =
                with_parts(&Allowance::default(), &foreseen, &[Mounted { mount: "tenants/a".to_owned(), allowed }]);
            let listed = |names: std::collections::BTreeSet<String>| names.into_iter().collect::<Vec<_>>().join(" ");
            (with.wipe_all || with.leave.all || with.leave.most > 0, listed(with.leave.names), listed(with.wipe))
        };
        let leave = |may: MayLeave| of(Allowance { leave: may, ..Allowance::default() });
        let named = |names: &str| (false, names.to_owned(), String::new());
        assert_eq!(leave(MayLeave { all: true, ..MayLeave::default() }), named("a-1 a-2"));
        assert_eq!(leave(MayLeave { most: 2, ..MayLeave::default() }), named("a-1 a-2"));
        assert_eq!(leave(MayLeave { most: 1, ..MayLeave::default() }), named(""));
        let names = ["a-2", "m-1"].map(str::to_owned).into();
        assert_eq!(leave(MayLeave { names, ..MayLeave::default() }), named("a-2"));
        let wiped = of(Allowance { wipe_all: true, ..Allowance::default() });
        assert_eq!(wiped, (false, String::new(), "a-1 a-2".to_owned()));
        let own = of(spoken("Anew\n\nFormwork-Allow-Wipe: a-1, m-1\nFormwork-Allow-Leave: 2\n"));
        assert_eq!(own, (false, "a-1 a-2".to_owned(), "a-1".to_owned()), "its own message");
    }
}
