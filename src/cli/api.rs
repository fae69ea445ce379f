//! `formwork api`: what the API is, for programs.

use super::CliError;
use super::output::Output;

const EXAMPLES: &str = "\
Examples:
  formwork api openapi > openapi.json    for client generators and test tools";

/// The API's description, for programs.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Prints the OpenAPI document (3.1) of this version. A server gives it at `/v1/openapi.json`.
    Openapi,
}

/// Runs the command.
///
/// # Errors
/// Standard output that cannot be written.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    match arguments.what {
        What::Openapi => {
            let text = format!("{:#}\n", crate::api::openapi());
            Output::of_process(None).bytes(text.as_bytes())
        }
    }
}
