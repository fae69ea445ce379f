//! Adds an entry to `spec.packs` in the text of a `site.yaml`, and changes nothing else: comments, order and quotes are the
//! author's. What the edited text then says is compared with what it should say; an edit that would not say exactly that is
//! refused, and the person told what to write.

use super::super::finding::Report;
use super::super::kinds::PackSource;
use super::super::nesting::NESTING_MAX;
use super::super::{File, FileKind, document};
use saphyr_parser::{Event, Parser, Span};
use serde_json::Value;
use std::sync::Arc;

/// The text is such that only a person can add to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("spec.packs of site.yaml cannot be added to by a program as it is written ({why})")]
pub struct CannotEdit {
    /// Why.
    pub why: &'static str,
    /// What is to be written, as an item of a list.
    pub item: String,
}

/// The text with one more entry at the end of `spec.packs`.
///
/// # Errors
/// [`CannotEdit`].
pub fn append_to_packs(text: &str, entry: &PackSource) -> Result<String, CannotEdit> {
    let mut value = serde_json::to_value(entry).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, value| !value.is_null());
    }
    let yaml = serde_yaml::to_string(&value).unwrap_or_default();
    let lines: Vec<&str> = yaml.lines().collect();
    let item = |indent: usize| {
        let mut out = String::new();
        for (number, line) in lines.iter().enumerate() {
            out.push_str(&" ".repeat(indent));
            out.push_str(if number == 0 { "- " } else { "  " });
            out.push_str(line);
            out.push('\n');
        }
        out
    };
    let cannot = |why| CannotEdit { why, item: item(0) };
    let before = values(text).ok_or_else(|| cannot("it is not sound YAML"))?;
    let site = before.iter().position(|(_, value)| value.get("kind").and_then(Value::as_str) == Some("Site"));
    let site = site.ok_or_else(|| cannot("there is no document of kind Site"))?;
    let (document, _) = before.get(site).ok_or_else(|| cannot("there is no document of kind Site"))?;
    let root = Node::of(document.text()).ok_or_else(|| cannot("it is not sound YAML"))?;
    let spec = root.get("spec").ok_or_else(|| cannot("it has no spec"))?;
    let ending = if text.contains("\r\n") { "\r\n" } else { "\n" };
    let lines: Vec<&str> = document.text().split_inclusive('\n').collect();
    let line_of = |line: usize| lines.get(line.saturating_sub(1)).copied().unwrap_or_default();
    let (at, added) = match spec.get("packs") {
        Some(Node { inside: Inside::Items(items), start, flow: true, .. }) => {
            let shown: Vec<String> =
                value.as_object().into_iter().flatten().map(|(key, value)| format!("{key}: {value}")).collect();
            let shown = format!("{{{}}}", shown.join(", "));
            match items.last() {
                Some(last) => (offset(&lines, last.end), format!(", {shown}")),
                None => (offset(&lines, (start.0, start.1 + 1)), shown),
            }
        }
        Some(Node { inside: Inside::Items(items), end, .. }) => {
            let first = items.first().ok_or_else(|| cannot("its list is empty in a way of its own"))?;
            let head: String = line_of(first.start.0).chars().take(first.start.1).collect();
            let dash = head.trim_end().strip_suffix('-').filter(|before| before.trim().is_empty());
            let dash = dash.ok_or_else(|| cannot("its items do not begin on lines of their own"))?;
            (offset(&lines, (end.0 + 1, 0)), item(dash.len()))
        }
        Some(Node { inside: Inside::Leaf(word), .. }) if matches!(word.as_str(), "" | "~" | "null") => {
            return Err(cannot("it has `packs:` with nothing behind it"));
        }
        Some(_) => return Err(cannot("it is not a list")),
        None => {
            let Inside::Entries(entries) = &spec.inside else { return Err(cannot("its spec is not a map")) };
            let first = entries.first().filter(|_| !spec.flow).map(|(key, _)| key);
            let first = first.ok_or_else(|| cannot("its spec is empty or on one line"))?;
            let head: String = line_of(first.start.0).chars().take(first.start.1).collect();
            if !head.trim().is_empty() {
                return Err(cannot("its spec does not begin on a line of its own"));
            }
            (offset(&lines, (first.start.0, 0)), format!("{head}packs:\n{}", item(first.start.1 + 2)))
        }
    };
    let begin = document_start(text, document.first_line());
    let (head, tail) = text.split_at_checked(begin + at).ok_or_else(|| cannot("a place in it was not found"))?;
    // The last line of a file may have no end.
    let open = added.ends_with('\n') && !head.is_empty() && !head.ends_with('\n');
    let added = if open { format!("\n{}", added.trim_end_matches('\n')) } else { added };
    let edited = format!("{head}{}{tail}", added.replace('\n', ending));
    let mut expected: Vec<Value> = before.iter().map(|(_, value)| value.clone()).collect();
    let spec = expected.get_mut(site).and_then(|value| value.get_mut("spec")).and_then(Value::as_object_mut);
    let packs = spec.map(|spec| spec.entry("packs").or_insert_with(|| Value::Array(Vec::new())));
    if let Some(packs) = packs.and_then(Value::as_array_mut) {
        packs.push(value);
    }
    let after: Option<Vec<Value>> = values(&edited).map(|all| all.into_iter().map(|(_, value)| value).collect());
    if after.as_ref() == Some(&expected) { Ok(edited) } else { Err(cannot("it would then say something else")) }
}

