//! `formwork events`: what happened, one sentence a line.

use super::client::LONGEST_WAIT;
use super::error::CliError;
use super::follow::{Follower, say_away};
use super::output::printable;
use super::sentence::{sentence, subject};
use super::session::{Options, Session};
use super::time::{Clock, now_unix_ms, parse_duration};
use crate::journal::{Event, Record};
use clap::Args;
use std::collections::HashMap;
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
    #[arg(long, value_name = "NAME", add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
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
    let mut tasks = Tasks::default();
    let mut show = |records: Vec<Record>| {
        for record in &records {
            let task = tasks.of(&record.event);
            if record.at_unix_ms >= oldest {
                let line = || line(record, task.as_deref(), &Clock::here());
                session.output.item(record, &record.sequence.to_string(), line)?;
            }
        }
        Ok(())
    };
    follower.up_to_now(&mut show)?;
    if !arguments.watch {
        return Ok(());
    }
    loop {
        show(follower.next_patiently(LONGEST_WAIT, None, &mut say_away)?)?;
    }
}

/// Which task each open job is about: remembered from its grant to its end, so bounded by what runs at once.
#[derive(Default)]
struct Tasks(HashMap<String, String>);

impl Tasks {
    /// Takes in an event; for the end of a job, gives its task.
    fn of(&mut self, event: &Event) -> Option<String> {
        match event {
            Event::JobGranted { job, task, .. } => {
                self.0.insert(job.clone(), task.clone());
                None
            }
            Event::JobEnded { job, .. } => self.0.remove(job),
            _ => None,
        }
    }
}

/// One event as a line: when, whose, what.
fn line(record: &Record, task: Option<&str>, clock: &Clock) -> String {
    let text = format!(
        "{}  {:<12}  {}",
        clock.show(record.at_unix_ms),
        subject(&record.stream),
        sentence(&record.event, task)
    );
    // One event is one line, whatever a message holds.
    printable(&text.replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::one_run;
    use crate::journal::Stream;

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
            line(&record, None, &Clock::fixed(1_795_384_990_000)),
            "22:03:04  node-1        is held: no check-in after five offers"
        );
    }

    #[test]
    fn the_end_of_a_job_names_its_task() {
        let mut tasks = Tasks::default();
        let records = one_run("node-1", 0);
        let lines = records.iter().map(|record| (tasks.of(&record.event), record));
        let lines: Vec<String> = lines.map(|(task, record)| line(record, task.as_deref(), &Clock::fixed(0))).collect();
        assert_eq!(lines[4], "00:00:16  node-1        starts discovery.inventory of stage discover (job j1)");
        assert_eq!(lines[5], "00:00:22  node-1        discovery.inventory is done");
        assert!(tasks.0.is_empty());
    }

    #[test]
    fn since_is_a_place_or_a_time() {
        assert_eq!(parse_since("42"), Ok(Since::Sequence(42)));
        assert_eq!(parse_since("10m"), Ok(Since::Last(Duration::from_secs(600))));
        assert!(parse_since("yesterday").is_err());
    }
}
