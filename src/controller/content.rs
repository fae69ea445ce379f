//! Watches the kinds of content in the namespace, and makes each state in which they rest for a moment a commit of the server's own repository.

use super::intent::{POSTPONED, WhyNot};
use super::link::{Link, said, watch};
use super::objects::{Objects, Seen};
use super::snapshot::{Files, KINDS, Resource, files, message, waits_for};
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, SelectAll};
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// So long nothing changes before it is a commit: `kubectl apply -f FOLDER` writes one object after the other.
const QUIET: Duration = Duration::from_secs(1);
/// Where something always changes, it is a commit after this.
const QUIET_MOST: Duration = Duration::from_secs(10);

/// The commit that has the resources as they are; or why there is none.
pub(super) type Known = Result<String, WhyNot>;

impl Seen for Resource {
    fn read(object: DynamicObject) -> Self {
        Self::read(object)
    }

    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// Watches until it is dropped.
pub(super) struct ContentWatch {
    /// What is known; none: nothing yet.
    pub known: Option<Known>,
    news: Receiver<Known>,
    task: JoinHandle<()>,
}

impl ContentWatch {
    /// Begins. `repository`: where commits go. `site`: the name of the site.
    pub fn start(link: &Link, repository: PathBuf, site: &str) -> Self {
        let (sender, news) = channel(1);
        let task = tokio::spawn(follow(link.clone(), repository, site.to_owned(), sender));
        Self { known: None, news, task }
    }

    /// Waits until something else is known.
    pub async fn changed(&mut self) {
        match self.news.recv().await {
            Some(known) => self.known = Some(known),
            None => std::future::pending().await,
        }
    }
}

impl Drop for ContentWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// When what changed becomes a commit: once it is quiet, or too long was nothing.
fn due(first: Instant, last: Instant) -> Instant {
    (last + QUIET).min(first + QUIET_MOST)
}

type Shown = (usize, Result<Event<DynamicObject>, watcher::Error>);

async fn follow(link: Link, repository: PathBuf, site: String, sender: Sender<Known>) {
    let streams = KINDS.iter().enumerate().map(|(index, (kind, plural))| -> BoxStream<'static, Shown> {
        let events = watch(link.objects(kind, plural), watcher::Config::default());
        events.map(move |event| (index, event)).boxed()
    });
    let mut events: SelectAll<BoxStream<'static, Shown>> = futures_util::stream::select_all(streams);
    let mut kinds: Vec<Objects<Resource>> = KINDS.iter().map(|_| Objects::default()).collect();
    // When the first and the last change was that no commit has.
    let mut changed: Option<(Instant, Instant)> = None;
    loop {
        let at = changed.map(|(first, last)| due(first, last));
        let rest = async {
            match at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let known = tokio::select! {
            Some((index, event)) = events.next() => match event {
                Ok(event) => {
                    if let Some(kind) = kinds.get_mut(index) {
                        kind.take(event);
                    }
                    let now = Instant::now();
                    changed = Some((changed.map_or(now, |(first, _)| first), now));
                    continue;
                }
                Err(error) => match refused(index, &error) {
                    Some(why) => Err(why.into()),
                    None => continue,
                },
            },
            () = rest => {
                changed = None;
                // Part of it would be taken for the whole, and machines for gone.
                if !kinds.iter().all(Objects::listed) {
                    continue;
                }
                commit(&kinds, &repository, &site).await
            }
        };
        if sender.send(known).await.is_err() {
            return;
        }
    }
}

/// Why a kind cannot be watched, where somebody has to do something; else it passes.
fn refused(index: usize, error: &watcher::Error) -> Option<String> {
    let plural = KINDS.get(index).map(|(_, plural)| *plural).unwrap_or_default();
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))) = error
    else {
        tracing::debug!(plural, error = said(error), "resources cannot be watched now");
        return None;
    };
    match status.code {
        403 => Some(format!(
            "{plural} may not be read: {}; docs/kubernetes.md has the rules of a source of resources",
            status.message
        )),
        404 => Some(format!("there is no definition of {plural} in the cluster: formwork crds | kubectl apply -f -")),
        _ => None,
    }
}

async fn commit(kinds: &[Objects<Resource>], repository: &std::path::Path, site: &str) -> Known {
    let all = || kinds.iter().enumerate().flat_map(|(index, kind)| kind.all().values().map(move |it| (index, it)));
    if let Some(text) = waits_for(site, all()) {
        return Err(WhyNot { reason: POSTPONED, text });
    }
    let files: Files = files(site, all())?;
    let writers: BTreeMap<String, BTreeSet<String>> = all()
        .filter_map(|(index, it)| Some((format!("{}/{}.yaml", KINDS.get(index)?.1, it.name), it.writers.clone())))
        .collect();
    let path = repository.to_owned();
    let written = tokio::task::spawn_blocking(move || {
        crate::git::own::commit(&path, &files, |before| message(before, &files, &writers))
    });
    match written.await {
        Ok(Ok(id)) => Ok(id),
        Ok(Err(error)) => Err(format!("the resources cannot be committed: {error}").into()),
        Err(_) => Err("the resources cannot be committed: writing them ended early".to_owned().into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_a_commit_once_they_rest_and_never_later_than_a_bound() {
        let start = Instant::now();
        let after = |ms: u64| start + Duration::from_millis(ms);
        for (last, commit) in [(0, 1_000), (500, 1_500), (8_900, 9_900), (9_500, 10_000), (60_000, 10_000)] {
            assert_eq!(due(start, after(last)), after(commit), "{last}");
        }
    }
}
