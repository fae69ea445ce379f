//! `formwork simulate`: machines that are not there.

use super::client::Client;
use super::error::CliError;
use super::output::printable;
use super::sentence::count;
use super::{context, session};
use crate::simulate::{Away, Habits, MACHINES_MAX, Options, Prepared, Report, Seconds, SimulateError, probability};
use clap::{Args, ValueEnum};
use comfy_table::{Cell, CellAlignment, Table};
use std::io::{ErrorKind, IsTerminal};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// Most requests in flight.
const IN_FLIGHT_MAX: i64 = 1_000_000;
/// The longest simulation, seconds.
const MONTH_SECONDS: u64 = 31 * 86_400;

const EXAMPLES: &str = "\
Examples:
  formwork simulate --server 10.77.0.1 --machines 1000 --seed 7
  formwork simulate --server 10.77.0.1 --machines 200 --boot-seconds 60..180 --task-seconds 5..60 --fail 0.01
  formwork simulate --server 10.77.0.1 --machines 500 --protocols dhcp,tftp,http --relay 10.77.0.2
  formwork simulate --server 10.77.0.1 --machines 50 --drop-replies 0.1 --power-cuts 0.1 --agent-kills 0.1

The server must mean it: simulated machines have MACs that begin with 02:46:57, and only an enrollment rule for that
prefix whose names begin with `simulated-` lets them in (docs/simulating.md shows it). Scripts are never run: how tasks
go is made up from the seed.";

/// A protocol of the boot network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// DHCP, as by a relay (needs --relay).
    Dhcp,
    /// ProxyDHCP with port 4011, as by a relay (needs --relay).
    Proxydhcp,
    /// A loader by TFTP.
    Tftp,
    /// Kernels and RAM disks by HTTP.
    Http,
}

/// Simulates machines against a server, to size a site or to try it hard. Runs no script.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// The boot server's address.
    #[arg(long, value_name = "ADDRESS")]
    server: Ipv4Addr,
    /// Its port of plain HTTP.
    #[arg(long, default_value_t = 8080)]
    http_port: u16,
    /// How many machines.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=i64::from(MACHINES_MAX)))]
    machines: u32,
    /// The number of the first machine: another range is other machines.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=0xf0_0000))]
    first: u32,
    /// Chance that comes again: the same seed, the same decisions of each machine.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What a boot fetches beside its script and its ticket, which it always does; several with commas. For none: --script-only.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "tftp,http")]
    protocols: Vec<Protocol>,
    /// Only the script and the ticket: no loader, no kernel.
    #[arg(long, conflicts_with = "protocols")]
    script_only: bool,
    /// The address of this host from which DHCP is relayed (port 67); it must be in a subnet that the site declares.
    #[arg(long, value_name = "ADDRESS")]
    relay: Option<Ipv4Addr>,
    /// How long a machine takes from power-on to its agent, beside what it fetches: `30` or `20..60`, seconds.
    #[arg(long, value_name = "A..B", default_value = "5..15")]
    boot_seconds: Seconds,
    /// How long a task takes: seconds.
    #[arg(long, value_name = "A..B", default_value = "1..5")]
    task_seconds: Seconds,
    /// How likely a task fails.
    #[arg(long, value_name = "P", default_value = "0", value_parser = probability)]
    fail: f64,
    /// How likely an answer of the API is lost on its way, after the server did what was asked.
    #[arg(long, value_name = "P", default_value = "0", value_parser = probability)]
    drop_replies: f64,
    /// How likely power goes once during a boot or a job.
    #[arg(long, value_name = "P", default_value = "0", value_parser = probability)]
    power_cuts: f64,
    /// How likely the agent is killed once during a job.
    #[arg(long, value_name = "P", default_value = "0", value_parser = probability)]
    agent_kills: f64,
    /// Requests in flight at most, apart from those that the server holds open.
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=IN_FLIGHT_MAX))]
    in_flight: u32,
    /// Ends what is not over by then: seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3600, value_parser = clap::value_parser!(u64).range(1..=MONTH_SECONDS))]
    limit_seconds: u64,
    /// Writes what each machine did and saw to this file, one JSON document a line.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    session: session::Options,
}

