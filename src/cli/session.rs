//! What every command that speaks with a server shares: its options, the client, the way out.

use super::client::Client;
use super::context;
use super::error::CliError;
use super::output::{Format, Output};
use super::suggest;
use super::time::Clock;
use clap::Args;
use std::path::PathBuf;
use std::sync::Arc;

/// Options of every command that speaks with a server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Server and output")]
pub struct Options {
    /// The file that says where the server is, with the token (default: what FORMWORK_CONTEXT names, else
    /// ~/.config/formwork/administrator.json).
    // The variable is read in `context_path`: clap would name what it holds in the usage of a wrong line, as if it were needed.
    #[arg(long, value_name = "FILE")]
    context: Option<PathBuf>,
    /// How the answer is printed (default: table on a terminal, json in a pipe).
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

impl Options {
    /// The context file.
    ///
    /// # Errors
    /// Nothing says which.
    pub fn context_path(&self) -> Result<PathBuf, CliError> {
        let named = self.context.clone().or_else(|| std::env::var_os("FORMWORK_CONTEXT").map(PathBuf::from));
        // An empty one is none.
        match named.filter(|path| !path.as_os_str().is_empty()) {
            Some(path) => Ok(path),
            None => {
                context::default_path(std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME")).ok_or_else(|| {
                    CliError::Usage {
                        message: "there is no context: neither --context, nor FORMWORK_CONTEXT, nor a home directory"
                            .to_owned(),
                        hint: Some("name the file that `formwork site create` wrote: --context FILE".to_owned()),
                    }
                })
            }
        }
    }

    /// Standard output, for answers that no server is asked for.
    pub fn output(&self) -> Output {
        Output::of_process(self.output)
    }
}

/// A client and a way out.
pub struct Session {
    /// The server; shared with the thread that waits for events while another draws.
    pub client: Arc<Client>,
    /// Standard output.
    pub output: Output,
    /// Shows times.
    pub clock: Clock,
}

impl Session {
    /// Reads the context; nothing is connected yet.
    ///
    /// # Errors
    /// The context cannot be used.
    pub fn open(options: &Options) -> Result<Self, CliError> {
        let path = options.context_path()?;
        Ok(Self {
            client: Arc::new(Client::new(&context::read(&path)?)?),
            output: Output::of_process(options.output),
            clock: Clock::here(),
        })
    }

    /// Makes "no such machine" helpful: with the nearest names, or all of them, instead of what the server hints.
    pub fn machine_not_found(&self, name: &str, error: CliError) -> CliError {
        match error {
            CliError::NotFound { message, hint } if message.starts_with("there is no machine") => {
                let suggestion = self.client.machines().ok().map(|list| {
                    suggest::hint(name, list.items.iter().map(|machine| machine.name.as_str()), "formwork get machines")
                });
                CliError::NotFound { message, hint: suggestion.or(hint) }
            }
            other => other,
        }
    }
}
