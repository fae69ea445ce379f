//! Text of others (names of files, commits, what machines report) as it can be shown: what a terminal would obey is an escape
//! that people see, such as `\u{1b}`. Pure; whatever prints text goes through here.

use serde_json::Value;
use std::borrow::Cow;
use std::fmt::Write as _;

/// A character that steers a terminal or turns text around, and is no text: C0, DEL and C1 (ECMA-48, 5.3 and 5.6), the separators
/// of lines and paragraphs, and the marks that change the direction (Unicode Standard Annex 9, 2).
pub fn steers(c: char) -> bool {
    let direction =
        matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || direction || matches!(c, '\u{2028}' | '\u{2029}')
}

/// Text of several lines: line ends and tabs stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    shown(text, |c| steers(c) && c != '\n' && c != '\t')
}

/// Text that has to stay on its line: a line end is an escape, too.
pub fn line(text: &str) -> Cow<'_, str> {
    shown(text, steers)
}

/// Lines that were drawn here: the weights and colours that drawing uses stay (ECMA-48, 8.3.117), and no other command.
pub fn drawn(text: &str) -> Cow<'_, str> {
    if !text.contains('\u{1b}') {
        return lines(text);
    }
    let mut out = String::with_capacity(text.len());
    for (at, part) in text.split('\u{1b}').enumerate() {
        match style(part) {
            _ if at == 0 => out.push_str(&lines(part)),
            Some((style, rest)) => {
                out.push('\u{1b}');
                out.push_str(style);
                out.push_str(&lines(rest));
            }
            None => {
                out.push_str("\\u{1b}");
                out.push_str(&lines(part));
            }
        }
    }
    Cow::Owned(out)
}

/// A document in JSON: what its writer leaves as it is (RFC 8259, 7, asks for C0 alone) is an escape of JSON's, and reads back as
/// the same value.
pub fn json(document: &str) -> Cow<'_, str> {
    let hidden = |c: char| steers(c) && !c.is_ascii_whitespace();
    if !document.chars().any(hidden) {
        return Cow::Borrowed(document);
    }
    let mut out = String::with_capacity(document.len() + 16);
    for c in document.chars() {
        if hidden(c) {
            // All of them are in the plane of four digits.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    Cow::Owned(out)
}

/// A document in YAML that reads back as the same value. Its writer leaves direction marks as they are, and escapes there are in
/// double quotes alone: a text with something that steers is written as the string of JSON that it is in YAML, too.
///
/// # Errors
/// What the writer says.
pub fn yaml(value: &Value) -> Result<String, serde_yaml::Error> {
    let written = serde_yaml::to_string(value)?;
    let steering = |text: &str| text.chars().any(|c| steers(c) && c != '\n' && c != '\t');
    let plain = value.to_string();
    if !steering(&written) && !steering(&plain) {
        return Ok(written);
    }
    // Such texts are marked by words that are nowhere else, and put in where these were written.
    let mark = (0..).map(|number| format!("escaped-{number}-")).find(|mark| !plain.contains(mark.as_str()));
    let mut marked = Marked { mark: mark.unwrap_or_default(), texts: Vec::new() };
    let mut written = serde_yaml::to_string(&marked.value(value, &steering))?;
    for (at, text) in marked.texts.iter().enumerate() {
        let quoted = Value::from(text.as_str()).to_string();
        written = written.replace(&marked.word(at), &json(&quoted));
    }
    Ok(written)
}

/// Texts that were taken out of a document, and the word that stands for each.
struct Marked {
    mark: String,
    texts: Vec<String>,
}

impl Marked {
    fn word(&self, at: usize) -> String {
        format!("{}{at}-", self.mark)
    }

    fn text(&mut self, text: &str, steering: &impl Fn(&str) -> bool) -> String {
        if !steering(text) {
            return text.to_owned();
        }
        self.texts.push(text.to_owned());
        self.word(self.texts.len() - 1)
    }

    fn value(&mut self, value: &Value, steering: &impl Fn(&str) -> bool) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text, steering)),
            Value::Array(items) => items.iter().map(|item| self.value(item, steering)).collect(),
            Value::Object(map) => {
                map.iter().map(|(key, value)| (self.text(key, steering), self.value(value, steering))).collect()
            }
            other => other.clone(),
        }
    }
}

