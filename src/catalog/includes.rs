//! Templates that take in others: what they name must be there, and must not lead back to where it began.

use super::Named;
use super::model::Template;
use super::render::RenderError;
use crate::content::Report;
use crate::content::names::nearest;
use std::collections::HashMap;

/// One `{% include "name" %}` (or import, from, extends).
#[derive(Debug, PartialEq, Eq)]
struct Taken<'a> {
    /// Where in the text its tag begins, bytes.
    at: usize,
    /// What it takes in.
    what: What<'a>,
}

/// What is taken in.
#[derive(Debug, PartialEq, Eq)]
enum What<'a> {
    /// One of these, the first that is there. `optional`: none of them has to be.
    Written { names: Vec<&'a str>, optional: bool },
    /// What comes of an expression.
    Computed,
}

/// Tells of names that lead nowhere, of circles, and of names that are made while rendering: where those lead is known only on a
/// machine, in the middle of its run.
pub(super) fn check(templates: &Named<Template>, report: &mut Report) {
    let mut next: HashMap<&str, Vec<(usize, &str)>> = HashMap::new();
    for (name, template) in templates {
        for Taken { at, what } in taken(&template.text) {
            let What::Written { names, optional } = what else {
                let message = "the name of an included template is written out".to_owned();
                let hint = "write it in quotes; to choose between some, put each into an `{% if %}` of its own";
                tell(template, at, message, Some(hint.to_owned()), report);
                continue;
            };
            let full = |written: &str| match name.split_once('.') {
                Some((pack, _)) if !written.contains('.') => format!("{pack}.{written}"),
                _ => written.to_owned(),
            };
            let known: Vec<&str> =
                names.iter().filter_map(|name| Some(&**templates.get_key_value(full(name).as_str())?.0)).collect();
            if let (true, false, Some(first)) = (known.is_empty(), optional, names.first()) {
                let message = format!("there is no Template `{first}`");
                let near = nearest(&full(first), templates.keys().map(AsRef::as_ref));
                tell(template, at, message, near.map(|near| format!("did you mean `{near}`?")), report);
            }
            next.entry(name).or_default().extend(known.into_iter().map(|known| (at, known)));
        }
    }
    for (name, template) in templates {
        // Told once, at the template of the circle whose name comes first.
        if let Some((at, way)) = circle(name, &next)
            && way.iter().min() == Some(&&**name)
        {
            let way: Vec<String> = way.iter().map(|name| format!("`{name}`")).collect();
            let message = format!("it takes in itself: {} -> `{name}`", way.join(" -> "));
            tell(template, at, message, Some("put what both need into a third template".to_owned()), report);
        }
    }
}

/// The shortest way from a template back to it, and where it begins in its text.
fn circle<'a>(from: &'a str, next: &HashMap<&'a str, Vec<(usize, &'a str)>>) -> Option<(usize, Vec<&'a str>)> {
    let mut came: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut waiting = std::collections::VecDeque::from([from]);
    while let Some(at) = waiting.pop_front() {
        for (place, to) in next.get(at).into_iter().flatten() {
            if *to == from {
                let (mut way, mut first, mut back) = (vec![at], *place, at);
                while let Some((place, before)) = came.get(back) {
                    (first, back) = (*place, before);
                    way.push(back);
                }
                way.reverse();
                return Some((first, way));
            }
            if !came.contains_key(to) {
                came.insert(to, (*place, at));
                waiting.push_back(to);
            }
        }
    }
    None
}

/// The tags of a text that take in others.
fn taken(text: &str) -> Vec<Taken<'_>> {
    tags(text).filter_map(|(at, tag)| Some(Taken { at, what: what(tag)? })).collect()
}

/// What a tag takes in; none: it is another tag.
fn what(tag: &str) -> Option<What<'_>> {
    let rest = ["include", "import", "extends", "from"].into_iter().find_map(|word| tag.strip_prefix(word))?;
    if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') {
        return None;
    }
    let rest = rest.trim();
    let listed = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    let (names, after) = match listed {
        Some((list, after)) => (list.trim().trim_end_matches(',').split(',').map(written).collect(), after),
        None => {
            let quote = rest.chars().next()?;
            let end = match quote {
                '"' | '\'' => rest.get(1..)?.find(quote).map_or(rest.len(), |end| end + 2),
                _ => rest.len(),
            };
            let (name, after) = rest.split_at_checked(end)?;
            (written(name).map(|name| vec![name]), after)
        }
    };
    // Anything else that follows is part of an expression.
    let word = after.split_whitespace().next().unwrap_or("");
    let plain = matches!(word, "" | "ignore" | "with" | "without" | "as" | "import");
    Some(match names.filter(|_| plain) {
        Some(names) => What::Written { names, optional: word == "ignore" },
        None => What::Computed,
    })
}

