//! The loop: ask what is next, do it, say how it ended, ask again.

use super::active::ActiveJob;
use super::clock;
use super::command_line::Options;
use super::connection::{AskError, Connection};
use super::executor;
use super::heartbeat::Heartbeat;
use super::identity::{AgentKey, IdentityError};
use super::job_log::JobLog;
use super::layout::{Layout, private_dir};
use super::log_upload::LogUpload;
use super::machine;
use super::power::{self, PowerAction};
use super::processes::{Mark, end_family};
use super::running::Running;
use super::socket::server::{self, Desk};
use super::transport::{Patience, Request, Transport, TransportError};
use crate::wire::{BootFile, BootFileKind, CheckInRequest, JobEnd, JobGrant, JobOutcome, NextAnswer, NextRequest};
use std::sync::Arc;
use std::time::Duration;

/// How long the server may hold the answer to "what is next?".
const HOLD: Duration = Duration::from_secs(50);
/// The server holds a question while there is nothing to do, and answers the moment there is: it is asked again at once, but
/// never in a tight circle. (`ask_again_seconds` is for who cannot be held.)
const BETWEEN_QUESTIONS: Duration = Duration::from_secs(1);
/// How long a job's end waits for its log to be complete on the server.
const LOG_PATIENCE: Duration = Duration::from_secs(60);
/// The longest pause before a server that refused is asked again.
const LONGEST_REFUSAL_PAUSE: Duration = Duration::from_secs(60);

/// Why the agent cannot start. Once it runs, it runs until the machine goes down.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The boot file could not be read.
    #[error("the boot file {path}: {reason}; name another with --boot-file")]
    BootFile {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The boot file's authority is no good.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// There is no key.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The agent's folders, socket or boot id.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
}

fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> RunError {
    move |source| RunError::System { what, source }
}

struct Agent {
    options: Options,
    layout: Layout,
    connection: Arc<Connection>,
    desk: Arc<Desk>,
}

/// Is the agent, until the machine goes down.
pub fn run(options: Options) -> Result<(), RunError> {
    let boot = read_boot_file(&options)?;
    let ram = boot.kind == BootFileKind::Boot;
    if options.set_clock {
        correct_clock(boot.server_time_unix_ms, ram);
    }
    let layout = Layout::create(&options.run_dir).map_err(system("the run folder"))?;
    layout.link_program().map_err(system("the link to this program for scripts"))?;
    let key_dir = if ram { &options.run_dir } else { &options.state_dir };
    private_dir(key_dir).map_err(system("the folder of the agent's key"))?;
    let key = AgentKey::load_or_create(&key_dir.join("agent.key"))?;
    let boot_id = machine::boot_id().map_err(system("the kernel's boot id"))?;
    let transport = Transport::new(&boot)?;
    let connection = Arc::new(Connection::new(transport, key, boot, boot_id, machine::hardware_identity()));
    let desk = Arc::new(Desk::default());
    server::start(&layout.socket(), Arc::clone(&desk), Arc::clone(&connection))
        .map_err(system("the socket for scripts"))?;
    let agent = Agent { options, layout, connection, desk };
    agent.live(ram)
}

fn read_boot_file(options: &Options) -> Result<BootFile, RunError> {
    let path = &options.boot_file;
    let failed = |reason: String| RunError::BootFile { path: path.display().to_string(), reason };
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))
}

fn correct_clock(server_unix_ms: i64, made_for_this_boot: bool) {
    let own = clock::now_unix_ms();
    if let Some(right) = clock::correction(own, server_unix_ms, clock::uptime_ms(), made_for_this_boot) {
        match clock::set(right) {
            Ok(()) => eprintln!("formwork-agent: the clock was off by {} s and is set", (right - own) / 1_000),
            Err(error) => eprintln!("formwork-agent: the clock is off and cannot be set: {error}"),
        }
    }
}

