//! What is wrong with a text that is no YAML, and what helps: a scanner says where it could not go on, which is often far below the
//! mistake. Pure.

use super::slips;

/// Line and column, from 1, inside the document's own text.
type Mark = (usize, usize);

/// Why a document could not be read.
#[derive(Debug)]
pub(super) struct NotYaml {
    /// In the reader's words, without its places.
    pub(super) message: String,
    /// Where the mistake is, as far as that is known.
    pub(super) at: Option<Mark>,
    helps: Option<Helps>,
}

/// What helps.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Helps {
    /// These words.
    Words(&'static str),
    /// Words about this text.
    Said(String),
    /// A quote was opened there, and closes where something else was meant.
    QuoteSince(Mark),
    /// The map began there, and this line is none of its lines.
    MapSince(Mark),
    /// The same of a list.
    ListSince(Mark),
}

impl NotYaml {
    /// What the reader's error means in this text.
    pub(super) fn of(error: &serde_yaml::Error, text: &str) -> Self {
        let at = error.location().map(|location| (location.line(), location.column().max(1)));
        Self::read(&error.to_string(), at, text)
    }

    /// What somebody else found, with its place.
    pub(super) fn said(message: &str, at: Option<Mark>) -> Self {
        Self { message: format!("not YAML: {message}"), at, helps: known(message).map(Helps::Words) }
    }

    fn read(said: &str, at: Option<Mark>, text: &str) -> Self {
        let (message, marks) = without_places(said);
        // The first place is that of the trouble, the second that of what was being read.
        let since = marks.get(1).copied();
        let mut broken = Self { message: format!("not YAML: {message}"), at, helps: None };
        if let Some(line) = text.lines().position(|line| slips::MARKS.iter().any(|mark| line.starts_with(mark))) {
            // Of a conflict that is whole it is told without reading the text.
            broken.at = Some((line + 1, 1));
            broken.helps =
                Some(Helps::Words("this line is a mark of a merge conflict: take it out, and what the other side had"));
            return broken;
        }
        if message.contains("more than one document") {
            broken.message = "not YAML: something stands before or behind what is the document".to_owned();
        }
        let has = |words: &str| message.contains(words);
        let by_tab = text.lines().any(|line| line.trim_start_matches(' ').starts_with('\t'));
        let no_colon = has("could not find expected ':'");
        if no_colon && since.is_some() {
            // A key without its colon is noticed below: the key is what is to be looked at.
            broken.at = since;
        }
        let lines =
            [broken.at, at, since].into_iter().flatten().filter_map(|at| text.lines().nth(at.0.checked_sub(1)?));
        if let Some(said) = lines.clone().find_map(slips::lookalike) {
            broken.helps = Some(Helps::Said(said));
        } else if lines.clone().any(slips::has_bare_braces) {
            broken.helps = Some(Helps::Words("a text that begins with `{{` stands in quotes: `\"{{ … }}\"`"));
        } else if let Some((key, value)) = lines.clone().find_map(slips::key_without_space).filter(|_| no_colon) {
            let value = value.chars().take(40).collect::<String>();
            broken.helps = Some(Helps::Said(format!("behind the `:` of a key stands a space: `{key}: {value}`")));
        } else if by_tab && ["cannot start any token", "did not find", "tab character"].into_iter().any(has) {
            broken.helps = Some(Helps::Words("a line is indented by a tab: YAML is indented by spaces"));
        } else if has("quoted scalar") && has("unexpected end of stream") {
            // The end of the file is no place to look at: the opening quote is.
            broken.at = since.or(at);
            broken.helps = Some(Helps::Words(
                "the quote that is opened here is never closed: close it; a quote inside of single quotes is written twice",
            ));
        } else if let Some(since) = quote_before(text, at).filter(|_| has("did not find") || has("could not find")) {
            broken.helps = Some(Helps::QuoteSince(since));
        } else if ends_after_a_quote(text, at) && (has("did not find") || has("could not find")) {
            broken.helps = Some(Helps::Words(
                "the quotes end before this: put all of the text in them; a quote inside of single quotes is written twice",
            ));
        } else if has("did not find expected key") {
            // A place at the very beginning is not said.
            broken.helps = Some(Helps::MapSince(since.unwrap_or((1, 1))));
        } else if has("did not find expected '-'") {
            broken.helps = Some(Helps::ListSince(since.unwrap_or((1, 1))));
        } else if has("mapping values are not allowed") && at.is_some_and(|at| is_first_colon(text, at)) {
            broken.helps = Some(Helps::Words(
                "the indentation is off: this line goes on with the value of the line above, as if it were its text",
            ));
        } else {
            broken.helps = known(&message).map(Helps::Words);
        }
        broken
    }

