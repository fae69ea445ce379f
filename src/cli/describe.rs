//! `formwork describe machine NAME`: everything that is known of one machine.

use super::error::CliError;
use super::get::{name_words, phase_word, place_words, tone_of_phase};
use super::output::{Style, Tone, Word, printable, table};
use super::sentence::short;
use super::session::{Options, Session};
use super::time::Clock;
use crate::api::views::{JobRow, MachineDetail};
use clap::Args;

/// Shows everything that is known of a machine: its run, jobs, facts, and what it waits for.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork describe machine node-1
  formwork describe node-1                        the same
  formwork describe machine node-1 -o json | jq .facts.disks")]
pub struct Arguments {
    /// `machine`, which may be left out.
    #[arg(value_name = "KIND")]
    kind: String,
    /// Its name.
    #[arg(value_name = "NAME", add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    name: Option<String>,
    #[command(flatten)]
    session: Options,
}

/// The machine that is meant: its name alone will do.
fn named<'a>(kind: &'a str, name: Option<&'a str>) -> Result<&'a str, CliError> {
    match (kind, name) {
        // A machine may be called that; then it is found by both words.
        ("machine" | "machines", None) => Err(CliError::Usage {
            message: "it is not said which machine".to_owned(),
            hint: Some("formwork describe machine NAME; formwork get machines lists them".to_owned()),
        }),
        ("machine" | "machines" | "m", Some(name)) | (name, None) => Ok(name),
        (other, Some(name)) => Err(CliError::Usage {
            message: format!("`{other}` cannot be described; machines can"),
            hint: Some(format!("formwork describe machine {name}, or formwork get --help for what can be listed")),
        }),
    }
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let name = named(&arguments.kind, arguments.name.as_deref())?;
    let session = Session::open(&arguments.session)?;
    let machine = session.client.machine(name).map_err(|error| session.machine_not_found(name, error))?;
    session.output.answer(&machine, || vec![name.to_owned()], |style| render(&machine, &session.clock, style))
}

fn render(machine: &MachineDetail, clock: &Clock, style: Style) -> String {
    let mut text = pairs(overview(machine, clock), style);
    if !machine.jobs.is_empty() {
        text.push_str("\nTasks\n");
        text.push_str(&table(&["stage", "task", "state", "tries", "job", ""], machine.jobs.iter().map(job_row), style));
    }
    if !machine.facts.is_empty() {
        text.push_str("\nFacts\n");
        // By way of YAML: facts are trees, and a tree is read best as one.
        let facts = serde_yaml::to_string(&machine.facts).unwrap_or_else(|error| format!("cannot be shown: {error}\n"));
        for line in facts.lines() {
            text.push_str("  ");
            text.push_str(&printable(line));
            text.push('\n');
        }
    }
    text
}

fn pairs(rows: Vec<(&str, Word)>, style: Style) -> String {
    let rows = rows.into_iter().map(|(name, word)| vec![Word::from(name), word]);
    // The head of a table without heads is an empty line.
    table(&["", ""], rows, style).lines().skip(1).map(|line| format!("{line}\n")).collect()
}

fn overview<'a>(machine: &'a MachineDetail, clock: &Clock) -> Vec<(&'a str, Word)> {
    let summary = &machine.summary;
    let some = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let declared = match &machine.declared_at {
        Some(place) => format!("declared at {place}"),
        None => summary.source.clone(),
    };
    let mut rows: Vec<(&str, Word)> = vec![
        ("name", name_words(summary).into()),
        ("from", declared.into()),
        ("phase", Word::new(phase_word(summary.phase), tone_of_phase(summary.phase))),
        ("waits for", summary.waits_for.as_str().into()),
        ("run", run_words(machine).into()),
    ];
    if let Some(stage) = &summary.stage {
        let task = summary.task.as_ref().map(|task| format!(", task {}", place_words(task))).unwrap_or_default();
        rows.push(("at", format!("stage {}{task}", place_words(stage)).into()));
    }
    let boot: Vec<&str> =
        [&summary.environment, &summary.firmware, &machine.kernel].into_iter().filter_map(Option::as_deref).collect();
    let agent = machine.agent_version.as_ref().map(|version| format!(", agent {version}")).unwrap_or_default();
    rows.push(("runs now", if boot.is_empty() { "-".into() } else { format!("{}{agent}", boot.join(", ")).into() }));
    rows.push(("address", some(&summary.address).into()));
    rows.push(("macs", summary.macs.join(", ").into()));
    rows.push(("last heard of", summary.last_seen_unix_ms.map_or("never".to_owned(), |at| clock.ago(at)).into()));
    if !summary.labels.is_empty() {
        let labels: Vec<String> = summary.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        rows.push(("labels", labels.join(", ").into()));
    }
    if !machine.profiles.is_empty() {
        rows.push(("profiles", machine.profiles.join(", ").into()));
    }
    if !summary.clusters.is_empty() {
        rows.push(("clusters", summary.clusters.join(", ").into()));
    }
    let disks = match (machine.protect, machine.wipe) {
        (true, _) => Word::new("protected: destructive stages are refused", Tone::Good),
        (false, true) => Word::new("any disk may be wiped (spec.wipe)", Tone::Waiting),
        (false, false) => Word::from("only blank disks and its own may be wiped"),
    };
    rows.push(("disks", disks));
    rows
}

