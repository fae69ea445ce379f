//! Pushes by one's own sshd that were found good and that git then refused by itself: it tells nobody, so it is seen by branches that
//! do not move.

use super::{Answer, Question, REASON_MAX, Receiving};
use crate::git::receive::{Update, points_to, short_name};
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// git moves what was found good within this: nothing but its own looks and other hooks lie between.
const MOVED_WITHIN: Duration = Duration::from_secs(20);

/// So many pushes are awaited at once: of more it is not told what git made of them.
const AWAITED_MAX: usize = 256;

/// What git was told that it may move, and is not known to have moved.
#[derive(Debug)]
pub(super) struct Awaited {
    number: u64,
    repository: PathBuf,
    updates: Vec<Update>,
}

impl Receiving {
    /// Git was told that it may move these. Where it does not, that is a push that was not taken.
    pub(super) fn await_moves(
        self: &Arc<Self>,
        by: &str,
        moves: Moves,
        now_unix_ms: impl Fn() -> i64 + Send + 'static,
    ) {
        let Some(number) = self.await_these(moves) else { return };
        let (receiving, by) = (Arc::clone(self), by.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(MOVED_WITHIN).await;
            let looks = Arc::clone(&receiving);
            let Ok(unmoved) = tokio::task::spawn_blocking(move || looks.unmoved(number)).await else { return };
            if let Some(branches) = unmoved {
                let why = format!(
                    "it was found good, and git did not move {branches}: for a rule of the repository (receive.…), another hook, or \
                     somebody who was faster"
                );
                receiving.note(&by, &branches, now_unix_ms(), &Answer::unable(why, None));
            }
        });
    }

    /// None: too many are awaited.
    fn await_these(&self, Moves { repository, updates }: Moves) -> Option<u64> {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        if awaited.len() >= AWAITED_MAX {
            return None;
        }
        let number = awaited.last().map_or(0, |last| last.number.wrapping_add(1));
        awaited.push(Awaited { number, repository, updates });
        Some(number)
    }

    /// Git says that it moved these.
    pub(super) fn have_moved(&self, question: &Question) {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
        for push in awaited.iter_mut().filter(|push| push.repository == question.repository) {
            push.updates.retain(|update| !question.updates.contains(update));
        }
    }

    /// What of a push did not come about; none: all of it did. It is not awaited any more. Reads the repository: the other hook may
    /// not be there, or had nobody to tell.
    fn unmoved(&self, number: u64) -> Option<String> {
        let push = {
            let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner);
            let at = awaited.iter().position(|push| push.number == number)?;
            awaited.remove(at)
        };
        let is_elsewhere =
            |update: &&Update| points_to(&push.repository, &update.reference).is_ok_and(|now| now != update.new);
        let names = push.updates.iter().filter(is_elsewhere);
        let names = names.map(|update| short_name(&update.reference).unwrap_or_else(|| update.reference.clone()));
        let names: Vec<String> = names.collect();
        let shown: String = names.join(", ").chars().filter(|c| !c.is_control()).take(REASON_MAX / 2).collect();
        (!names.is_empty()).then_some(shown)
    }
}

/// What a push moves, and where.
#[derive(Debug, Clone)]
pub(super) struct Moves {
    repository: PathBuf,
    updates: Vec<Update>,
}

impl Moves {
    /// Of a push by one's own sshd; none: it comes by this server, which hears what git says of it.
    pub(super) fn of(question: &Question) -> Option<Self> {
        let Question { capability: None, repository, updates, .. } = question else { return None };
        Some(Self { repository: repository.clone(), updates: updates.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Hook;
    use super::*;
    use crate::git::Source;
    use crate::git::test_repository::TestRepository;

    #[test]
    fn of_a_push_that_was_found_good_what_git_did_not_move_is_told() {
        let repository = TestRepository::new();
        let first = repository.push("first", &[("a", "1")]);
        let second = repository.push("second", &[("a", "2")]);
        let source = Source::Bare { path: repository.bare(), branch: None, subpath: None };
        let receiving = Receiving::new(repository.beside("users.json"), &source, None);
        let update = |old: Option<&str>, new: Option<&str>, branch: &str| Update {
            old: old.map(str::to_owned),
            new: new.map(str::to_owned),
            reference: format!("refs/heads/{branch}"),
        };
        let question = |capability: Option<&str>, updates: Vec<Update>| Question {
            hook: Hook::PostReceive,
            repository: repository.bare(),
            quarantine: None,
            capability: capability.map(str::to_owned),
            user: None,
            updates,
            options: Vec::new(),
        };
        assert!(Moves::of(&question(Some("https"), Vec::new())).is_none());
        let awaits = |updates: &[Update]| receiving.await_these(Moves::of(&question(None, updates.to_vec())).unwrap());
        let await_these = |updates: &[Update]| awaits(updates).unwrap();
        // It is there; it is gone; it is somewhere else.
        let come = update(Some(&first), Some(&second), "main");
        let (gone, stays) = (update(Some(&first), None, "gone"), update(Some(&second), None, "main"));
        let refused = update(Some(&second), Some(&first), "main");
        for (updates, unmoved) in [
            (vec![come.clone(), gone], None),
            (vec![refused.clone()], Some("main")),
            (vec![come, stays, update(None, Some(&first), "new")], Some("main, new")),
        ] {
            let number = await_these(&updates);
            assert_eq!(receiving.unmoved(number).as_deref(), unmoved, "{updates:?}");
            assert_eq!(receiving.unmoved(number), None, "once");
        }
        // git said that it moved, and others pushed since.
        let (said, other) =
            (await_these(std::slice::from_ref(&refused)), await_these(&[update(None, Some(&first), "x")]));
        receiving.have_moved(&question(None, vec![refused]));
        assert_eq!((receiving.unmoved(said), receiving.unmoved(other).as_deref()), (None, Some("x")));
        // No more wait than the bound, and when one is over there is room again.
        let numbers: Vec<u64> = (0..AWAITED_MAX).map(|_| await_these(&[])).collect();
        assert_eq!(awaits(&[]), None);
        assert_eq!(receiving.unmoved(numbers[0]), None);
        assert!(awaits(&[]).is_some());
    }
}
