//! What a person allowed a revision beyond the guards, when it was pushed (`git push -o allow-wipe=node-7`) or later, where
//! the source shows it already (`formwork reconcile --allow-wipe node-7`).
//!
//! It is kept in the store by the commit's id. Before the branch moves it is a promise: it is there when the revision is
//! applied, also by a server that was started anew between the two, and nothing comes of it where the branch does not move:
//! of two pushes at once git takes one. It counts, and who pushed is history, once the source shows the revision. It allows
//! nothing to any other revision, and of one that is pushed twice the last push counts.
//!
//! It counts once. What is written down with the event that the revision serves takes it away, in one: whoever goes back to that
//! revision later is asked anew. What was allowed to a mounted source's commit stays while that commit serves, since each server
//! judges such commits by itself, and goes with it.

use super::reconciler::{Shared, now_unix_ms};
use super::serving::Standing;
use crate::git::{MayLeave, Revision, Sight};
use crate::journal::{Event, Stream};
use crate::store::{Batch, Operation, Space, Store, StoreError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// What is before a revision's id.
const ABOVE: &str = "allowed/";
/// The same of a promise.
const PROMISED: &str = "promised/";
/// What was said so long ago of a revision that waits no more is dropped when another one is applied: the source went on. What is
/// said of what is not seen yet is younger.
const SUPERSEDED_MS: i64 = 60 * 1000;
/// An allowance or a promise of a revision that did not come to serve is kept for so long: its push may have been cut off, and comes again.
const UNUSED_MS: i64 = 7 * 24 * 3600 * 1000;

/// What one revision may do that the guards refuse by themselves.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Allowance {
    /// Who said so.
    pub by: String,
    /// When, Unix milliseconds.
    pub at_unix_ms: i64,
    /// It may go from many objects to none.
    pub empty: bool,
    /// It may wipe every machine that it would.
    pub wipe_all: bool,
    /// It may wipe these, by name.
    pub wipe: BTreeSet<String>,
    /// These may leave Git.
    pub leave: MayLeave,
    /// The site is called this from now on.
    pub rename: Option<String>,
    /// It is of a mounted source's commit that serves.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub in_use: bool,
}

impl Allowance {
    /// Whether it says anything.
    pub fn is_some(&self) -> bool {
        self.empty || self.wipe_all || !self.wipe.is_empty() || self.leave.is_some() || self.rename.is_some()
    }

    /// Whether this machine may be wiped beyond the guard.
    pub fn allows_wipe(&self, machine: &str) -> bool {
        self.wipe_all || self.wipe.contains(machine)
    }

    /// What two people said, taken together; by whom and when is the other's.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        Self {
            by: other.by.clone(),
            at_unix_ms: other.at_unix_ms,
            empty: self.empty || other.empty,
            wipe_all: self.wipe_all || other.wipe_all,
            wipe: self.wipe.union(&other.wipe).cloned().collect(),
            leave: self.leave.and(&other.leave),
            rename: other.rename.clone().or_else(|| self.rename.clone()),
            in_use: self.in_use,
        }
    }

    /// What it says, in the words of a push.
    pub fn words(&self) -> Vec<String> {
        let listed = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<String>>().join(",");
        let named = |word: &str, names: &BTreeSet<String>| {
            Some(names).filter(|names| !names.is_empty()).map(|names| format!("{word}={}", listed(names)))
        };
        let (leave, all) = (&self.leave, |said: bool, word: &str| said.then(|| word.to_owned()));
        let most = (leave.most > 0).then(|| format!("allow-leave={}", leave.most));
        let words = [
            all(self.empty, "allow-empty"),
            all(self.wipe_all, "allow-wipe=all"),
            named("allow-wipe", &self.wipe),
            all(leave.all, "allow-leave=all"),
            most,
            named("allow-leave", &leave.names),
            self.rename.as_ref().map(|name| format!("allow-site-rename={name}")),
        ];
        words.into_iter().flatten().collect()
    }

    /// What was allowed to a revision; nothing where nobody said anything.
    ///
    /// # Errors
    /// What the store says.
    pub fn of(store: &dyn Store, revision: &str) -> Result<Self, StoreError> {
        let value = store.get(Space::Meta, &key(revision))?;
        Ok(value.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default())
    }
}

