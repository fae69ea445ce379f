//! What people say about following the source: suspend, roll back, resume. Each is an event before it counts.

use super::Allowance;
use super::allowance::widen;
use super::history::{NoWayBack, Past};
use super::reconciler::{Failure, ReconcileError, Reconciler};
use super::status::{Outcome, Status};
use crate::git::{GitError, Revision, Sight};
use crate::journal::{Event, Pin, Word};
use crate::store::StoreError;
use std::time::Duration;

/// How long an answer waits for the revision that was gone back to.
const PUT_IN_PLACE: Duration = Duration::from_secs(20);

/// Why a word was not taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HoldError {
    /// It is so already.
    #[error("nothing is applied already: suspended by {by}")]
    Suspended {
        /// Who said so first.
        by: String,
    },
    /// Nothing is held.
    #[error("the source is followed: it is neither suspended nor is a revision pinned")]
    Following,
    /// More than the guards is allowed to what the source shows, and it shows nothing.
    #[error("nothing can be allowed to what the source shows: {why}")]
    Unseen {
        /// Why not.
        why: String,
    },
    /// More than the guards is allowed to what the source shows, and that serves already.
    #[error("nothing waits to be allowed: what the source shows, revision {revision} ({summary}), serves already")]
    NothingWaits {
        /// The revision, as people are shown it.
        revision: String,
        /// Its subject line.
        summary: String,
    },
    /// No branch of it is held.
    #[error("source `{name}` has no rewritten branch that is held")]
    NotHeld {
        /// The source.
        name: String,
    },
    /// It is pinned already.
    #[error("revision {revision} is pinned already, by {by}")]
    Pinned {
        /// The revision.
        revision: String,
        /// Who said so first.
        by: String,
    },
    /// There is nothing to go back to.
    #[error(transparent)]
    NoWayBack(#[from] NoWayBack),
    /// It was good once and is refused now.
    #[error("revision {revision} would be refused now: {}", findings.first().map(String::as_str).unwrap_or_default())]
    Refused {
        /// The revision.
        revision: String,
        /// All that is wrong.
        findings: Vec<String>,
    },
    /// It cannot be read.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl<C: Send + Sync + 'static> Reconciler<C> {
    /// Nothing is applied from when this returns on, also after a restart; the source is still looked at, and judged. Where it is so
    /// already, another reason takes the place of the one before: who said that, and what.
    ///
    /// # Errors
    /// It is so already, for the same reason or with none given; or it could not be written down.
    pub async fn suspend(&self, by: &str, reason: &str) -> Result<Option<Word>, HoldError> {
        let mut standing = self.shared.standing.lock().await;
        self.shared.catch_up(&mut standing)?;
        let before = loop {
            let before = standing.hold.suspended.clone();
            if let Some(word) = before.as_ref().filter(|word| reason.is_empty() || word.reason == reason) {
                return Err(HoldError::Suspended { by: word.by.clone() });
            }
            let event = Event::FollowingSuspended { by: by.to_owned(), reason: reason.to_owned() };
            if written(self.shared.write(&mut standing, event).await)? {
                break before;
            }
        };
        drop(standing);
        self.shared.woken.notify_one();
        Ok(before)
    }

    /// The source is followed again: what was suspended and what was pinned is so no longer. What was lifted, in words. `allowed`: what
    /// the source shows, and what each may beyond the guards.
    ///
    /// # Errors
    /// Nothing was held, or it could not be written down.
    pub async fn resume(&self, by: &str, reason: &str, allowed: &[(Revision, Allowance)]) -> Result<String, HoldError> {
        let mut standing = self.shared.standing.lock().await;
        self.shared.catch_up(&mut standing)?;
        let lifted = loop {
            let lifted = match (&standing.hold.suspended, &standing.hold.pinned) {
                (None, None) => return Err(HoldError::Following),
                (Some(word), None) => format!("the suspension by {}", word.by),
                (None, Some(pin)) => format!("the pin on revision {} by {}", pin.revision, pin.word.by),
                (Some(word), Some(pin)) => {
                    format!("the suspension by {} and the pin on revision {} by {}", word.by, pin.revision, pin.word.by)
                }
            };
            for (revision, words) in allowed {
                widen(self.shared.parts.store.as_ref(), revision, words, reason).await?;
                self.shared.catch_up(&mut standing)?;
            }
            let event = Event::FollowingResumed { by: by.to_owned(), reason: reason.to_owned() };
            if written(self.shared.write(&mut standing, event).await)? {
                break lifted;
            }
        };
        drop(standing);
        self.shared.woken.notify_one();
        // What was refused by a guard is tried again.
        if !allowed.is_empty() {
            self.shared.ask();
        }
        Ok(lifted)
    }

    /// What the source shows now, for whoever allows it more than the guards: a revision that nobody here has seen is allowed nothing.
    ///
    /// # Errors
    /// It shows nothing, or cannot be read.
    pub fn seen(&self) -> Result<Revision, HoldError> {
        match &*self.shared.parts.follower.sight().borrow() {
            Sight::Head(revision) => Ok(revision.clone()),
            Sight::Nothing => Err(HoldError::Unseen { why: "nobody has looked at it yet".to_owned() }),
            Sight::Unavailable(error) => Err(HoldError::Unseen { why: error.to_string() }),
        }
    }

    /// Allows a revision more than the guards. It is tried again when the source is [asked](Self::ask).
    ///
    /// # Errors
    /// It could not be written down.
    pub async fn allow(&self, revision: &Revision, words: &Allowance, reason: &str) -> Result<(), HoldError> {
        Ok(widen(self.shared.parts.store.as_ref(), revision, words, reason).await.map(drop)?)
    }

    /// Goes along with a source's branch that was rewritten and is held: from which commit, to which.
    ///
    /// # Errors
    /// Nothing of that name is held, or it could not be written down.
    pub async fn accept(&self, source: &str, by: &str, reason: &str) -> Result<(String, String), HoldError> {
        let mut standing = self.shared.standing.lock().await;
        self.shared.catch_up(&mut standing)?;
        let accepted = self.shared.parts.follower.accept(source)?;
        let (from, to) = accepted.ok_or_else(|| HoldError::NotHeld { name: source.to_owned() })?;
        let (by, reason, source) = (by.to_owned(), reason.to_owned(), source.to_owned());
        let event = Event::SourceAccepted { source, from: from.clone(), to: to.clone(), by, reason };
        while !written(self.shared.write(&mut standing, event.clone()).await)? {}
        Ok((from, to))
    }

    /// Which revision is gone back to, by its name or without one.
    ///
    /// # Errors
    /// There is none, or the store fails.
    pub fn way_back(&self, to: Option<&str>) -> Result<String, HoldError> {
        let serving = self.shared.status.borrow().applied.as_ref().map(|applied| applied.revision.clone());
        Ok(Past::read(self.shared.parts.store.as_ref())?.choose(serving.as_deref(), to)?)
    }

    /// Goes back to a revision that was applied before (none named: the one before the one that serves), and stays there. When
    /// this returns it serves, or the status says why not yet. Guards and disks have the same rules as for a push; `words`: what
    /// it may beyond the guards.
    ///
    /// # Errors
    /// There is no such revision, it would be refused, or it could not be written down: then nothing has changed.
    pub async fn roll_back(
        &self,
        to: Option<&str>,
        by: &str,
        reason: &str,
        words: &Allowance,
    ) -> Result<Pin, HoldError> {
        let serving = self.shared.status.borrow().applied.as_ref().map(|applied| applied.revision.clone());
        let past = Past::read(self.shared.parts.store.as_ref())?;
        let id = past.choose(serving.as_deref(), to)?;
        let refused = |findings| HoldError::Refused { revision: id.clone(), findings };
        if self.shared.parts.verifier.is_some() && !past.signed.contains(&id) {
            let finding = "it was applied before signatures were asked for, and nobody is known to have signed it";
            return Err(refused(vec![finding.to_owned()]));
        }
        let built = self.shared.build(&id).await.map_err(|failure| match failure {
            Failure::Refused(findings) => refused(findings),
            Failure::Postponed(error) => HoldError::Git(error),
        })?;
        let revision = self.shared.parts.follower.revision(&id).await?;
        let mut standing = self.shared.standing.lock().await;
        self.shared.catch_up(&mut standing)?;
        let pin = Pin { revision: revision.id.clone(), summary: revision.summary.clone(), word: word(by, reason) };
        loop {
            if let Some(pin) = standing.hold.pinned.as_ref().filter(|pin| pin.revision == id) {
                return Err(HoldError::Pinned { revision: id, by: pin.word.by.clone() });
            }
            let store = self.shared.parts.store.as_ref();
            // What it was allowed when it came to serve counted for that.
            self.shared.guard(&standing, &built, &revision, words, true).await.map_err(&refused)?;
            if words.is_some() && serving.as_ref() != Some(&id) {
                widen(store, &revision, words, reason).await?;
                self.shared.catch_up(&mut standing)?;
            }
            let event = Event::RevisionPinned {
                by: by.to_owned(),
                revision: pin.revision.clone(),
                summary: pin.summary.clone(),
                reason: reason.to_owned(),
            };
            if written(self.shared.write(&mut standing, event).await)? {
                break;
            }
        }
        // What was found of it while the source showed it says nothing of going back to it by this word.
        let stale = |status: &Status| {
            let last = status.attempted.as_ref();
            last.is_some_and(|last| last.revision == pin.revision && last.outcome != Outcome::Applied)
        };
        self.shared.update(|status| {
            if stale(status) {
                status.attempted = None;
            }
        });
        drop(standing);
        self.shared.woken.notify_one();
        let mut status = self.status();
        let put = |status: &std::sync::Arc<Status>| {
            let serves = status.applied.as_ref().is_some_and(|applied| applied.revision == pin.revision);
            let failed = status.attempted.as_ref().is_some_and(|last| {
                last.revision == pin.revision && !matches!(last.outcome, Outcome::Applied | Outcome::Waiting)
            });
            (serves && status.loading.is_none()) || failed
        };
        let _ = tokio::time::timeout(PUT_IN_PLACE, status.wait_for(put)).await;
        Ok(pin)
    }

    /// The last lines of history, the newest last.
    ///
    /// # Errors
    /// What the store says.
    pub fn history(&self, limit: usize) -> Result<Vec<super::HistoryRow>, ReconcileError> {
        Ok(super::history::history(self.shared.parts.store.as_ref(), limit)?)
    }
}

/// Whether it was; not, where something else was in between.
fn written(outcome: Result<(), StoreError>) -> Result<bool, StoreError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

fn word(by: &str, reason: &str) -> Word {
    Word { by: by.to_owned(), reason: reason.to_owned(), since_unix_ms: super::reconciler::now_unix_ms() }
}
