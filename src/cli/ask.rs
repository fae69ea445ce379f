//! `formwork retry|skip|cancel|approve|forget|reboot|adopt`: what people ask of machines. Each becomes an event.

use super::error::CliError;
use super::given_words;
use super::output::printable;
use super::session::{Options, Session};
use crate::api::views::{AskBody, MachineSummary, Phase};
use clap::Args;
use serde::Serialize;

/// Names of machines and, where one likes, why.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The machines.
    #[arg(value_name = "MACHINE", required = true, add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
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
    #[arg(value_name = "MACHINE", required = true, add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    names: Vec<String>,
    /// Why, for the journal.
    #[arg(long, value_name = "TEXT", required = true, value_parser = given_words::reason)]
    reason: String,
    #[command(flatten)]
    session: Options,
}

/// Takes over machines that the store has no journal of.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork adopt node-1            it is installed already: its declared run counts as done
  formwork adopt --new node-1      it is a new machine: let its workflow start
  formwork adopt --all             the same for all machines that are known now without a journal
  formwork adopt --all --new       machines without a journal are new, now and from now on

Without --new nothing is ever wiped by this; the next raised spec.run starts the workflow.")]
pub struct Adopt {
    /// The machines.
    #[arg(value_name = "MACHINE", required_unless_present = "all", conflicts_with = "all", add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    names: Vec<String>,
    /// All machines without a journal.
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
    if arguments.new {
        // One word for the whole site: it also holds for machines that were never heard of yet.
        let answer = session.client.adopt_all(&body)?;
        return told(None, "adopt", &answer.message, &session);
    }
    // Taken as done one by one: the machines that are known now and have no journal of a run. Nothing is wiped by this.
    let list = session.client.machines()?;
    let names: Vec<String> =
        list.items.iter().filter(|machine| is_unknown(machine)).map(|it| it.name.clone()).collect();
    if names.is_empty() {
        super::output::note("no machine is without a journal: nothing to adopt");
        return Ok(());
    }
    ask_each("adopt", &names, &body, &session)
}

/// It should walk a workflow, and the store knows of no run.
fn is_unknown(machine: &MachineSummary) -> bool {
    machine.restored
        || machine.run.is_none() && machine.workflow.is_some() && matches!(machine.phase, Phase::Expected | Phase::Held)
}

/// Prints an answer.
fn told(machine: Option<&str>, asked: &str, message: &str, session: &Session) -> Result<(), CliError> {
    session.output.item(&Asked { machine, asked, message }, machine.unwrap_or("all"), || printable(message))
}

/// All machines are asked, whatever the first answers.
fn ask_each(verb: &str, names: &[String], body: &AskBody, session: &Session) -> Result<(), CliError> {
    let mut failed: Vec<u8> = Vec::new();
    for name in names {
        let answer = session.client.ask(name, verb, body).map_err(|error| session.machine_not_found(name, error));
        match answer {
            Ok(answer) => {
                // The answer may begin with the name, for it is a sentence.
                let message = match answer.message.starts_with(name.as_str()) {
                    true => answer.message,
                    false => format!("{name}: {}", answer.message),
                };
                told(Some(name), verb, &message, session)?;
            }
            Err(error) if names.len() == 1 => return Err(error),
            Err(error) => {
                error.report();
                failed.push(error.exit_code());
            }
        }
    }
    match failed.first() {
        None => Ok(()),
        Some(exit_code) => Err(CliError::Partly { failed: failed.len(), all: names.len(), exit_code: *exit_code }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::machine;

    #[test]
    fn only_machines_without_a_journal_of_a_run_are_adopted_with_all() {
        let mut held = machine("a", Phase::Held);
        assert!(!is_unknown(&held), "it has a run");
        held.run = None;
        assert!(is_unknown(&held));
        assert!(is_unknown(&machine("b", Phase::Expected)));
        assert!(!is_unknown(&machine("c", Phase::Ready)));
        held.workflow = None;
        assert!(!is_unknown(&held), "it has nothing to walk");
    }
}
