//! The program on the machine: one loop, one executor, one transport, one socket for scripts.

/// Does what the command line says, and gives the exit code.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
