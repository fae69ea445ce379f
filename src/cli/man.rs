//! `formwork man`: manual pages, made from the command line itself.

use super::CommandLine;
use super::error::CliError;
use super::output::{Format, Output};
use super::sentence::count;
use clap::{Args, CommandFactory};
use std::path::{Path, PathBuf};

/// Prints the manual page, or writes the pages of all commands.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork man | man -l -                                the page of formwork itself
  formwork man --out /usr/local/share/man/man1          the pages of all commands: man formwork-why")]
pub struct Arguments {
    /// Write formwork.1 and a page for each command into this folder (made if it is not there).
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How the list of files is printed.
    #[arg(short, long, value_name = "FORMAT", requires = "out")]
    output: Option<Format>,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let pages = pages()?;
    let output = Output::of_process(arguments.output);
    let Some(folder) = &arguments.out else {
        let first = pages.into_iter().next().map(|(_, text)| text);
        return output.bytes(&first.unwrap_or_default());
    };
    let wrong = |path: &Path, error: std::io::Error| {
        super::failure::not_written(path, &error, || format!("{}: {error}", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| wrong(folder, error))?;
    let mut written = Vec::new();
    for (name, text) in pages {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| wrong(&path, error))?;
        written.push(path.display().to_string());
    }
    let names = written.clone();
    output.answer(&written, || names, |_| format!("{} in {}\n", count(written.len(), "page"), folder.display()))
}

/// All pages: file name and text, that of the program first.
fn pages() -> Result<Vec<(String, Vec<u8>)>, CliError> {
    let mut command = CommandLine::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Vec::new();
    collect(command, "formwork", &mut pages)?;
    Ok(pages)
}

fn collect(command: clap::Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> Result<(), CliError> {
    let below: Vec<clap::Command> = command.get_subcommands().filter(|child| !child.is_hide_set()).cloned().collect();
    let mut text = Vec::new();
    let page = clap_mangen::Man::new(command.display_name(name.to_owned()));
    page.section("1").manual("Formwork").render(&mut text)?;
    pages.push((format!("{name}.1"), text));
    for child in below {
        let name = format!("{name}-{}", child.get_name());
        collect(child, &name, pages)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_that_shows_its_examples() {
        let pages = pages().unwrap();
        assert!(pages.len() > 30 && pages.first().is_some_and(|(name, _)| name == "formwork.1"));
        for wanted in ["formwork-why.1", "formwork-store-backup.1", "formwork-site-create.1"] {
            assert!(pages.iter().any(|(name, _)| name == wanted), "{wanted}");
        }
        let (_, why) = pages.iter().find(|(name, _)| name == "formwork-why.1").unwrap();
        let why = String::from_utf8_lossy(why);
        assert!(why.contains(".SH NAME") && why.contains("Examples:") && why.contains("install\\-disk"), "{why}");
    }
}
