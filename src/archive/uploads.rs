//! The task that uploads: what the queue says, what is found on the disk, and what may leave the state directory then.

use super::name::{Name, plan};
use super::objects::ObjectsError;
use super::queue::Next;
use super::{Archive, ReadError, seal};
use crate::store::logs::{Kept, LogError};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

/// Uploads at once: each log is in memory, whole.
const AT_ONCE: usize = 4;
/// How often the folder of logs is looked through.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The server that a job's end was told to uploads its log; another that has some of it looks after so long whether that was done.
const OTHERS_MS: u64 = 30_000;
/// A log that was written to since is not dropped here: its agent may have more to say.
const QUIET_MS: i64 = 10 * 60 * 1000;

/// Why a log was not uploaded.
#[derive(Debug)]
enum Fault {
    /// The object store.
    Objects(ObjectsError),
    /// The log itself.
    Log(String),
}

impl From<ObjectsError> for Fault {
    fn from(error: ObjectsError) -> Self {
        Self::Objects(error)
    }
}

impl From<LogError> for Fault {
    fn from(error: LogError) -> Self {
        Self::Log(error.to_string())
    }
}

impl Archive {
    /// Uploads for as long as it is polled. `open` gives the jobs that have not ended.
    pub async fn run(self: Arc<Self>, open: impl Fn() -> HashSet<String>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut running: JoinSet<(String, Result<u64, Fault>)> = JoinSet::new();
        let mut first = true;
        loop {
            let at = self.start(&mut running);
            let due = async {
                match at {
                    Some(ms) => tokio::time::sleep_until(self.began + Duration::from_millis(ms)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(done) = running.join_next() => {
                    // What could end it is on other threads.
                    if let Ok((job, result)) = done {
                        self.done(&job, result);
                    }
                }
                () = self.woken.notified() => {}
                () = due => {}
                _ = look.tick() => {
                    self.look_through(&open(), std::mem::take(&mut first)).await;
                }
            }
        }
    }

    /// Starts what is due. Gives when more is.
    fn start(self: &Arc<Self>, running: &mut JoinSet<(String, Result<u64, Fault>)>) -> Option<u64> {
        while running.len() < AT_ONCE {
            let next = self.state().queue.next(self.now_ms());
            match next {
                Next::Upload(job) => {
                    let this = Arc::clone(self);
                    running.spawn(async move {
                        let result = this.upload(&job).await;
                        (job, result)
                    });
                }
                Next::At(ms) => return Some(ms),
                Next::Nothing => return None,
            }
        }
        None
    }

    /// Uploads one log, where nothing as long is there. Gives the bytes that were sent.
    async fn upload(&self, job: &str) -> Result<u64, Fault> {
        let (logs, name) = (Arc::clone(&self.logs), job.to_owned());
        let read = tokio::task::spawn_blocking(move || logs.whole(&name));
        let log = read.await.map_err(|error| Fault::Log(error.to_string()))??;
        if log.is_empty() {
            return Ok(0);
        }
        let own = Name::of(job, &log);
        let todo = plan(&own, &self.objects_of(job).await?);
        let mut sent = 0;
        if todo.put {
            let sealed = tokio::task::spawn_blocking(move || seal::seal(&log)).await;
            let sealed = sealed.map_err(|error| Fault::Log(error.to_string()))?;
            sent = sealed.len() as u64;
            self.objects.put(&own.path(&self.site), sealed).await?;
        }
        for shorter in &todo.remove {
            self.remove_object(shorter).await?;
        }
        self.logs.note_uploaded(job, Some(todo.length))?;
        Ok(sent)
    }

    fn done(&self, job: &str, result: Result<u64, Fault>) {
        let mut state = self.state();
        match result {
            Ok(sent) => {
                state.queue.succeeded(job);
                self.metrics.uploaded(sent);
                if let Some((since, _)) = state.failing.take() {
                    let (place, seconds) = (&self.place, since.elapsed().as_secs());
                    tracing::info!(place, seconds, "logs are uploaded again");
                }
            }
            Err(Fault::Objects(error)) => {
                state.queue.failed(job, self.now_ms());
                self.metrics.upload_failed();
                if state.failing.is_none() {
                    let place = &self.place;
                    tracing::warn!(place, job, "logs cannot be uploaded; they wait in the state directory: {error}");
                }
                let since = state.failing.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                state.failing = Some((since, error.to_string()));
            }
            Err(Fault::Log(error)) => {
                state.queue.let_go(job);
                self.metrics.upload_failed();
                tracing::warn!(job, "a log cannot be uploaded: {error}");
            }
        }
    }

    /// Puts into the queue what nobody uploaded, and drops here what may go. At the start of a server nobody else is waited for.
    async fn look_through(&self, open: &HashSet<String>, first: bool) {
        let logs = Arc::clone(&self.logs);
        let Ok(Ok(kept)) = tokio::task::spawn_blocking(move || logs.kept()).await else {
            tracing::warn!("the folder of job logs cannot be looked through; what waits for its upload waits on");
            return;
        };
        let ended: Vec<Kept> = kept.into_iter().filter(|it| !open.contains(&it.job)).collect();
        let due = self.now_ms() + if first { 0 } else { OTHERS_MS };
        self.put_in(&ended, due);
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let quiet_since = i64::try_from(unix.as_millis()).unwrap_or(i64::MAX).saturating_sub(QUIET_MS);
        for kept in to_drop(ended, self.kept_here, quiet_since) {
            if !self.drop_here(&kept).await {
                return;
            }
        }
    }

    /// Puts those into the queue that are not uploaded; what has no room is found again.
    fn put_in(&self, ended: &[Kept], due: u64) {
        let mut state = self.state();
        for kept in ended.iter().filter(|it| it.bytes > 0 && !it.is_uploaded()) {
            if !state.queue.push(&kept.job, due) {
                return;
            }
        }
    }

    /// Drops a log here that the object store has, after it was read there. Whether to go on.
    pub(super) async fn drop_here(&self, kept: &Kept) -> bool {
        let there = match self.objects_of(&kept.job).await {
            Ok(there) => there.into_iter().max_by_key(|name| name.length),
            Err(_) => return false,
        };
        let whole = match there.filter(|name| name.length >= kept.bytes) {
            Some(name) => self.checked(&name).await,
            None => Ok(None),
        };
        let done = match whole {
            // Something came meanwhile.
            Ok(Some(log)) if self.logs.readable(&kept.job).is_ok_and(|bytes| bytes > log.len() as u64) => return true,
            Ok(Some(_)) => self.logs.remove(&kept.job),
            Err(ReadError::Objects(_) | ReadError::Late) => return false,
            // It is not there as it should be: it goes there again, and stays until then.
            Ok(None) | Err(ReadError::Damaged { .. }) => {
                tracing::warn!(
                    job = kept.job,
                    place = self.place,
                    "a log that was uploaded is not there any more; again"
                );
                self.put_again(&kept.job).await;
                self.logs.note_uploaded(&kept.job, None)
            }
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a log that was uploaded stays here");
        }
        true
    }

    /// What is damaged goes, so that the next upload does not take it for the log.
    async fn put_again(&self, job: &str) {
        if let Err(error) = self.remove(job).await {
            tracing::warn!(job, %error, "what is damaged of a log cannot be removed");
        }
    }
}

/// What goes so that of logs that are uploaded not more than so many bytes are here: the oldest first.
fn to_drop(mut ended: Vec<Kept>, most: u64, quiet_since: i64) -> Vec<Kept> {
    ended.retain(Kept::is_uploaded);
    ended.sort_by(|one, other| (other.changed_unix_ms, &other.job).cmp(&(one.changed_unix_ms, &one.job)));
    let mut bytes = 0_u64;
    ended.retain(|it| {
        bytes = bytes.saturating_add(it.bytes);
        bytes > most && it.changed_unix_ms < quiet_since
    });
    ended.reverse();
    ended
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_is_old_uploaded_and_beyond_the_bound() {
        let kept =
            |job: &str, bytes, uploaded, changed_unix_ms| Kept { job: job.into(), bytes, uploaded, changed_unix_ms };
        let all = || {
            vec![
                kept("new", 10, Some(10), 50),
                kept("young", 10, Some(10), 40),
                kept("middle", 10, Some(10), 30),
                kept("waits", 1_000, None, 25),
                kept("grew", 11, Some(10), 24),
                kept("old", 10, Some(12), 20),
                kept("oldest", 10, Some(10), 10),
            ]
        };
        for (most, quiet_since, gone) in [
            (1_000, 60, &[][..]),
            (50, 60, &[]),
            (49, 60, &["oldest"]),
            (25, 60, &["oldest", "old", "middle"]),
            (0, 60, &["oldest", "old", "middle", "young", "new"]),
            (0, 30, &["oldest", "old"]),
        ] {
            let dropped: Vec<String> = to_drop(all(), most, quiet_since).into_iter().map(|it| it.job).collect();
            assert_eq!(dropped, gone, "{most} {quiet_since}");
        }
    }
}
