//! Power cuts, for any engine on a disk that can lose power: six clients walk their [`Program`]s, power goes at a random
//! write to the disk, comes back with whatever the disk kept, sometimes goes again during recovery, and the clients ask
//! again what was not answered. At the end [`history::check`] says what no honest store could have shown.
//!
//! All of it is one thread that draws from one seed. A commit carries the questions of up to six clients, so that what one
//! group commits is the same in each repetition.

use super::clusters::member;
use super::history::{self, Last, LastClaim, LastKey, LastMember, Seen};
use super::program::{Answer, Dice, Holder, Opening, Program, Question};
use super::{NOW, held, machine};
use crate::cluster::{
    self, ClaimStanding, ClaimState, Condition, Content, Count, Document, Operation as Ask, Refusal, Role,
};
use crate::journal::Event;
use crate::store::{Batch, Operation, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// An engine on a disk that can lose power.
pub(crate) trait Powered {
    /// Opens the store on what the disk holds.
    fn start(&self, now_ms: u64) -> Result<Arc<dyn Store>, StoreError>;
    /// Power goes after so many more calls that change the disk.
    fn cut_after(&self, calls: u64);
    /// Power is back: what was durable is there, and of the rest what the dice leave.
    fn power_back(&mut self, dice: &mut Dice);
}

/// What stands between the clients and the store: nothing, or something that must be found out.
pub(crate) type Between = fn(Arc<dyn Store>) -> Arc<dyn Store>;

const CLIENTS: usize = 6;
/// A commit makes about six calls; so up to twenty of them between two cuts.
const CALLS: u64 = 120;
/// A claim's lifetime; the clock moves 50 ms a commit.
const TTL_MS: u64 = 1_000;

/// One history of so many cuts: what the clients saw, or the first thing that is wrong with it.
pub(crate) fn history(engine: &mut dyn Powered, between: Between, seed: u64, cuts: u64) -> Result<Vec<Seen>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut dice = Dice::new(seed);
    let mut clients = Clients::new(&mut dice);
    for cut in 0..=cuts {
        let over = cut == cuts;
        let at = |error: String| format!("seed {seed}, after cut {cut}: {error}");
        let store = engine.start(clients.now_ms).map_err(|error| at(error.to_string()))?;
        clients.look(&*store).map_err(at)?;
        let store = between(store);
        let rounds = if over { clients.furthest() + 1 } else { u64::MAX };
        if !over {
            engine.cut_after(dice.below(CALLS));
        }
        let ended = runtime.block_on(clients.ask_until_the_cut(&*store, &mut dice, rounds)).map_err(at)?;
        drop(store);
        if over {
            if !ended {
                return Err(at("the store failed though power stayed".into()));
            }
            let store = engine.start(clients.now_ms).map_err(|error| at(error.to_string()))?;
            clients.look(&*store).map_err(at)?;
            let last = last(&store.cluster("crash").map_err(|error| at(error.to_string()))?.unwrap_or_default());
            let wrong = history::check(&clients.seen, &last, u32::try_from(CLIENTS).unwrap());
            return if wrong.is_empty() { Ok(clients.seen) } else { Err(at(wrong.join("; "))) };
        }
        engine.power_back(&mut dice);
        if dice.below(3) == 0 {
            // Power goes again while the store recovers.
            engine.cut_after(dice.below(20));
            drop(engine.start(clients.now_ms));
            engine.power_back(&mut dice);
        }
    }
    unreachable!("the last round returns")
}

struct Clients {
    programs: Vec<Program>,
    /// When each first asked what it asks now.
    asked: Vec<Option<u64>>,
    /// Events of each that were answered.
    heads: Vec<u64>,
    tick: u64,
    now_ms: u64,
    seen: Vec<Seen>,
}

impl Clients {
    fn new(dice: &mut Dice) -> Self {
        let programs = (0..CLIENTS).map(|number| Program::new(member(number), dice.below(u64::MAX))).collect();
        let (asked, heads) = (vec![None; CLIENTS], vec![0; CLIENTS]);
        Self { programs, asked, heads, tick: 0, now_ms: 0, seen: Vec::new() }
    }

    fn furthest(&self) -> u64 {
        self.programs.iter().map(|program| program.round).max().unwrap_or(0)
    }

    fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    fn answered(&mut self, number: usize, question: Question, answer: Answer) {
        self.programs[number].answered(&answer);
        let asked = self.asked[number].take().unwrap();
        let answered = self.tick();
        let machine = member(number);
        self.seen.push(Seen { machine, asked, answered, question, answer });
    }

