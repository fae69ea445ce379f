//! `formwork`: the boot server and the command line that people use.

fn main() -> std::process::ExitCode {
    formwork::cli::main()
}
