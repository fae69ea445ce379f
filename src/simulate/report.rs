//! What a simulation came to: a table for people, JSON for programs.

use super::acts::{Kind, Verdict};
use super::count::Count;
use super::driver::Shared;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Reasons that are told apart.
const REASONS_MAX: usize = 8;

/// The result.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Machines that were simulated.
    pub machines: u32,
    /// The seed.
    pub seed: u64,
    /// Runs that are done, of machines that were given jobs.
    pub finished: usize,
    /// Machines whose run is done and that were given no job: there was nothing to do for them.
    pub idle: usize,
    /// Runs that wait for a person.
    pub failed: usize,
    /// Machines that the server would not have.
    pub broken: usize,
    /// Machines that were still under way at the end.
    pub unfinished: usize,
    /// From the first power-on to the end, seconds.
    pub seconds: f64,
    /// From a machine's power-on to the end of its run, seconds; of those that are `finished`.
    pub run_seconds: Option<Percentiles>,
    /// Jobs that ended, with the server knowing it.
    pub jobs: u64,
    /// The same a second.
    pub jobs_per_second: f64,
    /// Requests of all kinds that were answered.
    pub requests: u64,
    /// Why machines failed, and what those did that were still under way at the end, with how many.
    pub reasons: BTreeMap<String, usize>,
    /// The server that tickets name, where it never answered and the simulation ended for it.
    pub unreachable: Option<Away>,
    /// What went wrong with questions, by kind.
    pub errors: Vec<Wrongs>,
    /// Questions by kind.
    pub questions: Vec<Row>,
}

/// A server that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Away {
    /// Its base URL.
    pub server: String,
    /// What the network said.
    pub what: String,
}

/// What went wrong with questions of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Wrongs {
    /// The kind.
    pub kind: Kind,
    /// What went wrong.
    pub what: What,
    /// How often.
    pub count: u64,
    /// The first time's words.
    pub first: String,
}

/// How a question can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// It was answered with a refusal.
    Refused,
    /// No answer came.
    Lost,
    /// It was answered with something that is of no use.
    Unusable,
}

impl What {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Unusable => "unusable",
        }
    }
}

/// Percentiles, seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// Ninety-nine of a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Questions of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The kind.
    pub kind: Kind,
    /// Answered well.
    pub answered: u64,
    /// Refused.
    pub refused: u64,
    /// With no answer.
    pub lost: u64,
    /// Answered, and the answer thrown away by the simulation.
    pub dropped: u64,
    /// Bytes of bodies sent.
    pub sent_bytes: u64,
    /// Bytes of bodies received.
    pub received_bytes: u64,
    /// Median time to the answer, milliseconds; with what the server held it.
    pub p50_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

impl Report {
    pub(super) fn of(shared: &Shared, machines: u32, took: Duration, ends: Vec<(u32, Verdict, Duration)>) -> Self {
        let mut reasons = BTreeMap::new();
        let (mut finished, mut idle, mut failed, mut broken, mut times) = (0, 0, 0, 0, Vec::new());
        for (_, verdict, took) in &ends {
            let reason = match verdict {
                Verdict::Finished => {
                    finished += 1;
                    times.push(took.as_secs_f64());
                    continue;
                }
                Verdict::Idle => {
                    idle += 1;
                    continue;
                }
                Verdict::Failed(reason) => {
                    failed += 1;
                    reason
                }
                Verdict::Broken(reason) => {
                    broken += 1;
                    reason
                }
            };
            // One line for many machines.
            more(&mut reasons, unnamed(reason), 1);
        }
        for (what, count) in shared.doing().into_iter().filter(|(_, count)| *count > 0) {
            more(&mut reasons, format!("not over at the end: {what}"), count);
        }
        let jobs = shared.counts.of(Kind::End).answered.load(Ordering::Relaxed);
        let seconds = took.as_secs_f64();
        Self {
            machines,
            seed: shared.habits.seed,
            finished,
            idle,
            failed,
            broken,
            unfinished: (machines as usize).saturating_sub(ends.len()),
            seconds,
            run_seconds: percentiles(times),
            jobs,
            jobs_per_second: jobs as f64 / seconds.max(0.001),
            requests: shared.counts.answered(),
            reasons,
            unreachable: shared.unreachable().cloned(),
            errors: Kind::ALL.into_iter().flat_map(|kind| wrongs(shared.counts.of(kind), kind)).collect(),
            questions: Kind::ALL.into_iter().filter_map(|kind| row(shared, kind)).collect(),
        }
    }

    /// Runs that there were: what had nothing to do ran nothing.
    pub fn runs(&self) -> usize {
        (self.machines as usize).saturating_sub(self.idle)
    }

