//! What is fetched beyond what is followed: history, and single commits by their id.

use super::super::transport::Address;
use super::{DEPTHS, Fetcher, Job, Known, Room, SourceSettings, WHOLE, Wanted, failed, has};
use crate::git::GitError;
use crate::git::walk::edge_of;
use git2::{Direction, Repository};
use std::cell::Cell;
use std::sync::Arc;

/// Fetches what is missing of the history of what is known, within the bounds of a fetch.
pub(in crate::git::remote) fn deepen(
    settings: &SourceSettings,
    room: &Room,
    wanted: &Wanted,
    known: &Known,
    bytes: &mut u64,
) -> Result<(), GitError> {
    let repository = crate::git::owner::open(&room.repository)?;
    if !room.ours || edge_of(&repository).is_empty() {
        return Ok(());
    }
    let Some(job) = begun(settings)? else { return Ok(()) };
    let fetcher = Fetcher { settings, room, wanted, job, is_ours: Cell::default() };
    let fetched = fetcher.download(&repository, Some((WHOLE, &known.reference)), |_| false);
    *bytes += fetcher.job.bytes();
    fetched.map(drop)
}

/// Fetches one commit, whatever is followed now: by its id, which most forges answer; else as much history of what is known as it takes
/// to come to it, within bounds. Whether it is here then.
pub(in crate::git::remote) fn bring(
    settings: &SourceSettings,
    room: &Room,
    wanted: &Wanted,
    (known, commit): (&Known, &str),
    bytes: &mut u64,
) -> Result<bool, GitError> {
    let repository = crate::git::owner::open(&room.repository)?;
    if has(&repository, commit) || !room.ours {
        return Ok(has(&repository, commit));
    }
    let Some(job) = begun(settings)? else { return Ok(false) };
    let fetcher = Fetcher { settings, room, wanted, job, is_ours: Cell::default() };
    let brought = fetcher.bring(&repository, known, commit);
    *bytes += fetcher.job.bytes();
    brought
}

fn begun(settings: &SourceSettings) -> Result<Option<Arc<Job>>, GitError> {
    let job = Job::begin(settings).map_err(|error| failed(settings, error.to_string()))?;
    Ok(job.map(Arc::new))
}

impl Fetcher<'_> {
    fn bring(&self, repository: &Repository, known: &Known, commit: &str) -> Result<bool, GitError> {
        match self.by_id(repository, commit) {
            Ok(()) if has(repository, commit) => return Ok(true),
            // It did not say no: it cannot be reached, takes too long, sends too much.
            Err(error) if self.job.failed() => return Err(error),
            _ => {}
        }
        for depth in DEPTHS {
            self.download(repository, Some((depth, &known.reference)), |_| false)?;
            if has(repository, commit) {
                return Ok(true);
            }
            // Where history ends is known when a repository is opened.
            if edge_of(&crate::git::owner::open(repository.path())?).is_empty() {
                break;
            }
        }
        Ok(false)
    }

    fn by_id(&self, repository: &Repository, commit: &str) -> Result<(), GitError> {
        let address = Address::of(&self.job).map_err(|error| failed(self.settings, error))?;
        let mut remote = repository.remote_anonymous(address.as_str()).map_err(|error| self.failed(&error))?;
        remote.connect(Direction::Fetch).map_err(|error| self.failed(&error))?;
        let wanted = [format!("+{commit}:refs/formwork/wanted")];
        let fetched = remote.download(&wanted, Some(&mut self.options(1)));
        let _ = remote.disconnect();
        fetched.map_err(|error| self.failed(&error))
    }
}
