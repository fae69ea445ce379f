//! What of a document must go together, told by its keys alone: it is looked at where something else is wrong too, since who mends
//! a document wants to hear all of it at once.

use super::finding::Report;
use super::spans::Step;
use super::{Document, Kind};
use serde_json::{Map, Value};

/// Tells what of a document's spec does not go together. What is of a wrong type is told where it is read.
pub(super) fn check(kind: Kind, document: &Document, value: &Value, report: &mut Report) {
    let nothing = Map::new();
    let spec = match value.get("spec") {
        None | Some(Value::Null) => &nothing,
        Some(Value::Object(spec)) => spec,
        Some(_) => return,
    };
    match kind {
        Kind::Task => task(document, spec, report),
        Kind::BootEnv => boot_env(document, spec, report),
        Kind::Template if given(spec, &["file", "text"]) != 1 => {
            let message = "a template has exactly one of `file` and `text`";
            report.error("template-source", document.value(&["spec".into()]), message);
        }
        _ => {}
    }
}

/// How many of these stand there.
fn given(map: &Map<String, Value>, keys: &[&str]) -> usize {
    keys.iter().filter(|key| map.get(**key).is_some_and(|value| !value.is_null())).count()
}

fn task(document: &Document, spec: &Map<String, Value>, report: &mut Report) {
    let Some(Value::Array(steps)) = spec.get("steps") else { return };
    if steps.is_empty() {
        report.error("no-steps", document.value(&["spec".into(), "steps".into()]), "a task has at least one step");
    }
    for (index, step) in steps.iter().enumerate() {
        let Value::Object(step) = step else { continue };
        let here = ["spec".into(), "steps".into(), Step::Item(index)];
        if given(step, &["script", "scriptFile", "template", "file"]) != 1 {
            let message = "a step has exactly one of `script`, `scriptFile`, `template` and `file`";
            report.error("step-source", document.value(&here), message);
        } else if given(step, &["template", "file"]) == 1 && given(step, &["to"]) == 0 {
            let message = "the step does not say where to: `to` is missing";
            report.error("missing-field", document.value(&here), message);
        }
    }
}

fn boot_env(document: &Document, spec: &Map<String, Value>, report: &mut Report) {
    let nothing = Map::new();
    let architectures = match spec.get("architectures") {
        None | Some(Value::Null) => &nothing,
        Some(Value::Object(architectures)) => architectures,
        Some(_) => return,
    };
    let ends_by_nothing = spec.get("endsBy").and_then(Value::as_str) == Some("nothing");
    match (ends_by_nothing, architectures.is_empty()) {
        (true, false) => {
            let message = "an environment that ends by nothing boots nothing of ours";
            report.error("boot-env", document.key(&["spec".into(), "architectures".into()]), message);
        }
        (false, true) => {
            let message = "a boot environment says what to boot: `architectures` is missing";
            report
                .error("boot-env", document.value(&["spec".into()]), message)
                .hint("write `architectures: {x86_64: {kernel: {file: …}, initrds: [{file: …}]}}`");
        }
        _ => {}
    }
    for (name, what) in architectures {
        let base = ["spec".into(), "architectures".into(), Step::Key(name)];
        let mut source = |more: &[Step<'_>], source: &Value| {
            if let Value::Object(source) = source
                && given(source, &["file", "url"]) != 1
            {
                let path: Vec<Step<'_>> = base.iter().chain(more).copied().collect();
                let message = "a file to boot has exactly one of `file` and `url`";
                report.error("image-source", document.value(&path), message);
            }
        };
        if let Some(kernel) = what.get("kernel") {
            source(&["kernel".into()], kernel);
        }
        let initrds = what.get("initrds").and_then(Value::as_array);
        for (index, initrd) in initrds.into_iter().flatten().enumerate() {
            source(&["initrds".into(), Step::Item(index)], initrd);
        }
    }
}
