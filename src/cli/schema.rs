//! `formwork schema [KIND]`: the JSON Schema of content, for editors.

use super::error::CliError;
use super::output::{Format, Output};
use super::suggest;
use crate::content::{Kind, schema};
use clap::Args;
use serde_json::Value;

/// Prints the JSON Schema (draft-07) of content, made from the types that read it.
///
/// Without a kind: one schema for documents of every kind, which is what editors want.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork schema > .formwork.schema.json   then, as the first line of a YAML file:
                                            # yaml-language-server: $schema=../.formwork.schema.json
  formwork schema Machine                   of one kind")]
pub struct Arguments {
    /// A kind.
    #[arg(value_name = "KIND", add = clap_complete::ArgValueCompleter::new(super::completion::kinds))]
    kind: Option<String>,
    /// How it is printed (default: json).
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let (schema, name) = of(arguments.kind.as_deref())?;
    // There is no table of a schema.
    let chosen = match arguments.output {
        None | Some(Format::Table) => Format::Json,
        Some(other) => other,
    };
    Output::of_process(Some(chosen)).answer(&schema, || vec![name], |_| String::new())
}

fn of(kind: Option<&str>) -> Result<(Value, String), CliError> {
    let Some(word) = kind else { return Ok((schema::of_all(), "all".to_owned())) };
    let found = Kind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(word));
    let kind = found.ok_or_else(|| CliError::NotFound {
        message: format!("there is no kind {word}"),
        hint: Some(suggest::hint(word, Kind::ALL.iter().map(|kind| kind.as_str()), "formwork explain")),
    })?;
    Ok((schema::of_kind(kind), kind.to_string()))
}

#[cfg(test)]
#[path = "schema_tests.rs"]
mod tests;