/// Allows a revision more than it is allowed already, and writes down who said so. Nothing, where it may all of that.
///
/// # Errors
/// What the store says; nothing is changed then.
pub(super) async fn widen(
    store: &dyn Store,
    revision: &Revision,
    words: &Allowance,
    reason: &str,
) -> Result<Allowance, StoreError> {
    loop {
        let head = store.head(&Stream::Site)?;
        let before = Allowance::of(store, &revision.id)?;
        let allowed = before.and(words);
        if (Allowance { by: before.by.clone(), at_unix_ms: before.at_unix_ms, ..allowed.clone() }) == before {
            return Ok(before);
        }
        let event = Event::RevisionAllowed {
            by: words.by.clone(),
            revision: revision.id.clone(),
            summary: revision.summary.clone(),
            words: words.words(),
            reason: reason.to_owned(),
        };
        let operations = vec![put(ABOVE, &revision.id, Some(&allowed))?];
        let batch = Batch { expected: vec![(Stream::Site, head)], events: vec![(Stream::Site, event)], operations };
        match store.commit(batch, words.at_unix_ms).await {
            // Something was said in between, perhaps of this revision: it counts as well.
            Err(StoreError::Conflict { .. }) => {}
            done => return done.map(|_| allowed),
        }
    }
}

/// A push that was found good, and whose branch has not moved yet as far as is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Promise {
    /// Who pushes.
    pub by: String,
    /// The branch.
    pub branch: String,
    /// The subject line of the revision.
    pub summary: String,
    /// What they allow.
    pub allowed: Allowance,
    /// Other words of the push, for history alone: of what happens while git moves the branch.
    pub said: Vec<String>,
}

impl Promise {
    /// Writes it down for a revision, in place of what another push of it promised.
    ///
    /// # Errors
    /// What the store says.
    pub async fn put(&self, store: &dyn Store, revision: &str) -> Result<(), StoreError> {
        let operations = vec![put(PROMISED, revision, Some(self))?];
        store.commit(Batch { operations, ..Batch::default() }, self.allowed.at_unix_ms).await.map(drop)
    }
}

fn put(above: &str, revision: &str, value: Option<&impl Serialize>) -> Result<Operation, StoreError> {
    let written = value.map(serde_json::to_vec).transpose();
    let value = written.map_err(|error| StoreError::TooLarge(error.to_string()))?;
    Ok(Operation::Put { space: Space::Meta, key: format!("{above}{revision}"), value })
}

/// The source shows a revision: what its push promised holds, and who pushed it is history. Nothing, where nothing is promised.
///
/// # Errors
/// What the store says; nothing is changed then.
pub(super) async fn keep(store: &dyn Store, revision: &str, now_unix_ms: i64) -> Result<(), StoreError> {
    loop {
        let head = store.head(&Stream::Site)?;
        let Some(promised) = store.get(Space::Meta, &format!("{PROMISED}{revision}"))? else { return Ok(()) };
        let Promise { by, branch, summary, allowed, said } = serde_json::from_slice(&promised).unwrap_or_default();
        let words = allowed.words().into_iter().chain(said).collect();
        // What was said of it after the push was judged stays.
        let since = Allowance::of(store, revision)?;
        let allowed = if since.at_unix_ms > allowed.at_unix_ms { allowed.and(&since) } else { allowed };
        let event = Event::RevisionPushed { by, branch, revision: revision.to_owned(), summary, words };
        let operations = vec![
            put(PROMISED, revision, None::<&Promise>)?,
            put(ABOVE, revision, Some(&allowed).filter(|allowed| allowed.is_some()))?,
        ];
        let batch = Batch { expected: vec![(Stream::Site, head)], events: vec![(Stream::Site, event)], operations };
        match store.commit(batch, now_unix_ms).await {
            // Another server may have kept it, and applied the revision: then nothing is promised any more.
            Err(StoreError::Conflict { .. }) => {}
            done => return done.map(drop),
        }
    }
}

