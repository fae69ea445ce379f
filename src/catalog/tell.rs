//! How a rendering that fails is told: in which words, where in the template, and what helps.

use super::model::Template;
use super::render::RenderError;
use crate::content::{Document, Place, Report, Severity, Step, place_of};
use std::sync::Arc;

/// What helps against a failed rendering, where that can be said.
pub(super) fn render_hint(message: &str) -> Option<String> {
    let hint = if message.contains("undefined") {
        "give the value, or ask for it in the template: `{% if params.name is defined %}`"
    } else if message.contains("out of fuel") || message.contains("recursion limit") {
        "a rendering is bounded: it loops too often, calls itself, or makes too long a text"
    } else if message.contains("`namespace`") {
        "a loop's sum or list comes of filters: `map`, `select`, `selectattr`, `join`, `sum`, `length`"
    } else if message.contains("is repeated") || message.contains("what the template built") {
        "build it in one expression, out of params and facts; text is joined by `~`"
    } else if message.contains(" signs") || message.contains("`elif`") {
        "give parts of it names by `{% set %}`, look things up in a map, or make it several templates"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

/// What is said of it, without its place.
pub(super) fn message_of(error: &RenderError) -> String {
    match error {
        RenderError::Failed { message, .. } => message.clone(),
        other => other.to_string(),
    }
}

/// Where in a template an error is.
pub(super) fn template_place(template: &Template, error: &RenderError) -> Place {
    let RenderError::Failed { line, range, .. } = error else { return template.document.place() };
    let column = range.and_then(|(start, _)| {
        let before = template.text.get(..start)?;
        Some(before.rsplit('\n').next().unwrap_or("").chars().count() + 1)
    });
    match &template.file {
        Some(file) => Place { file: Arc::clone(file), line: *line, column: column.unwrap_or(1) },
        None => inline_place(&template.document, &[Step::Key("spec"), Step::Key("text")], *line, column),
    }
}

/// Where a line of a text that stands in a document is; exact in a block (`|`).
fn inline_place(document: &Document, path: &[Step<'_>], line: usize, column: Option<usize>) -> Place {
    let place = place_of(document.value(path));
    // A block's place is its first line of text; the line above ends with its indicator.
    let above = place.line.checked_sub(document.first_line() + 1).and_then(|above| document.text().lines().nth(above));
    if !above.is_some_and(|above| above.trim_end().trim_end_matches(['-', '+']).ends_with('|')) {
        return place;
    }
    Place { line: place.line + line - 1, column: column.map_or(1, |column| column + place.column - 1), ..place }
}

/// Tells what is wrong with a template where it is.
pub(super) fn tell_template(template: &Template, error: &RenderError, hint: Option<String>, report: &mut Report) {
    report
        .at(
            Severity::Error,
            "template",
            template_place(template, error),
            format!("template `{}`: {}", template.name, message_of(error)),
        )
        .hint_if(hint);
}