    /// Asks until the store fails (`false`) or all programs have ended (`true`). The error is an answer that none of them
    /// could have got.
    async fn ask_until_the_cut(&mut self, store: &dyn Store, dice: &mut Dice, rounds: u64) -> Result<bool, String> {
        loop {
            self.now_ms += 50;
            let (count, first) = (1 + dice.below(6), dice.below(6));
            let mut batch = Batch::default();
            let mut asking = Vec::new();
            for offset in 0..count {
                let number = usize::try_from(first + offset).unwrap() % CLIENTS;
                let Some(question) = self.programs[number].question(rounds) else { continue };
                let now = self.tick();
                self.asked[number].get_or_insert(now);
                if let Some(answer) = self.look_up(store, &question)? {
                    self.answered(number, question, answer);
                    continue;
                }
                if let Question::Write { key, value, .. } = &question
                    && key.starts_with("own/")
                {
                    batch.events.push((machine(&member(number)), held(value.as_str())));
                }
                batch.operations.push(self.operation(number, &question));
                asking.push((number, question));
            }
            if asking.is_empty() {
                if self.programs.iter_mut().all(|program| program.question(rounds).is_none()) {
                    return Ok(true);
                }
                continue;
            }
            let Ok(committed) = store.commit(batch, NOW).await else { return Ok(false) };
            for record in &committed.records {
                if let Some(number) = (0..CLIENTS).find(|number| machine(&member(*number)) == record.stream) {
                    self.heads[number] = record.index + 1;
                }
            }
            for ((number, question), answer) in asking.into_iter().zip(committed.answers) {
                let answer = plain(&question, answer)?;
                self.answered(number, question, answer);
            }
        }
    }

    /// What a read of the document answers; `None` for what has to be committed.
    fn look_up(&self, store: &dyn Store, question: &Question) -> Result<Option<Answer>, String> {
        let (Question::Read | Question::Await { .. }) = question else { return Ok(None) };
        let document = store.cluster("crash").map_err(|error| error.to_string())?.unwrap_or_default();
        Ok(match question {
            Question::Await { key, claim } => Some(match document.keys.get(key) {
                Some(entry) => Answer::Key { version: entry.version, value: text(&entry.value) },
                None => match document.standing(claim, self.now_ms) {
                    ClaimStanding::Held => Answer::NotYet,
                    _ => Answer::Vacant,
                },
            }),
            _ => Some(Answer::Read { version: document.version }),
        })
    }

    fn operation(&self, number: usize, question: &Question) -> Operation {
        let value = |value: &String| Content::from(serde_json::Value::from(value.as_str()));
        let (ask, id) = match question.clone() {
            Question::Write { key, value: ref text, id } => {
                (Ask::Put { key, value: value(text), condition: Condition::Any, secret: false }, Some(id))
            }
            Question::Claim { claim } => (Ask::Claim { claim, ttl_ms: TTL_MS }, None),
            Question::Done { claim, fence, key, value: ref text, id } => {
                (Ask::Done { claim, fence, publish: vec![(key, value(text))] }, Some(id))
            }
            Question::Join { set } => (Ask::Join { set, barrier: Some(Count::All) }, None),
            Question::Read | Question::Await { .. } => unreachable!("these are looked up"),
        };
        let context = cluster::Context {
            now_ms: self.now_ms,
            now_unix_ms: NOW,
            caller: cluster::Caller::Machine {
                machine: member(number),
                run: 1,
                boot_id: "boot".into(),
                job: None,
                token: format!("token-of-{number}"),
                address: "192.0.2.1".into(),
            },
            epoch: None,
            members: (0..CLIENTS).map(member).collect(),
            size: u32::try_from(CLIENTS).unwrap(),
            run: 1,
            keys: Vec::new().into(),
            idempotency_key: id,
            fence: None,
        };
        Operation::Cluster(Box::new(cluster::Request { cluster: "crash".into(), operation: ask, context }))
    }

    /// What must be so whenever the store was opened: no answered event is lost, and no commit is there by half.
    fn look(&self, store: &dyn Store) -> Result<(), String> {
        let failed = |error: StoreError| error.to_string();
        let all = store.events_after(0, usize::MAX).map_err(failed)?;
        if !all.iter().map(|record| record.sequence).eq(1..=all.len() as u64) {
            return Err("the events are not contiguous".into());
        }
        let document = store.cluster("crash").map_err(failed)?.unwrap_or_default();
        for number in 0..CLIENTS {
            let stream = machine(&member(number));
            let head = store.head(&stream).map_err(failed)?;
            let own: Vec<_> = all.iter().filter(|record| record.stream == stream).collect();
            if head < self.heads[number] || own.len() as u64 != head {
                let (there, answered) = (own.len(), self.heads[number]);
                return Err(format!("{stream} has {there} events, a head of {head}, and {answered} were answered"));
            }
            let key = document.keys.get(&format!("own/{}", member(number))).map(|entry| text(&entry.value));
            let event = own.last().map(|record| match &record.event {
                Event::Held { reason } => reason.clone(),
                other => format!("{other:?}"),
            });
            if key != event {
                return Err(format!("half a commit is there: {stream} says {event:?}, its key {key:?}"));
            }
        }
        Ok(())
    }
}

