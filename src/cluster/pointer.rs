//! JSON Pointer (RFC 6901) and what JSON Patch (RFC 6902) does at one.

use serde_json::Value;

/// The unescaped tokens of a pointer.
pub(super) type Pointer = Vec<String>;

/// Reads a pointer; the empty one is the whole document.
pub(super) fn parse(text: &str) -> Option<Pointer> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.strip_prefix('/')?.split('/').map(unescape).collect()
}

/// Writes a pointer.
pub(super) fn text(pointer: &[String]) -> String {
    pointer.iter().map(|token| format!("/{}", token.replace('~', "~0").replace('/', "~1"))).collect()
}

fn unescape(token: &str) -> Option<String> {
    let mut out = String::with_capacity(token.len());
    let mut characters = token.chars();
    while let Some(character) = characters.next() {
        match character {
            '~' => match characters.next()? {
                '0' => out.push('~'),
                '1' => out.push('/'),
                _ => return None,
            },
            other => out.push(other),
        }
    }
    Some(out)
}

/// An index into a list: digits without a leading zero.
fn index(token: &str) -> Option<usize> {
    let plain = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    plain.then(|| token.parse().ok()).flatten()
}

/// What is there.
pub(super) fn get<'a>(root: &'a Value, pointer: &[String]) -> Option<&'a Value> {
    pointer.iter().try_fold(root, |at, token| match at {
        Value::Object(object) => object.get(token),
        Value::Array(list) => list.get(index(token)?),
        _ => None,
    })
}

/// The same, to change.
pub(super) fn get_mut<'a>(root: &'a mut Value, pointer: &[String]) -> Option<&'a mut Value> {
    pointer.iter().try_fold(root, |at, token| match at {
        Value::Object(object) => object.get_mut(token),
        Value::Array(list) => list.get_mut(index(token)?),
        _ => None,
    })
}

/// `add` (RFC 6902, section 4.1): a member is put or replaced, an element is inserted (`-`: at the end).
pub(super) fn add(root: &mut Value, pointer: &[String], value: Value) -> Result<(), ()> {
    let Some((last, parents)) = pointer.split_last() else {
        *root = value;
        return Ok(());
    };
    match get_mut(root, parents).ok_or(())? {
        Value::Object(object) => {
            object.insert(last.clone(), value);
            Ok(())
        }
        Value::Array(list) => {
            let at = if last == "-" { list.len() } else { index(last).ok_or(())? };
            if at > list.len() {
                return Err(());
            }
            list.insert(at, value);
            Ok(())
        }
        _ => Err(()),
    }
}

/// `remove` (section 4.2): what was there.
pub(super) fn remove(root: &mut Value, pointer: &[String]) -> Result<Value, ()> {
    let (last, parents) = pointer.split_last().ok_or(())?;
    match get_mut(root, parents).ok_or(())? {
        Value::Object(object) => object.shift_remove(last).ok_or(()),
        Value::Array(list) => {
            let at = index(last).filter(|at| *at < list.len()).ok_or(())?;
            Ok(list.remove(at))
        }
        _ => Err(()),
    }
}

/// Equality as `test` has it (section 4.6): numbers by their value, objects whatever their order.
pub(super) fn equal(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Number(one), Value::Number(two)) => {
            one == two || (one.as_f64() == two.as_f64() && (one.is_f64() || two.is_f64()))
        }
        (Value::Array(one), Value::Array(two)) => {
            one.len() == two.len() && one.iter().zip(two).all(|(one, two)| equal(one, two))
        }
        (Value::Object(one), Value::Object(two)) => {
            one.len() == two.len() && one.iter().all(|(name, one)| two.get(name).is_some_and(|two| equal(one, two)))
        }
        _ => one == two,
    }
}

#[cfg(test)]
mod tests {
    use super::{add, equal, get, parse, remove, text};
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn pointers_are_rfc_6901s() {
        let document = json!({"foo": ["bar", "baz"], "": 0, "a/b": 1, "m~n": 8});
        for (pointer, expected) in [
            ("", document.clone()),
            ("/foo", json!(["bar", "baz"])),
            ("/foo/0", json!("bar")),
            ("/", json!(0)),
            ("/a~1b", json!(1)),
            ("/m~0n", json!(8)),
        ] {
            assert_eq!(get(&document, &parse(pointer).expect(pointer)), Some(&expected), "{pointer}");
        }
        assert!(parse("foo").is_none() && parse("/a~2").is_none() && parse("/a~").is_none());
        assert_eq!(get(&document, &parse("/foo/01").expect("pointer")), None);
    }

    #[test]
    fn add_and_remove_are_rfc_6902s() {
        let mut document = json!({"foo": ["bar"]});
        let at = |text| parse(text).expect("pointer");
        assert!(add(&mut document, &at("/foo/0"), json!("first")).is_ok());
        assert!(add(&mut document, &at("/foo/-"), json!("last")).is_ok());
        assert_eq!(document, json!({"foo": ["first", "bar", "last"]}));
        assert!(add(&mut document, &at("/foo/9"), json!(0)).is_err());
        assert!(add(&mut document, &at("/no/where"), json!(0)).is_err());
        assert_eq!(remove(&mut document, &at("/foo/1")), Ok(json!("bar")));
        assert!(remove(&mut document, &at("/foo/-")).is_err());
        assert!(equal(&json!({"a": 1, "b": [1.0]}), &json!({"b": [1], "a": 1.0})));
        assert!(!equal(&json!(u64::MAX), &json!(u64::MAX - 1)));
    }

    proptest! {
        #[test]
        fn a_pointer_written_is_the_pointer_read(tokens in proptest::collection::vec("[a-z~/0-9]{0,4}", 0..5)) {
            prop_assert_eq!(parse(&text(&tokens)), Some(tokens));
        }
    }
}
