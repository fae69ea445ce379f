//! One kind of the mirror: what is wanted, what was seen, and the writes that bring one to the other.

use super::diff::{Mirrored, Write, diff, in_turn, is_another_sites};
use super::refused::Refusals;
use super::wanted::{Status, Wanted, marks, normal, to_write};
use crate::controller::hand::ByHand;
use crate::controller::link::{Failure, Link, in_time, resource, write_status};
use crate::controller::objects::{Objects, Seen};
use crate::controller::{FIELD_MANAGER, now};
use futures_util::StreamExt as _;
use k8s_openapi::api::core::v1::ObjectReference;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams, Preconditions};
use kube::core::ObjectMeta;
use kube::core::discovery::ApiResource;
use kube::runtime::watcher::Event;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// So many writes of one turn, and so many of them at a time: an API server has others to answer.
const WRITES_MAX: usize = 100;
const AT_A_TIME: usize = 8;
/// What came of a write: the object as it is then, or none where there is none.
type Carried = Result<Option<DynamicObject>, Failure>;

impl<S: Status> Seen for Mirrored<S> {
    fn read(object: DynamicObject) -> Self {
        let mut data = object.data;
        let mut metadata = object.metadata;
        // The largest part of it, and nobody's business here.
        metadata.managed_fields = None;
        Self {
            metadata,
            spec: data["spec"].take(),
            status: serde_json::from_value(data["status"].take()).unwrap_or_default(),
        }
    }

    fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

/// One kind.
pub(super) struct Kind<S> {
    api: Api<DynamicObject>,
    resource: ApiResource,
    marks: BTreeMap<String, String>,
    normal: fn(Value) -> Value,
    seen: Objects<Mirrored<S>>,
    /// None: nobody knows yet what should be there.
    wanted: Option<BTreeMap<String, Wanted<S>>>,
    /// Where the next turn begins.
    after: String,
    /// What was refused, and is not taken yet.
    refused: Refusals,
    /// So many are not as they should be, as of the last turn.
    backlog: usize,
    /// What is wanted here and is another site's.
    others: BTreeSet<String>,
    broken: bool,
}

impl<S: Status> Kind<S> {
    pub fn new<T: Serialize + DeserializeOwned>(link: &Link, site: &str, kind: &str, plural: &str) -> Self {
        Self {
            api: link.objects(kind, plural),
            resource: resource(kind, plural),
            marks: marks(site),
            normal: normal::<T>,
            seen: Objects::default(),
            wanted: None,
            after: String::new(),
            refused: Refusals::default(),
            backlog: 0,
            others: BTreeSet::new(),
            broken: false,
        }
    }

    pub fn api(&self) -> Api<DynamicObject> {
        self.api.clone()
    }

    /// What says which object it is that is called so, where it is there and of this site.
    pub fn reference(&self, name: &str) -> Option<ObjectReference> {
        let seen = self.seen.all().get(name).filter(|seen| !is_another_sites(&self.marks, seen))?;
        Some(ObjectReference {
            api_version: Some(self.resource.api_version.clone()),
            kind: Some(self.resource.kind.clone()),
            name: Some(name.to_owned()),
            namespace: seen.metadata.namespace.clone(),
            uid: seen.metadata.uid.clone(),
            ..ObjectReference::default()
        })
    }

    pub fn name(&self) -> &str {
        &self.resource.kind
    }

    /// Says once of each object that it is another site's.
    fn tell_of_others(&mut self) {
        let another =
            |name: &&String| self.seen.all().get(*name).is_some_and(|seen| is_another_sites(&self.marks, seen));
        let others: BTreeSet<String> = self.wanted.iter().flat_map(BTreeMap::keys).filter(another).cloned().collect();
        for name in others.difference(&self.others) {
            tracing::warn!(kind = self.resource.kind, name, "is in the mirror of another site, and is left to it");
        }
        self.others = others;
    }

    /// Takes in what a watch shows.
    pub fn take(&mut self, event: Event<DynamicObject>) {
        let event = event.modify(|object| self.normalize(object));
        if !matches!(event, Event::Init) {
            self.broken = false;
        }
        self.seen.take(event);
    }

    fn normalize(&self, object: &mut DynamicObject) {
        let spec = object.data["spec"].take();
        object.data["spec"] = (self.normal)(spec);
    }

    /// Its watch broke. True: it did not before.
    pub const fn breaks(&mut self) -> bool {
        !std::mem::replace(&mut self.broken, true)
    }

    pub const fn listed(&self) -> bool {
        self.seen.listed()
    }

    /// Wants nothing any more of others than these. Each of these is to be wanted before anything is written.
    pub fn keep_only(&mut self, these: impl Fn(&str) -> bool) {
        self.wanted.get_or_insert_default().retain(|name, _| these(name));
    }

    /// Wants these and no others.
    pub fn want_all(&mut self, these: impl Iterator<Item = (String, Wanted<S>)>) {
        self.wanted = Some(these.collect());
    }