/// Does it.
///
/// # Errors
/// A server that is not meant for it, or runs that did not finish.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::NotSo(error.to_string());
    let asks = |protocol| !arguments.script_only && arguments.protocols.contains(&protocol);
    let proxy = asks(Protocol::Proxydhcp);
    let dhcp = proxy || asks(Protocol::Dhcp);
    if dhcp && arguments.relay.is_none() {
        return Err(CliError::Usage {
            message: "DHCP is simulated as by a relay, and --relay does not say at which address".into(),
            hint: Some("--relay ADDRESS of this host, in a subnet that the site declares".into()),
        });
    }
    let context = context::read(&arguments.session.context_path()?)?;
    let client = Client::new(&context)?;
    let options = Options {
        server: arguments.server,
        http_port: arguments.http_port,
        machines: arguments.machines,
        first: arguments.first,
        habits: Habits {
            seed: arguments.seed,
            dhcp,
            tftp: asks(Protocol::Tftp),
            files: asks(Protocol::Http),
            boot_seconds: arguments.boot_seconds,
            task_seconds: arguments.task_seconds,
            fail: arguments.fail,
            drop_replies: arguments.drop_replies,
            power_cuts: arguments.power_cuts,
            agent_kills: arguments.agent_kills,
        },
        proxy,
        relay: arguments.relay,
        in_flight: arguments.in_flight as usize,
        limit: Duration::from_secs(arguments.limit_seconds),
        context,
        record: arguments.record.clone(),
    };
    let output = arguments.session.output();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| failed(&error))?;
    let prepared = runtime.block_on(Prepared::of(options)).map_err(|error| meaning(&error))?;
    // Every run's end is asked of this server: one that cannot be asked is told of now, as by the other commands.
    client.status()?;
    prepared.look(&client.machines()?.items).map_err(|error| meaning(&error))?;
    let (report, recorded) = runtime.block_on(async {
        let simulation = prepared.begin().await.map_err(|error| meaning(&error))?;
        let shows = show_progress(simulation.progress());
        let report = simulation
            .run(async {
                if tokio::signal::ctrl_c().await.is_err() {
                    std::future::pending().await
                }
            })
            .await;
        shows.abort();
        if std::io::stderr().is_terminal() {
            super::output::note("");
        }
        Ok::<_, CliError>(report)
    })?;
    output.answer(&report, Vec::new, |_| table(&report))?;
    if let (Err(error), false) = (&recorded, report.is_good()) {
        super::output::note(&error.to_string());
    }
    if let Some(Away { server, what }) = report.unreachable.clone() {
        let hint =
            "this is the API that tickets name, by `serve --address` and `--api-port`; it has to be reached from here";
        return Err(CliError::Unreachable { server, what, hint, away: true });
    }
    if report.unfinished > 0 {
        return Err(CliError::TimedOut(format!("{} of {} runs are not over", report.unfinished, report.runs())));
    }
    if report.is_good() {
        return recorded.map_err(|error| CliError::NotSo(error.to_string()));
    }
    Err(CliError::NotSo(format!("{} of {} runs did not finish", report.failed + report.broken, report.runs())))
}

fn meaning(error: &SimulateError) -> CliError {
    match error {
        SimulateError::NotMeant(_) => {
            CliError::Refused { code: "not-meant".into(), message: error.to_string(), hint: error.hint() }
        }
        SimulateError::Away { address, error: what } => CliError::Unreachable {
            server: format!("http://{address}"),
            what: what.to_string(),
            hint: "--server and --http-port are where `formwork serve` gives boot scripts; is it running?",
            away: true,
        },
        // What the command line names wrongly.
        SimulateError::Relay { error: what, .. } if what.kind() == ErrorKind::AddrNotAvailable => usage(error),
        SimulateError::Relay { error: what, .. } if what.kind() == ErrorKind::AddrInUse => {
            CliError::Failed { message: error.to_string(), hint: error.hint().unwrap_or_default() }
        }
        SimulateError::Record { error: what, .. } if super::failure::is_of_the_path(what) => usage(error),
        other => CliError::NotSo(other.to_string()),
    }
}

fn usage(error: &SimulateError) -> CliError {
    CliError::Usage { message: error.to_string(), hint: None }
}

/// A line on a terminal, renewed twice a second; nothing elsewhere.
fn show_progress(progress: impl Fn() -> String + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        while std::io::stderr().is_terminal() {
            // A terminal that went away is no fault of what is simulated.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("\r\x1b[K{}", progress()).as_bytes());
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    })
}

/// A kind of question, as the report in JSON names it.
fn word(kind: impl serde::Serialize) -> String {
    serde_json::to_value(kind).ok().and_then(|kind| kind.as_str().map(str::to_owned)).unwrap_or_default()
}