/// The documents of the text; `None`: it is not sound.
fn values(text: &str) -> Option<Vec<(document::Document, Value)>> {
    let mut report = Report::default();
    let file = File { bytes: Arc::from(text.as_bytes()), kind: FileKind::Regular, blob: None };
    let documents = document::read("site.yaml", &file, &mut report);
    (!report.refuses()).then_some(documents)
}

/// Where a document's text begins that begins on this line.
fn document_start(text: &str, first_line: usize) -> usize {
    let mark = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let before = text.get(mark..).unwrap_or_default().split_inclusive('\n').take(first_line.saturating_sub(1));
    mark + before.map(str::len).sum::<usize>()
}

/// Line from 1, column from 0 in characters.
type Mark = (usize, usize);

/// The byte that a mark stands at; past the end: the end.
fn offset(lines: &[&str], (line, column): Mark) -> usize {
    let before: usize = lines.iter().take(line.saturating_sub(1)).map(|line| line.len()).sum();
    let within =
        lines.get(line.saturating_sub(1)).map_or(0, |line| line.chars().take(column).map(char::len_utf8).sum());
    before + within
}

struct Node {
    start: Mark,
    end: Mark,
    /// Written with brackets.
    flow: bool,
    inside: Inside,
}

enum Inside {
    Leaf(String),
    Items(Vec<Node>),
    Entries(Vec<(Node, Node)>),
}

impl Node {
    fn of(text: &str) -> Option<Self> {
        let mut parser = Parser::new_from_str(text);
        loop {
            match parser.next_event()?.ok()? {
                (Event::StreamStart | Event::DocumentStart(..), _) => {}
                (event, span) => return Self::read(event, span, &mut parser, 0),
            }
        }
    }

    /// `depth`: lists and maps around it. Deeper than a value of content can be it is not sound, and would end by recursion.
    fn read(
        event: Event<'_>,
        span: Span,
        parser: &mut Parser<'_, saphyr_parser::StrInput<'_>>,
        depth: usize,
    ) -> Option<Self> {
        let start = (span.start.line(), span.start.col());
        let mut node =
            Self { start, end: (span.end.line(), span.end.col()), flow: false, inside: Inside::Leaf(String::new()) };
        match event {
            Event::Scalar(text, ..) => node.inside = Inside::Leaf(text.into_owned()),
            Event::Alias(..) => {}
            Event::SequenceStart(..) | Event::MappingStart(..) if depth < NESTING_MAX => {
                let is_list = matches!(event, Event::SequenceStart(..));
                // The one character of a bracket; a block begins with nothing of its own.
                node.flow = span.end.index() > span.start.index();
                let mut nodes: Vec<Self> = Vec::new();
                loop {
                    let (event, span) = parser.next_event()?.ok()?;
                    if matches!(event, Event::SequenceEnd | Event::MappingEnd) {
                        if node.flow {
                            node.end = (span.end.line(), span.end.col());
                        } else if let Some(last) = nodes.last() {
                            node.end = last.end;
                        }
                        break;
                    }
                    nodes.push(Self::read(event, span, parser, depth + 1)?);
                }
                node.inside = if is_list { Inside::Items(nodes) } else { Inside::Entries(pairs(nodes)) };
            }
            _ => return None,
        }
        Some(node)
    }

