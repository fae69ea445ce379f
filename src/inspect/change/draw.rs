//! A change as people read it: what differs, what follows for machines, the weightiest first, machines with the same lot
//! together. Pure; plain text that fits a width, with colours where they are welcome.

use super::{Became, Change, ClusterChange, Destruction, FieldChange, Follows, MachineChange, ObjectChange};
use crate::content::{Place, visible};
use std::collections::BTreeMap;

/// How it is drawn.
#[derive(Debug, Clone, Copy)]
pub struct Drawing {
    /// Columns there are; none: as many as it takes.
    pub width: Option<usize>,
    /// Colours may be used (ECMA-48 8.3.117).
    pub colour: bool,
    /// So many lines a part (objects, machines) at most; of more it is said how many they are.
    pub lines_max: usize,
}

impl Default for Drawing {
    fn default() -> Self {
        Self { width: None, colour: false, lines_max: usize::MAX }
    }
}

/// So many names of machines with one lot are written out.
const NAMES_MAX: usize = 12;
/// So many objects that are new or gone stand in a line each where there is no room for all; of more each kind has one.
const OBJECTS_EACH: usize = 8;
/// So many params or parts are written out.
const PARTS_MAX: usize = 8;

impl Follows {
    /// What is said of machines it follows for.
    pub const fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Reinstalled => ("is wiped and installed anew", "are wiped and installed anew"),
            Self::Installed => ("is installed for the first time", "are installed for the first time"),
            Self::Leaves => ("leaves", "leave"),
            Self::Waits => ("waits", "wait"),
            Self::Runs => ("begins a run", "begin a run"),
            Self::Resumes => ("goes on after a failure", "go on after a failure"),
            Self::Diverges => ("diverges", "diverge"),
            Self::Cancelled => ("ends its run", "end their runs"),
            Self::Joins => ("is new", "are new"),
            Self::Values => ("gets new values", "get new values"),
        }
    }

    const fn sgr(self) -> &'static str {
        match self {
            Self::Reinstalled | Self::Leaves | Self::Diverges => "31",
            Self::Waits | Self::Installed | Self::Cancelled => "33",
            Self::Runs | Self::Resumes => "36",
            Self::Joins => "32",
            Self::Values => "0",
        }
    }
}

impl Became {
    /// Its sign, and its colour.
    const fn mark(self) -> (&'static str, &'static str) {
        match self {
            Self::Added => ("+", "32"),
            Self::Changed => ("~", "33"),
            Self::Removed => ("-", "31"),
        }
    }
}

/// The whole of it, lines ended by a newline.
pub fn draw(change: &Change, drawing: Drawing) -> String {
    let mut paper = Paper { drawing, text: String::new() };
    if change.is_empty() {
        paper.line(0, "nothing changes", None);
        return paper.text;
    }
    paper.objects(&change.objects);
    paper.machines(change);
    paper.clusters(&change.clusters);
    if !change.live {
        paper.line(0, "machines are taken as having done what the old revision says: no server was asked", None);
    }
    paper.text
}

struct Paper {
    drawing: Drawing,
    text: String,
}

impl Paper {
    /// One line, folded at the width; what is folded stands two further in.
    fn line(&mut self, indent: usize, text: &str, sgr: Option<&str>) {
        let width = self.drawing.width.unwrap_or(usize::MAX).max(indent + 20);
        let sgr = sgr.filter(|_| self.drawing.colour);
        let mut rows = Vec::new();
        let (mut row, mut length) = (" ".repeat(indent), indent);
        let mut empty = true;
        for word in clean(text).split(' ') {
            let mut letters: Vec<char> = word.chars().collect();
            if !empty && length + 1 + letters.len() > width {
                rows.push(std::mem::take(&mut row));
                (row, length, empty) = (" ".repeat(indent + 2), indent + 2, true);
            }
            if !empty {
                row.push(' ');
                length += 1;
            }
            // A word that is longer than a line is cut.
            while length + letters.len() > width {
                let rest = letters.split_off(width.saturating_sub(length).max(1).min(letters.len()));
                row.extend(letters);
                rows.push(std::mem::take(&mut row));
                (row, length, letters) = (" ".repeat(indent + 2), indent + 2, rest);
            }
            length += letters.len();
            row.extend(letters);
            empty = false;
        }
        rows.push(row);
        for row in rows {
            match sgr {
                Some(sgr) => self.text.push_str(&format!("\x1b[{sgr}m{}\x1b[0m\n", row.trim_end())),
                None => self.text.push_str(&format!("{}\n", row.trim_end())),
            }
        }
    }

