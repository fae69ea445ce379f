//! Which job's log is uploaded next, and when: a bounded queue with one back-off for the whole object store. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

/// After the first failure nothing is tried for so long; twice as long after each further one.
const PAUSE_MS: u64 = 1_000;
/// At most so long.
const PAUSE_MAX_MS: u64 = 60_000;

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Upload the log of this job.
    Upload(String),
    /// Nothing before then, milliseconds.
    At(u64),
    /// Nothing before another waits.
    Nothing,
}

/// Logs that wait.
#[derive(Debug)]
pub(super) struct Queue {
    most: usize,
    /// By when they are due, and in which order they came.
    waiting: BTreeMap<(u64, u64), String>,
    places: HashMap<String, (u64, u64)>,
    /// Under way.
    taken: BTreeSet<String>,
    came: u64,
    /// Failures in a row.
    failures: u32,
    not_before: u64,
}

impl Queue {
    /// An empty one.
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            waiting: BTreeMap::new(),
            places: HashMap::new(),
            taken: BTreeSet::new(),
            came: 0,
            failures: 0,
            not_before: 0,
        }
    }

    /// How many wait or are under way.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len() + self.taken.len()
    }

    /// Puts a job in, to be looked at from `due` on. One that waits for a later time is taken earlier; one that is under way is left to
    /// that. Whether there was room.
    pub(super) fn push(&mut self, job: &str, due: u64) -> bool {
        if self.taken.contains(job) || self.places.get(job).is_some_and(|(before, _)| *before <= due) {
            return true;
        }
        if let Some(place) = self.places.remove(job) {
            self.waiting.remove(&place);
        }
        if self.waiting() >= self.most {
            return false;
        }
        self.came += 1;
        let place = (due, self.came);
        self.waiting.insert(place, job.to_owned());
        self.places.insert(job.to_owned(), place);
        true
    }

    /// What to do now. While nothing goes, one at a time is tried.
    pub(super) fn next(&mut self, now: u64) -> Next {
        let Some((&(due, came), job)) = self.waiting.first_key_value() else { return Next::Nothing };
        if self.failures > 0 && !self.taken.is_empty() {
            return Next::Nothing;
        }
        let at = due.max(self.not_before);
        if at > now {
            return Next::At(at);
        }
        let job = job.clone();
        self.waiting.remove(&(due, came));
        self.places.remove(&job);
        self.taken.insert(job.clone());
        Next::Upload(job)
    }

    /// This one is done with, and nothing was wrong with the object store.
    pub(super) fn succeeded(&mut self, job: &str) {
        self.taken.remove(job);
        self.failures = 0;
        self.not_before = 0;
    }

    /// This one has a fault of its own: it is let go, and found on the disk again.
    pub(super) fn let_go(&mut self, job: &str) {
        self.taken.remove(job);
    }

    /// The object store did not take this one: it goes behind all that are due.
    pub(super) fn failed(&mut self, job: &str, now: u64) {
        self.taken.remove(job);
        let pause = PAUSE_MS.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX_MS);
        self.failures = self.failures.saturating_add(1);
        self.not_before = self.not_before.max(now.saturating_add(pause));
        self.push(job, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(job: &str) -> Next {
        Next::Upload(job.to_owned())
    }

    #[test]
    fn jobs_are_taken_in_their_order_once_each_and_no_earlier_than_they_are_due() {
        let mut queue = Queue::new(10);
        assert_eq!(queue.next(0), Next::Nothing);
        for (job, due) in [("later", 50), ("one", 0), ("two", 0), ("one", 0), ("later", 60)] {
            assert!(queue.push(job, due));
        }
        assert_eq!(queue.waiting(), 3);
        assert_eq!((queue.next(1), queue.next(1)), (upload("one"), upload("two")));
        assert!(queue.push("one", 0), "it is under way");
        assert_eq!(queue.next(1), Next::At(50));
        assert!(queue.push("later", 2), "it ended here meanwhile");
        assert_eq!(queue.next(2), upload("later"));
        ["one", "two", "later"].iter().for_each(|job| queue.succeeded(job));
        assert_eq!((queue.waiting(), queue.next(9)), (0, Next::Nothing));
    }

    #[test]
    fn one_more_than_there_is_room_for_is_refused_and_nothing_is_forgotten_for_it() {
        let mut queue = Queue::new(2);
        assert!(queue.push("one", 0) && queue.push("two", 0) && !queue.push("three", 0));
        assert!(queue.push("two", 0), "it waits already");
        assert_eq!(queue.next(0), upload("one"));
        assert!(!queue.push("three", 0), "what is under way counts");
        queue.succeeded("one");
        assert!(queue.push("three", 0));
        assert_eq!((queue.next(0), queue.next(0)), (upload("two"), upload("three")));
    }

    #[test]
    fn after_failures_one_at_a_time_is_tried_ever_less_often_and_another_each_time() {
        let mut queue = Queue::new(10);
        for job in ["one", "two", "three"] {
            queue.push(job, 0);
        }
        let mut now = 0;
        let mut pauses = Vec::new();
        let mut tried = Vec::new();
        for _ in 0..9 {
            let Next::Upload(job) = queue.next(now) else { panic!("nothing is tried at {now}") };
            assert!(queue.failures == 0 || queue.next(now) == Next::Nothing, "one at a time");
            queue.failed(&job, now);
            tried.push(job);
            let Next::At(at) = queue.next(now) else { panic!("no pause at {now}") };
            pauses.push(at - now);
            now = at;
        }
        assert_eq!(pauses, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
        assert_eq!(tried[..6], ["one", "two", "three", "one", "two", "three"], "one that never goes keeps nobody back");
        let Next::Upload(job) = queue.next(now) else { panic!("nothing") };
        queue.succeeded(&job);
        assert!(matches!(queue.next(now), Next::Upload(_) | Next::Nothing), "and then at once");
    }

    #[test]
    fn a_log_with_a_fault_of_its_own_is_no_fault_of_the_object_store() {
        let mut queue = Queue::new(10);
        queue.push("torn", 0);
        queue.push("good", 0);
        assert_eq!(queue.next(0), upload("torn"));
        queue.let_go("torn");
        assert_eq!((queue.next(0), queue.waiting()), (upload("good"), 1));
    }
}
