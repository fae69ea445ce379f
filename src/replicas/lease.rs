//! Each replica's own Lease in the store's namespace: made, renewed, seen, deleted. What the Leases mean is decided by
//! [`super::decide`].
//!
//! A round lists all Leases first and renews its own only then: a replica that does not see the others is not to be counted on by them.

use super::Replicas;
use super::decide::{CONFIRMED, LEASE, Listed, Observations, Own, decide};
use super::gone::Last;
use super::served::{Leases, Seen, Served, served};
use crate::content::names;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Api, DeleteParams, ListParams, PostParams, Preconditions};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// What the Lease of each replica is called, before its name.
const PREFIX: &str = "formwork-replica-";
/// The label of all of them.
const LABEL: &str = "formwork.dev/replica";
/// The annotation that says where a replica's API is reached.
const ADDRESS: &str = "formwork.dev/api";
/// The annotation by which a person says that a replica will not come back, with a word about it.
const GONE: &str = "formwork.dev/gone";
/// Of that word so much is shown, characters.
const GONE_SHOWN: usize = 200;
/// Between the beginnings of two rounds; after one that failed, sooner.
const ROUND: Duration = Duration::from_secs(5);
const ROUND_AGAIN: Duration = Duration::from_secs(2);
/// The longest that a round may take.
const ANSWER: Duration = Duration::from_secs(4);
/// The first rounds are waited for so long: who does not see the others would take itself for the only one.
const FIRST: Duration = Duration::from_secs(60);
/// How often it is looked whether time alone has changed the standing.
const LOOK: Duration = Duration::from_secs(1);

/// Why a replica does not join the others, or is none any more.
#[derive(Debug, thiserror::Error)]
pub enum ReplicasError {
    /// The name makes no Lease.
    #[error(
        "`{0}` is no name of a replica: lower-case letters, digits and `-`, 63 at most, beginning and ending with a letter or digit, \
         such as the pod's name"
    )]
    Name(String),
    /// The client does not start.
    #[error("the API server cannot be spoken with: {0}")]
    Client(String),
    /// The account may not.
    #[error(
        "this server may not keep its Lease among the replicas in namespace {namespace}: {message}; give its account a Role there with \
         list, create, update and delete on leases of the API group coordination.k8s.io"
    )]
    Forbidden {
        /// The namespace.
        namespace: String,
        /// What the API server said.
        message: String,
    },
    /// Another process has the name.
    #[error(
        "another server took over the name {name} of this replica in namespace {namespace}: two of one name would answer the same \
         machines; give each replica a name of its own, and see that its predecessor has ended before it starts"
    )]
    Taken {
        /// The name.
        name: String,
        /// The namespace.
        namespace: String,
    },
    /// It may go better next time.
    #[error("the Leases of the replicas in namespace {namespace} cannot be kept: {message}")]
    Away {
        /// The namespace.
        namespace: String,
        /// What happened.
        message: String,
    },
}

/// Joins the replicas in a namespace under a name. The future keeps the Lease: it ends after [`Replicas::leave`], or with an error after
/// which this server must not go on. Dropped, it leaves the Lease to run out.
///
/// The others are told that this one's API is reached at `address`, for what only one of them has.
///
/// A name that another process had is taken over; that one ends with [`ReplicasError::Taken`] at its next round.
///
/// # Errors
/// Why it cannot join.
pub async fn join(
    config: kube::Config,
    namespace: &str,
    name: &str,
    address: Option<&str>,
) -> Result<(Replicas, impl Future<Output = Result<(), ReplicasError>> + use<>), ReplicasError> {
    if !names::is_label(name) {
        return Err(ReplicasError::Name(name.to_owned()));
    }
    let client = kube::Client::try_from(config).map_err(|error| ReplicasError::Client(error.to_string()))?;
    let word = crate::identity::new_id().map_err(|error| ReplicasError::Client(error.to_string()))?;
    let own = Own { name: name.to_owned(), confirmed: Duration::ZERO, leads_from: Duration::ZERO };
    let mut keeper = Keeper {
        leases: Api::namespaced(client, namespace),
        namespace: namespace.to_owned(),
        word,
        address: address.map(str::to_owned),
        addresses: BTreeMap::new(),
        lasts: Vec::new(),
        began: Instant::now(),
        held: false,
        known: Arc::new(Mutex::new(Known { observations: Observations::default(), own, fault: None })),
    };
    // Twice: what it renewed and saw after it was there itself counts. Two that come at once cannot both think that they are alone.
    let among = keeper.first_round().await? | keeper.first_round().await?;
    if among {
        lock(&keeper.known).own.leads_from = keeper.began.elapsed() + CONFIRMED;
    }
    let (began, known) = (keeper.began, Arc::clone(&keeper.known));
    let replicas = Replicas::new(lock(&known).standing(began.elapsed()));
    keeper.tells(&replicas);
    let kept = replicas.clone();
    Ok((replicas, async move {
        let _counted_out = CountedOut(kept.clone());
        tokio::select! {
            fault = keeper.rounds(&kept) => return Err(fault),
            never = look(&known, began, &kept) => match never {},
            () = kept.left() => {}
        }
        // Before the Lease is gone and another may lead.
        kept.count_out();
        keeper.say_goodbye().await;
        Ok(())
    }))
}

