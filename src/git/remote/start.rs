//! Starts the threads of several sources, sends them hints, and ends them when others are followed.

use super::board::Board;
use super::conductor::{Conductor, Ears};
use super::fetch::Room;
use super::poller::{Hint, Poller};
use super::settings::Sources;
use crate::git::GitError;
use crate::git::owner::Request;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::{oneshot, watch};

/// Hints that may wait for one source: more say nothing more.
const HINTS: usize = 4;

/// Whom the threads tell, and what they are asked.
#[derive(Clone)]
pub(in crate::git) struct Asked {
    /// To the thread that owns the mirror.
    pub owner: SyncSender<Request>,
    /// The last request for a look: one that begins after it is there answers it.
    pub requested: Arc<AtomicU64>,
    /// Told whenever a source stands otherwise.
    pub told: watch::Sender<u64>,
}

/// A thread of what was followed before, which may still be at work.
#[derive(Debug)]
pub(in crate::git) struct Before {
    /// Whose room it works in; none: it puts sources together.
    source: Option<String>,
    pub thread: JoinHandle<()>,
}

impl Before {
    fn wait(self) {
        drop(self.thread.join());
    }
}

/// The threads that look at sources, and how to reach them.
#[derive(Debug)]
pub(in crate::git) struct Remote {
    /// To each poller. When they are dropped, pollers end.
    hints: Vec<(String, SyncSender<Hint>)>,
    /// How the sources stand.
    pub board: Arc<Board>,
    stop: Arc<AtomicBool>,
    threads: Vec<Before>,
}

impl Remote {
    /// Tells its threads to end, and waits for none of them: a fetch may take its time. What they present from now on is not
    /// shown.
    pub(in crate::git) fn end(self) -> Vec<Before> {
        self.stop.store(true, Ordering::Release);
        self.threads
    }

    /// To all of them: look now.
    pub(in crate::git) fn look(&self) {
        for (_, sender) in &self.hints {
            let _ = sender.try_send(Hint::Look);
        }
    }

    /// To one: a person goes along with this commit of a rewritten branch. False: there is no such source, or too much waits for it.
    pub(in crate::git) fn accept(&self, source: &str, commit: String) -> bool {
        let found = self.hints.iter().find(|(name, _)| name == source);
        found.is_some_and(|(_, sender)| sender.try_send(Hint::Accept(commit)).is_ok())
    }

    /// To one: all of its history is wanted. What ends once that was tried; none: there is no such source, or too much waits for it.
    pub(in crate::git) fn history(&self, source: &str) -> Option<oneshot::Receiver<()>> {
        let (_, sender) = self.hints.iter().find(|(name, _)| name == source)?;
        let (tried, waits) = oneshot::channel();
        sender.try_send(Hint::History(tried)).ok().map(|()| waits)
    }

    /// To one, or the only one: this commit is wanted, followed or not. What ends once that was tried; none: there is no such source, or
    /// too much waits for it.
    pub(in crate::git) fn bring(&self, source: Option<&str>, commit: &str) -> Option<oneshot::Receiver<()>> {
        let (_, sender) = match (source, self.hints.as_slice()) {
            (None, [only]) => only,
            (None, _) => return None,
            (Some(source), hints) => hints.iter().find(|(name, _)| name == source)?,
        };
        let (tried, waits) = oneshot::channel();
        sender.try_send(Hint::Commit(commit.to_owned(), tried)).ok().map(|()| waits)
    }

    /// To one: a webhook came. False: there is no such source.
    pub(in crate::git) fn webhook(&self, source: &str) -> bool {
        let found = self.hints.iter().find(|(name, _)| name == source);
        if let Some((_, sender)) = found {
            let _ = sender.try_send(Hint::Webhook);
        }
        found.is_some()
    }
}

/// Starts a poller a source and the conductor. `state`: the folder that what is fetched lies in; `before`: threads of what was
/// followed before, which may still be at work in that folder: nobody looks before those have ended that have the same room, and
/// who puts sources together. A fetch of one source that takes its time holds back no other.
///
/// # Errors
/// The folder or a thread cannot be had.
pub(in crate::git) fn start(
    sources: &Sources,
    state: &Path,
    ears: Ears,
    asked: Asked,
    before: Vec<Before>,
) -> Result<Remote, GitError> {
    let fails = |error: std::io::Error| GitError::Mirror { path: state.to_owned(), message: error.to_string() };
    std::fs::create_dir_all(state).map_err(fails)?;
    let board = Arc::new(Board::new(sources, asked.told));
    let rooms: Vec<Room> = sources.0.iter().map(|settings| Room::new(state, settings)).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let (conductors, mut pollers): (Vec<_>, Vec<_>) = before.into_iter().partition(|before| before.source.is_none());
    let conductors = Arc::new(Mutex::new(conductors));
    let (mut hints, mut threads) = (Vec::new(), Vec::new());
    for (index, (settings, room)) in sources.0.iter().zip(&rooms).enumerate() {
        let (sender, receiver) = sync_channel(HINTS);
        hints.push((settings.name.clone(), sender));
        let poller = Poller {
            index,
            settings: settings.clone(),
            room: room.clone(),
            board: Arc::clone(&board),
            hints: receiver,
            requested: Arc::clone(&asked.requested),
            news: Arc::clone(&ears.news),
            checked: ears.checked(&settings.name, &asked.owner),
        };
        let thread = std::thread::Builder::new().name("formwork-look".to_owned());
        let source = Some(settings.name.clone());
        let (own, others): (Vec<_>, Vec<_>) = pollers.into_iter().partition(|before| before.source == source);
        pollers = others;
        let conductors = Arc::clone(&conductors);
        let run = move || {
            // Whoever comes second waits for the lock, and so for the same threads.
            let mut conductors = conductors.lock().unwrap_or_else(PoisonError::into_inner);
            conductors.drain(..).for_each(Before::wait);
            drop(conductors);
            own.into_iter().for_each(Before::wait);
            poller.run();
        };
        threads.push(Before { source, thread: thread.spawn(run).map_err(fails)? });
    }
    let conductor = Conductor::new(sources.clone(), rooms, Arc::clone(&board), ears, asked.owner, Arc::clone(&stop));
    let thread = std::thread::Builder::new().name("formwork-sources".to_owned());
    threads.push(Before { source: None, thread: thread.spawn(move || conductor.run()).map_err(fails)? });
    // Whose source is followed no longer, and may be once more before it has ended.
    threads.extend(pollers);
    Ok(Remote { hints, board, stop, threads })
}
