//! While a job runs: tells the server so, hears whether it is still wanted, and renews the claims it holds.

use super::active::ActiveJob;
use super::connection::{AskError, Connection};
use super::transport::{Patience, Request, sleep_unless};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Pause between two heartbeats.
const INTERVAL: Duration = Duration::from_secs(10);
/// How often it is looked whether a claim is due: one may live for seconds only.
const LOOK: Duration = Duration::from_millis(250);
/// A heartbeat's answer is not waited for longer than this: the next one is as good.
const PATIENCE: Duration = Duration::from_secs(8);

/// Refusals of an exchange after which this boot is not the machine any more.
const ENDED: [&str; 3] = ["quarantined", "machine-gone", "ticket-ended"];

#[derive(Serialize)]
struct Beat<'a> {
    job: &'a str,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    abandon: bool,
    #[serde(default)]
    reason: Option<String>,
}

/// Beats until dropped.
pub struct Heartbeat {
    stop: Arc<AtomicBool>,
}

impl Heartbeat {
    /// Starts to beat for this job.
    pub fn start(connection: Arc<Connection>, job: Arc<ActiveJob>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let spawned = std::thread::Builder::new().name("heartbeat".into()).spawn(move || {
            let stopped = || stopped.load(Ordering::Relaxed);
            let mut beaten = Instant::now();
            while sleep_unless(LOOK, &stopped) {
                if beaten.elapsed() >= INTERVAL {
                    beaten = Instant::now();
                    beat(&connection, &job, &stopped);
                }
                renew_claims(&connection, &job, &stopped);
            }
        });
        if let Err(error) = spawned {
            eprintln!("formwork-agent: no heartbeat: {error}");
        }
        Self { stop }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn beat(connection: &Connection, job: &ActiveJob, stopped: &dyn Fn() -> bool) {
    let request = Request::post_json("/v1/agent/heartbeat", &Beat { job: &job.grant.job }).timeout(PATIENCE);
    let response = match connection.ask(request, Patience::Once, stopped) {
        Ok(response) => response,
        // Its ticket opens nothing any more: another key used it, another boot came after, or the machine is gone from Git.
        // What it does to disks and clusters is no longer the machine's.
        Err(AskError::Refused { problem, .. }) if ENDED.contains(&problem.code.as_str()) => {
            return job.abandon(&format!("the server does not take this machine any more: {}", problem.message));
        }
        // No answer, or one that cannot be read, is no word to stop.
        Err(_) => return,
    };
    if let (true, Ok(answer)) = (response.is_success(), response.json::<Answer>())
        && answer.abandon
    {
        job.abandon(answer.reason.as_deref().unwrap_or("the server no longer wants this job"));
    }
}

fn renew_claims(connection: &Connection, job: &ActiveJob, stopped: &dyn Fn() -> bool) {
    for mut held in job.held() {
        if held.renewed.elapsed() < held.lifetime / 3 {
            continue;
        }
        let seconds = held.lifetime.as_secs().max(1);
        let path = format!("/v1/cluster/claims/{}?fence={}&ttl={seconds}s", held.claim, held.fence);
        let request = Request::new("PUT", path).timeout(PATIENCE);
        match connection.ask_cluster(&held.cluster, request, Patience::Once, stopped) {
            Ok(response) if response.is_success() => {
                held.renewed = Instant::now();
                // Released meanwhile: then it must not come back.
                if job.fence(&held.cluster, &held.claim) == Some(held.fence) {
                    job.hold(held);
                }
            }
            Ok(response) if matches!(response.status, 404 | 409 | 410) => {
                job.log.note(&format!("the claim {} is lost: {}", held.claim, response.problem().message));
                job.release(&held.cluster, &held.claim);
            }
            Ok(_) | Err(_) => {} // tried again at the next beat, while it lives
        }
    }
}