    /// What helps, in words; `first_line` is the line of the file that the text begins in.
    pub(super) fn hint(&self, first_line: usize) -> Option<String> {
        let line = |mark: Mark| first_line.saturating_add(mark.0.saturating_sub(1));
        Some(match self.helps.as_ref()? {
            Helps::Words(words) => (*words).to_owned(),
            Helps::Said(said) => said.clone(),
            Helps::QuoteSince(mark) => format!(
                "the quote that is opened in line {}, column {}, is closed only in this line: close it where its text ends",
                line(*mark),
                mark.1
            ),
            Helps::MapSince(mark) => format!(
                "the indentation is off: keys of the map that begins in line {} stand in column {}",
                line(*mark),
                mark.1
            ),
            Helps::ListSince(mark) => format!(
                "the indentation is off: items of the list that begins in line {} have their `-` in column {}",
                line(*mark),
                mark.1
            ),
        })
    }
}

/// What helps with a message, whatever the text.
fn known(message: &str) -> Option<&'static str> {
    const HELP: [(&str, &str); 16] = [
        ("repetition limit", "aliases multiply here, or values are nested too deep: write the values out"),
        ("directives (", "content uses no directives: take these lines out"),
        (
            "invalid indentation",
            "what goes on over lines, in brackets or quotes, stands deeper than its key in all of them",
        ),
        ("recursion limit", "aliases multiply here, or values are nested too deep: write the values out"),
        ("mapping values are not allowed", "a `:` in plain text needs quotes, or the indentation is off"),
        ("expected ',' or", "a `[` or `{` is not closed, or a `,` is missing"),
        ("unknown anchor", "an anchor is known only inside its own document"),
        ("a value with a tag", "content uses no tags: write the value as a map, such as `{goTo: stage}`"),
        ("escape character", "in double quotes `\\` begins an escape: write `\\\\`, or use single quotes"),
        (
            "did not find expected hexdecimal number",
            "an escape such as `\\x1b` wants all of its digits: or use single quotes",
        ),
        ("block sequence entries are not allowed", "items of a list begin on lines of their own, below their key"),
        (
            "expected ':'",
            "a line of a map is `key: value`: a `: ` is missing, or the text of a line above goes on here",
        ),
        ("cannot start any token", "a text that begins with this character stands in quotes"),
        ("alphabetic or numeric character", "a text that begins with `*` or `&` stands in quotes"),
        ("expected comment or line break", "after `|` or `>` the text begins on the next line"),
        ("leading space", "the first lines of a text after `|` or `>` may not be indented deeper than its first words"),
    ];
    HELP.into_iter().find(|(words, _)| message.contains(words)).map(|(_, help)| help)
}

/// The reader's message without its places, and these.
fn without_places(message: &str) -> (String, Vec<Mark>) {
    let (mut said, mut marks) = (message.to_owned(), Vec::new());
    let number = |text: &str| -> (usize, usize) {
        let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        (text.get(..digits).and_then(|digits| digits.parse().ok()).unwrap_or(0), digits)
    };
    // The way to a value that is too deep is as long as it is deep.
    if let Some(begin) = ["recursion limit", "repetition limit"].into_iter().find_map(|words| said.find(words)) {
        said.replace_range(..begin, "");
    }
    while let Some(begin) = said.find(" at line ") {
        let rest = said.get(begin + 9..).unwrap_or("");
        let (line, digits) = number(rest);
        let (mut length, mut column) = (9 + digits, 1);
        if let Some(after) = rest.get(digits..).and_then(|rest| rest.strip_prefix(" column ")) {
            let (found, digits) = number(after);
            (length, column) = (length + 8 + digits, found);
        }
        marks.push((line, column));
        said.replace_range(begin..begin + length, "");
    }
    if said.contains("invalid type: enum") {
        // What serde calls an enum, people know as a tag.
        said = "a value with a tag (`!…`)".to_owned();
        marks.clear();
    }
    (said, marks)
}

/// Where a quote was opened, lines above, that is closed only in the line of the trouble, before it: an odd one there, and an odd one
/// above with none in between.
fn quote_before(text: &str, at: Option<Mark>) -> Option<Mark> {
    let (line, column) = at?;
    let lines: Vec<&str> = text.lines().take(line).collect();
    let (trouble, above) = lines.split_last()?;
    let before: String = trouble.chars().take(column.saturating_sub(1)).collect();
    let quote = before.chars().rev().find(|c| matches!(c, '\'' | '"'))?;
    let times = |line: &str| line.chars().filter(|c| *c == quote).count();
    if times(&before) % 2 == 0 {
        return None;
    }
    let (index, opening) = above.iter().enumerate().rev().find(|(_, line)| times(line) > 0)?;
    let column = opening.chars().count() - opening.chars().rev().position(|c| c == quote)?;
    (times(opening) % 2 == 1).then_some((index + 1, column))
}

