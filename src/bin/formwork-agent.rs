//! `formwork-agent`: the program in the RAM environment and on the installed system.

fn main() -> std::process::ExitCode {
    formwork::agent::main()
}
