//! Walks over history that may be shallow. libgit2 walks a whole history by itself, and cheaply; at the edge of a shallow one it
//! asks for commits that were never fetched and gives up. There the walk is ours, over the parents that are here.
//!
//! A commit at the edge seems to go on from nothing. Who asks for commits must know that none of those that count is at the edge
//! ([`Walk::is_at_edge`]).

use git2::{Oid, Repository, Sort};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

/// The commits whose parents were not fetched; none: history is here in whole.
pub(super) fn edge_of(repository: &Repository) -> HashSet<Oid> {
    let text = std::fs::read_to_string(repository.path().join("shallow")).unwrap_or_default();
    text.lines().filter_map(|line| Oid::from_str(line.trim()).ok()).collect()
}

/// History as it is here.
pub(super) struct Walk<'a> {
    repository: &'a Repository,
    /// The commits whose parents were not fetched.
    edge: HashSet<Oid>,
    /// The parents that were read: one history is walked for each merge in it.
    parents: RefCell<HashMap<Oid, Vec<Oid>>>,
}

impl<'a> Walk<'a> {
    pub(super) fn of(repository: &'a Repository) -> Self {
        Self { repository, edge: edge_of(repository), parents: RefCell::default() }
    }

    /// Whether all of history is here.
    pub(super) fn is_whole(&self) -> bool {
        self.edge.is_empty()
    }

    /// Whether what this commit goes on from was not fetched.
    pub(super) fn is_at_edge(&self, id: Oid) -> bool {
        self.edge.contains(&id)
    }

    /// Whether `tip` has `base` among its ancestors; not of itself.
    ///
    /// # Errors
    /// Neither can be said: the answer may lie beyond the edge.
    pub(super) fn descends(&self, tip: Oid, base: Oid) -> Result<bool, git2::Error> {
        if self.is_whole() {
            return self.repository.graph_descendant_of(tip, base);
        }
        let reach = self.reach(tip);
        if reach.contains_key(&base) {
            return Ok(tip != base);
        }
        if reach.keys().any(|id| self.is_at_edge(*id)) {
            return Err(git2::Error::from_str("its history is not here as far back as that"));
        }
        Ok(false)
    }

    /// The commits that `tip` has and `base` has not, children before their parents; at most so many and one more.
    pub(super) fn between(&self, base: Option<Oid>, tip: Oid, most: usize) -> Result<Vec<Oid>, git2::Error> {
        if self.is_whole() {
            let mut walk = self.repository.revwalk()?;
            walk.set_sorting(Sort::TOPOLOGICAL)?;
            walk.push(tip)?;
            if let Some(base) = base {
                walk.hide(base)?;
            }
            return walk.take(most.saturating_add(1)).collect();
        }
        let mut commits = self.reach(tip);
        for hidden in base.map(|base| self.reach(base)).unwrap_or_default().keys() {
            commits.remove(hidden);
        }
        let mut children: HashMap<Oid, usize> = HashMap::new();
        for parent in commits.values().flatten() {
            *children.entry(*parent).or_default() += 1;
        }
        let (mut sorted, mut ready) = (Vec::new(), vec![tip]);
        while let Some(id) = ready.pop().filter(|_| sorted.len() <= most) {
            let Some(parents) = commits.get(&id) else { continue };
            sorted.push(id);
            for parent in parents {
                if let Some(left) = children.get_mut(parent) {
                    *left -= 1;
                    if *left == 0 {
                        ready.push(*parent);
                    }
                }
            }
        }
        Ok(sorted)
    }

    /// The commit where two histories parted, if it is one.
    pub(super) fn parted(&self, one: Oid, other: Oid) -> Option<Oid> {
        if self.is_whole() {
            let bases = self.repository.merge_bases(one, other).ok()?;
            return match bases.len() {
                1 => bases.iter().next().copied(),
                _ => None,
            };
        }
        let (ours, theirs) = (self.reach(one), self.reach(other));
        let common: HashSet<Oid> = ours.keys().filter(|id| theirs.contains_key(id)).copied().collect();
        let before: HashSet<Oid> = common.iter().filter_map(|id| ours.get(id)).flatten().copied().collect();
        let mut best = common.difference(&before);
        best.next().copied().filter(|_| best.next().is_none())
    }

