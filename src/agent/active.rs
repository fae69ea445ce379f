//! The job that runs now, as the threads around it share it.

use super::connection::lock;
use super::identity::random_hex;
use super::job_log::JobLog;
use crate::wire::{JobGrant, JobRequest};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A claim that the job holds: the heartbeat renews it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldClaim {
    /// The cluster profile.
    pub cluster: String,
    /// The claim.
    pub claim: String,
    /// The fence it was given.
    pub fence: u64,
    /// How long it lives without a renewal.
    pub lifetime: Duration,
    /// When it was last given or renewed.
    pub renewed: Instant,
}

/// The job that runs now.
pub struct ActiveJob {
    /// What the server granted.
    pub grant: JobGrant,
    /// What its scripts show to prove that they are its scripts. Secret.
    pub capability: String,
    /// Its log.
    pub log: Arc<JobLog>,
    requests: Mutex<Vec<JobRequest>>,
    abandoned: Mutex<Option<String>>,
    claims: Mutex<Vec<HeldClaim>>,
}

impl ActiveJob {
    /// A job about to run, its log in `dir`.
    pub fn new(grant: JobGrant, dir: &Path) -> io::Result<Self> {
        Ok(Self {
            grant,
            capability: random_hex(32).map_err(io::Error::other)?,
            log: Arc::new(JobLog::open(&dir.join("log"))?),
            requests: Mutex::default(),
            abandoned: Mutex::default(),
            claims: Mutex::default(),
        })
    }

    /// Notes what the task asks for; asking twice is asking once.
    pub fn request(&self, wanted: JobRequest) {
        let mut requests = lock(&self.requests);
        if !requests.contains(&wanted) {
            requests.push(wanted);
        }
    }

    /// What the task asked for.
    pub fn requests(&self) -> Vec<JobRequest> {
        lock(&self.requests).clone()
    }

    /// The server no longer wants this job.
    pub fn abandon(&self, reason: &str) {
        lock(&self.abandoned).get_or_insert_with(|| reason.to_owned());
    }

    /// Why the job is to end, once it is.
    pub fn abandoned(&self) -> Option<String> {
        lock(&self.abandoned).clone()
    }

    /// Notes a claim as held, or as held anew.
    pub fn hold(&self, held: HeldClaim) {
        let mut claims = lock(&self.claims);
        claims.retain(|other| (&other.cluster, &other.claim) != (&held.cluster, &held.claim));
        claims.push(held);
    }

    /// Forgets a claim that is done, failed or lost.
    pub fn release(&self, cluster: &str, claim: &str) {
        lock(&self.claims).retain(|held| held.cluster != cluster || held.claim != claim);
    }

    /// Claims held now.
    pub fn held(&self) -> Vec<HeldClaim> {
        lock(&self.claims).clone()
    }

    /// The fence of a claim held now.
    pub fn fence(&self, cluster: &str, claim: &str) -> Option<u64> {
        lock(&self.claims).iter().find(|held| held.cluster == cluster && held.claim == claim).map(|held| held.fence)
    }
}
