//! Whether a branch was rewritten: does its new commit come after the old one? Pure; history is shallow, so that the answer may
//! be "not known yet".

use git2::Oid;
use std::collections::HashSet;

/// What is known of a commit's place in history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::git) enum Descent {
    /// The new commit has the old one before it.
    Yes,
    /// It has not: the branch was rewritten.
    No,
    /// History that is not here would have to be read.
    Unknown,
}

/// Walks from `new` backwards over the commits that are here. `parents` answers `None` for one that is not.
pub(in crate::git) fn descends(old: Oid, new: Oid, parents: impl Fn(Oid) -> Option<Vec<Oid>>) -> Descent {
    // What lies before the old commit cannot lead to it.
    let mut before_old = HashSet::new();
    let mut waiting: Vec<Oid> = parents(old).unwrap_or_default();
    while let Some(id) = waiting.pop() {
        if before_old.insert(id) {
            waiting.extend(parents(id).unwrap_or_default());
        }
    }
    let (mut seen, mut waiting, mut unknown) = (HashSet::new(), vec![new], false);
    while let Some(id) = waiting.pop() {
        if id == old {
            return Descent::Yes;
        }
        if before_old.contains(&id) || !seen.insert(id) {
            continue;
        }
        match parents(id) {
            Some(parents) => waiting.extend(parents),
            None => unknown = true,
        }
    }
    if unknown { Descent::Unknown } else { Descent::No }
}

/// The parents that a commit's own bytes name. Git's shallow lists would hide them.
pub(in crate::git) fn parents_of(commit: &[u8]) -> Vec<Oid> {
    let head = commit.split(|byte| *byte == b'\n').take_while(|line| !line.is_empty());
    head.filter_map(|line| line.strip_prefix(b"parent "))
        .filter_map(|id| std::str::from_utf8(id).ok().and_then(|id| Oid::from_str(id).ok()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn id(n: u8) -> Oid {
        Oid::from_bytes(&[n; 20]).unwrap()
    }

    #[test]
    fn a_rewritten_branch_is_told_from_one_that_went_on() {
        let graph = |edges: &[(u8, &[u8])]| -> HashMap<Oid, Vec<Oid>> {
            edges.iter().map(|(n, parents)| (id(*n), parents.iter().map(|p| id(*p)).collect())).collect()
        };
        type Edges = &'static [(u8, &'static [u8])];
        let cases: [(&str, Edges, Descent); 7] = [
            ("the next commit", &[(1, &[0]), (2, &[1])], Descent::Yes),
            ("a merge of it", &[(1, &[0]), (2, &[3, 1])], Descent::Yes),
            ("an amended one", &[(1, &[0]), (2, &[0])], Descent::No),
            ("back to the one before", &[(1, &[2]), (2, &[0])], Descent::No),
            ("an unrelated one", &[(1, &[]), (2, &[])], Descent::No),
            ("two commits at once, the first not here", &[(1, &[0]), (2, &[3])], Descent::Unknown),
            ("two commits at once, both here", &[(1, &[0]), (2, &[3]), (3, &[1])], Descent::Yes),
        ];
        for (what, edges, expected) in cases {
            let graph = graph(edges);
            assert_eq!(descends(id(1), id(2), |id| graph.get(&id).cloned()), expected, "{what}");
        }
    }

    #[test]
    fn parents_are_read_from_the_commit_itself_and_not_from_its_message() {
        let (one, other) = (id(1), id(2));
        let text = format!("tree {one}\nparent {one}\nparent {other}\nauthor a\n\nparent {one}\n");
        assert_eq!(parents_of(text.as_bytes()), [one, other]);
    }
}
