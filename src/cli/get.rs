//! `formwork get KIND [NAME]`: lists, and one of a list.

use super::error::CliError;
use super::fit;
use super::follow::Follower;
use super::output::{Style, Tone, Word, table};
use super::sentence::short;
use super::session::{Options, Session};
use super::suggest;
use super::time::{Clock, coarse};
use crate::api::views::{BoxRow, ClusterRow, List, MachineSummary, Phase, Place};
use crate::journal::{Event, Record};
use crate::store::Lease;
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Lists things of one kind, or shows one of them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  formwork get machines                       a line a machine
  formwork get machines -l rack=a1 -l role!=spare
  formwork get machine node-1 -o yaml
  formwork get machines -o name | xargs formwork wait machine --for ready
  formwork get revisions                      what was tried, and what came of it")]
pub struct Arguments {
    /// What to list.
    #[arg(value_name = "KIND")]
    kind: Kind,
    /// Only the one of this name.
    #[arg(value_name = "NAME", add = clap_complete::ArgValueCompleter::new(super::completion::machines))]
    name: Option<String>,
    /// Only machines with this label: `key=value`, `key!=value` or `key`; all that are given must hold.
    #[arg(short = 'l', long = "selector", value_name = "LABEL", value_parser = parse_selector)]
    selectors: Vec<Selector>,
    #[command(flatten)]
    session: Options,
}

/// Kinds that can be listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Declared and enrolled machines.
    #[value(alias = "machine", alias = "m")]
    Machines,
    /// Boxes seen on the network that are no machines.
    #[value(alias = "box")]
    Boxes,
    /// Clusters with their members.
    #[value(alias = "cluster")]
    Clusters,
    /// Leased addresses.
    #[value(alias = "lease")]
    Leases,
    /// Declared subnets.
    #[value(alias = "subnet")]
    Subnets,
    /// Declared workflows.
    #[value(alias = "workflow")]
    Workflows,
    /// Revisions that were tried, newest last.
    #[value(alias = "revision")]
    Revisions,
}

impl Kind {
    /// The one word and the many.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Machines => ("machine", "machines"),
            Self::Boxes => ("box", "boxes"),
            Self::Clusters => ("cluster", "clusters"),
            Self::Leases => ("lease", "leases"),
            Self::Subnets => ("subnet", "subnets"),
            Self::Workflows => ("workflow", "workflows"),
            Self::Revisions => ("revision", "revisions"),
        }
    }
}

/// One condition on labels.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Selector {
    Has(String),
    Is(String, String),
    IsNot(String, String),
}

fn parse_selector(text: &str) -> Result<Selector, String> {
    let selector = if let Some((key, value)) = text.split_once("!=") {
        Selector::IsNot(key.to_owned(), value.to_owned())
    } else if let Some((key, value)) = text.split_once('=') {
        Selector::Is(key.to_owned(), value.trim_start_matches('=').to_owned())
    } else {
        Selector::Has(text.to_owned())
    };
    if text.contains(',') {
        return Err("one label each: give the option again for each that must hold".to_owned());
    }
    let (Selector::Has(key) | Selector::Is(key, _) | Selector::IsNot(key, _)) = &selector;
    let word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let sound = !key.is_empty() && key.chars().all(word);
    if sound { Ok(selector) } else { Err(format!("`{text}` is not key=value, key!=value or key")) }
}

impl Selector {
    fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Has(key) => labels.contains_key(key),
            Self::Is(key, value) => labels.get(key) == Some(value),
            Self::IsNot(key, value) => labels.get(key) != Some(value),
        }
    }
}

/// A subnet or a workflow: its name and where it is declared.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Named {
    name: String,
    #[serde(default)]
    place: Option<String>,
}

/// A cluster, as its members show it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Cluster {
    name: String,
    /// How many members it should have.
    size: u32,
    members: Vec<String>,
    ready: usize,
}

