//! Follows one `ContentSource` of the namespace, and says in its status what came of it.
//!
//! What the API server said last goes on while it is away: the repository is followed, machines are served, and the status is
//! written when it is back.

use super::content::ContentWatch;
use super::files::Folder;
use super::hand::{ByHand, Told};
use super::intent::{INVALID_SPEC, Wanted, WhyNot, remembered};
use super::link::{self, ANSWER_TIMEOUT, Failure, Link, said, write_status};
use super::objects::{Objects, Seen};
use super::quarrel::Quarrel;
use super::report::{News, news, not_chosen, status_of};
use super::resources::{ContentSourceSpec, ContentSourceStatus};
use super::secret::SecretWatch;
use super::source::{Keys, choose, settings_of, source_of};
use super::{GROUP, VERSION, now};
use crate::fleet::Fleet;
use crate::git::GitError;
use crate::git::remote::Sources;
use crate::reconcile::Status;
use crate::replicas::Replicas;
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::DynamicObject;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Writes of a status are so far apart: what changes in between is one write.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// The longest pause after a write that failed.
const WRITE_AGAIN_MOST: Duration = Duration::from_secs(30);
/// So many sources are told that there are several and none is named.
const TOLD_MAX: usize = 20;
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

/// What is said now.
struct Said {
    wanted: Wanted,
    /// Of which generation; none: it is what was followed before.
    generation: Option<i64>,
    /// What is followed, and what its Secret holds, where the API server said so.
    kept: Option<(ContentSourceSpec, Keys)>,
}

/// What a source is to say of itself.
struct Word {
    name: String,
    status: ContentSourceStatus,
    /// Why it is not followed, where that is all there is to say.
    why: Option<Why>,
}

/// Why none of several sources is followed, and which generation of one was told so.
type Why = (Option<i64>, String);

/// The controller of `ContentSource`.
pub(super) struct Follow {
    link: Link,
    folder: Folder,
    fleet: Arc<Fleet>,
    replicas: Replicas,
    /// What the mirror is told of it.
    tells: watch::Sender<Told>,
    recorder: Recorder,
    sources: Objects<Source>,
    secret: Option<SecretWatch>,
    /// Resources, where they are content.
    content: Option<ContentWatch>,
    /// Their commit that was followed last.
    committed: Option<String>,
    started: Instant,
    /// What is in force, of which generation, and the reconciler's number for it.
    in_force: Option<Wanted>,
    generation: Option<i64>,
    token: u64,
    /// Sources that were told why none of them is followed: once, since another server may follow one.
    told: BTreeMap<String, Why>,
    /// Somebody else who writes the same status.
    quarrel: Quarrel,
    /// When the next write may be, and the pause after the last that failed.
    write_at: Instant,
    pause: Duration,
    /// What is to be in the state directory is not there.
    unkept: bool,
    /// The API server did not answer last.
    away: bool,
    /// Why it did not take the status of the source, where it did not.
    refused: Option<String>,
    /// Something was said since it was decided.
    undecided: bool,
}

impl Follow {
    pub fn new(link: Link, folder: Folder, fleet: Arc<Fleet>, replicas: Replicas, tells: watch::Sender<Told>) -> Self {
        let reporter = Reporter { controller: format!("{GROUP}/formwork"), instance: None };
        Self {
            recorder: Recorder::new(link.client.clone(), reporter),
            link,
            folder,
            fleet,
            replicas,
            tells,
            sources: Objects::default(),
            secret: None,
            content: None,
            committed: None,
            started: Instant::now(),
            in_force: None,
            generation: None,
            token: 0,
            told: BTreeMap::new(),
            quarrel: Quarrel::default(),
            write_at: Instant::now(),
            pause: Duration::ZERO,
            unkept: false,
            away: false,
            refused: None,
            undecided: true,
        }
    }

