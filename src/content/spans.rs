//! Where keys and values of a document stand. Built only for documents that somebody asks about, from YAML events: values
//! themselves are read by `document`, this knows places and nothing else.

use super::nesting::NESTING_MAX;
use super::{Document, Place};
use saphyr_parser::{Event, Parser, Span};
use std::collections::HashMap;

/// One step from a value to a value inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Step<'a> {
    /// The value of a key.
    Key(&'a str),
    /// An item, counted from 0.
    Item(usize),
}

impl<'a> From<&'a str> for Step<'a> {
    fn from(key: &'a str) -> Self {
        Self::Key(key)
    }
}

impl<'a> From<&'a String> for Step<'a> {
    fn from(key: &'a String) -> Self {
        Self::Key(key)
    }
}

impl From<usize> for Step<'_> {
    fn from(item: usize) -> Self {
        Self::Item(item)
    }
}

/// What is meant at the end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// The value.
    Value,
    /// The key that leads to it.
    Key,
    /// The second writing of the key that leads to it.
    Twin,
}

/// A value or key of a document.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spot<'a> {
    /// The document.
    pub(crate) document: &'a Document,
    /// The way from its root.
    pub(crate) path: &'a [Step<'a>],
    /// Value or key.
    pub(crate) target: Target,
}

/// Line and column, from 1, inside the document's own text.
type Mark = (usize, usize);

#[derive(Debug)]
struct Node {
    mark: Mark,
    inside: Inside,
}

#[derive(Debug)]
enum Inside {
    /// A scalar or an alias: nothing to go into.
    Leaf,
    /// The items.
    Items(Vec<Node>),
    /// Keys with their places, and values.
    Entries(Vec<(String, Mark, Node)>),
}

/// The places of one document.
#[derive(Debug, Default)]
pub(crate) struct SpanIndex {
    root: Option<Node>,
}

impl SpanIndex {
    /// Reads the places; of a document that cannot be read, as far as it could be.
    pub(crate) fn new(text: &str) -> Self {
        let mut open: Vec<Open> = Vec::new();
        let mut root = None;
        let mut parser = Parser::new_from_str(text);
        while let Some(Ok((event, span))) = parser.next_event() {
            // Deeper than a value of content can be: what is told about such a text stands above it, and nodes end by recursion.
            if open.len() > NESTING_MAX {
                break;
            }
            let done = match event {
                Event::Scalar(value, ..) => Some((node(span, Inside::Leaf), value.into_owned())),
                Event::Alias(..) => Some((node(span, Inside::Leaf), String::new())),
                Event::SequenceStart(..) => {
                    open.push(Open { node: node(span, Inside::Items(Vec::new())), key: None });
                    None
                }
                Event::MappingStart(..) => {
                    open.push(Open { node: node(span, Inside::Entries(Vec::new())), key: None });
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => open.pop().map(|open| (open.node, String::new())),
                Event::DocumentEnd => break,
                _ => None,
            };
            if let Some((node, scalar)) = done {
                match open.last_mut() {
                    Some(parent) => parent.take(node, scalar),
                    None => root = Some(node),
                }
            }
        }
        // What was still open when reading ended keeps what it has.
        while let Some(last) = open.pop() {
            match open.last_mut() {
                Some(parent) => parent.take(last.node, String::new()),
                None => root = Some(last.node),
            }
        }
        Self { root }
    }

    /// The place of what the path leads to, or of the nearest thing around it.
    fn mark(&self, path: &[Step<'_>], target: Target) -> Option<Mark> {
        let mut node = self.root.as_ref()?;
        let mut mark = node.mark;
        for (depth, step) in path.iter().enumerate() {
            let last = depth + 1 == path.len();
            match (step, &node.inside) {
                (Step::Item(item), Inside::Items(items)) => {
                    let Some(inner) = items.get(*item) else { return Some(mark) };
                    node = inner;
                    mark = inner.mark;
                }
                (Step::Key(key), Inside::Entries(entries)) => {
                    let mut same = entries.iter().filter(|(name, ..)| name == key);
                    let mut found = same.next();
                    if last && target == Target::Twin {
                        found = same.next().or(found);
                    }
                    let Some((_, key_mark, inner)) = found else { return Some(mark) };
                    node = inner;
                    mark = if last && target != Target::Value { *key_mark } else { inner.mark };
                }
                _ => return Some(mark),
            }
        }
        Some(mark)
    }
}

struct Open {
    node: Node,
    key: Option<(String, Mark)>,
}

impl Open {
    fn take(&mut self, node: Node, scalar: String) {
        match &mut self.node.inside {
            Inside::Leaf => {}
            Inside::Items(items) => items.push(node),
            Inside::Entries(entries) => match self.key.take() {
                None => {
                    // A block mapping begins where its first key does.
                    if entries.is_empty() {
                        self.node.mark = self.node.mark.min(node.mark);
                    }
                    self.key = Some((scalar, node.mark));
                }
                Some((key, mark)) => {
                    // An empty value has no place of its own that a reader would look at.
                    let node = if node.mark.0 > mark.0 && matches!(node.inside, Inside::Leaf) && scalar.is_empty() {
                        Node { mark, inside: Inside::Leaf }
                    } else {
                        node
                    };
                    entries.push((key, mark, node));
                }
            },
        }
    }
}

fn node(span: Span, inside: Inside) -> Node {
    Node { mark: (span.start.line(), span.start.col() + 1), inside }
}

/// Indexes of the documents asked about so far.
#[derive(Debug, Default)]
pub(crate) struct SpanCache {
    known: HashMap<(std::sync::Arc<str>, usize), SpanIndex>,
}

impl SpanCache {
    /// The place of a spot.
    pub(crate) fn place(&mut self, spot: Spot<'_>) -> Place {
        let document = spot.document;
        let index = self
            .known
            .entry((std::sync::Arc::clone(document.file()), document.first_line()))
            .or_insert_with(|| SpanIndex::new(document.text()));
        place_in(document, index, spot)
    }
}

/// The place of a spot, read from its document's text.
pub(crate) fn place_of(spot: Spot<'_>) -> Place {
    place_in(spot.document, &SpanIndex::new(spot.document.text()), spot)
}

fn place_in(document: &Document, index: &SpanIndex, spot: Spot<'_>) -> Place {
    match index.mark(spot.path, spot.target) {
        Some((line, column)) => Place {
            file: std::sync::Arc::clone(document.file()),
            line: document.first_line() + line.saturating_sub(1),
            column,
        },
        None => document.place(),
    }
}