    fn more(&mut self, shown: usize, all: usize, what: &str) {
        if all > shown {
            self.line(2, &format!("and {}", count(all - shown, &format!("more {what}"))), None);
        }
    }

    fn objects(&mut self, objects: &[ObjectChange]) {
        if objects.is_empty() {
            return;
        }
        let of = |became| objects.iter().filter(|object| object.became == became).count();
        let parts = [(Became::Added, "added"), (Became::Changed, "changed"), (Became::Removed, "removed")];
        let parts = parts.map(|(became, word)| (of(became), word));
        let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{n} {word}")).collect();
        self.line(0, &format!("Objects: {}", parts.join(", ")), Some("1"));
        let mut lines = 0;
        // A first push is no wall of lines.
        let together =
            |became| became != Became::Changed && self.drawing.lines_max != usize::MAX && of(became) > OBJECTS_EACH;
        let (grouped, each): (Vec<&ObjectChange>, Vec<&ObjectChange>) =
            objects.iter().partition(|object| together(object.became));
        for became in [Became::Added, Became::Removed] {
            lines += self.kinds(grouped.iter().copied().filter(|object| object.became == became), became);
        }
        for (at, object) in each.iter().enumerate() {
            if lines >= self.drawing.lines_max {
                self.more(at, each.len(), "object");
                break;
            }
            let (mark, sgr) = object.became.mark();
            let Place { file, line, .. } = &object.place;
            self.line(2, &format!("{mark} {} {}  {file}:{line}", object.kind, object.name), Some(sgr));
            lines += 1;
            for field in object.fields.iter().take(PARTS_MAX) {
                self.line(6, &field_line(field), None);
                lines += 1;
            }
            if object.fields.len() > PARTS_MAX {
                self.line(6, &format!("and {}", count(object.fields.len() - PARTS_MAX, "more field")), None);
            }
        }
    }

