//! Installers that call back: who may say that a boot is over, and what follows.

use super::entry::Entry;
use super::machines::Fleet;
use crate::boot::desk::{InstallerRefusal, InstallerSaid};
use crate::identity;
use crate::journal::{Event, Offer};
use crate::workflow::{self, Running};
use std::net::IpAddr;

/// How long after its offer a boot is served its files, milliseconds: installers of large systems come back for more.
const FILES_MS: i64 = 24 * 60 * 60 * 1000;
/// The longest message of an installer that is kept, characters.
const MESSAGE_MAX: usize = 512;

impl Fleet {
    /// Whether files made for an offer may be had from this address now.
    pub fn serves_files(&self, offer: &Offer, peer: IpAddr) -> bool {
        let age = self.clock.now_unix_ms().saturating_sub(offer.at_unix_ms);
        !offer.ended && age <= FILES_MS && offer.address.is_none_or(|address| IpAddr::V4(address) == peer)
    }

    /// What opens an offer's callback and nothing else. Secret.
    pub fn callback_token(&self, offer: &str) -> String {
        identity::ticket_secret(&self.keys, &callback_id(offer))
    }

    /// An installer says how it ended. Saying it again is harmless.
    ///
    /// # Errors
    /// [`InstallerRefusal`] says why it is not heard.
    pub async fn installer_ended(&self, offer: &str, said: InstallerSaid) -> Result<(), InstallerRefusal> {
        let proved = identity::verify_ticket(&self.keys, &said.token).ok_or(InstallerRefusal::Unknown)?;
        if proved != callback_id(offer) {
            return Err(InstallerRefusal::Unknown);
        }
        let (entry, offer) = self.offer_anywhere(offer).await.ok_or(InstallerRefusal::Over)?;
        let _turn = entry.turn.lock().await;
        let state = entry.state();
        if state.installer_ended.as_deref() == Some(&offer.id) {
            return Ok(());
        }
        let message = said.message.map(|text| text.chars().filter(|c| !c.is_control()).take(MESSAGE_MAX).collect());
        let event = self.end_of(&entry, &offer, said.success, message).await.ok_or(InstallerRefusal::Over)?;
        tracing::info!(machine = entry.name, success = said.success, "its installer called back");
        self.record(&entry, &state, vec![event]).await.map_err(|error| {
            tracing::error!(machine = entry.name, %error, "an installer's end could not be written down");
            InstallerRefusal::Busy
        })?;
        entry.touch(&self.clock, Some("its installer called back".into()));
        Ok(())
    }

    /// The end of the stage that stands open, if it is that offer's installer.
    async fn end_of(&self, entry: &Entry, offer: &Offer, success: bool, message: Option<String>) -> Option<Event> {
        let decision = self.look(entry, Running::Firmware).await;
        let run = decision.state.run.as_ref().filter(|run| run.is_open() && offer.run == Some(run.number))?;
        let (catalog, view) = (decision.pinned.as_deref()?, decision.view.as_ref()?);
        let position = workflow::position(catalog.workflow(&run.workflow)?, run)?;
        let its_own = position.task.is_installer() && position.environment == Some(offer.environment.as_str());
        (its_own && !offer.ended && position.failed.is_none()).then(|| Event::InstallerFinished {
            offer: offer.id.clone(),
            run: run.number,
            stage_index: position.stage_index,
            stage: position.stage.name.to_string(),
            task: position.task.name.to_string(),
            digest: workflow::made_of(catalog, view, position.stage, position.task),
            success,
            message,
        })
    }
}

/// An id of its own: a callback's token is no ticket of the boot, and the other way round.
fn callback_id(offer: &str) -> String {
    format!("callback-{offer}")
}
