//! `formwork timeline`: where the time went, machine by machine, on one axis.

mod draw;
mod fold;

use super::error::CliError;
use super::follow::Follower;
use super::session::{Options, Session};
use super::time::now_unix_ms;
use clap::Args;
use fold::Fold;

/// Shows where the time went: boots, stages and tasks of each machine's last run, on one common axis.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork timeline                    the last run of all machines
  formwork timeline node-1 --run 1     an earlier run
  formwork timeline --brief            bars and totals only
  formwork timeline -o json | jq '.[].tasks[] | [.task, .to - .from]'")]
pub struct Arguments {
    /// The machines (default: all that ever had a run).
    #[arg(value_name = "MACHINE", add = clap_complete::ArgValueCompleter::new(crate::cli::completion::machines))]
    names: Vec<String>,
    /// The run of this number instead of the last.
    #[arg(long, value_name = "N")]
    run: Option<u64>,
    /// Bars and totals only.
    #[arg(long)]
    brief: bool,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    let mut fold = Fold::default();
    let mut last = 0;
    let mut read = |machine: Option<String>| {
        Follower::new(&session.client, 0, machine).up_to_now(|records| {
            for record in &records {
                last = last.max(record.at_unix_ms);
                fold.apply(record);
            }
            Ok(())
        })
    };
    if arguments.names.is_empty() {
        read(None)?;
    }
    for name in &arguments.names {
        session.client.machine(name).map_err(|error| session.machine_not_found(name, error))?;
        read(Some(name.clone()))?;
    }
    // This computer's clock may be behind the server's.
    let lines = fold.runs(arguments.run, now_unix_ms().max(last));
    let names = || lines.iter().map(|line| line.machine.clone()).collect();
    session.output.answer(&lines, names, |style| match lines.is_empty() {
        true => "no runs\n".to_owned(),
        false => draw::draw(&lines, arguments.brief, &session.clock, style),
    })
}
