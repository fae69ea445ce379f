//! `formwork events`: what happened, one sentence a line.

use super::error::CliError;
use super::follow::{Follower, say_away};
use super::output::printable;
use super::sentence::{sentence, subject};
use super::session::{Options, Session};
use super::time::{Clock, now_unix_ms, parse_duration};
use crate::journal::Record;
use clap::Args;
use std::time::Duration;

/// Shows what happened, one sentence an event.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork events                         everything so far
  formwork events -w --since 10m          the last ten minutes, then on as it happens
  formwork events --machine node-1 -o json | jq -r .event.type
  formwork events -w --since 1200         on from where an earlier call ended (its last `sequence`)")]
pub struct Arguments {
    /// Go on as events happen.
    #[arg(short, long)]
    watch: bool,
    /// Only this machine's.
    #[arg(long, value_name = "NAME")]
    machine: Option<String>,
    /// Only events after this sequence number, or of this last time (`10m`).
    #[arg(long, value_name = "SEQUENCE|DURATION", value_parser = parse_since)]
    since: Option<Since>,
    #[command(flatten)]
    session: Options,
}

/// From where on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    Sequence(u64),
    Last(Duration),
}

fn parse_since(text: &str) -> Result<Since, String> {
    match text.parse() {
        Ok(sequence) => Ok(Since::Sequence(sequence)),
        Err(_) => parse_duration(text)
            .map(Since::Last)
            .map_err(|_| format!("`{text}` is neither a sequence number nor a duration such as 10m")),
    }
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    if let Some(name) = &arguments.machine {
        session.client.machine(name).map_err(|error| session.machine_not_found(name, error))?;
    }
    let (after, oldest) = match arguments.since {
        None => (0, i64::MIN),
        Some(Since::Sequence(sequence)) => (sequence, i64::MIN),
        Some(Since::Last(last)) => {
            (0, now_unix_ms().saturating_sub(i64::try_from(last.as_millis()).unwrap_or(i64::MAX)))
        }
    };
    let mut follower = Follower::new(&session.client, after, arguments.machine.clone());
    let show = |records: Vec<Record>| {
        for record in records.iter().filter(|record| record.at_unix_ms >= oldest) {
            session.output.item(record, &record.sequence.to_string(), || line(record, &session.clock))?;
        }
        Ok(())
    };
    follower.up_to_now(show)?;
    while arguments.watch {
        show(follower.next_patiently(None, &mut say_away)?)?;
    }
    Ok(())
}

/// One event as a line: when, whose, what.
pub fn line(record: &Record, clock: &Clock) -> String {
    let text =
        format!("{}  {:<12}  {}", clock.show(record.at_unix_ms), subject(&record.stream), sentence(&record.event));
    // One event is one line, whatever a message holds.
    printable(&text.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Event, Stream};

    #[test]
    fn a_line_says_when_whose_and_what() {
        let record = Record {
            sequence: 7,
            stream: Stream::Machine("node-1".to_owned()),
            index: 0,
            at_unix_ms: 1_795_384_984_000,
            event: Event::Held { reason: "no check-in\nafter five offers".to_owned() },
        };
        assert_eq!(
            line(&record, &Clock::fixed(1_795_384_990_000)),
            "22:03:04  node-1        is held: no check-in after five offers"
        );
    }

    #[test]
    fn since_is_a_place_or_a_time() {
        assert_eq!(parse_since("42"), Ok(Since::Sequence(42)));
        assert_eq!(parse_since("10m"), Ok(Since::Last(Duration::from_secs(600))));
        assert!(parse_since("yesterday").is_err());
    }
}
