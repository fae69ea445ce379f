//! What is told is well formed in both formats, and the book says all of it and no more.

use super::*;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::{get, post};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;
use tower::ServiceExt as _;

/// Set it to write the table anew.
const BLESS: &str = "FORMWORK_BLESS";
const BEGIN: &str = "<!-- from the server -->\n";
const END: &str = "<!-- end -->\n";

/// A metric as it was told.
#[derive(Debug, Default)]
struct Told {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    /// Labels without `le`, and the value, by the name of the sample.
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
}

/// Splits `name{a="b",c="d"} 1` into its parts; no value of ours needs a backslash.
fn sample(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').expect("a value");
    let (name, labels) = match series.split_once('{') {
        None => (series, ""),
        Some((name, rest)) => (name, rest.strip_suffix('}').expect("a closing bracket")),
    };
    let labels = labels.split_terminator("\",").map(|label| {
        let (key, value) = label.split_once("=\"").expect("a label");
        let value = value.trim_end_matches('"');
        assert!(
            !value.contains(['"', '\\', '\n']) && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
            "{line}"
        );
        (key.to_owned(), value.to_owned())
    });
    let value = if value == "+Inf" { f64::INFINITY } else { value.parse().expect("a number") };
    (name.to_owned(), labels.collect(), value)
}

/// Reads an answer as a strict reader does, by the name that the samples of a metric begin with.
fn parse(text: &str, format: Format) -> BTreeMap<String, Told> {
    let mut told: BTreeMap<String, Told> = BTreeMap::new();
    let (mut name, mut seen, mut ended) = (String::new(), BTreeSet::new(), false);
    for line in text.lines() {
        assert!(!ended, "after the end: {line}");
        if line == "# EOF" {
            ended = true;
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            let (of, help) = rest.split_once(' ').expect("a help");
            of.clone_into(&mut name);
            let before = told.insert(name.clone(), Told { help: help.to_owned(), ..Told::default() });
            assert!(before.is_none(), "{name} is told twice");
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (of, kind) = rest.split_once(' ').expect("a kind");
            assert_eq!(of, name);
            told.get_mut(&name).expect("a help first").kind = kind.to_owned();
        } else {
            let (of, labels, value) = sample(line);
            let metric = told.get_mut(&name).unwrap_or_else(|| panic!("no help before: {line}"));
            let suffix = of.strip_prefix(&name).unwrap_or_else(|| panic!("{line} is told as {name}"));
            let suffixes: &[&str] = match (metric.kind.as_str(), format) {
                ("counter", Format::OpenMetrics) => &["_total"],
                ("info", Format::OpenMetrics) => &["_info"],
                ("histogram", _) => &["_sum", "_count", "_bucket"],
                ("counter" | "gauge", _) => &[""],
                (kind, _) => panic!("{name} is a {kind}"),
            };
            assert!(suffixes.contains(&suffix), "{line} is no sample of a {}", metric.kind);
            assert!(seen.insert(line.rsplit_once(' ').expect("a value").0.to_owned()), "twice: {line}");
            assert!(metric.kind == "gauge" || value >= 0.0, "{line}");
            metric.labels.extend(labels.keys().filter(|key| *key != "le").cloned());
            metric.samples.push((of, labels, value));
        }
    }
    assert_eq!(ended, format == Format::OpenMetrics);
    told
}

/// The buckets of each histogram rise, and the last of them has all.
fn assert_whole(name: &str, told: &Told) {
    let of = |suffix: &'static str| told.samples.iter().filter(move |(of, ..)| of.strip_prefix(name) == Some(suffix));
    for (_, labels, count) in of("_count") {
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for (_, bucket, value) in of("_bucket") {
            let mut bucket = bucket.clone();
            let bound = bucket.remove("le").expect("a bound");
            if bucket == *labels {
                buckets.push((if bound == "+Inf" { f64::INFINITY } else { bound.parse().expect("a bound") }, *value));
            }
        }
        assert!(buckets.is_sorted_by(|(one, less), (other, more)| one < other && less <= more), "{name}: {buckets:?}");
        assert_eq!(buckets.last(), Some(&(f64::INFINITY, *count)), "{name}");
    }
}

/// All that is ever told: each metric has a sample.
fn everything() -> (Metrics, Now) {
    let metrics = Metrics::default();
    metrics.dhcp.packet("discover", "answered");
    metrics.reconcile.attempted("applied", Duration::from_millis(30));
    metrics.store.commit("done", Duration::from_millis(3));
    let route = http::Route { listener: "api", method: "GET", route: "/v1/machines/{name}".to_owned() };
    metrics.http.begun(route).status = Some(StatusCode::OK);
    let now = Now {
        version: "1.2.3",
        revision: Some("0123456789".to_owned()),
        content: vec![("Ready".to_owned(), true), ("Stalled".to_owned(), false)],
        sources: vec![Followed {
            name: "platform".to_owned(),
            up: true,
            refused: false,
            held: false,
            unreported: false,
            last_success_unix_ms: Some(1_795_384_984_000),
        }],
        phases: vec![("ready".to_owned(), 3)],
        standings: vec![("in-step".to_owned(), 3)],
        pools: vec![Pool { subnet: "rack-1".to_owned(), leases: 4, addresses: 100 }],
        store: vec![("Ready".to_owned(), true)],
        process: Process::read(),
        ..Now::default()
    };
    (metrics, now)
}

