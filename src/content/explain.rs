//! `formwork explain`: one kind or one field of it, in words, from the schema of the types that read it.

use super::names::did_you_mean;
use super::schema::{of_kind, properties, resolved};
use super::{Kind, kinds};
use serde::Serialize;
use serde_json::Value;

/// Documents of every kind; a test compiles them together.
const EXAMPLES: &[&str] = &[
    include_str!("../../examples/every-kind/site.yaml"),
    include_str!("../../examples/every-kind/networks/rack-1.yaml"),
    include_str!("../../examples/every-kind/machines/web-1.yaml"),
    include_str!("../../examples/every-kind/machines/new-in-rack-1.yaml"),
    include_str!("../../examples/every-kind/profiles/profiles.yaml"),
    include_str!("../../examples/every-kind/clusters/web.yaml"),
    include_str!("../../examples/every-kind/packs/web/pack.yaml"),
    include_str!("../../examples/every-kind/packs/web/params.yaml"),
    include_str!("../../examples/every-kind/packs/web/tasks.yaml"),
    include_str!("../../examples/every-kind/packs/web/stages.yaml"),
    include_str!("../../examples/every-kind/packs/web/workflows.yaml"),
    include_str!("../../examples/every-kind/packs/web/bootenvs.yaml"),
    include_str!("../../examples/every-kind/packs/web/templates/templates.yaml"),
    include_str!("../../examples/every-kind/packs/web/tests/tests.yaml"),
];

/// Why there is nothing to explain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unexplained {
    /// What there is not.
    pub message: String,
    /// What there is.
    pub hint: Option<String>,
}

/// A kind or a field, in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The kind.
    pub kind: String,
    /// Its API version.
    pub api_version: &'static str,
    /// The field, from the document's root: `spec.match.macs`; empty: the kind itself.
    pub field: String,
    /// Its type: `text`, `[text]`, `map of text`, …
    #[serde(rename = "type")]
    pub type_name: String,
    /// It must be given.
    pub required: bool,
    /// What holds where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
    /// The only values it may have.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<Allowed>,
    /// What its text must match, a regular expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pattern: Option<String>,
    /// What it is.
    pub description: String,
    /// The fields inside it, at every depth where that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fields: Vec<Explained>,
    /// How it is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub example: Option<String>,
}

/// One of the values that a field may have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Allowed {
    /// The value as it is written.
    pub value: String,
    /// What it means.
    pub description: String,
}

/// Explains `KIND[.FIELD…]`. The kind in any case, or its plural; `spec` may be left out. `deep`: fields of fields too.
///
/// # Errors
/// There is no such kind or field; with the nearest.
pub fn explain(path: &str, deep: bool) -> Result<Explained, Unexplained> {
    let mut words = path.split('.').map(|word| word.trim_end_matches("[]")).filter(|word| !word.is_empty());
    let kind = kind(words.next().unwrap_or_default())?;
    let root = of_kind(kind);
    let way = Vec::new();
    let mut at = At { root: &root, kind, schema: &root, way, required: true, default: None, otherwise: "" };
    let mut words = words.peekable();
    // What everybody means by `machine.match` is `machine.spec.match`.
    if let Some(first) = words.peek()
        && properties(&root).is_some_and(|fields| !fields.contains_key(*first))
    {
        at = at.into_field("spec")?;
    }
    for word in words {
        at = at.into_field(word)?;
    }
    let mut explained = at.explained(if deep { 8 } else { 1 });
    // Of a kind itself, what people want to know are the fields of its spec: the head is the same everywhere.
    if at.way.is_empty() && !deep {
        explained.fields = at.clone().into_field("spec")?.explained(1).fields;
    }
    explained.example = example(kind, &at.way);
    Ok(explained)
}

fn kind(word: &str) -> Result<Kind, Unexplained> {
    let plain = word.to_ascii_lowercase();
    let same = |kind: &Kind| {
        let name = kind.as_str().to_ascii_lowercase();
        plain == name || plain == format!("{name}s") || plain == format!("{}ies", name.trim_end_matches('y'))
    };
    Kind::ALL.into_iter().find(same).ok_or_else(|| Unexplained {
        message: format!("there is no kind `{word}`"),
        hint: did_you_mean(word, Kind::ALL.iter().map(|kind| kind.as_str())),
    })
}

