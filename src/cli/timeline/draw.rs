//! Timelines as text: bars on one common axis, then what happened in order, then totals by stage. Pure.

use super::fold::{Activity, End, RunTimeline};
use crate::cli::output::{Style, Tone, Word, printable, table, table_headed};
use crate::cli::sentence::count;
use crate::cli::time::{Clock, coarse, span};
use crate::wire::JobOutcome;

/// Columns where there is no terminal to ask.
const WIDTH: usize = 100;
/// Fewer columns would show nothing.
const BAR_MIN: usize = 20;
/// With more machines, a column each would not fit.
const COLUMNS_MAX: usize = 4;
/// Colours of stages in turn (SGR); red is kept for failures.
const COLOURS: &[&str] = &["32", "36", "33", "35", "34", "92", "96", "93", "95", "94"];

/// Everything: bars, details (unless `brief`), totals. `lines` is not empty.
pub fn draw(lines: &[RunTimeline], brief: bool, clock: &Clock, style: Style) -> String {
    let stages = stages(lines);
    let mut text = bars(lines, &stages, clock, style);
    if !brief {
        for line in lines {
            text.push('\n');
            text.push_str(&details(line, style));
        }
    }
    text.push('\n');
    text.push_str(&totals(lines, &stages, style));
    text
}

/// All stages, in the order in which they were first entered.
fn stages(lines: &[RunTimeline]) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for line in lines {
        for span in &line.spans {
            if let Activity::Stage { name } = &span.activity
                && !found.contains(name)
            {
                found.push(name.clone());
            }
        }
    }
    found
}

/// `A` for the first stage, and so on.
fn letter(index: usize) -> char {
    ('A'..='Z').chain('a'..='z').nth(index).unwrap_or('#')
}

fn glyph(activity: &Activity, stages: &[String]) -> char {
    match activity {
        Activity::Boot { .. } => '-',
        Activity::Restart => '.',
        Activity::Wait => '_',
        Activity::Stage { name } => stages.iter().position(|stage| stage == name).map_or('#', letter),
    }
}

fn bars(lines: &[RunTimeline], stages: &[String], clock: &Clock, style: Style) -> String {
    let from = lines.iter().map(|line| line.from).min().unwrap_or_default();
    let to = lines.iter().map(|line| line.to).max().unwrap_or_default().max(from + 1);
    let labels: Vec<String> =
        lines.iter().map(|line| printable(&format!("{}  run {}", line.machine, line.run))).collect();
    let label_width = labels.iter().map(|label| label.chars().count()).max().unwrap_or_default() + 2;
    // Behind the bar: two blanks and a span such as `59m59s`.
    let columns = style.width.unwrap_or(WIDTH).saturating_sub(label_width + 9).max(BAR_MIN);
    let mut text = format!(
        "{} in {}, {} to {}\n\n",
        count(lines.len(), "machine"),
        coarse(to - from),
        clock.show(from),
        clock.show(to)
    );
    for row in axis(to - from, columns) {
        text.push_str(format!("{:label_width$}{row}", "").trim_end());
        text.push('\n');
    }
    for (line, label) in lines.iter().zip(&labels) {
        let cells = cells(line, stages, from, to, columns);
        let open = if line.end == End::Open { "+" } else { "" };
        text.push_str(&format!(
            "{label:label_width$}{}  {}{open}\n",
            paint(&cells, style),
            coarse(line.to - line.from)
        ));
    }
    let mut legend: Vec<String> =
        stages.iter().enumerate().map(|(index, stage)| format!("{} {}", letter(index), printable(stage))).collect();
    legend.extend(["- boot", ". restart", "_ wait", "! failed"].map(str::to_owned));
    text.push('\n');
    text.push_str(&fold_words(&legend, style.width.unwrap_or(WIDTH)));
    text
}