impl Agent {
    fn live(&self, ram: bool) -> Result<(), RunError> {
        self.stand();
        if self.options.set_clock && ram {
            // The authority's pin matched: from now on the server's clock counts.
            let (own, server) = (clock::now_unix_ms(), self.connection.server_time_unix_ms());
            if own.abs_diff(server) > 60_000 {
                correct_clock_to(server);
            }
        }
        self.settle_leftovers();
        let mut last_reason = None;
        loop {
            match self.next() {
                Ok(NextAnswer::Job(grant)) => self.work(*grant),
                Ok(NextAnswer::Wait { reason, ask_again_seconds }) => {
                    if last_reason.as_ref() != Some(&reason) {
                        eprintln!("formwork-agent: waiting: {reason}");
                        last_reason = Some(reason);
                    }
                    std::thread::sleep(Duration::from_secs(ask_again_seconds).min(BETWEEN_QUESTIONS));
                }
                Ok(NextAnswer::Abandon { job, reason }) => {
                    let end = self.end_without_running(JobOutcome::Abandoned, reason);
                    self.deliver(&job, &end);
                }
                Ok(NextAnswer::Reboot { reason }) => self.leave(PowerAction::Reboot, &reason),
                Ok(NextAnswer::PowerOff { reason }) => self.leave(PowerAction::PowerOff, &reason),
                Err(error) => {
                    eprintln!("formwork-agent: what is next is not known: {error}");
                    std::thread::sleep(Duration::from_secs(2));
                    self.stand();
                }
            }
        }
    }

