//! Between a store and a real API server: requests and replies that are lost, and a replica that dies at any of them.

use crate::store::BoxFuture;
use crate::store::conformance::program::Dice;
use formwork::store::kubernetes::Connect;
use formwork::store::kubernetes::objects::{Changes, Fault, Head, Kind, Listed, Object, Objects};
use std::sync::{Arc, Mutex};

/// What goes wrong.
#[derive(Debug, Default, Clone)]
pub struct Mood {
    /// Of so many creates one is done and not answered; 0: none.
    pub lose_replies: u64,
    /// Of so many creates one never arrives; 0: none.
    pub lose_requests: u64,
    /// After so many more calls that change something the replica is cut off; the last of them is done or not.
    pub left: Option<u64>,
}

/// The mood that all connections made with it share.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<(Mood, Dice)>>);

impl Wire {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new((Mood::default(), Dice::new(seed)))))
    }

    pub fn set(&self, mood: Mood) {
        self.0.lock().unwrap().0 = mood;
    }

    /// Connects over this wire.
    pub fn connect(&self, connect: Connect) -> Connect {
        let wire = self.clone();
        Box::new(move || Ok(Arc::new(Faulty { real: connect()?, wire })))
    }

    fn is_cut(&self) -> bool {
        self.0.lock().unwrap().0.left == Some(0)
    }

    /// `(arrives, is answered)`.
    fn fate(&self, create: bool) -> (bool, bool) {
        let (mood, dice) = &mut *self.0.lock().unwrap();
        match &mut mood.left {
            Some(0) => return (false, false),
            Some(left) => {
                *left -= 1;
                if *left == 0 {
                    return (dice.below(2) == 0, false);
                }
            }
            None => {}
        }
        let mut happens = |of: u64| create && of > 0 && dice.below(of) == 0;
        if happens(mood.lose_requests) { (false, false) } else { (true, !happens(mood.lose_replies)) }
    }
}

struct Faulty {
    real: Arc<dyn Objects>,
    wire: Wire,
}

fn away() -> Fault {
    Fault::Away("the wire is cut".into())
}

impl Faulty {
    fn read<'a, T: Send + 'a>(&self, asked: BoxFuture<'a, Result<T, Fault>>) -> BoxFuture<'a, Result<T, Fault>> {
        let wire = self.wire.clone();
        Box::pin(async move {
            let answer = if wire.is_cut() { Err(away()) } else { asked.await };
            if wire.is_cut() { Err(away()) } else { answer }
        })
    }

    fn change<'a, T: Send + 'a>(
        &self,
        create: bool,
        asked: BoxFuture<'a, Result<T, Fault>>,
    ) -> BoxFuture<'a, Result<T, Fault>> {
        let fate = self.wire.fate(create);
        Box::pin(async move {
            let answer = if fate.0 { asked.await } else { Err(away()) };
            if fate.1 { answer } else { Err(away()) }
        })
    }
}

impl Objects for Faulty {
    fn create(&self, kind: Kind, name: &str, bytes: Arc<[u8]>) -> BoxFuture<'_, Result<String, Fault>> {
        self.change(true, self.real.create(kind, name, bytes))
    }

    fn get(&self, name: &str) -> BoxFuture<'_, Result<Option<Object>, Fault>> {
        self.read(self.real.get(name))
    }

    fn uid(&self, name: &str) -> BoxFuture<'_, Result<Option<String>, Fault>> {
        self.read(self.real.uid(name))
    }

    fn list(&self) -> BoxFuture<'_, Result<Listed, Fault>> {
        self.read(self.real.list())
    }

    fn watch(&self, version: &str) -> BoxFuture<'_, Result<Changes, Fault>> {
        self.read(self.real.watch(version))
    }

    fn delete(&self, head: &Head) -> BoxFuture<'_, Result<(), Fault>> {
        self.change(false, self.real.delete(head))
    }

    fn place(&self) -> String {
        self.real.place()
    }
}
