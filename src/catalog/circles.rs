//! JSON Schemas that refer to themselves with nothing on the way that a value could end at: whoever asks them about a value never
//! comes to an answer. A circle by way of `properties` or `items` is sound, since each turn needs a smaller part of the value.
//! And schemas that come to one part of a value in so many ways that nobody waits for the answer: twenty definitions, each of which
//! refers to the next one twice, ask a million times.

use crate::content::Step;
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::rc::Rc;

/// Keywords that hold schemas for the same value.
const SAME_LISTS: [&str; 3] = ["allOf", "anyOf", "oneOf"];
const SAME_ONES: [&str; 4] = ["not", "if", "then", "else"];
/// Keywords that hold schemas for parts of the value, or for nothing until they are referred to.
const PART_MAPS: [&str; 4] = ["properties", "patternProperties", "definitions", "$defs"];
/// Those of them that nobody asks by themselves.
const DEFINITIONS: [&str; 2] = ["definitions", "$defs"];
const PART_ONES: [&str; 5] = ["items", "additionalItems", "additionalProperties", "propertyNames", "contains"];

/// A step of the way from the schema to a part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// A field.
    Key(String),
    /// An item of a list.
    Item(usize),
}

impl Part {
    /// As a step in a document.
    pub(super) fn step(&self) -> Step<'_> {
        match self {
            Self::Key(key) => Step::Key(key),
            Self::Item(index) => Step::Item(*index),
        }
    }
}

/// Where a circle is entered, and which references it goes through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Circle {
    /// The way to its first `$ref`.
    pub path: Vec<Part>,
    /// Its references, as written, in order.
    pub references: Vec<String>,
}

/// In how many ways one part of a value is asked about, at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ways {
    /// So many, up to where a schema comes to itself again.
    pub most: u64,
    /// One does: each level of a value has as many ways for each of the level above.
    pub again: bool,
    /// How many schemas are in it.
    pub schemas: usize,
}

impl Ways {
    /// In how many a part of a value is asked about that nests so deep.
    pub fn at(self, depth: u32) -> u64 {
        if self.again { self.most.saturating_pow(depth.saturating_add(1)) } else { self.most }
    }
}

/// One schema inside the schema.
struct Node<'a> {
    schema: &'a Value,
    /// What a reference that begins with `#` is seen from.
    base: Place<'a>,
    path: Vec<Part>,
    /// Schemas that are asked about the same value, each with the reference that leads there.
    next: Vec<(usize, Option<&'a str>)>,
    /// Schemas that are asked about parts of it.
    parts: Vec<usize>,
}

/// A schema and the way to it.
type Place<'a> = (&'a Value, Rc<Vec<Part>>);

/// All schemas that can be come to, each once.
struct Found<'a> {
    nodes: Vec<Node<'a>>,
    known: HashMap<*const Value, usize>,
    /// Schemas by their `$id`, and by the last part of it.
    named: HashMap<&'a str, Place<'a>>,
}

impl<'a> Found<'a> {
    fn add(&mut self, schema: &'a Value, base: &Place<'a>, path: Vec<Part>) -> usize {
        *self.known.entry(std::ptr::from_ref(schema)).or_insert_with(|| {
            self.nodes.push(Node { schema, base: base.clone(), path, next: Vec::new(), parts: Vec::new() });
            self.nodes.len() - 1
        })
    }

