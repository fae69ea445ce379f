//! `formwork doctor`: whether this computer can serve a site: rights, ports, files, wires, clock, each with what to do.
//!
//! Nothing is changed, and nothing is taken: a port is opened and closed, one DHCP question is asked for which no address is
//! claimed, and what is written beside the store, to try whether that can be, is taken away at once.

mod files;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod loader;
mod pod;
mod sources;
mod system;
mod wire;

use super::error::CliError;
use super::keeping::{ReplicaAt, StoreAt};
use super::offline;
use super::output::{Format, Output, Style, Tone, Word, table};
use super::sentence::count;
use clap::Args;
use serde::Serialize;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Looks whether this computer can serve a site, and says what to do where it cannot.
///
/// Rights and ports, the URLs that machines and administrators will use, state directory and keys, images with their checksums,
/// who else answers DHCP, clock and disk space; and with the same options as `serve`: the repository or the sources (each is asked
/// what it shows, for ten seconds at most), who may sign, and what opens encrypted files; with --store kubernetes or --kubernetes
/// what is met there. What is not given is left out: without --interface nobody is asked for DHCP. A server may run meanwhile.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork doctor                                     rights, ports, the state directory
  formwork doctor --images /srv/images --dir site/    and whether the images are there that content boots
  formwork doctor --interface br0                     and who answers DHCP there
  formwork doctor --sources /etc/formwork/sources.yaml --age-identities /etc/formwork/age.txt
                                                      and whether `serve` would reach each source, and may use its files
  formwork doctor --repository https://git.example.org/site.git --token-file /etc/formwork/token --trust /etc/formwork/trust.yaml
  formwork doctor --store kubernetes --store-namespace formwork-lab
                                                      and whether the store is there, and may be had
  formwork doctor -o json | jq '.[] | select(.verdict == \"fail\")'

Exit codes:
  0  nothing fails (there may be warnings)
  1  something does")]
pub struct Arguments {
    /// The state directory.
    #[arg(long, value_name = "DIR", env = "FORMWORK_STATE_DIR", default_value = "/var/lib/formwork")]
    state_dir: PathBuf,
    /// The image folder.
    #[arg(long, value_name = "DIR", env = "FORMWORK_IMAGES")]
    images: Option<PathBuf>,
    /// The IPv4 address that machines will reach this server at.
    #[arg(long)]
    address: Option<Ipv4Addr>,
    /// An interface to ask for DHCP servers on; may be given several times.
    #[arg(long, value_name = "NAME")]
    interface: Vec<String>,
    /// How long answers to that are waited for, seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=60))]
    wait: u64,
    /// The port of plain HTTP, for boot files.
    #[arg(long, default_value_t = 8080)]
    http_port: u16,
    /// The port of the API.
    #[arg(long, default_value_t = 8443)]
    api_port: u16,
    #[command(flatten)]
    store: StoreAt,
    #[command(flatten)]
    replica: ReplicaAt,
    /// Ask what a server that follows a ContentSource would meet.
    #[cfg(feature = "kubernetes")]
    #[arg(long, env = "FORMWORK_KUBERNETES")]
    kubernetes: bool,
    /// The namespace of the ContentSource; where not given, that of the pod or of the context.
    #[cfg(feature = "kubernetes")]
    #[arg(long, value_name = "NAME", env = "FORMWORK_NAMESPACE")]
    namespace: Option<String>,
    /// The name of the ContentSource, whose status the server writes; where not given, the only one of the namespace.
    #[cfg(feature = "kubernetes")]
    #[arg(long, value_name = "NAME", env = "FORMWORK_CONTENT_SOURCE")]
    content_source: Option<String>,
    #[command(flatten)]
    content: offline::Place,
    #[command(flatten)]
    sources: sources::Given,
    /// How the answer is printed (default: table on a terminal, json in a pipe).
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// Worth a look.
    Warn,
    /// It will not work.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    /// What, in a stable word or two.
    name: String,
    /// How it stands.
    verdict: Verdict,
    /// What was seen.
    says: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Check {
    fn ok(name: impl Into<String>, says: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Ok, says: says.into(), remedy: None }
    }

    fn warn(name: impl Into<String>, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Warn, says: says.into(), remedy: Some(remedy.into()) }
    }

    fn fail(name: impl Into<String>, says: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), verdict: Verdict::Fail, says: says.into(), remedy: Some(remedy.into()) }
    }
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let mut checks = system::rights(arguments);
    checks.extend(system::ports(arguments));
    checks.extend(system::urls(arguments));
    checks.push(system::clock());
    let keeping = arguments.store.keeping_of(arguments.replica.replica.as_deref())?;
    let stored = match (keeping.elsewhere(), keeping.replica()) {
        (None, _) => files::Stored::Here,
        (Some(_), None) => files::Stored::Elsewhere,
        (Some(_), Some(_)) => files::Stored::ElsewhereWithKeys,
    };
    let pod = pod::Pod::of_process();
    checks.extend(files::state(&arguments.state_dir, stored, pod.as_ref()));
    #[cfg(feature = "kubernetes")]
    checks.extend(kubernetes::checks(&keeping, &arguments.state_dir, arguments, pod.as_ref())?);
    let (content, catalog) = files::content(&arguments.content);
    checks.extend(content);
    checks.extend(sources::sources(&arguments.content, &arguments.sources));
    if let Some(images) = &arguments.images {
        checks.extend(files::images(images, catalog.as_ref()));
    }
    for folder in std::iter::once(&arguments.state_dir).chain(&arguments.images) {
        checks.extend(system::space(folder));
    }
    for interface in &arguments.interface {
        checks.push(wire::servers(interface, arguments.wait));
    }
    let names = || checks.iter().map(|check| check.name.clone()).collect();
    Output::of_process(arguments.output).answer(&checks, names, |style| draw(&checks, style))?;
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
    match failed {
        0 => Ok(()),
        more => Err(CliError::NotSo(format!("{} will not work as it is", count(more, "thing")))),
    }
}

fn draw(checks: &[Check], style: Style) -> String {
    let rows = checks.iter().map(|check| {
        let (word, tone) = match check.verdict {
            Verdict::Ok => ("ok", Tone::Good),
            Verdict::Warn => ("warn", Tone::Waiting),
            Verdict::Fail => ("fail", Tone::Bad),
        };
        let says = match &check.remedy {
            Some(remedy) => format!("{}\n-> {remedy}", check.says),
            None => check.says.clone(),
        };
        vec![Word::new(word, tone), check.name.as_str().into(), says.into()]
    });
    table(&["", "what", "seen"], rows, style)
}

#[cfg(test)]
mod tests;