/// A place in a schema.
#[derive(Clone)]
struct At<'a> {
    root: &'a Value,
    kind: Kind,
    schema: &'a Value,
    way: Vec<String>,
    required: bool,
    default: Option<Value>,
    /// What is said of it where it has no words of its own.
    otherwise: &'a str,
}

/// A named field inside a place.
struct Field<'a> {
    name: &'a str,
    schema: &'a Value,
    required: bool,
    otherwise: &'a str,
}

impl<'a> At<'a> {
    /// Past references, nothing-or-this, lists: to where the fields are.
    fn inner(&self) -> &'a Value {
        let mut schema = resolved(self.root, self.schema);
        for _ in 0..16 {
            let next = schema.get("items").or_else(|| {
                let choices = schema.get("anyOf")?.as_array()?;
                let real = choices.iter().filter(|choice| choice.get("type").and_then(Value::as_str) != Some("null"));
                real.clone().next().filter(|_| real.count() == 1)
            });
            let next = next.or_else(|| schema.get("allOf")?.as_array()?.first());
            match next {
                Some(next) => schema = resolved(self.root, next),
                None => break,
            }
        }
        schema
    }

    /// Named fields: of an object, and of the maps that a choice has among its values.
    fn fields(&self) -> Vec<Field<'a>> {
        let inner = self.inner();
        let choices = inner.get("oneOf").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let mut fields = Vec::new();
        for schema in std::iter::once(inner).chain(choices) {
            let required = schema.get("required").and_then(Value::as_array);
            for (name, field) in properties(schema).into_iter().flatten() {
                let required = required.is_some_and(|names| names.iter().any(|known| known == name));
                // The one field of a choice is that choice.
                let said = schema.get("description").and_then(Value::as_str).filter(|_| !std::ptr::eq(schema, inner));
                fields.push(Field { name, schema: field, required, otherwise: said.unwrap_or_default() });
            }
        }
        fields
    }

    fn at(&self, field: &Field<'a>) -> At<'a> {
        let mut way = self.way.clone();
        way.push(field.name.to_owned());
        let Field { schema, required, otherwise, .. } = *field;
        At {
            root: self.root,
            kind: self.kind,
            schema,
            way,
            required,
            default: schema.get("default").cloned(),
            otherwise,
        }
    }

    fn into_field(self, name: &str) -> Result<At<'a>, Unexplained> {
        let fields = self.fields();
        let found = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        if let Some(field) = found {
            return Ok(self.at(field));
        }
        let mut way = self.way.clone();
        // A map takes any name.
        if let Some(schema) = self.inner().get("additionalProperties").filter(|schema| schema.is_object()) {
            way.push(name.to_owned());
            return Ok(At { schema, way, required: false, default: None, otherwise: "", ..self });
        }
        let shown = [self.kind.as_str()].into_iter().chain(self.way.iter().map(String::as_str)).collect::<Vec<_>>();
        Err(Unexplained {
            message: format!("{} has no field `{name}`", shown.join(".")),
            hint: did_you_mean(name, fields.iter().map(|field| field.name))
                .or_else(|| Some(format!("formwork explain {}", self.kind))),
        })
    }

    fn explained(&self, depth: usize) -> Explained {
        let target = resolved(self.root, self.schema);
        let text = |schema: &Value| schema.get("description").and_then(Value::as_str).map(str::to_owned);
        let description = text(self.schema).or_else(|| text(target)).unwrap_or_else(|| self.otherwise.to_owned());
        let below = if depth > 0 { self.fields() } else { Vec::new() };
        let fields = below.iter().map(|field| self.at(field).explained(depth - 1));
        Explained {
            kind: self.kind.to_string(),
            api_version: kinds::API_VERSION,
            field: self.way.join("."),
            type_name: type_name(self.root, self.schema),
            required: self.required,
            default: self.default.clone().filter(|default| !is_nothing(default)),
            allowed: allowed(self.inner()),
            pattern: target.get("pattern").and_then(Value::as_str).map(str::to_owned),
            description: one_paragraph(&description),
            fields: fields.collect(),
            example: None,
        }
    }
}