    /// A commit and all its ancestors that are here, with their parents. What was fetched is bounded, so this is.
    fn reach(&self, from: Oid) -> HashMap<Oid, Vec<Oid>> {
        let (mut found, mut waiting) = (HashMap::new(), vec![from]);
        while let Some(id) = waiting.pop() {
            if found.contains_key(&id) {
                continue;
            }
            let Some(parents) = self.parents_of(id) else { continue };
            waiting.extend(parents.iter().copied());
            found.insert(id, parents);
        }
        found
    }

    /// A commit's parents that are here, read once; `None`: it is not here itself.
    fn parents_of(&self, id: Oid) -> Option<Vec<Oid>> {
        if let Some(known) = self.parents.borrow().get(&id) {
            return Some(known.clone());
        }
        let commit = self.repository.find_commit(id).ok()?;
        let parents: Vec<Oid> = if self.is_at_edge(id) { Vec::new() } else { commit.parent_ids().collect() };
        self.parents.borrow_mut().insert(id, parents.clone());
        Some(parents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::git::test_repository::TestRepository;

    /// What is said of a shallow history that holds all that counts is what is said of the whole.
    #[test]
    fn a_shallow_history_is_walked_as_a_whole_one_as_far_as_it_is_here() {
        let repository = TestRepository::new();
        let far: Vec<String> = (0..5).map(|n| repository.push(&format!("far {n}"), &[("a", &n.to_string())])).collect();
        let base = repository.push("base", &[("a", "base")]);
        repository.git(&["checkout", "-q", "-b", "side"]);
        repository.commit("aside", &[("b", "1")]);
        let side = repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
        repository.git(&["checkout", "-q", "main"]);
        let main = repository.push("main", &[("a", "main")]);
        repository.git(&["merge", "-q", "--no-ff", "-m", "merge", "side"]);
        repository.git(&["push", "-q", "origin", "HEAD:main"]);
        let tip = repository.git(&["rev-parse", "HEAD"]).trim().to_owned();
        let to = repository.beside("shallow.git");
        let from = format!("file://{}", repository.bare().display());
        repository.git(&["clone", "-q", "--bare", "--depth", "4", &from, &to.to_string_lossy()]);

        let id = |text: &str| Oid::from_str(text).expect("an id");
        let (whole, shallow) = (
            Repository::open_bare(repository.bare()).expect("the whole"),
            Repository::open_bare(&to).expect("the shallow one"),
        );
        let (whole, shallow) = (Walk::of(&whole), Walk::of(&shallow));
        assert!(whole.is_whole() && !shallow.is_whole());
        for walk in [&whole, &shallow] {
            let mut between = walk.between(Some(id(&base)), id(&tip), 10).expect("a walk");
            assert_eq!(between[0], id(&tip));
            between.sort();
            let mut expected = vec![id(&tip), id(&main), id(&side)];
            expected.sort();
            assert_eq!(between, expected);
            assert!(walk.descends(id(&tip), id(&base)).expect("known"));
            assert!(!walk.descends(id(&tip), id(&tip)).expect("known"));
            assert_eq!(walk.parted(id(&main), id(&side)), Some(id(&base)));
            assert_eq!(walk.parted(id(&tip), id(&side)), Some(id(&side)));
            assert_eq!(walk.between(Some(id(&base)), id(&tip), 1).expect("a walk").len(), 2);
        }
        // Each commit was read once for all of these walks, and is not read again.
        assert!(whole.parents.borrow().is_empty());
        let read: HashMap<Oid, Vec<Oid>> = shallow.parents.borrow().clone();
        assert!(read.len() >= 5 && read[&id(&tip)].len() == 2, "{read:?}");
        shallow.parents.borrow_mut().insert(id(&tip), vec![id(&main)]);
        assert_eq!(shallow.between(Some(id(&base)), id(&tip), 10).expect("a walk"), [id(&tip), id(&main)]);
        shallow.parents.borrow_mut().clear();
        // Beyond the edge nothing is claimed.
        assert!(whole.descends(id(&tip), id(&far[0])).expect("known"));
        assert!(shallow.descends(id(&tip), id(&far[0])).is_err());
        assert!(!whole.descends(id(&main), id(&side)).expect("known"));
        assert!(shallow.descends(id(&main), id(&side)).is_err());
    }
}
