//! The reference pages of the book are what the program says of itself: of its commands, and of each kind of content.
//!
//! `FORMWORK_BLESS=1 cargo test --test project reference` writes them anew.

use super::{read, root};
use serde_json::Value;
use std::fmt::Write as _;
use std::process::Command;

fn formwork(words: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_formwork"))
        .args(words)
        .env("COLUMNS", "100")
        .env("NO_COLOR", "1")
        .output()
        .expect("formwork starts");
    assert!(output.status.success(), "formwork {words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The commands that a help text lists.
pub(super) fn commands_in(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  "))
        .filter(|line| !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .filter(|name| name != "help")
        .collect()
}

fn command_sections(words: &mut Vec<String>, page: &mut String) {
    let mut asked: Vec<&str> = words.iter().map(String::as_str).collect();
    asked.push("--help");
    let help = formwork(&asked);
    let depth = "#".repeat(words.len() + 1);
    let title = std::iter::once("formwork").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    let _ = write!(page, "\n{depth}# {title}\n\n```text\n{}\n```\n", help.trim_end());
    for name in commands_in(&help) {
        words.push(name);
        command_sections(words, page);
        words.pop();
    }
}

fn commands_page() -> String {
    let mut page = String::from("# Commands\n\nWhat `formwork COMMAND --help` says, of every command.\n");
    command_sections(&mut Vec::new(), &mut page);
    page
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn below(field: &Value) -> &[Value] {
    field.get("fields").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn field_rows(fields: &[Value], page: &mut String) {
    for field in fields {
        let text = |key: &str| field.get(key).and_then(Value::as_str).unwrap_or_default();
        let name = text("field");
        // The heads of a document are the same for all kinds, and said above.
        let Some(name) = name.strip_prefix("spec.") else {
            if name == "spec" {
                field_rows(below(field), page);
            }
            continue;
        };
        let mut notes = cell(text("description"));
        if field.get("required").and_then(Value::as_bool).unwrap_or_default() {
            notes = format!("**Required.** {notes}");
        }
        if let Some(default) = field.get("default").filter(|default| !default.is_null()) {
            let _ = write!(
                notes,
                " Default: `{}`.",
                cell(default.as_str().map_or(default.to_string(), str::to_owned).as_str())
            );
        }
        let _ = writeln!(page, "| `{name}` | {} | {} |", cell(text("type")), notes.trim());
        field_rows(below(field), page);
    }
}

fn kinds_page() -> String {
    let mut page = String::from(
        "# Kinds\n\nWhat `formwork explain KIND --recursive` says, of every kind. Every document has `apiVersion`, `kind`, \
         `metadata.name` and `spec`; the tables name the fields of `spec`.\n",
    );
    let all: Value = serde_json::from_str(&formwork(&["explain", "-o", "json"])).expect("JSON");
    for kind in all.as_array().expect("a list") {
        let name = kind["kind"].as_str().expect("a name");
        let one: Value =
            serde_json::from_str(&formwork(&["explain", name, "--recursive", "-o", "json"])).expect("JSON");
        let _ = write!(page, "\n## {name}\n\n{}\n", one["description"].as_str().unwrap_or_default());
        if let Some(fields) = one["fields"].as_array().filter(|fields| !fields.is_empty()) {
            page.push_str("\n| field | type | |\n| --- | --- | --- |\n");
            field_rows(fields, &mut page);
        }
        if let Some(example) = one["example"].as_str() {
            let _ = write!(page, "\n```text\n{}\n```\n", example.trim_end());
        }
    }
    page
}

/// Compares a page with what it would be, or writes it.
fn golden(name: &str, wanted: &str) {
    let path = root().join("docs/reference").join(name);
    if std::env::var_os("FORMWORK_BLESS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("docs/reference");
        std::fs::write(&path, wanted).expect("a page");
        return;
    }
    let found = if path.exists() { read(&path) } else { String::new() };
    if let Some((line, (found, wanted))) = found
        .lines()
        .chain([""])
        .zip(wanted.lines().chain([""]))
        .enumerate()
        .find(|(_, (found, wanted))| found != wanted)
    {
        panic!(
            "docs/reference/{name}:{}: `{found}`, the program says `{wanted}`; write the page anew with \
             FORMWORK_BLESS=1 cargo test --test project reference",
            line + 1
        );
    }
    assert_eq!(found.lines().count(), wanted.lines().count(), "docs/reference/{name} has lines of its own at the end");
}

#[test]
fn the_page_of_commands_is_what_the_program_says() {
    golden("commands.md", &commands_page());
}

#[test]
fn the_page_of_kinds_is_what_the_program_says() {
    golden("kinds.md", &kinds_page());
}