/// Whether quotes end right before the trouble.
fn ends_after_a_quote(text: &str, at: Option<Mark>) -> bool {
    let Some((line, column)) = at else { return false };
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or("");
    let before: String = line.chars().take(column.saturating_sub(1)).collect();
    before.trim_end().ends_with(['\'', '"'])
}

/// Whether the trouble is the first `:` of its line, with nothing but a key before it.
fn is_first_colon(text: &str, (line, column): Mark) -> bool {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or("");
    let before: String = line.chars().take(column.saturating_sub(1)).collect();
    !before.trim().is_empty() && !before.contains(": ")
}

#[cfg(test)]
mod tests {
    use super::NotYaml;

    /// Place, and what helps, for a text whose first line is the tenth of its file.
    fn of(text: &str) -> (Option<(usize, usize)>, String) {
        let error = serde_yaml::from_str::<serde_json::Value>(text).expect_err("no YAML");
        let broken = NotYaml::of(&error, text);
        (broken.at, broken.hint(10).unwrap_or_else(|| broken.message.clone()))
    }

    #[test]
    fn what_is_often_done_wrong_has_a_place_and_a_hint() {
        for (text, at, hint) in [
            ("a: 1\nb: \"open\nc: 2\n", (2, 4), "never closed"),
            ("a: 1\nb: 'open\nc: 2\n", (2, 4), "never closed"),
            ("b: \"open\nc: \"two\"\n", (2, 5), "opened in line 10, column 4,"),
            ("b: 'it's'\nc: 2\n", (1, 8), "quotes end before this"),
            ("a:\n  b: 1\n c: 2\n", (3, 2), "the map that begins in line 10 stand in column 1"),
            ("a:\n    b: 1\n  c: 2\n", (3, 3), "the indentation is off"),
            ("a:\n  b: 1\n    c: 2\n", (3, 6), "the indentation is off"),
            ("a:\n  - x\n - y\n", (3, 2), "the indentation is off"),
            ("- x\ny: 1\n", (2, 1), "have their `-` in column 1"),
            ("a: x: y\n", (1, 5), "a `:` in plain text needs quotes"),
            ("a: \"\\w\"\n", (1, 5), "begins an escape"),
            ("a: @x\n", (1, 4), "stands in quotes"),
            ("a: - x\n", (1, 4), "lines of their own"),
            ("a: 1\nb\nc: 2\n", (2, 1), "is `key: value`"),
            ("a: 1\nb 2\n", (2, 1), "is `key: value`"),
            ("a: 1\nb:2\nc: 3\n", (2, 1), "stands a space: `b: 2`"),
            ("a: {{ b }}\nc: 2\n", (1, 5), "begins with `{{` stands in quotes"),
            ("a: {{ b }}/c\n", (1, 5), "begins with `{{` stands in quotes"),
            ("a: 1\nb:\u{a0}2\nc: 3\n", (2, 1), "a no-break space (U+00A0)"),
            ("a: \u{201c}b: c\u{201d}\n", (1, 6), "a typographic one"),
            ("<<<<<<< HEAD\n# by hand\na: 1\n", (1, 1), "a mark of a merge conflict"),
            ("a: 1\n>>>>>>> theirs\n", (2, 1), "a mark of a merge conflict"),
        ] {
            let (place, said) = of(text);
            assert!(said.contains(hint), "{text:?}: {said}");
            assert_eq!(place, Some(at), "{text:?}: {said}");
        }
    }

    #[test]
    fn a_text_beside_the_document_is_told_in_words_of_people() {
        let error = serde_yaml::from_str::<serde_json::Value>("x\n# and\na: 1\n").expect_err("two");
        let said = NotYaml::of(&error, "x\n# and\na: 1\n").message;
        assert!(!said.contains("deserializing"), "{said}");
    }

    #[test]
    fn no_text_breaks_it() {
        for said in [
            "",
            " at line ",
            " at line x column ",
            "a at line 99999999999999999999999 column 1",
            "é at line 1 column 9",
        ] {
            let broken = NotYaml::read(said, Some((7, 900)), "é: 'ö");
            let _ = broken.hint(usize::MAX - 9);
        }
    }
}