    /// Objects of one lot, a line a kind with how many there are; how many lines that were.
    fn kinds<'a>(&mut self, objects: impl Iterator<Item = &'a ObjectChange>, became: Became) -> usize {
        let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
        for object in objects {
            match kinds.iter_mut().find(|(kind, _)| *kind == object.kind) {
                Some((_, names)) => names.push(&object.name),
                None => kinds.push((&object.kind, vec![&object.name])),
            }
        }
        let (mark, sgr) = became.mark();
        for (kind, names) in &kinds {
            self.line(2, &format!("{mark} {} {kind}: {}", names.len(), listed(names, NAMES_MAX)), Some(sgr));
        }
        kinds.len()
    }

    fn machines(&mut self, change: &Change) {
        if change.machines.is_empty() {
            let all = count(usize::try_from(change.machines_in_all).unwrap_or(usize::MAX), "machine");
            self.line(0, &format!("Machines: nothing follows for any of {all}"), Some("1"));
            return;
        }
        let counts = change.counts.iter().map(|(follows, count)| {
            let (one, many) = follows.words();
            format!("{count} {}", if *count == 1 { one } else { many })
        });
        // A box that goes on under another name is told of twice, and is one.
        let told = change.machines.iter().filter(|machine| machine.renamed_to.is_none()).count();
        let rest = usize::try_from(change.machines_in_all).unwrap_or(0).saturating_sub(told);
        let rest = if rest > 0 { format!("; nothing follows for {rest}") } else { String::new() };
        self.line(0, &format!("Machines: {}{rest}", counts.collect::<Vec<_>>().join(", ")), Some("1"));
        let mut lots: BTreeMap<(Follows, Vec<String>), Vec<&MachineChange>> = BTreeMap::new();
        for machine in &change.machines {
            lots.entry((machine.follows, sentences(machine))).or_default().push(machine);
        }
        // The weightiest first; in each, the first name first.
        let mut lots: Vec<_> = lots.into_iter().collect();
        lots.sort_by(|((a, _), first), ((b, _), second)| {
            (a, first.first().map(|it| &it.name)).cmp(&(b, second.first().map(|it| &it.name)))
        });
        let (mut lines, mut told) = (0, 0);
        for ((follows, sentences), machines) in &lots {
            if lines >= self.drawing.lines_max {
                break;
            }
            let (one, many) = follows.words();
            let head = format!("{} {}", names(machines), if machines.len() == 1 { one } else { many });
            self.line(2, &head, Some(follows.sgr()));
            sentences.iter().for_each(|sentence| self.line(6, sentence, None));
            lines += 1 + sentences.len();
            told += machines.len();
        }
        self.more(told, change.machines.len(), "machine");
    }

    fn clusters(&mut self, clusters: &[ClusterChange]) {
        if clusters.is_empty() {
            return;
        }
        self.line(0, "Clusters", Some("1"));
        for cluster in clusters {
            let mut parts = Vec::new();
            if let Some((old, new)) = cluster.raised {
                parts.push(format!(
                    "spec.run was raised from {old} to {new}: it is built anew, and what it agreed on is gone"
                ));
            }
            if let Some((old, new)) = cluster.size {
                parts.push(format!("size {old} -> {new}"));
            }
            let members = |n: u32| count(usize::try_from(n).unwrap_or(usize::MAX), "member");
            if cluster.joins > 0 {
                parts.push(format!("{} more", members(cluster.joins)));
            }
            if cluster.leaves > 0 {
                parts.push(format!("{} less", members(cluster.leaves)));
            }
            let sgr = cluster.raised.map(|_| "31");
            self.line(2, &format!("{}: {}", cluster.name, parts.join("; ")), sgr);
        }
    }
}

fn field_line(field: &FieldChange) -> String {
    match (&field.from, &field.to) {
        _ if field.secret => format!("{}: secret, changed", field.path),
        (Some(from), Some(to)) => format!("{}: {from} -> {to}", field.path),
        (None, Some(to)) => format!("{}: -> {to}", field.path),
        (Some(from), None) => format!("{}: {from} ->", field.path),
        (None, None) => format!("{}: changed", field.path),
    }
}

/// What is said below a machine's name.
fn sentences(machine: &MachineChange) -> Vec<String> {
    let mut all = Vec::new();
    if let Some(other) = &machine.renamed_from {
        all.push(format!("it was {other}, and keeps what that one has walked"));
    }
    if machine.follows == Follows::Leaves {
        all.push(match (&machine.renamed_to, machine.ends_run, machine.never_seen) {
            (Some(other), _, _) => format!("it goes on as {other}"),
            (None, _, true) => "it is gone from Git, and was never seen".to_owned(),
            (None, Some(run), _) => {
                format!("it is gone from Git: run {run} ends, its tokens die, it boots its own disk")
            }
            (None, None, _) => "it is gone from Git: its tokens die, it boots its own disk".to_owned(),
        });
    }
    if let Some(run) = &machine.run {
        let ends = machine.ends_run.map(|run| format!("; run {run}, still open, ends")).unwrap_or_default();
        all.push(format!("run {} of {}: {}; {}{ends}", run.number, run.workflow, run.reason, boots(machine.boots)));
    } else if let (Some(run), false) = (machine.ends_run, machine.follows == Follows::Leaves) {
        all.push(format!("run {run} ends: it has no workflow any more"));
    }
    if let Some(reason) = &machine.resumes {
        all.push(format!("its run is taken up again: {reason}; {}", boots(machine.boots)));
    }
    if let Some(reason) = &machine.diverges {
        all.push(format!("its failed run cannot be taken up: {reason}; `formwork retry` lets it go on"));
    }
    for Destruction { stage, allowed, reason } in &machine.destroys {
        all.push(match allowed {
            true => format!("stage {stage} changes {reason}"),
            false => format!("stage {stage} changes no disk: {reason}"),
        });
    }
    // What a run that diverged waits for was said.
    for wait in machine.waits.iter().filter(|_| machine.diverges.is_none()) {
        // What holds a stage back was said with it.
        let said = machine.destroys.iter().any(|stage| !stage.allowed && stage.reason == wait.reason);
        let mend = format!("mend: {}", wait.remedy);
        all.push(if said { mend } else { format!("waits: {}; {mend}", wait.reason) });
    }
    if machine.follows == Follows::Values {
        if !machine.fields.is_empty() {
            all.push(format!("its declaration: {}", some(&machine.fields)));
        }
        if !machine.values.is_empty() {
            all.push(format!("params, from its next boot or run on: {}", some(&machine.values)));
        }
        if !machine.parts.is_empty() {
            all.push(format!("for its next run: {}", some(&machine.parts)));
        }
    }
    if !machine.joins.is_empty() {
        all.push(format!("becomes a member of {}", some(&machine.joins)));
    }
    if !machine.leaves.is_empty() {
        all.push(format!("is no member of {} any more", some(&machine.leaves)));
    }
    all
}