/// A revision that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Revision {
    revision: String,
    applied: bool,
    serves: bool,
    at_unix_ms: i64,
    summary: String,
    findings: usize,
}

/// Does it.
pub fn run(arguments: &Arguments) -> Result<(), CliError> {
    if !arguments.selectors.is_empty() && arguments.kind != Kind::Machines {
        return Err(CliError::Usage {
            message: format!("-l selects machines; {} have no labels", arguments.kind.words().1),
            hint: None,
        });
    }
    let session = Session::open(&arguments.session)?;
    let client = &session.client;
    let mut shown = Shown { session: &session, kind: arguments.kind, name: arguments.name.clone() };
    match arguments.kind {
        Kind::Machines => {
            let mut list = client.machines()?;
            list.items.retain(|machine| arguments.selectors.iter().all(|selector| selector.holds(&machine.labels)));
            // A box that is declared under another name now is found by both.
            let called = |name: &String| list.items.iter().rfind(|machine| machine.is_called(name));
            shown.name = shown.name.map(|name| called(&name).map_or(name, |machine| machine.name.clone()));
            shown.show(list, |machine| &machine.name, MACHINE_HEADS, machine_row)
        }
        Kind::Boxes => shown.show(client.boxes()?, |item| &item.mac, BOX_HEADS, box_row),
        Kind::Clusters => {
            let list = clusters(client.named("clusters")?, &client.machines()?.items);
            shown.show(list, |item| &item.name, CLUSTER_HEADS, |item, _| cluster_row(item))
        }
        Kind::Leases => shown.show(client.leases()?, |item| &item.mac, LEASE_HEADS, lease_row),
        Kind::Subnets | Kind::Workflows => {
            let list: List<Named> = client.named(arguments.kind.words().1)?;
            shown.show(
                list,
                |item| &item.name,
                &["name", "declared at"],
                |item, _| vec![item.name.as_str().into(), dash(item.place.as_deref())],
            )
        }
        Kind::Revisions => {
            let applied = client.status()?.content.last_applied_revision;
            let mut items = Vec::new();
            Follower::new(client, 0, None).up_to_now(|records| {
                records
                    .iter()
                    .filter_map(|record| revision(record, applied.as_deref()))
                    .for_each(|it| add(&mut items, it));
                Ok(())
            })?;
            shown.show(
                List { revision: applied.clone(), held: None, items },
                |item| &item.revision,
                REVISION_HEADS,
                revision_row,
            )
        }
    }
}

/// How a list is shown: all of it, or the one that was named.
struct Shown<'a> {
    session: &'a Session,
    kind: Kind,
    name: Option<String>,
}

impl Shown<'_> {
    fn show<T: Serialize>(
        &self,
        list: List<T>,
        name_of: impl Fn(&T) -> &String,
        heads: &[&str],
        row: impl Fn(&T, &Clock) -> Vec<Word>,
    ) -> Result<(), CliError> {
        let (output, clock) = (&self.session.output, &self.session.clock);
        let first_to_go = if self.kind == Kind::Machines { MACHINE_FIRST_TO_GO } else { &[] };
        let draw = |items: &[&T], style: Style| {
            let rows = items.iter().map(|item| row(item, clock)).collect();
            narrowed(heads, rows, first_to_go, style)
        };
        let Some(name) = self.name.as_deref() else {
            if let Some(held) = list.held.as_ref().filter(|_| output.format() == super::output::Format::Table) {
                super::output::note(&format!("note: {held}"));
            }
            let items: Vec<&T> = list.items.iter().collect();
            let names = || items.iter().map(|item| name_of(item).clone()).collect();
            return output.answer(&list, names, |style| match items.is_empty() {
                true => format!("no {}\n", self.kind.words().1),
                false => draw(&items, style),
            });
        };
        let found = list.items.iter().rfind(|item| name_of(item) == name);
        let Some(item) = found else {
            let (one, many) = self.kind.words();
            let names = list.items.iter().map(|item| name_of(item).as_str());
            return Err(CliError::NotFound {
                message: format!("there is no {one} {name}"),
                hint: Some(suggest::hint(name, names, &format!("formwork get {many}"))),
            });
        };
        output.answer(item, || vec![name.to_owned()], |style| draw(&[item], style))
    }
}