fn run_words(machine: &MachineDetail) -> String {
    let summary = &machine.summary;
    let declared = machine.spec_run.map(|run| format!(" (spec.run {run})")).unwrap_or_default();
    let workflow = summary.workflow.as_deref().unwrap_or("no workflow");
    match summary.run {
        None => format!("none yet of {workflow}{declared}"),
        Some(run) => {
            let status = match summary.run_status {
                Some(crate::journal::RunStatus::Open) => ", open",
                Some(crate::journal::RunStatus::Finished) => ", done",
                Some(crate::journal::RunStatus::Cancelled) => ", cancelled",
                None => "",
            };
            let revision = summary.run_revision.as_deref().map(|it| format!(" on {}", short(it))).unwrap_or_default();
            let boots = super::sentence::count(usize::try_from(summary.boots).unwrap_or(usize::MAX), "boot");
            format!("{run} of {workflow}{revision}{status}, {boots}{declared}")
        }
    }
}

fn job_row(job: &JobRow) -> Vec<Word> {
    let tone = match job.state.as_str() {
        "done" => Tone::Good,
        "open" => Tone::Busy,
        "failed" | "timed-out" => Tone::Bad,
        "interrupted" | "skipped" => Tone::Waiting,
        _ => Tone::Plain,
    };
    vec![
        job.stage.as_str().into(),
        job.task.as_str().into(),
        Word::new(job.state.as_str(), tone),
        job.attempts.to_string().into(),
        job.job.as_deref().unwrap_or("-").into(),
        job.message.as_deref().unwrap_or_default().into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::detail;

    #[test]
    fn a_machine_is_meant_where_only_a_name_is_given() {
        assert_eq!(named("node-1", None).unwrap(), "node-1");
        assert_eq!(named("machine", Some("node-1")).unwrap(), "node-1");
        let error = named("machine", None).unwrap_err();
        assert!(error.exit_code() == 2 && error.hint().is_some_and(|hint| hint.contains("NAME")), "{error}");
        assert_eq!(named("cluster", Some("etcd")).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn a_machine_is_described_with_its_tasks_and_facts() {
        let clock = Clock::fixed(1_795_384_996_000);
        insta::assert_snapshot!(render(&detail("node-1"), &clock, Style::default()), @r"
        name           node-1
        from           declared at machines/node-1.yaml:1
        phase          failed
        waits for      a fix of task hardware.scrub, or `formwork retry`
        run            1 of etcd-node on 0123456789, open, 2 boots (spec.run 1)
        at             stage 3/5 scrub, task 1/1 hardware.scrub
        runs now       discovery.ram, uefi, 6.1.0-41-amd64, agent 0.1.0
        address        10.0.0.11
        macs           52:54:00:00:00:01
        last heard of  12s ago
        labels         rack=a1
        profiles       etcd
        clusters       etcd
        disks          any disk may be wiped (spec.wipe)

        Tasks
        STAGE     TASK                 STATE   TRIES  JOB
        discover  discovery.inventory  done    1      job-of-discovery.inventory
        scrub     hardware.scrub       failed  1      job-of-hardware.scrub       step erase: exit code 3
        install   image.write          to-do   0      -

        Facts
          memory:
            bytes: 2147483648
          disks:
          - name: vda
        ");
    }
}
