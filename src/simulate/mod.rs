//! `formwork simulate`: machines that are not there, for sizing a site and for trying a server hard.
//!
//! [`machine`] decides what a simulated machine does next, from what happened to it; [`driver`] does it, over the very protocols
//! that real machines speak: DHCP as by a relay, TFTP, HTTP, the exchange of tickets with real keys over pinned TLS, and the
//! agent's messages. What is not real is in them: no kernel starts, files are fetched and forgotten, and **no script is ever run**.
//! How long a task takes, how it ends and what it says to its cluster profile comes from the simulation ([`behaviour`]).
//!
//! A server must mean it: simulated machines have MACs that begin with [`MAC_PREFIX`], and a server takes them in only where an
//! enrollment rule for that prefix names them `simulated-…`. The first machine asks before any other does.

mod acts;
mod behaviour;
mod count;
mod dhcp;
mod dice;
mod driver;
mod http;
mod key;
mod machine;
pub mod record;
mod report;
mod script;
mod tftp;
mod work;

pub use dice::{Seconds, probability};
pub use machine::Habits;
pub use report::{Away, Report, Row, What, Wrongs};

use crate::api::views::{Context, MachineSummary};
use acts::Verdict;
use driver::{Driver, Shared};
use http::{Client, HttpError, Question, Server};
use machine::Machine;
use script::Order;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// What all simulated machines' MACs begin with: locally administered (IEEE 802, second bit of the first byte), so no card's.
pub const MAC_PREFIX: &str = "02:46:57";
/// What a name of a simulated machine begins with.
pub const NAME_PREFIX: &str = "simulated-";
/// Machines at most: what three bytes of a MAC can tell apart is more, what a process can hold is less.
pub const MACHINES_MAX: u32 = 100_000;
const AGENT_VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "-simulated");
/// How long the first machine waits for a server that has no revision yet.
const FIRST_PATIENCE: Duration = Duration::from_secs(30);
/// Files a process needs beside one connection a machine.
const OTHER_FILES: u64 = 256;

/// What is simulated, and where.
pub struct Options {
    /// The boot server.
    pub server: Ipv4Addr,
    /// Its port of plain HTTP.
    pub http_port: u16,
    /// How many machines.
    pub machines: u32,
    /// The number of the first: another range is other machines.
    pub first: u32,
    /// How they behave.
    pub habits: Habits,
    /// Speak to a proxy (port 4011) rather than to a DHCP server.
    pub proxy: bool,
    /// The address of this host that DHCP is relayed from.
    pub relay: Option<Ipv4Addr>,
    /// Requests in flight at most, apart from those that the server holds.
    pub in_flight: usize,
    /// The whole simulation ends after this.
    pub limit: Duration,
    /// An administrator's context: how runs stand is asked there.
    pub context: Context,
    /// Where what machines did and saw is written, one JSON document a line.
    pub record: Option<PathBuf>,
}

/// Why nothing is simulated.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The server does not take simulated machines.
    #[error("this server does not mean to be simulated against: {0}")]
    NotMeant(String),
    /// Nobody answers at the boot address.
    #[error("no answer from the boot server http://{address}: {error}")]
    Away {
        /// Where it was asked.
        address: SocketAddr,
        /// What the network said.
        error: HttpError,
    },
    /// The server does not answer as one does.
    #[error("the boot server {address}: {what}")]
    Server {
        /// Where it was asked.
        address: SocketAddr,
        /// What came.
        what: String,
    },
    /// The administrator's API.
    #[error("the server of the context: {0}")]
    Context(#[from] HttpError),
    /// The relay's socket.
    #[error(
        "DHCP as a relay at {address}: {error}; --relay names an address of this host, and port 67 needs the right to bind it"
    )]
    Relay {
        /// The address.
        address: Ipv4Addr,
        /// What the system said.
        error: std::io::Error,
    },
    /// Too few files may be open.
    #[error("{machines} machines need {needed} open files, and this process may have {allowed}: raise `ulimit -n`")]
    Files {
        /// Machines.
        machines: u32,
        /// Needed.
        needed: u64,
        /// Allowed.
        allowed: u64,
    },
    /// The record cannot be written.
    #[error("the record {path} cannot be written: {error}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
}

