//! `formwork completion SHELL`, and what is completed: commands and options from the command line itself, names of machines from the
//! server, kinds from the types.

use super::error::CliError;
use super::{CommandLine, context};
use crate::cli::client::Client;
use crate::content::Kind;
use clap::{Args, CommandFactory, ValueEnum};
use clap_complete::env::{Bash, Elvish, EnvCompleter, Fish, Powershell, Zsh};
use clap_complete::{CompleteEnv, CompletionCandidate};
use std::ffi::OsStr;
use std::sync::mpsc::channel;
use std::time::Duration;

/// The variable by which a shell's script asks this program for candidates.
const VARIABLE: &str = "FORMWORK_COMPLETE";
/// A person who pressed the tab key waits no longer for names.
const NAMES_WAIT: Duration = Duration::from_millis(800);
/// More names would fill the screen.
const NAMES_MAX: usize = 500;

/// Prints the script by which a shell completes what is typed after `formwork`, names of machines too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork completion bash > /etc/bash_completion.d/formwork
  formwork completion zsh > /usr/share/zsh/vendor-completions/_formwork
  formwork completion fish > ~/.config/fish/completions/formwork.fish
  source <(formwork completion bash)      for this shell only

Names of machines come from the server of the context file, if it answers at once.")]
pub struct Arguments {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Shell {
    /// GNU Bash.
    Bash,
    /// Zsh.
    Zsh,
    /// Fish.
    Fish,
    /// Elvish.
    Elvish,
    /// PowerShell.
    Powershell,
}

impl Shell {
    fn completer(self) -> &'static dyn EnvCompleter {
        match self {
            Self::Bash => &Bash,
            Self::Zsh => &Zsh,
            Self::Fish => &Fish,
            Self::Elvish => &Elvish,
            Self::Powershell => &Powershell,
        }
    }
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let mut script = Vec::new();
    let completer = arguments.shell.completer();
    // The program is found by its name, wherever it is installed when the script runs.
    completer.write_registration(VARIABLE, "formwork", "formwork", "formwork", &mut script)?;
    super::output::Output::of_process(None).bytes(&script)
}

/// Answers a shell that asks for candidates, and ends the process then; otherwise does nothing.
pub fn answer_shell() {
    CompleteEnv::with_factory(CommandLine::command).var(VARIABLE).complete();
}

/// Names of machines that begin with what is written.
pub fn machines(written: &OsStr) -> Vec<CompletionCandidate> {
    let Some(written) = written.to_str() else { return Vec::new() };
    let (sender, receiver) = channel();
    // Left behind when it takes too long: the process ends right after.
    std::thread::spawn(move || {
        let _ = sender.send(names());
    });
    let names = receiver.recv_timeout(NAMES_WAIT).ok().flatten().unwrap_or_default();
    names
        .into_iter()
        .filter(|(name, _)| name.starts_with(written))
        .take(NAMES_MAX)
        .map(|(name, waits_for)| CompletionCandidate::new(name).help(Some(waits_for.into())))
        .collect()
}

/// Names with what each waits for; `None`: nobody answers. Nothing is said of why: a shell is completing.
fn names() -> Option<Vec<(String, String)>> {
    let path = std::env::var_os("FORMWORK_CONTEXT").map(Into::into);
    let home = || context::default_path(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME"));
    let client = Client::new(&context::read(&path.or_else(home)?).ok()?).ok()?;
    let machines = client.machines().ok()?.items.into_iter();
    Some(machines.map(|machine| (machine.name, super::output::printable(&machine.waits_for))).collect())
}

/// Kinds of content.
pub fn kinds(written: &OsStr) -> Vec<CompletionCandidate> {
    let written = written.to_str().unwrap_or_default().to_ascii_lowercase();
    let kinds = Kind::ALL.iter().map(|kind| kind.as_str());
    kinds.filter(|kind| kind.to_ascii_lowercase().starts_with(&written)).map(CompletionCandidate::new).collect()
}
