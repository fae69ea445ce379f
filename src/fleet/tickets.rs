//! Tickets for tokens, and what a token still opens.

use super::entry::Entry;
use super::machines::Fleet;
use crate::catalog::{Catalog, MachineView};
use crate::content::kinds::Assurance;
use crate::identity::{self, Audience, Claims};
use crate::journal::{Event, LOCAL, MachineState, Offer};
use crate::store::StoreError;
use crate::wire::{BootFile, BootFileKind, ClusterToken, ExchangeAnswer, ExchangeRequest, PROTOCOL};
use std::net::IpAddr;
use std::sync::Arc;

/// How long after its offer a boot ticket can be exchanged, milliseconds.
const BOOT_TICKET_MS: i64 = 10 * 60 * 1000;
/// How long a token lives, milliseconds.
const TOKEN_MS: i64 = 2 * 60 * 60 * 1000;
/// When an agent renews, seconds.
const RENEW_AFTER_SECONDS: u64 = 60 * 60;

/// Why a ticket is refused.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// It is none of ours.
    #[error("this is no ticket of this site")]
    Unknown,
    /// Too late, or a later boot was served since.
    #[error("the ticket has ended; boot anew for another")]
    Ended,
    /// It came from another address than it was offered to.
    #[error("the ticket was offered to another address")]
    Address,
    /// The signature does not prove the key.
    #[error("the signature does not prove possession of the key")]
    Possession,
    /// Another key than the first: the identity is in quarantine now.
    #[error("the ticket was used with another key; the machine is quarantined until an administrator approves it")]
    Quarantined,
    /// More than a ticket is asked of the machine, and nobody has approved it yet.
    #[error("the machine's first exchange waits for an administrator; its key is {key}: `formwork approve {machine}`")]
    Approval {
        /// The machine.
        machine: String,
        /// The beginning of the key's SHA-256.
        key: String,
    },
    /// The agent is too old.
    #[error("agent protocol {0} is older than this server speaks; boot anew for a newer agent")]
    TooOld(u32),
    /// The machine is not on the applied revision.
    #[error("the machine is not on the applied revision")]
    Gone,
    /// A token could not be made.
    #[error("no token could be made: {0}")]
    Token(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a token opens nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefusal {
    /// No token, or none of ours, or one that has ended.
    #[error("the token is missing, wrong or has ended")]
    Invalid,
    /// A token of an earlier boot, run or identity.
    #[error("the token was revoked")]
    Revoked,
    /// It opens something else.
    #[error("this token does not open this")]
    Audience,
}

impl Fleet {
    /// The overlay's boot file for an offer, if it may be had from this address now.
    pub fn boot_file(&self, entry: &Entry, offer: &Offer, peer: IpAddr, server: &str) -> Option<BootFile> {
        let age = self.clock.now_unix_ms().saturating_sub(offer.at_unix_ms);
        if age > BOOT_TICKET_MS || offer.address.is_some_and(|address| IpAddr::V4(address) != peer) {
            return None;
        }
        Some(self.file(BootFileKind::Boot, &entry.name, &offer.environment, &offer.id, server))
    }

    /// The boot file to plant on an installed system.
    pub fn disk_file(&self, entry: &Entry, ticket: &str, server: &str) -> BootFile {
        self.file(BootFileKind::Disk, &entry.name, LOCAL, ticket, server)
    }

    fn file(&self, kind: BootFileKind, machine: &str, environment: &str, ticket: &str, server: &str) -> BootFile {
        BootFile {
            kind,
            site: self.site.clone(),
            server: server.to_owned(),
            ca_certificate: self.keys.authority_certificate().to_owned(),
            ca_fingerprint: self.fingerprint.clone(),
            ticket: identity::ticket_secret(&self.keys, ticket),
            machine: machine.to_owned(),
            environment: environment.to_owned(),
            server_time_unix_ms: self.clock.now_unix_ms(),
        }
    }

    /// A ticket and a key for tokens.
    ///
    /// # Errors
    /// [`ExchangeError`] says why not.
    pub async fn exchange(&self, request: &ExchangeRequest, peer: IpAddr) -> Result<ExchangeAnswer, ExchangeError> {
        if request.protocol < crate::wire::OLDEST_PROTOCOL {
            return Err(ExchangeError::TooOld(request.protocol));
        }
        let ticket = identity::verify_ticket(&self.keys, &request.ticket).ok_or(ExchangeError::Unknown)?;
        let message = format!("formwork-exchange-v1\n{ticket}");
        let key = identity::verify_possession(&request.public_key, message.as_bytes(), &request.signature)
            .map_err(|_| ExchangeError::Possession)?;
        self.level().await?;
        let entry = self.ticket_owner(&ticket).ok_or(ExchangeError::Ended)?;
        let _turn = entry.turn.lock().await;
        let state = entry.state();
        let catalog = self.current().ok_or(ExchangeError::Gone)?;
        let view = Self::view_on(&catalog, &entry.name, &state).filter(|_| !state.left).ok_or(ExchangeError::Gone)?;
        let approval = asks_approval(&catalog, &view);
        match judge(&state, &ticket, &key, &request.boot_id, peer, self.clock.now_unix_ms(), approval) {
            Judgement::Refuse(error) => return Err(error),
            Judgement::Await => return Err(self.await_approval(&entry, &state, ticket, key, peer).await),
            Judgement::Same => {}
            Judgement::Quarantine(reason) => {
                tracing::warn!(machine = entry.name, %peer, "quarantined: {reason}");
                let generation = state.generation.saturating_add(1);
                let events =
                    vec![Event::Quarantined { reason: reason.clone() }, Event::GenerationRaised { generation, reason }];
                self.record(&entry, &state, events).await?;
                return Err(ExchangeError::Quarantined);
            }
            Judgement::New => {
                let event = Event::Exchanged {
                    ticket: ticket.clone(),
                    key: key.clone(),
                    boot_id: request.boot_id.clone(),
                    generation: state.generation.saturating_add(1),
                };
                self.record(&entry, &state, vec![event]).await?;
            }
        }
        self.tokens(&entry, &entry.state(), &key, &request.boot_id)
    }

    /// Writes down, once, that a key waits for an administrator.
    async fn await_approval(
        &self,
        entry: &Entry,
        state: &MachineState,
        ticket: String,
        key: String,
        peer: IpAddr,
    ) -> ExchangeError {
        let machine = entry.name.clone();
        let short = key.get(..16).unwrap_or(&key).to_owned();
        let known = state.awaiting.as_ref().is_some_and(|waits| waits.ticket == ticket && waits.key == key);
        if !known {
            tracing::warn!(machine, %peer, key = short, "its first exchange waits for `formwork approve`");
            let event = Event::ApprovalAwaited { ticket, key, address: peer.to_string() };
            if let Err(error) = self.record(entry, state, vec![event]).await {
                return error.into();
            }
        }
        ExchangeError::Approval { machine, key: short }
    }

    /// Fresh tokens for an agent that proves its key again.
    ///
    /// # Errors
    /// [`ExchangeError`] says why not.
    pub fn renew(&self, claims: &Claims, public_key: &str, signature: &str) -> Result<ExchangeAnswer, ExchangeError> {
        let message = format!("formwork-renew-v1\n{}", claims.id);
        let key = identity::verify_possession(public_key, message.as_bytes(), signature)
            .map_err(|_| ExchangeError::Possession)?;
        if key != claims.key_thumbprint {
            return Err(ExchangeError::Possession);
        }
        let entry = self.known(&claims.machine).ok_or(ExchangeError::Gone)?;
        let state = entry.state();
        // Of the state that the new tokens are made of: one that was raised since must not come with them.
        if !opens(&state, claims) {
            return Err(ExchangeError::Ended);
        }
        self.tokens(&entry, &state, &key, &claims.boot_id)
    }

    /// One token for each cluster the machine is a member of now.
    ///
    /// # Errors
    /// [`ExchangeError`] says why not.
    pub fn cluster_tokens(
        &self,
        entry: &Entry,
        state: &MachineState,
        key: &str,
        boot_id: &str,
    ) -> Result<Vec<ClusterToken>, ExchangeError> {
        let catalog = self.current().ok_or(ExchangeError::Gone)?;
        let view = Self::view_on(&catalog, &entry.name, state).ok_or(ExchangeError::Gone)?;
        catalog
            .clusters_of(&view)
            .into_iter()
            .filter(|profile| state.vouched || profile.spec.assurance < Assurance::A2)
            .map(|profile| {
                let cluster = profile.name.to_string();
                let token = self.token(entry, state, key, boot_id, Audience::Cluster(cluster.clone()))?;
                Ok(ClusterToken { cluster, token })
            })
            .collect()
    }

    fn tokens(
        &self,
        entry: &Entry,
        state: &MachineState,
        key: &str,
        boot_id: &str,
    ) -> Result<ExchangeAnswer, ExchangeError> {
        Ok(ExchangeAnswer {
            machine: entry.name.clone(),
            token: self.token(entry, state, key, boot_id, Audience::Machine)?,
            clusters: self.cluster_tokens(entry, state, key, boot_id)?,
            generation: state.generation,
            renew_after_seconds: RENEW_AFTER_SECONDS,
            server_time_unix_ms: self.clock.now_unix_ms(),
            protocol: PROTOCOL,
        })
    }

    fn token(
        &self,
        entry: &Entry,
        state: &MachineState,
        key: &str,
        boot_id: &str,
        audience: Audience,
    ) -> Result<String, ExchangeError> {
        let now = self.clock.now_unix_ms();
        let cluster_epoch = match &audience {
            Audience::Cluster(name) => {
                let run = self.current().and_then(|catalog| Some(catalog.cluster_profile(name)?.spec.run)).unwrap_or(1);
                self.store.cluster(name)?.map(|document| document.at_run(run).epoch)
            }
            Audience::Machine => None,
        };
        let claims = Claims {
            id: identity::new_id().map_err(|error| ExchangeError::Token(error.to_string()))?,
            machine: entry.name.clone(),
            generation: state.generation,
            audience,
            cluster_epoch,
            boot_id: boot_id.to_owned(),
            run: state.run.as_ref().map_or(0, |run| run.number),
            key_thumbprint: key.to_owned(),
            issued_unix_ms: now,
            expires_unix_ms: now.saturating_add(TOKEN_MS),
        };
        identity::issue(&self.keys, &claims).map_err(|error| ExchangeError::Token(error.to_string()))
    }

    /// What a bearer token is good for now: its claims and its machine.
    ///
    /// # Errors
    /// [`TokenRefusal`] says why nothing.
    pub fn authenticate(&self, token: &str) -> Result<(Arc<Claims>, Arc<Entry>), TokenRefusal> {
        let now_unix_ms = self.clock.now_unix_ms();
        let claims = self.verified.verify(&self.keys, token, now_unix_ms).map_err(|_| TokenRefusal::Invalid)?;
        let entry = self.known(&claims.machine).ok_or(TokenRefusal::Revoked)?;
        if !opens(&entry.state(), &claims) {
            return Err(TokenRefusal::Revoked);
        }
        if let Audience::Cluster(cluster) = &claims.audience
            && (self.members(cluster).binary_search(&claims.machine).is_err() || !self.is_sure(&entry.state(), cluster))
        {
            return Err(TokenRefusal::Revoked);
        }
        Ok((claims, entry))
    }

    /// Whether claims that were good still are.
    ///
    /// # Errors
    /// [`TokenRefusal`] where they are not.
    pub fn still_good(&self, claims: &Claims) -> Result<(), TokenRefusal> {
        let state = self.known(&claims.machine).ok_or(TokenRefusal::Revoked)?.state();
        let sure = match &claims.audience {
            Audience::Cluster(cluster) => self.is_sure(&state, cluster),
            Audience::Machine => true,
        };
        if sure && opens(&state, claims) { Ok(()) } else { Err(TokenRefusal::Revoked) }
    }

    /// Whether as much is known of the machine as the cluster asks for now.
    fn is_sure(&self, state: &MachineState, cluster: &str) -> bool {
        let asked = |catalog: Arc<Catalog>| Some(catalog.cluster_profile(cluster)?.spec.assurance);
        state.vouched || self.current().and_then(asked).is_none_or(|asked| asked < Assurance::A2)
    }

    /// The machine that a ticket was made for.
    fn ticket_owner(&self, ticket: &str) -> Option<Arc<Entry>> {
        self.owner_of_ticket(ticket)
    }

    /// The machine and the offer of an overlay, also where another server made it a moment ago.
    pub async fn offer_anywhere(&self, id: &str) -> Option<(Arc<Entry>, Offer)> {
        if let Some(found) = self.offer(id) {
            return Some(found);
        }
        self.level().await.ok()?;
        self.offer(id)
    }

    /// The machine and the offer of an overlay.
    pub fn offer(&self, id: &str) -> Option<(Arc<Entry>, Offer)> {
        let entry = self.owner_of_ticket(id)?;
        let offer = entry.state().offers.iter().find(|offer| offer.id == id).cloned()?;
        Some((entry, offer))
    }
}

/// Whether claims that the site signed still open anything.
fn opens(state: &MachineState, claims: &Claims) -> bool {
    state.generation == claims.generation && !state.left && state.quarantined.is_none()
}

/// What an exchange comes to. Pure.
#[derive(Debug)]
enum Judgement {
    /// The first use of the ticket.
    New,
    /// The same key again in the same boot: the same answer.
    Same,
    /// Good, but an administrator has to approve it first.
    Await,
    /// Another key.
    Quarantine(String),
    /// No.
    Refuse(ExchangeError),
}

/// Whether a machine on this revision is a member of a cluster that asks for A2 or more.
pub(crate) fn asks_approval(catalog: &Catalog, view: &MachineView) -> bool {
    catalog.clusters_of(view).iter().any(|profile| profile.spec.assurance >= Assurance::A2)
}

fn judge(
    state: &MachineState,
    ticket: &str,
    key: &str,
    boot_id: &str,
    peer: IpAddr,
    now_unix_ms: i64,
    approval: bool,
) -> Judgement {
    let waits = state.awaiting.as_ref().filter(|waits| waits.ticket == ticket);
    // Presented in time, a ticket waits for a person as long as that takes.
    let now_unix_ms = if waits.is_some_and(|waits| waits.key == key) { i64::MIN } else { now_unix_ms };
    let judgement = judge_ticket(state, ticket, key, boot_id, peer, now_unix_ms);
    if !matches!(judgement, Judgement::New) || !approval || state.vouched || state.approved {
        return judgement;
    }
    match waits {
        Some(waits) if waits.key != key => {
            Judgement::Quarantine(format!("ticket {ticket} was presented with a second key from {peer}"))
        }
        _ if state.approved_key.as_deref() == Some(key) => Judgement::New,
        _ => Judgement::Await,
    }
}

fn judge_ticket(
    state: &MachineState,
    ticket: &str,
    key: &str,
    boot_id: &str,
    peer: IpAddr,
    now_unix_ms: i64,
) -> Judgement {
    let used = state.tickets.iter().rev().find(|used| used.ticket == ticket);
    if state.quarantined.is_some() && !state.approved {
        return Judgement::Refuse(ExchangeError::Quarantined);
    }
    let offer = state.offers.iter().find(|offer| offer.id == ticket);
    // Only the last planted disk ticket: an older installation is not this machine any more.
    if offer.is_none() && state.disk_tickets.last().is_none_or(|(planted, _)| planted != ticket) {
        return Judgement::Refuse(ExchangeError::Ended);
    }
    if let Some(used) = used {
        if used.key != key && !state.approved {
            return Judgement::Quarantine(format!("ticket {ticket} was presented with a second key from {peer}"));
        }
        let newest = state.tickets.last().is_some_and(|last| last.ticket == ticket && last.key == key);
        return match (newest, offer.is_some()) {
            // A boot's ticket dies with the next exchange; an installed system comes again with its own key at each boot.
            (true, _) if used.boot_id == boot_id => Judgement::Same,
            (_, false) => Judgement::New,
            _ => Judgement::Refuse(ExchangeError::Ended),
        };
    }
    match offer {
        Some(offer) if offer.address.is_some_and(|address| IpAddr::V4(address) != peer) => {
            Judgement::Refuse(ExchangeError::Address)
        }
        Some(offer) if offer.ended || now_unix_ms.saturating_sub(offer.at_unix_ms) > BOOT_TICKET_MS => {
            Judgement::Refuse(ExchangeError::Ended)
        }
        Some(_) | None => Judgement::New,
    }
}

#[cfg(test)]
#[path = "tickets_tests.rs"]
mod tests;