/// The report as people read it. Pure.
fn table(report: &Report) -> String {
    let mut text = format!(
        "{} of {} runs done, {} failed, {} broken, {} unfinished, in {:.1} s\n{} jobs ({:.0} a second), {} requests, seed {}\n",
        report.finished,
        report.runs(),
        report.failed,
        report.broken,
        report.unfinished,
        report.seconds,
        report.jobs,
        report.jobs_per_second,
        report.requests,
        report.seed
    );
    if report.idle > 0 {
        let idle = count(report.idle, "machine");
        text.push_str(&format!(
            "{idle} had nothing to do: what they run was done already; --first N simulates others\n"
        ));
    }
    if let Some(times) = &report.run_seconds {
        text.push_str(&format!(
            "a run took {:.1} s (median), {:.1} s (90 %), {:.1} s (99 %), {:.1} s (longest)\n",
            times.p50, times.p90, times.p99, times.max
        ));
    }
    for (reason, count) in &report.reasons {
        text.push_str(&format!("{count} x {}\n", printable(reason)));
    }
    for wrong in &report.errors {
        let (kind, what) = (word(wrong.kind), wrong.what.word());
        text.push_str(&format!("{kind}: {} {what}; the first: {}\n", wrong.count, printable(&wrong.first)));
    }
    let mut table = Table::new();
    table.load_preset(comfy_table::presets::NOTHING);
    table.set_header(["KIND", "ANSWERED", "REFUSED", "LOST", "DROPPED", "SENT", "RECEIVED", "P50 MS", "P99 MS"]);
    for row in &report.questions {
        let ms = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.1}"));
        let numbers = [
            row.answered.to_string(),
            row.refused.to_string(),
            row.lost.to_string(),
            row.dropped.to_string(),
            row.sent_bytes.to_string(),
            row.received_bytes.to_string(),
            ms(row.p50_ms),
            ms(row.p99_ms),
        ];
        let mut cells = vec![Cell::new(word(row.kind))];
        cells.extend(numbers.map(|number| Cell::new(number).set_alignment(CellAlignment::Right)));
        table.add_row(cells);
    }
    text.push_str(&table.trim_fmt());
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        arguments: super::Arguments,
    }

    #[test]
    fn a_record_or_relay_that_is_named_wrongly_is_a_wrong_command_line() {
        use super::{ErrorKind, SimulateError, meaning};
        let record = |kind: ErrorKind| SimulateError::Record { path: "/nowhere/r".into(), error: kind.into() };
        let relay = |kind: ErrorKind| SimulateError::Relay { address: [192, 0, 2, 1].into(), error: kind.into() };
        for (error, code) in [
            (record(ErrorKind::NotFound), 2),
            (record(ErrorKind::IsADirectory), 2),
            (record(ErrorKind::StorageFull), 1),
            (relay(ErrorKind::AddrNotAvailable), 2),
            (relay(ErrorKind::AddrInUse), 1),
        ] {
            assert_eq!(meaning(&error).exit_code(), code, "{error}");
        }
        let taken = meaning(&relay(ErrorKind::AddrInUse));
        assert!(taken.hint().is_some_and(|hint| hint.contains("network namespace of its own")), "{taken}");
    }

    #[test]
    fn what_had_nothing_to_do_is_told_apart_from_what_ran() {
        let report = |finished, idle| super::Report {
            machines: 3,
            seed: 1,
            finished,
            idle,
            failed: 0,
            broken: 0,
            unfinished: 0,
            seconds: 6.4,
            run_seconds: None,
            jobs: 0,
            jobs_per_second: 0.0,
            requests: 9,
            reasons: std::collections::BTreeMap::new(),
            unreachable: None,
            errors: Vec::new(),
            questions: Vec::new(),
        };
        for (finished, idle, says, good) in [
            (0, 3, "0 of 0 runs done, ", true),
            (2, 1, "2 of 2 runs done, ", true),
            (3, 0, "3 of 3 runs done, ", true),
            (1, 1, "1 of 2 runs done, ", false),
        ] {
            let report = report(finished, idle);
            let text = super::table(&report);
            assert!(text.starts_with(says), "{text}");
            assert_eq!(text.contains(" had nothing to do: "), idle > 0, "{text}");
            assert_eq!(report.is_good(), good, "{text}");
        }
    }

    #[test]
    fn numbers_that_mean_nothing_are_refused() {
        let parse = |words: &[&str]| Program::try_parse_from(["simulate", "--server", "192.0.2.1"].iter().chain(words));
        assert_eq!(parse(&["--in-flight", "1", "--limit-seconds", "1"]).unwrap().arguments.in_flight, 1);
        for (option, number) in [("--in-flight", "0"), ("--in-flight", "99999999999"), ("--limit-seconds", "0")] {
            assert!(parse(&[option, number]).is_err(), "{option} {number}");
        }
    }
}
