//! The command line: small enough to read by hand, so that the program stays small.

use super::layout::{RUN_DIR, STATE_DIR};
use std::path::PathBuf;

/// What the agent is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The boot file.
    pub boot_file: PathBuf,
    /// For what must not outlive a boot.
    pub run_dir: PathBuf,
    /// For what must outlive a boot of an installed system.
    pub state_dir: PathBuf,
    /// Whether the system clock may be set.
    pub set_clock: bool,
    /// Run instead of a reboot.
    pub reboot_command: Option<String>,
    /// Run instead of switching off.
    pub poweroff_command: Option<String>,
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Print this.
    Help(String),
    /// Print the version.
    Version,
    /// Be the agent.
    Run(Options),
    /// A script's question: the words after `formwork agent`.
    Script(Vec<String>),
}

const HELP: &str = "\
formwork-agent: does on this machine what the boot server says.

Usage:
  formwork-agent run [OPTIONS]        be the agent, until the machine goes down
  formwork-agent agent COMMAND …      what scripts ask their agent (as `formwork agent COMMAND …`); `agent help` lists it

Options of run:
  --boot-file FILE        server, authority and ticket
                          [default: /formwork/boot.json, else /etc/formwork/boot.json]
  --run-dir DIR           for what must not outlive a boot; a tmpfs [default: /run/formwork]
  --state-dir DIR         for the key of an installed system [default: /var/lib/formwork-agent]
  --no-clock              never set the system clock
  --reboot-command CMD    run this by `sh -c` where the machine is to boot anew
  --poweroff-command CMD  run this by `sh -c` where the machine is to be switched off

  -h, --help     this text
  -V, --version  version and protocol

Examples:
  formwork-agent run
  formwork-agent run --boot-file /etc/formwork/boot.json --state-dir /var/lib/formwork-agent
  formwork agent fact set services '[\"etcd\"]'
  formwork agent cluster get join-command --wait 20m";

/// Reads the command line. Called as `formwork`, the program is only what scripts ask.
pub fn parse(program: &str, arguments: &[String]) -> Result<Command, String> {
    let name = program.rsplit('/').next().unwrap_or_default();
    let mut words = arguments.iter().map(String::as_str);
    match words.next() {
        None | Some("-h" | "--help" | "help") => Ok(Command::Help(HELP.to_owned())),
        Some("-V" | "--version" | "version") => Ok(Command::Version),
        Some("agent") => Ok(Command::Script(words.map(str::to_owned).collect())),
        Some("run") if name != "formwork" => run(&mut words).map(Command::Run),
        Some(other) => Err(format!("there is no command {other}; see {name} --help")),
    }
}

fn run(words: &mut dyn Iterator<Item = &str>) -> Result<Options, String> {
    let mut boot_file = None;
    let mut options = Options {
        boot_file: PathBuf::new(),
        run_dir: RUN_DIR.into(),
        state_dir: STATE_DIR.into(),
        set_clock: true,
        reboot_command: None,
        poweroff_command: None,
    };
    while let Some(word) = words.next() {
        let (flag, inline) = match word.split_once('=') {
            Some((flag, value)) => (flag, Some(value.to_owned())),
            None => (word, None),
        };
        let mut value = || {
            inline.clone().or_else(|| words.next().map(str::to_owned)).ok_or_else(|| format!("{flag} wants a value"))
        };
        match flag {
            "--boot-file" => boot_file = Some(PathBuf::from(value()?)),
            "--run-dir" => options.run_dir = value()?.into(),
            "--state-dir" => options.state_dir = value()?.into(),
            "--no-clock" => options.set_clock = false,
            "--reboot-command" => options.reboot_command = Some(value()?),
            "--poweroff-command" => options.poweroff_command = Some(value()?),
            other => return Err(format!("run has no option {other}; see formwork-agent --help")),
        }
    }
    options.boot_file = boot_file.unwrap_or_else(|| {
        let overlay = PathBuf::from("/formwork/boot.json");
        if overlay.exists() { overlay } else { "/etc/formwork/boot.json".into() }
    });
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(program: &str, line: &str) -> Result<Command, String> {
        parse(program, &line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn run_takes_its_options_in_both_spellings() {
        let Ok(Command::Run(options)) =
            parsed("formwork-agent", "run --boot-file /b.json --run-dir=/r --no-clock --reboot-command=true")
        else {
            panic!("not a run");
        };
        assert_eq!(options.boot_file, PathBuf::from("/b.json"));
        assert_eq!(options.run_dir, PathBuf::from("/r"));
        assert_eq!(options.state_dir, PathBuf::from(STATE_DIR));
        assert!(!options.set_clock);
        assert_eq!(options.reboot_command.as_deref(), Some("true"));
    }

    #[test]
    fn called_as_formwork_it_only_speaks_for_scripts() {
        let words = vec!["fact".to_owned(), "set".to_owned()];
        assert_eq!(parsed("/run/formwork/bin/formwork", "agent fact set"), Ok(Command::Script(words)));
        assert!(parsed("/run/formwork/bin/formwork", "run").is_err());
    }

    #[test]
    fn what_is_not_known_is_said() {
        assert!(parsed("formwork-agent", "walk").unwrap_err().contains("walk"));
        assert!(parsed("formwork-agent", "run --fast").unwrap_err().contains("--fast"));
        assert!(parsed("formwork-agent", "run --boot-file").unwrap_err().contains("wants a value"));
    }
}
