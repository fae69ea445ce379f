//! What is said of a value of the wrong type, in words for people who write YAML, and what to write instead.

use crate::content::slips;

/// What to write instead, where YAML has taken a word for something else than what was meant.
pub(super) fn remedy(said: &str, field: &str) -> Option<String> {
    const LENGTHS_OF_TIME: [&str; 8] =
        ["timeout", "bootTimeout", "leaseTime", "ttl", "backoff", "interval", "after", "within"];
    const DIGITS: [&str; 5] = ["anchor", "signers", "principal", "commit", "tag"];
    let written = said.split('`').nth(1).unwrap_or_default();
    let text = said.strip_prefix("invalid type: string \"").and_then(|rest| rest.split_once("\", expected "));
    if let Some((text, expected)) = text
        && ["struct ", "a map", "a sequence"].iter().any(|word| expected.starts_with(word))
        && let Some((key, value)) = slips::key_without_space(text)
    {
        return Some(format!("behind the `:` of a key stands a space: `{key}: {value}`"));
    }
    if let Some(remedy) = remedy_of_shape(said, field, text.map(|(text, _)| text)) {
        return Some(remedy);
    }
    if said.contains("expected a boolean") {
        return Some("write `true` or `false`, without quotes".to_owned());
    }
    if said.contains("IPv4") {
        return Some("four numbers with dots between, such as `10.77.0.11`".to_owned());
    }
    if !said.contains("expected a string") || written.is_empty() {
        return None;
    }
    Some(if matches!(field, "macs" | "macPrefixes") {
        format!("what stands there is a number to YAML, {written}: put the address in quotes, `\"52:54:00:00:00:01\"`")
    } else if LENGTHS_OF_TIME.contains(&field) {
        format!("a length of time has a unit: `{written}s`, `{written}m`")
    } else if field == "mode" {
        format!("the mode of a file stands in quotes, as octal digits: `\"{written:0>4}\"`")
    } else {
        // Of a key or commit of digits alone the number is another text: without its first zeros, or its last digits.
        let is_as_written = !DIGITS.contains(&field) && written.len() < 16;
        match is_as_written {
            true => format!("put it in quotes: `\"{written}\"`"),
            false => "put what is written there in quotes: without them it is a number to YAML".to_owned(),
        }
    })
}

/// What to write where a list, a map and a single text were taken for each other; `text` is the text that stands there.
fn remedy_of_shape(said: &str, field: &str, text: Option<&str>) -> Option<String> {
    Some(match (text, field) {
        (Some(name), "params") if said.ends_with("expected struct TaskParam") => {
            format!("a task says of each param that it uses: `{{name: {name}}}`, and `required: true` where it needs it")
        }
        (None, "params") if said.contains("map, expected a sequence") => {
            "a task lists the params that it uses: `params: [{name: …}]`; who gives them values are machines, profiles, \
             clusters and stages"
                .to_owned()
        }
        (None, "params") if said.contains("sequence, expected a map") => {
            "params are a map of names and values: `params: {NAME: VALUE}`".to_owned()
        }
        (Some(text), _) if said.ends_with("expected a sequence") => format!("a list of one is `{field}: [{text}]`"),
        _ => return None,
    })
}

/// The reader's words for people who write YAML, not Rust.
pub(super) fn plain(said: &str) -> String {
    let mut said = said.replace("invalid type: ", "").replace("invalid value: ", "");
    for (word, plain) in [
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected u32", "expected a whole number, 0 or more"),
        ("expected i32", "expected a whole number"),
        ("expected struct ", "expected a map: "),
        ("expected a sequence", "expected a list"),
        ("expected a boolean", "expected true or false"),
        ("map, expected a string", "a map, expected text"),
        ("sequence, expected a string", "a list, expected text"),
        ("expected a string", "expected text"),
    ] {
        said = said.replace(word, plain);
    }
    said
}
