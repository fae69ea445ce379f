//! Follows one `ContentSource` of the namespace, and says in its status what came of it.
//!
//! What the API server said last goes on while it is away: the repository is followed, machines are served, and the status is
//! written when it is back.

use super::files::Folder;
use super::link::{ANSWER_TIMEOUT, Failure, Link, said, watch, write_status};
use super::objects::{Objects, Seen};
use super::report::{News, news, status_of};
use super::resources::{ContentSourceSpec, ContentSourceStatus};
use super::secret::SecretWatch;
use super::source::{Followed, Keys, choose, source_of};
use super::{GROUP, VERSION, now};
use crate::fleet::Fleet;
use crate::git::GitError;
use crate::git::remote::Sources;
use crate::reconcile::Status;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::DynamicObject;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Writes of a status are so far apart: what changes in between is one write.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// The longest pause after a write that failed.
const WRITE_AGAIN_MOST: Duration = Duration::from_secs(30);
/// So long an API server is waited for after a start, before what was followed last is followed again.
const PATIENCE: Duration = Duration::from_secs(10);

/// A source as it was seen.
struct Source {
    uid: Option<String>,
    version: Option<String>,
    generation: Option<i64>,
    spec: Result<ContentSourceSpec, String>,
    status: ContentSourceStatus,
}

impl Seen for Source {
    fn read(object: DynamicObject) -> Self {
        let mut data = object.data;
        let spec =
            serde_json::from_value(data["spec"].take()).map_err(|error| format!("its spec is not understood: {error}"));
        Self {
            uid: object.metadata.uid,
            version: object.metadata.resource_version,
            generation: object.metadata.generation,
            spec,
            status: serde_json::from_value(data["status"].take()).unwrap_or_default(),
        }
    }

    fn version(&self) -> Option<&str> {
        self.version.as_deref()
    }
}

/// What is to be followed, or why nothing is.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Follow(Box<Followed>),
    Nothing(String),
}

/// The controller of `ContentSource`.
pub(super) struct Follow {
    link: Link,
    folder: Folder,
    fleet: Arc<Fleet>,
    recorder: Recorder,
    sources: Objects<Source>,
    secret: Option<SecretWatch>,
    started: Instant,
    /// What is in force, of which generation, and the reconciler's number for it.
    in_force: Option<Wanted>,
    generation: Option<i64>,
    token: u64,
    /// When the next write may be, and the pause after the last that failed.
    write_at: Instant,
    pause: Duration,
    /// The API server did not answer last.
    away: bool,
    /// Something was said since it was decided.
    undecided: bool,
}

impl Follow {
    pub fn new(link: Link, folder: Folder, fleet: Arc<Fleet>) -> Self {
        let reporter = Reporter { controller: format!("{GROUP}/formwork"), instance: None };
        Self {
            recorder: Recorder::new(link.client.clone(), reporter),
            link,
            folder,
            fleet,
            sources: Objects::default(),
            secret: None,
            started: Instant::now(),
            in_force: None,
            generation: None,
            token: 0,
            write_at: Instant::now(),
            pause: Duration::ZERO,
            away: false,
            undecided: true,
        }
    }