fn text(content: &Content) -> String {
    content.0.as_str().map_or_else(|| content.0.to_string(), str::to_owned)
}

fn plain(question: &Question, answer: cluster::Answer) -> Result<Answer, String> {
    Ok(match answer {
        cluster::Answer::Written { version, .. } => Answer::Written { version },
        cluster::Answer::Claim(answer) => match question {
            Question::Done { .. } => Answer::Ended { version: answer.version },
            _ => Answer::Claim {
                leader: answer.role == Role::Leader,
                fence: answer.fence,
                done: answer.state == ClaimStanding::Done,
                previous: answer.previous.map(|before| Holder { machine: before.machine, fence: before.fence }),
            },
        },
        cluster::Answer::Joined(joined) => Answer::Joined {
            ordinal: joined.ordinal,
            opened: joined.opened.map(|opening| Opening { version: opening.version, joined: opening.joined }),
        },
        cluster::Answer::Refused(Refusal::FenceLost { .. }) => Answer::FenceLost,
        other => return Err(format!("{question:?} was answered {other:?}")),
    })
}

fn last(document: &Document) -> Last {
    let keys = document
        .keys
        .iter()
        .map(|(key, entry)| (key.clone(), LastKey { version: entry.version, value: text(&entry.value) }));
    let claims = document.claims.iter().map(|(name, claim)| {
        let done = (claim.state == ClaimState::Done).then_some(claim.version);
        (name.clone(), LastClaim { machine: claim.grant.machine.clone(), fence: claim.grant.fence, done })
    });
    let mut sets = BTreeMap::new();
    let mut openings = BTreeMap::new();
    for (name, set) in document.sets.iter() {
        let members = set.order.iter().filter_map(|(ordinal, machine)| {
            let version = set.members.get(machine)?.version;
            Some(LastMember { machine: machine.clone(), ordinal: *ordinal, version })
        });
        sets.insert(name.clone(), members.collect());
        if let Some(opening) = set.opening(Count::All) {
            openings.insert(name.clone(), Opening { version: opening.version, joined: opening.joined });
        }
    }
    Last {
        version: document.version,
        keys: keys.collect(),
        claims: claims.collect(),
        sets,
        openings,
        ..Last::default()
    }
}

/// A store that answers a read from before the last write, as a replica would that lags behind: it must be found out.
pub(crate) struct Stale {
    inner: Arc<dyn Store>,
    shown: Mutex<Option<Arc<Document>>>,
}

impl Stale {
    pub(crate) fn before(inner: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Self { inner, shown: Mutex::default() })
    }
}

impl Store for Stale {
    fn commit(
        &self,
        batch: Batch,
        now: i64,
    ) -> crate::store::BoxFuture<'_, Result<crate::store::Committed, StoreError>> {
        self.inner.commit(batch, now)
    }
    fn events_after(&self, sequence: u64, limit: usize) -> Result<Vec<crate::journal::Record>, StoreError> {
        self.inner.events_after(sequence, limit)
    }
    fn events_of(
        &self,
        stream: &crate::journal::Stream,
        index: u64,
        limit: usize,
    ) -> Result<Vec<crate::journal::Record>, StoreError> {
        self.inner.events_of(stream, index, limit)
    }
    fn compacted(&self, stream: Option<&crate::journal::Stream>) -> Result<u64, StoreError> {
        self.inner.compacted(stream)
    }
    fn backup(&self, to: &std::path::Path) -> Result<(), StoreError> {
        self.inner.backup(to)
    }
    fn health(&self) -> crate::store::Health {
        self.inner.health()
    }
    fn head(&self, stream: &crate::journal::Stream) -> Result<u64, StoreError> {
        self.inner.head(stream)
    }
    fn streams(&self) -> Result<Vec<crate::journal::Stream>, StoreError> {
        self.inner.streams()
    }
    /// What it showed the last time, and only then what there is.
    fn cluster(&self, name: &str) -> Result<Option<Arc<Document>>, StoreError> {
        let now = self.inner.cluster(name)?;
        let mut shown = self.shown.lock().unwrap();
        let before = std::mem::replace(&mut *shown, now.clone());
        Ok(before.or(now))
    }
    fn clusters(&self) -> Result<Vec<String>, StoreError> {
        self.inner.clusters()
    }
    fn leases(&self) -> Result<Vec<crate::store::Lease>, StoreError> {
        self.inner.leases()
    }
    fn get(&self, space: crate::store::Space, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(space, key)
    }
    fn keys(&self, space: crate::store::Space) -> Result<Vec<String>, StoreError> {
        self.inner.keys(space)
    }
    fn watch_events(&self) -> tokio::sync::watch::Receiver<u64> {
        self.inner.watch_events()
    }
    fn watch_cluster(&self, name: &str) -> tokio::sync::watch::Receiver<u64> {
        self.inner.watch_cluster(name)
    }
}
