//! `formwork hook`: what git runs in a repository before and after a push, and what puts it there.

mod ask;
mod draw;

use super::error::CliError;
use super::output::say;
use crate::git::GitError;
use crate::git::receive::{self, WhenAway};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

const EXAMPLES: &str = "Examples:
  formwork hook install /srv/site.git                    the server runs as the same user, or as root
  formwork hook install /srv/site.git --context /srv/hook.json
                                                         it runs as another one: ask its API by a user's token
  formwork hook install /srv/site.git --when-away accept take pushes unjudged while the server is away";

/// Judges pushes to a repository that people reach by their own sshd.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    command: HookCommand,
}

#[derive(Debug, Subcommand)]
enum HookCommand {
    /// Puts hooks into a repository, so that each push to it is judged by the server that follows it.
    ///
    /// The hooks run as whoever pushes. They ask the running server, by the socket in its state directory or, with --context, by
    /// its API; the server reads what was pushed where git keeps it until it is taken. The same files again are harmless.
    #[command(after_help = EXAMPLES)]
    Install(Install),
    /// What git runs.
    #[command(
        hide = true,
        after_help = "Examples:
  formwork hook run pre-receive --socket /var/lib/formwork/hook.sock     as the installed hook does"
    )]
    Run(Run),
}

#[derive(Debug, Args)]
struct Install {
    /// The repository, bare or not; the one that the server follows.
    repository: PathBuf,
    /// The state directory of the server, whose socket the hooks ask.
    #[arg(long, value_name = "DIR", env = "FORMWORK_STATE_DIR", default_value = "/var/lib/formwork")]
    state_dir: PathBuf,
    /// A context file: the hooks ask the API by it, and have the rights of its token.
    #[arg(long, value_name = "FILE", conflicts_with = "state_dir")]
    context: Option<PathBuf>,
    /// What becomes of a push when the server cannot be asked.
    #[arg(long, value_enum, default_value_t = Away::Refuse)]
    when_away: Away,
    /// Write over hooks that are there already.
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Away {
    /// It is refused.
    Refuse,
    /// It is taken, with a warning; the server judges it when it is back.
    Accept,
}

#[derive(Debug, Args)]
struct Run {
    /// Which hook.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(receive::HOOKS))]
    hook: String,
    /// The server's socket.
    #[arg(long, value_name = "PATH", required_unless_present = "context")]
    socket: Option<PathBuf>,
    /// A context file for its API.
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
    /// What becomes of a push when the server cannot be asked.
    #[arg(long, value_enum, default_value_t = Away::Refuse)]
    when_away: Away,
}

impl From<Away> for WhenAway {
    fn from(away: Away) -> Self {
        match away {
            Away::Refuse => Self::Refuse,
            Away::Accept => Self::Accept,
        }
    }
}

/// Runs the command.
///
/// # Errors
/// A repository that takes no hooks, or a push that is refused.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    match &arguments.command {
        HookCommand::Install(arguments) => install(arguments),
        HookCommand::Run(arguments) => ask::run(&ask::Hooked {
            post: arguments.hook == "post-receive",
            socket: arguments.socket.clone(),
            context: arguments.context.clone(),
            when_away: arguments.when_away.into(),
        }),
    }
}

fn install(arguments: &Install) -> Result<(), CliError> {
    let failed = |error: &dyn std::fmt::Display| CliError::NotSo(error.to_string());
    let absolute = |path: &PathBuf| {
        let path = std::path::absolute(path).map_err(|error| failed(&error))?;
        path.into_os_string().into_string().map_err(|_| failed(&"the path is not UTF-8"))
    };
    let mut words = match &arguments.context {
        Some(context) => vec!["--context".to_owned(), absolute(context)?],
        None => vec!["--socket".to_owned(), absolute(&arguments.state_dir.join(crate::serve::HOOK_SOCKET))?],
    };
    if arguments.when_away == Away::Accept {
        words.extend(["--when-away".to_owned(), "accept".to_owned()]);
    }
    let program = std::env::current_exe().map_err(|error| failed(&error))?;
    let installed = receive::install(&arguments.repository, &program, &words, arguments.replace);
    let installed = installed.map_err(|error| match error {
        GitError::Missing { .. } | GitError::NoRepository { .. } => CliError::Usage {
            message: error.to_string(),
            hint: Some("name the repository that people push to".to_owned()),
        },
        _ => failed(&error),
    })?;
    say(&format!("{} written to {}", receive::HOOKS.join(" and "), installed.folder.display()));
    say(&format!("  asks       {}", words.get(1).map(String::as_str).unwrap_or_default()));
    let accept = arguments.when_away == Away::Accept;
    say(&format!("  when away  {}", if accept { "a push is taken, with a warning" } else { "a push is refused" }));
    if let Some(why) = ask::not_now(arguments.context.as_deref(), &arguments.state_dir) {
        let meanwhile = match accept {
            true => "until then a push is taken unjudged, with a warning",
            false => "until then every push is refused",
        };
        super::output::note(&format!("warning: {why}; {meanwhile}"));
    }
    Ok(())
}
