//! `formwork explain KIND[.FIELD]`: what a field of content is, from the types that read it.

use super::error::CliError;
use super::output::{Format, Output, Style, Word, table};
use crate::content::Kind;
use crate::content::explain::{Explained, explain};
use clap::Args;

/// Explains a kind of content, or a field of it: what it is, its type, default, allowed values, and an example.
///
/// What it says comes from the types that read content. Without a kind, all kinds are listed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork explain                          all kinds
  formwork explain Machine                  the fields of a kind, and an example
  formwork explain machine.match.macs       a field; `spec.` may be left out
  formwork explain task.steps --recursive   the fields of its fields too")]
pub struct Arguments {
    /// A kind, and the way to one of its fields with dots between.
    #[arg(value_name = "KIND[.FIELD]", add = clap_complete::ArgValueCompleter::new(super::completion::kinds))]
    path: Option<String>,
    /// Fields of fields, to any depth.
    #[arg(long)]
    recursive: bool,
    /// How the answer is printed (default: table on a terminal, json in a pipe).
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Format>,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let output = Output::of_process(arguments.output);
    let not_found =
        |error: crate::content::explain::Unexplained| CliError::NotFound { message: error.message, hint: error.hint };
    let Some(path) = &arguments.path else {
        let all = Kind::ALL.iter().map(|kind| explain(kind.as_str(), false)).collect::<Result<Vec<_>, _>>();
        let all = all.map_err(not_found)?;
        return output.answer(
            &all,
            || all.iter().map(|one| one.kind.clone()).collect(),
            |style| {
                let rows = all.iter().map(|one| vec![one.kind.as_str().into(), first_line(&one.description).into()]);
                table(&["kind", "what"], rows, style)
            },
        );
    };
    let explained = explain(path, arguments.recursive).map_err(not_found)?;
    let names = || explained.fields.iter().map(|field| field.field.clone()).collect();
    output.answer(&explained, names, |style| draw(&explained, style))
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

fn draw(explained: &Explained, style: Style) -> String {
    let head = if explained.field.is_empty() {
        format!("{} ({})", explained.kind, explained.api_version)
    } else {
        let needed = if explained.required { ", required" } else { "" };
        format!("{}.{}: {}{needed}", explained.kind, explained.field, explained.type_name)
    };
    let mut text = format!("{}\n", style.bold(&head));
    if !explained.description.is_empty() {
        text.push_str(&style.indented("  ", &explained.description));
    }
    if let Some(default) = &explained.default {
        let default = default.as_str().map_or_else(|| default.to_string(), str::to_owned);
        text.push_str(&format!("  default: {default}\n"));
    }
    if let Some(pattern) = &explained.pattern {
        text.push_str(&format!("  must match: {pattern}\n"));
    }
    if !explained.allowed.is_empty() {
        text.push_str("\nValues\n");
        let rows = explained
            .allowed
            .iter()
            .map(|allowed| vec![format!("  {}", allowed.value).into(), first_line(&allowed.description).into()]);
        text.push_str(&without_head(&table(&["", ""], rows, style)));
    }
    if !explained.fields.is_empty() {
        let of_spec =
            explained.fields.iter().all(|field| field.field.starts_with("spec.")) && explained.field.is_empty();
        text.push_str(if of_spec { "\nFields of spec\n" } else { "\nFields\n" });
        let mut rows = Vec::new();
        collect(&explained.fields, 1, &mut rows);
        text.push_str(&without_head(&table(&["", "", "", ""], rows, style)));
    }
    if let Some(example) = &explained.example {
        text.push_str("\nExample\n");
        text.push_str(&example.lines().map(|line| format!("  {line}\n")).collect::<String>());
    }
    text
}

fn collect(fields: &[Explained], depth: usize, rows: &mut Vec<Vec<Word>>) {
    for field in fields {
        let name = field.field.rsplit('.').next().unwrap_or_default();
        let needed = if field.required { "required" } else { "" };
        let mut what = first_line(&field.description).to_owned();
        if let Some(default) = &field.default {
            what.push_str(&format!(
                " (default {})",
                default.as_str().map_or_else(|| default.to_string(), str::to_owned)
            ));
        }
        rows.push(vec![
            format!("{}{name}", "  ".repeat(depth)).into(),
            field.type_name.as_str().into(),
            needed.into(),
            what.into(),
        ]);
        collect(&field.fields, depth + 1, rows);
    }
}

/// The head of a table without heads is an empty line.
fn without_head(table: &str) -> String {
    table.lines().skip(1).map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_explained_with_its_fields_and_an_example() {
        let shown = |path: &str| draw(&explain(path, false).unwrap(), Style { width: Some(100), colour: false });
        let all = ["Machine", "machine.spec", "stages.onFailure", "task.steps.mode", "ClusterProfile.keys.writers"];
        insta::assert_snapshot!(all.map(shown).join("\n----\n"));
    }

    #[test]
    fn every_kind_and_every_field_has_words_and_every_kind_an_example() {
        fn check(fields: &[Explained]) {
            for field in fields {
                let known = matches!(field.field.as_str(), "apiVersion" | "kind" | "metadata" | "spec");
                assert!(known || !field.description.is_empty(), "{}.{} has no words", field.kind, field.field);
                check(&field.fields);
            }
        }
        for kind in Kind::ALL {
            let explained = explain(kind.as_str(), true).unwrap();
            assert!(!explained.description.is_empty() && explained.example.is_some(), "{kind}");
            check(&explained.fields);
        }
    }

    #[test]
    fn what_there_is_not_is_answered_with_the_nearest() {
        let hint = |path: &str| explain(path, false).unwrap_err().hint.unwrap();
        assert_eq!(hint("Machin"), "did you mean `Machine`?");
        assert_eq!(hint("machine.spec.profile"), "did you mean `profiles`?");
        assert_eq!(hint("machine.profile"), "did you mean `profiles`?");
        assert!(explain("machines.MATCH.Macs[]", false).is_ok());
    }
}
