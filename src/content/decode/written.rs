//! How a field that is missing is written, told from the schema of the types that read it.

use super::super::explain::explain;
use super::Kind;
use super::Way;

/// What to write for a field of a spec; of what is no spec of a kind only the field's name is known.
pub(super) fn hint(kind: Option<Kind>, way: &[Way], field: &str) -> String {
    let explained = kind.and_then(|kind| {
        let keys = way.iter().filter_map(|step| match step {
            Way::Key(key) => Some(key.as_str()),
            Way::Item(_) => None,
        });
        let path: Vec<&str> = [kind.as_str(), "spec"].into_iter().chain(keys).collect();
        explain(&path.join("."), false).ok()
    });
    let Some(explained) = explained else { return format!("write `{field}: …` there") };
    let words: Vec<String> = explained.allowed.iter().map(|allowed| format!("`{}`", allowed.value)).collect();
    let what = if words.is_empty() { explained.type_name } else { format!("one of {}", words.join(", ")) };
    match explained.description.trim_end_matches('.') {
        "" => format!("write `{field}: …` there, {what}"),
        description => format!("write `{field}: …` there, {what}: {description}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_told_with_its_type_its_words_and_what_it_is() {
        let key = |key: &str| Way::Key(key.to_owned());
        for (kind, way, expected) in [
            (
                Some(Kind::Task),
                vec![key("params"), Way::Item(2), key("name")],
                "write `name: …` there, text: The param's name",
            ),
            (
                Some(Kind::BootEnv),
                vec![key("architectures"), key("x86_64"), key("kernel")],
                "write `kernel: …` there, map: The kernel",
            ),
            // Another kind of file, and a key with a dot in it.
            (None, vec![key("name")], "write `name: …` there"),
            (Some(Kind::Task), vec![key("a.b"), key("name")], "write `name: …` there"),
        ] {
            let Some(Way::Key(field)) = way.last() else { panic!("a field") };
            assert_eq!(hint(kind, &way, field), expected);
        }
    }
}
