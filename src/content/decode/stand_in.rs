//! Something in the place of a field that is missing or of the wrong type, so that what else is wrong beside it is found as well. It
//! is never used.

use super::{Trouble, Way};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// Puts something there. False: nothing that says nothing itself is of its type, and all is as it was.
pub(super) fn stand_in<T: DeserializeOwned>(value: &mut Value, way: &[Way], field: &str) -> bool {
    let nothings = [
        Value::from(""),
        Value::from(0),
        Value::from(1),
        Value::Bool(false),
        Value::from("1s"),
        Value::from("0.0.0.0"),
        Value::Array(Vec::new()),
        Value::Object(Map::new()),
    ];
    for nothing in nothings {
        let Some(map) = map_at(value, way) else { return false };
        map.insert(field.to_owned(), nothing);
        if fits::<T>(value, way, field) {
            return true;
        }
    }
    if let Some(map) = map_at(value, way) {
        map.shift_remove(field);
    }
    false
}

/// Whether what is wrong next, if anything, has nothing to do with what stands in: neither it nor what is around it is blamed.
/// That another field is missing there is news.
fn fits<T: DeserializeOwned>(value: &Value, way: &[Way], field: &str) -> bool {
    let Err(error) = serde_path_to_error::deserialize::<_, T>(value) else { return true };
    let at: Vec<Way> = error.path().iter().filter_map(Way::from_segment).collect();
    let trouble = Trouble::of(&error.inner().to_string());
    let whole: Vec<Way> = way.iter().cloned().chain([Way::Key(field.to_owned())]).collect();
    match trouble.missing() {
        Some(other) if at == way => other != field,
        _ => !at.starts_with(&whole) && !whole.starts_with(&at),
    }
}

pub(super) fn map_at<'a>(value: &'a mut Value, way: &[Way]) -> Option<&'a mut Map<String, Value>> {
    at(value, way)?.as_object_mut()
}

/// The value that a way leads to.
pub(super) fn at<'a>(value: &'a mut Value, way: &[Way]) -> Option<&'a mut Value> {
    let mut inner = value;
    for step in way {
        inner = match (step, inner) {
            (Way::Key(key), Value::Object(map)) => map.get_mut(key)?,
            (Way::Item(item), Value::Array(items)) => items.get_mut(*item)?,
            _ => return None,
        };
    }
    Some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::StrictFile;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[serde(rename = "count")]
        _count: u32,
        #[serde(rename = "kind")]
        _kind: Kind,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        A,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[serde(rename = "name")]
        _name: String,
        #[serde(rename = "list")]
        _list: Vec<String>,
        #[serde(rename = "inner")]
        _inner: Inner,
    }

    #[test]
    fn what_stands_in_is_of_the_type_and_nothing_stands_in_for_what_says_something() {
        let inner = [Way::Key("inner".to_owned())];
        for (before, way, field, expected) in [
            (json!({"inner": {"count": 1, "kind": "a"}}), &[][..], "name", Some(json!(""))),
            (json!({"name": "x", "inner": {"count": 1, "kind": "a"}}), &[], "list", Some(json!([]))),
            (json!({"inner": {}}), &inner, "count", Some(json!(0))),
            // A word of several, and a map that wants fields itself.
            (json!({"inner": {"count": 1}}), &inner, "kind", None),
            (json!({"name": "x", "list": []}), &[], "inner", None),
        ] {
            let mut value = before.clone();
            assert_eq!(stand_in::<Outer>(&mut value, way, field), expected.is_some(), "{before}");
            let found = map_at(&mut value, way).and_then(|map| map.get(field).cloned());
            assert_eq!(found, expected, "{before}");
            assert!(expected.is_some() || value == before, "{value}");
        }
    }

    #[test]
    fn all_that_is_missing_and_wrong_in_one_document_is_told_at_once() {
        let mut file = StrictFile::new("x.yaml");
        let read: Outer = file.read(b"inner: {size: 1}\nnmae: x\nlist: y\n");
        let findings = file.finish(read).expect_err("findings").to_string();
        let told: Vec<&str> = findings.lines().filter(|line| line.contains("error:")).collect();
        let expected = [
            "x.yaml:1:1: error: name is missing",
            "x.yaml:1:8: error: inner.count is missing",
            "x.yaml:1:8: error: inner.kind is missing",
            "x.yaml:1:9: error: unknown field `size`",
            "x.yaml:2:1: error: unknown field `nmae`",
            "x.yaml:3:7: error: list: string \"y\", expected a list",
        ];
        assert_eq!(told, expected);
    }
}
