//! What the boot services ask the rest of the server, and what they are told.

use super::Mac;
use super::client::Firmware;
use super::leases::LeaseTable;
use super::network::Network;
use crate::content::kinds::Architecture;
use crate::store::{BoxFuture, Lease, StoreError};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;

/// A box as DHCP shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenBox {
    /// Its MAC on this network.
    pub mac: Mac,
    /// SMBIOS UUID where it says so; a hint, firmware disagrees about its byte order.
    pub uuid: Option<String>,
    /// Its architecture where it says so and content has a word for it.
    pub architecture: Option<Architecture>,
    /// The firmware's kind where it says so.
    pub firmware: Option<Firmware>,
    /// The subnet it is on, by name.
    pub subnet: Option<String>,
    /// It is the question of `formwork doctor` and no box: answered as one, and not recorded.
    pub only_asks: bool,
}

/// Whether a box may get a boot file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BootPermit {
    /// Yes: it is a machine, or a rule takes it in.
    Granted,
    /// No, and why: it gets an address and nothing to boot.
    Refused {
        /// Why, for the log and for whoever asks.
        reason: String,
    },
}

/// A box asks what to boot, over iPXE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptAsk {
    /// The MAC it booted from.
    pub mac: Mac,
    /// SMBIOS UUID, lower case, where it says so.
    pub uuid: Option<String>,
    /// SMBIOS serial number, where it says so.
    pub serial: Option<String>,
    /// Its architecture, where content has a word for it.
    pub architecture: Option<Architecture>,
    /// The firmware's kind.
    pub firmware: Firmware,
    /// The address it asks from.
    pub address: IpAddr,
}

/// What to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScriptAnswer {
    /// The machine's name, shown on its screen.
    pub machine: Option<String>,
    /// The revision that decided, shown on its screen.
    pub revision: Option<String>,
    /// What the machine waits for or why it boots this, shown on its screen.
    pub waits_for: Option<String>,
    /// What it does now.
    pub action: ScriptAction,
}

/// What a box does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScriptAction {
    /// Boot a kernel.
    Boot {
        /// The environment's name, shown on its screen.
        environment: String,
        /// The offer's id: the overlay is fetched from `/boot/overlay/{offer}.cpio`.
        offer: String,
        /// URL of the kernel: absolute, or a path on this server beginning with `/`.
        kernel: String,
        /// URLs of the initial RAM disks, in order. The overlay comes after them.
        initrds: Vec<String>,
        /// The kernel command line, without `initrd=`.
        arguments: String,
    },
    /// Boot the local disk.
    Local,
    /// Wait and ask again.
    Hold {
        /// Why, shown on its screen.
        reason: String,
        /// Ask again after so many seconds.
        retry_seconds: u32,
    },
    /// Nothing to boot for this box: the firmware goes on with what comes next.
    Nothing {
        /// Why, shown on its screen.
        reason: String,
    },
}

/// How an installer says that it ended.
pub struct InstallerSaid {
    /// The token that its files gave it. Secret.
    pub token: String,
    /// Whether it succeeded.
    pub success: bool,
    /// A word on it.
    pub message: Option<String>,
}

/// Why an installer is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InstallerRefusal {
    /// The token is none of ours, or another boot's.
    #[error("the token does not open this callback")]
    Unknown,
    /// The machine is not waiting for this installer (any more).
    #[error("this boot is over")]
    Over,
    /// It could not be written down.
    #[error("the server cannot write it down now, say it again")]
    Busy,
}

/// The rest of the server, as the boot services see it. Answers come from memory except where a future is returned.
pub trait BootDesk: Send + Sync + 'static {
    /// Subnets and reservations of the applied revision; empty while there is none. Made once a revision.
    fn network(&self) -> Arc<Network>;
    /// The one table of leases.
    fn leases(&self) -> Arc<LeaseTable>;
    /// Keeps a lease durably. `new` says that it is no renewal, so that it is an event too. A lease whose key begins with
    /// `declined/` is no machine's (see [`super::leases::declined_key`]).
    fn put_lease(&self, lease: Lease, new: bool) -> BoxFuture<'_, Result<(), StoreError>>;
    /// Whether this box may get a boot file. Called for packets of boot clients only.
    fn boot_permitted(&self, seen: SeenBox) -> BoxFuture<'_, BootPermit>;
    /// What this box boots now. Serving it is an offer.
    fn script(&self, ask: ScriptAsk) -> BoxFuture<'_, ScriptAnswer>;
    /// The overlay of an offer; `None` where there is none for this peer.
    fn overlay(&self, offer: String, peer: IpAddr) -> BoxFuture<'_, Option<Bytes>>;
    /// A file of an offer's environment, rendered for its machine. `None`: there is none for this peer; `Err`: why it
    /// cannot be rendered.
    fn boot_file(&self, offer: String, name: String, peer: IpAddr) -> BoxFuture<'_, Option<Result<String, String>>>;
    /// An installer says how the boot of that offer ended.
    fn installer_ended(&self, offer: String, said: InstallerSaid) -> BoxFuture<'_, Result<(), InstallerRefusal>>;
}