const MACHINE_HEADS: &[&str] =
    &["name", "phase", "run", "boots", "environment", "stage", "task", "address", "seen", "waits for"];
/// On a narrow terminal: run, boots, address, environment, seen, stage.
const MACHINE_FIRST_TO_GO: &[usize] = &[2, 3, 7, 4, 8, 5];
/// The last column keeps at least so many characters.
const LAST_COLUMN_LEAST: usize = 30;

/// A table without the columns that can be spared, where the terminal is too narrow for all.
fn narrowed(heads: &[&str], rows: Vec<Vec<Word>>, first_to_go: &[usize], style: Style) -> String {
    let Some(room) = style.width.filter(|_| !first_to_go.is_empty()) else { return table(heads, rows, style) };
    let natural = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|word| word.text.chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = heads.iter().enumerate().map(|(at, head)| head.len().max(natural(at))).collect();
    let shown = fit::shown(&widths, first_to_go, LAST_COLUMN_LEAST, room);
    let heads: Vec<&str> = heads.iter().zip(&shown).filter(|(_, shown)| **shown).map(|(head, _)| *head).collect();
    let rows = rows
        .into_iter()
        .map(|row| row.into_iter().zip(&shown).filter(|(_, shown)| **shown).map(|(word, _)| word).collect::<Vec<_>>());
    table(&heads, rows, style)
}
const BOX_HEADS: &[&str] = &["mac", "subnet", "architecture", "seen", "why it gets nothing"];
const CLUSTER_HEADS: &[&str] = &["name", "ready", "members"];
const LEASE_HEADS: &[&str] = &["mac", "address", "subnet", "given", "for", ""];
const REVISION_HEADS: &[&str] = &["revision", "at", "outcome", "summary"];

/// What a phase says about the world.
pub fn tone_of_phase(phase: Phase) -> Tone {
    match phase {
        Phase::Expected | Phase::Left | Phase::Cancelled => Tone::Plain,
        Phase::Booting | Phase::Working => Tone::Busy,
        Phase::Waiting => Tone::Waiting,
        Phase::Failed | Phase::Held | Phase::Overdue => Tone::Bad,
        Phase::Ready => Tone::Good,
    }
}

/// Nothing goes on by itself any more: somebody has to do something.
pub fn needs_a_person(machine: &MachineSummary) -> bool {
    matches!(machine.phase, Phase::Failed | Phase::Held | Phase::Overdue | Phase::Cancelled)
}

/// A phase in its own word, as the API says it.
pub fn phase_word(phase: Phase) -> &'static str {
    match phase {
        Phase::Expected => "expected",
        Phase::Booting => "booting",
        Phase::Working => "working",
        Phase::Waiting => "waiting",
        Phase::Failed => "failed",
        Phase::Held => "held",
        Phase::Overdue => "overdue",
        Phase::Ready => "ready",
        Phase::Cancelled => "cancelled",
        Phase::Left => "left",
    }
}

/// `2/5 burn-in`.
pub fn place_words(place: &Place) -> String {
    format!("{}/{} {}", place.index, place.of, fit::short_name(&place.name))
}

fn dash(text: Option<&str>) -> Word {
    text.filter(|text| !text.is_empty()).unwrap_or("-").into()
}

/// What a machine waits for; `-` where it waits for nothing.
pub fn waits_words(machine: &MachineSummary) -> &str {
    if machine.phase == Phase::Ready || machine.waits_for.is_empty() { "-" } else { &machine.waits_for }
}