    /// Never ends.
    pub async fn run(mut self) {
        let mut watched = std::pin::pin!(link::watch(self.link.sources(), watcher::Config::default()));
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
                () = committed(&mut self.content) => self.undecided = true,
                Ok(()) = status.changed() => {}
                _ = ticks.tick() => self.undecided |= self.in_force.is_none() || self.unkept,
            }
            if self.undecided {
                self.decide();
            }
            let now = Arc::clone(&status.borrow_and_update());
            self.report(&now).await;
        }
    }

    /// Puts in force what is said now. Credentials go first into a folder that only what is followed now reads; those of what
    /// was followed before are removed once that has been told to end.
    fn decide(&mut self) {
        let Some(Said { mut wanted, generation, kept }) = self.said() else { return };
        let commit = self.content.as_ref().and_then(|content| content.known.clone()?.ok());
        let mut rotated = self.committed != commit;
        self.committed = commit;
        let mut unkept = false;
        if let Some((spec, keys)) = &kept {
            match self.folder.write_keys(spec, keys) {
                Ok(changed) => {
                    if changed {
                        tracing::info!(keys = ?keys.keys().collect::<Vec<_>>(), "credentials changed");
                    }
                    rotated |= changed;
                }
                Err(error) => {
                    let why = format!("what its Secret holds cannot be put into the state directory: {error}");
                    (wanted, unkept) = (Wanted::Nothing(why.into()), true);
                }
            }
        }
        let changed = self.in_force.as_ref() != Some(&wanted);
        if changed {
            if let Err(error) = self.put_in_force(&wanted) {
                // The next tick tries again.
                tracing::warn!(%error, "another source cannot be followed yet");
                self.in_force = None;
                return;
            }
            self.token = self.fleet.reconciler.ask();
        } else if rotated {
            // The next look takes new credentials, or a new commit of resources, and is made at once.
            self.fleet.reconciler.follower().look();
        }
        if changed || kept.is_some() || self.unkept {
            let settled = match (&wanted, &kept) {
                (Wanted::Follow(_), Some((spec, _))) => self.folder.remember(spec),
                (Wanted::Nothing(_), _) if self.sources.listed() => self.folder.forget(),
                _ => Ok(()),
            };
            if let Err(error) = &settled
                && !self.unkept
            {
                tracing::warn!(%error, "the state directory does not say what is followed after a restart (yet)");
            }
            self.unkept = unkept || settled.is_err();
        }
        // Where nothing is followed now, what serves is of what was followed before. Resources that are read are content, also while
        // they are no revision.
        let spec = kept.map(|(spec, _)| spec).or_else(|| self.folder.mirrored());
        let of_resources = self.content.is_some() || spec.is_some_and(|spec| spec.resources.is_some());
        let by_hand = match &wanted {
            _ if of_resources => ByHand::Content,
            Wanted::Follow(_) => ByHand::GIT,
            Wanted::Nothing(_) => ByHand::NOTHING,
        };
        let chosen = choose(self.link.source.as_deref(), self.sources.all(), &self.link.namespace).ok();
        let source = chosen.map(|(name, source)| self.reference(name, source.uid.clone()));
        let told = Told { by_hand, source };
        self.tells.send_if_modified(|before| {
            let news = *before != told;
            *before = told;
            news
        });
        (self.in_force, self.generation, self.undecided) = (Some(wanted), generation, false);
    }

    fn put_in_force(&self, wanted: &Wanted) -> Result<(), GitError> {
        let follower = self.fleet.reconciler.follower();
        match wanted {
            Wanted::Follow(followed) => {
                let sources = Sources(vec![followed.settings.clone()]);
                tracing::info!(source = %sources, "a ContentSource says what is followed");
                follower.follow(sources, followed.fetch_packs)
            }
            Wanted::Nothing(why) => {
                tracing::warn!(why = why.text, "nothing is followed; what serves goes on");
                follower.follow_nothing(GitError::NotFollowed { reason: why.reason, why: why.text.clone() })
            }
        }
    }

    /// What is said now. `None`: that is not known (yet).
    fn said(&mut self) -> Option<Said> {
        if !self.sources.listed() {
            // Nobody can be asked: what was followed last is followed again, or else goes on.
            let waited = self.in_force.is_none() && self.started.elapsed() >= PATIENCE;
            return waited.then(|| Said { wanted: remembered(&self.folder), generation: None, kept: None });
        }
        let nothing = |why, generation| Some(Said { wanted: Wanted::Nothing(why), generation, kept: None });
        let (spec, generation) = match choose(self.link.source.as_deref(), self.sources.all(), &self.link.namespace) {
            Ok((_, source)) => (source.spec.clone(), source.generation),
            Err(why) => {
                (self.secret, self.content) = (None, None);
                return nothing(why.into(), None);
            }
        };
        let spec = match spec {
            Ok(spec) => spec,
            Err(text) => return nothing(WhyNot { reason: INVALID_SPEC, text }, generation),
        };
        // Before its Secret is asked for, which may have a name that there cannot be.
        if let Err(text) = settings_of(&spec, &self.folder.content()) {
            return nothing(WhyNot { reason: INVALID_SPEC, text }, generation);
        }
        let named = spec.secret_ref.as_ref().map(|secret| secret.name.as_str());
        if self.secret.as_ref().map(|secret| secret.name.as_str()) != named {
            self.secret = named.map(|name| SecretWatch::start(&self.link, name));
        }
        if spec.resources.is_none() {
            self.content = None;
        } else if !self.replicas.is_alone() {
            let why = "resources are read by one server alone: each of several would make other commits of them; follow a repository";
            return nothing(WhyNot { reason: INVALID_SPEC, text: why.to_owned() }, generation);
        } else {
            let start = || ContentWatch::start(&self.link, self.folder.content(), &self.fleet.site);
            if let Err(why) = self.content.get_or_insert_with(start).known.clone()? {
                return nothing(why, generation);
            }
        }
        let known = match &self.secret {
            Some(secret) => secret.known.clone()?,
            None => Ok(None),
        };
        let followed = known.and_then(|keys| {
            let followed = source_of(&spec, keys.as_ref(), &self.folder.credentials_of(&spec), &self.folder.content())?;
            Ok((followed, keys.unwrap_or_default()))
        });
        match followed {
            Ok((followed, keys)) => {
                Some(Said { wanted: Wanted::Follow(Box::new(followed)), generation, kept: Some((spec, keys)) })
            }
            Err(why) => nothing(why.into(), generation),
        }
    }

    /// What is to be said in the status of a source, where that is something else than it says.
    fn word(&self, status: &Status) -> Option<Word> {
        let now = now();
        match choose(self.link.source.as_deref(), self.sources.all(), &self.link.namespace) {
            Ok((name, source)) => {
                let wanted = status_of(status, self.generation, &source.status, &now);
                let word = || Word { name: name.to_owned(), status: wanted.clone(), why: None };
                (wanted != source.status).then(word)
            }
            // One that was named and is not there says nothing of the others.
            Err(_) if self.link.source.is_some() => None,
            Err(why) => self.sources.all().iter().take(TOLD_MAX).find_map(|(name, source)| {
                let told = (source.generation, why.clone());
                let wanted = not_chosen(&why, source.generation, &source.status, &now);
                let news = wanted != source.status && self.told.get(name) != Some(&told);
                news.then(|| Word { name: name.clone(), status: wanted, why: Some(told) })
            }),
        }
    }

    /// Says in the source's status what came of it, where that is something else than it says.
    async fn report(&mut self, status: &Status) {
        // What was seen before this was in force says nothing of it, and neither does what is in force of what was not decided.
        if self.undecided || self.in_force.is_none() || status.taken_request < self.token {
            return;
        }
        if !self.replicas.leads() || Instant::now() < self.write_at {
            return;
        }
        let Some(Word { name, status: wanted, why }) = self.word(status) else { return };
        let Some(source) = self.sources.all().get(&name) else { return };
        let happened = news(&source.status, &wanted);
        let (uid, before) = (source.uid.clone(), source.status.clone());
        let reference = self.reference(&name, uid.clone());
        let written = write_status(&self.link.sources(), &name, "ContentSource", &wanted).await;
        match written {
            Ok(object) => {
                self.answered();
                self.refused = None;
                self.sources.put(object);
                let mut pause = WRITE_EVERY;
                match why {
                    Some(why) => {
                        self.told.insert(name, why);
                    }
                    None => {
                        self.told.clear();
                        pause = pause.max(self.quarrel.written(uid, &before, wanted, Instant::now()));
                    }
                }
                (self.pause, self.write_at) = (Duration::ZERO, Instant::now() + pause);
                for event in happened {
                    self.tell(event, &reference).await;
                }
            }
            // The watch shows what is there now.
            Err(Failure::Overtaken | Failure::Missing(_)) => self.write_at = Instant::now() + WRITE_EVERY,
            Err(Failure::Away(error)) => {
                self.silent(&error);
                self.write_later();
            }
            // It answers; what it does not take is this status, and all else goes on.
            Err(Failure::Refused(error)) => {
                self.answered();
                if self.refused.as_ref() != Some(&error) {
                    tracing::warn!(
                        source = name,
                        error,
                        "the Kubernetes API does not take the status of the ContentSource, which is tried again; docs/kubernetes.md has \
                         the rules that the server's account needs"
                    );
                    self.refused = Some(error);
                }
                self.write_later();
            }
        }
    }

    /// The next write waits longer than the one before.
    fn write_later(&mut self) {
        self.pause = (self.pause * 2).clamp(WRITE_EVERY * 2, WRITE_AGAIN_MOST);
        self.write_at = Instant::now() + self.pause;
    }

    /// What says which source it is.
    fn reference(&self, name: &str, uid: Option<String>) -> ObjectReference {
        ObjectReference {
            api_version: Some(format!("{GROUP}/{VERSION}")),
            kind: Some("ContentSource".to_owned()),
            name: Some(name.to_owned()),
            namespace: Some(self.link.namespace.clone()),
            uid,
            ..ObjectReference::default()
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

/// Waits for another commit of resources, where they are content.
async fn committed(content: &mut Option<ContentWatch>) {
    match content {
        Some(content) => content.changed().await,
        None => std::future::pending().await,
    }
}
