//! `formwork cluster get NAME`: the document that the machines of a cluster share, as administrators may see it.

use super::error::CliError;
use super::output::{Style, Word, printable, table};
use super::session::{Options, Session};
use super::suggest;
use clap::{Args, Subcommand};
use serde_json::Value;

/// Looks at the documents that machines of a cluster share.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    command: ClusterCommand,
}

#[derive(Debug, Subcommand)]
enum ClusterCommand {
    Get(Get),
}

/// Shows a cluster's document: version, keys, claims, sets. Secrets are not in it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork cluster get etcd
  formwork cluster get etcd -o json | jq '.keys | keys'")]
struct Get {
    /// The cluster profile's name.
    #[arg(value_name = "NAME")]
    name: String,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let ClusterCommand::Get(arguments) = &arguments.command;
    let session = Session::open(&arguments.session)?;
    let name = &arguments.name;
    let document = session.client.cluster(name).map_err(|error| not_found(&session, name, error))?;
    session.output.answer(&document, || vec![name.clone()], |style| render(&document, style))
}

fn not_found(session: &Session, name: &str, error: CliError) -> CliError {
    match error {
        CliError::NotFound { message, hint: None } => {
            let machines = session.client.machines().map(|list| list.items).unwrap_or_default();
            let mut names: Vec<&str> =
                machines.iter().flat_map(|machine| machine.clusters.iter().map(String::as_str)).collect();
            names.sort_unstable();
            names.dedup();
            let hint = Some(suggest::hint(name, names, "formwork get clusters"));
            CliError::NotFound { message, hint }
        }
        other => other,
    }
}

/// Each part of the document that is a map becomes a table; single values stand above.
fn render(document: &Value, style: Style) -> String {
    let Some(parts) = document.as_object() else { return plain(document) + "\n" };
    let single = |value: &Value| !value.is_object() && !value.is_array();
    let rows = parts.iter().filter(|(_, value)| single(value));
    let rows = rows.map(|(name, value)| vec![Word::from(name.as_str()), Word::from(plain(value))]);
    let mut text: String = table(&["", ""], rows, style).lines().skip(1).map(|line| format!("{line}\n")).collect();
    for (name, value) in parts.iter().filter(|(_, value)| !single(value)) {
        let entries: Vec<(String, &Value)> = match value {
            Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
            Value::Array(items) => {
                items.iter().enumerate().map(|(index, item)| ((index + 1).to_string(), item)).collect()
            }
            _ => Vec::new(),
        };
        if entries.is_empty() {
            continue;
        }
        text.push_str(&format!("\n{}\n", printable(name)));
        let rows = entries.into_iter().map(|(key, value)| vec![format!("  {key}").into(), Word::from(entry(value))]);
        text.push_str(
            &table(&["", ""], rows, style).lines().skip(1).map(|line| format!("{line}\n")).collect::<String>(),
        );
    }
    text
}

/// `name: value, name: value` for a small map.
fn entry(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key}: {}", plain(value))).collect::<Vec<_>>().join(", ")
        }
        other => plain(other),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_shown_part_by_part() {
        let document = serde_json::json!({
            "epoch": 1, "version": 12,
            "keys": {"etcd/token": {"version": 7, "value": "abc", "by": "node-1"}},
            "claims": {}, "sets": {"ready": ["node-1", "node-2"]},
        });
        insta::assert_snapshot!(render(&document, Style::default()), @r#"
        epoch    1
        version  12

        keys
          etcd/token  version: 7, value: abc, by: node-1

        sets
          ready  ["node-1","node-2"]
        "#);
    }
}
