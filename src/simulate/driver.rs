//! Does what a simulated machine decides: sockets, clocks, counts.

use super::acts::{Answer, Ask, Asker, Do, Happened, Kind, Standing, Verdict};
use super::count::Counts;
use super::dhcp::Relay;
use super::http::{Client, HttpError, Question, Reply, Server};
use super::machine::{Habits, Machine};
use super::record::{Entry, Fact, Writer};
use super::report::Away;
use super::script::{file_in_archive, read};
use super::{Progress, tftp};
use crate::api::views::{Context, MachineSummary, Phase};
use crate::journal::RunStatus;
use crate::wire::{BootFile, Problem};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long a question that is not held may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a file may take.
const FILE_PATIENCE: Duration = Duration::from_secs(600);
/// How long the API that tickets name may be away at first: a server that starts is there sooner.
const API_PATIENCE: Duration = Duration::from_secs(5);
/// Connections that ask as an administrator.
const ADMINISTRATORS: usize = 4;

/// What all machines share.
pub struct Shared {
    /// How they behave.
    pub habits: Arc<Habits>,
    /// Counts.
    pub counts: Counts,
    /// Ends.
    pub progress: Progress,
    boot: SocketAddr,
    relay: Option<Arc<Relay>>,
    room: Semaphore,
    api: Mutex<Option<(String, Server)>>,
    administrators: Vec<tokio::sync::Mutex<Client>>,
    token: String,
    began: Instant,
    record: Option<Mutex<Writer>>,
    /// What machines do now, with how many.
    doing: Mutex<BTreeMap<&'static str, usize>>,
    /// Wakes who waits for an API that is not there.
    pub away: tokio::sync::Notify,
    api_lost_since: OnceLock<Instant>,
    /// How the API that tickets name was met first: it answered, or it is not there.
    api_first: OnceLock<Option<Away>>,
}

impl Shared {
    /// Nothing is connected yet.
    pub fn new(
        habits: Arc<Habits>,
        boot: SocketAddr,
        relay: Option<Arc<Relay>>,
        in_flight: usize,
        administrators: Server,
        context: &Context,
        record: Option<std::fs::File>,
    ) -> Self {
        let clients = (0..ADMINISTRATORS).map(|_| tokio::sync::Mutex::new(Client::new(administrators.clone())));
        Self {
            habits,
            counts: Counts::default(),
            progress: Progress::default(),
            boot,
            relay,
            room: Semaphore::new(in_flight.max(1)),
            api: Mutex::default(),
            administrators: clients.collect(),
            token: context.token.clone(),
            began: Instant::now(),
            record: record.map(|file| Mutex::new(Writer::to(file))),
            doing: Mutex::default(),
            away: tokio::sync::Notify::new(),
            api_lost_since: OnceLock::new(),
            api_first: OnceLock::new(),
        }
    }

