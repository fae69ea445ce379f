//! `formwork history`: revisions that were applied and refused, and what people said about following the source.

use super::error::CliError;
use super::output::{Style, Tone, Word, table};
use super::sentence::short;
use super::session::{Options, Session};
use super::time::Clock;
use crate::api::views::HistoryRow;
use clap::Args;

/// Shows which revisions were applied and refused, and when somebody suspended, rolled back or resumed.
#[derive(Debug, Args)]
#[command(after_help = "From the journal, the newest last.

Examples:
  formwork history
  formwork history -n 100 -o json | jq -r '.items[] | select(.outcome == \"refused\") | .findings[]'
  formwork rollback 3f2a91c --reason 'known good'     goes back to one that was applied")]
pub struct Arguments {
    /// The last so many lines.
    #[arg(short = 'n', long, value_name = "LINES", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lines: u32,
    #[command(flatten)]
    session: Options,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    let session = Session::open(&arguments.session)?;
    let list = session.client.history(arguments.lines)?;
    let serving = list.revision.as_deref();
    let names = || list.items.iter().filter_map(|row| row.revision.clone()).collect();
    session.output.answer(&list, names, |style| render(&list.items, serving, &session.clock, style))
}

fn render(rows: &[HistoryRow], serving: Option<&str>, clock: &Clock, style: Style) -> String {
    if rows.is_empty() {
        return "no revision was tried yet\n".to_owned();
    }
    // The last time it came to serve is where it serves from.
    let serves = rows.iter().rposition(|row| row.outcome == "applied" && row.revision.as_deref() == serving);
    let rows = rows.iter().enumerate().map(|(place, row)| {
        let tone = match row.outcome.as_str() {
            "applied" => Tone::Good,
            "refused" => Tone::Bad,
            _ => Tone::Waiting,
        };
        let outcome = if serves == Some(place) { format!("{}, serves", row.outcome) } else { row.outcome.clone() };
        vec![
            row.revision.as_deref().map_or("-", short).into(),
            clock.show(row.at_unix_ms).into(),
            Word::new(outcome, tone),
            row.machines.map_or_else(|| "-".to_owned(), |count| count.to_string()).into(),
            if row.count == 0 { "-".into() } else { row.count.to_string().into() },
            what(row).into(),
        ]
    });
    table(&["revision", "when", "outcome", "machines", "findings", "what"], rows, style)
}

/// Its subject line, and who said why.
fn what(row: &HistoryRow) -> String {
    let said = row.by.as_ref().map(|by| match &row.reason {
        Some(reason) => format!("by {by}: {reason}"),
        None => format!("by {by}"),
    });
    match (&row.summary, said) {
        (Some(summary), Some(said)) => format!("{summary} ({said})"),
        (Some(summary), None) => summary.clone(),
        (None, Some(said)) => said,
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: &str, revision: Option<&str>) -> HistoryRow {
        HistoryRow {
            sequence: 1,
            at_unix_ms: 1_795_384_984_000,
            outcome: outcome.to_owned(),
            revision: revision.map(str::to_owned),
            summary: revision.map(|_| "Add node-4".to_owned()),
            count: 0,
            findings: Vec::new(),
            machines: None,
            by: None,
            reason: None,
        }
    }

    #[test]
    fn history_reads_from_top_to_bottom_and_says_which_serves() {
        let (a, b) = ("aaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbb");
        let mut first = row("applied", Some(a));
        first.machines = Some(3);
        let mut refused = row("refused", Some(b));
        refused.count = 2;
        let mut pinned = row("pinned", Some(a));
        (pinned.by, pinned.reason) = (Some("ann".to_owned()), Some("slow".to_owned()));
        let mut resumed = row("resumed", None);
        resumed.by = Some("ann".to_owned());
        let again = first.clone();
        let rows = [first, refused, pinned, again, resumed];
        let text = render(&rows, Some(a), &Clock::fixed(1_795_384_996_000), Style::default());
        insta::assert_snapshot!(text, @r"
        REVISION    WHEN      OUTCOME          MACHINES  FINDINGS  WHAT
        aaaaaaaaaa  22:03:04  applied          3         -         Add node-4
        bbbbbbbbbb  22:03:04  refused          -         2         Add node-4
        aaaaaaaaaa  22:03:04  pinned           -         -         Add node-4 (by ann: slow)
        aaaaaaaaaa  22:03:04  applied, serves  3         -         Add node-4
        -           22:03:04  resumed          -         -         by ann
        ");
        assert_eq!(render(&[], None, &Clock::fixed(0), Style::default()), "no revision was tried yet\n");
    }
}
