//! Templates that take in others: what they name must be there, and must not lead back to where it began.

use super::Named;
use super::model::Template;
use super::render::RenderError;
use crate::content::Report;
use crate::content::names::nearest;
use std::collections::HashMap;

/// One `{% include "name" %}` (or import, from, extends) whose name is written out.
struct Taken<'a> {
    /// Where in the text its tag begins, bytes.
    at: usize,
    /// As written.
    name: &'a str,
    /// It may be missing.
    optional: bool,
}

/// Tells of names that lead nowhere and of circles. A name that is made while rendering is not known here.
pub(super) fn check(templates: &Named<Template>, report: &mut Report) {
    let mut next: HashMap<&str, Vec<(usize, &str)>> = HashMap::new();
    for (name, template) in templates {
        for taken in taken(&template.text) {
            let full = match name.split_once('.') {
                Some((pack, _)) if !taken.name.contains('.') => format!("{pack}.{}", taken.name),
                _ => taken.name.to_owned(),
            };
            match templates.get_key_value(full.as_str()) {
                Some((known, _)) => next.entry(name).or_default().push((taken.at, known)),
                None if taken.optional => {}
                None => {
                    let message = format!("there is no Template `{}`", taken.name);
                    let near = nearest(&full, templates.keys().map(AsRef::as_ref));
                    tell(template, taken.at, message, near.map(|near| format!("did you mean `{near}`?")), report);
                }
            }
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

fn taken(text: &str) -> Vec<Taken<'_>> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("{%") {
        let inside = text.get(at + 2..).unwrap_or("");
        let tag = inside.split("%}").next().unwrap_or("").trim_start_matches(['-', '+']).trim_start();
        let rest = ["include", "import", "extends", "from"].into_iter().find_map(|word| tag.strip_prefix(word));
        let Some(rest) = rest.map(str::trim_start) else { continue };
        let Some(quote) = rest.chars().next().filter(|c| matches!(c, '"' | '\'')) else { continue };
        let Some((name, after)) = rest.get(1..).and_then(|rest| rest.split_once(quote)) else { continue };
        // What follows a choice of names is no plain name.
        if !name.contains('\\') && !after.trim_start().starts_with(['~', '+', '|']) {
            found.push(Taken { at, name, optional: after.contains("ignore missing") });
        }
    }
    found
}

fn tell(template: &Template, at: usize, message: String, hint: Option<String>, report: &mut Report) {
    let line = template.text.get(..at).map_or(1, |before| before.matches('\n').count() + 1);
    let error = RenderError::Failed { what: String::new(), line, range: Some((at, at)), message };
    super::tell::tell_template(template, &error, hint, report);
}

#[cfg(test)]
mod tests {
    use super::taken;

    #[test]
    fn names_that_are_written_out_are_found_and_others_are_not() {
        let text = r#"{% include "a" %}{%- include 'b' ignore missing -%}{% import "c" as c %}{% from "d" import e %}
            {% extends base %}{% include ["f", "g"] %}{{ "include" }}{% include "x" ~ name %}{% if "include" %}{% include"#;
        let found: Vec<_> = taken(text).into_iter().map(|taken| (taken.name, taken.optional)).collect();
        assert_eq!(found, [("a", false), ("b", true), ("c", false), ("d", false)]);
    }
}
