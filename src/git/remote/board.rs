//! What is known of each source now: written by the threads that look, read by whoever asks.

use super::fetch::Known;
use super::settings::{SourceSettings, Sources};
use crate::git::GitError;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// Whether a source's forge takes what it is told of commits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reporting {
    /// Why the last commit status was not taken; none: it was.
    pub failure: Option<String>,
    /// Since when it is so, Unix milliseconds.
    pub since_unix_ms: i64,
}

/// How one source stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// Its name.
    pub name: String,
    /// Where it is; never with credentials.
    pub url: String,
    /// What of it is followed.
    pub follows: String,
    /// Where it is mounted; none: it is the main one.
    pub mount: Option<String>,
    /// The commit that it shows.
    pub head: Option<String>,
    /// The commit of it that the revision before us is made of.
    pub used: Option<String>,
    /// When it was last looked at with success, Unix milliseconds.
    pub last_success_unix_ms: Option<i64>,
    /// When a look last failed, Unix milliseconds.
    pub last_failure_unix_ms: Option<i64>,
    /// Why, where no look has succeeded since.
    pub failure: Option<String>,
    /// Its branch was rewritten, and is held where it was.
    pub is_held: bool,
    /// Who signed the commit that is used, and what led to it; empty where signatures are not asked for.
    pub signed_by: Vec<String>,
    /// Why its head is not used, as shown to people.
    pub findings: Vec<String>,
    /// They are about who signed it; nothing of its content was read.
    pub is_untrusted: bool,
    /// The commit that is not used for the machines that would leave by it: a person may let it through.
    pub guarded: Option<String>,
    /// When it is looked at next, Unix milliseconds.
    pub next_look_unix_ms: Option<i64>,
    /// Since when it has been asked and has not answered, Unix milliseconds; none: it is not being asked, or is on this disk.
    pub asked_unix_ms: Option<i64>,
    /// Bytes downloaded since the start.
    pub fetched_bytes: u64,
    /// The last request for a look that was there when the last look began: it was made, whatever came of it.
    pub observed_request: u64,
    /// Whether its forge takes commit statuses; none: it has none, or was told nothing yet. Nothing that serves depends on it.
    pub reporting: Option<Reporting>,
    /// What its repository, where that is on this disk, has lost of its older commits. Nothing that serves depends on it.
    pub damage: Option<String>,
}

/// Why one commit of a source does not go into the site. It says nothing of any other commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The commit.
    pub commit: String,
    /// The findings.
    pub findings: Vec<String>,
    /// They are about who signed it.
    pub is_untrusted: bool,
    /// It is for the machines that would leave by it.
    pub is_guarded: bool,
}

/// What is written about one source.
#[derive(Debug, Clone, Default)]
pub(super) struct Entry {
    /// Without what follows from the refusal: see [`Entry::shown`].
    pub status: SourceStatus,
    /// Why a commit of it was not taken when it was judged last, which may have been an earlier one than is shown now.
    pub refused: Option<Refusal>,
    /// What to use of it, where anything was ever found.
    pub known: Option<Known>,
    /// What it shows and is not followed, where its branch was rewritten.
    pub held: Option<Known>,
    /// Why the last look failed.
    pub failure: Option<GitError>,
}

impl Entry {
    /// How the source stands. A look may show a new commit long before that is judged: what was found of another is not its own.
    fn shown(&self) -> SourceStatus {
        let mut status = self.status.clone();
        let of = |commit: Option<&String>| self.refused.as_ref().filter(|it| commit == Some(&it.commit));
        if let Some(refused) = of(self.status.head.as_ref()) {
            status.findings.clone_from(&refused.findings);
            status.is_untrusted = refused.is_untrusted;
        }
        // One that is followed can be let through, also where another one is shown and held.
        let followed = self.known.as_ref().map(|known| &known.commit);
        status.guarded = of(followed).filter(|it| it.is_guarded).map(|it| it.commit.clone());
        status
    }
}

/// All of them, in the order of the sources.
#[derive(Debug)]
pub struct Board {
    entries: Mutex<(u64, Vec<Entry>)>,
    changed: Condvar,
    /// Whoever shows it is told of each change, also of one that is no news for who puts sources together.
    told: watch::Sender<u64>,
}

impl Board {
    pub(super) fn new(sources: &Sources, told: watch::Sender<u64>) -> Self {
        let entries = sources.0.iter().map(|settings| Entry { status: blank(settings), ..Entry::default() }).collect();
        Self { entries: Mutex::new((0, entries)), changed: Condvar::new(), told }
    }

    fn lock(&self) -> MutexGuard<'_, (u64, Vec<Entry>)> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is written about a source, and wakes who waits for that.
    pub(super) fn write<T>(&self, index: usize, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let mut entries = self.lock();
        let answer = entries.1.get_mut(index).map(change);
        entries.0 = entries.0.wrapping_add(1);
        drop(entries);
        self.changed.notify_all();
        self.tell();
        answer
    }

    /// Changes what is shown of a source, which is no news for who puts sources together.
    pub(super) fn write_quietly(&self, index: usize, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.lock().1.get_mut(index) {
            change(entry);
        }
        self.tell();
    }

