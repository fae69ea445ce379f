//! The JSON Schema of content, made from the same types that read it: for editors, and for `formwork explain`.
//!
//! Draft-07, which is what editors' YAML servers read. A schema says what shape a document has; what it refers to, and whether that is
//! there, is found by compiling it.

use super::{Kind, kinds};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

/// The schema of one kind's documents.
pub fn of_kind(kind: Kind) -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let mut schema = document(kind, &mut generator);
    let definitions = generator.take_definitions(true);
    if let Some(map) = schema.as_object_mut() {
        map.insert("$schema".into(), "http://json-schema.org/draft-07/schema#".into());
        map.insert("title".into(), format!("Formwork {kind}").into());
        if !definitions.is_empty() {
            map.insert("definitions".into(), Value::Object(definitions));
        }
    }
    schema
}

/// One schema for documents of every kind, chosen by the word after `kind:`.
pub fn of_all() -> Value {
    let mut generator = SchemaSettings::draft07().into_generator();
    let chosen: Vec<Value> = Kind::ALL
        .into_iter()
        .map(|kind| {
            let then = document(kind, &mut generator);
            json!({"if": {"properties": {"kind": {"const": kind.as_str()}}, "required": ["kind"]}, "then": then})
        })
        .collect();
    let words: Vec<&str> = Kind::ALL.iter().map(|kind| kind.as_str()).collect();
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Formwork content",
        "type": "object",
        "required": ["apiVersion", "kind", "metadata"],
        "properties": {
            "apiVersion": {"const": kinds::API_VERSION},
            "kind": {"enum": words, "description": "What this document declares."},
        },
        "allOf": chosen,
        "definitions": generator.take_definitions(true),
    })
}

fn document(kind: Kind, generator: &mut SchemaGenerator) -> Value {
    let spec = match kind {
        Kind::Site => spec::<kinds::SiteSpec>(generator),
        Kind::Pack => spec::<kinds::PackSpec>(generator),
        Kind::Subnet => spec::<kinds::SubnetSpec>(generator),
        Kind::Machine => spec::<kinds::MachineSpec>(generator),
        Kind::Enrollment => spec::<kinds::EnrollmentSpec>(generator),
        Kind::Profile => spec::<kinds::ProfileSpec>(generator),
        Kind::Param => spec::<kinds::ParamSpec>(generator),
        Kind::ClusterProfile => spec::<kinds::ClusterProfileSpec>(generator),
        Kind::Task => spec::<kinds::TaskSpec>(generator),
        Kind::Stage => spec::<kinds::StageSpec>(generator),
        Kind::Workflow => spec::<kinds::WorkflowSpec>(generator),
        Kind::BootEnv => spec::<kinds::BootEnvSpec>(generator),
        Kind::Template => spec::<kinds::TemplateSpec>(generator),
        Kind::PackTest => spec::<kinds::PackTestSpec>(generator),
    };
    let needs_spec = spec.get("required").and_then(Value::as_array).is_some_and(|required| !required.is_empty());
    let mut required = vec!["apiVersion", "kind", "metadata"];
    if needs_spec {
        required.push("spec");
    }
    let description = spec.get("description").cloned().unwrap_or_default();
    // `spec:` with nothing behind it is an empty one.
    let spec = if needs_spec { spec } else { json!({"anyOf": [spec, {"type": "null"}]}) };
    // Names as the loader has them: what a pack's name goes before holds no dot.
    let label = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?";
    let dotted = matches!(kind, Kind::Machine | Kind::Param);
    let name = if dotted { format!("^{label}(\\.{label})*$") } else { format!("^{label}$") };
    let texts = json!({"type": "object", "additionalProperties": {"type": "string"}});
    json!({
        "type": "object",
        "description": description,
        "required": required,
        "additionalProperties": false,
        "properties": {
            "apiVersion": {"const": kinds::API_VERSION},
            "kind": {"const": kind.as_str()},
            "metadata": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": false,
                "properties": {
                    "name": {"type": "string", "pattern": name, "description": "Its name."},
                    "labels": described(&texts, "For people and selection."),
                    "annotations": described(&texts, "For other tools; never read."),
                },
            },
            "spec": spec,
        },
    })
}

fn described(schema: &Value, description: &str) -> Value {
    let mut schema = schema.clone();
    if let Some(map) = schema.as_object_mut() {
        map.insert("description".into(), description.into());
    }
    schema
}

/// A spec's own schema, not a reference to it.
fn spec<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    let mut schema = T::json_schema(generator).to_value();
    if let Some(map) = schema.as_object_mut() {
        map.remove("title");
    }
    schema
}

/// What a reference stands for, as deep as references lead.
pub(super) fn resolved<'a>(root: &'a Value, mut schema: &'a Value) -> &'a Value {
    for _ in 0..16 {
        let Some(target) = schema.get("$ref").and_then(Value::as_str) else { break };
        let Some(found) = target.strip_prefix('#').and_then(|pointer| root.pointer(pointer)) else { break };
        schema = found;
    }
    schema
}

/// The map of an object's properties.
pub(super) fn properties(schema: &Value) -> Option<&Map<String, Value>> {
    schema.get("properties")?.as_object()
}
