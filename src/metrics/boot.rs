//! The boot network: DHCP, TFTP, scripts and files.

use super::{Counters, counters};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// DHCP.
#[derive(Debug, Clone, Default)]
pub struct Dhcp {
    packets: Family<[(&'static str, &'static str); 2], Counter>,
    /// Addresses of a pool at which a probe found somebody without a lease.
    pub conflicts: Counter,
    /// Addresses of a pool that were offered without a probe, since too many were under way.
    pub unprobed: Counter,
}

impl Dhcp {
    /// A packet of this type came to this.
    pub fn packet(&self, kind: &'static str, result: &'static str) {
        self.packets.get_or_create(&[("type", kind), ("result", result)]).inc();
    }

    /// How many did.
    pub fn packets(&self, kind: &'static str, result: &'static str) -> u64 {
        self.packets.get(&[("type", kind), ("result", result)]).map_or(0, |count| count.get())
    }

    pub(super) fn register(&self, to: &mut Registry) {
        to.register("dhcp_packets", "DHCP packets received, by what came of them", self.packets.clone());
        let help = "Addresses of a pool at which something answered that has no lease; they are left out";
        to.register("dhcp_conflicts", help, self.conflicts.clone());
        let help = "Addresses of a pool offered without a probe, since too many were under way";
        to.register("dhcp_unprobed", help, self.unprobed.clone());
    }
}

/// TFTP.
#[derive(Debug, Clone)]
pub struct Tftp {
    transfers: Counters,
    /// Bytes handed to transfers.
    pub bytes: Counter,
}

impl Default for Tftp {
    fn default() -> Self {
        Self {
            transfers: counters("result", &["complete", "incomplete", "missing", "busy"]),
            bytes: Counter::default(),
        }
    }
}

impl Tftp {
    /// A transfer ended so.
    pub fn transfer(&self, result: &'static str) {
        self.transfers.get_or_create(&[("result", result)]).inc();
    }

    /// How many ended so.
    pub fn ended(&self, result: &'static str) -> u64 {
        self.transfers.get_or_create(&[("result", result)]).get()
    }

    pub(super) fn register(&self, to: &mut Registry) {
        let help = "TFTP transfers that ended; UEFI firmware breaks one off that it only asked the size by";
        to.register("tftp_transfers", help, self.transfers.clone());
        to.register("tftp_sent_bytes", "Bytes of loaders sent over TFTP", self.bytes.clone());
    }
}

/// What machines boot over HTTP.
#[derive(Debug, Clone)]
pub struct Boot {
    scripts: Counters,
    /// Bytes of files handed to connections.
    pub bytes: Counter,
}

impl Default for Boot {
    fn default() -> Self {
        Self { scripts: counters("action", &["boot", "local", "hold", "nothing"]), bytes: Counter::default() }
    }
}

impl Boot {
    /// A box got a script that has it do this.
    pub fn script(&self, action: &'static str) {
        self.scripts.get_or_create(&[("action", action)]).inc();
    }

    pub(super) fn register(&self, to: &mut Registry) {
        let help =
            "Boot scripts given, by what they have a machine do: boot an environment or the local disk, wait, nothing";
        to.register("boot_scripts", help, self.scripts.clone());
        to.register("boot_files_sent_bytes", "Bytes of the image folder sent over HTTP", self.bytes.clone());
    }
}
