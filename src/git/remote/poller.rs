//! The thread that looks at one source: by the clock, on a hint, further apart while it fails.

use super::board::Board;
use super::fetch::{Known, Look, Room, Seen, bring, deepen, look};
use super::history::{Checked, Wanted};
use super::schedule::{HINT_GAP, SECOND_LOOK, after_failure, after_success};
use super::settings::{OnRewrite, SourceSettings};
use super::url::Location;
use super::{News, SourceEvent};
use crate::git::GitError;
use ring::rand::{SecureRandom as _, SystemRandom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::oneshot;

/// A hint that something may be new.
#[derive(Debug)]
pub(super) enum Hint {
    /// A person or a program on this machine asks.
    Look,
    /// A webhook: what was pushed may not be visible yet.
    Webhook,
    /// A person goes along with this commit, which a rewritten branch shows.
    Accept(String),
    /// A person asks who wrote something: all of history is wanted. Dropped once it was tried.
    History(oneshot::Sender<()>),
    /// A commit is wanted that is not followed now, or any more. Dropped once it was tried.
    Commit(String, oneshot::Sender<()>),
}

/// The thread's own.
pub(super) struct Poller {
    pub index: usize,
    pub settings: SourceSettings,
    pub room: Room,
    pub board: Arc<Board>,
    pub hints: Receiver<Hint>,
    /// The last request for a look.
    pub requested: Arc<AtomicU64>,
    pub news: Arc<News>,
    /// Whose need of history and tags is met; none: nobody checks signatures.
    pub checked: Option<Checked>,
}

impl Poller {
    /// Until nobody can send hints any more.
    pub(super) fn run(self) {
        let mut known = self.room.read_known(&self.settings);
        let mut held: Option<Known> = None;
        self.board.write(self.index, |entry| {
            entry.status.head = known.as_ref().map(|known| known.commit.clone());
            entry.known.clone_from(&known);
        });
        let (mut failures, mut second) = (0_u32, false);
        let mut histories = Vec::new();
        let mut commits: Vec<(String, oneshot::Sender<()>)> = Vec::new();
        loop {
            let mut bytes = 0;
            let request = self.requested.load(Ordering::Acquire);
            let wanted = self.checked.as_ref().map_or_else(|| Ok(Wanted::default()), Checked::wanted);
            if !matches!(self.settings.location, Location::Local(_)) {
                self.board.write_quietly(self.index, |entry| entry.status.asked_unix_ms = Some(now_unix_ms()));
            }
            let found = wanted.clone().and_then(|wanted| {
                let seen = Seen { known: known.as_ref(), held: held.as_ref() };
                look(&self.settings, &self.room, seen, &wanted, &mut bytes)
            });
            let same = matches!(found, Ok(Look::Same));
            let failure = match found {
                Ok(Look::Same) => None,
                Ok(Look::New { known: next, rewritten, mended }) => {
                    self.tell_mended(mended);
                    self.take(next, rewritten, &mut known, &mut held).err()
                }
                Err(error) => Some(error),
            };
            if let (false, Some(known), Ok(wanted)) = (histories.is_empty(), &known, &wanted) {
                // People wait for it, and nothing else does: where it cannot be had, that is no failure of the source.
                if let Err(error) = deepen(&self.settings, &self.room, wanted, known, &mut bytes) {
                    tracing::info!(source = self.settings.name, %error, "its history cannot be fetched");
                }
            }
            histories.clear();
            if let (Some(known), Ok(wanted)) = (&known, &wanted) {
                for (commit, _) in &commits {
                    self.bring(wanted, (known, commit), &mut bytes);
                }
            }
            commits.clear();
            failures = if failure.is_some() { failures.saturating_add(1) } else { 0 };
            let pause = match (&failure, second && same) {
                (Some(_), _) => after_failure(self.settings.interval, failures, dice()),
                (None, true) => SECOND_LOOK.min(self.settings.interval),
                (None, false) => after_success(self.settings.interval, dice()),
            };
            self.write_down(known.clone(), held.clone(), failure, pause, (bytes, request));
            match self.wait(pause) {
                Wake::Time => second = false,
                Wake::Hints { webhook, accept, history, wanted } => {
                    second = webhook;
                    (histories, commits) = (history, wanted);
                    if let Some(next) = held.take_if(|held| accept.as_ref() == Some(&held.commit)) {
                        self.accept(next, &mut known, &mut held);
                    }
                }
                Wake::End => return,
            }
        }
    }

    /// Fetches a commit that is not followed. Where it cannot be had, that is no failure of the source.
    fn bring(&self, wanted: &Wanted, (known, commit): (&Known, &str), bytes: &mut u64) {
        let source = &self.settings.name;
        match bring(&self.settings, &self.room, wanted, (known, commit), bytes) {
            Ok(true) => tracing::info!(source, commit, "a commit that is not followed any more was fetched"),
            Ok(false) => tracing::warn!(
                source,
                commit,
                "a commit cannot be had: the repository gives none by its id, and it is not in the history of what is followed; \
                 let it allow that (uploadpack.allowAnySHA1InWant)"
            ),
            Err(error) => tracing::warn!(source, commit, %error, "a commit cannot be fetched"),
        }
    }

    fn tell_mended(&self, why: Option<String>) {
        let Some(why) = why else { return };
        let path = self.room.repository.display().to_string();
        tracing::warn!(source = self.settings.name, path, "what was damaged here was fetched again");
        (self.news)(SourceEvent::FetchedAgain { source: self.settings.name.clone(), path, why });
    }

    /// A person goes along with a rewritten branch.
    fn accept(&self, next: Known, known: &mut Option<Known>, held: &mut Option<Known>) {
        match self.room.write_known(&self.settings, &next) {
            Ok(()) => *known = Some(next),
            Err(error) => {
                tracing::error!(source = self.settings.name, %error, "what is followed could not be written down");
                *held = Some(next);
            }
        }
    }

    /// A new commit: followed, or held where its branch was rewritten and that is the policy.
    fn take(
        &self,
        next: Known,
        rewritten: bool,
        known: &mut Option<Known>,
        held: &mut Option<Known>,
    ) -> Result<(), GitError> {
        let follows = !rewritten || self.settings.on_rewrite == OnRewrite::Follow;
        if let Some(before) = known.as_ref().filter(|_| rewritten) {
            (self.news)(SourceEvent::Rewritten {
                source: self.settings.name.clone(),
                reference: next.reference.clone(),
                from: before.commit.clone(),
                to: next.commit.clone(),
                followed: follows,
            });
        }
        if !follows {
            *held = Some(next);
            return Ok(());
        }
        // Written down first: after a restart, what serves is what is compared with.
        self.room
            .write_known(&self.settings, &next)
            .map_err(|error| GitError::Mirror { path: self.room.known.clone(), message: error.to_string() })?;
        *known = Some(next);
        *held = None;
        Ok(())
    }

    fn write_down(
        &self,
        known: Option<Known>,
        held: Option<Known>,
        failure: Option<GitError>,
        pause: Duration,
        (bytes, request): (u64, u64),
    ) {
        let now = now_unix_ms();
        if let Some(error) = &failure {
            tracing::warn!(source = self.settings.name, %error, again_in = ?pause, "the source could not be looked at");
        }
        self.board.write(self.index, |entry| {
            let status = &mut entry.status;
            status.head = held.as_ref().or(known.as_ref()).map(|known| known.commit.clone());
            status.observed_request = request;
            status.asked_unix_ms = None;
            status.fetched_bytes = status.fetched_bytes.saturating_add(bytes);
            status.next_look_unix_ms = Some(now.saturating_add(i64::try_from(pause.as_millis()).unwrap_or(i64::MAX)));
            match &failure {
                Some(error) => {
                    status.last_failure_unix_ms = Some(now);
                    status.failure = Some(error.to_string());
                }
                None => {
                    status.last_success_unix_ms = Some(now);
                    status.failure = None;
                }
            }
            entry.failure = failure.or_else(|| {
                let (known, held) = (known.as_ref()?, held.as_ref()?);
                Some(GitError::Rewritten {
                    name: self.settings.name.clone(),
                    url: self.settings.location.to_string(),
                    reference: held.reference.clone(),
                    from: known.commit.clone(),
                    to: held.commit.clone(),
                })
            });
            // What keeps it from being looked at is said first.
            status.is_held = held.is_some() && status.failure.is_none();
            if held.is_some() {
                status.failure = entry.failure.as_ref().map(ToString::to_string);
            }
            entry.held = held;
            entry.known = known;
        });
    }

    /// Waits for the time of the next look, or for a hint. Hints close together are one.
    fn wait(&self, pause: Duration) -> Wake {
        let since = Instant::now();
        let first = match self.hints.recv_timeout(pause) {
            Ok(hint) => hint,
            Err(RecvTimeoutError::Timeout) => return Wake::Time,
            Err(RecvTimeoutError::Disconnected) => return Wake::End,
        };
        // A repository on this machine may be looked at as often as somebody likes.
        if !matches!(self.settings.location, Location::Local(_)) {
            std::thread::sleep(HINT_GAP.saturating_sub(since.elapsed()));
        }
        let (mut webhook, mut accept, mut history, mut wanted) = (false, None, Vec::new(), Vec::new());
        for hint in std::iter::once(first).chain(self.hints.try_iter()) {
            match hint {
                Hint::Look => {}
                Hint::Webhook => webhook = true,
                Hint::Accept(commit) => accept = Some(commit),
                Hint::History(tried) => history.push(tried),
                Hint::Commit(commit, tried) => wanted.push((commit, tried)),
            }
        }
        Wake::Hints { webhook, accept, history, wanted }
    }
}

/// Why a wait is over.
enum Wake {
    Time,
    Hints {
        webhook: bool,
        accept: Option<String>,
        history: Vec<oneshot::Sender<()>>,
        wanted: Vec<(String, oneshot::Sender<()>)>,
    },
    End,
}

/// A number in `0.0..1.0`.
fn dice() -> f64 {
    let mut bytes = [0; 4];
    // Without chance servers ask in step, and nothing else is wrong.
    let _ = SystemRandom::new().fill(&mut bytes);
    f64::from(u32::from_le_bytes(bytes)) / (f64::from(u32::MAX) + 1.0)
}

fn now_unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
