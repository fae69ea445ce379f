//! The chart of the server: its README is what its values say, its schema knows every value and no other, and its dashboard asks
//! for nothing that a server does not tell.

use super::{read, root};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

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

/// The metrics of the table in the book, with their labels; of a histogram the names of its samples.
fn metrics() -> BTreeMap<String, BTreeSet<String>> {
    let page = read(&root().join("docs/operations.md"));
    let (_, rest) = page.split_once("| metric | kind | labels | what it says |").expect("the table");
    let mut metrics = BTreeMap::new();
    for row in rest.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let mut labels: BTreeSet<String> = cells[3].split_whitespace().map(|label| label.replace('`', "")).collect();
        let name = cells[1].trim_matches('`');
        if cells[2] == "histogram" {
            for suffix in ["_sum", "_count"] {
                metrics.insert(format!("{name}{suffix}"), labels.clone());
            }
            labels.insert("le".to_owned());
            metrics.insert(format!("{name}_bucket"), labels);
        } else {
            metrics.insert(name.to_owned(), labels);
        }
    }
    assert!(metrics.len() > 40, "{metrics:?}");
    metrics
}

/// The names of metrics that a query asks for, and the labels that it names.
fn asked(query: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let words: Vec<(usize, &str)> = query
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(|word| (word.as_ptr() as usize - query.as_ptr() as usize, word))
        .collect();
    let after = |(at, word): (usize, &str)| query[at + word.len()..].trim_start();
    let names = words.iter().filter(|(_, word)| word.starts_with("formwork_") || word.starts_with("process_"));
    let mut labels: BTreeSet<String> = words
        .iter()
        .filter(|place| ["=~", "!~", "!=", "=\""].iter().any(|sign| after(**place).starts_with(sign)))
        .map(|(_, word)| (*word).to_owned())
        .collect();
    for (_, rest) in query.match_indices(" by (").map(|(at, by)| query.split_at(at + by.len())) {
        let inside = rest.split(')').next().unwrap_or_default();
        labels.extend(inside.split(',').map(|label| label.trim().to_owned()));
    }
    (names.map(|(_, word)| (*word).to_owned()).collect(), labels)
}

/// What is wrong with a query; none: nothing. `job` and `instance` are those of whoever scrapes.
fn wrong(query: &str, metrics: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    let (names, labels) = asked(query);
    if names.is_empty() {
        return Some(format!("no metric in: {query}"));
    }
    for name in names {
        let Some(known) = metrics.get(&name) else { return Some(format!("there is no {name}: {query}")) };
        let known = |label: &&String| known.contains(*label) || ["job", "instance"].contains(&label.as_str());
        if let Some(label) = labels.iter().find(|label| !known(label)) {
            return Some(format!("{name} has no label {label}: {query}"));
        }
    }
    None
}

#[test]
fn the_dashboard_asks_for_metrics_and_labels_that_there_are_and_shows_each_of_ours() {
    let metrics = metrics();
    let text = read(&root().join("charts/formwork/dashboards/formwork.json"));
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let queries: Vec<&str> = targets.map(|target| target["expr"].as_str().expect("a query")).collect();
    assert!(queries.len() > 30, "{} queries", queries.len());
    let found: Vec<String> = queries.iter().filter_map(|query| wrong(query, &metrics)).collect();
    assert!(found.is_empty(), "{found:#?}");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    for query in variables.iter().filter(|variable| variable["type"] == "query") {
        let query = query["query"].as_str().expect("a query");
        assert!(asked(query).0.iter().all(|name| metrics.contains_key(name)), "{query}");
    }
    // A histogram is shown by some of its samples.
    let base = |name: &str| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let shown: BTreeSet<String> = queries.iter().flat_map(|query| asked(query).0).map(|name| base(&name)).collect();
    let missing: Vec<_> = metrics.keys().map(|name| base(name)).filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "no panel shows {missing:?}");
    // Grafana tells panels apart by their ids, and lays none over another.
    let ids: BTreeSet<i64> = panels.iter().map(|panel| panel["id"].as_i64().expect("an id")).collect();
    assert_eq!(ids.len(), panels.len());
}

#[test]
fn the_alarms_of_the_book_ask_for_metrics_and_labels_that_there_are() {
    let metrics = metrics();
    let page = read(&root().join("docs/operations.md"));
    let (_, rest) = page.split_once("\n## Metrics\n").expect("the section");
    let block = rest.split("\n```text\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("the alarms");
    let alarms: Vec<&str> = block.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
    assert!(alarms.len() > 4);
    let found: Vec<String> = alarms.iter().filter_map(|alarm| wrong(alarm, &metrics)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn a_query_for_what_there_is_not_is_noticed() {
    let metrics = BTreeMap::from([("formwork_a_total".to_owned(), BTreeSet::from(["kind".to_owned()]))]);
    for (query, told) in [
        ("sum by (kind) (rate(formwork_a_total{job=~\"$job\", kind!=\"x\"}[5m])) > 0", None),
        ("rate(formwork_b_total[5m])", Some("there is no formwork_b_total")),
        ("sum by (kind, machine) (formwork_a_total)", Some("no label machine")),
        ("formwork_a_total{name=\"x\"}", Some("no label name")),
        ("sum(a_total)", Some("no metric")),
    ] {
        match (wrong(query, &metrics), told) {
            (None, None) => {}
            (Some(said), Some(told)) => assert!(said.contains(told), "{said}"),
            (said, told) => panic!("{query}: {said:?}, not {told:?}"),
        }
    }
}
