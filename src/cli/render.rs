//! `formwork render MACHINE`: the boot script, scripts and files that a machine would get, as they would be served.

use super::error::CliError;
use super::offline::{Place, server};
use super::output::{Output, Style, note, printable};
use super::sentence::{count, short};
use super::session::{Options, Session};
use crate::boot::client::Firmware;
use crate::content::kinds::Architecture;
use crate::fleet::Secrets;
use crate::git::regular::{FILE_MAX, read_regular};
use crate::inspect::{self, RenderQuestion, Rendered, RenderedBoot, RenderedJob, Values, What, WhatError};
use crate::journal::MachineState;
use crate::wire::{Step, StepAction};
use crate::workflow::{JobError, secret_name};
use clap::{Args, ValueEnum};
use serde_json::Value;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Shows exactly what a machine would get now: iPXE script, kernel command line, scripts and files.
///
/// They are made by the functions that serve them. Secrets are masked unless asked for. Without --stage, --task and --all: the boot it
/// would get now, and the job after it. With --dir or --repository no server is asked: then as for a machine that never was seen, with
/// the facts that --facts gives.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork render node-1                          the next boot and the next job
  formwork render node-1 --stage install          a stage: its environment and its tasks
  formwork render node-1 --task join --out /tmp/x  as files, to read or to run shellcheck on
  formwork render node-1 --all --dir site/        the whole workflow, of files that are not pushed yet
  formwork render node-1 -o json | jq -r '.boots[0].script'

Exit codes:
  0  all of it could be rendered
  1  something could not; the rest is shown")]