/// A revision that is applied, as far as it says what becomes of allowances.
#[derive(Debug, Clone, Copy)]
pub(super) struct Applied<'a> {
    /// The revision.
    pub revision: &'a str,
    /// The commits of the sources that it is made of.
    pub parts: &'a [String],
    /// What waits, as far as is seen now: the newest revision, and commits that a guard holds. None: a person goes back, and what
    /// the source shows waits whatever it is.
    pub waiting: Option<&'a [String]>,
}

/// What becomes of an allowance.
#[derive(Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    /// It is of a commit that serves from now on.
    InUse,
    Goes,
}

/// Pure.
fn fate(id: &str, allowance: &Allowance, applied: Applied<'_>, now_unix_ms: i64) -> Fate {
    let is_among = |ids: &[String]| ids.iter().any(|other| other == id);
    if id == applied.revision {
        return Fate::Goes;
    }
    if is_among(applied.parts) {
        return if allowance.in_use { Fate::Stays } else { Fate::InUse };
    }
    if allowance.in_use {
        return Fate::Goes;
    }
    let Some(waiting) = applied.waiting else { return Fate::Stays };
    let old = now_unix_ms.saturating_sub(allowance.at_unix_ms) >= SUPERSEDED_MS;
    if old && !is_among(waiting) { Fate::Goes } else { Fate::Stays }
}

/// What is to be written down together with the event that a revision serves: what was allowed to it is used up by that.
///
/// # Errors
/// What the store says.
pub(super) fn used_up(store: &dyn Store, applied: Applied<'_>, now_unix_ms: i64) -> Result<Vec<Operation>, StoreError> {
    let mut operations = Vec::new();
    for key in store.keys(Space::Meta)? {
        let Some(id) = key.strip_prefix(ABOVE) else { continue };
        let allowance = Allowance::of(store, id)?;
        match fate(id, &allowance, applied, now_unix_ms) {
            Fate::Stays => {}
            Fate::InUse => operations.push(put(ABOVE, id, Some(&Allowance { in_use: true, ..allowance }))?),
            Fate::Goes => operations.push(put(ABOVE, id, None::<&Allowance>)?),
        }
    }
    Ok(operations)
}

impl<C: Send + Sync + 'static> Shared<C> {
    /// What is put down with the event that a revision serves: what was allowed to it counts no more.
    pub fn used_up(&self, standing: &Standing, revision: &Revision) -> Result<Vec<Operation>, StoreError> {
        let follower = &self.parts.follower;
        let parts: Vec<String> = follower.parts(revision).into_iter().map(|(_, commit)| commit).collect();
        let seen = match &*follower.sight().borrow() {
            Sight::Head(seen) => Some(seen.id.clone()),
            _ => None,
        };
        let waiting: Vec<String> =
            seen.into_iter().chain(follower.sources().into_iter().filter_map(|source| source.guarded)).collect();
        let waiting = Some(waiting.as_slice()).filter(|_| standing.hold.pinned.is_none());
        let applied = Applied { revision: &revision.id, parts: &parts, waiting };
        used_up(self.parts.store.as_ref(), applied, now_unix_ms())
    }
}

/// Drops what was allowed to revisions that did not come to serve for a long while.
///
/// # Errors
/// What the store says; what is not dropped now is the next time.
pub(super) async fn sweep(store: &dyn Store, now_unix_ms: i64) -> Result<usize, StoreError> {
    let mut operations = Vec::new();
    for key in store.keys(Space::Meta)? {
        let at_unix_ms = if let Some(revision) = key.strip_prefix(ABOVE) {
            let allowance = Allowance::of(store, revision)?;
            if allowance.in_use {
                continue;
            }
            allowance.at_unix_ms
        } else if key.starts_with(PROMISED) {
            let promised = store.get(Space::Meta, &key)?.and_then(|bytes| serde_json::from_slice(&bytes).ok());
            promised.map_or(0, |promise: Promise| promise.allowed.at_unix_ms)
        } else {
            continue;
        };
        if now_unix_ms.saturating_sub(at_unix_ms) >= UNUSED_MS {
            operations.push(Operation::Put { space: Space::Meta, key, value: None });
        }
    }
    let count = operations.len();
    if count > 0 {
        store.commit(Batch { operations, ..Batch::default() }, now_unix_ms).await?;
    }
    Ok(count)
}

