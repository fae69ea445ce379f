//! What is kept of what happened: how far back a stream's events go before they are dropped. Pure.

use super::{Event, MachineState, Record};
use std::collections::{BTreeSet, VecDeque};

/// Dropping a handful is not worth a write.
const WORTH_DROPPING: u64 = 100;

/// How much is kept of each machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// The newest runs, whole.
    pub runs: usize,
    /// Of those, what is not older than so many milliseconds; of the last run, all.
    pub age_ms: i64,
    /// Never more than so many events, whatever they are about; also of each box and each cluster.
    pub events: usize,
    /// Never more than so many bytes of facts, as JSON.
    pub facts_bytes: u64,
}

impl Default for Retention {
    /// Twenty runs, half a year, 5,000 events, 64 MiB of facts.
    fn default() -> Self {
        Self { runs: 20, age_ms: 180 * 24 * 3600 * 1000, events: 5_000, facts_bytes: 64 << 20 }
    }
}

impl Retention {
    /// Looks for where a stream is cut at this moment, Unix milliseconds.
    pub fn cut(self, now_unix_ms: i64) -> Cut {
        let oldest_unix_ms = now_unix_ms.saturating_sub(self.age_ms);
        Cut {
            policy: self,
            oldest_unix_ms,
            ends: None,
            young: None,
            began: VecDeque::new(),
            kept: VecDeque::new(),
            bytes: 0,
        }
    }
}

/// Where a stream is cut, of which all records are shown to it in their order. It keeps none of them: a stream may be larger than memory.
#[derive(Debug, Clone)]
pub struct Cut {
    policy: Retention,
    oldest_unix_ms: i64,
    /// The indexes of the first and the last record.
    ends: Option<(u64, u64)>,
    /// That of the first that is young enough.
    young: Option<u64>,
    /// Those at which the newest runs began, of as many runs as are kept.
    began: VecDeque<u64>,
    /// The indexes of the newest, as many as are kept at most, and the bytes of facts in each and in all of them.
    kept: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Cut {
    /// One more record, the next.
    pub fn take(&mut self, record: &Record) {
        let index = record.index;
        self.ends = Some((self.ends.map_or(index, |(first, _)| first), index));
        if self.young.is_none() && record.at_unix_ms >= self.oldest_unix_ms {
            self.young = Some(index);
        }
        let bytes = bytes_of_facts(&record.event);
        self.kept.push_back((index, bytes));
        self.bytes = self.bytes.saturating_add(bytes);
        // The newest stays, whatever its size.
        while self.kept.len() > 1
            && (self.kept.len() > self.policy.events.max(1) || self.bytes > self.policy.facts_bytes)
        {
            let gone = self.kept.pop_front().map_or(0, |(_, bytes)| bytes);
            self.bytes = self.bytes.saturating_sub(gone);
        }
        if matches!(record.event, Event::RunStarted { .. }) {
            if self.began.len() >= self.policy.runs.max(1) {
                self.began.pop_front();
            }
            self.began.push_back(index);
        }
    }

    /// Below which index a machine's events go; `None` where it is not worth it.
    pub fn machine(&self) -> Option<u64> {
        let (first, _) = self.ends?;
        let newest_run = self.began.back().copied().unwrap_or(first);
        let by_age = self.young.unwrap_or(u64::MAX).min(newest_run);
        let whole = self.began.len() >= self.policy.runs.max(1);
        let by_runs = self.began.front().copied().filter(|_| whole).unwrap_or(first);
        worth(first, by_runs.max(by_age).max(self.counted()))
    }

    /// The same for streams of which nothing is folded: boxes and clusters.
    pub fn plain(&self) -> Option<u64> {
        let (first, last) = self.ends?;
        // The newest stays, whatever its age: it says what was last seen.
        let by_age = self.young.unwrap_or(u64::MAX).min(last);
        worth(first, by_age.max(self.counted()))
    }

    /// The index of the first record that is not one too many.
    fn counted(&self) -> u64 {
        self.kept.front().map_or(0, |(index, _)| *index)
    }
}

/// What an event's facts take as JSON; 0 where it has none.
fn bytes_of_facts(event: &Event) -> u64 {
    let Event::FactsReported { facts, .. } = event else { return 0 };
    let mut count = Count(0);
    // Counting does not fail.
    let _ = serde_json::to_writer(&mut count, facts);
    count.0
}

/// Counts what is written.
struct Count(u64);

impl std::io::Write for Count {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn worth(first: u64, cut: u64) -> Option<u64> {
    (cut.saturating_sub(first) >= WORTH_DROPPING).then_some(cut)
}

/// What a machine's events below `index` come to that follow on those which came to `before`, and the jobs whose logs go with them:
/// `now` is the machine's newest state, and what it still shows stays.
pub fn fold_below(
    before: MachineState,
    records: &[Record],
    index: u64,
    now: &MachineState,
) -> (MachineState, Vec<String>) {
    let dropped = || records.iter().take_while(|record| record.index < index);
    let shown: BTreeSet<&str> = jobs_of(now).collect();
    let jobs = jobs_named(dropped()).into_iter().filter(|job| !shown.contains(job)).map(str::to_owned).collect();
    let mut state = before;
    dropped().for_each(|record| state.apply(record));
    (state, jobs)
}

/// The jobs that these records name, also those that were folded into one.
fn jobs_named<'a>(records: impl IntoIterator<Item = &'a Record>) -> BTreeSet<&'a str> {
    let mut jobs = BTreeSet::new();
    for record in records {
        match &record.event {
            Event::JobGranted { job, .. } => drop(jobs.insert(job.as_str())),
            Event::Folded { state, .. } => jobs.extend(jobs_of(state)),
            _ => {}
        }
    }
    jobs
}

/// The jobs that a machine's state shows.
pub fn jobs_of(state: &MachineState) -> impl Iterator<Item = &str> {
    let run = state.run.as_ref();
    let tasks = run.into_iter().flat_map(|run| run.tasks.values()).map(|task| task.job.as_str());
    tasks.chain(run.and_then(|run| run.job.as_ref()).map(|job| job.id.as_str()))
}
