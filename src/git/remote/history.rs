//! How much history of a repository elsewhere the check of signatures needs: as far back as what was trusted last, and of every
//! commit since then all that it goes on from.

use crate::git::owner::Request;
use crate::git::walk::Walk;
use crate::git::{GitError, Verifier};
use git2::{Oid, Repository};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use tokio::sync::oneshot;

/// More commits are not walked; the verifier refuses so many by itself.
const COMMITS_MAX: usize = 20_000;

/// Who checks signatures, and who knows what was trusted last.
#[derive(Clone)]
pub(super) struct Checked {
    pub verifier: Arc<Verifier>,
    pub owner: SyncSender<Request>,
    /// Of several sources: which one, and what the journal says was trusted of it last.
    pub source: Option<(String, Option<String>)>,
}

/// What a look has to bring besides a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// History back to this commit.
    pub base: Option<String>,
    /// Its annotated tags.
    pub tags: bool,
}

impl Checked {
    /// What the next revision is compared with: it may have changed since the last look.
    pub(super) fn wanted(&self) -> Result<Wanted, GitError> {
        let (reply, answer) = oneshot::channel();
        self.owner
            .send(Request::Trusted(self.source.as_ref().map(|(name, _)| name.clone()), reply))
            .map_err(|_| GitError::Stopped)?;
        let last = answer.blocking_recv().map_err(|_| GitError::Stopped)??;
        let remembered = || self.source.as_ref().and_then(|(_, trusted)| trusted.clone());
        let base = last.or_else(remembered).or_else(|| self.verifier.anchor());
        Ok(Wanted { base, tags: self.verifier.asks_for_tags() })
    }
}

/// Whether what is here of a history tells all about the commits between `base` and `tip`. What is here in whole does.
///
/// A commit at the edge of a shallow history seems to go on from nothing; so none of those that are looked at may be at the edge.
/// Of a merge that holds back to where its sides parted.
pub(super) fn is_deep_enough(repository: &Repository, base: &str, tip: &str) -> Result<bool, git2::Error> {
    let walk = Walk::of(repository);
    if walk.is_whole() {
        return Ok(true);
    }
    let (base, tip) = (Oid::from_str(base)?, Oid::from_str(tip)?);
    if base == tip {
        return Ok(true);
    }
    if repository.find_commit(base).is_err() || !walk.descends(tip, base).unwrap_or(false) {
        return Ok(false);
    }
    let whole = |from: Oid, hidden: Oid| -> Result<Option<Vec<Oid>>, git2::Error> {
        let commits = walk.between(Some(hidden), from, COMMITS_MAX)?;
        Ok(if commits.iter().any(|id| walk.is_at_edge(*id)) { None } else { Some(commits) })
    };
    let Some(commits) = whole(tip, base)? else { return Ok(false) };
    for id in commits {
        let parents: Vec<Oid> = repository.find_commit(id)?.parent_ids().collect();
        let [one, other] = parents.as_slice() else { continue };
        let Some(parted) = walk.parted(*one, *other) else { return Ok(false) };
        if whole(*one, parted)?.is_none() || whole(*other, parted)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;

    /// A clone of so many commits behind the tip.
    fn shallow(repository: &TestRepository, depth: usize) -> Repository {
        let to = repository.beside(&format!("shallow-{depth}.git"));
        let from = format!("file://{}", repository.bare().display());
        let depth = depth.to_string();
        repository.git(&["clone", "-q", "--bare", "--depth", &depth, &from, &to.to_string_lossy()]);
        Repository::open_bare(to).expect("a clone")
    }

    #[test]
    fn history_is_deep_enough_where_nothing_that_counts_is_at_its_edge() {
        let repository = TestRepository::new();
        let ids: Vec<String> = (0..6).map(|n| repository.push(&n.to_string(), &[("a", &n.to_string())])).collect();
        let tip = ids.last().expect("a tip");
        for (depth, base, enough) in [
            (1, &ids[4], false),
            (2, &ids[4], true),
            (2, &ids[3], false),
            (4, &ids[3], true),
            (3, &ids[3], true),
            (1, tip, true),
            (100, &ids[0], true),
        ] {
            let clone = shallow(&repository, depth);
            assert_eq!(is_deep_enough(&clone, base, tip), Ok(enough), "{depth} commits, {base}");
            std::fs::remove_dir_all(clone.path()).expect("removed");
        }
        // In a whole history there is nothing to deepen, whatever it says.
        let whole = Repository::open_bare(repository.bare()).expect("it");
        assert_eq!(is_deep_enough(&whole, &"1".repeat(40), tip), Ok(true));
    }

    #[test]
    fn of_a_merge_history_reaches_back_to_where_its_sides_parted() {
        let repository = TestRepository::new();
        let parted = repository.push("parted", &[("a", "0")]);
        for n in 1..4 {
            repository.push(&format!("main {n}"), &[("a", &n.to_string())]);
        }
        let base = repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
        repository.git(&["checkout", "-q", "-b", "side", &parted]);
        repository.commit("aside", &[("b", "1")]);
        repository.git(&["checkout", "-q", "main"]);
        repository.git(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
        repository.git(&["push", "-q", "origin", "HEAD:main"]);
        let tip = repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
        // Two commits reach the base, and three where the side begins: but not all of what the merge is compared with.
        for (depth, enough) in [(2, false), (3, false), (4, false), (5, true)] {
            assert_eq!(is_deep_enough(&shallow(&repository, depth), &base, &tip), Ok(enough), "{depth}");
        }
    }
}