fn key(revision: &str) -> String {
    format!("{ABOVE}{revision}")
}

#[cfg(test)]
mod tests {
    use super::super::test_store::MemoryStore;
    use super::*;

    #[tokio::test]
    async fn what_was_allowed_is_kept_while_its_revision_can_still_come_to_serve() {
        let store = MemoryStore::default();
        let now = 100 * UNUSED_MS;
        for (revision, at_unix_ms) in
            [("serves", 1), ("old", now - UNUSED_MS), ("young", now - UNUSED_MS + 1), ("odd", 0)]
        {
            let in_use = revision == "serves";
            let allowance = Allowance { at_unix_ms, wipe_all: true, in_use, ..Allowance::default() };
            let operations = vec![put(ABOVE, revision, Some(&allowance)).unwrap()];
            store.commit(Batch { operations, ..Batch::default() }, 1).await.unwrap();
        }
        let other = Operation::Put { space: Space::Meta, key: "site".into(), value: Some(b"lab".to_vec()) };
        store.commit(Batch { operations: vec![other], ..Batch::default() }, 1).await.unwrap();
        assert_eq!(sweep(&store, now).await.unwrap(), 2);
        assert_eq!(store.keys(Space::Meta).unwrap(), ["allowed/serves", "allowed/young", "site"]);
        assert!(Allowance::of(&store, "serves").unwrap().wipe_all && !Allowance::of(&store, "old").unwrap().is_some());
    }

