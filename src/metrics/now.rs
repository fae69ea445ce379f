//! What is so at the moment at which somebody asks.

use super::process::Process;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// What is so now.
#[derive(Debug, Clone, Default)]
pub struct Now {
    /// The program's version.
    pub version: &'static str,
    /// The beginning of the revision that serves.
    pub revision: Option<String>,
    /// The conditions of content, and whether each is true.
    pub content: Vec<(String, bool)>,
    /// A person suspended following.
    pub suspended: bool,
    /// A person pinned a revision.
    pub pinned: bool,
    /// The source could be read at the last look; of several, all of them.
    pub source_available: bool,
    /// The sources, one by one.
    pub sources: Vec<Followed>,
    /// For how long the revision that is worked on now has been loaded, seconds; 0: none is.
    pub loading_seconds: f64,
    /// Findings of the last attempt.
    pub findings: usize,
    /// Machines by phase.
    pub phases: Vec<(String, u32)>,
    /// Machines and boxes by how they stand to Git.
    pub standings: Vec<(String, u32)>,
    /// How often a box that a rule would take in had to wait.
    pub enrollments_delayed: u64,
    /// The subnets that are served.
    pub pools: Vec<Pool>,
    /// What the store takes, bytes.
    pub store_bytes: u64,
    /// The conditions of the store, and whether each is true.
    pub store: Vec<(String, bool)>,
    /// The log that the store is, where it is one.
    pub store_log: LogLength,
    /// This server leads.
    pub leads: bool,
    /// Servers of the site that are there, as this one sees them, with itself.
    pub replicas: usize,
    /// No log of a job can be written.
    pub job_logs_full: bool,
    /// Logs that wait for their upload to the object store.
    pub log_uploads_waiting: usize,
    /// Nor for another reason.
    pub job_logs_failing: bool,
    /// The process; none where it cannot be read.
    pub process: Option<Process>,
}

/// A source of content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// Its name in the server's hands.
    pub name: String,
    /// It could be looked at the last time.
    pub up: bool,
    /// What it shows is refused.
    pub refused: bool,
    /// Its branch was rewritten, and is held.
    pub held: bool,
    /// Its forge did not take the last commit status.
    pub unreported: bool,
    /// When it was last looked at with success, Unix milliseconds.
    pub last_success_unix_ms: Option<i64>,
}

/// How long the log is that a store is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogLength {
    /// The last segment that was read.
    pub segment: u64,
    /// Segments since the last snapshot.
    pub since_snapshot: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Addresses of a subnet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The subnet's name.
    pub subnet: String,
    /// Addresses that are leased now, reserved ones among them.
    pub leases: u64,
    /// Addresses in its pools.
    pub addresses: u64,
}