impl SimulateError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NotMeant(_) => {}
            Self::Relay { error, .. } if error.kind() == std::io::ErrorKind::AddrInUse => {
                return Some(
                    "a DHCP server on this host has port 67, such as the one to be simulated against: a relay has to be on another \
                     host, or in a network namespace of its own"
                        .to_owned(),
                );
            }
            _ => return None,
        }
        Some(format!(
            "a site that may be simulated against says so by a rule such as\n\
             apiVersion: formwork.dev/v1alpha1\n\
             kind: Enrollment\n\
             metadata: {{name: simulated}}\n\
             spec:\n  match: {{macPrefixes: [\"{MAC_PREFIX}\"]}}\n  \
             name: \"{NAME_PREFIX}{{{{ mac | replace(':', '') }}}}\"\n  workflow: WORKFLOW\n  priority: 1000"
        ))
    }
}

/// Where a simulation stands.
#[derive(Debug, Default)]
pub struct Progress {
    /// Machines whose run is done.
    pub finished: AtomicU32,
    /// Machines whose run waits for a person, or that the server would not have.
    pub failed: AtomicU32,
}

/// A simulation whose options were found good here; no server was asked yet.
pub struct Prepared {
    options: Options,
    address: SocketAddr,
    habits: Arc<Habits>,
    relay: Option<Arc<dhcp::Relay>>,
    record: Option<std::fs::File>,
    administrators: Server,
}

/// A simulation that was begun.
pub struct Simulation {
    shared: Arc<Shared>,
    options: Options,
    began: Instant,
}

impl Prepared {
    /// Looks at everything that can be looked at without a server: what the command line names wrongly has nothing asked, and no machine
    /// enrolled.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub async fn of(options: Options) -> Result<Self, SimulateError> {
        enough_files(options.machines)?;
        let address = SocketAddr::from((options.server, options.http_port));
        let habits = Arc::new(options.habits.clone());
        let relay = match options.relay.filter(|_| options.habits.dhcp) {
            None => None,
            Some(relay) => Some(
                dhcp::Relay::bind(relay, options.server, options.proxy)
                    .await
                    .map_err(|error| SimulateError::Relay { address: relay, error })?,
            ),
        };
        let record = match &options.record {
            None => None,
            Some(path) => Some(record_at(path, false)?),
        };
        let administrators = Server::pinned(&options.context.server, &options.context.ca_certificate)?;
        Ok(Self { options, address, habits, relay, record, administrators })
    }

    /// Looks through the machines that the site knows for one with a simulated MAC and a name of its own. It is a real one, declared
    /// in Git, and the first question of a machine may begin its run: so this comes before any machine asks.
    ///
    /// # Errors
    /// [`SimulateError::NotMeant`].
    pub fn look(&self, known: &[MachineSummary]) -> Result<(), SimulateError> {
        let simulated = self.options.first..self.options.first.saturating_add(self.options.machines);
        for machine in known.iter().filter(|machine| !machine.name.starts_with(NAME_PREFIX)) {
            let number = |mac: &&String| number_of(mac).is_some_and(|number| simulated.contains(&number));
            if let Some(mac) = machine.macs.iter().find(number) {
                return Err(SimulateError::NotMeant(named_otherwise(mac, &machine.name)));
            }
        }
        Ok(())
    }

    /// Asks the server with the first machine whether it means to be simulated against.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub async fn begin(self) -> Result<Simulation, SimulateError> {
        let Self { options, address, habits, relay, record, administrators } = self;
        first_asks(address, &Machine::new(options.first, Arc::clone(&habits))).await?;
        if let Some(path) = &options.record {
            record_at(path, true)?;
        }
        let shared = Shared::new(habits, address, relay, options.in_flight, administrators, &options.context, record);
        Ok(Simulation { shared: Arc::new(shared), options, began: Instant::now() })
    }
}

