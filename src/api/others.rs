//! The other servers of the site are asked for the log of a job that only one of them has: an agent sends it to whichever takes its
//! connection.
//!
//! Who asks here is asked for there, too, by the same token, since all servers of a site know the same administrators. Only a server with a
//! certificate of the site's own authority is told it, whatever the Leases say about addresses.

use crate::net::site_client;
use crate::replicas::{Gone, Replicas};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// A question between servers has this header: it is answered with what is there, and passed on to nobody.
pub(super) const ASKED_BY: &str = "formwork-asked-by";
/// A server that does not answer by then is not waited for.
const PATIENCE: Duration = Duration::from_secs(3);
const CONNECT: Duration = Duration::from_secs(1);
/// Questions at once; each is of a person who waits.
const AT_ONCE: usize = 16;
/// The largest part of a log in an answer, bytes.
const PIECE_MAX: u64 = 2 << 20;

/// The other servers.
pub struct Others {
    replicas: Replicas,
    agent: ureq::Agent,
    turns: Arc<Semaphore>,
}

/// What the others say of a log.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Of all that have some, the one that has most.
    pub(super) best: Option<Theirs>,
    /// The names of those that answered.
    pub(super) answered: Vec<String>,
}

/// What another server has of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Theirs {
    /// From where it was asked for.
    pub(super) bytes: Vec<u8>,
    /// How long it is there.
    pub(super) length: u64,
}

impl Others {
    /// Those that are there, when they are asked. `authority` is the certificate of the site's own, PEM.
    /// None: there is no certificate in it, and nobody can be told from the site's servers.
    pub fn new(replicas: Replicas, authority: &str) -> Option<Self> {
        let agent = site_client(authority, CONNECT, Some(PATIENCE))?;
        Some(Self { replicas, agent, turns: Arc::new(Semaphore::new(AT_ONCE)) })
    }

    /// What this server is called among them.
    pub(super) fn own(&self) -> String {
        self.replicas.standing().own.clone()
    }

    /// Whether a replica that does not answer is gone for good.
    pub(super) fn gone(&self, name: &str) -> Option<Gone> {
        self.replicas.gone(name)
    }

    /// What the others have of a job's log from there on.
    pub(super) async fn log(&self, job: &str, from: u64, authorization: &str) -> Told {
        let own = self.own();
        let (mut asked, mut told) = (JoinSet::new(), Told::default());
        for (name, address) in self.replicas.others() {
            let url = format!("{}/v1/jobs/{job}/log?from={from}", address.trim_end_matches('/'));
            let turn = Arc::clone(&self.turns).acquire_owned().await;
            let Ok(turn) = turn else { break };
            let (agent, authorization, own) = (self.agent.clone(), authorization.to_owned(), own.clone());
            asked.spawn_blocking(move || {
                let _turn = turn;
                ask(&agent, &url, &authorization, &own)
                    .inspect_err(|why| tracing::debug!(replica = name, "it was not asked for a log: {why}"))
                    .ok()
                    .map(|theirs| (name, theirs))
            });
        }
        while let Some(answer) = asked.join_next().await {
            let Ok(Some((name, theirs))) = answer else { continue };
            told.answered.push(name);
            if let Some(theirs) = theirs
                && told.best.as_ref().is_none_or(|best| theirs.length > best.length)
            {
                told.best = Some(theirs);
            }
        }
        told
    }
}

/// Asks one. None: it knows of no such job.
fn ask(agent: &ureq::Agent, url: &str, authorization: &str, own: &str) -> Result<Option<Theirs>, String> {
    let request = agent.get(url).header("authorization", authorization).header(ASKED_BY, own);
    let mut response = request.call().map_err(|error| error.to_string())?;
    if response.status().as_u16() == 404 {
        return Ok(None);
    }
    let length = response.headers().get("formwork-log-length").and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(length) = length.filter(|_| response.status().is_success()) else {
        return Err(format!("it answers {}", response.status()));
    };
    let bytes = response.body_mut().with_config().limit(PIECE_MAX).read_to_vec().map_err(|error| error.to_string())?;
    Ok(Some(Theirs { bytes, length }))
}