pub struct Arguments {
    /// The machine.
    #[arg(value_name = "MACHINE", add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    machine: String,
    /// A stage of its workflow: the environment and all tasks.
    #[arg(long, value_name = "STAGE", conflicts_with_all = ["task", "all"])]
    stage: Option<String>,
    /// A task of its workflow.
    #[arg(long, value_name = "TASK", conflicts_with = "all")]
    task: Option<String>,
    /// Every stage of its workflow.
    #[arg(long)]
    all: bool,
    /// Put secrets in, as for the machine. The server notes in its log that they were shown.
    #[arg(long)]
    show_secrets: bool,
    /// Write files into this folder (made if it is not there) in place of printing them.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The firmware that boots (default: the one that asked last, else UEFI).
    #[arg(long, value_enum)]
    firmware: Option<FirmwareWord>,
    /// The architecture that boots (default: the one seen last, else x86_64).
    #[arg(long, value_enum)]
    architecture: Option<ArchitectureWord>,
    /// Without a server: facts of the machine, a JSON file as `formwork describe machine NAME -o json | jq .facts` gives it.
    #[arg(long, value_name = "FILE")]
    facts: Option<PathBuf>,
    /// Without a server: the folder that secrets are in, for --show-secrets.
    #[arg(long, value_name = "DIR")]
    secrets: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    session: Options,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FirmwareWord {
    /// PC BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum ArchitectureWord {
    /// 64-bit x86.
    #[value(name = "x86_64")]
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arguments {
    fn firmware(&self) -> Option<Firmware> {
        self.firmware.map(|word| match word {
            FirmwareWord::Bios => Firmware::Bios,
            FirmwareWord::Uefi => Firmware::Uefi,
        })
    }

    fn architecture(&self) -> Option<Architecture> {
        self.architecture.map(|word| match word {
            ArchitectureWord::X86_64 => Architecture::X86_64,
            ArchitectureWord::Aarch64 => Architecture::Aarch64,
        })
    }

    fn what(&self) -> What {
        match (&self.stage, &self.task, self.all) {
            (Some(stage), ..) => What::Stage(stage.clone()),
            (None, Some(task), _) => What::Task(task.clone()),
            (None, None, true) => What::All,
            (None, None, false) => What::Now,
        }
    }
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let (rendered, output) = match arguments.place.open()? {
        Some(offline) => (render_offline(arguments, &offline)?, arguments.session.output()),
        None => {
            let session = Session::open(&arguments.session)?;
            (render_by_server(arguments, &session)?, session.output)
        }
    };
    match &arguments.out {
        None => {
            let names = || rendered.jobs.iter().map(|job| format!("{}/{}", job.stage, job.task)).collect();
            output.answer(&rendered, names, |style| draw(&rendered, style))?;
        }
        Some(folder) => write_all(&rendered, folder, output)?,
    }
    match rendered.errors() {
        0 => Ok(()),
        more => Err(CliError::NotSo(format!(
            "{} of {} cannot be rendered",
            count(more, "piece"),
            rendered.boots.len() + rendered.jobs.len()
        ))),
    }
}

fn render_by_server(arguments: &Arguments, session: &Session) -> Result<Rendered, CliError> {
    if arguments.facts.is_some() || arguments.secrets.is_some() {
        return Err(CliError::Usage {
            message: "--facts and --secrets are for content without a server".to_owned(),
            hint: Some("leave them out, or give --dir or --repository".to_owned()),
        });
    }
    let mut query: Vec<(&str, &str)> = Vec::new();
    query.extend(arguments.stage.as_deref().map(|stage| ("stage", stage)));
    query.extend(arguments.task.as_deref().map(|task| ("task", task)));
    query.extend(arguments.all.then_some(("all", "true")));
    query.extend(arguments.show_secrets.then_some(("secrets", "true")));
    query.extend(arguments.firmware().map(|firmware| ("firmware", firmware.as_str())));
    query.extend(arguments.architecture().map(|architecture| ("architecture", architecture.as_str())));
    let machine = &arguments.machine;
    session.client.render(machine, &query).map_err(|error| session.machine_not_found(machine, error))
}

fn render_offline(arguments: &Arguments, offline: &super::offline::Offline) -> Result<Rendered, CliError> {
    let mut state = MachineState::default();
    if let Some(path) = &arguments.facts {
        let wrong = |what: String| CliError::Usage {
            message: format!("the facts {}: {what}", path.display()),
            hint: Some("a JSON object, as `formwork describe machine NAME -o json | jq .facts` gives it".to_owned()),
        };
        let bytes = read_regular(path, FILE_MAX).map_err(|error| wrong(error.to_string()))?;
        state.facts = Arc::new(serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?);
    }
    let folder = arguments.secrets.clone().map(Secrets::in_folder);
    let open = |param: &str, value: &Value| {
        let Some(name) = secret_name(value) else { return Ok(value.clone()) };
        let found = folder.as_ref().map_or(Err(None), |folder| folder.get(name)).map(Value::String);
        found.map_err(|fault| JobError::Secret { param: param.to_owned(), secret: name.to_owned(), fault })
    };
    let server = server(&offline.catalog.site);
    let question = RenderQuestion {
        what: arguments.what(),
        values: if arguments.show_secrets { Values::Open(&open) } else { Values::Masked },
        server: &server,
        firmware: arguments.firmware(),
        architecture: arguments.architecture(),
    };
    let rendered = offline.look_with(&arguments.machine, &state, |subject| inspect::render(subject, &question))?;
    rendered.map_err(|error| {
        let message = error.to_string();
        let hint = match error {
            WhatError::Unknown { hint, .. } => hint,
            WhatError::NoMachine(_) | WhatError::NoWorkflow(_) => None,
        };
        CliError::NotFound { message, hint }
    })
}

fn draw(rendered: &Rendered, style: Style) -> String {
    let run = rendered.run.map(|run| format!(", run {run}")).unwrap_or_default();
    let mut text = format!("{}{run}, {}\n", rendered.machine, super::why::named(&rendered.revision));
    for boot in &rendered.boots {
        text.push('\n');
        text.push_str(&draw_boot(boot, style));
    }
    for job in &rendered.jobs {
        text.push('\n');
        text.push_str(&draw_job(job, style));
    }
    if rendered.boots.is_empty() && rendered.jobs.is_empty() {
        text.push_str("nothing now\n");
    }
    text
}

fn draw_boot(boot: &RenderedBoot, style: Style) -> String {
    let what = boot.environment.as_deref().unwrap_or("held");
    let head = format!("boot {what} ({}, {}): {}", boot.architecture, boot.firmware, boot.reason);
    let mut text = format!("{}\n", style.bold(&printable(&head)));
    let mut pair = |name: &str, value: &str| text.push_str(&printable(&format!("  {name:<11}{value}\n")));
    if let Some(kernel) = &boot.kernel {
        pair("kernel", kernel);
    }
    for initrd in &boot.initrds {
        pair("initrd", initrd);
    }
    if let Some(arguments) = &boot.arguments {
        pair("arguments", arguments);
    }
    if let Some(error) = &boot.error {
        pair("error", error);
    }
    if let Some(script) = &boot.script {
        text.push_str("  iPXE\n");
        text.push_str(&inside(script));
    }
    for file in &boot.files {
        text.push_str(&printable(&format!("  file {}\n", file.name)));
        text.push_str(&inside(file.text.as_deref().or(file.error.as_deref()).unwrap_or_default()));
    }
    text
}

fn draw_job(job: &RenderedJob, style: Style) -> String {
    let environment = job.environment.as_ref().map(|name| format!(" in {name}")).unwrap_or_default();
    let disks = if job.destructive { ", changes disks" } else { "" };
    let head =
        format!("job {} of stage {}{environment}, {} s at most{disks}", job.task, job.stage, job.timeout_seconds);
    let mut text = format!("{}\n", style.bold(&printable(&head)));
    if let Some(error) = &job.error {
        text.push_str(&style.indented("  ", &printable(&format!("error: {error}"))));
    }
    if let Some(hint) = &job.hint {
        text.push_str(&style.indented("  ", &printable(&format!("hint: {hint}"))));
    }
    for (name, value) in &job.params {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.push_str(&printable(&format!("  param {name} = {value}\n")));
    }
    for step in &job.steps {
        match &step.action {
            StepAction::Script { text: script } => {
                text.push_str(&printable(&format!("  step {}: script\n", step.name)));
                text.push_str(&inside(script));
            }
            StepAction::File { to, content, mode } => {
                text.push_str(&printable(&format!("  step {}: file {to}, mode {mode}\n", step.name)));
                text.push_str(&inside(content));
            }
        }
    }
    for name in &job.left_out {
        text.push_str(&printable(&format!("  step {name}: left out, its `if` is false\n")));
    }
    text
}

/// A text inside another: what is in it cannot be taken for what is around it.
fn inside(text: &str) -> String {
    printable(text).lines().map(|line| format!("    | {line}").trim_end().to_owned() + "\n").collect()
}

/// A file to write: path inside the folder, mode, text.
struct Piece {
    path: PathBuf,
    mode: u32,
    text: String,
}

/// All of it as files. Nothing that content says can lead out of the folder.
fn pieces(rendered: &Rendered) -> Vec<Piece> {
    let mut pieces = Vec::new();
    // Secrets may be in any of them.
    let (plain, script) = if rendered.secrets_shown { (0o600, 0o700) } else { (0o644, 0o755) };
    let mut add = |path: PathBuf, mode: u32, text: String| pieces.push(Piece { path, mode, text });
    for (number, boot) in (1..).zip(&rendered.boots) {
        let folder = PathBuf::from(format!("boot-{number}-{}", word(boot.environment.as_deref().unwrap_or("held"))));
        if let Some(text) = &boot.script {
            add(folder.join("boot.ipxe"), plain, text.clone());
        }
        for file in &boot.files {
            if let Some(text) = &file.text {
                add(folder.join("files").join(word(&file.name)), plain, text.clone());
            }
        }
        if let Some(arguments) = &boot.arguments {
            add(folder.join("arguments"), plain, format!("{arguments}\n"));
        }
    }
    for job in &rendered.jobs {
        let folder = PathBuf::from(word(&job.stage)).join(word(&job.task));
        let params = serde_json::to_string_pretty(&job.params).unwrap_or_default();
        add(folder.join("params.json"), plain, params + "\n");
        for (number, step) in (1..).zip(&job.steps) {
            let Step { name, action } = step;
            match action {
                StepAction::Script { text } => {
                    add(folder.join(format!("{number:02}-{}.sh", word(name))), script, text.clone());
                }
                StepAction::File { to, content, .. } => {
                    let below = Path::new(to).components().filter(|part| matches!(part, Component::Normal(_)));
                    add(folder.join("files").join(below.collect::<PathBuf>()), plain, content.clone());
                }
            }
        }
    }
    pieces
}

/// A name as one plain word of a path.
fn word(name: &str) -> String {
    let plain: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' }).collect();
    plain.trim_start_matches('.').chars().take(100).collect()
}

fn write_all(rendered: &Rendered, folder: &Path, output: Output) -> Result<(), CliError> {
    let wrong = |path: &Path, error: std::io::Error| CliError::NotSo(format!("{}: {error}", path.display()));
    let mut written = Vec::new();
    for piece in pieces(rendered) {
        let path = folder.join(&piece.path);
        let above = path.parent().unwrap_or(folder);
        std::fs::create_dir_all(above).map_err(|error| wrong(above, error))?;
        // A new file each time: an old one may be a link, or readable by others.
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(wrong(&path, error)),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(piece.mode)
            .open(&path)
            .map_err(|error| wrong(&path, error))?;
        file.write_all(piece.text.as_bytes()).map_err(|error| wrong(&path, error))?;
        written.push(path.display().to_string());
    }
    for job in rendered.jobs.iter().filter(|job| job.error.is_some()) {
        let error = job.error.as_deref().unwrap_or_default();
        note(&format!("warning: {} of stage {}: {error}", job.task, job.stage));
    }
    let names = written.clone();
    output.answer(
        &written,
        || names,
        |_| {
            let revision = short(&rendered.revision);
            format!("{} of revision {revision} in {}\n", count(written.len(), "file"), folder.display())
        },
    )
}

#[cfg(test)]
#[path = "render_tests.rs"]
mod tests;
