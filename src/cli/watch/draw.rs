//! The live view as text: a line a machine, and a line a change. Pure.

use crate::api::views::{MachineSummary, Phase};
use crate::cli::fit;
use crate::cli::get::{phase_word, place_words, tone_of_phase, waits_words};
use crate::cli::output::{Style, printable};
use crate::cli::time::coarse;
use std::collections::BTreeMap;

/// A machine as the view knows it: absent until the server has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// What the API says of it.
    pub machine: Option<MachineSummary>,
    /// Since when it looks like this, on this computer, milliseconds ago.
    pub since_ms: i64,
    /// How long ago it last said anything, milliseconds.
    pub seen_ms: Option<i64>,
}

/// What makes a machine look different: of the words it waits for, not those of a machine that boots, which count time.
pub fn look(machine: &MachineSummary) -> impl PartialEq + use<> {
    let quiet = matches!(machine.phase, Phase::Booting | Phase::Overdue);
    (
        machine.phase,
        machine.run,
        machine.boots,
        machine.environment.clone(),
        machine.stage.clone(),
        machine.task.clone(),
        (!quiet).then(|| machine.waits_for.clone()),
    )
}

/// The parts of a machine's line, in columns.
fn parts(machine: &MachineSummary) -> [String; 6] {
    let place = |word: &str, place: &Option<crate::api::views::Place>| {
        place.as_ref().map(|place| format!("{word} {}", place_words(place))).unwrap_or_default()
    };
    [
        phase_word(machine.phase).to_owned(),
        machine.run.map(|run| format!("run {run}")).unwrap_or_default(),
        if machine.boots > 0 { format!("boot {}", machine.boots) } else { String::new() },
        machine.environment.as_deref().map(fit::short_name).unwrap_or_default().to_owned(),
        place("stage", &machine.stage),
        place("task", &machine.task),
    ]
}

/// One change, as a line for a pipe or a log.
pub fn change(name: &str, machine: Option<&MachineSummary>) -> String {
    let Some(machine) = machine else { return format!("{name}: not there yet") };
    let parts: Vec<String> = parts(machine).into_iter().filter(|part| !part.is_empty()).collect();
    let waits = if machine.waits_for.is_empty() { String::new() } else { format!(": {}", machine.waits_for) };
    printable(&format!("{name}: {}{waits}", parts.join(", ")).replace('\n', " "))
}

const HEADS: [&str; 10] =
    ["NAME", "PHASE", "RUN", "BOOT", "ENVIRONMENT", "STAGE", "TASK", "SINCE", "SEEN", "WAITS FOR"];

fn cells(row: &Row) -> [String; 10] {
    let Some(machine) = &row.machine else {
        return [row.name.as_str(), "absent", "", "", "", "", "", "", "", "to be declared or enrolled"]
            .map(str::to_owned);
    };
    let place = |place: &Option<crate::api::views::Place>| place.as_ref().map(place_words).unwrap_or_default();
    [
        row.name.clone(),
        phase_word(machine.phase).to_owned(),
        machine.run.map(|run| run.to_string()).unwrap_or_default(),
        machine.boots.to_string(),
        machine.environment.as_deref().map(fit::short_name).unwrap_or_default().to_owned(),
        place(&machine.stage),
        place(&machine.task),
        coarse(row.since_ms),
        row.seen_ms.map(|ago| format!("{} ago", coarse(ago))).unwrap_or_default(),
        waits_words(machine).to_owned(),
    ]
    .map(|cell| printable(&cell).replace(['\n', '\t'], " "))
}

/// Columns that go first where the terminal is narrow: run, boot, seen, environment.
const FIRST_TO_GO: [usize; 4] = [2, 3, 8, 4];
/// What a machine waits for keeps at least so many characters, or gets a line of its own.
const WAITS_LEAST: usize = 30;
/// Before what a machine waits for on a line of its own.
const INDENT: &str = "    ";