    /// Exchanges the ticket and checks in, for as long as it takes.
    fn stand(&self) {
        let mut pause = Duration::from_secs(1);
        loop {
            let stood = self.connection.exchange(Patience::Forever).and_then(|()| self.check_in());
            match stood {
                Ok(()) => return eprintln!("formwork-agent: this is {}", self.connection.machine()),
                Err(error) => eprintln!("formwork-agent: the server does not take this machine: {error}"),
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(LONGEST_REFUSAL_PAUSE);
        }
    }

    fn check_in(&self) -> Result<(), AskError> {
        let boot = self.connection.boot();
        let request = CheckInRequest {
            boot_id: self.connection.boot_id().to_owned(),
            environment: boot.environment.clone(),
            architecture: machine::architecture(),
            firmware: machine::firmware().to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: machine::kernel(),
            address: machine::address_towards(&boot.server),
            hardware: self.connection.hardware().clone(),
        };
        let request = Request::post_json("/v1/agent/check-in", &request);
        let response = self.connection.ask(request, Patience::Forever, &|| false)?;
        if response.is_success() { Ok(()) } else { Err(AskError::refused(&response)) }
    }

    fn next(&self) -> Result<NextAnswer, AskError> {
        let body =
            NextRequest { boot_id: self.connection.boot_id().to_owned(), running: None, wait_seconds: HOLD.as_secs() };
        let request = Request::post_json("/v1/agent/next", &body).timeout(HOLD + Duration::from_secs(25));
        let response = self.connection.ask(request, Patience::Forever, &|| false)?;
        if !response.is_success() {
            return Err(AskError::refused(&response));
        }
        response.json().map_err(AskError::Unreadable)
    }

    /// Does one job, from its grant to its end on the server.
    fn work(&self, grant: JobGrant) {
        eprintln!("formwork-agent: job {}: {} (attempt {})", grant.job, grant.task, grant.attempt);
        self.connection.take_cluster_tokens(&grant.clusters);
        let id = grant.job.clone();
        let dir = self.layout.job_dir(&id);
        let mut running =
            Running { boot_id: self.connection.boot_id().to_owned(), job: id.clone(), leader: None, end: None };
        let prepared =
            private_dir(&dir).and_then(|()| running.save(&self.layout)).and_then(|()| ActiveJob::new(grant, &dir));
        let end = match prepared {
            Ok(job) => {
                let job = Arc::new(job);
                let upload = LogUpload::start(Arc::clone(&self.connection), id.clone(), Arc::clone(&job.log));
                let heartbeat = Heartbeat::start(Arc::clone(&self.connection), Arc::clone(&job));
                self.desk.open_for(Arc::clone(&job));
                let boot_id = self.connection.boot_id();
                let ended = executor::execute(&self.layout, boot_id, &self.connection.boot().environment, &job);
                self.desk.close();
                let end = JobEnd {
                    boot_id: boot_id.to_owned(),
                    outcome: ended.outcome,
                    exit_code: ended.exit_code,
                    message: ended.message,
                    requests: job.requests(),
                    log_bytes: job.log.length(),
                };
                running.end = Some(end.clone());
                if let Err(error) = running.save(&self.layout) {
                    eprintln!("formwork-agent: the job's end is not written down: {error}");
                }
                upload.finish(LOG_PATIENCE);
                drop(heartbeat);
                end
            }
            Err(error) => {
                self.end_without_running(JobOutcome::Failed, format!("the agent could not start it: {error}"))
            }
        };
        eprintln!("formwork-agent: job {id}: {:?}", end.outcome);
        self.deliver(&id, &end);
    }

    fn end_without_running(&self, outcome: JobOutcome, message: String) -> JobEnd {
        let boot_id = self.connection.boot_id().to_owned();
        JobEnd { boot_id, outcome, exit_code: None, message: Some(message), requests: Vec::new(), log_bytes: 0 }
    }

    /// Says how a job ended until the server has heard it.
    fn deliver(&self, job: &str, end: &JobEnd) {
        loop {
            let request = Request::post_json(format!("/v1/agent/jobs/{job}/end"), end);
            match self.connection.ask(request, Patience::Forever, &|| false) {
                Ok(response) if response.is_success() => break,
                Ok(response) if response.status == 401 => self.stand(),
                Ok(response) => {
                    eprintln!("formwork-agent: the end of job {job} is not taken: {}", response.problem().message);
                    break;
                }
                Err(error) => {
                    eprintln!("formwork-agent: the end of job {job} waits: {error}");
                    std::thread::sleep(Duration::from_secs(2));
                    self.stand();
                }
            }
        }
        Running::clear(&self.layout);
        let _ = std::fs::remove_dir_all(self.layout.job_dir(job)); // the boot's end takes what cannot be removed now
    }

    /// After an agent of the same boot was killed: ends what it left running and says how its job ended.
    fn settle_leftovers(&self) {
        let Some(running) = Running::load(&self.layout, self.connection.boot_id()) else {
            return self.forget_old_jobs();
        };
        let left = end_family(running.leader, &Mark::new(&running.job, &self.layout.socket()), Duration::from_secs(3));
        if left > 0 {
            eprintln!("formwork-agent: {left} processes of job {} cannot be ended", running.job);
        }
        let dir = self.layout.job_dir(&running.job);
        let log = private_dir(&dir).and_then(|()| JobLog::open(&dir.join("log"))).map(Arc::new);
        let mut end = running.end.unwrap_or_else(|| {
            let message = "the agent was ended in mid-job and started anew in the same boot";
            if let Ok(log) = &log {
                log.note(message);
            }
            self.end_without_running(JobOutcome::Interrupted, message.into())
        });
        if let Ok(log) = log {
            end.log_bytes = log.length();
            LogUpload::start(Arc::clone(&self.connection), running.job.clone(), log).finish(LOG_PATIENCE);
        }
        self.deliver(&running.job, &end);
        self.forget_old_jobs();
    }

    fn forget_old_jobs(&self) {
        let Ok(entries) = std::fs::read_dir(self.layout.jobs_dir()) else { return };
        for entry in entries.flatten() {
            let _ = std::fs::remove_dir_all(entry.path()); // the boot's end takes what cannot be removed now
        }
    }

    fn leave(&self, action: PowerAction, reason: &str) {
        let (word, instead) = match action {
            PowerAction::Reboot => ("reboot", &self.options.reboot_command),
            PowerAction::PowerOff => ("power-off", &self.options.poweroff_command),
        };
        eprintln!("formwork-agent: {word}: {reason}");
        if let Err(error) = power::perform(action, instead.as_deref()) {
            eprintln!("formwork-agent: {word} failed: {error}");
        }
        // Going down takes a while; when the machine is still here, the server is asked again.
        std::thread::sleep(Duration::from_secs(30));
    }
}

fn correct_clock_to(server_unix_ms: i64) {
    match clock::set(server_unix_ms) {
        Ok(()) => eprintln!("formwork-agent: the clock is set to the server's"),
        Err(error) => eprintln!("formwork-agent: the clock differs from the server's and cannot be set: {error}"),
    }
}
