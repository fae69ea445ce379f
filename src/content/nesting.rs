//! How much of nesting and how many directives a text may have before a reader of values sees it: that reader takes the square
//! of either, so that a file of a few hundred kilobytes would stop a server for minutes. Pure, and bounded itself.

use super::not_yaml::NotYaml;
use saphyr_parser::{Event, Parser};
use std::borrow::Cow;

/// How deep lists and maps may stand in one another.
pub(super) const NESTING_MAX: usize = 64;
/// What deeper nesting is told, by whoever notices it.
pub(super) const TOO_DEEP: &str = "recursion limit exceeded: more than 64 lists and maps in one another";
/// The most brackets of a text that only the reader of values understands: each costs it a little for all that follows.
const BRACKETS_UNREAD_MAX: usize = 256;
/// The most lines that may begin with the sign of a directive, such as those of a text in quotes.
const DIRECTIVES_MAX: usize = 64;

/// Line breaks of YAML 1.1, which the reader of values knows still (YAML 1.1, 4.2).
const BREAKS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// Refuses what would take the square of its size to read; of at most so many keys and values.
pub(super) fn check(text: &str, nodes_max: usize) -> Result<(), NotYaml> {
    let mut directives = text.split(BREAKS).filter(|line| line.trim_start_matches('\u{feff}').starts_with('%'));
    if directives.nth(DIRECTIVES_MAX).is_some() {
        return Err(NotYaml::said("directives (`%…`)", None));
    }
    let brackets = text.bytes().filter(|byte| matches!(byte, b'[' | b'{')).take(BRACKETS_UNREAD_MAX + 1).count();
    if brackets <= NESTING_MAX {
        return Ok(());
    }
    let same = with_lines_of_both(text);
    let (mut depth, mut nodes) = (0_usize, 0_usize);
    let mut parser = Parser::new_from_str(&same);
    while let Some(event) = parser.next_event() {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                // This reader has a limit of its own for brackets, and meets it while it looks ahead.
                let deep = error.info().contains("recursion limit");
                if !deep && brackets <= BRACKETS_UNREAD_MAX {
                    return Ok(());
                }
                let at = (error.marker().line(), error.marker().col() + 1);
                return Err(NotYaml::said(if deep { TOO_DEEP } else { error.info() }, Some(at)));
            }
        };
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => (depth, nodes) = (depth + 1, nodes + 1),
            Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
            Event::Scalar(..) | Event::Alias(..) => nodes += 1,
            _ => {}
        }
        let at = Some((span.start.line(), span.start.col() + 1));
        if depth > NESTING_MAX {
            return Err(NotYaml::said(TOO_DEEP, at));
        }
        if nodes > nodes_max {
            return Err(NotYaml::said("repetition limit exceeded: too many values in one document", at));
        }
    }
    Ok(())
}

