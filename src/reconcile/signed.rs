//! Who signed a revision, which is asked before a byte of its content is read.

use super::decide;
use super::people::HoldError;
use super::reconciler::{Reconciler, Shared};
use crate::git::{GitError, Revision};

impl<C: Send + Sync + 'static> Shared<C> {
    /// Who signed a revision, before a byte of its content is read; else the findings. Nobody is asked for where there is no policy.
    pub async fn verify(&self, revision: &str) -> Result<Result<Vec<String>, Vec<String>>, GitError> {
        let Some(verifier) = &self.parts.verifier else { return Ok(Ok(Vec::new())) };
        let remembered = self.standing.lock().await.trusted.clone();
        Ok(match self.parts.follower.verify(verifier, revision, remembered).await? {
            // What was trusted before may be by a key that has expired since: then it is as its event has it.
            Ok(signed) if signed.0.is_empty() => {
                Ok(decide::signers_of(self.standing.lock().await.last_event.as_ref(), revision))
            }
            Ok(signed) => Ok(signed.0.iter().map(ToString::to_string).collect()),
            Err(findings) => Err(findings.iter().map(ToString::to_string).collect()),
        })
    }
}

impl<C: Send + Sync + 'static> Reconciler<C> {
    /// Whether a revision is signed as it must be, which is asked before a byte of its content is read.
    ///
    /// # Errors
    /// It is not, or that cannot be told.
    pub async fn signed(&self, revision: &Revision) -> Result<(), HoldError> {
        match self.shared.verify(&revision.id).await? {
            Ok(_) => Ok(()),
            Err(findings) => Err(HoldError::Refused { revision: revision.id.clone(), findings }),
        }
    }
}
