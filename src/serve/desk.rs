//! What the boot services ask, answered by the fleet.

use crate::boot::Mac;
use crate::boot::desk::{
    BootDesk, BootPermit, InstallerRefusal, InstallerSaid, ScriptAction, ScriptAnswer, ScriptAsk, SeenBox,
};
use crate::boot::kernel::{Kernel, hold};
use crate::boot::leases::LeaseTable;
use crate::boot::network::Network;
use crate::boot::overlay::{OverlayFile, cpio};
use crate::catalog::{Catalog, Seen, ServerInfo};
use crate::content::kinds::{Architecture, SubnetMode};
use crate::fleet::{Entry, Fleet, Identity, Resolved};
use crate::identity;
use crate::journal::{Event, LOCAL, MachineState, Stream};
use crate::net::files::Folder;
use crate::store::{Batch, BoxFuture, Lease, Operation, StoreError};
use crate::wire::HardwareIdentity;
use crate::workflow::{Action, Running};
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;

/// A script asked for again within so many milliseconds, for the same environment, is the same offer: firmware that lost
/// an answer asks again at once.
const SAME_OFFER_MS: i64 = 5_000;

/// A boot is decided again so often where something was written in between.
const DECIDED_AGAIN: usize = 3;

/// What MACs of simulated machines begin with: locally administered, so no card's.
const SIMULATED: &str = "02:46:57:";

/// Whom a boot's texts are made for, and of which revision.
struct MadeFor<'a> {
    catalog: &'a Catalog,
    entry: &'a Entry,
    state: &'a MachineState,
    address: IpAddr,
}

/// The desk.
pub struct Desk {
    fleet: Arc<Fleet>,
    network: ArcSwap<Network>,
    leases: Arc<LeaseTable>,
    server: ServerInfo,
    images: Arc<Folder>,
    /// Others lease addresses from the same pools.
    others: bool,
}

impl Desk {
    /// A desk with the leases that the store knows.
    ///
    /// # Errors
    /// A store that cannot be read.
    pub fn new(fleet: Arc<Fleet>, server: ServerInfo, images: Arc<Folder>, others: bool) -> Result<Self, StoreError> {
        // What changes from here on is told.
        fleet.store.take_changed_leases()?;
        let leases = LeaseTable::load(fleet.store.leases()?, fleet.clock.now_ms());
        let desk = Self { fleet, network: ArcSwap::default(), leases: Arc::new(leases), server, images, others };
        desk.refresh_network(None);
        Ok(desk)
    }

    /// Makes the network anew: after each revision, with the one before it.
    pub fn refresh_network(&self, before: Option<&Catalog>) {
        let Some(catalog) = self.fleet.current() else { return };
        let (network, errors) = match before {
            Some(before) => self.network.load().after(before, &catalog),
            None => Network::of(&catalog),
        };
        for error in errors {
            tracing::error!(%error, "a subnet is not served");
        }
        self.network.store(Arc::new(network));
    }

    /// Takes in what other servers on the store lease, until the store is closed.
    ///
    /// # Errors
    /// What the store says.
    pub async fn follow_leases(&self) -> Result<(), StoreError> {
        let mut news = self.fleet.store.watch_leases();
        loop {
            let changed = self.fleet.store.take_changed_leases()?;
            let (now_ms, now_unix_ms) = (self.fleet.clock.now_ms(), self.fleet.clock.now_unix_ms());
            {
                let mut table = self.leases.lock();
                changed.into_iter().for_each(|(key, lease)| table.learn(&key, lease, now_ms, now_unix_ms));
            }
            if news.changed().await.is_err() {
                return Ok(());
            }
        }
    }