/// One character a column: what took most of its time; a stage that is too short for a column still gets one.
fn cells(line: &RunTimeline, stages: &[String], from: i64, to: i64, columns: usize) -> Vec<char> {
    let count = i64::try_from(columns).unwrap_or(i64::MAX);
    let edge = |column: usize| {
        from + i64::try_from(i128::from(to - from) * i128::try_from(column).unwrap_or(0) / i128::from(count))
            .unwrap_or(0)
    };
    let column_of = |at: i64| {
        let place = i128::from(at - from) * i128::from(count) / i128::from(to - from);
        usize::try_from(place).unwrap_or(0).min(columns.saturating_sub(1))
    };
    let mut cells: Vec<char> = (0..columns)
        .map(|column| {
            let (left, right) = (edge(column), edge(column + 1));
            let overlap = |from: i64, to: i64| (to.min(right) - from.max(left)).max(0);
            let longest = line.spans.iter().max_by_key(|span| overlap(span.from, span.to));
            longest.filter(|span| overlap(span.from, span.to) > 0).map_or(' ', |span| glyph(&span.activity, stages))
        })
        .collect();
    for span in line.spans.iter().filter(|span| matches!(span.activity, Activity::Stage { .. })) {
        let (first, last) = (column_of(span.from), column_of(span.to - 1));
        let mark = glyph(&span.activity, stages);
        if !cells.iter().take(last + 1).skip(first).any(|cell| *cell == mark)
            && let Some(cell) = cells.get_mut(first)
        {
            *cell = mark;
        }
    }
    for task in line.tasks.iter().filter(|task| is_bad(task.outcome)) {
        if let Some(cell) = task.to.and_then(|end| cells.get_mut(column_of(end))) {
            *cell = '!';
        }
    }
    cells
}

fn is_bad(outcome: Option<JobOutcome>) -> bool {
    matches!(outcome, Some(JobOutcome::Failed | JobOutcome::TimedOut | JobOutcome::Interrupted))
}

fn paint(cells: &[char], style: Style) -> String {
    if !style.colour {
        return cells.iter().collect();
    }
    let colour = |cell: char| match cell {
        '!' => "1;31",
        '-' | '.' | '_' => "2",
        ' ' => "0",
        _ => ('A'..='Z')
            .chain('a'..='z')
            .position(|letter| letter == cell)
            .and_then(|index| COLOURS.get(index % COLOURS.len()))
            .copied()
            .unwrap_or("0"),
    };
    let mut text = String::new();
    let mut last = "0";
    for cell in cells {
        let now = colour(*cell);
        if now != last {
            text.push_str(&format!("\x1b[0;{now}m"));
            last = now;
        }
        text.push(*cell);
    }
    text.push_str("\x1b[0m");
    text
}

/// Two rows: times, and a mark under the first letter of each.
fn axis(total_ms: i64, columns: usize) -> [String; 2] {
    const STEPS: &[i64] = &[1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800, 86_400];
    let count = i64::try_from(columns).unwrap_or(i64::MAX);
    // A time needs about eight columns and some air.
    let fitting = STEPS.iter().find(|step| **step * 1000 * count >= total_ms * 10).copied();
    let days = total_ms * 10 / (86_400_000 * count) + 1;
    let step = fitting.unwrap_or(days * 86_400) * 1000;
    let (mut times, mut marks) = (String::new(), String::new());
    let mut at = 0;
    while at <= total_ms {
        let column = usize::try_from(i128::from(at) * i128::from(count) / i128::from(total_ms.max(1))).unwrap_or(0);
        if column >= columns {
            break;
        }
        times.push_str(&" ".repeat(column.saturating_sub(times.chars().count())));
        times.push_str(&tick(at / 1000));
        marks.push_str(&" ".repeat(column.saturating_sub(marks.chars().count())));
        marks.push('|');
        at += step;
    }
    [times, marks]
}

/// `30s`, `1m`, `1m30s`, `2h`, `2h30m`.
fn tick(seconds: i64) -> String {
    let (hours, minutes, rest) = (seconds / 3600, seconds % 3600 / 60, seconds % 60);
    let part = |number: i64, unit: char| if number > 0 { format!("{number}{unit}") } else { String::new() };
    match seconds {
        0 => "0s".to_owned(),
        _ => format!("{}{}{}", part(hours, 'h'), part(minutes, 'm'), part(rest, 's')),
    }
}

/// Words on lines of at most `width`, indented by two.
fn fold_words(words: &[String], width: usize) -> String {
    let mut text = String::new();
    let mut column = 0;
    for word in words {
        let length = word.chars().count() + 2;
        if column > 0 && column + length > width {
            text.push('\n');
            column = 0;
        }
        text.push_str("  ");
        text.push_str(word);
        column += length;
    }
    text + "\n"
}

