//! The command line, one file a command. Drawing (data to text) is pure and apart from doing.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Parser, Subcommand};
use std::process::ExitCode;

mod age_identities;
mod api;
mod ask;
mod client;
mod cluster;
mod completion;
mod context;
#[cfg(feature = "kubernetes")]
mod crds;
mod describe;
mod diff;
mod doctor;
#[cfg(test)]
mod double;
mod drift;
mod error;
mod events;
mod exit_code;
mod explain;
mod failure;
mod fit;
mod follow;
mod formats;
mod get;
mod given_words;
mod history;
mod hold;
mod hook;
mod init;
mod keeping;
mod located;
mod log;
mod logs;
mod man;
mod moving;
mod offline;
mod output;
mod pack;
mod plan;
mod policy;
mod progress;
mod reconcile;
mod render;
#[cfg(feature = "kubernetes")]
mod restored;
mod schema;
mod sentence;
mod serve;
mod session;
mod simulate;
mod site;
mod sources_file;
mod status;
mod stdout;
mod store;
mod suggest;
#[cfg(test)]
mod testing;
mod time;
mod timeline;
mod trace;
mod tree;
mod user;
mod validate;
mod wait;
mod watch;
mod why;

pub use error::CliError;

/// Bare metal becomes what a Git repository says, over as many reboots as it takes.
#[derive(Debug, Parser)]
#[command(name = "formwork", version, propagate_version = true, after_help = exit_code::help())]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    // -- looking --
    Get(get::Arguments),
    Describe(describe::Arguments),
    Why(why::Arguments),
    Plan(plan::Arguments),
    Tree(tree::Arguments),
    Trace(trace::Arguments),
    Render(render::Arguments),
    Status(status::Arguments),
    Logs(logs::Arguments),
    Events(events::Arguments),
    Wait(wait::Arguments),
    Timeline(timeline::Arguments),
    Watch(watch::Arguments),
    Cluster(cluster::Arguments),
    // -- asking --
    /// Tries a failed task again now; lets a held or diverged machine go on.
    #[command(after_help = "Examples:
  formwork retry node-1
  formwork retry node-1 node-2 --reason 'the disk was replaced'")]
    Retry(ask::Arguments),
    /// Takes the task that failed or waits as done without its being done.
    #[command(after_help = "Examples:
  formwork skip node-1 --reason 'memory was tested by its maker'")]
    Skip(ask::WithReason),
    /// Ends the open run.
    #[command(after_help = "Examples:
  formwork cancel node-1 --reason 'wrong rack'")]
    Cancel(ask::WithReason),
    /// Trusts the next exchange of a machine in quarantine.
    #[command(after_help = "Examples:
  formwork approve node-1 --reason 'the board was replaced'")]
    Approve(ask::Arguments),
    /// Forgets a machine that is gone from Git, so that it may be enrolled again.
    #[command(after_help = "Examples:
  formwork forget node-7
  formwork forget node-7 --reason 'another board with the same card'

Where an enrollment rule would take the machine in again, as new, a reason is needed.")]
    Forget(ask::Arguments),
    /// Restarts a machine at the next word with its agent.
    #[command(after_help = "Examples:
  formwork reboot node-1 --reason 'new firmware'")]
    Reboot(ask::Arguments),
    Adopt(ask::Adopt),
    // -- following the source --
    Reconcile(reconcile::Arguments),
    History(history::Arguments),
    Rollback(hold::Rollback),
    Suspend(hold::Suspend),
    Resume(hold::Resume),
    // -- before a push --
    Init(init::Arguments),
    Validate(validate::Arguments),
    Diff(diff::Arguments),
    Explain(explain::Arguments),
    Schema(schema::Arguments),
    Pack(pack::Arguments),
    // -- at the server itself --
    Site(site::Arguments),
    Serve(Box<serve::Arguments>),
    Store(store::Arguments),
    Export(moving::Export),
    Import(moving::Import),
    User(user::Arguments),
    Hook(hook::Arguments),
    Doctor(doctor::Arguments),
    #[cfg(feature = "kubernetes")]
    Crds(crds::Arguments),
    // -- the command line itself --
    Completion(completion::Arguments),
    Man(man::Arguments),
    Simulate(simulate::Arguments),
    Api(api::Arguments),
}