    /// A commit of a lease that another server was faster with: whose the address is is known from now on.
    fn learn_holder<T>(&self, committed: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Leased(holder)) = &committed {
            let (now_ms, now_unix_ms) = (self.fleet.clock.now_ms(), self.fleet.clock.now_unix_ms());
            self.leases.lock().learn(&holder.mac, Some(Lease::clone(holder)), now_ms, now_unix_ms);
        }
        committed
    }

    async fn answer(&self, ask: &ScriptAsk) -> Result<ScriptAnswer, StoreError> {
        let hardware =
            HardwareIdentity { macs: vec![ask.mac.to_string()], uuid: ask.uuid.clone(), serial: ask.serial.clone() };
        let subnet = self.subnet_of(ask.address);
        if let Err(reason) = self.may_ask_as(ask) {
            let action = ScriptAction::Hold { reason, retry_seconds: 15 };
            return Ok(ScriptAnswer { machine: None, revision: None, waits_for: None, action });
        }
        let resolved = self.fleet.resolve(&hardware, ask.architecture, subnet.as_deref(), "ipxe").await?;
        let revision = self.fleet.current().map(|catalog| catalog.revision.to_string());
        let plain = |action| ScriptAnswer { machine: None, revision: revision.clone(), waits_for: None, action };
        match resolved {
            Resolved::Nothing { reason } => Ok(plain(ScriptAction::Nothing { reason })),
            Resolved::Hold { reason } => Ok(plain(ScriptAction::Hold { reason, retry_seconds: 15 })),
            Resolved::Machine(entry) => self.answer_machine(&entry, ask, revision).await,
        }
    }

    async fn answer_machine(
        &self,
        entry: &Entry,
        ask: &ScriptAsk,
        revision: Option<String>,
    ) -> Result<ScriptAnswer, StoreError> {
        let _turn = entry.turn().await;
        let decision = self.fleet.decide(entry, Running::Firmware).await?;
        let mut answer = ScriptAnswer {
            machine: Some(entry.name.clone()),
            revision,
            waits_for: None,
            action: ScriptAction::Nothing { reason: String::new() },
        };
        answer.action = match &decision.next.action {
            Action::Boot { environment, reason } => {
                answer.waits_for = Some(reason.clone());
                let (offer, event) = self.offer(&decision, environment, reason, ask)?;
                let action = match (environment.as_str(), decision.catalog()) {
                    (LOCAL, _) => Ok(ScriptAction::Local),
                    (_, None) => Err("no revision is loaded".to_owned()),
                    (environment, Some(catalog)) => self.files_good(catalog, environment, ask).await.and_then(|()| {
                        let now = MadeFor { catalog, entry, state: &decision.state, address: ask.address };
                        self.boot(&now, environment, &offer, ask)
                    }),
                };
                match action {
                    Ok(action) => {
                        if let Some(event) = event {
                            self.fleet.record(entry, &decision.state, vec![event]).await?;
                        }
                        tracing::info!(machine = entry.name, environment, reason, "offered");
                        action
                    }
                    Err(reason) => hold(reason, None),
                }
            }
            Action::Hold { reason } => hold(reason.clone(), decision.next.ask_again_ms),
            _ => hold("the server has something to write down first".into(), None),
        };
        entry.touch(&self.fleet.clock, answer.waits_for.clone());
        Ok(answer)
    }

    /// The id of a new offer and its event, or that of the one just made for the same question.
    fn offer(
        &self,
        decision: &crate::fleet::Decision,
        environment: &str,
        reason: &str,
        ask: &ScriptAsk,
    ) -> Result<(String, Option<Event>), StoreError> {
        let now = self.fleet.clock.now_unix_ms();
        let address = match ask.address {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        // Among all that are remembered: two askers that take turns must not fill the journal.
        let mac = ask.mac.to_string();
        if let Some(same) = decision.state.offers.iter().rev().find(|offer| {
            !offer.ended
                && offer.environment == environment
                && offer.address == address
                && offer.mac == mac
                && now.saturating_sub(offer.at_unix_ms) < SAME_OFFER_MS
                && decision.state.tickets.iter().all(|used| used.ticket != offer.id)
        }) {
            return Ok((same.id.clone(), None));
        }
        let offer = identity::new_id().map_err(|error| StoreError::Io(error.to_string()))?;
        let event = Event::Offered {
            offer: offer.clone(),
            environment: environment.to_owned(),
            address,
            mac,
            firmware: ask.firmware.as_str().to_owned(),
            reason: reason.to_owned(),
            run: decision.state.run.as_ref().filter(|run| run.is_open()).map(|run| run.number),
        };
        Ok((offer, Some(event)))
    }

    async fn files_good(&self, catalog: &Catalog, environment: &str, ask: &ScriptAsk) -> Result<(), String> {
        let Some(boot_env) = catalog.boot_env(environment) else { return Ok(()) };
        let architecture = ask.architecture.unwrap_or(Architecture::X86_64);
        super::files::good(&self.images, boot_env, architecture).await
    }

    /// Kernel, RAM disks and command line of an environment for this box.
    fn boot(&self, now: &MadeFor<'_>, environment: &str, offer: &str, ask: &ScriptAsk) -> Result<ScriptAction, String> {
        self.kernel(now, environment, offer, &ask.mac.to_string(), |kernel| {
            kernel.action(ask.architecture.unwrap_or(Architecture::X86_64))
        })
    }

    /// A box asks from the address that we leased to it. A program on one machine that asks in the name of another must not be
    /// given its ticket. Where no lease of ours says anything, neither does this.
    fn may_ask_as(&self, ask: &ScriptAsk) -> Result<(), String> {
        let IpAddr::V4(address) = ask.address else { return Ok(()) };
        // Simulated machines (`formwork simulate`) all ask from one address; they have no disk and no secret of their own.
        if ask.mac.to_string().starts_with(SIMULATED) {
            return Ok(());
        }
        let now_ms = self.fleet.clock.now_ms();
        let leases = self.leases.lock();
        let holder = leases.at(address).filter(|(_, binding)| binding.is_active(now_ms)).map(|(mac, _)| mac);
        let own = leases.of(ask.mac).filter(|binding| binding.is_active(now_ms)).map(|binding| binding.lease.address);
        drop(leases);
        let is = |mac: &Mac| {
            let macs = vec![mac.to_string()];
            self.fleet.identify(&HardwareIdentity { macs, ..HardwareIdentity::default() })
        };
        match (holder, own) {
            (Some(holder), _) if holder == ask.mac => Ok(()),
            // Two cards of one machine, both with an address: which of them a request leaves by is not the box's choice.
            (Some(holder), _) if matches!((is(&holder), is(&ask.mac)), (Identity::Machine(one), Identity::Machine(other)) if one == other) => {
                Ok(())
            }
            (Some(_), _) => Err(format!("it asks from {address}, which is leased to another card")),
            (None, Some(own)) if self.serves(address) => {
                Err(format!("it asks from {address}, and {own} is leased to it"))
            }
            (None, _) => Ok(()),
        }
    }

    /// Whether addresses are leased by us where this one is.
    fn serves(&self, address: std::net::Ipv4Addr) -> bool {
        self.network.load().subnet_of(address).is_some_and(|subnet| subnet.mode == SubnetMode::Server)
    }

    /// A file of an offer's environment, for the machine that it was offered to.
    async fn file(&self, offer: &str, name: &str, peer: IpAddr) -> Option<Result<String, String>> {
        let (entry, offer) = self.fleet.offer_anywhere(offer).await?;
        if !self.fleet.serves_files(&offer, peer) {
            return None;
        }
        let decision = self.fleet.look(&entry, Running::Firmware).await;
        let catalog = decision.catalog()?;
        let boot_env = catalog.boot_env(&offer.environment)?;
        boot_env.templates.iter().find(|(written, _)| written == name)?;
        let token = self.fleet.callback_token(&offer.id);
        let now = MadeFor { catalog, entry: &entry, state: &decision.state, address: peer };
        Some(self.kernel(&now, &offer.environment, &offer.id, &offer.mac, |kernel| kernel.file(name, &token)))
    }

    /// What an offer's environment means for the machine that it is made for.
    fn kernel<T>(
        &self,
        now: &MadeFor<'_>,
        environment: &str,
        offer: &str,
        mac: &str,
        make: impl FnOnce(&Kernel<'_>) -> Result<T, String>,
    ) -> Result<T, String> {
        let view = Fleet::view_on(now.catalog, &now.entry.name, now.state)
            .ok_or_else(|| "the machine is not on the revision of its run".to_owned())?;
        make(&Kernel {
            catalog: now.catalog,
            view: &view,
            state: now.state,
            environment,
            offer,
            mac: Some(mac),
            address: Some(now.address),
            server: &self.server,
        })
    }

    fn subnet_of(&self, address: IpAddr) -> Option<String> {
        let IpAddr::V4(address) = address else { return None };
        self.network.load().subnet_of(address).map(|subnet| subnet.name.clone())
    }

    async fn permit(&self, seen: SeenBox) -> Result<BootPermit, StoreError> {
        let hardware = HardwareIdentity { macs: vec![seen.mac.to_string()], uuid: seen.uuid.clone(), serial: None };
        match self.fleet.identify(&hardware) {
            // A box in conflict gets the loader, so that its screen can say why it is held.
            Identity::Machine(_) | Identity::Conflict(_) | Identity::Claimed(_) => Ok(BootPermit::Granted),
            Identity::Unknown => {
                if !seen.only_asks {
                    self.fleet.seen(&seen.mac.to_string(), seen.architecture, seen.subnet.as_deref(), "dhcp").await?;
                }
                let question = Seen {
                    mac: seen.mac.to_string(),
                    uuid: seen.uuid,
                    serial: None,
                    architecture: seen.architecture,
                    subnet: seen.subnet,
                };
                let known = self.fleet.current().is_some_and(|catalog| {
                    // Where unknown machines are held, the box still gets the loader, so that its screen can say so.
                    catalog.enrollment_for(&question).is_some() || catalog.may_know_later(&question)
                });
                let reason = || "no machine declares it and no enrollment rule matches".to_owned();
                Ok(if known { BootPermit::Granted } else { BootPermit::Refused { reason: reason() } })
            }
        }
    }
}

impl BootDesk for Desk {
    fn network(&self) -> Arc<Network> {
        self.network.load_full()
    }

    fn leases(&self) -> Arc<LeaseTable> {
        Arc::clone(&self.leases)
    }

    fn put_lease(&self, lease: Lease, new: bool) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            let mac = lease.mac.clone();
            let event = (new && !lease.declined).then(|| Event::Leased {
                mac: mac.clone(),
                address: lease.address,
                seconds: lease.seconds,
                subnet: lease.subnet.clone(),
            });
            let address = lease.address;
            let takes = self.others && !lease.declined;
            let mut operations = vec![if takes { Operation::TakeLease(lease) } else { Operation::PutLease(lease) }];
            // Who had the address before has it no more: rows of cards long gone would fill the store, and come back as
            // leases at the next start.
            let displaced = self.leases.lock().take_displaced();
            // Where others lease, too, the store does that: what this server knows of those cards may be over.
            let displaced = displaced.into_iter().filter(|_| !self.others);
            operations.extend(displaced.map(|mac| Operation::DeleteLease { mac: mac.to_string() }));
            let hardware = HardwareIdentity { macs: vec![mac.clone()], ..HardwareIdentity::default() };
            match (self.fleet.identify(&hardware), event) {
                (Identity::Machine(name), Some(event)) => {
                    let entry = self.fleet.entry(&name);
                    let _turn = entry.turn().await;
                    // A card that takes and gives back an address in turns is told of once.
                    let events = if entry.lease_is_news(&self.fleet.clock, address) { vec![event] } else { Vec::new() };
                    self.learn_holder(self.fleet.record_with(&entry, &entry.state(), events, operations).await)
                }
                (_, event) => {
                    let event = event.filter(|_| self.fleet.may_write_of_boxes());
                    let events = event.into_iter().map(|event| (Stream::Box(mac.clone()), event)).collect();
                    self.learn_holder(
                        self.fleet.commit(Batch { expected: Vec::new(), events, operations }).await.map(drop),
                    )
                }
            }
        })
    }

    fn boot_permitted(&self, seen: SeenBox) -> BoxFuture<'_, BootPermit> {
        Box::pin(async move {
            self.permit(seen).await.unwrap_or_else(|error| BootPermit::Refused { reason: error.to_string() })
        })
    }

    fn script(&self, ask: ScriptAsk) -> BoxFuture<'_, ScriptAnswer> {
        Box::pin(async move {
            let mut answered = self.answer(&ask).await;
            // Something was written about it between the decision and its commit, by another server or another card of it.
            for _ in 0..DECIDED_AGAIN {
                if !matches!(answered, Err(StoreError::Conflict { .. })) {
                    break;
                }
                answered = self.answer(&ask).await;
            }
            answered.unwrap_or_else(|error| {
                tracing::error!(mac = %ask.mac, %error, "a boot could not be decided");
                let reason = held_by(&error);
                let action = ScriptAction::Hold { reason, retry_seconds: 10 };
                ScriptAnswer { machine: None, revision: None, waits_for: None, action }
            })
        })
    }

    fn overlay(&self, offer: String, peer: IpAddr) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            let (entry, offer) = self.fleet.offer_anywhere(&offer).await?;
            let file = self.fleet.boot_file(&entry, &offer, peer.to_canonical(), &self.server.https)?;
            let text = serde_json::to_vec_pretty(&file).ok()?;
            let files = [OverlayFile { path: "formwork/boot.json", mode: 0o600, bytes: &text }];
            cpio(&files).ok().map(Bytes::from)
        })
    }

    fn boot_file(&self, offer: String, name: String, peer: IpAddr) -> BoxFuture<'_, Option<Result<String, String>>> {
        Box::pin(async move { self.file(&offer, &name, peer.to_canonical()).await })
    }

    fn installer_ended(&self, offer: String, said: InstallerSaid) -> BoxFuture<'_, Result<(), InstallerRefusal>> {
        Box::pin(async move { self.fleet.installer_ended(&offer, said).await })
    }
}

