//! The JSON of each command: what programs rely on. A change is seen here, and is a line in the changelog.

use super::site::{FORMWORK, Site, example};
use serde_json::Value;
use std::process::Command;

/// What differs from run to run, by the name of its key.
const PASSING: &[&str] = &[
    "atUnixMs",
    "lastSeenUnixMs",
    "caFingerprint",
    "version",
    "offer",
    "source",
    "url",
    "revision",
    "lastAppliedRevision",
    "lastAttemptedRevision",
    "lastSeenRevision",
    "runs",
    "runRevision",
    "commit",
    "startedUnixMs",
    "bytes",
    "generation",
    "observedGeneration",
];

/// Puts a word in place of what passes: which keys are there, and of what type, is the contract.
fn steady(value: &mut Value, key: &str) {
    match value {
        Value::Object(map) => map.iter_mut().for_each(|(key, value)| steady(value, key)),
        Value::Array(items) => items.iter_mut().for_each(|item| steady(item, key)),
        Value::String(text) if PASSING.contains(&key) => *text = format!("({key})"),
        // A time, Unix milliseconds.
        Value::Number(number) if number.as_u64().is_some_and(|number| number > 1_000_000_000_000) => {
            *value = Value::String("(a time)".to_owned());
        }
        Value::Number(_) if PASSING.contains(&key) => *value = Value::String(format!("({key}, a number)")),
        Value::String(text) => {
            // Revisions and ids in sentences, and in scripts of several lines.
            let words = text.split_inclusive(char::is_whitespace).map(|word| {
                let plain = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
                let hexadecimal = plain.len() >= 10 && plain.chars().all(|c| c.is_ascii_hexdigit());
                if hexadecimal { word.replace(plain, "(id)") } else { word.to_owned() }
            });
            *text = words.collect();
        }
        _ => {}
    }
}

fn json(output: &[u8], words: &[&str]) -> Value {
    serde_json::from_slice(output).unwrap_or_else(|error| {
        panic!("`formwork {}` printed no JSON: {error}\n{}", words.join(" "), String::from_utf8_lossy(output))
    })
}

#[test]
fn the_json_of_each_command_is_what_it_was() {
    let site = Site::start();
    let script = site.firmware_asks("52:54:00:00:00:01");
    assert!(script.contains("#!ipxe") && script.contains("boots web.memory"), "{script}");
    let mut all = String::new();
    for words in [
        &["status"][..],
        &["status", "--machines"],
        &["history"],
        &["get", "machines"],
        &["get", "boxes"],
        &["get", "leases"],
        &["get", "subnets"],
        &["get", "workflows"],
        &["get", "revisions"],
        &["describe", "machine", "web-1"],
        &["why", "web-1"],
        &["why", "web-1", "admin-password"],
        &["why", "web-1", "install-disk"],
        &["plan", "web-1"],
        &["render", "web-1"],
        &["render", "web-1", "--task", "configure"],
        &["tree"],
        &["trace", "web-1"],
        &["diff"],
        &["events"],
        &["timeline", "web-1"],
        &["explain", "Site"],
    ] {
        let output = site.type_in(&[words, &["-o", "json"]].concat());
        all.push_str(&format!("== formwork {}\n", words.join(" ")));
        // A stream is one document a line.
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let documents: Vec<Value> = match serde_json::from_str::<Value>(&text) {
            Ok(one) => vec![one],
            Err(_) => text.lines().map(|line| json(line.as_bytes(), words)).collect(),
        };
        assert!(!documents.is_empty(), "`formwork {}` printed nothing: {output:?}", words.join(" "));
        for mut document in documents {
            steady(&mut document, "");
            all.push_str(&serde_json::to_string_pretty(&document).expect("JSON"));
            all.push('\n');
        }
    }
    assert!(!all.contains("the-secret"));
    insta::assert_snapshot!(all);
}

#[test]
fn what_makes_a_site_and_adds_packs_answers_in_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (state, site) = (place("state"), place("site"));
    std::fs::create_dir(&site).expect("made");
    let head = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\nspec:\n  packs:\n    - builtin: discovery\n";
    std::fs::write(folder.path().join("site/site.yaml"), head).expect("written");
    let typed = |words: &[&str]| {
        let output = Command::new(FORMWORK).args(words).output().expect("formwork starts");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let keys = |value: &Value| -> Vec<String> {
        let mut keys: Vec<String> = value.as_object().expect("a map").keys().cloned().collect();
        keys.sort_unstable();
        keys
    };
    let words = ["site", "create", "lab", "--state-dir", &state];
    let made = json(&typed(&words), &words);
    assert_eq!(keys(&made), ["administrator", "authoritySha256", "holdsUnknown", "next", "site", "stateDir"]);
    assert_eq!((&made["site"], &made["stateDir"], &made["holdsUnknown"]), (&"lab".into(), &state.into(), &true.into()));
    assert!(made["next"].as_str().is_some_and(|next| next.starts_with("formwork serve --state-dir ")), "{made}");
    let words = ["pack", "add", "builtin:image", "--dir", &site];
    let required = serde_json::json!([{"name": "hardware", "builtin": true}]);
    assert_eq!(json(&typed(&words), &words), serde_json::json!({"name": "image", "requires": required}));
    let words = ["pack", "update", "--dir", &site];
    assert_eq!(json(&typed(&words), &words), serde_json::json!({"packs": [], "lockWritten": false}));
    let words = ["pack", "vendor", "--dir", &site];
    assert_eq!(json(&typed(&words), &words), serde_json::json!([]));
    let table = typed(&["pack", "vendor", "--dir", &site, "-o", "table"]);
    assert_eq!(String::from_utf8_lossy(&table), "no pack comes from another repository\n");
    let table = typed(&["site", "create", "lab", "--fresh", "--state-dir", &place("other"), "-o", "table"]);
    assert!(table.starts_with(b"site lab made in "), "{}", String::from_utf8_lossy(&table));
}

#[test]
fn without_being_told_a_pipe_gets_json_and_colour_is_for_terminals_only() {
    let site = Site::start();
    for words in [&["get", "machines"][..], &["why", "web-1"], &["plan", "web-1"], &["explain", "Task"]] {
        let output = site.type_in(words);
        json(&output.stdout, words);
        let table = site.type_in(&[words, &["-o", "table"]].concat());
        assert!(!table.stdout.contains(&0x1b), "`formwork {}` has colours in a pipe", words.join(" "));
    }
}

/// On a terminal (a real one, by script(1)): tables, colours unless `NO_COLOR`, no line wider than the terminal.
#[test]
fn on_a_terminal_tables_fit_its_width_and_no_color_is_respected() {
    if !Command::new("script").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("SKIPPED on_a_terminal_tables_fit_its_width_and_no_color_is_respected: there is no script(1)");
        return;
    }
    let typed = |environment: &str, words: &str| {
        let line = format!("stty cols 60 rows 24; {environment} '{FORMWORK}' {words}");
        let output = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .output()
            .expect("script runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let place = example().display().to_string();
    for words in [format!("plan web-1 --dir {place}"), "explain Machine".to_owned()] {
        let plain = typed("NO_COLOR=1", &words);
        assert!(!plain.contains('\u{1b}') && plain.contains("web-1"), "{plain}");
        for line in plain.lines().filter(|line| !line.trim_start().starts_with("match:") && line.contains("  ")) {
            assert!(line.trim_end().chars().count() <= 60 || words.starts_with("explain"), "too wide: {line}");
        }
        assert!(typed("", &words).contains("\u{1b}["), "there is no colour on a terminal");
    }
}
