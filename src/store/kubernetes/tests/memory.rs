//! A mock of the API server's objects, in memory, that loses requests and replies, goes away, and comes back older. What a
//! real one does is tried in `tests/kubernetes`.

use super::super::Connect;
use super::super::objects::{Change, Changes, Fault, Head, Kind, Listed, Object, Objects};
use crate::store::BoxFuture;
use crate::store::conformance::program::Dice;
use futures_util::StreamExt as _;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// What goes wrong.
#[derive(Debug, Clone, Default)]
pub(super) struct Mood {
    /// Nothing is answered.
    pub(super) down: bool,
    /// Of so many creates one is done and not answered; 0: none.
    pub(super) lose_replies: u64,
    /// Of so many creates one never arrives; 0: none.
    pub(super) lose_requests: u64,
    /// After so many more calls that change something the power goes; the last of them is done or not.
    pub(super) power_left: Option<u64>,
    /// There is no room.
    pub(super) full: bool,
}

#[derive(Debug, Clone, Default)]
struct Inner {
    objects: BTreeMap<String, Object>,
    version: u64,
    history: Vec<(u64, Change)>,
    /// Nobody can watch from before this.
    forgotten: u64,
    made: u64,
}

/// The mock.
#[derive(Debug)]
pub(super) struct Memory {
    inner: Arc<Mutex<Inner>>,
    mood: Arc<Mutex<(Mood, Dice)>>,
    moved: watch::Sender<u64>,
}

fn away() -> Fault {
    Fault::Away("the mock does not answer".into())
}

impl Memory {
    pub(super) fn new() -> Arc<Self> {
        let mood = Arc::new(Mutex::new((Mood::default(), Dice::new(7))));
        Arc::new(Self { inner: Arc::default(), mood, moved: watch::Sender::new(0) })
    }

    /// Another way to the same objects, with a mood of its own.
    pub(super) fn another_way(&self) -> Arc<Self> {
        let mood = Arc::new(Mutex::new((Mood::default(), Dice::new(8))));
        Arc::new(Self { inner: Arc::clone(&self.inner), mood, moved: self.moved.clone() })
    }

    pub(super) fn connect(self: &Arc<Self>) -> Connect {
        let memory = Arc::clone(self);
        Box::new(move || Ok(memory))
    }

    pub(super) fn set(&self, mood: Mood) {
        self.mood.lock().unwrap().0 = mood;
        self.moved.send_modify(|_| ());
    }

    /// What is there, by name.
    pub(super) fn names(&self) -> Vec<String> {
        self.inner.lock().unwrap().objects.keys().cloned().collect()
    }

    /// All that is there, to come back later.
    pub(super) fn backup(&self) -> BTreeMap<String, Object> {
        self.inner.lock().unwrap().objects.clone()
    }

    /// It comes back as it was then; nobody who watches is told.
    pub(super) fn restore(&self, objects: BTreeMap<String, Object>) {
        self.inner.lock().unwrap().objects = objects;
    }

    /// Somebody else makes an object.
    pub(super) fn meddle(&self, kind: Kind, name: &str, bytes: &[u8]) {
        self.inner.lock().unwrap().make(kind, name, bytes.into());
        self.moved.send_modify(|version| *version += 1);
    }

    /// Somebody else deletes an object.
    pub(super) fn lose(&self, name: &str) {
        self.inner.lock().unwrap().objects.remove(name).expect("it was there");
    }

    /// Who watches has to list again.
    pub(super) fn forget_history(&self) {
        {
            let mut inner = self.inner.lock().unwrap();
            inner.history.clear();
            inner.version += 1;
            inner.forgotten = inner.version;
        }
        self.moved.send_modify(|version| *version += 1);
    }

    fn ask<T>(&self, answer: impl FnOnce(&mut Inner) -> T) -> Result<T, Fault> {
        let (mood, _) = &*self.mood.lock().unwrap();
        if mood.down || mood.power_left == Some(0) {
            return Err(away());
        }
        Ok(answer(&mut self.inner.lock().unwrap()))
    }

