//! The site that is made around a pack for one test: the pack, what it requires, one machine that walks what is tested, and
//! what the test says there is besides.

use super::PackUnderTest;
use crate::catalog::LOCAL;
use crate::content::kinds::API_VERSION;
use crate::content::{PackTest, Tree, hidden};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The workflow that walks a stage or a task of the pack.
const WALK: &str = "formwork-test";

/// A name as the catalog knows it: `join` is `etcd.join`, unless it has a pack's name already, is among the test's own documents,
/// or is the environment that needs no pack.
pub(super) fn qualified(pack: &str, test: &PackTest, name: &str) -> String {
    let is = |value: &Value| value.pointer("/metadata/name").and_then(Value::as_str) == Some(name);
    let plain = name.contains('.') || name == LOCAL || test.spec.site.iter().any(is);
    if plain { name.to_owned() } else { format!("{pack}.{name}") }
}

/// The site's files.
///
/// # Errors
/// In words: something of it cannot be written down.
pub(super) fn tree(pack: &PackUnderTest<'_>, test: &PackTest) -> Result<Tree, String> {
    let spec = &test.spec;
    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut packs = Vec::new();
    for (name, source) in required(pack) {
        let Some(source) = source else {
            packs.push(json!({"builtin": name}));
            continue;
        };
        for (path, file) in &source.files {
            if !hidden(path) && !path.starts_with("tests/") {
                files.insert(format!("packs/{name}/{path}"), file.bytes.to_vec());
            }
        }
        packs.push(json!({"path": format!("packs/{name}")}));
    }
    let mut machine = json!({
        "match": {"macs": spec.machine.macs},
        "profiles": spec.machine.profiles,
        "params": spec.machine.params,
        "workflow": spec.workflow.as_ref().map_or_else(|| WALK.to_owned(), |name| qualified(pack.name, test, name)),
    });
    let mut own = Vec::new();
    if let Some(address) = spec.machine.address {
        if let Some(map) = machine.as_object_mut() {
            map.insert("address".to_owned(), json!(address));
        }
        let [a, b, c, _] = address.octets();
        if !spec.site.iter().any(|value| value.get("kind").and_then(Value::as_str) == Some("Subnet")) {
            own.push(document("Subnet", "test", &json!({"cidr": format!("{a}.{b}.{c}.0/24")})));
        }
    }
    own.push(document("Machine", &spec.machine.name, &machine));
    if let Some(task) = &spec.task {
        own.push(document("Stage", WALK, &json!({"tasks": [qualified(pack.name, test, task)]})));
        own.push(document("Workflow", WALK, &json!({"stages": [WALK]})));
    }
    if let Some(stage) = &spec.stage {
        own.push(document("Workflow", WALK, &json!({"stages": [qualified(pack.name, test, stage)]})));
    }
    let mut put = |path: &str, documents: &[Value]| -> Result<(), String> {
        let texts: Result<Vec<String>, _> = documents.iter().map(serde_yaml::to_string).collect();
        let text = texts.map_err(|error| format!("`site` cannot be written as YAML: {error}"))?.join("---\n");
        files.insert(path.to_owned(), text.into_bytes());
        Ok(())
    };
    put("site.yaml", &[document("Site", "test", &json!({"packs": packs}))])?;
    put("test/machine.yaml", &own)?;
    if !spec.site.is_empty() {
        put("test/site.yaml", &spec.site)?;
    }
    Ok(Tree::from_texts(files))
}

fn document(kind: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": spec})
}

/// The pack and all that it requires, over and over; none: one that comes with the program.
fn required<'a>(pack: &PackUnderTest<'a>) -> BTreeMap<String, Option<&'a Tree>> {
    let mut found: BTreeMap<String, Option<&Tree>> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    let mut waiting = vec![(pack.name.to_owned(), Some(pack.files))];
    while let Some((name, files)) = waiting.pop() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let tree = files.or_else(|| pack.builtin.get(&name));
        for wanted in tree.map(requires).unwrap_or_default() {
            // The site's own wins; what nobody has is told of by the compiler.
            let source = pack.others.get(&wanted);
            waiting.push((wanted, source));
        }
        if files.is_some() || pack.builtin.contains_key(&name) {
            found.insert(name, files);
        }
    }
    found
}

/// What a pack requires, as far as its `pack.yaml` can be read.
fn requires(tree: &Tree) -> Vec<String> {
    let Some(text) = tree.files.get("pack.yaml").and_then(|file| std::str::from_utf8(&file.bytes).ok()) else {
        return Vec::new();
    };
    use serde::Deserialize as _;
    let documents = serde_yaml::Deserializer::from_str(text).filter_map(|document| Value::deserialize(document).ok());
    let pack = documents.into_iter().find(|value| value.get("kind").and_then(Value::as_str) == Some("Pack"));
    let names = pack.as_ref().and_then(|pack| pack.pointer("/spec/requires")).and_then(Value::as_array);
    names.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}