fn family(
    label: &'static str,
    of: impl IntoIterator<Item = (String, u64)>,
) -> Family<[(&'static str, String); 1], Gauge> {
    let family = Family::<_, Gauge>::default();
    for (value, number) in of {
        family.get_or_create(&[(label, value)]).set(i64::try_from(number).unwrap_or(i64::MAX));
    }
    family
}

fn truths(of: &[(String, bool)]) -> impl Iterator<Item = (String, u64)> {
    of.iter().map(|(condition, holds)| (condition.clone(), u64::from(*holds)))
}

fn counts(of: &[(String, u32)]) -> impl Iterator<Item = (String, u64)> {
    of.iter().map(|(word, count)| (word.clone(), u64::from(*count)))
}

impl Now {
    pub(super) fn register(&self, to: &mut Registry) {
        let truth = |so: bool| ConstGauge::new(u32::from(so));
        to.register("build", "The program", Info::new([("version", self.version)]));
        if let Some(revision) = &self.revision {
            to.register("content_revision", "The revision that serves", Info::new([("revision", revision.clone())]));
        }
        let help = "How content stands: of its conditions the one that holds is 1";
        to.register("content_condition", help, family("condition", truths(&self.content)));
        to.register("content_suspended", "1: a person said that nothing new is applied", truth(self.suspended));
        to.register("content_pinned", "1: a person went back to an earlier revision", truth(self.pinned));
        let help = "For how long the revision that is worked on now has been loaded; 0: none is";
        to.register("content_loading_seconds", help, ConstGauge::new(self.loading_seconds));
        let help = "1: the source could be read at the last look; of several, all of them";
        to.register("content_source_available", help, truth(self.source_available));
        let sources = |of: fn(&Followed) -> bool| {
            family("source", self.sources.iter().map(move |source| (source.name.clone(), u64::from(of(source)))))
        };
        to.register("source_up", "1: the source could be looked at the last time", sources(|source| source.up));
        let help = "1: the source's newest commit is refused by itself: for its content, or for who signed it";
        to.register("source_refused", help, sources(|source| source.refused));
        let help = "1: the source's branch was rewritten, and is held where it was";
        to.register("source_held", help, sources(|source| source.held));
        let help = "1: the source's forge did not take the last commit status; what serves does not depend on it";
        to.register("source_reports_failing", help, sources(|source| source.unreported));
        let seen = self.sources.iter().filter_map(|source| {
            let at = u64::try_from(source.last_success_unix_ms?).ok()?;
            Some((source.name.clone(), at / 1_000))
        });
        let help = "When the source was last looked at with success, Unix time";
        to.register("source_last_success_timestamp_seconds", help, family("source", seen));
        let help = "Findings of the last attempt at a revision; of one that is applied, warnings";
        to.register("content_findings", help, ConstGauge::new(self.findings as u64));
        to.register("machines", "Machines, by the phase they are in", family("phase", counts(&self.phases)));
        let help = "Machines, by how they stand to Git; boxes that are no machines are `unknown`";
        to.register("machines_by_standing", help, family("standing", counts(&self.standings)));
        let help = "How often a box that a rule would take in had to wait, since there were too many";
        to.register("enrollments_delayed", help, ConstCounter::new(self.enrollments_delayed));
        let pools = |number: fn(&Pool) -> u64| self.pools.iter().map(move |pool| (pool.subnet.clone(), number(pool)));
        let help = "Addresses that are leased now, reserved ones among them";
        to.register("dhcp_leases", help, family("subnet", pools(|pool| pool.leases)));
        to.register("dhcp_pool_addresses", "Addresses in the pools", family("subnet", pools(|pool| pool.addresses)));
        to.register("store_bytes", "What the store takes", ConstGauge::new(self.store_bytes));
        let help = "How the store stands: of its conditions the one that holds is 1";
        to.register("store_condition", help, family("condition", truths(&self.store)));
        let log = &self.store_log;
        let help = "The last segment of the store's log that this server has read; 0: its store is a file";
        to.register("store_log_segment", help, ConstGauge::new(log.segment));
        let help = "Segments of the store's log since the last snapshot, which a server that starts reads one by one";
        to.register("store_log_segments_since_snapshot", help, ConstGauge::new(log.since_snapshot));
        let help = "Bytes of these segments";
        to.register("store_log_bytes_since_snapshot", help, ConstGauge::new(log.bytes));
        let help = "1: this server leads: it does what is done once for a site; one that is alone does";
        to.register("leader", help, truth(self.leads));
        let help = "Servers of the site that are there as this one sees them, itself among them; 0: it does not count on itself";
        to.register("replicas", help, ConstGauge::new(self.replicas as u64));
        let help = "1: no log of a job can be written for want of room, and jobs wait";
        to.register("job_logs_full", help, truth(self.job_logs_full));
        let help = "Job logs that wait for their upload to the object store";
        to.register("log_uploads_waiting", help, ConstGauge::new(self.log_uploads_waiting as u64));
        let help =
            "1: a log of a job could not be written for another reason, such as a disk that fails, and jobs wait";
        to.register("job_logs_failing", help, truth(self.job_logs_failing));
    }
}