fn boots(number: u32) -> String {
    match number {
        0 => "no boot".to_owned(),
        more => count(usize::try_from(more).unwrap_or(usize::MAX), "boot"),
    }
}

fn names(machines: &[&MachineChange]) -> String {
    let all: Vec<&str> = machines.iter().map(|machine| machine.name.as_str()).collect();
    listed(&all, NAMES_MAX)
}

fn some(parts: &[String]) -> String {
    let all: Vec<&str> = parts.iter().map(String::as_str).collect();
    listed(&all, PARTS_MAX)
}

fn listed(all: &[&str], most: usize) -> String {
    match all.split_at_checked(most) {
        Some((shown, rest)) if !rest.is_empty() => format!("{} and {} more", shown.join(", "), rest.len()),
        _ => match all.split_last() {
            Some((last, first)) if !first.is_empty() => format!("{} and {last}", first.join(", ")),
            _ => all.concat(),
        },
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Text that cannot move a cursor or turn the direction of writing: names and values come from Git, and go to terminals.
fn clean(text: &str) -> String {
    visible::line(text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_objects_that_are_new_or_gone_have_a_line_a_kind_where_there_is_no_room_for_all() {
        let object = |kind: &str, number: usize, became| ObjectChange {
            kind: kind.to_owned(),
            name: format!("{}-{number}", kind.to_lowercase()),
            became,
            place: Place { file: "a.yaml".into(), line: 1, column: 1 },
            fields: Vec::new(),
        };
        let added = (1..=14)
            .map(|n| object("Machine", n, Became::Added))
            .chain((1..=3).map(|n| object("Task", n, Became::Added)));
        let others = [object("Stage", 1, Became::Changed), object("Task", 9, Became::Removed)];
        let objects: Vec<ObjectChange> = added.chain(others).collect();
        let drawn = |objects: Vec<ObjectChange>, lines_max| {
            let change = Change {
                from: None,
                to: "b".into(),
                live: true,
                objects,
                machines: Vec::new(),
                clusters: Vec::new(),
                machines_in_all: 0,
                machines_walked: 0,
                machines_before: 0,
                counts: BTreeMap::new(),
            };
            draw(&change, Drawing { width: None, colour: false, lines_max })
        };
        insta::assert_snapshot!(drawn(objects.clone(), 30), @r"
        Objects: 17 added, 1 changed, 1 removed
          + 14 Machine: machine-1, machine-2, machine-3, machine-4, machine-5, machine-6, machine-7, machine-8, machine-9, machine-10, machine-11, machine-12 and 2 more
          + 3 Task: task-1, task-2 and task-3
          ~ Stage stage-1  a.yaml:1
          - Task task-9  a.yaml:1
        Machines: nothing follows for any of 0 machines
        ");
        let few = drawn(objects.iter().take(8).cloned().collect(), 30);
        assert!(few.contains("  + Machine machine-8  a.yaml:1\n"), "{few}");
        let all = drawn(objects, usize::MAX);
        assert!(all.contains("  + Machine machine-14  a.yaml:1\n"), "{all}");
    }
}
