//! `formwork watch`: the live view. One thread waits for events and asks what the machines are; this one draws.

mod draw;
mod poll;

use super::error::CliError;
use super::get::{needs_a_person, phase_word};
use super::output::{Format, Output, note, printable};
use super::session::{Options, Session};
use super::time::{coarse, now_unix_ms, parse_duration};
use crate::api::views::{MachineSummary, Phase};
use clap::Args;
use draw::Row;
use poll::Update;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// On a terminal, seconds are seen to pass.
const TICK: Duration = Duration::from_secs(1);

/// Shows machines live: boot, environment, stage, task, and what each waits for.
#[derive(Debug, Args)]
#[command(
    mut_arg("output", |output| output.help("How changes are printed (default: table, in a pipe too)")),
    after_help = "On a terminal the view is redrawn in its place; in a pipe each change is a line (JSON with -o json).

Examples:
  formwork watch                                   all machines, until interrupted
  formwork watch node-1 node-2 --until-ready       exit code 1 as soon as one needs a person
  formwork watch --until-ready --timeout 20m -o json"
)]
pub struct Arguments {
    /// The machines (default: all); one that is not there yet is waited for.
    #[arg(value_name = "MACHINE", add = clap_complete::ArgValueCompleter::new(crate::cli::completion::machines))]
    names: Vec<String>,
    /// End when all are ready (exit code 0), or one failed, is held, overdue or cancelled, or waits under protection (1).
    #[arg(long)]
    until_ready: bool,
    /// Give up after this time (exit code 124).
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    let site = session.client.status()?.site;
    let updates = poll::start(session.client.clone());
    let mut view = View {
        site,
        revision: None,
        output: session.output,
        names: &arguments.names,
        rows: Vec::new(),
        drawn: 0,
        started: Instant::now(),
    };
    let deadline = arguments.timeout.map(|timeout| Instant::now() + timeout);
    watch(&updates, &mut view, deadline, arguments.until_ready)
}

fn watch(
    updates: &Receiver<Update>,
    view: &mut View<'_>,
    deadline: Option<Instant>,
    until_ready: bool,
) -> Result<(), CliError> {
    let mut known = false;
    loop {
        let left = deadline.map_or(TICK, |end| end.saturating_duration_since(Instant::now()).min(TICK));
        match updates.recv_timeout(left) {
            Ok(Update::Machines { revision, machines }) => {
                known = true;
                view.take(machines)?;
                view.revision = revision;
                view.draw()?;
            }
            Ok(Update::Away(error)) => view.note(&error)?,
            Ok(Update::Over(error)) => return Err(error),
            Err(RecvTimeoutError::Timeout) => view.draw()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(CliError::NotSo("the thread that asks the server ended".to_owned()));
            }
        }
        if until_ready
            && known
            && let Some(end) = outcome(&view.rows)
        {
            return end.map_err(CliError::NotSo);
        }
        if deadline.is_some_and(|end| Instant::now() >= end) {
            return Err(CliError::TimedOut(format!("the time is over: {}", draw::phases(&view.rows))));
        }
    }
}

/// All are ready; or one is where only a person helps; or neither yet.
fn outcome(rows: &[Row]) -> Option<Result<(), String>> {
    let phase = |row: &Row| row.machine.as_ref().map(|machine| machine.phase);
    if let Some(machine) = rows.iter().filter_map(|row| row.machine.as_ref()).find(|machine| needs_a_person(machine)) {
        return Some(Err(printable(&format!(
            "{} is {}: {}",
            machine.name,
            phase_word(machine.phase),
            machine.waits_for
        ))));
    }
    (!rows.is_empty() && rows.iter().all(|row| phase(row) == Some(Phase::Ready))).then_some(Ok(()))
}

/// What is on the screen.
struct View<'a> {
    site: String,
    revision: Option<String>,
    output: Output,
    names: &'a [String],
    rows: Vec<Row>,
    drawn: usize,
    started: Instant,
}