    fn tell(&self) {
        self.told.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// All entries, once something is written that was not before `seen`; after `most` as they stand.
    pub(super) fn wait(&self, seen: u64, most: Duration) -> (u64, Vec<Entry>) {
        let entries = self.lock();
        let found = self.changed.wait_timeout_while(entries, most, |entries| entries.0 == seen);
        let (entries, _) = found.unwrap_or_else(PoisonError::into_inner);
        entries.clone()
    }

    /// A source whose branch was rewritten and is held: the commit before, and the one that it shows.
    pub fn held(&self, source: &str) -> Option<(String, String)> {
        let entries = self.lock();
        let entry = entries.1.iter().find(|entry| entry.status.name == source)?;
        Some((entry.known.as_ref()?.commit.clone(), entry.held.as_ref()?.commit.clone()))
    }

    /// A source's forge took what it was told of a commit, or not, and why; nothing: it is not told by us any more.
    pub fn reported(&self, source: &str, taken: Option<Result<(), String>>, now_unix_ms: i64) {
        let mut entries = self.lock();
        let Some(entry) = entries.1.iter_mut().find(|entry| entry.status.name == source) else { return };
        let before = entry.status.reporting.take();
        entry.status.reporting = taken.map(|taken| {
            let (failure, since) = (taken.err(), before.as_ref().map(|it| (it.failure.is_some(), it.since_unix_ms)));
            let since = since.filter(|(failed, _)| *failed == failure.is_some()).map(|(_, since)| since);
            Reporting { failure, since_unix_ms: since.unwrap_or(now_unix_ms) }
        });
        let changed = entry.status.reporting != before;
        drop(entries);
        if changed {
            self.tell();
        }
    }

    /// How all sources stand.
    pub fn status(&self) -> Vec<SourceStatus> {
        self.lock().1.iter().map(Entry::shown).collect()
    }
}

fn blank(settings: &SourceSettings) -> SourceStatus {
    SourceStatus {
        name: settings.name.clone(),
        url: settings.location.to_string(),
        follows: settings.follow.to_string(),
        mount: settings.mount.clone(),
        ..SourceStatus::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::follow::Follow;
    use super::super::url::Location;
    use super::*;

    #[test]
    fn what_was_found_of_a_commit_is_said_of_no_other() {
        let team = SourceSettings::new("team", Location::Local("/x".into()), Follow::Default);
        let board = Board::new(&Sources(vec![team]), watch::channel(0).0);
        let known = |commit: &str| Known {
            reference: "refs/heads/main".to_owned(),
            id: commit.to_owned(),
            commit: commit.to_owned(),
        };
        let look = |followed: &str, held: Option<&str>| {
            board.write(0, |entry| {
                (entry.known, entry.held) = (Some(known(followed)), held.map(known));
                entry.status.head = Some(held.unwrap_or(followed).to_owned());
            });
        };
        let refuse = |commit: &str| {
            let findings = vec!["tenants/a/net.yaml:2:7: error: x".to_owned()];
            let refused = Refusal { commit: commit.to_owned(), findings, is_untrusted: true, is_guarded: true };
            board.write_quietly(0, |entry| entry.refused = Some(refused));
        };
        let said = || {
            let status = board.status().remove(0);
            (status.findings.len(), status.is_untrusted, status.guarded)
        };
        look("bad", None);
        assert_eq!(said(), (0, false, None), "nobody has judged it yet");
        refuse("bad");
        assert_eq!(said(), (1, true, Some("bad".to_owned())));
        look("good", None);
        assert_eq!(said(), (0, false, None), "the next one, before it is judged");
        // It was judged while the next one came.
        refuse("bad");
        assert_eq!(said(), (0, false, None));
        look("bad", Some("rewritten"));
        assert_eq!(said(), (0, false, Some("bad".to_owned())), "another one is shown, and held");
    }

    #[test]
    fn what_a_forge_takes_is_told_with_since_when_and_only_where_it_changes() {
        let one = SourceSettings::new("one", Location::Local("/x".into()), Follow::Default);
        let (told, heard) = watch::channel(0);
        let board = Board::new(&Sources(vec![one]), told);
        let at = |failure: Option<&str>, since_unix_ms| {
            Some(Reporting { failure: failure.map(str::to_owned), since_unix_ms })
        };
        for (taken, now, expected, news) in [
            (Some(Ok(())), 1, at(None, 1), 1),
            (Some(Ok(())), 2, at(None, 1), 1),
            (Some(Err("away".to_owned())), 3, at(Some("away"), 3), 2),
            (Some(Err("HTTP 401".to_owned())), 4, at(Some("HTTP 401"), 3), 3),
            (Some(Ok(())), 5, at(None, 5), 4),
            (None, 6, None, 5),
        ] {
            board.reported("one", taken, now);
            assert_eq!((board.status()[0].reporting.clone(), *heard.borrow()), (expected, news), "at {now}");
        }
        board.reported("two", Some(Ok(())), 7);
        assert_eq!(*heard.borrow(), 5, "nobody has that name");
    }
}