/// A name of bytes that need not be UTF-8: bytes that are no character are shown as `\xff`.
pub fn name(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn shown(text: &str, hidden: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if hidden(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// What stands behind an escape, parted where it is a style that drawing uses: nothing that hides, blinks or turns around.
fn style(text: &str) -> Option<(&str, &str)> {
    let (style, rest) = text.split_at_checked(text.find('m')? + 1)?;
    let parameters = style.strip_prefix('[')?.strip_suffix('m')?;
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u8>().ok()).flatten();
    let known = |word: &str| matches!(number(word), Some(0..=3 | 22 | 23 | 30..=37 | 39 | 90..=97));
    let all_known = match parameters.strip_prefix("38;5;") {
        Some(colour) => number(colour).is_some(),
        None => parameters.split(';').all(known),
    };
    all_known.then_some((style, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_seen_and_not_done() {
        let evil = "a\u{1b}[2Jb\r\u{7}\u{7f}\u{9b}\u{202e}\u{2069}\u{2028}\t\n";
        let head = "a\\u{1b}[2Jb\\r\\u{7}\\u{7f}\\u{9b}\\u{202e}\\u{2069}\\u{2028}";
        assert_eq!(lines(evil), format!("{head}\t\n"));
        assert_eq!(line(evil), format!("{head}\\t\\n"));
        assert!(matches!(line("Zoë · räck ✓"), Cow::Borrowed(_)), "text is left alone");
    }

    #[test]
    fn of_what_is_drawn_styles_stay_and_no_other_command() {
        for ours in ["\u{1b}[1mx\u{1b}[0m\n", "\u{1b}[0;92mx\u{1b}[39m", "\u{1b}[38;5;9mx\u{1b}[0m"] {
            assert_eq!(drawn(ours), ours);
        }
        for (theirs, shown) in [
            ("\u{1b}[2Jm", "\\u{1b}[2Jm"),
            ("\u{1b}[8mhidden", "\\u{1b}[8mhidden"),
            ("\u{1b}[5m", "\\u{1b}[5m"),
            ("\u{1b}[+1m", "\\u{1b}[+1m"),
            ("\u{1b}[38;5;999m", "\\u{1b}[38;5;999m"),
            ("\u{1b}]0;title\u{7}m", "\\u{1b}]0;title\\u{7}m"),
            ("\u{1b}", "\\u{1b}"),
            ("\u{1b}[1ma\u{1b}\u{1b}[1mb\u{9b}2J", "\u{1b}[1ma\\u{1b}\u{1b}[1mb\\u{9b}2J"),
        ] {
            assert_eq!(drawn(theirs), shown);
        }
    }

    #[test]
    fn a_document_in_json_reads_back_as_it_was() {
        let value = serde_json::json!({"a": "\u{1b}[2J\u{7f}\u{9b}\u{202e}\n é"});
        let text = serde_json::to_string_pretty(&value).unwrap();
        let shown = json(&text);
        assert!(!shown.chars().any(|c| steers(c) && c != '\n'), "{shown}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
    }

    #[test]
    fn a_document_in_yaml_reads_back_as_it_was() {
        let evil = "\u{1b}[2J\u{7f}\u{85}\u{9b}\u{202e}\u{200f}\u{61c}\u{2028}\r\n\t\"\\ é 🦀";
        for value in [
            serde_json::json!({"name": evil, "items": [evil, "plain", 7, null], evil: {"a": "two\nlines"}}),
            serde_json::json!({"a": "escaped-0-0-", "b": "\u{2066}", "c": "escaped-1-"}),
            serde_json::json!("\u{202e}"),
            serde_json::json!({"a": "two\nlines\tand a tab", "é": "✓"}),
        ] {
            let text = yaml(&value).unwrap();
            assert!(!text.chars().any(|c| steers(c) && c != '\n' && c != '\t'), "{text}");
            assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), value, "{text}");
        }
        assert_eq!(yaml(&serde_json::json!({"a": "b\u{202e}"})).unwrap(), "a: \"b\\u202e\"\n");
    }

    #[test]
    fn a_name_that_is_no_text_is_shown_byte_by_byte() {
        assert_eq!(name(b"caf\xe9.yaml"), "caf\\xe9.yaml");
        assert_eq!(name("café".as_bytes()), "café");
    }

    proptest::proptest! {
        #[test]
        fn any_text_reads_back_from_yaml(key in "(?s).{0,20}", text in "(?s).{0,20}") {
            let value = serde_json::json!({key: [text]});
            let written = yaml(&value).unwrap();
            proptest::prop_assert!(!written.chars().any(|c| steers(c) && c != '\n' && c != '\t'));
            proptest::prop_assert_eq!(serde_yaml::from_str::<Value>(&written).unwrap(), value);
        }

        #[test]
        fn nothing_that_steers_is_left(text in ".*") {
            proptest::prop_assert!(!line(&text).chars().any(steers));
            proptest::prop_assert!(!lines(&text).chars().any(|c| steers(c) && c != '\n' && c != '\t'));
            let again = lines(&text).into_owned();
            proptest::prop_assert_eq!(lines(&again), again.as_str());
        }
    }
}
