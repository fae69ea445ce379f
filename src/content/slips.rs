//! Slips of the keyboard, the editor and Git that are hard to see in a text, told by the text itself. Pure.

/// Text is looked through for slips up to this size: it is done for each finding.
const LOOKED_THROUGH_MAX: usize = 1 << 20;

/// What in this line is another character than it seems; `text` is what the line is of. `None`: nothing, or too much to look at.
pub(super) fn in_line(text: &str, line: usize) -> Option<String> {
    if text.len() > LOOKED_THROUGH_MAX || text.is_ascii() {
        return None;
    }
    lookalike(text.lines().nth(line.checked_sub(1)?)?)
}

/// A space that is none for YAML, or a typographic quote where a plain one opens a text.
pub(super) fn lookalike(line: &str) -> Option<String> {
    let space = |c: char| {
        matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200b}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\u{feff}')
    };
    if let Some((at, c)) = line.chars().enumerate().find(|(_, c)| space(*c)) {
        let what = if c == '\u{a0}' { "a no-break space" } else { "a space of another kind" };
        return Some(format!("in column {} stands {what} (U+{:04X}): write a plain one", at + 1, u32::from(c)));
    }
    let mut before: Option<char> = None;
    for (at, c) in line.chars().enumerate() {
        let opens = before.is_none_or(|before| matches!(before, ' ' | '[' | '{' | ','));
        if opens && matches!(c, '\u{2018}' | '\u{201a}'..='\u{201c}' | '\u{201e}' | '\u{201f}' | '\u{ab}') {
            return Some(format!(
                "the quote {c} in column {} is a typographic one, which is part of the text: write a plain one, `\"`",
                at + 1
            ));
        }
        // Inside of plain quotes and behind a comment's sign it may stand.
        if opens && matches!(c, '"' | '\'' | '#') {
            return None;
        }
        before = Some(c);
    }
    None
}

/// Key and value of a text such as `address:10.77.0.11`, where it was meant to be both.
pub(super) fn key_without_space(text: &str) -> Option<(&str, &str)> {
    let text = text.trim_start_matches([' ', '-']);
    let (key, value) = text.split_once(':')?;
    let word = key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    let begins = key.starts_with(|c: char| c.is_ascii_alphabetic());
    // An URL is one, and a MAC begins with a digit or has more of them.
    let meant = word && begins && !value.is_empty() && !value.starts_with(['/', ' ', ':']);
    (meant && !is_mac(text)).then_some((key, value.trim_end()))
}

fn is_mac(text: &str) -> bool {
    text.split(':').count() == 6 && text.split(':').all(|part| part.len() == 2)
}

/// Whether a value of this line begins with `{{`, as templates do and values cannot.
pub(super) fn has_bare_braces(line: &str) -> bool {
    line.match_indices("{{").any(|(at, _)| {
        let before = line.get(..at).unwrap_or_default().trim_end();
        before.is_empty() || before.ends_with([':', '-', '[', ','])
    })
}

/// What Git writes at the beginning of a line around both sides of a conflict.
pub(super) const MARKS: [&str; 2] = ["<<<<<<< ", ">>>>>>> "];

/// The line (from 1) that a merge conflict begins in which nobody resolved.
pub(crate) fn conflict(text: &str) -> Option<usize> {
    // Nearly every text ends here.
    if !text.contains("<<<<<<< ") {
        return None;
    }
    let mut begins = None;
    for (line, number) in text.lines().zip(1..) {
        if line.starts_with("<<<<<<< ") {
            begins = begins.or(Some(number));
        } else if line.starts_with(">>>>>>> ") && begins.is_some() {
            return begins;
        }
    }
    None
}

/// What to do about a merge conflict.
pub(crate) const CONFLICT_HELP: &str =
    "keep what is right of what stands between `<<<<<<<` and `>>>>>>>`, and take the lines with these marks out";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_another_character_is_told_with_its_column() {
        assert!(
            lookalike("  address:\u{a0}10.77.0.11").unwrap().contains("column 11 stands a no-break space (U+00A0)")
        );
        assert!(lookalike("\u{3000}a: b").unwrap().contains("U+3000"));
        assert!(lookalike("name: \u{201c}lab\u{201d}").unwrap().contains("\u{201c} in column 7"));
        assert!(lookalike("a: [\u{201e}b\u{201c}]").is_some());
        for good in
            ["a: b", "a: \"\u{201c}b\u{201d}\"", "a: it\u{2019}s", "a: b # \u{201c}c\u{201d}", "a: \u{e9}t\u{e9}"]
        {
            assert_eq!(lookalike(good), None, "{good}");
        }
        assert_eq!(in_line("a: b\nc:\u{a0}d\n", 1), None);
        assert!(in_line("a: b\nc:\u{a0}d\n", 2).is_some());
        assert_eq!(in_line("\u{a0}", 0), None);
    }

    #[test]
    fn a_key_without_its_space_is_told_from_text_with_a_colon() {
        assert_eq!(key_without_space("address:10.77.0.11"), Some(("address", "10.77.0.11")));
        assert_eq!(key_without_space("  - builtin:discovery "), Some(("builtin", "discovery")));
        for other in ["https://example.org", "a: b", "52:54:00:00:00:01", "ab:cd:ef:00:11:22", "a", ":x", "a:", "a::b"]
        {
            assert_eq!(key_without_space(other), None, "{other}");
        }
    }

    #[test]
    fn braces_that_begin_a_value_are_told_from_those_inside_of_one() {
        for bare in ["a: {{ b }}", "- {{ b }}", "{{ b }}", "a: [{{ b }}]"] {
            assert!(has_bare_braces(bare), "{bare}");
        }
        for good in ["a: \"{{ b }}\"", "a: x{{ b }}", "a: {b: c}"] {
            assert!(!has_bare_braces(good), "{good}");
        }
    }

    #[test]
    fn a_conflict_has_a_beginning_and_an_end() {
        assert_eq!(conflict("a: 1\n<<<<<<< HEAD\nb: 1\n=======\nb: 2\n>>>>>>> other\n"), Some(2));
        assert_eq!(conflict("a: |\n  <<<<<<< HEAD\n  >>>>>>> other\n"), None);
        assert_eq!(conflict("<<<<<<< HEAD\n"), None);
    }
}