impl View<'_> {
    /// The view lives in its place on a terminal; elsewhere each change is a line.
    fn is_live(&self) -> bool {
        self.output.terminal && self.output.format() == Format::Table
    }

    /// Takes in what the machines are now, and says what changed where that is how it is shown.
    fn take(&mut self, machines: Vec<MachineSummary>) -> Result<(), CliError> {
        let now = now_unix_ms();
        let before = std::mem::take(&mut self.rows);
        let mut rows: Vec<Row> = if self.names.is_empty() {
            let here = machines.into_iter().filter(|machine| machine.phase != Phase::Left);
            here.map(|machine| Row { name: machine.name.clone(), machine: Some(machine), since_ms: now, seen_ms: None })
                .collect()
        } else {
            let find = |name: &String| machines.iter().find(|machine| machine.name == *name).cloned();
            self.names
                .iter()
                .map(|name| Row { name: name.clone(), machine: find(name), since_ms: now, seen_ms: None })
                .collect()
        };
        for row in &mut rows {
            if let Some(since) = row.machine.as_ref().and_then(|machine| machine.since_unix_ms) {
                row.since_ms = since;
            }
            let old = before.iter().find(|old| old.name == row.name);
            let same =
                old.is_some_and(|old| old.machine.as_ref().map(draw::look) == row.machine.as_ref().map(draw::look));
            if let (true, Some(old)) = (same, old) {
                // The journal knows since when; where it does not, since this view saw it so.
                if row.machine.as_ref().is_none_or(|machine| machine.since_unix_ms.is_none()) {
                    row.since_ms = old.since_ms;
                }
            } else if !self.is_live() {
                self.say(row)?;
            }
        }
        self.rows = rows;
        Ok(())
    }

    fn say(&self, row: &Row) -> Result<(), CliError> {
        match (self.output.chosen, &row.machine) {
            (Some(Format::Json | Format::Yaml | Format::Name), Some(machine)) => {
                self.output.item(machine, &row.name, String::new)
            }
            (Some(Format::Json | Format::Yaml | Format::Name), None) => Ok(()),
            _ => {
                let at = super::time::Clock::here().show(now_unix_ms());
                self.output.text(&format!("{at}  {}\n", draw::change(&row.name, row.machine.as_ref())))
            }
        }
    }

    fn draw(&mut self) -> Result<(), CliError> {
        if !self.is_live() {
            return Ok(());
        }
        let short = |it: &String| format!("  {}", super::sentence::short(it));
        let revision = self.revision.as_ref().map(short).unwrap_or_default();
        let elapsed = coarse(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX));
        let head = format!("{}{revision}  {elapsed}  {}", self.site, draw::phases(&self.rows));
        let height = self.output.size().map_or(24, |(_, rows)| rows);
        let now = now_unix_ms();
        let seen = |row: &Row| Some(now.saturating_sub(row.machine.as_ref()?.last_seen_unix_ms?));
        let aged = |row: &Row| Row { since_ms: now - row.since_ms, seen_ms: seen(row), ..row.clone() };
        let rows: Vec<Row> = self.rows.iter().map(aged).collect();
        let lines = draw::frame(&head, &rows, self.output.style(), height);
        self.output.bytes(draw::redraw(&lines, self.drawn).as_bytes())?;
        self.drawn = lines.len();
        Ok(())
    }

    /// Says that the server is away; in a live view the words stay above it.
    fn note(&mut self, error: &str) -> Result<(), CliError> {
        if self.is_live() {
            let before = self.drawn;
            self.drawn = 0;
            let said = [printable(&format!("note: {error}; trying again"))];
            self.output.bytes(draw::redraw(&said, before).as_bytes())?;
            return self.draw();
        }
        note(&format!("note: {error}; trying again"));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::machine;

    fn row(name: &str, phase: Option<Phase>) -> Row {
        Row { name: name.to_owned(), machine: phase.map(|phase| machine(name, phase)), since_ms: 0, seen_ms: None }
    }

    #[test]
    fn until_ready_ends_when_all_are_ready_or_one_needs_a_person() {
        let of = |phases: &[Option<Phase>]| outcome(&phases.iter().map(|phase| row("a", *phase)).collect::<Vec<_>>());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[Some(Phase::Ready), None]), None);
        assert_eq!(of(&[Some(Phase::Ready), Some(Phase::Working)]), None);
        assert_eq!(of(&[Some(Phase::Ready), Some(Phase::Ready)]), Some(Ok(())));
        assert_eq!(of(&[Some(Phase::Working), Some(Phase::Failed)]), Some(Err("a is failed: ".to_owned())));
    }
}