    /// Every run is done.
    pub fn is_good(&self) -> bool {
        self.finished == self.runs()
    }
}

/// So many more machines have this reason.
fn more(reasons: &mut BTreeMap<String, usize>, reason: String, count: usize) {
    let known = reasons.len() < REASONS_MAX || reasons.contains_key(&reason);
    *reasons.entry(if known { reason } else { "others".to_owned() }).or_insert(0) += count;
}

/// A reason without the name of the machine that gave it.
fn unnamed(reason: &str) -> String {
    let words = reason.split(' ').map(|word| {
        let quoted = word.trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if quoted.starts_with(super::NAME_PREFIX) { word.replace(quoted, "MACHINE") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn percentiles(mut times: Vec<f64>) -> Option<Percentiles> {
    times.sort_unstable_by(f64::total_cmp);
    let at = |part: f64| {
        let place = (times.len() as f64 * part).ceil() as usize;
        times.get(place.saturating_sub(1)).copied()
    };
    Some(Percentiles { p50: at(0.5)?, p90: at(0.9)?, p99: at(0.99)?, max: at(1.0)? })
}

fn wrongs(count: &Count, kind: Kind) -> impl Iterator<Item = Wrongs> {
    let all = [(What::Refused, &count.refused), (What::Lost, &count.lost), (What::Unusable, &count.unusable)];
    all.into_iter().filter_map(move |(what, wrong)| {
        let first = unnamed(wrong.first.get()?);
        Some(Wrongs { kind, what, count: wrong.count.load(Ordering::Relaxed), first })
    })
}

fn row(shared: &Shared, kind: Kind) -> Option<Row> {
    let count = shared.counts.of(kind);
    let get = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    let ms = |part| count.times.percentile(part).map(|time| time.as_secs_f64() * 1e3);
    let row = Row {
        kind,
        answered: get(&count.answered),
        refused: get(&count.refused.count),
        lost: get(&count.lost.count),
        dropped: get(&count.dropped),
        sent_bytes: get(&count.sent),
        received_bytes: get(&count.received),
        p50_ms: ms(0.5),
        p99_ms: ms(0.99),
    };
    (row.answered + row.refused + row.lost > 0).then_some(row)
}

/// A line while it runs.
pub(super) fn progress(shared: &Shared, machines: u32, took: Duration) -> String {
    let finished = shared.progress.finished.load(Ordering::Relaxed);
    let failed = shared.progress.failed.load(Ordering::Relaxed);
    let jobs = shared.counts.of(Kind::End).answered.load(Ordering::Relaxed);
    let seconds = took.as_secs();
    let mut line = format!(
        "{seconds} s: {finished} of {machines} machines done, {failed} failed, {jobs} jobs, {} requests",
        shared.counts.answered()
    );
    let wrong = |kind| wrongs(shared.counts.of(kind), kind).map(|wrong| wrong.count).sum::<u64>();
    let wrong: u64 = Kind::ALL.into_iter().map(wrong).sum();
    if wrong > 0 {
        line.push_str(&format!(", {wrong} went wrong"));
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_the_same_for_all_machines_that_have_it() {
        let said = unnamed("task a failed; push a fix, or `formwork retry simulated-024657000001`");
        assert_eq!(said, "task a failed; push a fix, or `formwork retry MACHINE`");
    }

    #[test]
    fn the_first_error_of_each_kind_is_told_with_how_often_there_was_one() {
        let count = Count::default();
        for turn in 1..=3 {
            count.refused.add(|| format!("/v1/machines/simulated-02465700000{turn} was answered with status 503"));
        }
        count.unusable.add(|| "what came is no boot script".into());
        let told: Vec<_> = wrongs(&count, Kind::Administrator).collect();
        let first = "/v1/machines/simulated-024657000001 was answered with status 503";
        let of = |what, count, first: &str| Wrongs { kind: Kind::Administrator, what, count, first: first.to_owned() };
        assert_eq!(told, [of(What::Refused, 3, first), of(What::Unusable, 1, "what came is no boot script")]);
    }

    #[test]
    fn percentiles_of_few_and_of_none() {
        assert_eq!(percentiles(vec![]), None);
        let one = percentiles(vec![3.0]).unwrap();
        assert_eq!((one.p50, one.p99, one.max), (3.0, 3.0, 3.0));
        let hundred = percentiles((1..=100).rev().map(f64::from).collect()).unwrap();
        assert_eq!((hundred.p50, hundred.p90, hundred.p99, hundred.max), (50.0, 90.0, 99.0, 100.0));
    }
}