#[test]
fn what_is_told_is_well_formed_in_both_formats_and_the_same() {
    let (metrics, now) = everything();
    let names = [Format::OpenMetrics, Format::Prometheus].map(|format| {
        let told = parse(&metrics.text(&now, format).expect("a text"), format);
        told.iter().filter(|(_, told)| told.kind == "histogram").for_each(|(name, told)| assert_whole(name, told));
        let samples = told.values().flat_map(|told| told.samples.iter().map(|(name, ..)| name.clone()));
        samples.collect::<BTreeSet<_>>()
    });
    assert_eq!(names[0], names[1]);
    let strange: Vec<_> =
        names[0].iter().filter(|name| !name.starts_with("formwork_") && !name.starts_with("process_")).collect();
    assert!(strange.is_empty(), "{strange:?}");
    assert_eq!(Format::accepted("application/openmetrics-text;version=1.0.0,text/plain;q=0.5"), Format::OpenMetrics);
    assert_eq!(Format::accepted("*/*"), Format::Prometheus);
}

#[test]
fn what_never_happened_is_told_as_a_zero() {
    let told = Metrics::default().text(&Now::default(), Format::Prometheus).expect("a text");
    for line in [
        "formwork_jobs_ended_total{outcome=\"failed\"} 0",
        "formwork_store_commits_total{result=\"conflict\"} 0",
        "formwork_boot_scripts_total{action=\"hold\"} 0",
        "formwork_runs_started_total 0",
    ] {
        assert!(told.lines().any(|told| told == line), "no {line} in:\n{told}");
    }
}

#[test]
fn the_book_has_a_table_of_all_that_is_told() {
    let (metrics, now) = everything();
    let told = parse(&metrics.text(&now, Format::OpenMetrics).expect("a text"), Format::OpenMetrics);
    let mut table = String::from("| metric | kind | labels | what it says |\n| --- | --- | --- | --- |\n");
    for (name, Told { kind, help, labels, .. }) in &told {
        let suffix = match kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
        table += &format!("| `{name}{suffix}` | {kind} | {} | {} |\n", labels.join(" "), help.trim_end_matches('.'));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md");
    let text = std::fs::read_to_string(&path).expect("the page");
    let (before, rest) = text.split_once(BEGIN).expect("the place of the table");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let wanted = format!("{before}{BEGIN}{table}{END}{after}");
    if std::env::var_os(BLESS).is_some() {
        std::fs::write(&path, &wanted).expect("written");
    }
    let kept = std::fs::read_to_string(&path).expect("the page");
    assert!(
        kept == wanted,
        "docs/operations.md does not say what a server tells; {BLESS}=1 cargo test --lib metrics writes it"
    );
}

#[tokio::test]
async fn a_request_is_counted_by_its_route_whatever_was_asked_for_and_when_its_client_hangs_up() {
    let metrics = Metrics::default();
    let routes = axum::Router::new()
        .route("/machines/{name}", get(|| async { "" }))
        .route("/held", post(std::future::pending::<StatusCode>))
        .layer(axum::middleware::from_fn_with_state((metrics.http.clone(), "api"), counted));
    let ask = |method: &str, path: &str| {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
        routes.clone().oneshot(request)
    };
    for (method, path, status) in [
        ("GET", "/machines/node-1", 200),
        ("GET", "/machines/node-2", 200),
        ("DELETE", "/machines/node-2", 405),
        ("BREW", "/machines/node-2", 405),
        ("GET", "/node-3", 404),
    ] {
        assert_eq!(ask(method, path).await.expect("an answer").status().as_u16(), status);
    }
    let told = || metrics.text(&Now::default(), Format::Prometheus).expect("a text");
    let in_flight = |count: u32| {
        let line =
            format!("formwork_http_requests_in_flight{{listener=\"api\",method=\"POST\",route=\"/held\"}} {count}");
        assert!(told().contains(&line), "no {line} in:\n{}", told());
    };
    let held = tokio::spawn(ask("POST", "/held"));
    while !told().contains("route=\"/held\"} 1") {
        tokio::task::yield_now().await;
    }
    in_flight(1);
    held.abort();
    assert!(held.await.is_err());
    in_flight(0);
    let told = told();
    for line in [
        r#"method="GET",route="/machines/{name}",status="2xx"} 2"#,
        r#"method="DELETE",route="/machines/{name}",status="4xx"} 1"#,
        r#"method="other",route="/machines/{name}",status="4xx"} 1"#,
        r#"method="GET",route="unmatched",status="4xx"} 1"#,
        r#"method="POST",route="/held",status="gone"} 1"#,
    ] {
        assert!(told.contains(line), "no {line} in:\n{told}");
    }
    assert!(!told.contains("node-") && !told.contains("BREW"), "{told}");
}