    /// Never ends.
    pub async fn run(mut self) {
        let mut watched = std::pin::pin!(watch(self.link.sources(), watcher::Config::default()));
        let mut status = self.fleet.reconciler.status();
        let mut ticks = tokio::time::interval(WRITE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = watched.next() => match event {
                    Ok(event) => {
                        // A watch begins with this whether anybody answers or not.
                        if !matches!(event, watcher::Event::Init) {
                            self.answered();
                        }
                        self.sources.take(event);
                        self.undecided = true;
                    }
                    Err(error) => self.silent(&said(&error)),
                },
                () = changed(&mut self.secret) => self.undecided = true,
                Ok(()) = status.changed() => {}
                _ = ticks.tick() => self.undecided |= self.in_force.is_none(),
            }
            if self.undecided {
                self.decide();
            }
            let now = Arc::clone(&status.borrow_and_update());
            self.report(&now).await;
        }
    }

    /// Puts in force what is said now.
    fn decide(&mut self) {
        let Some((wanted, generation)) = self.wanted() else { return };
        if self.in_force.as_ref() == Some(&wanted) {
            (self.generation, self.undecided) = (generation, false);
            return;
        }
        let follower = self.fleet.reconciler.follower();
        let taken = match &wanted {
            Wanted::Follow(followed) => {
                let sources = Sources(vec![followed.settings.clone()]);
                tracing::info!(source = %sources, "a ContentSource says what is followed");
                follower.follow(sources, followed.fetch_packs)
            }
            Wanted::Nothing(why) => {
                tracing::warn!(why, "nothing is followed; what serves goes on");
                follower.follow_nothing(GitError::NotFollowed { why: why.clone() })
            }
        };
        match taken {
            Ok(()) => {
                self.token = self.fleet.reconciler.ask();
                (self.in_force, self.generation, self.undecided) = (Some(wanted), generation, false);
            }
            // The next tick tries again.
            Err(error) => {
                tracing::warn!(%error, "another source cannot be followed yet");
                self.in_force = None;
            }
        }
    }

    /// What is said now, of which generation. `None`: that is not known (yet).
    fn wanted(&mut self) -> Option<(Wanted, Option<i64>)> {
        if !self.sources.listed() {
            // Nobody can be asked: what was followed last is followed again, or else goes on.
            let waited = self.in_force.is_none() && self.started.elapsed() >= PATIENCE;
            let spec = waited.then(|| self.folder.remembered()).flatten()?;
            let followed = source_of(&spec, Some(&self.folder.keys()), &self.folder.credentials()).ok()?;
            return Some((Wanted::Follow(Box::new(followed)), None));
        }
        let nothing = |why, generation| Some((Wanted::Nothing(why), generation));
        let (spec, generation) = match choose(self.link.source.as_deref(), self.sources.all(), &self.link.namespace) {
            Ok((_, source)) => (source.spec.clone(), source.generation),
            Err(why) => {
                self.secret = None;
                self.keep(&Keys::new());
                return nothing(why, None);
            }
        };
        let spec = match spec {
            Ok(spec) => spec,
            Err(why) => return nothing(why, generation),
        };
        let named = spec.secret_ref.as_ref().map(|secret| secret.name.as_str());
        if self.secret.as_ref().map(|secret| secret.name.as_str()) != named {
            self.secret = named.map(|name| SecretWatch::start(&self.link, name));
        }
        let known = match &self.secret {
            Some(secret) => secret.known.clone()?,
            None => Ok(None),
        };
        let followed = known.and_then(|keys| {
            let followed = source_of(&spec, keys.as_ref(), &self.folder.credentials())?;
            Ok((followed, keys.unwrap_or_default()))
        });
        match followed {
            Ok((followed, keys)) => {
                self.keep(&keys);
                if self.folder.remembered().as_ref() != Some(&spec)
                    && let Err(error) = self.folder.remember(&spec)
                {
                    tracing::warn!(%error, "what is followed is not remembered for a start without an API server");
                }
                Some((Wanted::Follow(Box::new(followed)), generation))
            }
            Err(why) => nothing(why, generation),
        }
    }

    /// Puts credentials where fetches read them. The next look takes new ones, and is made at once.
    fn keep(&self, keys: &Keys) {
        match self.folder.write_keys(keys) {
            Ok(false) => {}
            Ok(true) => {
                tracing::info!(keys = ?keys.keys().collect::<Vec<_>>(), "credentials changed");
                self.fleet.reconciler.follower().look();
            }
            Err(error) => tracing::error!(%error, "credentials cannot be put into the state directory"),
        }
    }

    /// Says in the source's status what came of it, where that is something else than it says.
    async fn report(&mut self, status: &Status) {
        // What was seen before this was in force says nothing of it.
        if self.in_force.is_none() || status.observed_request < self.token || Instant::now() < self.write_at {
            return;
        }
        let Ok((name, source)) = choose(self.link.source.as_deref(), self.sources.all(), &self.link.namespace) else {
            return;
        };
        let wanted = status_of(status, self.generation, &source.status, &now());
        if wanted == source.status {
            return;
        }
        let happened = news(&source.status, &wanted);
        let reference = ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some("ContentSource".to_owned()),
            name: Some(name.to_owned()),
            namespace: Some(self.link.namespace.clone()),
            uid: source.uid.clone(),
            ..ObjectReference::default()
        };
        let written = write_status(&self.link.sources(), name, "ContentSource", &wanted).await;
        match written {
            Ok(object) => {
                self.answered();
                self.sources.put(object);
                (self.pause, self.write_at) = (Duration::ZERO, Instant::now() + WRITE_EVERY);
                for event in happened {
                    self.tell(event, &reference).await;
                }
            }
            // The watch shows what is there now.
            Err(Failure::Overtaken) => self.write_at = Instant::now() + WRITE_EVERY,
            Err(Failure::Away(error) | Failure::Refused(error)) => {
                self.silent(&error);
                self.pause = (self.pause * 2).clamp(WRITE_EVERY * 2, WRITE_AGAIN_MOST);
                self.write_at = Instant::now() + self.pause;
            }
        }
    }

    async fn tell(&self, news: News, of: &ObjectReference) {
        let event = Event {
            type_: if news.warning { EventType::Warning } else { EventType::Normal },
            reason: news.reason.to_owned(),
            note: Some(news.note),
            action: news.action,
            secondary: None,
        };
        match tokio::time::timeout(ANSWER_TIMEOUT, self.recorder.publish(&event, of)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = said(&error), reason = event.reason, "an event was not taken"),
            Err(_) => tracing::warn!(reason = event.reason, "an event takes too long, and is dropped"),
        }
    }

    fn silent(&mut self, error: &str) {
        if !std::mem::replace(&mut self.away, true) {
            tracing::warn!(
                server = self.link.server,
                error,
                "the Kubernetes API does not take part; what it said last goes on"
            );
        }
    }

    fn answered(&mut self) {
        if std::mem::replace(&mut self.away, false) {
            tracing::info!(server = self.link.server, "the Kubernetes API takes part again");
        }
    }
}

/// Waits for news of a Secret, where one is followed.
async fn changed(secret: &mut Option<SecretWatch>) {
    match secret {
        Some(secret) => secret.changed().await,
        None => std::future::pending().await,
    }
}
