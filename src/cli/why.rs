//! `formwork why MACHINE [PARAM]`: why a machine is where it is, or a param what it is, each with what says so.

use super::error::CliError;
use super::offline::Place;
use super::output::{Output, Style, Tone, Word, printable, table};
use super::sentence::{sentence, short};
use super::session::{Options, Session};
use super::time::{Clock, coarse};
use crate::inspect::{self, Asked, Evidence, ParamError, ParamWhy, Why};
use clap::Args;
use serde_json::Value;

/// Says why a machine is where it is, or why a param is what it is for it.
///
/// Without PARAM: what the machine does or waits for, and what that rests on: events, lines of content, rules. With PARAM: everyone
/// who is asked for it, strongest first, which one wins, and where each value stands. Secret values are never shown.
///
/// With --dir or --repository no server is asked; what the machine did before is then not known.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork why node-1                            what does it wait for?
  formwork why node-1 install-disk               who says so, and where?
  formwork why node-1 install-disk --stage join  as in that stage
  formwork why node-1 install-disk --dir site/   by files that are not pushed yet
  formwork why node-1 -o json | jq -r .answer")]
pub struct Arguments {
    /// The machine.
    #[arg(value_name = "MACHINE", add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    machine: String,
    /// A param.
    #[arg(value_name = "PARAM")]
    param: Option<String>,
    /// Read the param as in this stage (default: the one that the open run is in).
    #[arg(long, value_name = "STAGE", requires = "param")]
    stage: Option<String>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let Arguments { machine, param, stage, place, session } = arguments;
    let offline = place.open()?;
    let Some(offline) = offline else {
        let session = Session::open(session)?;
        return match param {
            None => {
                let why = session.client.why(machine).map_err(|error| session.machine_not_found(machine, error))?;
                show_why(&why, session.output, &session.clock)
            }
            Some(param) => {
                let answer = session.client.param_why(machine, param, stage.as_deref());
                show_param(&answer.map_err(|error| session.machine_not_found(machine, error))?, session.output)
            }
        };
    };
    let (output, clock) = (session.output(), Clock::here());
    match param {
        None => show_why(&offline.look(machine, inspect::why)?, output, &clock),
        Some(param) => {
            let found = offline.look(machine, |subject| inspect::param_why(subject, param, stage.as_deref()))?;
            let mut found = found.map_err(not_found)?;
            for asked in &mut found.asked {
                asked.commit = asked.place.as_ref().and_then(|place| offline.commit(place));
            }
            show_param(&found, output)
        }
    }
}

fn not_found(error: ParamError) -> CliError {
    let message = error.to_string();
    let hint = match error {
        ParamError::NoMachine(_) => None,
        ParamError::Unknown { hint, .. } | ParamError::NoStage { hint, .. } => hint,
    };
    CliError::NotFound { message, hint }
}

fn show_why(why: &Why, output: Output, clock: &Clock) -> Result<(), CliError> {
    output.answer(why, || vec![why.machine.clone()], |style| draw_why(why, clock, style))
}

fn show_param(found: &ParamWhy, output: Output) -> Result<(), CliError> {
    output.answer(found, || vec![found.param.clone()], |style| draw_param(found, style))
}

fn draw_why(why: &Why, clock: &Clock, style: Style) -> String {
    let mut text = style.heading(&printable(&why.answer));
    for hindrance in &why.hindrances {
        text.push_str(&style.indented("", &format!("but {}", printable(hindrance))));
    }
    if let Some(ms) = why.ask_again_ms {
        let ms = i64::try_from(ms).unwrap_or(i64::MAX);
        text.push_str(&format!("this can change by itself in {}\n", coarse(ms)));
    }
    for because in &why.because {
        text.push_str(&format!("\n{}", style.indented("", &printable(&because.text))));
        for evidence in &because.evidence {
            text.push_str(&style.indented("  ", &draw_evidence(evidence, clock)));
        }
    }
    text
}

fn draw_evidence(evidence: &Evidence, clock: &Clock) -> String {
    match evidence {
        Evidence::Event { record } => printable(&format!(
            "event {}, {}: {}",
            record.sequence,
            clock.show(record.at_unix_ms),
            sentence(&record.event, None)
        )),
        Evidence::Content { place, revision, says } => printable(&format!("{place}: {says} ({})", named(revision))),
        Evidence::Rule { text } => format!("rule: {text}"),
    }
}

fn draw_param(found: &ParamWhy, style: Style) -> String {
    let stage = found.stage.as_ref().map(|stage| format!(" in stage {stage}")).unwrap_or_default();
    let winner = found.asked.iter().find(|asked| asked.wins);
    let says = match winner {
        Some(winner) => format!(" is {}, by {}", shown(winner, found.secret), winner.layer),
        None => " has no value".to_owned(),
    };
    let head = format!("{} of {}{stage}{says}", found.param, found.machine);
    let mut text = style.heading(&printable(&head));
    if !found.description.is_empty() {
        text.push_str(&format!("  {}\n", printable(found.description.trim())));
    }
    text.push('\n');
    let rows = found.asked.iter().filter(|asked| asked.gives).map(|asked| {
        let tone = if asked.wins { Tone::Good } else { Tone::Plain };
        let place = asked.place.as_ref().map_or_else(|| "run time".to_owned(), ToString::to_string);
        let mark = if asked.wins { "wins" } else { "" };
        let mut row =
            vec![Word::new(mark, tone), Word::new(asked.layer.as_str(), tone), shown(asked, found.secret).into()];
        row.push(place.into());
        row.push(asked.commit.as_ref().map_or_else(String::new, commit).into());
        row
    });
    text.push_str(&table(&["", "given by", "value", "at", "commit"], rows, style));
    let silent: Vec<&str> = found.asked.iter().filter(|asked| !asked.gives).map(|asked| asked.layer.as_str()).collect();
    if !silent.is_empty() {
        text.push_str(&format!("\nasked too, and silent: {}\n", silent.join(", ")));
    }
    for other in &found.elsewhere {
        let value = other.value.as_ref().map_or_else(|| "(hidden)".to_owned(), plain);
        let place = other.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
        text.push_str(&printable(&format!("in stage {} it is {value}, by {}{place}\n", other.stage, other.layer)));
    }
    match &found.declared_at {
        Some(place) => text.push_str(&format!("declared at {place}\n")),
        None => text.push_str("no Param declares it: its values are not checked\n"),
    }
    if !found.used_by.is_empty() {
        text.push_str(&format!("used by {}\n", found.used_by.join(", ")));
    }
    text.push_str(&format!("{}\n", named(&found.revision)));
    text
}

/// A revision as people say it.
pub(super) fn named(revision: &str) -> String {
    // What is not committed has no id.
    if revision.contains(' ') { revision.to_owned() } else { format!("revision {}", short(revision)) }
}

fn commit(commit: &inspect::Commit) -> String {
    if commit.or_before {
        return format!("{} or before", short(&commit.id));
    }
    let day = super::time::day(commit.at_unix_ms);
    printable(&format!("{} {day} {}: {}", short(&commit.id), commit.author, commit.summary))
}

fn shown(asked: &Asked, secret: bool) -> String {
    match (&asked.secret_name, &asked.value) {
        (Some(name), _) => format!("(secret {name})"),
        (None, Some(value)) => plain(value),
        (None, None) if secret => "(hidden)".to_owned(),
        (None, None) => String::new(),
    }
}

/// Text as it is, anything else as JSON.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
#[path = "why_tests.rs"]
mod tests;
