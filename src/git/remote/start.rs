//! Starts the threads of several sources, and sends them hints.

use super::board::Board;
use super::conductor::{Conductor, Ears};
use super::fetch::Room;
use super::history::Checked;
use super::poller::{Hint, Poller};
use super::settings::Sources;
use crate::git::GitError;
use crate::git::owner::Request;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Hints that may wait for one source: more say nothing more.
const HINTS: usize = 4;

/// Sends hints to pollers. When the last one is dropped, they end.
#[derive(Debug)]
pub(in crate::git) struct Hints(Vec<(String, SyncSender<Hint>)>);

impl Hints {
    /// To all of them: look now.
    pub(in crate::git) fn look(&self) {
        for (_, sender) in &self.0 {
            let _ = sender.try_send(Hint::Look);
        }
    }

    /// To one: a webhook came. False: there is no such source.
    pub(in crate::git) fn webhook(&self, source: &str) -> bool {
        let found = self.0.iter().find(|(name, _)| name == source);
        if let Some((_, sender)) = found {
            let _ = sender.try_send(Hint::Webhook);
        }
        found.is_some()
    }
}

/// Starts a poller a source and the conductor. `state`: the folder that what is fetched lies in.
///
/// # Errors
/// The folder or a thread cannot be had.
pub(in crate::git) fn start(
    sources: &Sources,
    state: &Path,
    ears: Ears,
    owner: SyncSender<Request>,
    stop: Arc<AtomicBool>,
) -> Result<(Hints, Arc<Board>), GitError> {
    let fails = |error: std::io::Error| GitError::Mirror { path: state.to_owned(), message: error.to_string() };
    std::fs::create_dir_all(state).map_err(fails)?;
    let board = Arc::new(Board::new(sources));
    let rooms: Vec<Room> = sources.0.iter().map(|settings| Room::new(state, settings)).collect();
    let mut hints = Vec::new();
    for (index, (settings, room)) in sources.0.iter().zip(&rooms).enumerate() {
        let (sender, receiver) = sync_channel(HINTS);
        hints.push((settings.name.clone(), sender));
        let poller = Poller {
            index,
            settings: settings.clone(),
            room: room.clone(),
            board: Arc::clone(&board),
            hints: receiver,
            news: Arc::clone(&ears.news),
            checked: ears.verifier.clone().map(|verifier| Checked { verifier, owner: owner.clone() }),
        };
        let thread = std::thread::Builder::new().name("formwork-look".to_owned());
        thread.spawn(move || poller.run()).map_err(fails)?;
    }
    let conductor = Conductor::new(sources.clone(), rooms, Arc::clone(&board), ears, owner, stop);
    let thread = std::thread::Builder::new().name("formwork-sources".to_owned());
    thread.spawn(move || conductor.run()).map_err(fails)?;
    Ok((Hints(hints), board))
}