impl Simulation {
    /// How far it is, while it runs.
    pub fn progress(&self) -> impl Fn() -> String + Send + Sync + 'static + use<> {
        let (shared, began, machines) = (Arc::clone(&self.shared), self.began, self.options.machines);
        move || report::progress(&shared, machines, began.elapsed())
    }

    /// Runs all machines to their ends, or until the limit, or until `stop`, or until it is plain that the API that their tickets
    /// name is not there.
    ///
    /// # Errors
    /// Beside the report: [`SimulateError::Record`], where the record is not whole.
    pub async fn run(self, stop: impl Future<Output = ()>) -> (Report, Result<(), SimulateError>) {
        let Self { shared, options, began } = self;
        let mut tasks = tokio::task::JoinSet::new();
        let ready = Arc::new(Semaphore::new(0));
        for number in (options.first..).take(options.machines as usize) {
            let driver = Driver::new(Arc::clone(&shared));
            let machine = Machine::new(number, Arc::clone(&shared.habits));
            let ready = Arc::clone(&ready);
            tasks.spawn(async move {
                let _go = ready.acquire().await;
                (number, Box::pin(driver.run(machine)).await)
            });
        }
        ready.add_permits(options.machines as usize);
        let mut ends = Vec::new();
        let over = tokio::time::sleep(options.limit);
        tokio::pin!(over, stop);
        loop {
            tokio::select! {
                next = tasks.join_next() => match next {
                    None => break,
                    Some(Ok((number, (verdict, took)))) => {
                        let count = if matches!(verdict, Verdict::Finished | Verdict::Idle) {
                            &shared.progress.finished
                        } else {
                            &shared.progress.failed
                        };
                        count.fetch_add(1, Ordering::Relaxed);
                        ends.push((number, verdict, took));
                    }
                    Some(Err(error)) => tracing::error!(%error, "a simulated machine stopped at an error of this program"),
                },
                () = shared.away.notified() => break,
                () = &mut over => break,
                () = &mut stop => break,
            }
        }
        tasks.shutdown().await;
        let recorded = match (shared.finish_record(), options.record) {
            (Some(error), Some(path)) => Err(SimulateError::Record { path, error }),
            _ => Ok(()),
        };
        (Report::of(&shared, options.machines, began.elapsed(), ends), recorded)
    }
}

/// Opens the file of the record; with `anew`, without what an earlier simulation wrote there.
fn record_at(path: &std::path::Path, anew: bool) -> Result<std::fs::File, SimulateError> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(anew);
    options.open(path).map_err(|error| SimulateError::Record { path: path.to_owned(), error })
}

/// Why a server that calls a simulated machine so is left alone.
fn named_otherwise(mac: &str, name: &str) -> String {
    format!("it calls {mac} {name}, and a simulated machine's name begins with {NAME_PREFIX}")
}

/// The number of the simulated machine with this MAC; none: it is no simulated one's.
fn number_of(mac: &str) -> Option<u32> {
    let rest = mac.strip_prefix(MAC_PREFIX)?.strip_prefix(':')?;
    u32::from_str_radix(&rest.replace(':', ""), 16).ok()
}

/// The first machine asks for its script: only a server with a rule for it goes on.
async fn first_asks(address: SocketAddr, machine: &Machine) -> Result<(), SimulateError> {
    let mut client = Client::new(Server::plain(address));
    let began = Instant::now();
    let wrong = |what: String| SimulateError::Server { address, what };
    loop {
        let path = machine.script_path();
        let reply = client
            .ask(&Question::get(&path, Duration::from_secs(10)), true)
            .await
            .map_err(|error| SimulateError::Away { address, error })?;
        let script = script::read(&String::from_utf8_lossy(&reply.body))
            .ok_or_else(|| wrong(format!("what came is no boot script (status {})", reply.status)))?;
        if let Some(name) = script.machine.filter(|name| !name.starts_with(NAME_PREFIX)) {
            return Err(SimulateError::NotMeant(named_otherwise(machine.mac(), &name)));
        }
        match script.order {
            Order::Boot { .. } | Order::Local => return Ok(()),
            Order::Nothing { reason } => return Err(SimulateError::NotMeant(reason)),
            Order::Hold { reason, .. } if began.elapsed() > FIRST_PATIENCE => {
                return Err(wrong(format!("it holds {}: {reason}", machine.mac())));
            }
            Order::Hold { .. } => tokio::time::sleep(Duration::from_secs(1)).await,
        }
    }
}

/// Raises the soft limit on open files as far as it may go.
fn enough_files(machines: u32) -> Result<(), SimulateError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let needed = u64::from(machines) * 2 + OTHER_FILES;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current.is_some_and(|current| current < needed) {
        let wanted = maximum.map_or(needed, |maximum| maximum.min(needed));
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum });
    }
    let allowed = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    // One connection a machine is what it needs in the long run; the second is open only while it boots.
    let least = u64::from(machines) + OTHER_FILES;
    if allowed < least { Err(SimulateError::Files { machines, needed: least, allowed }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