    /// Remembers what has a name.
    fn name(&mut self, schema: &'a Value, path: &mut Vec<Part>) {
        match schema {
            Value::Object(map) => {
                if let Some(id) = map.get("$id").and_then(Value::as_str) {
                    let place = (schema, Rc::new(path.clone()));
                    let whole = id.strip_suffix('#').unwrap_or(id);
                    let last = whole.rsplit('/').next().unwrap_or(whole);
                    self.named.entry(last).or_insert_with(|| place.clone());
                    self.named.entry(whole).or_insert(place);
                }
                for (key, part) in map {
                    path.push(Part::Key(key.clone()));
                    self.name(part, path);
                    path.pop();
                }
            }
            Value::Array(items) => {
                for (index, part) in items.iter().enumerate() {
                    path.push(Part::Item(index));
                    self.name(part, path);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    /// The schema that a reference leads to, and what references in it are seen from. None: it leads out, or nowhere, which
    /// whoever compiles the schema says.
    fn target(&self, base: &Place<'a>, reference: &str) -> Option<(Place<'a>, Place<'a>)> {
        let (document, fragment) = reference.split_once('#').unwrap_or((reference, ""));
        let base = if document.is_empty() { base.clone() } else { self.named.get(document)?.clone() };
        if !fragment.is_empty() && !fragment.starts_with('/') {
            let anchor = self.named.get(format!("#{fragment}").as_str())?.clone();
            return Some((anchor, base));
        }
        let (mut to, mut path) = (base.0, base.1.to_vec());
        for part in fragment.split('/').skip(1) {
            let part = decoded(part).replace("~1", "/").replace("~0", "~");
            match to {
                Value::Object(map) => {
                    to = map.get(&part)?;
                    path.push(Part::Key(part));
                }
                Value::Array(items) => {
                    let index = part.parse().ok()?;
                    to = items.get(index)?;
                    path.push(Part::Item(index));
                }
                _ => return None,
            }
        }
        Some(((to, Rc::new(path)), base))
    }
}

/// The part of a URL's fragment as it is meant.
fn decoded(part: &str) -> String {
    let bytes = part.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let code =
            part.get(at + 1..at + 3).filter(|_| *byte == b'%').and_then(|code| u8::from_str_radix(code, 16).ok());
        out.push(code.unwrap_or(*byte));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The first circle of a schema that no value ends; else in how many ways it asks.
pub(super) fn circle(schema: &Value) -> Result<Ways, Circle> {
    let mut found = Found { nodes: Vec::new(), known: HashMap::new(), named: HashMap::new() };
    found.name(schema, &mut Vec::new());
    found.add(schema, &(schema, Rc::default()), Vec::new());
    let mut at = 0;
    while at < found.nodes.len() {
        look(&mut found, at);
        at += 1;
    }
    match walk(&found.nodes) {
        Some(circle) => Err(circle),
        None => Ok(ways(&found.nodes)),
    }
}

/// Finds what stands in one schema.
fn look(found: &mut Found<'_>, at: usize) {
    // Taken apart first: what is found is put into the same list.
    let Some(Node { schema, base, path, .. }) = found.nodes.get(at) else { return };
    let (schema, base, path) = (*schema, base.clone(), path.clone());
    let Value::Object(map) = schema else { return };
    let below = |parts: &[Part]| path.iter().chain(parts).cloned().collect::<Vec<_>>();
    let key = |word: &str| Part::Key(word.to_owned());
    let (mut next, mut inner) = (Vec::new(), Vec::new());
    // In draft-07 nothing that stands beside a reference is asked, and no `$id` beside it changes where it is seen from; what
    // stands there can be referred to all the same.
    if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
        if let Some(((target, way), base)) = found.target(&base, reference) {
            next.push((found.add(target, &base, way.to_vec()), Some(reference)));
        }
        parts(found, map, &base, &below);
    } else {
        let named = |id: &Value| id.as_str().is_some_and(|id| !id.starts_with('#'));
        let base = if map.get("$id").is_some_and(named) { (schema, Rc::new(path.clone())) } else { base };
        for word in SAME_LISTS {
            for (index, part) in map.get(word).and_then(Value::as_array).into_iter().flatten().enumerate() {
                next.push((found.add(part, &base, below(&[key(word), Part::Item(index)])), None));
            }
        }
        for word in SAME_ONES {
            if let Some(part) = map.get(word) {
                next.push((found.add(part, &base, below(&[key(word)])), None));
            }
        }
        let dependencies = map.get("dependencies").and_then(Value::as_object).into_iter().flatten();
        for (name, part) in dependencies.filter(|(_, part)| !part.is_array()) {
            next.push((found.add(part, &base, below(&[key("dependencies"), key(name)])), None));
        }
        inner = parts(found, map, &base, &below);
    }
    if let Some(node) = found.nodes.get_mut(at) {
        (node.next, node.parts) = (next, inner);
    }
}

/// Finds the schemas for parts of the value, and those that only wait to be referred to; which are asked.
fn parts<'a>(
    found: &mut Found<'a>,
    map: &'a Map<String, Value>,
    base: &Place<'a>,
    below: &dyn Fn(&[Part]) -> Vec<Part>,
) -> Vec<usize> {
    let key = |word: &str| Part::Key(word.to_owned());
    let mut asked = Vec::new();
    for word in PART_MAPS {
        for (name, part) in map.get(word).and_then(Value::as_object).into_iter().flatten() {
            let part = found.add(part, base, below(&[key(word), key(name)]));
            if !DEFINITIONS.contains(&word) {
                asked.push(part);
            }
        }
    }
    for word in PART_ONES {
        match map.get(word) {
            Some(Value::Array(items)) => {
                for (index, part) in items.iter().enumerate() {
                    asked.push(found.add(part, base, below(&[key(word), Part::Item(index)])));
                }
            }
            Some(part) => asked.push(found.add(part, base, below(&[key(word)]))),
            None => {}
        }
    }
    asked
}

/// Counts the ways, without recursion. Of several parts the one with the most counts: they are parts of their own.
fn ways(nodes: &[Node<'_>]) -> Ways {
    let mut known: Vec<Option<u64>> = vec![None; nodes.len()];
    let mut open = vec![false; nodes.len()];
    let mut all = Ways { most: 1, again: false, schemas: nodes.len() };
    for start in 0..nodes.len() {
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((at, turn)) = way.last_mut() {
            let here = *at;
            let Some(node) = nodes.get(here).filter(|_| known.get(here) == Some(&None)) else {
                way.pop();
                continue;
            };
            let same = node.next.get(*turn).map(|(to, _)| *to);
            let after = same.or_else(|| node.parts.get(turn.checked_sub(node.next.len())?).copied());
            let Some(to) = after else {
                // What is open is come to again: that turn is counted by whoever knows how deep a value is.
                let of = |to: usize| known.get(to).copied().flatten().unwrap_or(1);
                let same = node.next.iter().fold(0_u64, |sum, (to, _)| sum.saturating_add(of(*to)));
                let part = node.parts.iter().map(|to| of(*to)).max().unwrap_or(0);
                let count = same.saturating_add(part).max(1);
                all.most = all.most.max(count);
                if let Some(known) = known.get_mut(here) {
                    *known = Some(count);
                }
                set(&mut open, here, false);
                way.pop();
                continue;
            };
            *turn += 1;
            set(&mut open, here, true);
            if open.get(to) == Some(&true) {
                all.again = true;
            } else {
                way.push((to, 0));
            }
        }
    }
    all
}

/// Looks for a circle along `next`, without recursion: a chain of references may be as long as a file.
fn walk(nodes: &[Node<'_>]) -> Option<Circle> {
    let mut done = vec![false; nodes.len()];
    let mut open = vec![false; nodes.len()];
    for start in 0..nodes.len() {
        // Where one is, and which of its ways come next.
        let mut way: Vec<(usize, usize)> = vec![(start, 0)];
        while let Some((at, turn)) = way.last_mut() {
            let (here, taken) = (*at, *turn);
            let after = nodes.get(here).and_then(|node| node.next.get(taken));
            let Some((to, _)) = after.filter(|_| done.get(here) == Some(&false)) else {
                way.pop();
                set(&mut open, here, false);
                set(&mut done, here, true);
                continue;
            };
            *turn += 1;
            set(&mut open, here, true);
            if open.get(*to) == Some(&true) {
                let first = way.iter().position(|(node, _)| node == to).unwrap_or(0);
                return Some(told(nodes, way.get(first..).unwrap_or_default()));
            }
            way.push((*to, 0));
        }
    }
    None
}

fn set(of: &mut [bool], at: usize, to: bool) {
    if let Some(of) = of.get_mut(at) {
        *of = to;
    }
}

/// What is told of a circle; each of its nodes with the number of ways taken from it.
fn told(nodes: &[Node<'_>], way: &[(usize, usize)]) -> Circle {
    let references = way.iter().filter_map(|(at, turn)| {
        let node = nodes.get(*at)?;
        Some((node, node.next.get(turn.checked_sub(1)?)?.1?))
    });
    let references: Vec<_> = references.collect();
    let mut path = references.first().map(|(node, _)| node.path.clone()).unwrap_or_default();
    path.push(Part::Key("$ref".to_owned()));
    Circle { path, references: references.into_iter().map(|(_, reference)| reference.to_owned()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_circle_is_found_where_no_value_ends_it_and_nowhere_else() {
        for (schema, expected) in [
            (json!({"$ref": "#"}), Some(("$ref", "#"))),
            (
                json!({"definitions": {"a": {"$ref": "#/definitions/b"}, "b": {"$ref": "#/definitions/a"}}, "type": "string"}),
                Some(("definitions.a.$ref", "#/definitions/b #/definitions/a")),
            ),
            (
                json!({"$ref": "#/definitions/a~1x", "definitions": {"a/x": {"allOf": [{"type": "string"}, {"$ref": "#/definitions/a~1x"}]}}}),
                Some(("definitions.a/x.allOf.1.$ref", "#/definitions/a~1x")),
            ),
            (json!({"not": {"if": {"$ref": "#"}}}), Some(("not.if.$ref", "#"))),
            (json!({"dependencies": {"a": {"$ref": "#"}}}), Some(("dependencies.a.$ref", "#"))),
            (json!({"properties": {"x": {"$id": "#x", "$ref": "#"}, "y": {"$ref": "#"}}}), None),
            (
                json!({"definitions": {"x": {"$id": "#x", "allOf": [{"$ref": "#x"}]}}}),
                Some(("definitions.x.allOf.0.$ref", "#x")),
            ),
            (
                json!({"definitions": {"x": {"$id": "http://h/x", "allOf": [{"$ref": "x"}]}}}),
                Some(("definitions.x.allOf.0.$ref", "x")),
            ),
            // Each turn takes a part of the value.
            (json!({"properties": {"next": {"$ref": "#"}}}), None),
            (json!({"items": {"$ref": "#"}}), None),
            (json!({"anyOf": [{"type": "string"}, {"items": {"$ref": "#"}}]}), None),
            // Two ways to one schema are no circle.
            (
                json!({"allOf": [{"$ref": "#/definitions/a"}, {"$ref": "#/definitions/a"}], "definitions": {"a": true}}),
                None,
            ),
            // Values that look like schemas, and references that lead nowhere.
            (json!({"const": {"$ref": "#/const"}}), None),
            (json!({"$ref": "#/nowhere"}), None),
            (json!({"$ref": "http://elsewhere/x"}), None),
        ] {
            let found = circle(&schema).err().map(|circle| {
                let path = circle.path.iter().map(|part| match part {
                    Part::Key(key) => key.clone(),
                    Part::Item(index) => index.to_string(),
                });
                (path.collect::<Vec<_>>().join("."), circle.references.join(" "))
            });
            let expected = expected.map(|(path, references)| (path.to_owned(), references.to_owned()));
            assert_eq!(found, expected, "{schema}");
        }
    }

    #[test]
    fn a_long_chain_of_references_overflows_nothing() {
        let most = 20_000;
        let chain = |last: &str| {
            let name = |number: usize| format!("#/definitions/{number}");
            let mut definitions: Map<_, _> =
                (0..most).map(|number| (number.to_string(), json!({"$ref": name(number + 1)}))).collect();
            definitions.insert(most.to_string(), json!({"$ref": last}));
            json!({ "definitions": definitions })
        };
        assert_eq!(circle(&chain("#/definitions/0")).unwrap_err().references.len(), most + 1);
        assert_eq!(circle(&chain("http://elsewhere/x")), Ok(Ways { most: 1, again: false, schemas: most + 2 }));
    }

    #[test]
    fn ways_to_one_part_of_a_value_are_counted() {
        let doubled = |number: usize, last: Value| {
            let twice = |name: usize| json!({"$ref": format!("#/definitions/{name}")});
            let mut definitions: Map<_, _> = (0..number)
                .map(|name| (name.to_string(), json!({"allOf": [twice(name + 1), twice(name + 1)]})))
                .collect();
            definitions.insert(number.to_string(), last);
            json!({"$ref": "#/definitions/0", "definitions": definitions})
        };
        for (schema, most, again) in [
            (json!({"type": "string"}), 1, false),
            (json!({"properties": {"a": {"type": "string"}, "b": {"items": {"type": "string"}}}}), 1, false),
            (json!({"dependencies": {"a": ["b"], "b": ["a"]}}), 1, false),
            (json!({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}), 3, false),
            (doubled(10, json!({"type": "string"})), 1 << 10, false),
            (doubled(90, json!({"type": "string"})), u64::MAX, false),
            // A list of lists has one way to each; a tree that is looked for twice has two at each level.
            (json!({"properties": {"next": {"$ref": "#"}}}), 1, true),
            (json!({"properties": {"x": {"anyOf": [{"$ref": "#"}, {"$ref": "#"}]}}}), 2, true),
        ] {
            let found = circle(&schema).map(|ways| (ways.most, ways.again));
            assert_eq!(found, Ok((most, again)), "{schema}");
        }
        for (most, again, depth, expected) in [(2, true, 9, 1024), (1, true, 64, 1), (7, false, 64, 7)] {
            assert_eq!(Ways { most, again, schemas: 1 }.at(depth), expected);
        }
    }
}
