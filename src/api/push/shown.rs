//! Findings as a pusher is shown them: with the line they are about. Pure.

use crate::content::Tree;
use serde::{Deserialize, Serialize};

/// The longest piece of a line that is shown, characters.
const LINE_MAX: usize = 64;
/// Stands where the line goes on.
const CUT: char = '…';

/// A finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// It refuses the revision.
    pub error: bool,
    /// `file:line:column`; empty where there is none.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line it is about.
    pub source: Option<Source>,
}

/// A line of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Counted from 1.
    pub line: usize,
    /// The text, or a piece of it.
    pub text: String,
    /// The character of `text` it is about, counted from 0.
    pub at: usize,
}

impl Shown {
    /// A finding from its text (`file:line:column: error: message`, and a hint below), with its line from the files.
    pub fn from_text(text: &str, tree: &Tree) -> Self {
        let (first, hint) = match text.split_once("\n  hint: ") {
            Some((first, hint)) => (first, Some(hint.to_owned())),
            None => (text, None),
        };
        let cut = |word: &str, error| first.split_once(word).map(|(place, message)| (place, message, error));
        let found = [cut(": error: ", true), cut(": warning: ", false)].into_iter().flatten();
        // The word of the severity stands before any message that may hold the other.
        let Some((place, message, error)) = found.min_by_key(|(place, ..)| place.len()) else {
            return Self { error: true, place: String::new(), message: first.to_owned(), hint, source: None };
        };
        let source = line_of(place, tree);
        Self { error, place: place.to_owned(), message: message.to_owned(), hint, source }
    }
}

fn line_of(place: &str, tree: &Tree) -> Option<Source> {
    let mut words = place.rsplitn(3, ':');
    let (column, line, file) =
        (words.next()?.parse::<usize>().ok()?, words.next()?.parse::<usize>().ok()?, words.next()?);
    let text = std::str::from_utf8(&tree.files.get(file)?.bytes).ok()?;
    let text = text.lines().nth(line.checked_sub(1)?)?.trim_end();
    // What a terminal would take for a command is no text.
    let characters: Vec<char> = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let at = column.checked_sub(1)?;
    if characters.iter().all(|c| c.is_whitespace()) || at > characters.len() {
        return None;
    }
    if characters.len() <= LINE_MAX {
        return Some(Source { line, text: characters.into_iter().collect(), at });
    }
    // Where a line goes on beyond its piece, a sign says so.
    let from = at.saturating_sub(LINE_MAX / 2).min(characters.len() - LINE_MAX);
    let mut piece: Vec<char> = characters.iter().copied().skip(from).take(LINE_MAX).collect();
    if let Some(first) = piece.first_mut().filter(|_| from > 0) {
        *first = CUT;
    }
    if let Some(last) = piece.last_mut().filter(|_| from + LINE_MAX < characters.len()) {
        *last = CUT;
    }
    Some(Source { line, text: piece.into_iter().collect(), at: at - from })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{File, FileKind};
    use std::sync::Arc;

    fn tree(text: &str) -> Tree {
        let file = File { bytes: Arc::from(text.as_bytes()), kind: FileKind::Regular, blob: None };
        Tree { files: std::collections::BTreeMap::from([("a b.yaml".to_owned(), file)]).into(), ..Tree::default() }
    }

    #[test]
    fn a_finding_brings_the_line_it_is_about() {
        let text = "a b.yaml:2:7: error: there is no warning: x\n  hint: write\n  two lines";
        let shown = Shown::from_text(text, &tree("one\n  two: x\n"));
        assert!(shown.error && shown.place == "a b.yaml:2:7");
        assert_eq!(
            (shown.message.as_str(), shown.hint.as_deref()),
            ("there is no warning: x", Some("write\n  two lines"))
        );
        assert_eq!(shown.source, Some(Source { line: 2, text: "  two: x".into(), at: 6 }));
    }

    #[test]
    fn what_has_no_place_is_shown_all_the_same() {
        let shown = Shown::from_text("the revision is over the limit", &tree(""));
        assert_eq!(
            (shown.error, shown.place.as_str(), shown.message.as_str()),
            (true, "", "the revision is over the limit")
        );
        for place in ["nope:1:1", "a b.yaml:9:1", "a b.yaml:1:99", "a b.yaml:0:0", "a b.yaml:x:1"] {
            let shown = Shown::from_text(&format!("{place}: warning: w"), &tree("one\n"));
            assert_eq!((shown.error, shown.source), (false, None), "{place}");
        }
    }

    #[test]
    fn a_long_line_is_cut_around_its_place_and_holds_no_commands() {
        let long = format!("{}\x1b[31m{}", "x".repeat(300), "y".repeat(300));
        let shown = Shown::from_text("a b.yaml:1:301: error: e", &tree(&long));
        let source = shown.source.expect("a line");
        assert_eq!(source.text.chars().count(), LINE_MAX);
        assert!(!source.text.contains('\x1b') && source.at == LINE_MAX / 2);
        assert!(source.text.starts_with("…xxx") && source.text.ends_with("yyy…"), "{}", source.text);
        let piece = |place: &str| Shown::from_text(&format!("{place}: error: e"), &tree(&long)).source.expect("a line");
        let (first, last) = (piece("a b.yaml:1:2"), piece("a b.yaml:1:605"));
        assert!(first.text.starts_with("xxx") && first.text.ends_with("xxx…") && first.at == 1, "{first:?}");
        assert!(last.text.starts_with("…yyy") && last.text.ends_with("yyy") && last.at == LINE_MAX - 1, "{last:?}");
    }
}