/// Whether replicas other than `own` serve at this moment: asked before a server opens the store and joins them. Where one may be there it
/// is waited for that it renews its Lease, for ten seconds at most.
///
/// # Errors
/// Why that cannot be told.
pub async fn others_serve(config: kube::Config, namespace: &str, own: &str) -> Result<bool, ReplicasError> {
    let client = kube::Client::try_from(config).map_err(|error| ReplicasError::Client(error.to_string()))?;
    let leases = Api::namespaced(client, namespace);
    let began = Instant::now();
    let first = look_at(&leases, namespace).await?;
    let mut now = first.clone();
    loop {
        let now_unix_ms = jiff::Timestamp::now().as_millisecond();
        match served(own, &first, &now, began.elapsed(), now_unix_ms) {
            Served::Yes => return Ok(true),
            Served::No => return Ok(false),
            Served::Unknown => sleep(LOOK).await,
        }
        now = look_at(&leases, namespace).await?;
    }
}

/// The Leases of all replicas as they are now.
async fn look_at(leases: &Api<Lease>, namespace: &str) -> Result<Leases, ReplicasError> {
    let asked = timeout(ANSWER, list(leases, namespace)).await;
    let listed = asked.map_err(|_| away(namespace, format!("no answer within {} s", ANSWER.as_secs())))??;
    Ok(listed.iter().filter_map(seen).collect())
}

/// Whether a first round that failed is tried again, so long after the beginning.
fn is_waited_for(fault: &ReplicasError, waited: Duration) -> bool {
    matches!(fault, ReplicasError::Away { .. }) && waited < FIRST
}

async fn list(leases: &Api<Lease>, namespace: &str) -> Result<Vec<Lease>, ReplicasError> {
    let parameters = ListParams::default().labels(&format!("{LABEL}=true"));
    Ok(leases.list(&parameters).await.map_err(|error| fault(namespace, error))?.items)
}

fn away(namespace: &str, message: String) -> ReplicasError {
    ReplicasError::Away { namespace: namespace.to_owned(), message }
}

fn fault(namespace: &str, error: kube::Error) -> ReplicasError {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            ReplicasError::Forbidden { namespace: namespace.to_owned(), message: status.message }
        }
        kube::Error::Api(status) => {
            away(namespace, format!("the API server answers {}: {}", status.code, status.message))
        }
        other => away(namespace, format!("the API server cannot be reached: {other}")),
    }
}

/// However the Lease's keeping ends: nobody counts on this replica any more, nor does it.
struct CountedOut(Replicas);

impl Drop for CountedOut {
    fn drop(&mut self) {
        self.0.count_out();
    }
}

/// What was seen, and what went wrong since.
struct Known {
    observations: Observations,
    own: Own,
    fault: Option<String>,
}