/// Why a machine that boots is held where the store gave this instead of an answer: in characters that a script can show.
fn held_by(error: &StoreError) -> String {
    match error {
        StoreError::Full(why) => format!("the store is full, nothing can be written until there is room: {why}"),
        StoreError::Unreachable(_) => "the store cannot be reached, the log of the server says more".to_owned(),
        StoreError::Busy => "too many writes wait for the store".to_owned(),
        _ => "the store does not answer, the log of the server says more".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::client::Firmware;
    use crate::boot::script::render;

    #[test]
    fn a_machine_that_is_held_by_the_store_shows_the_reason_as_it_is_written() {
        let full = "12 bytes are left, 16777216 are kept in reserve";
        for (error, words) in [
            (StoreError::Full(full.to_owned()), "the store is full"),
            (StoreError::Full(full.to_owned()), full),
            (StoreError::Unreachable("timeout".to_owned()), "cannot be reached"),
            (StoreError::Busy, "too many writes"),
            (StoreError::Io("eio".to_owned()), "does not answer, the log of the server says more"),
        ] {
            let reason = held_by(&error);
            assert!(reason.contains(words), "{reason}");
            let action = ScriptAction::Hold { reason: reason.clone(), retry_seconds: 10 };
            let answer = ScriptAnswer { machine: None, revision: None, waits_for: None, action };
            let script = render(&answer, Firmware::Bios).unwrap();
            assert!(script.contains(&format!("echo Formwork: held: {reason}\n")), "{script}");
        }
    }
}