/// Parses the command line, does what it says, and gives the exit code. `no_stdout`: standard output was closed when the process
/// began.
pub fn main(no_stdout: bool) -> ExitCode {
    if no_stdout {
        stdout::is_closed();
    }
    completion::answer_shell();
    let done = match CommandLine::try_parse().map_err(without_output) {
        Ok(line) => run(line.command),
        Err(said) => match help(&said) {
            Ok(()) => return ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(2)),
            Err(error) => Err(error),
        },
    };
    // What was said on the way, too, has to have got there.
    match done.and_then(|()| stdout::failed().map_or(Ok(()), |error| Err(CliError::Output(error)))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error.report();
            ExitCode::from(error.exit_code())
        }
    }
}

/// Of a command that has no answer to be printed one way or another, `-o` is no value that was meant to stand behind `--`.
fn without_output(mut said: clap::Error) -> clap::Error {
    let of_output = match said.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => word == "-o" || word == "--output",
        _ => false,
    };
    if said.kind() == ErrorKind::UnknownArgument && of_output {
        let tip = "this command says what it did in text, and in no other form: leave -o out";
        said.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.to_owned().into()]));
    }
    said
}

/// Shows help, the version, or what is wrong with the command line.
fn help(said: &clap::Error) -> Result<(), CliError> {
    if said.use_stderr() {
        let _ = said.print();
        return Ok(());
    }
    stdout::is_open()?;
    Ok(said.print()?)
}

fn run(command: Command) -> Result<(), CliError> {
    match command {
        Command::Get(arguments) => get::run(&arguments),
        Command::Describe(arguments) => describe::run(&arguments),
        Command::Why(arguments) => why::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Tree(arguments) => tree::run(&arguments),
        Command::Trace(arguments) => trace::run(&arguments),
        Command::Render(arguments) => render::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Logs(arguments) => logs::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
        Command::Wait(arguments) => wait::run(&arguments),
        Command::Timeline(arguments) => timeline::run(&arguments),
        Command::Watch(arguments) => watch::run(&arguments),
        Command::Cluster(arguments) => cluster::run(&arguments),
        Command::Retry(arguments) => ask::run("retry", &arguments),
        Command::Skip(arguments) => ask::run_with_reason("skip", &arguments),
        Command::Cancel(arguments) => ask::run_with_reason("cancel", &arguments),
        Command::Approve(arguments) => ask::run("approve", &arguments),
        Command::Forget(arguments) => ask::run("forget", &arguments),
        Command::Reboot(arguments) => ask::run("reboot", &arguments),
        Command::Adopt(arguments) => ask::run_adopt(&arguments),
        Command::Init(arguments) => init::run(&arguments),
        Command::Reconcile(arguments) => reconcile::run(&arguments),
        Command::History(arguments) => history::run(&arguments),
        Command::Rollback(arguments) => hold::run_rollback(&arguments),
        Command::Suspend(arguments) => hold::run_suspend(&arguments),
        Command::Resume(arguments) => hold::run_resume(&arguments),
        Command::Validate(arguments) => validate::run(&arguments),
        Command::Diff(arguments) => diff::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Schema(arguments) => schema::run(&arguments),
        Command::Pack(arguments) => pack::run(&arguments),
        Command::Site(arguments) => site::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Store(arguments) => store::run(&arguments),
        Command::Export(arguments) => moving::export(&arguments),
        Command::Import(arguments) => moving::import(&arguments),
        Command::User(arguments) => user::run(&arguments),
        Command::Hook(arguments) => hook::run(&arguments),
        Command::Doctor(arguments) => doctor::run(&arguments),
        #[cfg(feature = "kubernetes")]
        Command::Crds(arguments) => crds::run(&arguments),
        Command::Completion(arguments) => completion::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Api(arguments) => api::run(&arguments),
    }
}

#[cfg(test)]
mod tests;