/// The whole view: `head`, the columns' heads, then a line a machine (two where what it waits for has no room beside it), each
/// at most as wide as the terminal, at most `height` lines in all (of a terminal that has at least five).
pub fn frame(head: &str, rows: &[Row], style: Style, height: usize) -> Vec<String> {
    let width = style.width.unwrap_or(usize::MAX);
    let cells: Vec<[String; 10]> = rows.iter().map(cells).collect();
    let mut widths = [0; 10];
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    // A column that is empty everywhere takes no room; one that is not has room for its head.
    for (width, head) in widths.iter_mut().zip(HEADS).filter(|(width, _)| **width > 0) {
        *width = head.len().max(*width);
    }
    let mut shown = fit::shown(&widths, &FIRST_TO_GO, WAITS_LEAST, width);
    let [.., waits_width] = widths;
    let own_line = fit::total(&widths, &shown).saturating_add(waits_width.min(WAITS_LEAST)) > width;
    if let (true, Some(waits)) = (own_line, shown.last_mut()) {
        *waits = false;
    }
    let line = |cells: &[&str]| {
        let columns = cells.iter().zip(widths).zip(&shown).filter(|(_, shown)| **shown);
        let text: String = columns.map(|((cell, width), _)| format!("{cell:width$}  ")).collect();
        cut(text.trim_end(), width)
    };
    let mut lines = vec![cut(&printable(head), width)];
    if !rows.is_empty() {
        lines.push(line(&HEADS));
    }
    let drawn: Vec<Vec<String>> = rows
        .iter()
        .zip(&cells)
        .map(|(row, cells)| {
            let waits = cells.last().filter(|waits| own_line && !waits.is_empty() && *waits != "-");
            let cells: Vec<&str> = cells.iter().map(String::as_str).collect();
            let mut lines = vec![paint(&line(&cells), row, widths[0], style)];
            lines.extend(waits.map(|waits| cut(&format!("{INDENT}{waits}"), width)));
            lines
        })
        .collect();
    // The cursor's own line, the two above, and the one that says how many more there are.
    let room = height.saturating_sub(lines.len() + 1).max(1);
    let mut left = if drawn.iter().map(Vec::len).sum::<usize>() > room { room.saturating_sub(1).max(1) } else { room };
    let mut more = drawn.len();
    for machine in drawn {
        if machine.len() > left {
            break;
        }
        left -= machine.len();
        more -= 1;
        lines.extend(machine);
    }
    if more > 0 {
        lines.push(cut(&format!("… and {more} more"), width));
    }
    lines
}

/// The phase in its colour. The line is cut already: colours take no columns.
fn paint(line: &str, row: &Row, name_width: usize, style: Style) -> String {
    let Some(machine) = row.machine.as_ref().filter(|_| style.colour) else { return line.to_owned() };
    let word = phase_word(machine.phase);
    let Some(sgr) = tone_of_phase(machine.phase).sgr() else { return line.to_owned() };
    let start = line.char_indices().nth(name_width + 2).map(|(start, _)| start);
    match start.and_then(|start| line.get(start..)?.strip_prefix(word).map(|rest| (start, rest))) {
        Some((start, rest)) => format!("{}\x1b[{sgr}m{word}\x1b[0m{rest}", line.get(..start).unwrap_or_default()),
        None => line.to_owned(),
    }
}

/// At most so many characters; what is cut off is shown to be.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `2 ready, 1 working`.
pub fn phases(rows: &[Row]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.machine.as_ref().map_or("absent", |it| phase_word(it.phase))).or_default() += 1;
    }
    let words: Vec<String> = counts.iter().map(|(phase, count)| format!("{count} {phase}")).collect();
    if words.is_empty() { "no machines yet".to_owned() } else { words.join(", ") }
}

