//! What is asked of a pushed revision besides its content: that it is signed as the server's policy says, and that the packs it
//! locks can be had. The reconciler asks the same of the same afterwards; here the pusher hears of it.

use crate::content::{Finding, Tree};
use crate::git::receive::Update;
use crate::git::{Follower, GitError, Verifier};
use crate::trust::Signed;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How long a push waits for the packs that it locks. What is fetched by then is there when it is pushed again.
const PACKS_WAIT: Duration = Duration::from_secs(60);

/// Who is asked.
pub(super) struct Checks {
    pub follower: Arc<Follower>,
    pub verifier: Option<Arc<Verifier>>,
}

/// A pushed revision, and what moves with it.
pub(super) struct Pushed {
    pub quarantine: Option<PathBuf>,
    pub id: String,
    pub updates: Vec<Update>,
}

impl super::Receiving {
    /// Who signed a pushed revision, or why it is not signed as it must be. Nobody, where there is no policy. `remembered`: what
    /// was trusted last by the journal, for a mirror that was made anew.
    pub(super) async fn signed(
        self: &Arc<Self>,
        pushed: Pushed,
        remembered: Option<String>,
    ) -> Result<Result<Signed, Vec<Finding>>, GitError> {
        let Some(Checks { follower, verifier: Some(verifier) }) = &self.checks else {
            return Ok(Ok(Signed::default()));
        };
        let last = follower.trusted().await?.or(remembered);
        let (receiving, verifier) = (Arc::clone(self), Arc::clone(verifier));
        let verified = tokio::task::spawn_blocking(move || match &receiving.received {
            Some(received) => {
                let Pushed { quarantine, id, updates } = pushed;
                received.verify(quarantine.as_deref(), &verifier, last.as_deref(), &id, &updates)
            }
            None => Err(GitError::Stopped),
        });
        verified.await.map_err(|_| GitError::Stopped)?
    }

    /// The files with the packs that they lock; or why those cannot be had, as a finding.
    pub(super) async fn completed(&self, tree: Tree) -> Result<Tree, String> {
        let Some(checks) = &self.checks else { return Ok(tree) };
        match tokio::time::timeout(PACKS_WAIT, checks.follower.completed(tree)).await {
            Ok(Ok(tree)) => Ok(tree),
            Ok(Err(error)) => Err(finding(&error.to_string())),
            Err(_) => Err(finding(&format!(
                "the packs that it locks are still being fetched after {} s; push again when they are there, or vendor them: \
                 formwork pack vendor",
                PACKS_WAIT.as_secs()
            ))),
        }
    }
}

fn finding(message: &str) -> String {
    format!("packs.lock:1:1: error: {message}")
}