impl Known {
    fn standing(&self, now: Duration) -> super::Standing {
        decide(&self.observations, &self.own, now)
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Says how they stand, whenever a round or time alone changed it.
async fn look(known: &Mutex<Known>, began: Instant, replicas: &Replicas) -> Infallible {
    let mut lapsed = false;
    loop {
        let now = began.elapsed();
        let (standing, confirmed, fault) = {
            let known = lock(known);
            (known.standing(now), known.own.is_confirmed(now), known.fault.clone())
        };
        if !confirmed && !lapsed {
            tracing::warn!(
                replica = standing.own,
                "the Lease of this replica could not be renewed for {} s; it does not lead until it can: {}",
                CONFIRMED.as_secs(),
                fault.unwrap_or_else(|| "this process stood still".to_owned())
            );
        }
        lapsed = !confirmed;
        let (replica, live, leader) = (standing.own.clone(), standing.live.join(", "), standing.leader.clone());
        if replicas.publish(standing) {
            tracing::info!(replica, live, leader = leader.as_deref().unwrap_or("none"), "the replicas stand otherwise");
        }
        sleep(LOOK).await;
    }
}

struct Keeper {
    leases: Api<Lease>,
    namespace: String,
    /// Tells this process from others of its name.
    word: String,
    address: Option<String>,
    /// Where each is reached, as the last list said.
    addresses: BTreeMap<String, String>,
    /// And how long each was there.
    lasts: Vec<(String, Last)>,
    began: Instant,
    /// Whether this process has had the Lease.
    held: bool,
    known: Arc<Mutex<Known>>,
}

impl Keeper {
    /// A round before anything is decided. While the API server is away it is asked again, for a bounded time.
    async fn first_round(&mut self) -> Result<bool, ReplicasError> {
        let mut said = false;
        loop {
            let fault = match self.round().await {
                Err(fault) if is_waited_for(&fault, self.began.elapsed()) => fault,
                done => return done,
            };
            if !std::mem::replace(&mut said, true) {
                tracing::warn!("nothing is decided before the other replicas are seen, which is tried again: {fault}");
            }
            sleep(ROUND_AGAIN).await;
        }
    }

    /// Rounds without an end. Gives what ends this replica.
    async fn rounds(&mut self, replicas: &Replicas) -> ReplicasError {
        let mut pause = ROUND;
        loop {
            sleep(pause).await;
            pause = match self.round().await {
                Ok(_) => {
                    self.tells(replicas);
                    ROUND
                }
                Err(fault @ ReplicasError::Taken { .. }) => return fault,
                Err(fault) => {
                    tracing::debug!(%fault, "no round of the replicas");
                    lock(&self.known).fault = Some(fault.to_string());
                    ROUND_AGAIN
                }
            };
        }
    }

    /// Passes on what the last list said.
    fn tells(&mut self, replicas: &Replicas) {
        replicas.set_addresses(std::mem::take(&mut self.addresses));
        replicas.see_lasts(std::mem::take(&mut self.lasts));
    }

    /// Lists all Leases and renews its own. Whether there are others, or were before it under its name.
    async fn round(&mut self) -> Result<bool, ReplicasError> {
        let started = self.began.elapsed();
        let asked = timeout(ANSWER, self.list_and_renew()).await;
        let round = asked.map_err(|_| self.away(format!("no answer within {} s", ANSWER.as_secs())))??;
        let now = self.began.elapsed();
        let mut known = lock(&self.known);
        // It was not heard for a while: as one that comes, it waits before it leads.
        if self.held && !known.own.is_confirmed(now) {
            known.own.leads_from = now + CONFIRMED;
        }
        self.held = true;
        known.own.confirmed = started;
        known.fault = None;
        let among = round.took_over || round.leases.len() > 1;
        known.observations.see(round.leases, now);
        drop(known);
        (self.addresses, self.lasts) = (round.addresses, round.lasts);
        Ok(among)
    }

    async fn list_and_renew(&self) -> Result<Round, ReplicasError> {
        let mut leases = self.list().await?;
        let name = lock(&self.known).own.name.clone();
        let own = leases.iter().position(|lease| replica(lease) == Some(&name)).map(|at| leases.swap_remove(at));
        let ours = own.as_ref().is_some_and(|own| holder(own) == Some(&self.word));
        if self.held && own.is_some() && !ours {
            return Err(ReplicasError::Taken { name, namespace: self.namespace.clone() });
        }
        let took_over = own.is_some() && !ours;
        let mut lease = lease(&name, &self.word, own.as_ref());
        // Whoever had the name before may have been elsewhere.
        let annotations = lease.metadata.annotations.get_or_insert_default();
        annotations.remove(ADDRESS);
        // It is there after all.
        annotations.remove(GONE);
        annotations.extend(self.address.clone().map(|address| (ADDRESS.to_owned(), address)));
        let parameters = PostParams::default();
        let kept = match own {
            Some(_) => self.leases.replace(&format!("{PREFIX}{name}"), &parameters, &lease).await,
            None => self.leases.create(&parameters, &lease).await,
        };
        leases.push(kept.map_err(|error| self.fault(error))?);
        let addresses = leases.iter().filter_map(|lease| Some((replica(lease)?.to_owned(), address(lease)?))).collect();
        let lasts = leases.iter().filter_map(last).collect();
        Ok(Round { leases: leases.iter().filter_map(listed).collect(), addresses, lasts, took_over })
    }

    async fn list(&self) -> Result<Vec<Lease>, ReplicasError> {
        list(&self.leases, &self.namespace).await
    }

    /// Deletes the Lease, where it is still this process's.
    async fn say_goodbye(&self) {
        let deleted = timeout(ANSWER, async {
            let name = lock(&self.known).own.name.clone();
            // A renewal that was under way may have changed it since: what is there now is asked for.
            let leases = self.list().await?;
            let Some(own) = leases.into_iter().find(|lease| replica(lease) == Some(&name)) else { return Ok(()) };
            if holder(&own) != Some(&self.word) {
                return Ok(());
            }
            let ObjectMeta { uid, resource_version, .. } = own.metadata;
            let parameters = DeleteParams::default().preconditions(Preconditions { uid, resource_version });
            let deleted = self.leases.delete(&format!("{PREFIX}{name}"), &parameters).await;
            deleted.map(drop).map_err(|error| self.fault(error))
        });
        let fault = match deleted.await {
            Ok(Ok(())) => return,
            Ok(Err(fault)) => fault.to_string(),
            Err(_) => format!("no answer within {} s", ANSWER.as_secs()),
        };
        tracing::warn!(
            "the Lease of this replica runs out in {} s, since it was not deleted: {fault}",
            LEASE.as_secs()
        );
    }

    fn away(&self, message: String) -> ReplicasError {
        away(&self.namespace, message)
    }

    fn fault(&self, error: kube::Error) -> ReplicasError {
        fault(&self.namespace, error)
    }
}

struct Round {
    leases: Vec<Listed>,
    addresses: BTreeMap<String, String>,
    lasts: Vec<(String, Last)>,
    took_over: bool,
}

/// The Lease as this process wants it, over the one that is there.
fn lease(name: &str, word: &str, before: Option<&Lease>) -> Lease {
    let now = || Some(MicroTime(jiff::Timestamp::now()));
    let spec = before.and_then(|before| before.spec.clone()).unwrap_or_default();
    let ours = spec.holder_identity.as_deref() == Some(word);
    let transitions = spec.lease_transitions.unwrap_or_default();
    let labels = [(LABEL, "true"), ("app.kubernetes.io/managed-by", "formwork")];
    let mut metadata = before.map(|before| before.metadata.clone()).unwrap_or_default();
    metadata.name = Some(format!("{PREFIX}{name}"));
    metadata.labels.get_or_insert_default().extend(labels.map(|(key, value)| (key.to_owned(), value.to_owned())));
    // What it is compared with is the resourceVersion that came with it: a renewal over another's is refused.
    Lease {
        metadata,
        spec: Some(LeaseSpec {
            holder_identity: Some(word.to_owned()),
            lease_duration_seconds: i32::try_from(LEASE.as_secs()).ok(),
            acquire_time: if ours { spec.acquire_time } else { now() },
            renew_time: now(),
            lease_transitions: Some(if ours || before.is_none() { transitions } else { transitions.saturating_add(1) }),
            preferred_holder: None,
            strategy: None,
        }),
    }
}

/// The name of the replica whose Lease it is.
fn replica(lease: &Lease) -> Option<&str> {
    lease.metadata.name.as_deref()?.strip_prefix(PREFIX)
}

/// Where its API is reached.
fn address(lease: &Lease) -> Option<String> {
    lease.metadata.annotations.as_ref()?.get(ADDRESS).cloned()
}

fn holder(lease: &Lease) -> Option<&str> {
    lease.spec.as_ref()?.holder_identity.as_deref()
}

/// What a Lease says of its replica. One that anybody gave our label is none.
fn listed(lease: &Lease) -> Option<Listed> {
    Some(Listed {
        name: replica(lease)?.to_owned(),
        created: lease.metadata.creation_timestamp.as_ref()?.0.as_second(),
        version: sign_of_life(lease)?,
    })
}

/// Another after each renewal. What else is changed of a Lease, such as an annotation, is done by people, and no sign of life of its
/// replica.
fn sign_of_life(lease: &Lease) -> Option<String> {
    let renewed = lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref());
    match renewed {
        Some(MicroTime(at)) => Some(format!("{} {}", holder(lease).unwrap_or_default(), at.as_microsecond())),
        None => lease.metadata.resource_version.clone(),
    }
}

/// How long its replica was there, and whether a person says that it will not come back.
fn last(lease: &Lease) -> Option<(String, Last)> {
    let renewed_unix_ms = lease.spec.as_ref()?.renew_time.as_ref()?.0.as_millisecond();
    let said_gone = lease.metadata.annotations.as_ref().and_then(|annotations| annotations.get(GONE));
    let said_gone = said_gone.map(|word| word.chars().filter(|it| !it.is_control()).take(GONE_SHOWN).collect());
    Some((replica(lease)?.to_owned(), Last { renewed_unix_ms, said_gone }))
}

/// The same for one that is not among them yet.
fn seen(lease: &Lease) -> Option<(String, Seen)> {
    let renewed = lease.spec.as_ref()?.renew_time.as_ref()?.0.as_millisecond();
    let version = sign_of_life(lease)?;
    Some((replica(lease)?.to_owned(), Seen { version, renewed_unix_ms: renewed }))
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
