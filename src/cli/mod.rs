//! The command line, one file a command.

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Bare metal becomes what a Git repository says, over as many reboots as it takes.
#[derive(Debug, Parser)]
#[command(name = "formwork", version, propagate_version = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {}

/// Parses the command line, does what it says, and gives the exit code.
pub fn main() -> ExitCode {
    let line = CommandLine::parse();
    match line.command {}
}
