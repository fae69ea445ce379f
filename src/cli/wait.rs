//! `formwork wait machine NAME… --for …`: until it is so, woken by events.

use super::client::Client;
use super::error::CliError;
use super::follow::{Follower, patiently, say_away};
use super::get::{needs_a_person, phase_word};
use super::output::printable;
use super::session::{Options, Session};
use super::time::{coarse, parse_duration};
use crate::api::views::{MachineDetail, MachineSummary, Phase};
use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Events come in bursts; between two looks at the machines there is at least this.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);
/// A look without an event: what a machine waits for can change with time alone.
const LOOK_AT_LEAST: Duration = Duration::from_secs(20);

/// Up to so many machines are asked for one by one; past it the list is cheaper.
const ONE_BY_ONE: usize = 4;

/// Waits until something is so of all named machines.
#[derive(Debug, Args)]
#[command(after_help = "Conditions (several: all must hold at the same time):
  ready             its run is done
  phase=PHASE       expected, booting, working, waiting, failed, held, overdue, ready,
                    cancelled or left
  run=N             its last run has this number or a higher one
  fact=NAME         it has reported this fact
  fact=NAME=VALUE   this fact is VALUE; NAME may be a path such as memory.bytes

Examples:
  formwork wait machine node-1 node-2 --for ready --timeout 10m
  formwork wait machine node-1 --for run=2 --for ready     after a commit that raised spec.run to 2
  formwork wait machine node-1 --for phase=failed || echo still well")]
pub struct Arguments {
    /// What to wait for.
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// The machines; one that is not there yet is waited for.
    #[arg(value_name = "NAME", required = true, add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    names: Vec<String>,
    /// The condition; may be given more than once.
    #[arg(long = "for", value_name = "CONDITION", required = true, value_parser = parse_condition)]
    conditions: Vec<Condition>,
    /// Give up after this time (exit code 124).
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    timeout: Duration,
    /// End with exit code 1 as soon as one of them needs a person: failed, held, overdue, cancelled, or under protection.
    #[arg(long)]
    fail_early: bool,
    #[command(flatten)]
    session: Options,
}

/// Kinds that can be waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Machines.
    #[value(alias = "machines", alias = "m")]
    Machine,
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Condition {
    Phase(Phase),
    Run(u64),
    Fact(String, Option<String>),
}

fn parse_condition(text: &str) -> Result<Condition, String> {
    let wrong = || format!("`{text}` is not a condition: ready, phase=PHASE, run=N, fact=NAME or fact=NAME=VALUE");
    match text.split_once('=') {
        None if text == "ready" => Ok(Condition::Phase(Phase::Ready)),
        Some(("phase", phase)) => serde_json::from_value(Value::from(phase)).map(Condition::Phase).map_err(|_| {
            format!("there is no phase `{phase}`: expected, booting, working, waiting, failed, held, overdue, ready, cancelled or left")
        }),
        Some(("run", run)) => run.parse().map(Condition::Run).map_err(|_| wrong()),
        Some(("fact", fact)) if !fact.is_empty() => Ok(match fact.split_once('=') {
            Some((name, value)) => Condition::Fact(name.to_owned(), Some(value.to_owned())),
            None => Condition::Fact(fact.to_owned(), None),
        }),
        _ => Err(wrong()),
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Phase(phase) => f.write_str(phase_word(*phase)),
            Self::Run(run) => write!(f, "run {run} has begun"),
            Self::Fact(name, None) => write!(f, "has fact {name}"),
            Self::Fact(name, Some(value)) => write!(f, "fact {name} is {value}"),
        }
    }
}

impl Condition {
    fn holds(&self, machine: &Looked) -> bool {
        match self {
            Self::Phase(phase) => machine.summary.phase == *phase,
            Self::Run(run) => machine.summary.run.is_some_and(|number| number >= *run),
            Self::Fact(name, expected) => {
                let found = machine.facts.as_ref().and_then(|facts| fact(facts, name));
                match expected {
                    None => found.is_some(),
                    Some(expected) => found.is_some_and(|value| match value {
                        Value::String(text) => text == expected,
                        other => {
                            let shown = other.to_string();
                            shown == *expected
                        }
                    }),
                }
            }
        }
    }
}

/// A machine as far as the conditions need it.
struct Looked {
    summary: MachineSummary,
    /// Looked up only where a condition asks for one.
    facts: Option<serde_json::Map<String, Value>>,
}