fn details(line: &RunTimeline, style: Style) -> String {
    let took = coarse(line.to - line.from);
    let how = match line.end {
        End::Open => format!("open since {took}"),
        End::Done => format!("done in {took}"),
        End::Cancelled => format!("cancelled after {took}"),
    };
    let head =
        format!("{}, run {} of {}: {how}, {}", line.machine, line.run, line.workflow, count(line.boots.len(), "boot"));
    // (when, order at the same moment, row)
    let mut rows: Vec<(i64, u8, Vec<Word>)> = Vec::new();
    let row = |at: i64, took: Option<i64>, what: Word| {
        vec![span(at - line.from).into(), took.map_or_else(String::new, span).into(), what]
    };
    for (index, boot) in line.boots.iter().enumerate() {
        let at = boot.offered.unwrap_or(boot.checked_in).max(line.from);
        let took = boot.offered.map(|_| boot.checked_in - at);
        rows.push((at, 0, row(at, took, format!("boot {} into {}", index + 1, boot.environment).into())));
    }
    for span in &line.spans {
        if let Activity::Stage { name } = &span.activity {
            rows.push((span.from, 1, row(span.from, Some(span.to - span.from), format!("stage {name}").into())));
        }
    }
    for task in &line.tasks {
        let again = if task.attempt > 1 { format!(", attempt {}", task.attempt) } else { String::new() };
        let (end, tone) = match task.outcome {
            Some(JobOutcome::Done) => ("", Tone::Plain),
            Some(JobOutcome::Failed) => (": failed", Tone::Bad),
            Some(JobOutcome::TimedOut) => (": ran out of time", Tone::Bad),
            Some(JobOutcome::Interrupted) => (": was interrupted", Tone::Bad),
            Some(JobOutcome::Abandoned) => (": was abandoned", Tone::Waiting),
            None => (": open", Tone::Busy),
        };
        let took = task.to.unwrap_or(line.to) - task.from;
        let what = Word::new(format!("  {}{again}{end}", task.task), tone);
        rows.push((task.from, 2, row(task.from, Some(took), what)));
    }
    rows.sort_by_key(|(at, order, _)| (*at, *order));
    let table = table(&["at", "took", ""], rows.into_iter().map(|(_, _, row)| row), style);
    format!("{}\n{table}", printable(&head))
}

fn totals(lines: &[RunTimeline], stages: &[String], style: Style) -> String {
    let by_line: Vec<_> = lines.iter().map(RunTimeline::totals).collect();
    let boot = Activity::Boot { environment: String::new() };
    let mut wanted: Vec<(String, Activity)> = vec![("boot".to_owned(), boot)];
    wanted.extend(stages.iter().map(|name| (format!("stage {name}"), Activity::Stage { name: name.clone() })));
    wanted.push(("restart".to_owned(), Activity::Restart));
    wanted.push(("wait".to_owned(), Activity::Wait));
    let each = lines.len() <= COLUMNS_MAX;
    let mut heads = vec!["TOTAL".to_owned()];
    if each {
        heads.extend(lines.iter().map(|line| line.machine.clone()));
    } else {
        heads.push("SHORTEST".to_owned());
    }
    let several = lines.len() > 1;
    if several {
        heads.push("LONGEST".to_owned());
    }
    let row = |name: String, values: Vec<Option<i64>>| {
        let word = |value: Option<i64>| Word::from(value.map_or("-".to_owned(), span));
        let longest = values.iter().flatten().max().copied();
        let shortest = values.iter().flatten().min().copied();
        let mut row = vec![Word::from(name)];
        if each {
            row.extend(values.into_iter().map(word))
        } else {
            row.push(word(shortest))
        }
        if several {
            row.push(word(longest));
        }
        row
    };
    let mut rows: Vec<Vec<Word>> = wanted
        .into_iter()
        .map(|(name, activity)| row(name, by_line.iter().map(|totals| totals.get(&activity).copied()).collect()))
        .collect();
    rows.push(row("all".to_owned(), lines.iter().map(|line| Some(line.to - line.from)).collect()));
    table_headed(heads, rows, style)
}