    /// Wants one to be so, or not to be; all the others have to be known.
    pub fn want(&mut self, name: &str, wanted: Option<Wanted<S>>) {
        let Some(all) = &mut self.wanted else { return };
        match wanted {
            Some(wanted) => {
                all.insert(name.to_owned(), wanted);
            }
            None => {
                all.remove(name);
            }
        }
    }

    /// What was refused is tried at once: another revision may have mended it.
    pub fn try_all(&mut self) {
        self.refused.try_all(Instant::now());
    }

    /// How many objects are not as they should be, and how many of them are refused.
    pub fn waiting(&self) -> (usize, usize) {
        (self.backlog, self.refused.count())
    }

    /// What is to be told of objects that are refused, once.
    pub fn news(&mut self) -> Option<String> {
        self.refused.news(Instant::now()).map(|told| told.note(&self.resource.kind))
    }

    /// Writes what differs, as much as a turn may. `by_hand`: what becomes of objects that no mirror wrote. What is refused of one
    /// object keeps no other back.
    ///
    /// # Errors
    /// Nobody answered, or whoever did does not know who asks: with what words.
    pub async fn write(&mut self, by_hand: ByHand) -> Result<(), String> {
        let (now, at) = (now(), Instant::now());
        self.tell_of_others();
        let mut writes = diff(&self.marks, self.wanted.as_ref(), self.seen.all(), by_hand, &now);
        self.backlog = writes.len();
        // They are sorted.
        self.refused.keep_only(|name| writes.binary_search_by(|write| write.name().cmp(name)).is_ok());
        writes.retain(|write| !self.refused.rests(write.name(), at));
        let writes = in_turn(writes, &self.after, WRITES_MAX);
        let Some(last) = writes.last() else { return Ok(()) };
        self.after = last.name().to_owned();
        let this = &*self;
        let results: Vec<(Write<S>, Carried)> = futures_util::stream::iter(writes)
            .map(|write| async move {
                let result = this.carry_out(&write).await;
                (write, result)
            })
            .buffer_unordered(AT_A_TIME)
            .collect()
            .await;
        let mut answered = Ok(());
        let mut refused = Vec::new();
        for (write, result) in results {
            let name = write.name();
            match result {
                Ok(Some(mut object)) => {
                    self.refused.settled(name);
                    self.normalize(&mut object);
                    self.seen.put(object);
                    self.backlog = self.backlog.saturating_sub(1);
                }
                Ok(None) => {
                    self.refused.settled(name);
                    self.seen.remove(name);
                    self.backlog = self.backlog.saturating_sub(1);
                }
                // It was not there to be created into what is not there.
                Err(Failure::Missing(error)) if matches!(write, Write::Create(_)) => {
                    refused.push((name.to_owned(), error));
                }
                // Somebody else was quicker; the watch shows what is there now.
                Err(Failure::Overtaken | Failure::Missing(_)) => self.refused.settled(name),
                Err(Failure::Away(error)) => answered = Err(error),
                Err(Failure::Refused(error)) => refused.push((name.to_owned(), error)),
            }
        }
        self.were_refused(refused);
        answered
    }

    /// Lets them rest, and says so in one line.
    fn were_refused(&mut self, refused: Vec<(String, String)>) {
        let at = Instant::now();
        let news: Vec<_> =
            refused.into_iter().filter(|(name, error)| self.refused.refused(name, error.clone(), at)).collect();
        if let Some((name, error)) = news.first() {
            let (kind, others) = (&self.resource.kind, news.len() - 1);
            tracing::warn!(kind, name, others, error, "refused by the Kubernetes API; the others go on");
        }
    }

    /// Carries a write out.
    async fn carry_out(&self, write: &Write<S>) -> Carried {
        let ours = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
        let wanted = self.wanted.as_ref().and_then(|wanted| wanted.get(write.name()));
        let seen = self.seen.all().get(write.name());
        match (write, wanted, seen) {
            (Write::Create(name), Some(wanted), _) => {
                let metadata = ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() };
                let object = self.object(metadata, wanted);
                in_time(self.api.create(&ours, &object)).await.map(Some)
            }
            (Write::Replace(name), Some(wanted), Some(seen)) => {
                let object = self.object(seen.metadata.clone(), wanted);
                in_time(self.api.replace(name, &ours, &object)).await.map(Some)
            }
            (Write::Status(name, status), ..) => {
                write_status(&self.api, name, &self.resource.kind, status).await.map(Some)
            }
            (Write::Delete(name), _, Some(seen)) => {
                let this_one = Preconditions { uid: seen.metadata.uid.clone(), resource_version: None };
                let parameters = DeleteParams::default().preconditions(this_one);
                match in_time(self.api.delete(name, &parameters)).await {
                    // Something else wants to be done before it is gone.
                    Ok(answer) => Ok(answer.left()),
                    Err(failure) => Err(failure),
                }
            }
            _ => Err(Failure::Overtaken),
        }
    }

    fn object(&self, metadata: ObjectMeta, wanted: &Wanted<S>) -> DynamicObject {
        let metadata = ObjectMeta { labels: Some(wanted.labels.clone()), ..metadata };
        let mut object = DynamicObject::new("", &self.resource).data(json!({"spec": to_write(&wanted.spec)}));
        object.metadata = metadata;
        object
    }
}
