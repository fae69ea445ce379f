//! A standing with the server: from the ticket to tokens, kept fresh, used by everything that asks the server something.

use super::identity::{AgentKey, token_id};
use super::transport::{Patience, Request, Response, Transport, TransportError};
use crate::wire::{
    BootFile, ClusterToken, ExchangeAnswer, ExchangeRequest, HardwareIdentity, PROTOCOL, Problem, RenewRequest,
};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Why the server did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There was no answer.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The server refused.
    #[error("{} ({}{})", problem.message, problem.code, problem.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        problem: Problem,
    },
    /// The answer could not be read.
    #[error("{0}")]
    Unreadable(String),
}

impl AskError {
    /// From an answer that is a refusal.
    pub fn refused(response: &Response) -> Self {
        Self::Refused { status: response.status, problem: response.problem() }
    }
}

#[derive(Default)]
struct Standing {
    token: String,
    clusters: BTreeMap<String, String>,
    renew_at: Option<Instant>,
    machine: String,
    server_time_unix_ms: i64,
}

/// The agent's standing with its server.
pub struct Connection {
    transport: Transport,
    key: AgentKey,
    boot: BootFile,
    boot_id: String,
    hardware: HardwareIdentity,
    standing: Mutex<Standing>,
    /// Held while tokens are fetched, so that threads that meet a dead token at once fetch once.
    fetching: Mutex<()>,
}

impl Connection {
    /// Nothing is sent yet.
    pub fn new(
        transport: Transport,
        key: AgentKey,
        boot: BootFile,
        boot_id: String,
        hardware: HardwareIdentity,
    ) -> Self {
        let (standing, fetching) = (Mutex::default(), Mutex::default());
        Self { transport, key, boot, boot_id, hardware, standing, fetching }
    }

    /// The boot file this connection came from.
    pub fn boot(&self) -> &BootFile {
        &self.boot
    }

    /// This start of the kernel.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// What the box says it is.
    pub fn hardware(&self) -> &HardwareIdentity {
        &self.hardware
    }

    /// The machine's name as the server gave it.
    pub fn machine(&self) -> String {
        lock(&self.standing).machine.clone()
    }

    /// The server's clock at the last exchange or renewal, Unix milliseconds.
    pub fn server_time_unix_ms(&self) -> i64 {
        lock(&self.standing).server_time_unix_ms
    }

    /// The names of the clusters there is a token for.
    pub fn clusters(&self) -> Vec<String> {
        lock(&self.standing).clusters.keys().cloned().collect()
    }

    /// Takes the fresh tokens that come with a job.
    pub fn take_cluster_tokens(&self, tokens: &[ClusterToken]) {
        let mut standing = lock(&self.standing);
        for given in tokens {
            standing.clusters.insert(given.cluster.clone(), given.token.clone());
        }
    }

    /// Ticket and public key for tokens. Repeating it with the same key is harmless.
    pub fn exchange(&self, patience: Patience) -> Result<(), AskError> {
        let id = self.boot.ticket.split('.').next().unwrap_or_default();
        let request = ExchangeRequest {
            ticket: self.boot.ticket.clone(),
            public_key: self.key.public_key(),
            signature: self.key.sign(&format!("formwork-exchange-v1\n{id}")),
            boot_id: self.boot_id.clone(),
            protocol: PROTOCOL,
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            hardware: self.hardware.clone(),
        };
        let response = self.transport.send(&Request::post_json("/v1/agent/exchange", &request), patience, &|| false)?;
        self.take(&response)
    }

    fn renew(&self, token: &str) -> Result<(), AskError> {
        let id = token_id(token).ok_or_else(|| AskError::Unreadable("the token has no id".into()))?;
        let body = RenewRequest {
            public_key: self.key.public_key(),
            signature: self.key.sign(&format!("formwork-renew-v1\n{id}")),
        };
        let mut request = Request::post_json("/v1/agent/renew", &body);
        request.bearer = Some(token.to_owned());
        let response = self.transport.send(&request, Patience::Once, &|| false)?;
        self.take(&response)
    }

    fn take(&self, response: &Response) -> Result<(), AskError> {
        if !response.is_success() {
            return Err(AskError::refused(response));
        }
        let answer: ExchangeAnswer = response.json().map_err(AskError::Unreadable)?;
        let mut standing = lock(&self.standing);
        standing.token = answer.token;
        standing.clusters = answer.clusters.into_iter().map(|given| (given.cluster, given.token)).collect();
        standing.renew_at = Some(Instant::now() + Duration::from_secs(answer.renew_after_seconds.clamp(10, 86_400)));
        standing.machine = answer.machine;
        standing.server_time_unix_ms = answer.server_time_unix_ms;
        Ok(())
    }

    /// Sends with the machine token; renews it when it is due, and exchanges anew when the server no longer takes it.
    pub fn ask(&self, request: Request, patience: Patience, stop: &dyn Fn() -> bool) -> Result<Response, AskError> {
        self.with_token(request, patience, stop, |standing| Some(standing.token.clone()))
    }

    /// Sends with the token of a cluster. `None` inside the error's place means there is no token for it.
    pub fn ask_cluster(
        &self,
        cluster: &str,
        request: Request,
        patience: Patience,
        stop: &dyn Fn() -> bool,
    ) -> Result<Response, AskError> {
        self.with_token(request, patience, stop, |standing| standing.clusters.get(cluster).cloned())
    }

    fn with_token(
        &self,
        mut request: Request,
        patience: Patience,
        stop: &dyn Fn() -> bool,
        pick: impl Fn(&Standing) -> Option<String>,
    ) -> Result<Response, AskError> {
        self.renew_if_due();
        let used = pick(&lock(&self.standing)).unwrap_or_default();
        request.bearer = Some(used.clone());
        let response = self.transport.send(&request, patience, stop)?;
        if response.status != 401 {
            return Ok(response);
        }
        {
            let _one_at_a_time = lock(&self.fetching);
            if pick(&lock(&self.standing)).as_deref() == Some(&used) || used.is_empty() {
                self.exchange(Patience::Once)?;
            }
        }
        request.bearer = Some(pick(&lock(&self.standing)).unwrap_or_default());
        Ok(self.transport.send(&request, patience, stop)?)
    }

    fn renew_if_due(&self) {
        let due = |standing: &Standing| standing.renew_at.is_some_and(|at| Instant::now() >= at);
        if !due(&lock(&self.standing)) {
            return;
        }
        let _one_at_a_time = lock(&self.fetching);
        let token = {
            let mut standing = lock(&self.standing);
            if !due(&standing) {
                return;
            }
            // One try a minute; when none succeeds, the token ends and the ticket is exchanged anew.
            standing.renew_at = Some(Instant::now() + Duration::from_secs(60));
            standing.token.clone()
        };
        if let Err(error) = self.renew(&token) {
            eprintln!("formwork-agent: the token was not renewed: {error}");
        }
    }
}

/// A lock whose holder panicked still guards good data here: nothing is half written under it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
