//! The mirror: machines and cluster profiles of the applied revision as objects of the namespace, so that `kubectl` shows them.
//!
//! Nothing is read from it, and an object that somebody else made says so of itself. What somebody else writes into a spec or a label is put back; annotations are anybody's. What is
//! looked at follows from events and revisions, what is written is what differs, and never more at once than a bound.

mod diff;
mod happened;
mod kind;
mod refused;
mod wanted;

use super::GROUP;
use super::hand::Told;
use super::link::{self, ANSWER_TIMEOUT, Link, said};
use super::resources::{ClusterProfileStatus, MachineStatus};
use crate::api;
use crate::catalog::ClusterProfile;
use crate::content::kinds::{ClusterProfileSpec, MachineSpec};
use crate::fleet::Fleet;
use crate::journal::Stream;
use crate::metrics;
use crate::replicas::Replicas;
use futures_util::StreamExt as _;
use happened::Waiting;
use kind::Kind;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::runtime::watcher;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use wanted::Status;

/// What differs is written this often, all that changed in between at once.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// The longest pause after writes that nobody answered.
const WRITE_AGAIN_MOST: Duration = Duration::from_secs(30);
/// What no event tells (a wait in a cluster, a silence) is looked for so often.
const LOOK_EVERY: Duration = Duration::from_secs(15);
/// How the documents of clusters stand is told so often: each telling is a write to etcd, and machines write all day.
const CLUSTERS_EVERY: Duration = Duration::from_secs(5);
/// Events read at a time.
const PAGE: usize = 128;

/// Which machines are to be looked at.
enum Stale {
    All,
    These(BTreeSet<String>),
}

/// The mirror's task.
pub(super) struct Mirror {
    link: Link,
    fleet: Arc<Fleet>,
    replicas: Replicas,
    told: watch::Receiver<Told>,
    metrics: metrics::Mirror,
    machines: Kind<MachineStatus>,
    profiles: Kind<ClusterProfileStatus>,
    stale: Stale,
    /// What is to be told as events of machines.
    waiting: Waiting,
    recorder: Recorder,
    /// Events up to this were looked at.
    sequence: u64,
    /// When the next write may be, and the pause after the last that nobody answered.
    write_at: Instant,
    pause: Duration,
}

impl Mirror {
    pub fn new(
        link: Link,
        fleet: Arc<Fleet>,
        replicas: Replicas,
        told: watch::Receiver<Told>,
        metrics: metrics::Mirror,
    ) -> Self {
        let sequence = *fleet.store.watch_events().borrow();
        Self {
            machines: Kind::new::<MachineSpec>(&link, &fleet.site, "Machine", "machines"),
            profiles: Kind::new::<ClusterProfileSpec>(&link, &fleet.site, "ClusterProfile", "clusterprofiles"),
            recorder: Recorder::new(
                link.client.clone(),
                Reporter { controller: format!("{GROUP}/formwork"), instance: None },
            ),
            waiting: Waiting::default(),
            link,
            fleet,
            replicas,
            told,
            metrics,
            stale: Stale::All,
            sequence,
            write_at: Instant::now(),
            pause: Duration::ZERO,
        }
    }

