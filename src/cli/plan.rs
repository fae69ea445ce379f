//! `formwork plan MACHINE`: its boots and stages to come, which of them change disks, and what would stop it.

use super::error::CliError;
use super::offline::Place;
use super::output::{Output, Style, Tone, Word, printable, table};
use super::sentence::{count, short};
use super::session::{Options, Session};
use super::time::coarse;
use crate::inspect::{self, Plan, PlannedStage, PlannedTask, Values};
use clap::Args;

/// Says what is still to come for a machine: boots, stages, tasks, and what would stop it.
///
/// The function that decides for machines is asked over and over, as if everything went well; nothing is written down and no
/// machine notices. With --dir or --repository no server is asked: then it is the plan of a machine that never was seen.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork plan node-1                     what is to come, and would anything stop it?
  formwork plan node-1 --dir site/         the same for files that are not pushed yet
  formwork plan node-1 -o json | jq '.boots | length'

Exit codes:
  0  nothing that is known would stop it
  1  something would")]
pub struct Arguments {
    /// The machine.
    #[arg(value_name = "MACHINE", add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    machine: String,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let Arguments { machine, place, session } = arguments;
    let (plan, output) = match place.open()? {
        Some(offline) => {
            let server = super::offline::server(&offline.catalog.site);
            let plan = offline.look(machine, |subject| inspect::plan(subject, &server, Values::Masked))?;
            (plan, session.output())
        }
        None => {
            let session = Session::open(session)?;
            let plan = session.client.plan(machine).map_err(|error| session.machine_not_found(machine, error))?;
            (plan, session.output)
        }
    };
    show(&plan, output)?;
    match plan.obstacles.len() {
        0 => Ok(()),
        more => Err(CliError::NotSo(format!("{machine} would be stopped by {}", count(more, "thing")))),
    }
}

fn show(plan: &Plan, output: Output) -> Result<(), CliError> {
    let names = || plan.boots.iter().map(|boot| boot.environment.clone()).collect();
    output.answer(plan, names, |style| draw(plan, style))
}

fn draw(plan: &Plan, style: Style) -> String {
    let machine = match &plan.former {
        Some(former) => format!("{} (was {former})", plan.machine),
        None => plan.machine.clone(),
    };
    let head = match (plan.run, &plan.workflow) {
        (Some(run), Some(workflow)) => {
            let boots = plan.boots.iter().filter(|boot| !boot.running).count();
            let boots = if boots == 0 { "no boot".to_owned() } else { count(boots, "boot") };
            let begun = plan.begins.as_ref().map_or_else(
                || format!("goes on with {}", if plan.done == 0 { "its first task" } else { "what is left" }),
                |reason| format!("begins at its next word with the server ({reason})"),
            );
            let revision = plan.run_revision.as_deref().map(short).unwrap_or_default();
            format!("{machine}: run {run} of {workflow} {begun}; {boots} to come (revision {revision})")
        }
        _ => format!("{machine}: nothing to do; {}", plan.ends),
    };
    let mut text = style.heading(&printable(&head));
    if !plan.boots.is_empty() {
        text.push('\n');
        text.push_str(&table(&["boot", "environment", "stage", "task", "at most", ""], rows(plan), style));
    }
    if plan.run.is_some() {
        text.push_str(&format!("\nthen {}\n", printable(&plan.ends)));
    }
    for (at, obstacle) in plan.obstacles.iter().enumerate() {
        if at == 0 {
            text.push_str("\nWhat would stop it\n");
        }
        let stage = obstacle.stage.as_ref().map(|stage| format!("stage {stage}: ")).unwrap_or_default();
        text.push_str(&style.indented("  ", &printable(&format!("{stage}{}", obstacle.reason))));
        text.push_str(&style.indented("    ", &printable(&format!("mend: {}", obstacle.remedy))));
    }
    text
}

/// A line a task; what is the same as above stays empty.
fn rows(plan: &Plan) -> Vec<Vec<Word>> {
    let mut rows = Vec::new();
    for (at, boot) in plan.boots.iter().enumerate() {
        let mut first = true;
        let number = if boot.running { "now".to_owned() } else { (at + 1).to_string() };
        for stage in &boot.stages {
            for (task_at, task) in stage.tasks.iter().enumerate() {
                let (number, environment) =
                    if first { (number.clone(), boot.environment.clone()) } else { Default::default() };
                let name = if task_at == 0 { stage.name.as_str() } else { "" };
                first = false;
                let seconds = i64::try_from(task.timeout_seconds).unwrap_or(i64::MAX);
                let mut row: Vec<Word> =
                    vec![number.into(), environment.into(), name.into(), task.name.as_str().into()];
                let most = if seconds == 0 { "-".to_owned() } else { coarse(seconds.saturating_mul(1000)) };
                row.push(most.into());
                row.push(remark(stage, task));
                rows.push(row);
            }
        }
        if first {
            rows.push(vec![
                number.into(),
                boot.environment.as_str().into(),
                "-".into(),
                "".into(),
                "".into(),
                "".into(),
            ]);
        }
    }
    rows
}

fn remark(stage: &PlannedStage, task: &PlannedTask) -> Word {
    let mut words = Vec::new();
    let mut tone = Tone::Plain;
    if stage.destructive {
        (tone, words) = match (stage.granted, stage.wipes_foreign_disks) {
            (true, false) => (Tone::Waiting, vec!["changes disks: blank ones and its own".to_owned()]),
            (true, true) => (Tone::Waiting, vec!["changes disks, whatever is on them".to_owned()]),
            (false, _) => (Tone::Bad, vec!["changes disks, and is refused".to_owned()]),
        };
    }
    if task.may_reboot {
        words.push("may ask for a reboot".to_owned());
    }
    if let Some(unknown) = &task.unknown {
        words.push(format!("cannot be told before: {unknown}"));
    }
    Word::new(words.join("; "), tone)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