/// What these machines are now; those that are not there are not in it.
fn look(client: &Client, arguments: &Arguments) -> Result<Vec<Looked>, CliError> {
    let facts = arguments.conditions.iter().any(|condition| matches!(condition, Condition::Fact(..)));
    if !facts && arguments.names.len() > ONE_BY_ONE {
        let named = |machine: &MachineSummary| arguments.names.iter().any(|name| machine.is_called(name));
        let items = client.machines()?.items.into_iter().filter(named);
        return Ok(items.map(|summary| Looked { summary, facts: None }).collect());
    }
    let mut found = Vec::new();
    for name in &arguments.names {
        match client.machine(name) {
            Ok(MachineDetail { summary, facts, .. }) => found.push(Looked { summary, facts: Some(facts) }),
            // It may be enrolled, or declared by a commit that is on its way.
            Err(CliError::NotFound { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// A fact by its name, else by a path of names and places joined by dots.
fn fact<'a>(facts: &'a serde_json::Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = facts.get(name) {
        return Some(value);
    }
    let mut parts = name.split('.');
    let mut value = facts.get(parts.next()?)?;
    for part in parts {
        value = match value {
            Value::Object(map) => map.get(part)?,
            Value::Array(items) => items.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(value)
}

/// One machine that is so, as programs get it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Met<'a> {
    machine: &'a str,
    phase: Phase,
    run: Option<u64>,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let Kind::Machine = arguments.kind;
    let session = Session::open(&arguments.session)?;
    let started = Instant::now();
    let deadline = started + arguments.timeout;
    let mut follower = Follower::new(&session.client, 0, None);
    // First the place in the journal, then the look: what happens in between is not missed.
    patiently(Some(deadline), &mut say_away, || follower.skip_to_now())?;
    let mut told: Vec<&str> = Vec::new();
    loop {
        let mut open = Vec::new();
        let machines = patiently(Some(deadline), &mut say_away, || look(&session.client, arguments))?;
        for name in &arguments.names {
            let Some(machine) = machines.iter().find(|machine| machine.summary.is_called(name)) else {
                told.retain(|it| it != name);
                open.push(format!("{name}: there is no such machine"));
                continue;
            };
            if arguments.conditions.iter().all(|condition| condition.holds(machine)) {
                if !told.contains(&name.as_str()) {
                    told.push(name);
                    let met = Met { machine: name, phase: machine.summary.phase, run: machine.summary.run };
                    let after = coarse(i64::try_from(started.elapsed().as_millis()).unwrap_or(i64::MAX));
                    let so: Vec<String> = arguments.conditions.iter().map(ToString::to_string).collect();
                    session.output.item(&met, name, || format!("{name}: {} (after {after})", so.join(", ")))?;
                }
                continue;
            }
            told.retain(|it| it != name);
            let summary = &machine.summary;
            let run = summary.run.map(|run| format!(", run {run}")).unwrap_or_default();
            let says = format!("{name} is {}{run}: {}", phase_word(summary.phase), summary.waits_for);
            if arguments.fail_early && needs_a_person(summary) {
                return Err(CliError::NotSo(printable(&says)));
            }
            open.push(says);
        }
        if open.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let waited = coarse(i64::try_from(arguments.timeout.as_millis()).unwrap_or(i64::MAX));
            return Err(CliError::TimedOut(format!("not so after {waited}:\n  {}", open.join("\n  "))));
        }
        std::thread::sleep(BETWEEN_LOOKS.min(deadline.saturating_duration_since(Instant::now())));
        follower.next_patiently(LOOK_AT_LEAST, Some(deadline), &mut say_away)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::detail;

    #[test]
    fn conditions_are_read_and_wrong_ones_are_explained() {
        assert_eq!(parse_condition("ready"), Ok(Condition::Phase(Phase::Ready)));
        assert_eq!(parse_condition("phase=held"), Ok(Condition::Phase(Phase::Held)));
        assert_eq!(parse_condition("run=2"), Ok(Condition::Run(2)));
        assert_eq!(parse_condition("fact=a.b=c=d"), Ok(Condition::Fact("a.b".to_owned(), Some("c=d".to_owned()))));
        let said = ["ready", "run=2", "fact=a", "fact=a=b"].map(|text| parse_condition(text).unwrap().to_string());
        assert_eq!(said, ["ready", "run 2 has begun", "has fact a", "fact a is b"]);
        for wrong in ["", "redy", "phase=redy", "run=two", "fact=", "colour=red"] {
            assert!(parse_condition(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn conditions_hold_of_what_the_machine_is() {
        let MachineDetail { summary, facts, .. } = detail("node-1");
        let machine = Looked { summary, facts: Some(facts) };
        for (text, expected) in [
            ("ready", false),
            ("phase=failed", true),
            ("run=1", true),
            ("run=2", false),
            ("fact=disks", true),
            ("fact=nics", false),
            ("fact=memory.bytes=2147483648", true),
            ("fact=disks.0.name=vda", true),
            ("fact=disks.0.name=sda", false),
            ("fact=disks.name", false),
        ] {
            assert_eq!(parse_condition(text).unwrap().holds(&machine), expected, "{text}");
        }
    }
}
