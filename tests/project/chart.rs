//! The chart of the server: its README is what its values say, and its schema knows every value and no other.

use super::{read, root};
use serde_json::Value;
use std::collections::BTreeSet;

/// Set it to write the README anew.
const BLESS: &str = "FORMWORK_BLESS";
const BEGIN: &str = "<!-- from values.yaml -->\n";
const END: &str = "<!-- end -->\n";

/// A value with its place, its default and what stands above it.
struct Row {
    key: String,
    default: String,
    what: String,
}

/// The rows of our own `values.yaml`: two spaces a level, a comment above each value that is no group.
fn rows(text: &str) -> Vec<Row> {
    let (mut rows, mut path, mut what) = (Vec::new(), Vec::<&str>::new(), String::new());
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let trimmed = line.trim_start();
        if let Some(comment) = trimmed.strip_prefix("# ") {
            assert!(what.is_empty(), "a comment is one line: {line}");
            comment.clone_into(&mut what);
            continue;
        }
        let (name, default) = trimmed.split_once(':').unwrap_or_else(|| panic!("no value: {line}"));
        path.truncate((line.len() - trimmed.len()) / 2);
        path.push(name);
        if !default.is_empty() {
            assert!(!what.is_empty(), "{}: nothing says what it is", path.join("."));
            rows.push(Row { key: path.join("."), default: default.trim().to_owned(), what: std::mem::take(&mut what) });
        }
    }
    rows
}

/// The places of all values in a schema: what is no object, or an object that says nothing of what is in it.
fn places(schema: &Value, path: &str, found: &mut BTreeSet<String>) {
    let Some(properties) = schema["properties"].as_object() else {
        found.insert(path.to_owned());
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{path}: an unknown value is taken");
    for (name, inner) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        places(inner, &path, found);
    }
}

#[test]
fn the_readme_of_the_chart_is_what_its_values_say() {
    let chart = root().join("charts/formwork");
    let rows = rows(&read(&chart.join("values.yaml")));
    assert!(rows.len() > 50, "{} values", rows.len());
    let mut table = String::from("| value | default | what it is |\n| --- | --- | --- |\n");
    for Row { key, default, what } in &rows {
        let cell = |text: &str| text.replace('|', "\\|");
        table += &format!("| `{key}` | `{}` | {} |\n", cell(default), cell(what));
    }
    let path = chart.join("README.md");
    let text = read(&path);
    let (before, rest) = text.split_once(BEGIN).expect("the place of the table");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let wanted = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &wanted).expect("written");
    }
    assert!(read(&path) == wanted, "charts/formwork/README.md is not what values.yaml says; {BLESS}=1 writes it");
}

#[test]
fn the_schema_of_the_chart_knows_its_values_and_no_other() {
    let chart = root().join("charts/formwork");
    let schema: Value = serde_json::from_str(&read(&chart.join("values.schema.json"))).expect("JSON");
    let mut known = BTreeSet::new();
    places(&schema, "", &mut known);
    // Helm gives every chart this one.
    assert!(known.remove("global"));
    let values: BTreeSet<String> = rows(&read(&chart.join("values.yaml"))).into_iter().map(|row| row.key).collect();
    assert_eq!(known, values);
}

#[test]
fn charts_have_the_version_of_the_program() {
    for chart in ["formwork", "formwork-crds"] {
        let about = read(&root().join("charts").join(chart).join("Chart.yaml"));
        let line = format!("appVersion: {}", env!("CARGO_PKG_VERSION"));
        assert!(about.lines().any(|found| found == line), "{chart}: no `{line}`");
    }
}