    /// A call that changes something: `(arrives, is answered)`.
    fn fate(&self, create: bool) -> (bool, bool) {
        let (mood, dice) = &mut *self.mood.lock().unwrap();
        if mood.down || mood.power_left == Some(0) {
            return (false, false);
        }
        if let Some(left) = &mut mood.power_left {
            *left -= 1;
            if *left == 0 {
                return (dice.below(2) == 0, false);
            }
        }
        let mut happens = |of: u64| create && of > 0 && dice.below(of) == 0;
        if happens(mood.lose_requests) { (false, false) } else { (true, !happens(mood.lose_replies)) }
    }

    fn change<T>(&self, create: bool, work: impl FnOnce(&mut Inner) -> Result<T, Fault>) -> Result<T, Fault> {
        let (arrives, answered) = self.fate(create);
        if !arrives {
            return Err(away());
        }
        if create && self.mood.lock().unwrap().0.full {
            return Err(Fault::Full("the mock has no room".into()));
        }
        let done = work(&mut self.inner.lock().unwrap());
        self.moved.send_modify(|version| *version += 1);
        if answered { done } else { Err(away()) }
    }
}

impl Inner {
    fn make(&mut self, kind: Kind, name: &str, bytes: Arc<[u8]>) -> String {
        self.made += 1;
        let uid = format!("uid-{}", self.made);
        let object = Object { head: Head { kind, name: name.to_owned(), uid: uid.clone() }, bytes };
        self.objects.insert(name.to_owned(), object.clone());
        self.tell(kind, Change::There(object));
        uid
    }

    fn tell(&mut self, kind: Kind, change: Change) {
        self.version += 1;
        if kind == Kind::Segment {
            self.history.push((self.version, change));
        }
    }
}

impl Objects for Memory {
    fn create(&self, kind: Kind, name: &str, bytes: Arc<[u8]>) -> BoxFuture<'_, Result<String, Fault>> {
        let name = name.to_owned();
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.change(true, |inner| {
                if inner.objects.contains_key(&name) { Err(Fault::Exists) } else { Ok(inner.make(kind, &name, bytes)) }
            })
        })
    }

    fn get(&self, name: &str) -> BoxFuture<'_, Result<Option<Object>, Fault>> {
        let found = self.ask(|inner| inner.objects.get(name).cloned());
        Box::pin(async move { found })
    }

    fn uid(&self, name: &str) -> BoxFuture<'_, Result<Option<String>, Fault>> {
        let found = self.ask(|inner| inner.objects.get(name).map(|object| object.head.uid.clone()));
        Box::pin(async move { found })
    }

    fn list(&self) -> BoxFuture<'_, Result<Listed, Fault>> {
        let listed = self.ask(|inner| Listed {
            heads: inner.objects.values().map(|object| object.head.clone()).collect(),
            version: inner.version.to_string(),
        });
        Box::pin(async move { listed })
    }

    fn watch(&self, version: &str) -> BoxFuture<'_, Result<Changes, Fault>> {
        let at: u64 = version.parse().unwrap();
        let (inner, mood, moved) = (Arc::clone(&self.inner), Arc::clone(&self.mood), self.moved.subscribe());
        let up = self.ask(|_| ());
        Box::pin(async move {
            up?;
            let changes =
                futures_util::stream::unfold((inner, mood, moved, at), |(inner, mood, mut moved, at)| async move {
                    let (change, at) = loop {
                        moved.mark_unchanged();
                        if mood.lock().unwrap().0.down {
                            break (Err(away()), at);
                        }
                        if inner.lock().unwrap().forgotten > at {
                            break (Err(Fault::Forgotten), at);
                        }
                        let next = inner.lock().unwrap().history.iter().find(|(version, _)| *version > at).cloned();
                        if let Some((version, change)) = next {
                            break (Ok(change), version);
                        }
                        moved.changed().await.ok()?;
                    };
                    Some((change, (inner, mood, moved, at)))
                });
            Ok(changes.boxed())
        })
    }

    fn delete(&self, head: &Head) -> BoxFuture<'_, Result<(), Fault>> {
        let head = head.clone();
        Box::pin(async move {
            self.change(false, |inner| {
                if inner.objects.get(&head.name).is_some_and(|there| there.head.uid == head.uid) {
                    inner.objects.remove(&head.name);
                    inner.tell(head.kind, Change::Gone(head.clone()));
                }
                Ok(())
            })
        })
    }

    fn place(&self) -> String {
        "the mock".into()
    }
}
