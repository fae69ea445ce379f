//! `formwork logs MACHINE|JOB`: what jobs wrote, by offset, so that no line is lost or doubled.

use super::client::{LONGEST_WAIT, LogPiece};
use super::error::CliError;
use super::follow::{Follower, patiently, say_away};
use super::output::{Format, note, printable};
use super::sentence::list;
use super::session::{Options, Session};
use super::suggest;
use crate::api::views::{JobRow, MachineDetail, Phase};
use clap::Args;
use std::collections::HashSet;
use std::time::Duration;

/// While a machine is between jobs, its state is looked at when events come, and at least this often.
const LOOK_AT_LEAST: Duration = Duration::from_secs(20);

/// Shows what a job wrote: the open one of a machine, else its last.
#[derive(Debug, Args)]
#[command(mut_arg("output", |output| output.help("A log is text, in a pipe too: table is all there is")), after_help = "Examples:
  formwork logs node-1                     its open job, else its last
  formwork logs node-1 --task image.write  the last job of one task
  formwork logs node-1 -f                  job after job, until its run is done or a person is needed
  formwork logs 3f9c2a… -f                 one job")]
pub struct Arguments {
    /// A machine's name or a job's id.
    #[arg(value_name = "MACHINE|JOB", add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    name: String,
    /// Go on as lines come.
    #[arg(short, long)]
    follow: bool,
    /// The last job of this task; a short name will do.
    #[arg(short, long, value_name = "TASK")]
    task: Option<String>,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    if matches!(session.output.chosen, Some(Format::Json | Format::Yaml)) {
        return Err(CliError::Usage {
            message: "a log is what a script wrote: it is text, and has no other form".to_owned(),
            hint: Some(format!("formwork describe machine {} -o json has its jobs", arguments.name)),
        });
    }
    let name = &arguments.name;
    let machine = match session.client.machine(name) {
        Ok(machine) => machine,
        Err(error @ CliError::NotFound { .. }) => {
            if arguments.task.is_some() {
                return Err(session.machine_not_found(name, error));
            }
            return match show(&session, name, arguments.follow) {
                Err(CliError::NotFound { .. }) => Err(neither(&session, name)),
                other => other,
            };
        }
        Err(error) => return Err(error),
    };
    let job = match &arguments.task {
        Some(task) => Some(job_of_task(&machine, task)?),
        None => current_job(&machine.jobs),
    };
    if arguments.follow && arguments.task.is_none() {
        return follow_machine(&session, machine);
    }
    match job.and_then(|row| row.job.as_deref()) {
        Some(job) => show(&session, job, arguments.follow),
        None => Err(CliError::NotFound {
            message: format!("{name} has had no job yet"),
            hint: Some("-f waits for its first".to_owned()),
        }),
    }
}

fn neither(session: &Session, name: &str) -> CliError {
    let machines = session.client.machines().map(|list| list.items).unwrap_or_default();
    CliError::NotFound {
        message: format!("there is no machine and no job {name}"),
        hint: Some(suggest::hint(name, machines.iter().map(|it| it.name.as_str()), "formwork get machines")),
    }
}

/// The open job, else the last one that was granted, in the order of the workflow.
fn current_job(jobs: &[JobRow]) -> Option<&JobRow> {
    jobs.iter().find(|row| row.state == "open").or_else(|| jobs.iter().rfind(|row| row.job.is_some()))
}

/// A task by its qualified name, else by the part after the pack.
fn job_of_task<'a>(machine: &'a MachineDetail, task: &str) -> Result<&'a JobRow, CliError> {
    let suffix = format!(".{task}");
    let exact = machine.jobs.iter().rfind(|row| row.task == task && row.job.is_some());
    let found = exact.or_else(|| machine.jobs.iter().rfind(|row| row.task.ends_with(&suffix) && row.job.is_some()));
    found.ok_or_else(|| {
        let to_do = machine.jobs.iter().any(|row| row.task == task || row.task.ends_with(&suffix));
        let mut names: Vec<&str> = machine.jobs.iter().map(|row| row.task.as_str()).collect();
        names.dedup();
        CliError::NotFound {
            message: format!("{} has had no job of task {task}", machine.summary.name),
            hint: Some(match to_do {
                true => "it is still to do".to_owned(),
                false => format!("its run has {}", list(&names, "no tasks")),
            }),
        }
    })
}

