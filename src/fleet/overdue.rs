//! Looks for machines that should have said something by now, and writes down once that they did not.

use super::machines::Fleet;
use crate::inspect::last_said;
use crate::workflow::silence::{QUIET_MS, silence};

impl Fleet {
    /// Writes down and logs, once a silence, which machines are overdue.
    pub async fn note_overdue(&self) {
        for entry in self.all() {
            let state = entry.state();
            let open = state.run.as_ref().is_some_and(|run| run.is_open());
            let heard = entry.heard(&self.clock);
            let last = heard.last_unix_ms(&state).unwrap_or(heard.now_unix_ms);
            let quiet = i64::try_from(QUIET_MS).unwrap_or(i64::MAX);
            if !open || state.overdue.is_some() || heard.now_unix_ms.saturating_sub(last) < quiet {
                continue;
            }
            let _turn = entry.turn().await;
            let decision = self.look(&entry, last_said(&entry.state())).await;
            let Some(event) = silence(&decision.state, &decision.next.action, &entry.heard(&self.clock))
                .and_then(|silence| silence.to_record(&decision.state))
            else {
                continue;
            };
            if let crate::journal::Event::Overdue { reason } = &event {
                tracing::warn!(machine = entry.name, reason, "overdue");
            }
            if let Err(error) = self.record(&entry, &decision.state, vec![event]).await {
                tracing::warn!(machine = entry.name, %error, "that it is overdue could not be written down");
            }
        }
    }
}