/// Not worth saying: nothing, or an empty list, map or text.
fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(is_nothing),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Comments are folded where their source is.
fn one_paragraph(text: &str) -> String {
    text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join("\n")
}

/// The values of an enumeration, with what each means.
fn allowed(schema: &Value) -> Vec<Allowed> {
    let description =
        |value: &Value| one_paragraph(value.get("description").and_then(Value::as_str).unwrap_or_default());
    let mut allowed = Vec::new();
    let mut words = |values: &Value| {
        for value in values.as_array().into_iter().flatten().filter_map(Value::as_str) {
            allowed.push(Allowed { value: value.to_owned(), description: String::new() });
        }
    };
    if let Some(values) = schema.get("enum") {
        words(values);
    }
    for choice in schema.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        if let Some(value) = choice.get("const").and_then(Value::as_str) {
            allowed.push(Allowed { value: value.to_owned(), description: description(choice) });
        } else if let Some(values) = choice.get("enum").and_then(Value::as_array) {
            for value in values.iter().filter_map(Value::as_str) {
                allowed.push(Allowed { value: value.to_owned(), description: description(choice) });
            }
        } else if let Some((name, _)) = properties(choice).and_then(|fields| fields.iter().next()) {
            allowed.push(Allowed { value: format!("{{{name}: …}}"), description: description(choice) });
        }
    }
    allowed
}

/// The type as people who write YAML say it.
fn type_name(root: &Value, schema: &Value) -> String {
    let schema = resolved(root, schema);
    if schema.as_bool() == Some(true) {
        return "anything".to_owned();
    }
    if schema.get("enum").is_some() || schema.get("const").is_some() {
        return "word".to_owned();
    }
    if let Some(choices) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
        let mut names: Vec<String> = choices.iter().map(|choice| type_name(root, choice)).collect();
        names.retain(|name| name != "nothing");
        names.dedup();
        return names.join(" or ");
    }
    if let Some(first) = schema.get("allOf").and_then(Value::as_array).and_then(|all| all.first()) {
        return type_name(root, first);
    }
    let types: Vec<&str> = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let format = schema.get("format").and_then(Value::as_str);
    match types.iter().find(|name| **name != "null").copied() {
        Some("string") if format == Some("ipv4") => "IPv4 address".to_owned(),
        Some("string") if schema.get("examples").is_some() => "length of time".to_owned(),
        Some("string") => "text".to_owned(),
        Some("integer") => "whole number".to_owned(),
        Some("number") => "number".to_owned(),
        Some("boolean") => "true or false".to_owned(),
        Some("array") => {
            format!("list of {}", schema.get("items").map_or("anything".into(), |items| type_name(root, items)))
        }
        Some("object") => match schema.get("additionalProperties") {
            Some(values) if properties(schema).is_none() && values.is_object() => {
                format!("map of {}", type_name(root, values))
            }
            Some(Value::Bool(true)) => "map of anything".to_owned(),
            _ => "map".to_owned(),
        },
        Some(_) => "nothing".to_owned(),
        None if types.contains(&"null") => "nothing".to_owned(),
        None => "anything".to_owned(),
    }
}

/// The kind's example, or the lines of it that hold a field.
fn example(kind: Kind, way: &[String]) -> Option<String> {
    let head = format!("\nkind: {kind}\n");
    let mut documents = EXAMPLES.iter().flat_map(|file| file.split("---\n")).filter(|text| text.contains(&head));
    if way.is_empty() {
        return documents.next().map(str::to_owned);
    }
    documents.find_map(|text| {
        let document: Value = serde_yaml::from_str(text).ok()?;
        let value = find(&document, way)?;
        // Written again, so that it stands alone whatever is around it.
        let name = way.last()?;
        let mut map = serde_json::Map::new();
        map.insert(name.clone(), value.clone());
        serde_yaml::to_string(&map).ok()
    })
}

fn find<'a>(value: &'a Value, way: &[String]) -> Option<&'a Value> {
    let Some((first, rest)) = way.split_first() else { return Some(value) };
    match value {
        Value::Object(map) => find(map.get(first)?, rest),
        Value::Array(items) => items.iter().find_map(|item| find(item, way)),
        _ => None,
    }
}