/// Shows one job's log; with `follow`, until the job ended and all of it is here.
fn show(session: &Session, job: &str, follow: bool) -> Result<(), CliError> {
    let mut from = 0;
    let mut rest = Vec::new();
    loop {
        let wait = if follow { LONGEST_WAIT } else { Duration::ZERO };
        let piece = if from == 0 && !follow {
            session.client.log(job, from, wait)?
        } else {
            patiently(None, &mut say_away, || session.client.log(job, from, wait))?
        };
        from += u64::try_from(piece.bytes.len()).unwrap_or(u64::MAX);
        if session.output.terminal {
            rest.extend_from_slice(&piece.bytes);
            session.output.text(&take_printable(&mut rest))?;
        } else {
            session.output.bytes(&piece.bytes)?;
        }
        if is_end(&piece, from, follow) {
            return Ok(());
        }
    }
}

/// Takes from `bytes` what can be shown on a terminal, with nothing in it that could steer it. The beginning of a character
/// (RFC 3629) or of a line's end that has not arrived in full stays there.
fn take_printable(bytes: &mut Vec<u8>) -> String {
    let mut end = bytes.len();
    if bytes.last() == Some(&b'\r') {
        end -= 1;
    } else if let Some(error) = bytes.utf8_chunks().last().map(|chunk| chunk.invalid())
        && (1..4).contains(&error.len())
        && std::str::from_utf8(error).is_err_and(|error| error.error_len().is_none())
    {
        end -= error.len();
    }
    let rest = bytes.split_off(end);
    let text = printable(&String::from_utf8_lossy(bytes).replace("\r\n", "\n"));
    *bytes = rest;
    text
}

/// Nothing more is to be shown.
fn is_end(piece: &LogPiece, shown: u64, follow: bool) -> bool {
    let all = shown >= piece.length;
    // An empty piece of a log that should have more would be asked for again for ever.
    all && (piece.complete || !follow) || (piece.bytes.is_empty() && !follow)
}

/// Job after job, each under a head on standard error, until the run is over or a person is needed.
fn follow_machine(session: &Session, mut machine: MachineDetail) -> Result<(), CliError> {
    let name = machine.summary.name.clone();
    let mut follower = Follower::new(&session.client, 0, Some(name.clone()));
    follower.skip_to_now()?;
    let mut shown = before(&machine.jobs);
    loop {
        if let Some((row, job)) = next_job(&machine.jobs, &shown) {
            note(&format!("==> {name}: {} of stage {} (job {job}) <==", row.task, row.stage));
            show(session, job, true)?;
            shown.insert(job.to_owned());
        } else if let Some(end) = over(&machine) {
            return end;
        } else {
            follower.next_patiently(LOOK_AT_LEAST, None, &mut say_away)?;
        }
        machine = patiently(None, &mut say_away, || session.client.machine(&name))?;
    }
}

/// Jobs that are not shown when following begins: all but the current one.
fn before(jobs: &[JobRow]) -> HashSet<String> {
    let current = current_job(jobs).and_then(|row| row.job.as_deref());
    jobs.iter().filter_map(|row| row.job.clone()).filter(|job| Some(job.as_str()) != current).collect()
}

/// The first job that was not shown yet, in the order of the workflow: also those that came and went while another was shown,
/// and new jobs of tasks that were done before.
fn next_job<'a>(jobs: &'a [JobRow], shown: &HashSet<String>) -> Option<(&'a JobRow, &'a str)> {
    jobs.iter().filter_map(|row| Some((row, row.job.as_deref()?))).find(|(_, job)| !shown.contains(*job))
}

