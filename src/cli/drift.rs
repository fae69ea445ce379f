//! How machines stand to Git, drawn for `formwork status`. Pure.

use super::output::{Style, Tone, Word, table};
use super::sentence::short;
use super::time::Clock;
use crate::inspect::{Lag, MachineStanding, Standing};
use std::collections::BTreeMap;

/// Words of standings in the order they are told.
const ORDER: &[(&str, &str)] = &[
    ("in-step", "in step"),
    ("behind", "behind"),
    ("unknown", "unknown to Git"),
    ("never-seen", "never seen"),
    ("left", "left"),
];

/// `3 in step, 1 behind, 1 unknown to Git`.
pub fn line(counts: &BTreeMap<String, u32>) -> String {
    let told: Vec<String> = ORDER
        .iter()
        .filter_map(|(key, word)| counts.get(*key).filter(|count| **count > 0).map(|count| format!("{count} {word}")))
        .collect();
    if told.is_empty() { "no machines".to_owned() } else { told.join(", ") }
}

const HEADS: &[&str] = &["name", "to git", "why", "runs", "since", "what"];

/// A line a machine.
pub fn draw(rows: &[&MachineStanding], clock: &Clock, style: Style) -> String {
    let rows = rows.iter().map(|row| {
        let (word, tone) = match row.standing {
            Standing::InStep => ("in step", Tone::Good),
            Standing::Behind => ("behind", Tone::Bad),
            Standing::Unknown => ("unknown to Git", Tone::Waiting),
            Standing::NeverSeen => ("never seen", Tone::Waiting),
            Standing::Left => ("left", Tone::Plain),
        };
        vec![
            row.name.as_str().into(),
            Word::new(word, tone),
            row.lag.map_or("-", lag).into(),
            row.runs.as_deref().map_or("-", short).into(),
            row.since_unix_ms.map_or_else(|| "-".to_owned(), |at| clock.ago(at)).into(),
            row.message.as_str().into(),
        ]
    });
    table(HEADS, rows, style)
}

const fn lag(lag: Lag) -> &'static str {
    match lag {
        Lag::Quarantine => "quarantine",
        Lag::NotAdopted => "to be adopted",
        Lag::Held => "held",
        Lag::Diverged => "diverged",
        Lag::Failed => "failed",
        Lag::Overdue => "overdue",
        Lag::OlderRevision => "older revision",
        Lag::ChangedSince => "changed since",
        Lag::Cancelled => "cancelled",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_is_said_in_a_line_and_machine_by_machine() {
        let counts = BTreeMap::from([("behind".to_owned(), 1), ("in-step".to_owned(), 3), ("left".to_owned(), 0)]);
        assert_eq!(line(&counts), "3 in step, 1 behind");
        assert_eq!(line(&BTreeMap::new()), "no machines");
        let row = |name: &str, standing, lag, message: &str| MachineStanding {
            name: name.to_owned(),
            former: None,
            standing,
            lag,
            message: message.to_owned(),
            runs: (standing != Standing::Unknown).then(|| "0123456789abcdef0123".to_owned()),
            since_unix_ms: Some(1_795_384_984_000),
        };
        let rows = [
            row("a1", Standing::InStep, None, "run 1 is done"),
            row("a2", Standing::Behind, Some(Lag::Failed), "task burn failed: exit code 1"),
            row("52:54:00:00:00:09", Standing::Unknown, None, "no declaration and no rule matches"),
        ];
        let rows: Vec<&MachineStanding> = rows.iter().collect();
        insta::assert_snapshot!(draw(&rows, &Clock::fixed(1_795_384_996_000), Style::default()), @r"
        NAME               TO GIT          WHY     RUNS        SINCE    WHAT
        a1                 in step         -       0123456789  12s ago  run 1 is done
        a2                 behind          failed  0123456789  12s ago  task burn failed: exit code 1
        52:54:00:00:00:09  unknown to Git  -       -           12s ago  no declaration and no rule matches
        ");
    }
}