/// The bytes that put `lines` in the place of the `before` lines drawn last (ECMA-48: CUU, EL, ED).
pub fn redraw(lines: &[String], before: usize) -> String {
    let mut text = String::new();
    if before > 0 {
        text.push_str(&format!("\x1b[{before}A\r"));
    }
    for line in lines {
        text.push_str(line);
        text.push_str("\x1b[K\n");
    }
    text.push_str("\x1b[J");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::views::Place;
    use crate::cli::testing::machine;

    fn rows() -> Vec<Row> {
        let mut working = machine("node-1", Phase::Working);
        working.stage = Some(Place { name: "burn-in".to_owned(), index: 2, of: 5 });
        working.task = Some(Place { name: "hardware.memory".to_owned(), index: 1, of: 3 });
        let mut held = machine("a-machine-with-a-long-name", Phase::Held);
        held.waits_for = "two machines claim its MAC:\nmend machines/a.yaml".to_owned();
        let row = |name: &str, machine, since_ms| Row { name: name.to_owned(), machine, since_ms, seen_ms: None };
        vec![
            row("node-1", Some(working), 12_000),
            row("a-machine-with-a-long-name", Some(held), 61_000),
            row("node-3", None, 0),
        ]
    }

    #[test]
    fn the_view_has_a_line_a_machine_in_columns() {
        let style = Style { width: Some(140), colour: false };
        insta::assert_snapshot!(frame("lab", &rows(), style, 24).join("\n"), @r"
        lab
        NAME                        PHASE    RUN  BOOT  ENVIRONMENT    STAGE        TASK                 SINCE  WAITS FOR
        node-1                      working  1    2     discovery.ram  2/5 burn-in  1/3 hardware.memory  12s    -
        a-machine-with-a-long-name  held     1    2     discovery.ram                                    1m01s  two machines claim its MAC: mend ma…
        node-3                      absent                                                                      to be declared or enrolled
        ");
    }

    #[test]
    fn what_a_machine_waits_for_is_read_on_a_terminal_of_80_columns() {
        let style = Style { width: Some(80), colour: false };
        let mut rows = rows();
        if let Some(machine) = rows.first_mut().and_then(|row| row.machine.as_mut()) {
            machine.waits_for = "key etcd/bootstrap (node-2 leads)".to_owned();
        }
        insta::assert_snapshot!(frame("lab", &rows, style, 24).join("\n"), @r"
        lab
        NAME                        PHASE    STAGE        TASK                 SINCE
        node-1                      working  2/5 burn-in  1/3 hardware.memory  12s
            key etcd/bootstrap (node-2 leads)
        a-machine-with-a-long-name  held                                       1m01s
            two machines claim its MAC: mend machines/a.yaml
        node-3                      absent
            to be declared or enrolled
        ");
    }

    #[test]
    fn when_a_machine_last_said_anything_is_shown_where_there_is_room() {
        let mut rows = rows();
        if let Some(row) = rows.first_mut() {
            row.seen_ms = Some(125_000);
        }
        let line = |width| frame("lab", &rows, Style { width: Some(width), colour: false }, 24).swap_remove(2);
        assert!(line(200).contains("12s    2m05s ago"), "{}", line(200));
        assert!(!line(80).contains("ago"), "{}", line(80));
    }

    #[test]
    fn the_view_never_outgrows_the_terminal() {
        for (width, height) in [(40, 24), (10, 5), (1, 1)] {
            let lines = frame(
                "a head that is longer than the line",
                &rows(),
                Style { width: Some(width), colour: false },
                height,
            );
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{lines:?}");
            assert!(lines.len() < height.max(5), "{lines:?}");
        }
    }

    #[test]
    fn only_the_phase_is_coloured_and_no_text_is_lost() {
        let style = |colour| Style { width: Some(140), colour };
        let plain = frame("lab", &rows(), style(false), 24);
        let coloured = frame("lab", &rows(), style(true), 24);
        assert!(coloured[2].contains("\x1b[36mworking\x1b[0m"));
        assert!(coloured[3].contains("\x1b[31mheld\x1b[0m"));
        let bare = |line: &String| {
            ["\x1b[36m", "\x1b[31m", "\x1b[0m"].iter().fold(line.clone(), |text, code| text.replace(code, ""))
        };
        assert_eq!(coloured.iter().map(bare).collect::<Vec<_>>(), plain);
    }

    #[test]
    fn a_change_is_one_line() {
        let rows = rows();
        assert_eq!(
            change("node-1", rows[0].machine.as_ref()),
            "node-1: working, run 1, boot 2, discovery.ram, stage 2/5 burn-in, task 1/3 hardware.memory"
        );
        assert_eq!(change("node-3", None), "node-3: not there yet");
        assert_eq!(change("b", rows[1].machine.as_ref()).lines().count(), 1);
    }

    #[test]
    fn a_booting_machine_that_counts_minutes_does_not_change_and_one_that_waits_for_another_key_does() {
        let mut before = machine("a", Phase::Booting);
        let mut after = before.clone();
        after.waits_for = "was offered discovery 3m ago and no agent has checked in".to_owned();
        assert!(look(&before) == look(&after));
        before.phase = Phase::Working;
        after.phase = Phase::Working;
        after.waits_for = "key etcd/bootstrap (node-1 leads)".to_owned();
        assert!(look(&before) != look(&after));
    }
}
