//! `formwork store check|backup|dump`: the store of a server that is stopped, on the server itself.

use super::error::CliError;
use super::output::{Format, Output};
use crate::store::StoreError;
use crate::store::embedded::{self, DumpError, Report};
use clap::{Args, Subcommand};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// Checks, copies or shows the store of a stopped server.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Reads everything once and compares what must agree.
    Check(Check),
    /// Copies the store to a new file; as `store.redb` in an empty directory, it is that store again.
    Backup(Backup),
    /// Shows every event and what else is there, one JSON object a line; values stay hidden.
    Dump(Place),
}

#[derive(Debug, Args)]
struct Place {
    /// The directory that holds `store.redb`.
    #[arg(long, value_name = "DIR", env = "FORMWORK_STATE_DIR", default_value = "/var/lib/formwork")]
    state_dir: PathBuf,
}

#[derive(Debug, Args)]
struct Check {
    #[command(flatten)]
    place: Place,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

#[derive(Debug, Args)]
struct Backup {
    #[command(flatten)]
    place: Place,
    /// The new file. It holds secrets as the store does: keep it as carefully.
    #[arg(value_name = "FILE")]
    to: PathBuf,
    /// How the answer is written.
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    match &arguments.command {
        StoreCommand::Check(Check { place, output }) => {
            let report = embedded::check(&place.state_dir).map_err(failed)?;
            let name = place.state_dir.display().to_string();
            Output::of_process(*output).answer(&report, || vec![name], |_| sentence(&report, "the store is whole"))
        }
        StoreCommand::Backup(Backup { place, to, output }) => {
            let report = embedded::backup(&place.state_dir, to).map_err(failed)?;
            let name = to.display().to_string();
            let words = format!("{name} is a whole copy");
            Output::of_process(*output).answer(&report, || vec![name], |_| sentence(&report, &words))
        }
        StoreCommand::Dump(place) => {
            let mut out = BufWriter::new(std::io::stdout().lock());
            embedded::dump(&place.state_dir, &mut out).map_err(|error| match error {
                DumpError::Store(error) => failed(error),
                DumpError::Output(error) => CliError::Output(error),
            })?;
            Ok(out.flush()?)
        }
    }
}

fn sentence(report: &Report, words: &str) -> String {
    let Report { events, streams, clusters, leases } = report;
    format!("{words}: {events} events in {streams} streams, {clusters} clusters, {leases} leases\n")
}

fn failed(error: StoreError) -> CliError {
    match error {
        StoreError::Open(message) => CliError::Refused { code: "store".to_owned(), message, hint: None },
        other => CliError::NotSo(other.to_string()),
    }
}