    /// Never ends.
    pub async fn run(mut self) {
        let everything = watcher::Config::default;
        let mut machines = std::pin::pin!(link::watch(self.machines.api(), everything()));
        let mut profiles = std::pin::pin!(link::watch(self.profiles.api(), everything()));
        let mut events = self.fleet.store.watch_events();
        let mut status = self.fleet.reconciler.status();
        let mut applied = None;
        let [mut writes, mut looks, mut clusters] =
            [WRITE_EVERY, LOOK_EVERY, CLUSTERS_EVERY].map(tokio::time::interval);
        for ticks in [&mut writes, &mut looks, &mut clusters] {
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                Some(event) = machines.next() => take(&self.link.server, &mut self.machines, event),
                Some(event) = profiles.next() => take(&self.link.server, &mut self.profiles, event),
                Ok(()) = events.changed() => self.take_events(),
                Ok(()) = status.changed() => {
                    let now = status.borrow_and_update().applied.as_ref().map(|applied| applied.revision.clone());
                    if now != applied {
                        (applied, self.stale) = (now, Stale::All);
                        self.machines.try_all();
                        self.profiles.try_all();
                    }
                }
                _ = looks.tick() => self.stale = Stale::All,
                _ = clusters.tick() => self.look_at_clusters(),
                _ = writes.tick() => self.write().await,
            }
        }
    }

    /// Which machines something happened to.
    fn take_events(&mut self) {
        loop {
            let page = match self.fleet.store.events_after(self.sequence, PAGE) {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "events cannot be read for the mirror");
                    self.stale = Stale::All;
                    return;
                }
            };
            let Some(last) = page.last() else { return };
            self.sequence = last.sequence;
            let more = page.len() == PAGE;
            if self.replicas.leads() {
                for record in &page {
                    if let (Stream::Machine(name), Some(news)) = (&record.stream, happened::news(&record.event)) {
                        self.waiting.push(name.clone(), news);
                    }
                }
            } else {
                self.waiting.clear();
            }
            if let Stale::These(names) = &mut self.stale {
                names.extend(page.into_iter().filter_map(|record| match record.stream {
                    Stream::Machine(name) => Some(name),
                    _ => None,
                }));
            }
            if !more {
                return;
            }
        }
    }

    /// Looks at what may have changed, and writes what differs.
    async fn write(&mut self) {
        if !self.replicas.leads() {
            // Whoever leads counts it.
            self.metrics.idle();
            return;
        }
        // A kind that may not be listed keeps back nothing of the other.
        let (machines, profiles) = (self.machines.listed(), self.profiles.listed());
        if Instant::now() < self.write_at || !(machines || profiles) {
            return;
        }
        self.look().await;
        let by_hand = self.told.borrow().by_hand;
        let mut written = if machines { self.machines.write(by_hand).await } else { Ok(()) };
        if profiles && written.is_ok() {
            written = self.profiles.write(by_hand).await;
        }
        for (kind, (backlog, refused)) in
            [(self.machines.name(), self.machines.waiting()), (self.profiles.name(), self.profiles.waiting())]
        {
            self.metrics.waiting(kind, backlog, refused);
        }
        match written {
            Ok(()) => {
                self.pause = Duration::ZERO;
                // After the objects: a machine that was just enrolled has one now.
                self.waiting.tell(&self.recorder, |name| self.machines.reference(name)).await;
                self.tell_of_refused().await;
            }
            Err(error) => {
                if self.pause.is_zero() {
                    tracing::warn!(server = self.link.server, error, "the mirror cannot be written now");
                }
                self.pause = (self.pause * 2).clamp(WRITE_EVERY * 2, WRITE_AGAIN_MOST);
            }
        }
        self.write_at = Instant::now() + self.pause;
    }

    /// Tells the source of objects that are refused.
    async fn tell_of_refused(&mut self) {
        let Some(source) = self.told.borrow().source.clone() else { return };
        for note in [self.machines.news(), self.profiles.news()].into_iter().flatten() {
            let event = Event {
                type_: EventType::Warning,
                reason: "ObjectRefused".to_owned(),
                action: happened::action("Mirror".to_owned(), &note),
                note: Some(note),
                secondary: None,
            };
            match tokio::time::timeout(ANSWER_TIMEOUT, self.recorder.publish(&event, &source)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(error = said(&error), reason = event.reason, "an event was not taken"),
                Err(_) => tracing::warn!(reason = event.reason, "an event takes too long, and is dropped"),
            }
        }
    }

    /// Looks at what the machines of each cluster agreed on.
    fn look_at_clusters(&mut self) {
        let fleet = &self.fleet;
        let Some(catalog) = fleet.current() else { return };
        let wanted = |profile: &ClusterProfile| {
            let document = fleet.store.cluster(&profile.name).ok()?.unwrap_or_default();
            let members = fleet.members(&profile.name);
            let now_ms = fleet.clock.now_ms();
            Some((profile.name.to_string(), wanted::cluster_profile(&fleet.site, profile, &members, &document, now_ms)))
        };
        // Where the store cannot be read, what is there stays.
        if let Some(all) = catalog.cluster_profiles().map(wanted).collect::<Option<Vec<_>>>() {
            self.profiles.want_all(all.into_iter());
        }
    }

    async fn look(&mut self) {
        // Without a revision nobody knows what should be there: what is there stays.
        let serving = self.fleet.current();
        if serving.is_none() {
            return;
        }
        let site = self.fleet.site.clone();
        let names = match std::mem::replace(&mut self.stale, Stale::These(BTreeSet::new())) {
            Stale::These(names) => names,
            Stale::All => {
                let names = api::names(&self.fleet, &serving);
                self.machines.keep_only(|name| names.contains(name));
                self.look_at_clusters();
                names
            }
        };
        for name in names {
            let (summary, view) = api::shown(&self.fleet, &serving, &name).await;
            self.machines.want(&name, view.map(|view| wanted::machine(&site, &view, &summary)));
        }
    }
}

/// Takes in what a watch shows.
fn take<S: Status>(
    server: &str,
    kind: &mut Kind<S>,
    event: Result<watcher::Event<kube::api::DynamicObject>, watcher::Error>,
) {
    match event {
        Ok(event) => kind.take(event),
        Err(error) if kind.breaks() => {
            let (name, error) = (kind.name(), said(&error));
            tracing::warn!(server, kind = name, error, "the mirror cannot be watched now");
        }
        Err(_) => {}
    }
}