/// Whether there is nothing more to follow, and what that means for the command.
fn over(machine: &MachineDetail) -> Option<Result<(), CliError>> {
    let says = || CliError::NotSo(format!("{}: {}", machine.summary.name, machine.summary.waits_for));
    match machine.summary.phase {
        Phase::Ready | Phase::Left => Some(Ok(())),
        Phase::Failed | Phase::Held | Phase::Overdue | Phase::Cancelled => Some(Err(says())),
        Phase::Expected | Phase::Booting | Phase::Working | Phase::Waiting => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::detail;

    #[test]
    fn the_open_job_is_shown_else_the_last_that_was_granted() {
        let mut machine = detail("node-1");
        assert_eq!(current_job(&machine.jobs).map(|row| row.task.as_str()), Some("hardware.scrub"));
        machine.jobs[0].state = "open".to_owned();
        assert_eq!(current_job(&machine.jobs).map(|row| row.task.as_str()), Some("discovery.inventory"));
        assert_eq!(current_job(&[]), None);
    }

    #[test]
    fn a_task_is_found_by_its_short_name_and_a_wrong_one_names_those_there_are() {
        let machine = detail("node-1");
        let job = |task| {
            job_of_task(&machine, task).map(|row| row.task.clone()).map_err(|error| error.hint().map(str::to_owned))
        };
        assert_eq!(job("scrub"), Ok("hardware.scrub".to_owned()));
        assert_eq!(job("discovery.inventory"), Ok("discovery.inventory".to_owned()));
        assert_eq!(job("write"), Err(Some("it is still to do".to_owned())));
        assert_eq!(
            job("paint"),
            Err(Some("its run has discovery.inventory, hardware.scrub and image.write".to_owned()))
        );
    }

    #[test]
    fn following_a_machine_goes_from_job_to_job_and_shows_none_twice() {
        let mut machine = detail("node-1");
        let mut shown = before(&machine.jobs);
        let mut next = |jobs: &[JobRow]| {
            let job = next_job(jobs, &shown).map(|(_, job)| job.to_owned())?;
            shown.insert(job.clone());
            Some(job)
        };
        assert_eq!(next(&machine.jobs).as_deref(), Some("job-of-hardware.scrub"), "what was done before is not shown");
        assert_eq!(next(&machine.jobs), None);
        machine.jobs[2].job = Some("first-write".to_owned());
        machine.jobs[0].job = Some("inventory-again".to_owned());
        assert_eq!(next(&machine.jobs).as_deref(), Some("inventory-again"));
        assert_eq!(next(&machine.jobs).as_deref(), Some("first-write"));
        assert_eq!(next(&machine.jobs), None);
    }

    #[test]
    fn a_log_is_at_its_end_when_the_job_is_and_all_of_it_is_here() {
        let piece = |length, complete, bytes: &[u8]| LogPiece { bytes: bytes.to_vec(), length, complete };
        assert!(is_end(&piece(5, true, b"hello"), 5, true));
        assert!(!is_end(&piece(5, false, b"hello"), 5, true));
        assert!(is_end(&piece(5, false, b"hello"), 5, false));
        assert!(!is_end(&piece(9, true, b"hello"), 5, false));
    }

    #[test]
    fn a_log_cannot_steer_the_terminal() {
        let mut bytes = b"a\r\n\x1b[2J\xff.".to_vec();
        assert_eq!(take_printable(&mut bytes), "a\n\\u{1b}[2J\u{fffd}.");
        assert!(bytes.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn a_log_reads_the_same_wherever_it_is_cut_into_pieces(text in "([a-zé€😀]|\r\n){0,20}", cut in 0_usize..80) {
            let mut whole = text.clone().into_bytes();
            let (left, right) = text.as_bytes().split_at(cut.min(text.len()));
            let mut rest = left.to_vec();
            let mut pieces = take_printable(&mut rest);
            rest.extend_from_slice(right);
            pieces.push_str(&take_printable(&mut rest));
            proptest::prop_assert_eq!(pieces, take_printable(&mut whole));
        }
    }
}