    #[tokio::test]
    async fn what_a_push_allows_counts_once_the_branch_has_moved_and_of_two_pushes_the_last() {
        let store = MemoryStore::default();
        let promise = |by: &str, wipe_all| Promise {
            by: by.into(),
            branch: "main".into(),
            allowed: Allowance { by: by.into(), at_unix_ms: 5, wipe_all, ..Allowance::default() },
            ..Promise::default()
        };
        promise("ada", true).put(&store, "a").await.unwrap();
        promise("bob", true).put(&store, "b").await.unwrap();
        assert!(!Allowance::of(&store, "a").unwrap().is_some(), "nothing has moved yet");
        keep(&store, "a", 7).await.unwrap();
        keep(&store, "a", 8).await.unwrap();
        assert_eq!(Allowance::of(&store, "a").unwrap().by, "ada");
        assert!(!Allowance::of(&store, "b").unwrap().is_some(), "it lost");
        let pushed = || -> Vec<String> {
            let records = store.events_of(&Stream::Site, 0, 10).unwrap();
            let by = records.into_iter().map(|record| match record.event {
                Event::RevisionPushed { by, revision, words, .. } => format!("{by} {revision} {}", words.join(" ")),
                other => panic!("{other:?}"),
            });
            by.collect()
        };
        assert_eq!(pushed(), ["ada a allow-wipe=all"], "once, and nobody who lost");
        let rewritten = Promise { said: vec!["allow-rewrite".to_owned()], ..promise("eve", false) };
        rewritten.put(&store, "r").await.unwrap();
        keep(&store, "r", 9).await.unwrap();
        assert_eq!(pushed().last().map(String::as_str), Some("eve r allow-rewrite"));
        // The same commit, pushed by somebody who allows nothing.
        promise("eve", false).put(&store, "a").await.unwrap();
        keep(&store, "a", 9).await.unwrap();
        assert!(!Allowance::of(&store, "a").unwrap().is_some());
        assert_eq!(pushed(), ["ada a allow-wipe=all", "eve r allow-rewrite", "eve a "]);
        // And by somebody, before what an administrator says of it.
        promise("eve", false).put(&store, "c").await.unwrap();
        let revision = Revision { id: "c".into(), summary: String::new(), message: String::new() };
        let words = Allowance { by: "ann".into(), at_unix_ms: 6, empty: true, ..Allowance::default() };
        widen(&store, &revision, &words, "").await.unwrap();
        keep(&store, "c", 9).await.unwrap();
        assert_eq!(Allowance::of(&store, "c").unwrap(), words);
        let gone = Operation::Put { space: Space::Meta, key: key("c"), value: None };
        store.commit(Batch { operations: vec![gone], ..Batch::default() }, 9).await.unwrap();
        assert_eq!(sweep(&store, UNUSED_MS + 5).await.unwrap(), 1);
        assert_eq!(store.keys(Space::Meta).unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn what_is_allowed_afterwards_is_added_and_written_down_once() {
        let store = MemoryStore::default();
        let revision = Revision { id: "a".into(), summary: "s".into(), message: String::new() };
        let said = |wipe: &[&str]| Allowance {
            by: "ann".into(),
            at_unix_ms: 5,
            wipe: wipe.iter().map(|&name| name.to_owned()).collect(),
            ..Allowance::default()
        };
        for wipe in [&["m1"][..], &["m2"], &["m1", "m2"], &[]] {
            widen(&store, &revision, &said(wipe), "meant").await.unwrap();
        }
        assert_eq!(Allowance::of(&store, "a").unwrap(), said(&["m1", "m2"]));
        let records = store.events_of(&Stream::Site, 0, 10).unwrap();
        let words = records.into_iter().map(|record| match record.event {
            Event::RevisionAllowed { by, revision, words, reason, .. } => {
                format!("{by} {revision} {} {reason}", words.join(" "))
            }
            other => panic!("{other:?}"),
        });
        assert_eq!(words.collect::<Vec<_>>(), ["ann a allow-wipe=m1 meant", "ann a allow-wipe=m2 meant"]);
        let all = Allowance {
            empty: true,
            wipe_all: true,
            leave: MayLeave { all: true, most: 3, names: ["m".to_owned()].into() },
            rename: Some("plant".into()),
            ..said(&["m1", "m2"])
        };
        let words = [
            "allow-empty",
            "allow-wipe=all",
            "allow-wipe=m1,m2",
            "allow-leave=all",
            "allow-leave=3",
            "allow-leave=m",
            "allow-site-rename=plant",
        ];
        assert_eq!(all.words(), words);
    }

    #[test]
    fn what_is_allowed_counts_until_its_revision_serves_or_the_source_went_on() {
        let ids = |ids: &[&str]| ids.iter().map(|&id| id.to_owned()).collect::<Vec<String>>();
        let (parts, waiting) = (ids(&["main", "part"]), ids(&["head", "held"]));
        let by_source = Applied { revision: "x", parts: &parts, waiting: Some(&waiting) };
        let back = Applied { waiting: None, ..by_source };
        let (old, young) = (SUPERSEDED_MS, 1);
        for (id, age, in_use, applied, expected) in [
            ("x", young, false, by_source, Fate::Goes),
            ("x", old, false, back, Fate::Goes),
            // A mounted source's commit, while it serves and after it.
            ("part", young, false, by_source, Fate::InUse),
            ("part", old, true, by_source, Fate::Stays),
            ("gone", young, true, by_source, Fate::Goes),
            ("gone", young, true, back, Fate::Goes),
            // What waits still, what went by, and what is said of what is not seen yet.
            ("head", old, false, by_source, Fate::Stays),
            ("held", old, false, by_source, Fate::Stays),
            ("other", old, false, by_source, Fate::Goes),
            ("other", young, false, by_source, Fate::Stays),
            // A rollback says nothing of what the source shows.
            ("other", old, false, back, Fate::Stays),
        ] {
            let allowance = Allowance { at_unix_ms: 1_000, in_use, ..Allowance::default() };
            assert_eq!(fate(id, &allowance, applied, 1_000 + age), expected, "{id} {age} {in_use} {applied:?}");
        }
    }

    #[test]
    fn an_allowance_names_machines_or_says_all() {
        let named = Allowance { wipe: BTreeSet::from(["node-7".to_owned()]), ..Allowance::default() };
        assert!(named.is_some() && named.allows_wipe("node-7") && !named.allows_wipe("node-8"));
        let all = Allowance { wipe_all: true, ..Allowance::default() };
        assert!(all.is_some() && all.allows_wipe("node-8"));
        let leave = Allowance { leave: MayLeave { most: 1, ..MayLeave::default() }, ..Allowance::default() };
        let rename = Allowance { rename: Some("plant".into()), ..Allowance::default() };
        assert!(leave.is_some() && rename.is_some());
        assert!(!Allowance::default().is_some() && !Allowance::default().allows_wipe("node-7"));
    }
}
