//! The program on the machine: one loop, one executor, one transport, one socket for scripts.
//!
//! [`run_loop`] asks the server what to do and does it; [`executor`] runs the steps of one job; [`transport`] is the only
//! place that speaks HTTP to the server; [`socket`] is how scripts (`formwork agent …`) reach all of it. The agent decides
//! nothing about workflows: it says what it sees and does what it is told. It never shows its machine token to a script, and
//! never reads a failed connection as an answer.

mod active;
mod clock;
mod command_line;
mod connection;
mod disk;
mod environment;
mod executor;
mod exit_codes;
mod heartbeat;
mod identity;
mod inventory;
mod job_log;
mod layout;
mod log_upload;
mod machine;
mod power;
mod processes;
mod retry;
mod run_loop;
mod running;
mod socket;
mod transport;

use std::process::ExitCode;

/// Writes to standard output at once. A reader that went away (`… | head`) is no failure, least of all in the middle of
/// writing a disk.
pub(crate) fn print_out(text: &str) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Does what the command line says, and gives the exit code.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    let rest: Vec<String> = arguments.collect();
    match command_line::parse(&program, &rest) {
        Ok(command_line::Command::Help(text)) => {
            print_out(&format!("{text}\n"));
            ExitCode::SUCCESS
        }
        Ok(command_line::Command::Version) => {
            print_out(&format!("formwork-agent {} (protocol {})\n", env!("CARGO_PKG_VERSION"), crate::wire::PROTOCOL));
            ExitCode::SUCCESS
        }
        Ok(command_line::Command::Run(options)) => match run_loop::run(options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("formwork-agent: {error}");
                ExitCode::FAILURE
            }
        },
        Ok(command_line::Command::Script(words)) => exit(socket::client::main(&words)),
        Err(message) => {
            eprintln!("formwork-agent: {message}");
            exit(2)
        }
    }
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}
