//! From the schema of a type to the structural schema that an API server takes. Pure.
//!
//! An API server wants one type at each place, no references, no alternatives, and says of what it cannot describe that it is
//! kept as it is. What is lost here (a map that refuses unknown fields) the strict reading of Git still has; an API server
//! prunes what it does not know.

use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

const ANYTHING: &str = "x-kubernetes-preserve-unknown-fields";

/// The structural schema of a type.
pub(super) fn of<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft07().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    structural(&settings.into_generator().into_root_schema_for::<T>().to_value())
}

/// The same of a schema without references. In Git a `null` says what leaving out says. Here it is refused where one type
/// is meant: a rule would take it for something given, and a machine with a UUID of `null` for one that can be recognised.
fn structural(schema: &Value) -> Value {
    let Some(written) = schema.as_object() else { return json!({ANYTHING: true, "nullable": true}) };
    let mut from = written.clone();
    let mut anything = false;
    for word in ["anyOf", "oneOf"] {
        let Some(Value::Array(alternatives)) = from.remove(word) else { continue };
        let other: Vec<_> = alternatives.into_iter().filter(|alternative| !is_null(alternative)).collect();
        match other.as_slice() {
            [one] => merge(&mut from, one),
            several => match texts(several) {
                Some(words) => {
                    from.insert("type".into(), "string".into());
                    from.insert("enum".into(), words.into());
                }
                None => anything = true,
            },
        }
    }
    if let Some(Value::Array(types)) = from.get("type").cloned() {
        let other: Vec<_> = types.into_iter().filter(|word| word != "null").collect();
        match <[Value; 1]>::try_from(other) {
            Ok([one]) => {
                from.insert("type".into(), one);
            }
            Err(_) => anything = true,
        }
    }
    if let Some(constant) = from.remove("const") {
        from.insert("enum".into(), json!([constant]));
    }
    let mut to = Map::new();
    if let Some(text) = from.get("description").and_then(Value::as_str) {
        to.insert("description".into(), unwrapped(text).into());
    }
    if anything || !from.contains_key("type") {
        // A `null` is one of all the values there are, and is kept.
        to.insert(ANYTHING.into(), true.into());
        to.insert("nullable".into(), true.into());
        return Value::Object(to);
    }
    for (key, value) in &from {
        match key.as_str() {
            "type" | "enum" | "required" | "minimum" | "maximum" | "minLength" | "maxLength" | "pattern"
            | "minItems" | "maxItems" => {
                to.insert(key.clone(), value.clone());
            }
            "format" => {
                if let Some(format) = format(value) {
                    to.insert(key.clone(), format.into());
                }
            }
            "default"
                if value.is_boolean() || value.is_number() || value.as_str().is_some_and(|text| !text.is_empty()) =>
            {
                to.insert(key.clone(), value.clone());
            }
            "items" => {
                to.insert(key.clone(), structural(value));
            }
            "properties" => {
                let properties = value.as_object().into_iter().flatten();
                let properties = properties.map(|(name, schema)| (name.clone(), structural(schema)));
                to.insert(key.clone(), Value::Object(properties.collect()));
            }
            // `false` beside properties is refused; to say nothing is to prune.
            "additionalProperties" if *value != Value::Bool(false) => {
                to.insert(key.clone(), structural(value));
            }
            "maxProperties" => {
                to.insert(key.clone(), value.clone());
            }
            own if own.starts_with("x-kubernetes-") => {
                to.insert(key.clone(), value.clone());
            }
            _ => {}
        }
    }
    Value::Object(to)
}

/// The most that there may be where a type says no bound of its own: an API server keeps and shows what is in an object, and what a rule may
/// cost follows from it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Characters of a text.
    pub text: u64,
    /// Items of a list, and entries of a map.
    pub items: u64,
}

/// The same schema with a bound wherever it has none. Texts that are one of some words have one.
pub(super) fn bounded(mut schema: Value, bounds: Bounds) -> Value {
    bound(&mut schema, bounds);
    schema
}

fn bound(schema: &mut Value, bounds: Bounds) {
    let Some(schema) = schema.as_object_mut() else { return };
    let (word, most) = match schema.get("type").and_then(Value::as_str) {
        Some("string") if !schema.contains_key("enum") => ("maxLength", bounds.text),
        Some("array") => ("maxItems", bounds.items),
        Some("object") if schema.contains_key("additionalProperties") => ("maxProperties", bounds.items),
        _ => ("", 0),
    };
    if !word.is_empty() {
        schema.entry(word).or_insert_with(|| most.into());
    }
    for below in ["items", "additionalProperties"] {
        if let Some(below) = schema.get_mut(below) {
            bound(below, bounds);
        }
    }
    for property in schema.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
        bound(property, bounds);
    }
}