/// A name in quotes, without them.
fn written(text: &str) -> Option<&str> {
    let text = text.trim();
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let name = text.get(1..)?.strip_suffix(quote)?;
    (!name.contains(['\\', quote])).then_some(name)
}

/// The tags of a text and where they begin: not those in comments, in texts, or in what is `raw`.
fn tags(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut from = 0;
    let mut raw = false;
    std::iter::from_fn(move || {
        loop {
            let rest = text.get(from..)?;
            // One way through the text, however many of one kind and none of another are in it.
            let begins = |at: &usize| matches!(rest.as_bytes().get(at + 1), Some(b'%' | b'#' | b'{'));
            let at = from + rest.match_indices('{').map(|(at, _)| at).find(begins)?;
            let inside = text.get(at + 2..)?;
            match text.get(at..at + 2) {
                _ if raw && !is(inside, "endraw") => from = at + 1,
                Some("{#") => from = at + 2 + inside.find("#}")? + 2,
                Some("{%") => {
                    let end = ends(inside, "%}")?;
                    from = at + 2 + end + 2;
                    raw = is(inside, "raw");
                    let tag = inside.get(..end).unwrap_or("").trim_matches(['-', '+']).trim();
                    return Some((at, tag));
                }
                _ => from = at + 2 + ends(inside, "}}")? + 2,
            }
        }
    })
}

/// Whether a tag is this word.
fn is(inside: &str, word: &str) -> bool {
    let rest = inside.trim_start_matches(['-', '+']).trim_start().strip_prefix(word);
    rest.is_some_and(|rest| rest.trim_start().trim_start_matches(['-', '+']).starts_with("%}"))
}

/// Where code ends: at its mark, where that is in no text.
fn ends(inside: &str, mark: &str) -> Option<usize> {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in inside.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if matches!(c, '"' | '\'') => quote = Some(c),
            None if inside.get(at..)?.starts_with(mark) => return Some(at),
            None => {}
        }
    }
    None
}

fn tell(template: &Template, at: usize, message: String, hint: Option<String>, report: &mut Report) {
    let line = template.text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
    let error = RenderError::Failed { what: String::new(), line, range: Some((at, at)), message };
    super::tell::tell_template(template, &error, hint, report);
}

#[cfg(test)]
mod tests {
    use super::{Taken, What, taken};

    #[test]
    fn names_that_are_written_out_are_found_and_computed_ones_are_told() {
        for (text, expected) in [
            (r#"{% include "a" %}"#, Some("a")),
            ("{%- include 'a' ignore missing -%}", Some("a?")),
            (r#"{% import "c" as c %}"#, Some("c")),
            (r#"{% from "d" import e %}"#, Some("d")),
            (r#"{%+ extends "a" +%}"#, Some("a")),
            (r#"{% include ["f", 'g',] %}"#, Some("f g")),
            (r#"{% include ["f", "g"] ignore missing with context %}"#, Some("f g?")),
            ("{% include params.x %}", Some("computed")),
            ("{% extends base %}", Some("computed")),
            ("{% include (params.x) %}", Some("computed")),
            (r#"{% include "x" ~ name %}"#, Some("computed")),
            (r#"{% include "x" if name else "y" %}"#, Some("computed")),
            (r#"{% include ["f", name] %}"#, Some("computed")),
            (r#"{% include ["f", "g"][params.x] %}"#, Some("computed")),
            (r#"{% include "x\u0041" %}"#, Some("computed")),
            (r#"{% from params.x import e %}"#, Some("computed")),
            (r#"{{ "include" }}{% if "include" %}{% set included = 1 %}{% include_me %}{% include"#, None),
            (r#"{# {% include x %} #}{{ "{% include x %}" }}{% if "{% include x %}" %}"#, None),
            (r#"{%- raw -%}{% include x %}{{ "{% endraw %}"#, None),
        ] {
            let found: Vec<_> = taken(text)
                .into_iter()
                .map(|Taken { what, .. }| match what {
                    What::Written { names, optional } => names.join(" ") + if optional { "?" } else { "" },
                    What::Computed => "computed".to_owned(),
                })
                .collect();
            assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{text}");
        }
        let text = r#"{% raw %}{% include x %}{% endraw %}{% include "a" %}"#;
        let names = vec!["a"];
        assert_eq!(taken(text), [Taken { at: 36, what: What::Written { names, optional: false } }]);
    }

    #[test]
    fn a_text_is_gone_through_once_however_much_of_one_kind_is_in_it() {
        let began = std::time::Instant::now();
        for piece in ["{{1}}", "{#1#}", "{%1%}", "{ {"] {
            assert_eq!(taken(&piece.repeat(200_000)), []);
        }
        assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
        let text = r#"{% raw %}{{% endraw %}{% include "a" %}"#;
        assert_eq!(taken(text).len(), 1);
    }
}
