//! What another server on the same store applied is what this one serves, too.

use super::decide;
use super::reconciler::{ReconcileError, now_unix_ms};
use super::status::{Attempt, Outcome};
use super::task::{Task, log};
use crate::git::Sight;
use std::sync::Arc;

impl<C: Send + Sync + 'static> Task<C> {
    /// Serves what another server on the same store applied: it was judged there, and what serves is one for all.
    pub(super) async fn adopt(&mut self) {
        let shared = Arc::clone(&self.shared);
        if !shared.parts.others {
            return;
        }
        let wanted = {
            let mut standing = shared.standing.lock().await;
            if let Err(error) = shared.catch_up(&mut standing) {
                tracing::warn!(%error, "what other servers applied is not known now");
            }
            standing.applied.clone()
        };
        let serves = shared.status.borrow().applied.as_ref().map(|applied| applied.revision.clone());
        let Some(id) = wanted.filter(|wanted| serves.as_ref() != Some(wanted)) else { return };
        if let Err(error) = self.try_adopt(&id).await {
            tracing::info!(revision = id, %error, "another server applied a revision that cannot be served here yet");
            self.not_adopted = self.not_adopted.saturating_add(1);
            self.adopt_at = Some(tokio::time::Instant::now() + decide::backoff(self.not_adopted));
        } else {
            (self.not_adopted, self.adopt_at) = (0, None);
        }
    }

    async fn try_adopt(&mut self, id: &str) -> Result<(), ReconcileError> {
        let shared = Arc::clone(&self.shared);
        let follower = &shared.parts.follower;
        let built = shared.build_or_bring(id).await.map_err(|failure| {
            // It may be newer than the last look.
            follower.look();
            failure.into_error(id)
        })?;
        let revision = follower.revision(id).await?;
        let mut standing = shared.standing.lock().await;
        shared.catch_up(&mut standing)?;
        if standing.applied.as_deref() != Some(id) {
            shared.woken.notify_one();
            return Ok(());
        }
        let signed_by = decide::signers_of(standing.last_event.as_ref(), id);
        follower.set_applied(id).await?;
        if shared.parts.verifier.is_some() && standing.trusted.as_deref() == Some(id) {
            follower.set_trusted(id).await?;
        }
        if let Sight::Head(seen) = &*follower.sight().borrow() {
            self.stale = (seen.id != id && standing.hold.pinned.is_none()).then(|| seen.id.clone());
        }
        let previous = shared.catalog.load_full();
        self.swap(&mut standing, &revision, &built, signed_by).await;
        drop(standing);
        let (at_unix_ms, summary) = (now_unix_ms(), revision.summary.clone());
        let count = built.warnings.len();
        let attempt = Attempt {
            revision: revision.id.clone(),
            summary,
            at_unix_ms,
            count,
            findings: built.warnings,
            outcome: Outcome::Applied,
        };
        log(&revision, &attempt.outcome, &[]);
        let parts = follower.parts(&revision);
        shared.update(|status| status.tried(attempt, parts));
        self.tell(revision, previous).await;
        self.keep(Some(id)).await;
        // What the source shows may be older; what it shows after this look is not.
        if self.stale.is_some() {
            shared.ask();
        }
        Ok(())
    }
}
