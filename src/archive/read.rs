//! Reading a log out of the object store: the longest object of the job, its hash checked.

use super::name::{self, Name};
use super::objects::{Listed, ObjectsError};
use super::{Archive, seal};
use futures_util::{StreamExt as _, TryStreamExt as _};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// Whoever reads is answered by then.
const PATIENCE: Duration = Duration::from_secs(20);
/// A job has one object, and for a moment a few.
const OBJECTS_MAX: usize = 64;
/// Logs that are fetched at once: each is in memory, whole.
const AT_ONCE: usize = 4;
/// Logs that were just fetched and are kept for the next piece, and for how long.
const KEPT_MAX: usize = 4;
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Why a log cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The object store.
    #[error("the object store with the log does not give it now: {0}")]
    Objects(#[from] ObjectsError),
    /// It takes too long.
    #[error("the object store with the log did not answer within {} s", PATIENCE.as_secs())]
    Late,
    /// It is not what was put there.
    #[error("the object {path} of the log is damaged: {message}")]
    Damaged {
        /// The object.
        path: String,
        /// What is wrong with it.
        message: String,
    },
}

/// When it came, the job, its log.
type Kept = (Instant, String, Arc<Vec<u8>>);

/// Logs that were just fetched.
pub(super) struct Fetched {
    kept: Mutex<VecDeque<Kept>>,
    turns: Semaphore,
}

impl Default for Fetched {
    fn default() -> Self {
        Self { kept: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Fetched {
    fn get(&self, job: &str) -> Option<Arc<Vec<u8>>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().find(|(at, name, _)| name == job && at.elapsed() < KEPT_FOR).map(|(_, _, log)| Arc::clone(log))
    }

    fn put(&self, job: &str, log: &Arc<Vec<u8>>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|(at, name, _)| name != job && at.elapsed() < KEPT_FOR);
        kept.truncate(KEPT_MAX - 1);
        kept.push_front((Instant::now(), job.to_owned(), Arc::clone(log)));
    }

    fn forget(&self, job: &str) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).retain(|(_, name, _)| name != job);
    }
}

impl Archive {
    /// The whole log of a job that ended; `None` where the object store has none.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn read(&self, job: &str) -> Result<Option<Arc<Vec<u8>>>, ReadError> {
        if let Some(log) = self.fetched.get(job) {
            return Ok(Some(log));
        }
        let fetched = timeout(PATIENCE, async {
            let _turn = self.fetched.turns.acquire().await;
            // Somebody before may have fetched the same.
            match self.fetched.get(job) {
                Some(log) => Ok(Some(log)),
                None => self.fetch(job).await,
            }
        });
        let fetched = fetched.await.unwrap_or(Err(ReadError::Late));
        self.metrics.read(match &fetched {
            Ok(Some(_)) => "done",
            Ok(None) => "missing",
            Err(ReadError::Damaged { .. }) => "damaged",
            Err(_) => "failed",
        });
        if let Err(error) = &fetched {
            tracing::warn!(job, place = self.place, %error, "a log cannot be read");
        }
        fetched
    }

    async fn fetch(&self, job: &str) -> Result<Option<Arc<Vec<u8>>>, ReadError> {
        let Some(longest) = self.objects_of(job).await?.into_iter().max_by_key(|name| name.length) else {
            return Ok(None);
        };
        let log = self.checked(&longest).await?;
        let log = log.map(Arc::new);
        if let Some(log) = &log {
            self.fetched.put(job, log);
        }
        Ok(log)
    }

    /// What is in an object, when it is what its name says; `None`: it is gone by now.
    pub(super) async fn checked(&self, name: &Name) -> Result<Option<Vec<u8>>, ReadError> {
        let path = name.path(&self.site);
        let Some(object) = self.objects.get(&path, seal::OBJECT_MAX).await? else { return Ok(None) };
        let name = name.clone();
        let opened = tokio::task::spawn_blocking(move || seal::open(&name, &object)).await;
        let opened = opened.unwrap_or_else(|_| Err("it cannot be unpacked".to_owned()));
        opened.map(Some).map_err(|message| ReadError::Damaged { path, message })
    }

    /// The objects of a job.
    pub(super) async fn objects_of(&self, job: &str) -> Result<Vec<Name>, ObjectsError> {
        let listed = self.objects.list(&name::folder(&self.site, job)).take(OBJECTS_MAX);
        let listed: Vec<Listed> = listed.try_collect().await?;
        let names = listed.iter().filter_map(|it| Name::parse(&self.site, &it.path));
        Ok(names.filter(|name| name.job == job).collect())
    }

    /// Removes what there is of a job, as when its run was dropped from the journal. Whether the object store was asked: for a while after
    /// it did not answer it is not, so that an object store that is away holds up the dropping of no other run.
    ///
    /// # Errors
    /// What the object store says; what is left is found by [`Archive::sweep`].
    pub async fn remove(&self, job: &str) -> Result<bool, ObjectsError> {
        self.fetched.forget(job);
        if self.state().removes_again.is_some_and(|again| Instant::now() < again) {
            return Ok(false);
        }
        let removed = self.remove_objects_of(job).await;
        self.state().removes_again = removed.is_err().then(|| Instant::now() + super::REMOVES_AGAIN);
        removed.map(|()| true)
    }

    async fn remove_objects_of(&self, job: &str) -> Result<(), ObjectsError> {
        for name in self.objects_of(job).await? {
            self.remove_object(&name).await?;
        }
        Ok(())
    }

    /// Removes logs of jobs that nothing names any more, where they are older than that: what could not be removed with its job. Gives how
    /// many objects went.
    ///
    /// # Errors
    /// What the object store says; what is left is left for the next time.
    pub async fn sweep(&self, is_named: impl Fn(&str) -> bool, before_unix_ms: i64) -> Result<usize, ObjectsError> {
        let is_old = |it: Listed| Some(it).filter(|it| it.made_unix_ms < before_unix_ms);
        let unnamed = |it: Listed| Name::parse(&self.site, &it.path).filter(|name| !is_named(&name.job));
        let listed = self.objects.list(&name::logs(&self.site));
        let old = listed.try_filter_map(|it| std::future::ready(Ok(is_old(it).and_then(unnamed))));
        let old: Vec<Name> = old.try_collect().await?;
        let mut gone = 0;
        for name in old {
            self.remove_object(&name).await?;
            gone += 1;
        }
        Ok(gone)
    }

    pub(super) async fn remove_object(&self, name: &Name) -> Result<(), ObjectsError> {
        self.objects.remove(&name.path(&self.site)).await?;
        self.metrics.removed();
        Ok(())
    }
}
