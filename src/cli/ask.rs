//! `formwork retry|skip|cancel|approve|forget|reboot|adopt`: what people ask of machines. Each becomes an event.

use super::error::CliError;
use super::session::{Options, Session};
use crate::api::views::AskBody;
use clap::Args;
use serde::Serialize;

/// Names of machines and, where one likes, why.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The machines.
    #[arg(value_name = "MACHINE", required = true)]
    names: Vec<String>,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    session: Options,
}

/// Names of machines and why.
#[derive(Debug, Args)]
pub struct WithReason {
    /// The machines.
    #[arg(value_name = "MACHINE", required = true)]
    names: Vec<String>,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", required = true)]
    reason: String,
    #[command(flatten)]
    session: Options,
}

/// Takes over machines that the store has no journal of.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork adopt node-1            it is installed already: its declared run counts as done
  formwork adopt --new node-1      it is a new machine: let its workflow start
  formwork adopt --all             all declared machines without a journal count as done
  formwork adopt --all --new       all of them are new")]
pub struct Adopt {
    /// The machines.
    #[arg(value_name = "MACHINE", required_unless_present = "all", conflicts_with = "all")]
    names: Vec<String>,
    /// All declared machines without a journal.
    #[arg(long)]
    all: bool,
    /// They are new: let their workflow start.
    #[arg(long)]
    new: bool,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    session: Options,
}

/// One machine's answer, as programs get it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    machine: Option<&'a str>,
    asked: &'a str,
    message: &'a str,
}

/// Asks `verb` of each machine.
pub fn run(verb: &'static str, arguments: &Arguments) -> Result<(), CliError> {
    let body = AskBody { reason: arguments.reason.clone(), new: false };
    ask_each(verb, &arguments.names, &body, &Session::open(&arguments.session)?)
}

/// Asks `verb` of each machine, with the reason that it needs.
pub fn run_with_reason(verb: &'static str, arguments: &WithReason) -> Result<(), CliError> {
    let body = AskBody { reason: arguments.reason.clone(), new: false };
    ask_each(verb, &arguments.names, &body, &Session::open(&arguments.session)?)
}

/// Adopts.
pub fn run_adopt(arguments: &Adopt) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    let body = AskBody { reason: arguments.reason.clone(), new: arguments.new };
    if !arguments.all {
        return ask_each("adopt", &arguments.names, &body, &session);
    }
    let answer = session.client.adopt_all(&body)?;
    let asked = Asked { machine: None, asked: "adopt", message: &answer.message };
    session.output.item(&asked, "all", || super::output::printable(&answer.message))
}

/// All machines are asked, whatever the first answers; the first failure is the command's.
fn ask_each(verb: &str, names: &[String], body: &AskBody, session: &Session) -> Result<(), CliError> {
    let mut first = None;
    for name in names {
        match session.client.ask(name, verb, body) {
            Ok(answer) => {
                let asked = Asked { machine: Some(name), asked: verb, message: &answer.message };
                session
                    .output
                    .item(&asked, name, || super::output::printable(&format!("{name}: {}", answer.message)))?;
            }
            Err(error) => {
                let error = session.machine_not_found(name, error);
                if first.is_some() || names.len() > 1 {
                    eprintln!("{name}: not asked:");
                }
                if first.is_none() {
                    first = Some(error);
                } else {
                    error.report();
                }
            }
        }
    }
    first.map_or(Ok(()), Err)
}