/// The text with the lines and beginnings of lines that the reader of values sees, for one that knows fewer breaks.
fn with_lines_of_both(text: &str) -> Cow<'_, str> {
    if text.contains(['\u{85}', '\u{2028}', '\u{2029}', '\u{feff}']) {
        Cow::Owned(text.replace(['\u{85}', '\u{2028}', '\u{2029}'], "\n").replace('\u{feff}', ""))
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is said of a text, and where.
    fn of(text: &str) -> (String, Option<(usize, usize)>) {
        match check(text, 1_000_000) {
            Ok(()) => ("good".to_owned(), None),
            Err(broken) => (broken.message, broken.at),
        }
    }

    #[test]
    fn what_takes_the_square_of_its_size_is_refused_at_once() {
        // A megabyte of each: had they to be read to their ends by the reader of values, this test would take an hour.
        let many = |piece: &str| piece.repeat(1024 * 1024 / piece.len());
        for piece in [
            "{a: ",
            "[",
            "{",
            "{\"}\": ",
            "{'}': ",
            "&a [",
            "!x [",
            "[a, ",
            "{a, ",
            "{a: [], ",
            "{? ",
            "[? ",
            "[a: ",
            "\"a\": {",
            "a: {\n",
            "# \u{85}[",
            "# \u{2028}{a: ",
            "\u{feff}[",
            "# ]\n[",
            "a: \"x\n\"\nb: [",
        ] {
            let (said, _) = of(&many(piece));
            assert!(said.starts_with("not YAML: "), "{piece:?}: {said}");
        }
        for piece in ["%TAG !a! b\n", "%TAG !a! b\u{85}", "%TAG !a! b\r", "%A\n"] {
            assert_eq!(of(&many(piece)), ("not YAML: directives (`%…`)".to_owned(), None), "{piece:?}");
        }
    }

    #[test]
    fn the_place_is_that_of_the_first_list_too_deep() {
        let nested = |depth: usize| format!("a: 1\nb: {}{}\n", "[".repeat(depth), "]".repeat(depth));
        // The map around it is one.
        assert_eq!(of(&nested(63)).0, "good");
        let (said, at) = of(&nested(65));
        assert!(said.contains("64 lists and maps"), "{said}");
        assert_eq!(at, Some((2, 67)));
    }

    #[test]
    fn many_brackets_that_are_not_nested_are_good() {
        for text in [
            "- {a: [b], c: {d: e}}\n".repeat(5_000),
            format!("a: |\n{}", "  [[ -f x ]] && {\n".repeat(5_000)),
            format!("a: '{}'\n", "[".repeat(5_000)),
            format!("# {}\na: b\n", "[".repeat(5_000)),
            format!("- {{{}}}\n", "{a: b}, ".repeat(100)),
            // Only the reader of values takes brackets that close so far to the left: few enough of them are its own.
            format!("a: {{\n  b: [{}]\n}}\n", "[], ".repeat(200)),
        ] {
            assert_eq!(of(&text).0, "good", "{:?}", text.get(..60));
        }
    }

    /// How deep lists and maps stand in one another.
    fn depth_of(value: &serde_json::Value) -> usize {
        match value {
            serde_json::Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
            serde_json::Value::Object(map) => 1 + map.values().map(depth_of).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// The same, as the reader of events sees it; `None`: it does not read it.
    fn depth_of_events(text: &str) -> Option<usize> {
        let (mut depth, mut most, mut parser) = (0_usize, 0, Parser::new_from_str(text));
        while let Some(event) = parser.next_event() {
            match event.ok()?.0 {
                Event::SequenceStart(..) | Event::MappingStart(..) => depth += 1,
                Event::SequenceEnd | Event::MappingEnd => depth = depth.saturating_sub(1),
                _ => {}
            }
            most = most.max(depth);
        }
        Some(most)
    }

    /// The depth of each document that content is read from; `None`: the text is refused.
    fn depth_of_content(text: &str) -> Option<usize> {
        let mut report = crate::content::Report::default();
        let bytes = std::sync::Arc::from(text.as_bytes());
        let file = crate::content::File { bytes, kind: crate::content::FileKind::Regular, blob: None };
        let documents = crate::content::document::read("a.yaml", &file, &mut report);
        let depth = documents.iter().map(|(_, value)| depth_of(value)).max().unwrap_or(0);
        (!report.refuses()).then_some(depth)
    }

    /// Lists and maps in one another: blocks on the outside, brackets on the inside.
    fn nested(blocks: &[bool], brackets: &[bool]) -> String {
        let mut text = String::new();
        for (indent, list) in blocks.iter().enumerate() {
            let line = if *list { "- # a list\n" } else { "b: c\na:\n" };
            line.split_inclusive('\n').for_each(|line| {
                text.push_str(&" ".repeat(indent));
                text.push_str(line);
            });
        }
        text.push_str(&" ".repeat(blocks.len()));
        brackets.iter().for_each(|list| text.push_str(if *list { "[x, [], " } else { "{b: {}, a: " }));
        text.push('x');
        brackets.iter().rev().for_each(|list| text.push(if *list { ']' } else { '}' }));
        text + "\n"
    }

    proptest::proptest! {
        #[test]
        fn both_readers_and_content_see_the_same_depth(
            blocks in proptest::collection::vec(proptest::bool::ANY, 0..50),
            brackets in proptest::collection::vec(proptest::bool::ANY, 0..50),
        ) {
            let text = nested(&blocks, &brackets);
            // The small list or map beside the way down is one more where the way ends.
            let depth = blocks.len() + brackets.len() + usize::from(!brackets.is_empty());
            let value = serde_yaml::from_str::<serde_json::Value>(&text).expect("sound");
            proptest::prop_assert_eq!(depth_of(&value), depth);
            proptest::prop_assert_eq!(depth_of_events(&text), Some(depth));
            proptest::prop_assert_eq!(depth_of_content(&text), Some(depth).filter(|depth| *depth <= NESTING_MAX));
        }

        #[test]
        fn no_text_gives_content_that_nests_deeper_whatever_a_reader_makes_of_it(
            pieces in proptest::collection::vec(
                proptest::sample::select(vec![
                    "[", "]", "{", "}", "[[", "{a: ", "a: ", "- ", "? ", ": ", ",", "x", "\"", "'", "\n", "  ", "&a ", "*a", "# ", "|", "\u{85}",
                ]),
                0..400,
            ),
        ) {
            let text = pieces.concat();
            proptest::prop_assert!(depth_of_content(&text).is_none_or(|depth| depth <= NESTING_MAX));
            // What both read, they read alike.
            let seen = depth_of_events(&with_lines_of_both(&text));
            if let (Ok(value), Some(depth)) = (serde_yaml::from_str::<serde_json::Value>(&text), seen) {
                let aliases = text.contains('*');
                proptest::prop_assert!(aliases || depth_of(&value) <= depth, "{} and {}", depth_of(&value), depth);
            }
        }
    }

    #[test]
    fn a_comment_ends_for_both_readers_at_each_break_that_one_of_them_knows() {
        for text in ["# \u{85}a: ", "# \u{2028}a: ", "# \u{2029}a: ", "# \u{85}\u{feff}a: "] {
            let value = serde_yaml::from_str::<serde_json::Value>(text).expect("sound");
            let seen = depth_of_events(&with_lines_of_both(text));
            assert_eq!((depth_of(&value), seen), (1, Some(1)), "{text:?}");
        }
    }

    #[test]
    fn values_have_an_end_here_too() {
        let said = check(&"- [a]\n".repeat(1_000), 900).expect_err("too many").message;
        assert!(said.contains("too many values"), "{said}");
    }
}