    fn get(&self, name: &str) -> Option<&Self> {
        let Inside::Entries(entries) = &self.inside else { return None };
        let found = entries.iter().find(|(key, _)| matches!(&key.inside, Inside::Leaf(text) if text == name));
        found.map(|(_, value)| value)
    }
}

fn pairs(nodes: Vec<Node>) -> Vec<(Node, Node)> {
    let mut pairs = Vec::new();
    let mut nodes = nodes.into_iter();
    while let (Some(key), Some(value)) = (nodes.next(), nodes.next()) {
        pairs.push((key, value));
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> PackSource {
        PackSource {
            git: Some("https://example.org/etcd.git".into()),
            version: Some("^1.2".into()),
            ..PackSource::default()
        }
    }

    const HEAD: &str = "apiVersion: formwork.dev/v1alpha1\nkind: Site\nmetadata: {name: lab}\n";

    #[test]
    fn an_entry_is_added_where_it_belongs_and_comments_stay() {
        for (before, after) in [
            (
                "spec:\n  # ours\n  packs:\n    - builtin: discovery   # RAM\n    # more to come\n  global: [a]\n",
                "spec:\n  # ours\n  packs:\n    - builtin: discovery   # RAM\n    - git: https://example.org/etcd.git\n      version: ^1.2\n    # more to come\n  global: [a]\n",
            ),
            (
                "spec:\n  packs:\n  - {builtin: 'x'}\n",
                "spec:\n  packs:\n  - {builtin: 'x'}\n  - git: https://example.org/etcd.git\n    version: ^1.2\n",
            ),
            (
                "spec:\n  packs:\n    - builtin: x",
                "spec:\n  packs:\n    - builtin: x\n    - git: https://example.org/etcd.git\n      version: ^1.2",
            ),
            (
                "spec:\n  packs: [{builtin: x}]  # all\n",
                "spec:\n  packs: [{builtin: x}, {git: \"https://example.org/etcd.git\", version: \"^1.2\"}]  # all\n",
            ),
            (
                "spec: {packs: [], global: []}\n",
                "spec: {packs: [{git: \"https://example.org/etcd.git\", version: \"^1.2\"}], global: []}\n",
            ),
            (
                "spec:\n  # every machine\n  global: [é]\n---\nkind: Other\n",
                "spec:\n  # every machine\n  packs:\n    - git: https://example.org/etcd.git\n      version: ^1.2\n  global: [é]\n---\nkind: Other\n",
            ),
        ] {
            for head in [HEAD.to_owned(), format!("# é\n---\nkind: First\n---\n{HEAD}")] {
                let edited = append_to_packs(&format!("{head}{before}"), &entry());
                assert_eq!(edited, Ok(format!("{head}{after}")), "{before}");
            }
        }
    }

    #[test]
    fn a_text_that_nests_without_end_ends_nothing_else() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Node::of(&nested(NESTING_MAX)).is_some());
        assert!(Node::of(&nested(NESTING_MAX + 1)).is_none());
        // By block lists the parser has no limit of its own, and a thread's stack has one.
        let blocks = format!("{}a\n", "- ".repeat(100_000));
        assert!(Node::of(&blocks).is_none());
        assert!(append_to_packs(&format!("{HEAD}spec:\n  {blocks}"), &entry()).is_err());
    }

    #[test]
    fn line_ends_are_those_of_the_file() {
        let text = format!("{HEAD}spec:\n  packs:\n    - builtin: x\n").replace('\n', "\r\n");
        let edited = append_to_packs(&text, &entry()).expect("edited");
        assert!(edited.ends_with("    - git: https://example.org/etcd.git\r\n      version: ^1.2\r\n"), "{edited:?}");
        assert_eq!(edited.matches('\n').count(), edited.matches("\r\n").count());
    }

    #[test]
    fn what_a_program_cannot_add_to_is_left_alone_and_the_person_told() {
        for text in [
            "spec:\n  packs:\n",
            "spec: {}\n",
            "",
            "spec:\n  packs: x\n",
            "spec:\n  packs: [\n",
            "spec:\n  packs: &a [{builtin: x}]\n  global: *a\n",
            "spec:\n  ? packs\n  : - builtin: x\n",
        ] {
            let error = append_to_packs(&format!("{HEAD}{text}"), &entry()).expect_err(text);
            assert_eq!(error.item, "- git: https://example.org/etcd.git\n  version: ^1.2\n", "{text}");
        }
    }
}
