//! Following something else from now on, while what serves goes on: what a file on this disk or a cluster says is followed may
//! change under a server that runs.

use super::follower::{Follower, Remotes};
use super::owner::Request;
use super::remote::{Asked, Before, Ears, Policies, Remote, Sources, start};
use super::{GitError, Sight, Source};
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Remotes {
    /// Tells the threads of what is followed now to end, and waits for none of them.
    pub(super) fn end(&mut self) {
        if let Some(remote) = self.now.take() {
            self.before.extend(remote.end());
        }
        self.before.retain(|before| !before.thread.is_finished());
    }
}

impl Follower {
    /// Follows these from now on, in place of what was followed. Nothing that the others show is seen after this; what serves
    /// goes on until a revision of these is applied.
    ///
    /// # Errors
    /// The thread does not take it, or others cannot be had: then nothing is followed, and it may be said again.
    pub fn follow(&self, sources: Sources, fetch_packs: bool) -> Result<(), GitError> {
        let mut remotes = self.remotes();
        remotes.end();
        self.send(Request::Follow(sources.clone()))?;
        self.fetches_packs.store(fetch_packs, Ordering::Release);
        let source = Source::Sources(sources.clone());
        self.history.follow(&source);
        self.source.store(Arc::new(source));
        let before = std::mem::take(&mut remotes.before);
        remotes.now = Some(self.started(&sources, before)?);
        drop(remotes);
        self.told.send_modify(|count| *count = count.wrapping_add(1));
        Ok(())
    }

    /// The same, where others may sign for them; packs are fetched or not as before.
    ///
    /// # Errors
    /// As [`Follower::follow`].
    pub fn follow_signed(&self, sources: Sources, policies: Policies) -> Result<(), GitError> {
        self.policies.store(Arc::new(policies));
        self.follow(sources, self.fetches_packs.load(Ordering::Acquire))
    }

    pub(super) fn started(&self, sources: &Sources, before: Vec<Before>) -> Result<Remote, GitError> {
        let asked =
            Asked { owner: self.requests.clone(), requested: Arc::clone(&self.requested), told: self.told.clone() };
        let ears = Ears { policies: Policies::clone(&self.policies.load()), ..self.ears.clone() };
        start(sources, &self.rooms, ears, asked, before)
    }

    /// Follows nothing from now on, for this reason. What serves goes on.
    ///
    /// # Errors
    /// The thread does not take it: it may be said again.
    pub fn follow_nothing(&self, why: GitError) -> Result<(), GitError> {
        let mut remotes = self.remotes();
        remotes.end();
        let requested = self.requested.load(Ordering::Acquire);
        self.send(Request::Present(Sight::Unavailable(why), requested, Arc::default()))
    }
}
