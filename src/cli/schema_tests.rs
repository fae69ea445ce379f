use super::*;
use crate::catalog::{builtin_packs, from_tree, testing};
use crate::content::Tree;
use jsonschema::Validator;
use std::path::Path;

struct Schemas {
    all: Validator,
    each: Vec<(Kind, Validator)>,
}

impl Schemas {
    fn new() -> Self {
        let make = |schema: &Value| jsonschema::draft7::new(schema).expect("a schema");
        let each = Kind::ALL.into_iter().map(|kind| (kind, make(&schema::of_kind(kind)))).collect();
        Self { all: make(&schema::of_all()), each }
    }

    /// What is wrong with a document, by the schema for all and by that of its kind; they have to agree.
    fn wrong(&self, document: &Value) -> Option<String> {
        let all = self.all.iter_errors(document).next().map(|error| format!("{}: {error}", error.instance_path()));
        let kind = document.get("kind").and_then(Value::as_str).and_then(Kind::from_name);
        if let Some((_, own)) = self.each.iter().find(|(known, _)| Some(*known) == kind) {
            assert_eq!(own.is_valid(document), all.is_none(), "the two schemas disagree on {document}: {all:?}");
        }
        all
    }
}

/// The documents of all YAML below a folder.
fn documents(folder: &Path) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(documents(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            let text = std::fs::read_to_string(&path).expect("text");
            for document in text.split("\n---\n") {
                let value = serde_yaml::from_str(document).expect("YAML");
                found.push((path.display().to_string(), value));
            }
        }
    }
    found
}

#[test]
fn the_schema_accepts_all_content_that_comes_with_the_program() {
    let schemas = Schemas::new();
    let mut seen = 0;
    for folder in ["examples", "content-packs"] {
        for (path, document) in documents(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) {
            assert_eq!(schemas.wrong(&document), None, "{path}");
            seen += 1;
        }
    }
    assert!(seen > 50, "only {seen} documents were found");
    for file in testing::site(&[]).files.iter().filter(|(path, _)| path.ends_with(".yaml")) {
        for document in String::from_utf8_lossy(&file.1.bytes).split("\n---\n") {
            let value: Value = serde_yaml::from_str(document).expect("YAML");
            assert_eq!(schemas.wrong(&value), None, "{}", file.0);
        }
    }
}

/// One change to a document that the loader refuses by its shape, at every place where it can be made.
fn broken(document: &Value) -> Vec<(String, Value)> {
    let mut broken = Vec::new();
    for (pointer, value) in places(document) {
        let changed = |new: Value| {
            let mut copy = document.clone();
            if let Some(place) = copy.pointer_mut(&pointer) {
                *place = new;
            }
            copy
        };
        match value {
            // A typing error in a field's name: only where fields are known, not in maps of people's own names.
            Value::Object(map) => {
                let mut map = map.clone();
                map.insert("mispelt".to_owned(), Value::Bool(true));
                broken.push((format!("unknown field at {pointer}"), changed(Value::Object(map))));
            }
            Value::Bool(_) => broken.push((format!("text at {pointer}"), changed("perhaps".into()))),
            Value::Array(_) => broken.push((format!("number at {pointer}"), changed(7.into()))),
            Value::Number(_) => broken.push((format!("list at {pointer}"), changed(Value::Array(vec!["x".into()])))),
            Value::String(_) => {
                broken.push((format!("map at {pointer}"), changed(serde_json::json!({"x": {"y": []}}))))
            }
            Value::Null => {}
        }
    }
    broken
}

fn places(value: &Value) -> Vec<(String, &Value)> {
    let mut all = vec![(String::new(), value)];
    let mut at = 0;
    while let Some((pointer, value)) = all.get(at).cloned() {
        match value {
            Value::Object(map) => all.extend(
                map.iter()
                    .map(|(key, value)| (format!("{pointer}/{}", key.replace('~', "~0").replace('/', "~1")), value)),
            ),
            Value::Array(items) => {
                all.extend(items.iter().enumerate().map(|(index, value)| (format!("{pointer}/{index}"), value)));
            }
            _ => {}
        }
        at += 1;
    }
    all
}

/// Whether the loader itself (not the compiler above it) refuses the shape of a document.
fn refused_by_shape(document: &Value) -> bool {
    const SHAPE: &[&str] = &[
        "unknown-field",
        "missing-field",
        "unknown-word",
        "wrong-type",
        "not-a-document",
        "api-version",
        "kind",
        "name",
    ];
    if document.get("kind").and_then(Value::as_str) == Some("PackTest") {
        let tree = Tree::from_texts([("tests/x.yaml", serde_yaml::to_string(document).expect("YAML"))]);
        let findings = crate::content::pack_tests(&tree, "").err().unwrap_or_default();
        return findings.0.iter().any(|finding| SHAPE.contains(&finding.code));
    }
    let mut files = vec![("x.yaml".to_owned(), serde_yaml::to_string(document).expect("YAML"))];
    let head = "apiVersion: formwork.dev/v1alpha1\n";
    if document.get("kind").and_then(Value::as_str) != Some("Site") {
        files.push(("site.yaml".to_owned(), format!("{head}kind: Site\nmetadata: {{name: lab}}\n")));
    } else {
        files = vec![("site.yaml".to_owned(), files.remove(0).1)];
    }
    match from_tree(&Tree::from_texts(files), &builtin_packs(), "x") {
        Ok(_) => false,
        Err(findings) => findings.0.iter().any(|finding| SHAPE.contains(&finding.code)),
    }
}

#[test]
fn the_schema_refuses_what_the_loader_refuses_by_its_shape_and_nothing_else() {
    let schemas = Schemas::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/every-kind");
    let (mut refused, mut accepted, mut wrong) = (0, 0, Vec::new());
    for (path, document) in documents(&folder) {
        if document.get("kind").and_then(Value::as_str) == Some("Pack") {
            // A pack's own document stands in a folder of its own; its shape is that of the others.
            continue;
        }
        for (what, broken) in broken(&document) {
            let loader = refused_by_shape(&broken);
            let schema = schemas.wrong(&broken).is_some();
            match loader {
                true => refused += 1,
                false => accepted += 1,
            }
            if loader != schema {
                wrong.push(format!("{path}: {what}: the loader says {loader}, the schema {schema}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 150 && accepted > 20, "{refused} were refused, {accepted} accepted");
}

#[test]
fn the_schema_is_what_it_was() {
    insta::assert_snapshot!(serde_json::to_string_pretty(&schema::of_all()).expect("JSON"));
}