    /// Brings the record to its file; the error, where not all of it could be written.
    pub fn finish_record(&self) -> Option<std::io::Error> {
        self.record.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).finish()
    }

    /// What machines do now, with how many: after the end, what those did that were still under way.
    pub fn doing(&self) -> BTreeMap<&'static str, usize> {
        self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn begins(&self, what: Option<&'static str>) {
        let Some(what) = what else { return };
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner).entry(what).or_insert(0) += 1;
    }

    fn ends(&self, what: Option<&'static str>) {
        let mut doing = self.doing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = what.and_then(|what| doing.get_mut(what)) {
            *count = count.saturating_sub(1);
        }
    }

    pub(super) fn note(&self, machine: &str, facts: Vec<Fact>) {
        let Some(record) = &self.record else { return };
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut record = record.lock().unwrap_or_else(PoisonError::into_inner);
        for fact in facts {
            record.write(&Entry { at_ms, machine: machine.to_owned(), fact });
        }
    }

    /// The API of a boot file; made once, since all machines of a site have the same.
    fn api(&self, file: &BootFile) -> Result<Server, HttpError> {
        let mut known = self.api.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((url, server)) = known.as_ref().filter(|(url, _)| *url == file.server) {
            let _ = url;
            return Ok(server.clone());
        }
        let server = Server::pinned(&file.server, &file.ca_certificate)?;
        *known = Some((file.server.clone(), server.clone()));
        Ok(server)
    }

    fn count(&self, kind: Kind, path: &str, began: Instant, sent: usize, reply: &Result<Reply, HttpError>) {
        let count = self.counts.of(kind);
        // What stands behind the question mark is one machine's.
        let path = path.split('?').next().unwrap_or_default();
        count.sent.fetch_add(sent as u64, Ordering::Relaxed);
        match reply {
            Ok(reply) => {
                count.times.add(began.elapsed());
                count.received.fetch_add(reply.length, Ordering::Relaxed);
                if reply.status >= 400 && reply.status != 408 {
                    count.refused.add(|| format!("{path} was answered with {}", words_of(reply)));
                } else {
                    count.answered.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => count.lost.add(|| format!("{path}: {error}")),
        }
    }

    /// What was answered is of no use.
    fn unusable(&self, kind: Kind, why: String) -> Happened {
        self.counts.of(kind).unusable.add(|| why.clone());
        Happened::Lost(why)
    }

    /// The API that tickets name answered, or did not. One that never did, for longer than a server takes to start, is not there.
    fn met_api(&self, server: &str, reply: &Result<Reply, HttpError>) {
        let first = &self.api_first;
        match reply {
            Ok(_) => {
                let _ = first.set(None);
            }
            Err(error) => {
                let since = self.api_lost_since.get_or_init(Instant::now);
                if first.get().is_none() && since.elapsed() >= API_PATIENCE {
                    let away = Away { server: server.to_owned(), what: error.to_string() };
                    if first.set(Some(away)).is_ok() {
                        self.away.notify_one();
                    }
                }
            }
        }
    }

    /// The API that tickets name, where it never answered.
    pub fn unreachable(&self) -> Option<&Away> {
        self.api_first.get()?.as_ref()
    }
}

/// A refusal in a few words: its status, and what a problem document says.
fn words_of(reply: &Reply) -> String {
    match serde_json::from_slice::<Problem>(&reply.body) {
        Ok(problem) => format!("status {}: {}", reply.status, problem.message),
        Err(_) => format!("status {}", reply.status),
    }
}

/// Does the deeds of one machine.
pub struct Driver {
    shared: Arc<Shared>,
    boot: Client,
    api: Option<Client>,
    loader: Option<String>,
    exchanges: u32,
}

impl Driver {
    /// For a machine that was not begun.
    pub fn new(shared: Arc<Shared>) -> Self {
        let boot = Client::new(Server::plain(shared.boot));
        Self { shared, boot, api: None, loader: None, exchanges: 0 }
    }

    /// Runs a machine to its end; also says how long that took.
    pub async fn run(mut self, mut machine: Machine) -> (Verdict, Duration) {
        let began = Instant::now();
        let mut happened = Happened::Began;
        loop {
            let next = machine.step(self.shared.began.elapsed(), happened);
            let facts = machine.take_facts();
            if !facts.is_empty() {
                self.shared.note(machine.name.as_deref().unwrap_or_default(), facts);
            }
            let what = next.words();
            // A machine that is stopped in the middle of it is never done with it.
            self.shared.begins(what);
            happened = match next {
                Do::End(verdict) => return (verdict, began.elapsed()),
                Do::Pause(time) => {
                    tokio::time::sleep(time).await;
                    Happened::Passed
                }
                Do::Disconnect => {
                    self.boot.disconnect();
                    self.api = None;
                    Happened::Passed
                }
                Do::Address(asker) => self.address(asker, &machine).await,
                Do::Loader => self.load().await,
                Do::Script => self.script(&machine).await,
                Do::Files(paths) => self.files(&paths).await,
                Do::Overlay(path) => self.overlay(&path).await,
                Do::Ask(ask) => self.ask(&ask).await,
                Do::Stand(name) => self.stand(&name).await,
            };
            self.shared.ends(what);
        }
    }

    async fn address(&mut self, asker: Asker, machine: &Machine) -> Happened {
        let Some(relay) = &self.shared.relay else { return Happened::Passed };
        let _room = self.shared.room.acquire().await;
        self.exchanges = self.exchanges.wrapping_add(1);
        let mac = bytes_of::<6>(machine.mac());
        let [.., a, b, c] = mac;
        let [.., turn] = self.exchanges.to_be_bytes();
        let uuid = {
            let mut uuid = [0xf0; 16];
            uuid.iter_mut().rev().zip(mac.iter().rev()).for_each(|(to, from)| *to = *from);
            uuid
        };
        let began = Instant::now();
        let count = self.shared.counts.of(Kind::Dhcp);
        match relay.exchange(asker, mac, uuid, u32::from_be_bytes([a, b, c, turn]), count).await {
            Ok(told) => {
                count.times.add(began.elapsed());
                count.answered.fetch_add(1, Ordering::Relaxed);
                self.loader = Some(told.file);
                Happened::Passed
            }
            Err(error) => {
                count.lost.add(|| error.clone());
                Happened::Lost(error)
            }
        }
    }

    async fn load(&mut self) -> Happened {
        let _room = self.shared.room.acquire().await;
        let name = self.loader.take().filter(|name| !name.contains("://")).unwrap_or_else(|| "snponly.efi".to_owned());
        let began = Instant::now();
        let count = self.shared.counts.of(Kind::Tftp);
        match tftp::fetch(SocketAddr::new(self.shared.boot.ip(), 69), &name).await {
            Ok(length) => {
                count.times.add(began.elapsed());
                count.answered.fetch_add(1, Ordering::Relaxed);
                count.received.fetch_add(length, Ordering::Relaxed);
                Happened::Passed
            }
            Err(error) => {
                count.lost.add(|| error.clone());
                Happened::Lost(error)
            }
        }
    }

    async fn get(&mut self, kind: Kind, path: &str, patience: Duration, keep: bool) -> Result<Reply, String> {
        let _room = self.shared.room.acquire().await;
        let began = Instant::now();
        let reply = self.boot.ask(&Question::get(path, patience), keep).await;
        self.shared.count(kind, path, began, 0, &reply);
        match reply {
            Ok(reply) if reply.status == 200 => Ok(reply),
            Ok(reply) => Err(format!("{path} was answered with status {}", reply.status)),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn script(&mut self, machine: &Machine) -> Happened {
        match self.get(Kind::Script, &machine.script_path(), PATIENCE, true).await {
            Ok(reply) => match read(&String::from_utf8_lossy(&reply.body)) {
                Some(script) => Happened::Script(script),
                None => self.shared.unusable(Kind::Script, "what came is no boot script".into()),
            },
            Err(error) => Happened::Lost(error),
        }
    }

    async fn files(&mut self, paths: &[String]) -> Happened {
        // A URL of another server is content's own: only this server is what is tried.
        for path in paths.iter().filter(|path| path.starts_with('/')) {
            if let Err(error) = self.get(Kind::File, path, FILE_PATIENCE, false).await {
                return Happened::Lost(error);
            }
        }
        Happened::Passed
    }

    async fn overlay(&mut self, path: &str) -> Happened {
        let reply = match self.get(Kind::Overlay, path, PATIENCE, true).await {
            Ok(reply) => reply,
            Err(error) => return Happened::Lost(error),
        };
        self.boot.disconnect();
        let file = file_in_archive(&reply.body, "formwork/boot.json");
        match file.and_then(|bytes| serde_json::from_slice::<BootFile>(bytes).ok()) {
            Some(file) => self.boot_file(file),
            None => self.shared.unusable(Kind::Overlay, "the overlay has no boot file".into()),
        }
    }

    fn boot_file(&mut self, file: BootFile) -> Happened {
        match self.shared.api(&file) {
            Ok(server) => {
                self.api = Some(Client::new(server));
                Happened::BootFile(Box::new(file))
            }
            Err(error) => self.shared.unusable(Kind::Overlay, error.to_string()),
        }
    }

    async fn ask(&mut self, ask: &Ask) -> Happened {
        if self.api.is_none() {
            let known = self.shared.api.lock().unwrap_or_else(PoisonError::into_inner).clone();
            self.api = known.map(|(_, server)| Client::new(server));
        }
        let Some(api) = &mut self.api else { return Happened::Lost("no server is known".into()) };
        // What the server holds takes no room: thousands wait at once, as real agents do.
        let room = if ask.hold.is_zero() { self.shared.room.acquire().await.ok() } else { None };
        let began = Instant::now();
        let question = Question {
            method: ask.method,
            path: &ask.path,
            bearer: ask.bearer.as_deref(),
            headers: &ask.headers,
            body: Bytes::copy_from_slice(&ask.body),
            timeout: ask.hold + PATIENCE,
        };
        let reply = api.ask(&question, true).await;
        drop(room);
        self.shared.count(ask.kind, &ask.path, began, ask.body.len(), &reply);
        self.shared.met_api(&api.server(), &reply);
        match reply {
            Ok(_) if ask.lose_answer => {
                // The server has done it and has said so; the machine never hears of it.
                api.disconnect();
                self.shared.counts.of(ask.kind).dropped.fetch_add(1, Ordering::Relaxed);
                Happened::Lost("the simulation dropped the answer".into())
            }
            Ok(reply) => Happened::Answered(answer(reply)),
            Err(error) => Happened::Lost(error.to_string()),
        }
    }

    async fn stand(&mut self, name: &str) -> Happened {
        let place = name.bytes().fold(0_usize, |sum, byte| sum.wrapping_add(usize::from(byte)));
        let Some(client) = self.shared.administrators.get(place % ADMINISTRATORS) else {
            return Happened::Lost("nobody may ask".into());
        };
        let mut client = client.lock().await;
        let path = format!("/v1/machines/{name}");
        let began = Instant::now();
        let mut question = Question::get(&path, PATIENCE);
        question.bearer = Some(&self.shared.token);
        let reply = client.ask(&question, true).await;
        drop(client);
        self.shared.count(Kind::Administrator, &path, began, 0, &reply);
        match reply {
            Ok(reply) if reply.status == 200 => match serde_json::from_slice::<MachineSummary>(&reply.body) {
                Ok(summary) => Happened::Stands(standing(&summary)),
                Err(error) => self.shared.unusable(Kind::Administrator, format!("how a machine stands: {error}")),
            },
            Ok(reply) => Happened::Lost(format!("{path} was answered with status {}", reply.status)),
            Err(error) => Happened::Lost(error.to_string()),
        }
    }
}

/// How a run stands, in the words of the machine's line.
fn standing(summary: &MachineSummary) -> Standing {
    match (summary.phase, summary.run_status) {
        (_, Some(RunStatus::Finished)) => Standing::Finished,
        // It has no workflow to walk, or was adopted as if it had walked it.
        (Phase::Ready, None) => Standing::Failed(summary.waits_for.clone()),
        (Phase::Failed | Phase::Left, _) | (_, Some(RunStatus::Cancelled)) => {
            Standing::Failed(summary.waits_for.clone())
        }
        _ => Standing::Open,
    }
}

fn answer(reply: Reply) -> Answer {
    let number = |name: &str| reply.headers.get(name)?.to_str().ok()?.trim().parse().ok();
    Answer {
        status: reply.status,
        log_length: number("formwork-log-length"),
        retry_after: number("retry-after"),
        body: reply.body.to_vec(),
    }
}

/// The bytes of a MAC as text.
fn bytes_of<const N: usize>(mac: &str) -> [u8; N] {
    let mut bytes = [0; N];
    let parts = mac.split(':').filter_map(|part| u8::from_str_radix(part, 16).ok());
    bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    bytes
}