/// Its name, with what its box is called until its next word.
pub fn name_words(machine: &MachineSummary) -> String {
    match &machine.former {
        Some(former) => format!("{} (was {former})", machine.name),
        None => machine.name.clone(),
    }
}

fn machine_row(machine: &MachineSummary, clock: &Clock) -> Vec<Word> {
    let place = |place: &Option<Place>| dash(place.as_ref().map(place_words).as_deref());
    vec![
        name_words(machine).into(),
        Word::new(phase_word(machine.phase), tone_of_phase(machine.phase)),
        machine.run.map_or("-".to_owned(), |run| run.to_string()).into(),
        machine.boots.to_string().into(),
        dash(machine.environment.as_deref().map(fit::short_name)),
        place(&machine.stage),
        place(&machine.task),
        dash(machine.address.as_deref()),
        machine.last_seen_unix_ms.map_or("-".to_owned(), |at| clock.ago(at)).into(),
        waits_words(machine).into(),
    ]
}

fn box_row(item: &BoxRow, clock: &Clock) -> Vec<Word> {
    vec![
        item.mac.as_str().into(),
        dash(item.subnet.as_deref()),
        dash(item.architecture.as_deref()),
        clock.ago(item.last_seen_unix_ms).into(),
        item.reason.as_str().into(),
    ]
}

fn lease_row(lease: &Lease, clock: &Clock) -> Vec<Word> {
    vec![
        lease.mac.as_str().into(),
        lease.address.to_string().into(),
        lease.subnet.as_str().into(),
        clock.show(lease.at_unix_ms).into(),
        coarse(i64::from(lease.seconds) * 1000).into(),
        if lease.declined { Word::new("declined: in use by something else", Tone::Bad) } else { "".into() },
    ]
}

/// Clusters with how many of their members are ready.
fn clusters(list: List<ClusterRow>, machines: &[MachineSummary]) -> List<Cluster> {
    let ready = |name: &String| machines.iter().any(|machine| machine.name == *name && machine.phase == Phase::Ready);
    let with_ready = |row: ClusterRow| {
        let ready = row.members.iter().filter(|name| ready(name)).count();
        Cluster { name: row.name, size: row.size, members: row.members, ready }
    };
    List { revision: list.revision, held: list.held, items: list.items.into_iter().map(with_ready).collect() }
}

/// A cluster that lacks members is not ready, however ready those are that it has.
fn cluster_row(cluster: &Cluster) -> Vec<Word> {
    let of = cluster.members.len().max(usize::try_from(cluster.size).unwrap_or(usize::MAX));
    vec![
        cluster.name.as_str().into(),
        Word::new(format!("{}/{of}", cluster.ready), if cluster.ready == of { Tone::Good } else { Tone::Waiting }),
        cluster.members.join(", ").into(),
    ]
}

fn revision(record: &Record, serving: Option<&str>) -> Option<Revision> {
    let (revision, summary, applied, findings) = match &record.event {
        Event::RevisionApplied { revision, summary, .. } => (revision, summary, true, 0),
        Event::RevisionRefused { revision, summary, count, .. } => (revision, summary, false, *count),
        _ => return None,
    };
    Some(Revision {
        revision: revision.clone(),
        applied,
        serves: applied && serving == Some(revision.as_str()),
        at_unix_ms: record.at_unix_ms,
        summary: summary.clone(),
        findings,
    })
}

/// A server that starts applies again what it served before: that is no news.
fn add(items: &mut Vec<Revision>, item: Revision) {
    let same = |before: &Revision| before.revision == item.revision && before.applied && item.applied;
    if !items.last().is_some_and(same) {
        items.push(item);
    }
}

