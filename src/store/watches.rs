//! One watch a cluster, made when somebody asks for it.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// From so many watches on, those nobody listens to are dropped before another is made. Beyond it there are only
/// watches with listeners, which those who let machines wait bound.
const KEPT: usize = 1024;

/// The watches.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<String, watch::Sender<u64>>>);

impl Watches {
    /// A receiver that starts at `version()`, which is read under the same lock that [`Watches::rise`] takes, so that no
    /// rise falls between.
    pub(super) fn subscribe(&self, name: &str, version: impl FnOnce() -> u64) -> watch::Receiver<u64> {
        let mut senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = senders.get(name) {
            return sender.subscribe();
        }
        if senders.len() >= KEPT {
            senders.retain(|_, sender| sender.receiver_count() > 0);
        }
        let (sender, receiver) = watch::channel(version());
        senders.insert(name.to_owned(), sender);
        receiver
    }

    /// Tells who waits that the document rose to `version`.
    pub(super) fn rise(&self, name: &str, version: u64) {
        let senders = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = senders.get(name) {
            sender.send_replace(version);
        }
    }
}
