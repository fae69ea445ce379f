//! The rows of `formwork status` about what is followed.

use crate::api::views::SourceRow;
use crate::cli::output::{Tone, Word};
use crate::cli::time::Clock;

/// That a repository on the server's disk has lost something of its older commits.
pub(super) fn history(source: &SourceRow) -> Option<String> {
    let damage = source.damage.as_ref()?;
    Some(format!("{damage}; what serves is whole, and nobody can clone it: docs/git.md"))
}

/// A source that is asked and does not answer is said to be silent after so long, milliseconds.
const SILENT_MS: i64 = 5_000;

/// One followed source in a line: how it stands and since when, what it shows, when it was seen, what serves of it, what is wrong.
pub(super) fn source_of(source: &SourceRow, clock: &Clock) -> Vec<Word> {
    let short = |id: &Option<String>| id.as_deref().map_or("nothing", |id| id.get(..10).unwrap_or(id)).to_owned();
    let seen = source.last_success_unix_ms.map_or("never seen".to_owned(), |at| format!("seen {}", clock.ago(at)));
    // Every look is a question: only one that stays without an answer is worth a word.
    let asked = source.asked_unix_ms.filter(|at| clock.until(at.saturating_add(SILENT_MS)) <= 0);
    let seen = match asked {
        Some(at) => format!("{seen}, asked {} and silent since", clock.ago(at)),
        None => seen,
    };
    let shows = format!("{} of {} ({seen})", short(&source.head), source.follows);
    let serves = match &source.applied {
        applied if *applied != source.head => format!("{} serves", short(applied)),
        Some(_) => "serves".to_owned(),
        None => "nothing of it serves".to_owned(),
    };
    let (name, condition) = (&source.name, &source.condition);
    if condition == "Ready" {
        return vec!["source".into(), format!("{name}: {shows} {serves}").into()];
    }
    let tone = if condition == "Stalled" { Tone::Bad } else { Tone::Waiting };
    let since = source.since_unix_ms.map_or_else(String::new, |at| format!(" since {}", clock.ago(at)));
    let said = format!("{name}: {condition}{since}: {shows}, {serves}; {}", source.message);
    vec!["source".into(), Word::new(said, tone)]
}