#[cfg(test)]
mod tests {
    use super::super::fold::Fold;
    use super::*;
    use crate::cli::testing::{Journal, one_run};

    fn lines(records: &[crate::journal::Record], now: i64) -> Vec<RunTimeline> {
        let mut fold = Fold::default();
        records.iter().for_each(|record| fold.apply(record));
        fold.runs(None, now)
    }

    #[test]
    fn machines_are_drawn_on_one_axis_with_their_tasks_and_totals() {
        let mut records = one_run("node-1", 0);
        records.extend(one_run("node-2", 12));
        let text = draw(&lines(&records, 0), false, &Clock::fixed(0), Style { width: Some(80), colour: false });
        insta::assert_snapshot!(text, @r"
        2 machines in 1m42s, 00:00:00 to 00:01:42

                       0s              30s             1m               1m30s
                       |               |               |                |
        node-1  run 1  _-------_AAABBBBBBBBBBBBBBBBB....-----------CCCCCC        1m30s
        node-2  run 1        _--------AAAABBBBBBBBBBBBBBBB.....-----------CCCCC  1m30s

          A discover  B scrub  C join  - boot  . restart  _ wait  ! failed

        node-1, run 1 of etcd-node: done in 1m30s, 2 boots
        AT     TOOK
        1.0s   14.0s  boot 1 into discovery.ram
        16.0s  6.0s   stage discover
        16.0s  6.0s     discovery.inventory
        22.0s  30.0s  stage scrub
        22.0s  28.0s    hardware.scrub
        50.0s  2.0s     hardware.verify
        1m00s  20.0s  boot 2 into local
        1m20s  10.0s  stage join
        1m20s  10.0s    etcd.join

        node-2, run 1 of etcd-node: done in 1m30s, 2 boots
        AT     TOOK
        1.0s   14.0s  boot 1 into discovery.ram
        16.0s  6.0s   stage discover
        16.0s  6.0s     discovery.inventory
        22.0s  30.0s  stage scrub
        22.0s  28.0s    hardware.scrub
        50.0s  2.0s     hardware.verify
        1m00s  20.0s  boot 2 into local
        1m20s  10.0s  stage join
        1m20s  10.0s    etcd.join

        TOTAL           node-1  node-2  LONGEST
        boot            34.0s   34.0s   34.0s
        stage discover  6.0s    6.0s    6.0s
        stage scrub     30.0s   30.0s   30.0s
        stage join      10.0s   10.0s   10.0s
        restart         8.0s    8.0s    8.0s
        wait            2.0s    2.0s    2.0s
        all             1m30s   1m30s   1m30s
        ");
    }

    #[test]
    fn a_failure_is_marked_and_an_open_run_has_a_plus() {
        let mut journal = Journal::new("node-1", 0);
        journal.start(0);
        journal.granted(2, "scrub", "erase", 1);
        journal.ended(30, "failed");
        let text =
            draw(&lines(&journal.records, 60_000), true, &Clock::fixed(0), Style { width: Some(60), colour: false });
        insta::assert_snapshot!(text, @r"
        1 machine in 1m00s, 00:00:00 to 00:01:00

                       0s                30s
                       |                 |
        node-1  run 1  _AAAAAAAAAAAAAAAAA!_________________  1m00s+

          A scrub  - boot  . restart  _ wait  ! failed

        TOTAL        node-1
        boot         -
        stage scrub  28.0s
        restart      -
        wait         32.0s
        all          1m00s
        ");
    }

    #[test]
    fn with_many_machines_the_totals_are_the_shortest_and_the_longest() {
        let records: Vec<_> = (0..6).flat_map(|i| one_run(&format!("node-{i}"), i)).collect();
        let text = draw(&lines(&records, 0), true, &Clock::fixed(0), Style::default());
        assert!(text.contains("SHORTEST  LONGEST"), "{text}");
    }

    #[test]
    fn the_axis_has_round_steps_at_every_length() {
        for (total, expected) in
            [(9_000, "0s"), (150_000, "30s"), (185_000, "1m"), (7_200_000, "30m"), (864_000_000, "48h")]
        {
            let [times, marks] = axis(total, 60);
            assert!(times.contains(expected), "{times}");
            assert!(marks.chars().count() <= 60 && marks.starts_with('|'));
        }
    }
}