fn revision_row(item: &Revision, clock: &Clock) -> Vec<Word> {
    let outcome = match (item.applied, item.serves) {
        (true, true) => Word::new("serves", Tone::Good),
        (true, false) => Word::from("was applied"),
        (false, _) => Word::new(format!("refused: {}", super::sentence::count(item.findings, "finding")), Tone::Bad),
    };
    vec![short(&item.revision).into(), clock.show(item.at_unix_ms).into(), outcome, item.summary.as_str().into()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::machine;

    #[test]
    fn a_line_of_the_list_says_where_a_machine_is_and_what_it_waits_for() {
        let mut working = machine("node-1", Phase::Working);
        working.stage = Some(Place { name: "burn-in".to_owned(), index: 2, of: 5 });
        working.task = Some(Place { name: "hardware.memory".to_owned(), index: 1, of: 3 });
        working.waits_for = "task hardware.memory, since 12s".to_owned();
        let mut renamed = machine("s1", Phase::Waiting);
        renamed.former = Some("box-1".to_owned());
        assert_eq!(name_words(&renamed), "s1 (was box-1)");
        assert!(["s1", "box-1"].iter().all(|name| renamed.is_called(name)) && !renamed.is_called("s2"));
        let clock = Clock::fixed(1_795_384_984_000 + 5_000);
        let rows =
            || [&working, &machine("node-2", Phase::Expected)].map(|machine| machine_row(machine, &clock)).into();
        let draw = |width| narrowed(MACHINE_HEADS, rows(), MACHINE_FIRST_TO_GO, Style { width, colour: false });
        insta::assert_snapshot!(draw(None), @r"
        NAME    PHASE     RUN  BOOTS  ENVIRONMENT    STAGE        TASK                 ADDRESS    SEEN    WAITS FOR
        node-1  working   1    2      discovery.ram  2/5 burn-in  1/3 hardware.memory  10.0.0.11  5s ago  task hardware.memory, since 12s
        node-2  expected  -    0      -              -            -                    -          -       -
        ");
        insta::assert_snapshot!(draw(Some(80)), @r"
        NAME    PHASE     TASK                 WAITS FOR
        node-1  working   1/3 hardware.memory  task hardware.memory, since 12s
        node-2  expected  -                    -
        ");
    }

    #[test]
    fn selectors_hold_together() {
        let labels = BTreeMap::from([("rack".to_owned(), "a1".to_owned())]);
        for (text, expected) in [
            ("rack=a1", true),
            ("rack==a1", true),
            ("rack=b", false),
            ("rack!=b", true),
            ("rack", true),
            ("role", false),
            ("role!=x", true),
        ] {
            assert_eq!(parse_selector(text).unwrap().holds(&labels), expected, "{text}");
        }
        for wrong in ["=a", "!!", "!rack", "a b=c", "", "rack=a1,role=x"] {
            assert!(parse_selector(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_restart_of_the_server_is_no_revision() {
        let item = |revision: &str, applied| Revision {
            revision: revision.to_owned(),
            applied,
            serves: false,
            at_unix_ms: 0,
            summary: String::new(),
            findings: 0,
        };
        let mut items = Vec::new();
        let tried = [("a", true), ("a", true), ("b", false), ("b", false), ("a", true), ("a", true)];
        tried.into_iter().for_each(|(revision, applied)| add(&mut items, item(revision, applied)));
        let names: Vec<&str> = items.iter().map(|item| item.revision.as_str()).collect();
        assert_eq!(names, ["a", "b", "b", "a"]);
    }

    #[test]
    fn clusters_are_counted_by_their_ready_members_out_of_all_that_they_should_have() {
        let machines = [machine("a", Phase::Ready), machine("b", Phase::Cancelled), machine("c", Phase::Ready)];
        let row = |size| ClusterRow { name: "etcd".to_owned(), size, members: vec!["a".to_owned(), "b".to_owned()] };
        let items = clusters(List { revision: None, held: None, items: vec![row(3), row(1)] }, &machines).items;
        let ready: Vec<String> = items.iter().filter_map(|item| Some(cluster_row(item).get(1)?.text.clone())).collect();
        assert_eq!(ready, ["1/3", "1/2"]);
    }
}
