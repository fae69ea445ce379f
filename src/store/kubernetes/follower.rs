//! Follows the log: what other replicas write is folded here a moment later.

use super::objects::{Change, Fault, number_of};
use super::read::{Unread, catch_up, sealed};
use super::shared::{Shared, Taken};
use crate::store::StoreError;
use futures_util::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// The pause after a first failure, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LAST_PAUSE: Duration = Duration::from_secs(5);
/// Segments go in numbers when a snapshot was made: one look at the list is for all of them.
const LOOK_AFTER: Duration = Duration::from_secs(1);

/// Follows until the store failed. Whoever started it ends it.
pub(super) async fn follow(shared: Arc<Shared>, mut version: String) {
    let mut pause = FIRST_PAUSE;
    loop {
        let began = Instant::now();
        let watched = watch(&shared, &version).await;
        if watched.is_ok() && began.elapsed() < FIRST_PAUSE {
            sleep(FIRST_PAUSE).await;
        }
        if let Err(Unread::Fault(Fault::Away(why) | Fault::Refused(why) | Fault::Full(why))) = &watched {
            shared.is_away(why);
            sleep(pause).await;
            pause = (pause * 2).min(LAST_PAUSE);
        }
        if let Err(Unread::Wrong(text)) = watched {
            shared.fail(StoreError::Damaged(text));
        }
        // An end of a watch says nothing of what happened since: the list does.
        match catch_up(&shared).await {
            Ok(at) => {
                version = at;
                pause = FIRST_PAUSE;
                shared.answers();
            }
            Err(_) if shared.refuse_if_failed().is_err() => return,
            Err(error) => shared.refused(&error),
        }
    }
}

/// Watches until there is reason to look at the list.
async fn watch(shared: &Shared, version: &str) -> Result<(), Unread> {
    let mut changes = shared.objects.watch(version).await?;
    let mut look_at: Option<Instant> = None;
    loop {
        let change = match look_at {
            None => changes.next().await,
            Some(at) => match timeout_at(at, changes.next()).await {
                Ok(change) => change,
                Err(_) => return Ok(()),
            },
        };
        match change.transpose()? {
            None => return Ok(()),
            Some(Change::Nothing) => {}
            Some(Change::There(object)) => {
                let Some(number) = number_of(&object.head) else { continue };
                match sealed(&*shared.objects, &object).await {
                    Ok(sealed) => {
                        if shared.take(number, &object.head.uid, &sealed)? == Taken::TooFar {
                            return Ok(());
                        }
                    }
                    Err(Unread::Missing(_)) => return Ok(()),
                    Err(other) => return Err(other),
                }
            }
            Some(Change::Gone(head)) => {
                if number_of(&head).is_some_and(|number| number >= shared.snapshot()) {
                    look_at.get_or_insert_with(|| Instant::now() + LOOK_AFTER);
                }
            }
        }
    }
}
