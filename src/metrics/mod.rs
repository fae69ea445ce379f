//! What a server counts, for Prometheus: how much of everything, and never about whom.
//!
//! Labels have few values that are known beforehand (kinds of packets, routes, phases), or are names of subnets and sources: no name of a machine,
//! no address and no value of content gets in. So nothing is secret at the listener, which asks nobody for a token.
//!
//! Each seam of the server holds its own part and says to it what happened: [`Dhcp`], [`Tftp`], [`Boot`], [`Http`], [`Store`],
//! [`Reconcile`], [`Archive`], [`Mirror`]. A part is a handle: a copy of it counts into the same. What is so at the moment ([`Now`]) is gathered when it is asked.

mod archive;
mod boot;
mod http;
mod mirror;
mod now;
mod process;
mod reconcile;
mod store;
#[cfg(test)]
mod tests;

pub use archive::Archive;
pub use boot::{Boot, Dhcp, Tftp};
pub use http::{Http, counted};
pub use mirror::Mirror;
pub use now::{Followed, LogLength, Now, Pool};
pub use process::Process;
pub use reconcile::Reconcile;
pub use store::Store;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// A family of counters with one label, of which all values are known.
type Counters = Family<[(&'static str, &'static str); 1], Counter>;

/// Such a family that begins with a zero for each value: what never happened is told from what is not counted.
fn counters(label: &'static str, values: &[&'static str]) -> Counters {
    let family = Counters::default();
    for value in values {
        drop(family.get_or_create(&[(label, *value)]));
    }
    family
}

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own text format, 0.0.4.
    Prometheus,
}

impl Format {
    /// OpenMetrics for whoever says to know it.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => prometheus_text::CONTENT_TYPE,
        }
    }
}

/// All that is counted.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// DHCP.
    pub dhcp: Dhcp,
    /// TFTP.
    pub tftp: Tftp,
    /// What machines boot over HTTP.
    pub boot: Boot,
    /// Requests over HTTP.
    pub http: Http,
    /// Commits, and what was written down by them.
    pub store: Store,
    /// Attempts at revisions.
    pub reconcile: Reconcile,
    /// Logs in an object store.
    pub archive: Archive,
    /// Objects in Kubernetes.
    pub mirror: Mirror,
}

impl Metrics {
    /// All of it with what is so now, as text.
    ///
    /// # Errors
    /// A number that cannot be written: never, into memory.
    pub fn text(&self, now: &Now, format: Format) -> Result<String, std::fmt::Error> {
        let mut all = Registry::default();
        let own = all.sub_registry_with_prefix("formwork");
        now.register(own);
        self.reconcile.register(own);
        self.store.register(own);
        self.archive.register(own);
        self.mirror.register(own);
        self.dhcp.register(own);
        self.tftp.register(own);
        self.boot.register(own);
        self.http.register(own);
        if let Some(process) = &now.process {
            process.register(all.sub_registry_with_prefix("process"));
        }
        let mut text = String::new();
        match format {
            Format::OpenMetrics => text::encode(&mut text, &all)?,
            Format::Prometheus => prometheus_text::encode(&mut text, &all)?,
        }
        Ok(text)
    }
}