fn is_null(schema: &Value) -> bool {
    schema.get("type").is_some_and(|word| word == "null") || schema.get("const").is_some_and(Value::is_null)
}

/// What stands outside goes before what the one alternative says.
fn merge(into: &mut Map<String, Value>, one: &Value) {
    for (key, value) in one.as_object().into_iter().flatten() {
        into.entry(key.clone()).or_insert_with(|| value.clone());
    }
}

/// The words of alternatives that are all words.
fn texts(alternatives: &[Value]) -> Option<Vec<Value>> {
    let mut words = Vec::new();
    for alternative in alternatives {
        match (alternative.get("const"), alternative.get("enum").and_then(Value::as_array)) {
            (Some(Value::String(word)), _) => words.push(word.clone().into()),
            (None, Some(several)) if several.iter().all(Value::is_string) => words.extend(several.iter().cloned()),
            _ => return None,
        }
    }
    Some(words)
}

/// Lines that were broken for the source's width are joined, so that a terminal breaks them anew.
fn unwrapped(text: &str) -> String {
    let paragraphs = text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    paragraphs.collect::<Vec<_>>().join("\n\n")
}

/// Formats that API servers know.
fn format(value: &Value) -> Option<&'static str> {
    match value.as_str()? {
        "int8" | "int16" | "int32" | "uint8" | "uint16" => Some("int32"),
        "int" | "int64" | "uint" | "uint32" | "uint64" => Some("int64"),
        "double" => Some("double"),
        "float" => Some("float"),
        "ipv4" => Some("ipv4"),
        "ipv6" => Some("ipv6"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_becomes_what_an_api_server_takes() {
        for (schema, wanted) in [
            (json!(true), json!({ANYTHING: true, "nullable": true})),
            (
                json!({"description": "any\nthing"}),
                json!({"description": "any thing", ANYTHING: true, "nullable": true}),
            ),
            (json!({"type": ["string", "null"]}), json!({"type": "string"})),
            (json!({"type": ["string", "integer"]}), json!({ANYTHING: true, "nullable": true})),
            (
                json!({"type": "integer", "format": "uint32", "minimum": 0, "default": 1, "title": "x"}),
                json!({"type": "integer", "format": "int64", "minimum": 0, "default": 1}),
            ),
            (
                json!({"description": "outer", "anyOf": [{"type": "string", "description": "inner"}, {"type": "null"}]}),
                json!({"description": "outer", "type": "string"}),
            ),
            (
                json!({"oneOf": [{"type": "string", "const": "a"}, {"type": "string", "enum": ["b", "c"]}]}),
                json!({"type": "string", "enum": ["a", "b", "c"]}),
            ),
            (json!({"oneOf": [{"const": "a"}, {"type": "object"}]}), json!({ANYTHING: true, "nullable": true})),
            (
                json!({"type": "object", "additionalProperties": false, "properties": {"a": {}}, "default": {"a": 1}}),
                json!({"type": "object", "properties": {"a": {ANYTHING: true, "nullable": true}}}),
            ),
            (
                json!({"type": "object", "additionalProperties": true}),
                json!({"type": "object", "additionalProperties": {ANYTHING: true, "nullable": true}}),
            ),
            (
                json!({"type": "array", "items": {"type": "string", "format": "hostname"}, "default": []}),
                json!({"type": "array", "items": {"type": "string"}}),
            ),
        ] {
            assert_eq!(structural(&schema), wanted, "{schema}");
        }
    }

    #[test]
    fn a_bound_is_wherever_a_type_says_none() {
        let bounds = Bounds { text: 7, items: 3 };
        for (schema, wanted) in [
            (json!({"type": "string"}), json!({"type": "string", "maxLength": 7})),
            (json!({"type": "string", "maxLength": 9}), json!({"type": "string", "maxLength": 9})),
            (json!({"type": "string", "enum": ["a"]}), json!({"type": "string", "enum": ["a"]})),
            (json!({"type": "integer"}), json!({"type": "integer"})),
            (json!({ANYTHING: true, "nullable": true}), json!({ANYTHING: true, "nullable": true})),
            (
                json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}),
                json!({"type": "object", "properties": {"a":
                    {"type": "array", "maxItems": 3, "items": {"type": "string", "maxLength": 7}}}}),
            ),
            (
                json!({"type": "object", "additionalProperties": {"type": "array", "maxItems": 2, "items": {}}}),
                json!({"type": "object", "maxProperties": 3,
                    "additionalProperties": {"type": "array", "maxItems": 2, "items": {}}}),
            ),
        ] {
            assert_eq!(bounded(schema.clone(), bounds), wanted, "{schema}");
        }
    }
}
